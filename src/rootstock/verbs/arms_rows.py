"""The rows of a comparison of methods: one test part, one validation part, and nested parts to learn from, the same for every arm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rootstock import catalog
from rootstock.bases.resolve import resolve
from rootstock.core import artifact
from rootstock.core.errors import BaseError, ContractRefused, DataError, RecipeError, UsageError
from rootstock.core.recipe import Recipe
from rootstock.core.rows import LABEL, PAIR, ROW, column
from rootstock.core.task import Labelled
from rootstock.core.watch import Say
from rootstock.data import schema, source, split
from rootstock.data.ledger import refuse
from rootstock.evaluation.paired import Answered
from rootstock.run import finish, labelled, labelled_pictures, vectors
from rootstock.run.ending import parquet
from rootstock.verbs import arms_pictures, arms_read, compare_place
from rootstock.verbs.compare_transfer import MOST_TEST, SPLIT_SEED, Beside, without_a_model

VALIDATION_SHARE = 0.2
"""Of the rows that are not for testing, where nobody names another: these rows choose the best state and stop arms, and few can't."""
KINDS = ("class", "classes", "number", "tags", "span", "choice", "similarity")
"""Kinds of answers that are compared: each row has its own, and one leading figure is made of them. Not of written texts, whose loss
chooses the state while other figures are quoted; nor of rankings, where a row's figure hangs on all the others."""

IMAGE_BASES = "give --bases scratch:vit-tiny, the folder of a run, or a model of images from the hub"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A labelled file in parts. task: its name; columns: by part. sizes, files: rows and sha256 by the name of a part.

    classes: settings of the task that say which answers there are in the whole file: few rows lack some, and the test rows ask for all.
    apart: test rows that were taken out because a given file of validation rows holds their text as well. images: the digest of all
    copies, where rows are images; empty of texts.
    """

    task: str
    columns: Mapping[str, Any]
    sizes: Mapping[str, int]
    files: Mapping[str, str]
    classes: Mapping[str, Any] = field(default_factory=dict)
    apart: int = 0
    images: str = ""

    @property
    def train_rows(self) -> int:
        """All that there are to learn from."""
        return self.sizes["train"]

    @property
    def named(self) -> dict[str, Any]:
        """Keys of a recipe by which a part is read."""
        return {"task.name": self.task, **{f"task.{part}": name for part, name in {**self.columns, **self.classes}.items()}}

    def points(self, wanted: Sequence[int | None]) -> tuple[int | None, ...]:
        """How many rows learn, for each point of the curve, the most first; None is all."""
        found = dict.fromkeys(None if count is None or count >= self.train_rows else count for count in wanted)
        return tuple(sorted(found, key=lambda count: -(count or self.train_rows)))

    def recipe(self, common: Recipe, folder: Path, rows: int | None, seed: int) -> dict[str, Any]:
        """Keys of a recipe that learns from a part: some rows, drawn by seed, or all."""
        data = {f"data.{side}": str(place(folder, part)) for side, part in (("train", _learns(rows, seed)), ("validation", "validation"))}
        read = {f"data.{key}": "auto" for key in ("format", "encoding", "header", "quoting")}
        return {**read, **data, "data.rows": None, **self.named, "seed": seed}


def place(folder: Path, part: str) -> Path:
    """Where a part lies in the folder of a comparison."""
    return (folder / "data" / f"{part}.parquet").resolve()


def _learns(rows: int | None, seed: int) -> str:
    return "train" if rows is None else f"train-{rows}-{seed}"


def check(recipe: Recipe) -> None:
    """Refuse what has no rows that could be divided, before anything is read."""
    if "parts" in recipe.task:
        raise RecipeError("the recipe learns several tasks", wanted="one task with one leading figure", fix="compare on each file alone")
    if not isinstance(recipe.data.train, str) or not recipe.data.train:
        raise RecipeError("the recipe names no single file of labelled rows", wanted="one, in data.train", fix="join the files to one")
    if recipe.data.exclude:
        raise RecipeError("data.exclude is set", wanted="the file without these rows: parts of it have other lines", fix="leave it out")
    if (name := recipe.task.get("name", "auto")) != "auto":
        _check_task(name, catalog.find("tasks", name))


def _check_task(name: str, task: Any) -> None:
    if not issubclass(task, Labelled):
        raise RecipeError(f"{name} learns without labels", wanted="a task on labelled rows", fix="compare corpora with --objectives")
    if task.writes or task.asks_base:
        raise RecipeError(f"{name} has no leading figure that also chooses the best state", wanted=f"answers of kind {', '.join(KINDS)}")


def on_a_base(recipe: Recipe, bases: Sequence[str]) -> Recipe:
    """The recipe on the first base that can read its rows. Of images that has to say how large they are; UsageError where none does."""
    first: BaseError | None = None
    for base in bases if labelled_pictures.meant(recipe) else ():
        found = recipe.model_copy(update={"base": base})
        try:
            labelled_pictures.unfitted(found, resolve(base))
        except BaseError as error:
            first = first or error
            continue
        return found
    if first:
        raise UsageError(first.found, wanted="bases that read images", fix=IMAGE_BASES)
    return recipe


def digests(recipe: Recipe) -> dict[str, str]:
    """The digest of each file, or of each place of images, that is divided, by side."""
    data = recipe.data
    named = {"train": str(data.train), **({"validation": data.validation} if isinstance(data.validation, str) else {})}
    if labelled_pictures.meant(recipe):
        return {side: labelled_pictures.digest(reference, recipe) for side, reference in named.items()}
    return {side: source.read(reference, data).digest for side, reference in named.items()}


def divided(recipe: Recipe, folder: Path, *, points: Sequence[int | None], seeds: int, digests: Mapping[str, str], say: Say) -> Parts:
    """Write the parts of a labelled file into the folder of a comparison.

    The same call writes the same bytes; more points and seeds add files. digests: of what is divided. Raises DataError where the file can't
    be used, and where it is another by now.
    """
    found = (arms_pictures.read if labelled_pictures.meant(recipe) else arms_read.texts)(recipe, digests, say)
    _check_task(found.task, catalog.find("tasks", found.task))
    name, test, apart = str(recipe.data.train), split.draw(found.test, MOST_TEST, SPLIT_SEED), 0
    if found.held:
        known_keys = set(split.keys(found.held.rows))
        kept = np.array([key not in known_keys for key in split.keys(test)], bool)
        apart, test = int((~kept).sum()), test.filter(pa.array(kept))
        train, validation = found.train.rows, _taken(found.held.raw, found.held.rows)
    else:
        assert isinstance(recipe.data.validation, float)
        train, held = _held_out(found.train.rows, found.task, recipe.data.validation, name)
        validation = _taken(found.train.raw, held)
    if not len(test):
        raise DataError(f"{name} leaves no test rows", wanted="rows that the file of validation rows does not hold", fix="give other rows")
    tables = {"train": _taken(found.train.raw, train), "validation": validation, "test": _taken(found.train.raw, test)}
    for count in points:
        if count is not None and count < len(train):
            tables |= {_learns(count, seed): _taken(found.train.raw, _some(train, count, seed)) for seed in range(seeds)}
    found.copy(tables, place(folder, "train").parent)
    written = {part: parquet({each: table.column(each) for each in table.column_names}) for part, table in tables.items()}
    for part, content in written.items():
        artifact.write_bytes(place(folder, part), content)
    return Parts(
        task=found.task,
        columns=found.columns,
        sizes={part: len(table) for part, table in tables.items()},
        files={part: _digest(each) for part, each in written.items()},
        classes=_classes(recipe, found.task, pa.concat_tables([found.train.rows, found.test])),
        apart=apart,
        images=arms_pictures.digest(place(folder, "train").parent),
    )


def _classes(recipe: Recipe, name: str, rows: pa.Table) -> dict[str, Any]:
    """Which classes rows name, and whether a row can have several; nothing of tasks without classes."""
    settings = {key: value for key, value in recipe.task.items() if key != "name"}
    with schema.naming(str(recipe.data.train)):
        fitted = catalog.find("tasks", name).build(settings, "task").fit(rows, rows)
    found = {key: getattr(fitted, key, ()) for key in ("labels", "several")}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items() if value}


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def _taken(table: pa.Table, rows: pa.Table) -> pa.Table:
    """Those of a file's rows that stand in canonical ones, as they came."""
    chosen = pc.is_in(table.column(ROW), value_set=rows.column(ROW).combine_chunks().cast(table.schema.field(ROW).type))
    return table.filter(chosen).drop_columns([ROW])


def _held_out(rows: pa.Table, task: str, share: float, name: str) -> tuple[pa.Table, pa.Table]:
    together = catalog.find("tasks", task).together
    with schema.naming(name):
        train, held = split.split(rows, share, SPLIT_SEED, stratify=not together and labelled.stratifies(rows), together=together)
    return train, split.draw(held, MOST_TEST, SPLIT_SEED)


def _some(rows: pa.Table, count: int, seed: int) -> pa.Table:
    """So many rows in the order of the file, drawn by seed: fewer are among more. One of each label comes first, where labels are few."""
    order = np.random.default_rng(seed).permutation(len(rows))
    if labelled.stratifies(rows):
        labels = np.array([str(label) for label in column(rows, LABEL)], object)[order]
        _, first = np.unique(labels, return_index=True)
        order = np.concatenate([order[np.sort(first)], np.delete(order, first)])
    return rows.take(pa.array(np.sort(order[:count])))


def kept(parts: Parts, folder: Path) -> None:
    """Raises ContractRefused where a part is not what was written."""
    compare_place.check_files({place(folder, part): digest for part, digest in parts.files.items()})
    held = place(folder, "train").parent
    if parts.images and arms_pictures.digest(held) != parts.images:
        fix = "restore them, or begin again with --overwrite"
        raise ContractRefused(f"the images below {held} are not those that the comparison copied", wanted=parts.images, fix=fix)


class Simple(NamedTuple):
    """What needs no model: on the test rows by name, and the leading figure of the constant answer on the validation rows."""

    beside: Beside
    constant: float


def rehearsed(recipe: Recipe, folder: Path) -> Simple:
    """Prove that rows can be learned from and answer the test rows; and what is reached without a model.

    Raises DataError where few rows lack a label of the test rows, LedgerRefused for a finding above its limit.
    """
    prepared = labelled.prepare(recipe, lambda text: None)
    if prepared.task.kind not in KINDS:
        found = f"{recipe.task['name']} gives these rows answers of kind {prepared.task.kind}"
        raise RecipeError(found, wanted=f"one of {', '.join(KINDS)}", fix="compare runs of adapt with rootstock evaluate")
    refuse(prepared.ledger, recipe.accept)
    test = read(recipe, place(folder, "test"))
    try:
        prepared.task.answers(test)
    except DataError as error:
        found = f"{len(prepared.train):,} rows (seed {recipe.seed}) do not hold every label: {error.found}"
        raise DataError(found, wanted=error.wanted, fix="give larger numbers of rows with --learning-curve") from None
    beside = finish.baselines(prepared).columns.get("majority")  # kept: the trainings on these rows find it
    constant = Answered(prepared.task.judged(beside), prepared.task).figure(prepared.task.headline[0]) if beside else 0.0
    return Simple(without_a_model(prepared, test), constant)


def read(recipe: Recipe, path: Path) -> pa.Table:
    """Rows of a part with canonical columns, as a recipe that names its columns reads them; images at the size that its base reads."""
    if labelled_pictures.meant(recipe):
        task = labelled_pictures.unfitted(recipe, resolve(recipe.base, tokenizer=recipe.tokenizer))
        return labelled_pictures.table(str(path), task, recipe.data, lambda text: None)[0]
    held = labelled.arranged(source.read(str(path), recipe.data), recipe.task["name"])
    known = schema.recognise(held, **labelled.wanted(recipe.task))
    rows = schema.canonical(replace(held, name=path.name), known).rows
    return rows if recipe.task.get("text_pair") or PAIR not in rows.column_names else rows.drop_columns([PAIR])


def groups(recipe: Recipe, path: Path) -> np.ndarray:
    """Equal numbers for rows of a part that hold the same text or image, [N]: they tell no more than one of them would."""
    return arms_pictures.groups(path) if labelled_pictures.meant(recipe) else vectors.groups(read(recipe, path))
