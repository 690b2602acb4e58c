"""A finished run put to use: predictions, and measurements on other rows."""

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
from rootstock.bases.resolve import Resolved, resolve
from rootstock.core import artifact
from rootstock.core.errors import ContractRefused, DataError, UsageError, nearest
from rootstock.core.method import Method
from rootstock.core.recipe import DataSettings, Recipe
from rootstock.core.rows import CHOICES, LABEL, PAIR, ROW, TEXT, Columns, Encoded
from rootstock.core.runfolder import RunFolder, read_recipe
from rootstock.core.settings import changed
from rootstock.core.task import Labelled
from rootstock.core.watch import Say
from rootstock.data import batches, formats, schema, source
from rootstock.evaluation import score as evaluation
from rootstock.loop import infer, precision
from rootstock.run import features, labelled_pictures, reference
from rootstock.run.build import tokenizer_digest
from rootstock.run.finish import seen_keys
from rootstock.run.labelled import arranged
from rootstock.run.prepared import device_name


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

    unlabelled: rows without a label are left out instead of refused.
    """

    columns: Mapping[str, str | None] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    unlabelled: bool = False


class Run:
    """A run folder that has ended. Raises UsageError where the folder is none."""

    def __init__(self, path: str | Path) -> None:
        self.folder = RunFolder(Path(path))
        if not self.folder.complete:
            raise no_run(self.folder)

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
        """The path of one of the run's files; ContractRefused where it is not what the run wrote."""
        path = self.path / name
        if not path.is_file():
            raise ContractRefused(f"{path} is missing", wanted="the file that the run wrote", fix="restore the run folder, or run again")
        if self._written.get(name) != (digest or artifact.digest_file(path)):
            raise ContractRefused(
                f"{path} is not the file that the run wrote", wanted="the digest in manifest.json", fix="restore it, or run again"
            )
        return path

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return read_recipe(self._intact("recipe.yaml"))

    @cached_property
    def contract(self) -> dict[str, Any]:
        """What the model must meet again to give the same answers."""
        self._intact("model/contract.json")
        found: dict[str, Any] = self.folder.json("model/contract.json")
        return found

    @cached_property
    def _admitted(self) -> Resolved:
        """model/ after the gate, each file of it as the run wrote it."""
        found = resolve(str(self.folder.model))
        assert found.admission is not None
        for name, digest in found.admission.files.items():
            self._intact(f"model/{name}", digest)
        return found

    @cached_property
    def task(self) -> Labelled:
        """The task with its label names; UsageError where the run learned without labels."""
        settings = dict(self.recipe.task)
        name = settings.pop("name")
        found = catalog.find("tasks", name).build(settings, "task")
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
        found = bases.tokenizer(self._admitted)
        if tokenizer_digest(found) != self.contract["tokenizer_sha256"]:
            raise ContractRefused(
                f"the tokenizer in {self.folder.model} is not the one trained with",
                wanted=self.contract["tokenizer_sha256"],
                fix="restore the run folder",
            )
        return found

    @cached_property
    def model(self) -> nn.Module:
        """The model in the number format that is quickest here; an adapter only on the very base that it was trained on."""
        model = self._load().to(device_name()).eval()
        fresh = {name for name, _ in model.named_parameters() if self.method.original(name) in self.contract["fresh"]}
        self._weights = precision.Weights(model.requires_grad_(False), self._dtype, fresh)
        return model

    @property
    def _dtype(self) -> torch.dtype:
        return precision.choose(self.recipe.training.precision, device_name())

    def _load(self) -> nn.Module:
        head, seed = self.task.head(), self.recipe.seed
        if self.method.leaves == "model":
            return bases.load(self._admitted, head, seed=seed).model
        base = self._base("adapter was trained on")
        loaded = bases.load(base, head, seed=seed)
        if self.tokenizer is not None:
            bases.fit(self.tokenizer, loaded.model)
        return self.method.restore(loaded, self.folder.model)

    def predict(self, texts: str | Sequence[str] | Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answer for each text (or pair): a label name, a list of names, a number, a span of the second text, a choice of the last."""
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

    def predictions(self, rows: pa.Table) -> Predictions:
        """Answers with confidences for rows with canonical columns."""
        length = self.contract["length"]
        whole = self.task.encode(rows.drop_columns([LABEL]) if LABEL in rows.column_names else rows, self.tokenizer, None)
        longer = int((self.task.spans(whole) > length).sum()) if length else 0
        encoded = self.task.encode(rows, self.tokenizer, length) if longer or LABEL in rows.column_names else whole
        if self.task.asks_base and LABEL in rows.column_names:
            encoded = reference.known(self.task, encoded, self._feed, self._untouched)
        with bases.quiet() if self.task.writes else nullcontext():
            made = infer.predict(self.model, self._feed(encoded), self.task, device=torch.device(device_name())) if len(rows) else {}
        columns = self.task.told(made, encoded, rows, self.tokenizer) if made else {}
        return Predictions(self.task.readable(columns) if len(rows) else {"predicted": []}, 0 if self.task.parted else longer, columns)

    def _feed(self, encoded: Encoded) -> batches.Feed:
        micro = self.recipe.training.micro
        return batches.Feed(encoded, self.task, self.tokenizer, micro, micro, self.recipe.seed)

    @property
    def _untouched(self) -> reference.Base:
        """The base as it was before this run."""
        base = self._base("run was trained from")
        digest = reference.digest(base.digest, self.recipe.seed, scratch=bool(base.scratch))
        place = features.Place(device=torch.device(device_name()), dtype=self._dtype)
        return reference.Base(model=partial(self._on, base), digest=digest, place=place)

    def _on(self, base: Resolved) -> nn.Module:
        loaded = bases.load(base, self.task.head(), seed=self.recipe.seed)
        bases.fit(self.tokenizer, loaded.model)
        return loaded.model

    def _base(self, meant: str) -> Resolved:
        """The base that the recipe names; ContractRefused where it is another by now. meant: what it has to be."""
        base = resolve(self.recipe.base)
        if base.digest != self.contract["base"]["sha256"]:
            raise ContractRefused(
                f"the base {base.name} has the digest {base.digest[:16]}…",
                wanted=f"{self.contract['base']['sha256'][:16]}…, the base that this {meant}",
                fix="use that base, or train again on this one",
            )
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
            for note in (*found.notes, *known.reasons):
                say(f"columns   {note}")
        if task.get("text_pair") and not known.text_pair:
            raise DataError(
                f"{path} has one text column, {known.text!r}",
                wanted=f"two: this run learned from {task['text']!r} and {task['text_pair']!r}",
                fix="name them with --text and --text-pair",
            )
        if known.text_pair and not task.get("text_pair"):
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

    def evaluate(self, path: str, *, reading: Reading | None = None, say: Say = lambda text: None) -> dict[str, Any]:
        """Every figure on a labelled file, with intervals, and with and without rows that were trained on.

        chose_rows: rows that were not trained on but chose the best state, so that figures on them flatter the model.
        """
        read = self.read(path, labelled=True, reading=reading, say=say)
        rows = read.rows
        with schema.naming(path):
            answers = self.task.answers(rows)
        made = self.predictions(rows)
        columns_made = {**made.columns, "answers": answers}
        seen, keys = load_file(self._intact("seen.safetensors")), seen_keys(rows)
        overlap_N = np.isin(keys, seen["rows"])
        return evaluation.score(columns_made, self.task, seed=self.recipe.seed, overlap_N=overlap_N) | {
            "chose_rows": int((np.isin(keys, seen.get("chose", np.empty(0, np.uint64))) & ~overlap_N).sum()),
            "truncated_rows": made.cut,
            "broken_images": sum(read.broken.values()),
            "details": self.task.details(columns_made),
        }


def no_run(folder: RunFolder) -> UsageError:
    """What is wrong with a folder that holds no finished run."""
    if folder.begun:
        fix = f"go on with it: {folder.going_on}"
        return UsageError(f"{folder.path} holds a run that has not ended", wanted="a finished run", fix=fix)
    beside = folder.path.parent.iterdir() if folder.path.parent.is_dir() else ()
    near = nearest(folder.path.name, [each.name for each in beside if each != folder.path and RunFolder(each).begun])
    state = "holds no run" if folder.path.exists() else "does not exist"
    fix = f"did you mean {folder.path.with_name(near)}?" if near else "name the folder that adapt wrote"
    return UsageError(f"{folder.path} {state}", wanted="a run folder", fix=fix)


def table_of(texts: Sequence[Any], *, pair: bool) -> pa.Table:
    """Texts, or pairs of texts, as rows with canonical columns."""
    if pair and any(isinstance(text, str) or len(text) != 2 for text in texts):
        raise UsageError(
            "a text without its partner", wanted="pairs: this run learned from two texts a row", fix='predict([("first", "second")])'
        )
    if not pair and any(not isinstance(text, str) for text in texts):
        raise UsageError("something that is no text", wanted="strings", fix='predict(["a text"])')
    columns = {TEXT: [text[0] for text in texts], PAIR: [text[1] for text in texts]} if pair else {TEXT: list(texts)}
    try:
        arrays = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    except UnicodeEncodeError as error:
        raise UsageError(f"the text {error.object!a} holds what is no letter", wanted="text in UTF-8") from None
    return pa.table(arrays | {ROW: pa.array(range(1, len(texts) + 1), pa.int64())})
