"""The downstream side of a comparison: test rows that no adaptation sees, and the answers of every adapted base on them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from rootstock.bases.resolve import SCRATCH
from rootstock.core import artifact
from rootstock.core.errors import DataError
from rootstock.core.recipe import DataSettings, Recipe
from rootstock.core.rows import LABEL, PAIR, ROW, TEXT
from rootstock.core.settings import changed
from rootstock.core.watch import Watch
from rootstock.data import schema, source, split
from rootstock.data.ledger import refuse
from rootstock.evaluation.baselines import baselines
from rootstock.evaluation.intervals import limits, variance
from rootstock.evaluation.paired import Answered, draw, mean_of
from rootstock.run import labelled
from rootstock.run.ending import parquet
from rootstock.run.prepared import LabelledRows
from rootstock.run.use import Run
from rootstock.run.vectors import groups
from rootstock.verbs import api, compare_place, kept_answers

TEST_SHARE, MOST_TEST = 0.2, 2000
"""Of the labelled rows that are kept for testing, and how many at most: more would tell hardly more apart and cost as much."""
SPLIT_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Downstream:
    """One labelled file in two parts. files: sha256 of each part, "pool" and "test"."""

    name: str
    task: str
    pair: bool
    pool_rows: int
    test_rows: int
    files: Mapping[str, str]

    def file(self, folder: Path, side: str) -> Path:
        """Where a part lies in the folder of a comparison."""
        return (folder / "data" / self.name / f"{side}.parquet").resolve()

    def points(self, rows: Sequence[int | None]) -> tuple[int | None, ...]:
        """How many rows learn, for each point of the curve; None is all."""
        return tuple(dict.fromkeys(None if count is None or count >= self.pool_rows else count for count in rows))


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One adapted base. arm: an objective, or the architecture from scratch. folder: of the comparison. length: tokens kept of a row.

    changes, rates: of the recipe, the same for every arm. Of the rates the one counts that is best on the run's own validation rows: what
    suits a trained base does not suit random weights.
    """

    arm: str
    base: str
    folder: Path
    downstream: Downstream
    rows: int | None
    seed: int
    length: int
    changes: Mapping[str, Any]
    rates: tuple[float, ...]

    @property
    def cell(self) -> str:
        """What it learns from."""
        return f"{self.downstream.name}/{self.rows or 'all'}-{self.seed}"

    @property
    def place(self) -> str:
        """Where its answers go, below the folder of all answers."""
        return f"{self.arm}/{self.cell}"

    def recipe(self, rate: float) -> Recipe:
        """The recipe: the same for every arm but for the base."""
        tokenizer = str((self.folder / "tokenizer").resolve()) if self.base.startswith(SCRATCH) else None
        data = {"train": str(self.downstream.file(self.folder, "pool")), "rows": self.rows}
        columns = {"text": TEXT, "label": LABEL, **({"text_pair": PAIR} if self.downstream.pair else {})}
        values = {"base": self.base, "tokenizer": tokenizer, "data": data, "task": {"name": self.downstream.task, **columns}}
        settings = {"method": {"name": "full"}, "seed": self.seed, "training": {"rate": rate, "length": self.length}}
        return Recipe.build(changed({**values, **settings}, self.changes), "")


def divided(name: str, found: source.Source, folder: Path, *, columns: Mapping[str, str], unlabelled: bool) -> Downstream:
    """Keep a part of a labelled file for testing, and write both parts into the folder of a comparison.

    columns: those of text, text_pair and label that are given. Raises DataError where the file can't be used.
    """
    with _speaking_of(name, found.name, found.name):
        known = schema.infer(found.table, text=columns.get(TEXT), text_pair=columns.get(PAIR), label=columns.get(LABEL))
        table = schema.canonical(found, known, unlabelled=unlabelled).rows
        pool, test = split.split(table, TEST_SHARE, SPLIT_SEED, stratify=labelled.stratifies(table))
    written = {"pool": _file(pool), "test": _file(split.draw(test, MOST_TEST, SPLIT_SEED))}
    made = Downstream(
        name=name,
        task=labelled.task_of(pool),
        pair=PAIR in pool.column_names,
        pool_rows=len(pool),
        test_rows=min(len(test), MOST_TEST),
        files={side: sha256(data).hexdigest() for side, data in written.items()},
    )
    for side, data in written.items():
        artifact.write_bytes(made.file(folder, side), data)
    return made


def kept(facts: Mapping[str, Any], folder: Path) -> Downstream:
    """What `divided` wrote earlier. Raises ContractRefused where a part is not what was written."""
    found = Downstream(**facts)
    compare_place.check_files({found.file(folder, side): digest for side, digest in found.files.items()})
    return found


@contextmanager
def _speaking_of(name: str, path: str, called: str) -> Iterator[None]:
    """Errors about rows call their file as it was named, and give the option of this verb. path: as the reader of the rows calls it."""
    try:
        yield
    except DataError as error:
        columns = f"name the columns: --columns {name}.text=COLUMN --columns {name}.label=COLUMN"
        fix = columns if any(option in error.fix for option in ("--text", "--label")) else error.fix
        found = error.found.replace(path, called) if path in error.found else f"{called}: {error.found}"
        raise DataError(found, wanted=error.wanted, fix=fix) from None


def _file(rows: pa.Table) -> bytes:
    kept = rows.drop_columns([ROW])
    return parquet({name: kept.column(name) for name in kept.column_names})


class Beside(NamedTuple):
    """What needs no model: its leading figure on the test rows, by name, and the variance of that over rows, of which there are so many."""

    figures: dict[str, float]
    spread: dict[str, float]
    rows: int

    def kept(self) -> dict[str, Any]:
        """The spread as a state keeps it."""
        return {"rows": self.rows, "of": self.spread}


def rehearsed(unit: Unit) -> Beside:
    """Prove before anything is spent that these rows can be learned from and answer the test rows; figures of baselines on the same rows.

    Raises DataError where few rows lack a label of the test rows, LedgerRefused for a finding above its limit.
    """
    recipe = unit.recipe(unit.rates[0])
    with _speaking_of(unit.downstream.name, str(recipe.data.train), unit.downstream.name):
        prepared = labelled.prepare(recipe, lambda text: None)
    refuse(prepared.ledger, recipe.accept)
    test = _rows(unit)
    try:
        prepared.task.answers(test)
    except DataError as error:
        few = f"{unit.rows or unit.downstream.pool_rows} rows of {unit.downstream.name} (seed {unit.seed})"
        raise DataError(f"{few} do not hold every label: {error.found}", wanted=error.wanted, fix="give more --rows") from None
    return without_a_model(prepared, test)


def without_a_model(prepared: LabelledRows, test: pa.Table) -> Beside:
    """The leading figure on the test rows of what needs no model, by its name; fitted to all other rows."""
    learned, task = pa.concat_tables([prepared.train, prepared.validation]), prepared.task
    figure, held = task.headline[0], baselines(learned, test, task).columns
    of = {name: draw([Answered(task.judged(columns), task).grouped(groups(test))], figure, seed=0) for name, columns in held.items()}
    spread = {name: variance(drawn.resampled[:, 0], drawn.rows) for name, drawn in of.items()}
    return Beside({name: drawn.mean for name, drawn in of.items()}, spread, next((drawn.rows for drawn in of.values()), 0))


def together(held: Sequence[Mapping[str, float]], spreads: Sequence[Mapping[str, Any]], figure: str) -> dict[str, list[float]]:
    """Intervals of the means over seeds of what `without_a_model` found; none of a comparison that was begun before it told the spread."""
    if not all(spreads):
        return {}
    rows = min(int(each["rows"]) for each in spreads)
    found = {
        name: mean_of([each[name] for each in held], [each["of"][name] for each in spreads], rows, within=limits(figure))
        for name in held[0]
    }
    return {name: list(each.interval) for name, each in found.items()}


def tried(unit: Unit) -> None:
    """Prove that this base can be adapted to these rows: one real step on the longest of them."""
    api.rehearse(unit.recipe(unit.rates[0]), Watch())


def answered(unit: Unit, watch: Watch) -> Answered:
    """The answers of this unit on the test rows; adapted now, or gone on with, where they are not there yet."""
    place, test = unit.folder / "answers" / f"{unit.place}.safetensors", _rows(unit)
    stem = unit.place.replace("/", "-")
    places = {rate: unit.folder / "runs" / f"{stem}-{rate:g}" for rate in unit.rates}
    if not place.exists():
        runs = {rate: carried_out(unit.recipe(rate), each, watch) for rate, each in places.items()}
        rate, run = max(runs.items(), key=lambda each: each[1].task.merit(each[1].metrics["metrics"]))
        columns = run.task.judged({"scores": run.predictions(test).columns["scores"], "answers": run.task.answers(test)})
        told = {"task": run.recipe.task, "rate": rate, "metrics": run.task.metrics(columns), "test": len(test)}
        artifact.write_json(place.with_suffix(".json"), told)
        kept_answers.write(place, columns)
    for each in places.values():  # also where a kill fell into this
        artifact.remove(each)
    facts = artifact.read_json(place.with_suffix(".json"), wanted="a comparison's answers", fix="remove it")
    return kept_answers.read(place, facts["task"]).grouped(groups(test))


def carried_out(recipe: Recipe, place: Path, watch: Watch) -> Run:
    """A run of its own, gone on with where it was begun; what it says is kept from the screen."""
    quiet = Watch(event=lambda event: None if event["event"] == "evaluation" else watch.event(event), stop=watch.stop, goes_back=False)
    return api.part(recipe, place, quiet, fix=api.AGAIN)


def _rows(unit: Unit) -> pa.Table:
    file = str(unit.downstream.file(unit.folder, "test"))
    found = source.read(file, DataSettings(train=file))
    pair = PAIR if unit.downstream.pair else None
    return schema.canonical(found, schema.infer(found.table, text=TEXT, text_pair=pair, label=LABEL)).rows
