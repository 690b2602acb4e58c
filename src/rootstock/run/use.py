"""A finished run put to use: predictions, and measurements on other rows."""

import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from safetensors.numpy import load_file
from torch import nn

from rootstock import catalog
from rootstock.bases import load as bases
from rootstock.bases import vocabulary
from rootstock.bases.resolve import Resolved, resolve
from rootstock.core import artifact, aside
from rootstock.core.errors import ContractRefused, DataError, UsageError, nearest
from rootstock.core.method import Method
from rootstock.core.recipe import DataSettings, Recipe
from rootstock.core.rows import CHOICES, LABEL, TEXT, Columns, Encoded
from rootstock.core.runfolder import CONTRACT, RunFolder, no_run, read_contract, read_recipe
from rootstock.core.settings import changed
from rootstock.core.task import Labelled
from rootstock.core.watch import Say
from rootstock.data import batches, formats, schema, source
from rootstock.evaluation import score as evaluation
from rootstock.evaluation.baselines import Baselines
from rootstock.loop import infer, precision
from rootstock.run import contract, labelled_pictures, reference, rivals
from rootstock.run.answerable import answerable
from rootstock.run.asked import table_of
from rootstock.run.finish import seen_keys
from rootstock.run.labelled import arranged
from rootstock.run.prepared import Place, device_name


@dataclass(frozen=True)
class Predictions:
    """Readable answers by column, and how many rows were longer than the model takes."""

    table: dict[str, list[Any]]
    cut: int
    columns: Columns


class Read(NamedTuple):
    """A file as it came, and the same rows with canonical columns. broken: images that could not be read, by reason."""

    table: pa.Table
    rows: pa.Table
    broken: Mapping[str, int] = MappingProxyType({})


_READING = ("data.format", "data.encoding", "data.header", "data.quoting")
"""Keys of a recipe that say how a file is read."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a file is to be read. columns: by role (text, text_pair, label). settings: such as {"data.encoding": "latin-1"}.

    unlabelled, unseen: rows without a label, or with one that training lacked, are left out instead of refused.
    """

    columns: Mapping[str, str | None] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    unlabelled: bool = False
    unseen: bool = False


class Run:
    """A run folder that has ended, of several stages the last; or the folder of a model with its contract that came without one.

    Raises UsageError where the folder is neither. folder: of the run that answers. whole: the one that was named.
    """

    def __init__(self, path: str | Path) -> None:
        self.whole = RunFolder(Path(path))
        if not self.whole.complete and aside.holds(self.whole.path, self.whole.manifest.name):
            aside.restore(self.whole.path, begun=self.whole.begun)
        if not self.whole.complete:
            raise no_run(self.whole)
        self.folder = self.whole.last

    def part(self, name: str | None) -> "Run":
        """One of the tasks that a run learned, as a run; the run itself where it learned one. UsageError where that does not fit."""
        held = self.folder.parts
        if name is not None and name not in held:
            near = nearest(name, held)
            wanted = f"one of {', '.join(held)}" if held else "no --part: the run learned one task"
            raise UsageError(f"{self.path} has no part {name!r}", wanted=wanted, fix=f"did you mean {near!r}?" if near else "")
        if name is None and held:
            raise UsageError(f"{self.path} learned several tasks", wanted=f"one of {', '.join(held)}", fix=f"name it: --part {held[0]}")
        return self if name is None else Run(self.folder.part(name).path)

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json."""
        found: dict[str, Any] = self.folder.json("metrics.json")
        return found

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @cached_property
    def _written(self) -> dict[str, str]:
        """Digest of each file, as the run left it."""
        found: dict[str, str] = self.folder.json("manifest.json").get("files", {})
        return found

    def _intact(self, name: str, digest: str | None = None) -> Path:
        """The path of one of the run's files; ContractRefused where it is not what the run wrote. A model alone has its contract only."""
        path = self.folder.model / name.removeprefix("model/") if name.startswith("model/") else self.path / name
        if not path.is_file():
            raise ContractRefused(f"{path} is missing", wanted="the file that the run wrote", fix="restore the run folder, or run again")
        if not self.folder.alone and (wanted := self._written.get(name)) != (found := digest or artifact.digest_file(path)):
            raise ContractRefused(
                f"{path} is not the file that the run wrote: its digest is {found}",
                wanted=f"{wanted}, as in manifest.json",
                fix="restore it, or run again",
            )
        return path

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe; of a model alone, what its contract tells of it."""
        if not self.folder.alone:
            return read_recipe(self._intact("recipe.yaml"))
        told = {key: self.contract[key] for key in ("task", "method")} | {"add_tokens": self.contract.get("added", [])}
        told |= {"training": {"precision": self.contract.get("precision", "auto")}}
        return Recipe.build({"base": self.contract["base"]["reference"], "data": {"train": "unknown"}, **told}, "")

    @cached_property
    def contract(self) -> dict[str, Any]:
        """What the model must meet again to give the same answers."""
        return read_contract(self._intact(f"model/{CONTRACT}").parent)

    @property
    def base_reference(self) -> str:
        """Where the base is: as the recipe says, or, for an adapter alone, as its adapter_config.json does where that is a folder here.

        A stage that was moved with all the others finds the one before it beside it.
        """
        path = self.folder.model / "adapter_config.json"
        if self.folder.alone and path.is_file():
            named = json.loads(path.read_text("utf-8")).get("base_model_name_or_path")
            if isinstance(named, str) and Path(named).is_dir():
                return named
        named, beside = Path(self.recipe.base), self.path.parent / Path(self.recipe.base).name
        moved = self.path.parent.name == named.parent.name == "stages" and beside.is_dir() and not named.exists()
        return str(beside) if moved else self.recipe.base

    @cached_property
    def admitted(self) -> Resolved:
        """model/ after the gate, each file of it as the run wrote it and as its contract says."""
        if not self.folder.model.is_dir():
            raise ContractRefused(
                f"{self.folder.model} is missing", wanted="the model that the run wrote", fix="restore the run folder, or run again"
            )
        found = resolve(str(self.folder.model))
        assert found.admission is not None
        for name, digest in found.admission.files.items():
            self._intact(f"model/{name}", digest)
        contract.check_labels(self.contract, self.folder.model, self.task)
        return found

    @cached_property
    def task(self) -> Labelled:
        """The task with its label names; UsageError where the run learned without labels."""
        settings = dict(self.recipe.task)
        name = settings.pop("name")
        found = catalog.find("tasks", name).build(settings, "task")
        self.part(None)
        if not isinstance(found, Labelled):
            fix = f"rootstock adapt FILE --base {self.path}"
            raise UsageError(f"{self.path} was pre-trained with {name}: it gives no labels", wanted="a run on labelled rows", fix=fix)
        return found

    @cached_property
    def method(self) -> Method:
        """The method."""
        settings = dict(self.recipe.method)
        found: Method = catalog.find("methods", settings.pop("name")).build(settings, "method")
        return found

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer that was trained with, None for images; ContractRefused where the folder holds another."""
        if self.task.reads == "images":
            return None
        return bases.tokenizer(self.admitted)

    @property
    def weights(self) -> str:
        """The digest of what is in model/."""
        return self.admitted.digest

    @cached_property
    def model(self) -> nn.Module:
        """The model in the number format that is quickest here; an adapter only on the very base that it was trained on."""
        model = self.load().to(device_name()).eval()
        fresh = {name for name, _ in model.named_parameters() if self.method.original(name) in self.contract["fresh"]}
        self._weights = precision.Weights(model.requires_grad_(False), self.dtype, fresh)
        return model

    def forget(self) -> None:
        """Let the model go; it is read again where it is asked for."""
        vars(self).pop("model", None)
        vars(self).pop("_weights", None)

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the model's products."""
        return precision.choose(self.recipe.training.precision, device_name())

    def load(self) -> nn.Module:
        """The model in fp32, an adapter on its base."""
        head, seed, admitted = self.task.head(), self.recipe.seed, self.admitted
        if self.contract["saves"] == "model":
            return bases.load(admitted, head, seed=seed).model
        base = self.base("adapter was trained on")
        loaded = bases.load(base, head, seed=seed)
        if self.tokenizer is not None:
            bases.fit(self.tokenizer, loaded.model)
        vocabulary.put(loaded.model, self.folder.model)
        return self.method.restore(loaded, self.folder.model)

    def predict(self, texts: str | Sequence[str] | Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answer for each text (or pair): a label name, a list of names, a number, a span of the second text, a choice of the last.

        Where the run learned vectors, that of each text; or of pairs how alike they are.
        """
        many = [texts] if isinstance(texts, str) else list(texts)
        made = self.predictions(self.rows_of(many))
        if made.cut:
            warnings.warn(self.spoken_cut(made.cut), stacklevel=2)
        return made.table["predicted"]

    def rows_of(self, texts: Sequence[Any]) -> pa.Table:
        """Texts, or pairs of them, as rows; where the run chooses, each ends with a list of what to choose from.

        Where it reads images they are paths of image files.
        """
        if self.task.reads == "images":
            return labelled_pictures.of_files([str(text) for text in texts], self.task)
        pair = self.recipe.task.get("text_pair") is not None
        if self.task.singly:
            return table_of(texts, pair=bool(texts) and not isinstance(texts[0], str))
        if CHOICES not in self.task.further:
            return table_of(texts, pair=pair)
        if any(isinstance(each, str) or len(each) != 2 + pair or not isinstance(each[-1], list) for each in texts):
            wanted = "tuples of a question, its passage and a list of choices" if pair else "tuples of a question and a list of choices"
            raise UsageError("a question without choices", wanted=wanted, fix='predict([("a question", ["one answer", "another"])])')
        rows = table_of([each[:2] if pair else each[0] for each in texts], pair=pair)
        return rows.append_column(CHOICES, pa.array([each[-1] for each in texts], pa.list_(pa.string())))

    def spoken_cut(self, rows: int) -> str:
        """How many rows were not read whole."""
        kept = f"longer than {self.contract['length']} tokens and"
        return f"{rows:,} rows are {kept} were cut" if rows > 1 else f"1 row is {kept} was cut"

    def predictions(self, rows: pa.Table, model: nn.Module | None = None) -> Predictions:
        """Answers with confidences for rows with canonical columns. model: one that answers in place of the run's own."""
        length = self.contract["length"]
        whole = self.task.encode(rows.drop_columns([LABEL]) if LABEL in rows.column_names else rows, self.tokenizer, None)
        longer = int((self.task.spans(whole) > length).sum()) if length else 0
        encoded = self.task.encode(rows, self.tokenizer, length) if longer or LABEL in rows.column_names else whole
        if self.task.asks_base and LABEL in rows.column_names:
            encoded = reference.beside(encoded, reference.known(self._untouched, encoded, self.feed))
        with bases.quiet() if self.task.writes else nullcontext():
            device = torch.device(device_name())
            made = infer.predict(model or self.model, self.feed(encoded), self.task, device=device) if len(rows) else {}
        columns = self.task.told(made, encoded, rows, self.tokenizer) if made else {}
        return Predictions(self.task.readable(columns) if len(rows) else {"predicted": []}, 0 if self.task.parted else longer, columns)

    def feed(self, encoded: Encoded) -> batches.Feed:
        """Batches of rows as this run encodes them."""
        micro = self.recipe.training.micro
        return batches.Feed(encoded, self.task, self.tokenizer, micro, micro, self.recipe.seed)

    @property
    def _untouched(self) -> reference.Asked:
        """The base as it was before this run."""
        base = self.base("run was trained from")
        digest = reference.digest(base.digest, self.recipe.seed, scratch=bool(base.scratch))
        place = Place(device=torch.device(device_name()), dtype=self.dtype)
        return reference.untouched(self.task, partial(self.on, base), digest, place)

    def on(self, base: Resolved) -> nn.Module:
        """A base with this run's head, before anything was learned."""
        loaded = bases.load(base, self.task.head(), seed=self.recipe.seed)
        bases.fit(self.tokenizer, loaded.model)
        return loaded.model

    def base(self, meant: str) -> Resolved:
        """The base that the recipe names; ContractRefused where it is another by now. meant: what it has to be."""
        base = resolve(self.base_reference).taught(vocabulary.listed(self.recipe.add_tokens))
        contract.check_base(self.contract, base, meant)
        return base

    def read(self, path: str, *, labelled: bool, reading: Reading | None = None, say: Say = lambda text: None) -> Read:
        """A file: the columns as given, else those that the run learned from, else found by name and content, which is said."""
        reading = reading or Reading()
        if self.task.reads == "images":
            rows, broken = labelled_pictures.table(path, self.task, self._data(path, reading.settings), say)
            # the table holds the names of the images
            return Read(pa.table({"image": rows.column(TEXT)}), rows if labelled else rows.drop_columns([LABEL]), broken)
        task, given = self.recipe.task, {role: name for role, name in reading.columns.items() if name is not None}
        found = arranged(source.read(path, self._data(path, reading.settings)), task["name"])
        learned = {role: task.get(role) for role in ("text", "text_pair", "label")}
        held = {role: name if name in found.table.column_names else None for role, name in learned.items()}
        columns = found.table.column_names
        further = {
            part: name if name and {*schema.several(name, columns)} <= {*columns} else names for part, names, name in self._further()
        }
        known = schema.recognise(found, **{**held, **given}, labelled=labelled, further=further, called=self.task.called)
        if any(learned[role] != held[role] for role in ("text", "text_pair", *(["label"] if labelled else []))):
            for note in (*(f"data      {each}" for each in found.notes), *(f"columns   {each}" for each in known.reasons)):
                say(note)
        if self.task.singly and not labelled and not given.get("text_pair") and held["text_pair"] is None:
            known = replace(known, text_pair=None)
        elif task.get("text_pair") and not known.text_pair:
            raise DataError(
                f"{path} has one text column, {known.text!r}",
                wanted=f"two: this run learned from {task['text']!r} and {task['text_pair']!r}",
                fix="name them with --text and --text-pair",
            )
        elif known.text_pair and not task.get("text_pair") and not self.task.singly:
            say(f"columns   {known.text_pair!r} is not used: this run learned from one text a row")
            known = replace(known, text_pair=None)
        known = known if labelled else replace(known, label=None)
        kept = schema.canonical(found, known, unlabelled=reading.unlabelled)
        if kept.dropped:
            first = ", ".join(map(str, kept.dropped[:3]))
            lost = f"{len(kept.dropped):,} of {len(found.table):,} rows have no label and are left out"
            say(f"data      {lost}, such as {found.unit} {first}")
        return Read(found.table, kept.rows)

    def _further(self) -> list[tuple[str, tuple[str, ...], str | None]]:
        """Parts that only this task reads, the names by which they are found, and the column that the run learned from."""
        return [(part, names, self.recipe.task.get(part)) for part, names in self.task.further.items()]

    def _data(self, path: str, settings: Mapping[str, Any]) -> DataSettings:
        """How to read a file: as asked, else as the run's own was read; but a format that the file's name tells goes first."""
        for key in settings:
            if key not in _READING:
                raise UsageError(f"--set {key} means nothing here", wanted=f"one of {', '.join(_READING)}", fix="leave it out")
        told = {"data.format": "auto"} if formats.named("auto", Path(path)) else {}
        values = {"data": self.recipe.data.model_dump()}
        return DataSettings.build(changed(values, {**told, **settings})["data"], "data")

    def evaluate(
        self, path: str, *, reading: Reading | None = None, baselines: bool = True, say: Say = lambda text: None
    ) -> dict[str, Any]:
        """Every figure on a labelled file, with intervals, beside baselines, and with and without rows that were trained on.

        baselines: False leaves out those that are learned again from the run's training rows, which takes the time to read and fit them.
        chose_rows: rows that were not trained on but chose the best state, so that figures on them flatter the model.
        """
        read = self.read(path, labelled=True, reading=reading, say=say)
        with schema.naming(path):
            rows, unseen = answerable(read.rows, self.task, leave_out=reading is not None and reading.unseen, say=say)
            self.task.answers(rows)
        beside = rivals.beside(self, rows, say, learned=baselines)
        return self.scored(rows, baselines=beside) | {"broken_images": sum(read.broken.values()), "unseen_rows": unseen}

    def seen(self) -> dict[str, np.ndarray]:
        """Digests of the rows that were learned from ("rows") and of those that chose the best state; empty where nobody kept them."""
        if not (self.path / "seen.safetensors").is_file() and (self.folder.alone or "seen.safetensors" not in self._written):
            return {}
        found: dict[str, np.ndarray] = load_file(self._intact("seen.safetensors"))
        return found

    def scored(self, rows: pa.Table, model: nn.Module | None = None, *, baselines: Baselines | None = None) -> dict[str, Any]:
        """Every figure on labelled rows with canonical columns. model: one that answers in place of the run's own."""
        made = self.predictions(rows, model)
        columns_made = {**made.columns, "answers": self.task.answers(rows)}
        seen, keys = self.seen(), seen_keys(rows)
        overlap_N = np.isin(keys, seen["rows"]) if seen else None
        chose_N = np.isin(keys, seen.get("chose", np.empty(0, np.uint64))) & ~(overlap_N if overlap_N is not None else False)
        return evaluation.score(columns_made, self.task, seed=self.recipe.seed, overlap_N=overlap_N, baselines=baselines) | {
            "chose_rows": int(chose_N.sum()),
            "truncated_rows": made.cut,
            "details": evaluation.details(columns_made, self.task, seed=self.recipe.seed),
        }
