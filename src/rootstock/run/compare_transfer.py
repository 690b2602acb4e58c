"""The downstream side of a comparison: test rows that no run sees, and the answers of every adapted base on them."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file, save

from rootstock import catalog
from rootstock.core import artifact
from rootstock.core.errors import DataError, Interrupted, UsageError
from rootstock.core.recipe import DataSettings, Recipe
from rootstock.core.rows import LABEL, PAIR, ROW, TEXT, column
from rootstock.core.runfolder import RunFolder
from rootstock.core.settings import changed
from rootstock.core.task import Labelled
from rootstock.core.watch import Say, Watch
from rootstock.data import schema, source, split
from rootstock.data.ledger import refuse
from rootstock.evaluation.baselines import baselines
from rootstock.evaluation.paired import Answered
from rootstock.run import api, labelled
from rootstock.run.ending import parquet
from rootstock.run.use import Run

TEST_SHARE, MOST_TEST = 0.2, 2000
"""Of the labelled rows that are kept for testing, and how many at most: more would tell hardly more apart and cost as much."""
SPLIT_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Downstream:
    """One labelled file in two parts. rows: how many learn, for each point of the curve; None is all."""

    name: str
    pool: Path
    test: Path
    task: str
    pair: bool
    rows: tuple[int | None, ...]
    test_rows: int
    pool_rows: int


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One adapted base. arm: an objective, or the architecture from scratch. changes, rates: of the recipe, the same for every arm.

    Of the rates the one counts that is best on the run's own validation rows: what suits a trained base does not suit random weights.
    """

    arm: str
    base: str
    tokenizer: str | None
    downstream: Downstream
    rows: int | None
    seed: int
    changes: Mapping[str, Any]
    rates: tuple[float, ...]

    @property
    def place(self) -> str:
        """Where its answers go, below the folder of all answers."""
        return f"{self.arm}/{self.downstream.name}/{self.rows or 'all'}-{self.seed}"

    def recipe(self, rate: float) -> Recipe:
        """The recipe: the same for every arm but for the base."""
        data = {"train": str(self.downstream.pool), "rows": self.rows}
        columns = {"text": TEXT, "label": LABEL, **({"text_pair": PAIR} if self.downstream.pair else {})}
        values = {"base": self.base, "tokenizer": self.tokenizer, "data": data, "task": {"name": self.downstream.task, **columns}}
        settings = {"method": {"name": "full"}, "seed": self.seed, "training": {"rate": rate}}
        return Recipe.build(changed({**values, **settings}, self.changes), "")


def names(files: Sequence[str]) -> dict[str, str]:
    """File by a short name of its own."""
    found: dict[str, str] = {}
    for file in files:
        stem = Path(file).name.split(".")[0] or "task"
        name = stem if stem not in found else f"{Path(file).resolve().parent.name}-{stem}"
        if name in found:
            raise UsageError(f"{file} is named twice", fix="name each file once")
        found[name] = file
    if not found:
        raise UsageError("--downstream names no file", wanted="labelled files with commas between")
    return found


def divided(name: str, file: str, folder: Path, rows: Sequence[int | None], accept: Sequence[str]) -> Downstream:
    """Read a labelled file, keep a part for testing, and write both parts. Raises DataError or UsageError where that can't be."""
    found = source.read(file, DataSettings(train=file))
    known = schema.infer(found.table)
    table = schema.canonical(found, known, unlabelled="unlabelled" in accept).rows
    different = len(set(map(str, column(table, LABEL))))
    pool, test = split.split(table, TEST_SHARE, SPLIT_SEED, stratify=different <= max(2, len(table) // 2))
    test = split.draw(test, MOST_TEST, SPLIT_SEED)
    for side, part in (("pool", pool), ("test", test)):
        artifact.write_bytes(folder / name / f"{side}.parquet", _file(part))
    counts = tuple(dict.fromkeys(None if count is None or count >= len(pool) else count for count in rows))
    made = Downstream(
        name=name,
        pool=(folder / name / "pool.parquet").resolve(),
        test=(folder / name / "test.parquet").resolve(),
        task=_task_of(pool),
        pair=PAIR in pool.column_names,
        rows=counts,
        test_rows=len(test),
        pool_rows=len(pool),
    )
    return made


def _file(rows: pa.Table) -> bytes:
    kept = rows.drop_columns([ROW])
    return parquet({name: kept.column(name) for name in kept.column_names})


def _task_of(rows: pa.Table) -> str:
    """The task whose labels these are: one for all points of the curve, whatever few rows look like."""
    labels = column(rows, LABEL)
    found = {name: catalog.find("tasks", name) for name in catalog.names("tasks")}
    claims = {name: each.claims(labels) for name, each in found.items() if issubclass(each, Labelled)}
    return max(claims, key=lambda name: claims[name])


def rehearsed(units: Sequence[Unit], say: Say) -> dict[str, Any]:
    """Prove before anything is spent that every set of rows can be learned from and answers the test rows; baselines on the same rows.

    Figures by downstream task and number of rows, means over the seeds. Raises DataError where few rows lack a label of the test rows.
    """
    figures: dict[str, dict[str, dict[str, list[float]]]] = {}
    for unit in units:
        recipe = unit.recipe(unit.rates[0])
        prepared = labelled.prepare(recipe, lambda text: None)
        refuse(prepared.ledger, recipe.accept)
        test = _rows(unit.downstream)
        try:
            prepared.task.answers(test)
        except DataError as error:
            few = f"{unit.rows or unit.downstream.pool_rows} rows of {unit.downstream.name} (seed {unit.seed})"
            raise DataError(f"{few} do not hold every label: {error.found}", wanted=error.wanted, fix="give more --rows") from None
        learned = pa.concat_tables([prepared.train, prepared.validation])
        figure = prepared.task.headline[0]
        held = figures.setdefault(unit.downstream.name, {}).setdefault(str(unit.rows or "all"), {})
        for name, columns in baselines(learned, test, prepared.task).columns.items():
            held.setdefault(name, []).append(Answered(columns, prepared.task).figure(figure))
    for name, by_rows in figures.items():
        say(f"rows      {name}: {', '.join(by_rows)}")
    return {
        name: {rows: {each: float(np.mean(values)) for each, values in held.items()} for rows, held in by_rows.items()}
        for name, by_rows in figures.items()
    }


def answered(unit: Unit, folder: Path, watch: Watch) -> Answered:
    """The answers of this unit on the test rows; adapted now, or gone on with, where they are not there yet."""
    place = folder / "answers" / f"{unit.place}.safetensors"
    if not place.exists():
        stem = unit.place.replace("/", "-")
        runs = {rate: carried_out(unit.recipe(rate), folder / "runs" / f"{stem}-{rate:g}", watch) for rate in unit.rates}
        rate, run = max(runs.items(), key=lambda each: each[1].task.merit(each[1].metrics["metrics"]))
        test = _rows(unit.downstream)
        columns = {"scores": run.predictions(test).columns["scores"], "answers": run.task.answers(test)}
        facts = {"task": run.recipe.task, "rate": rate, "metrics": run.task.metrics(columns), "test": len(test)}
        artifact.write_json(place.with_suffix(".json"), facts)
        artifact.write_bytes(place, save({name: np.ascontiguousarray(values) for name, values in columns.items()}))
        for each in runs.values():
            shutil.rmtree(each.path)
    settings = dict(artifact.read_json(place.with_suffix(".json"), wanted="a comparison's answers", fix="remove it")["task"])
    return Answered(load_file(place), catalog.find("tasks", settings.pop("name")).build(settings, "task"))


def carried_out(recipe: Recipe, place: Path, watch: Watch) -> Run:
    """A run of its own, gone on with where it was begun; what it says is kept from the screen."""
    folder = RunFolder(place)
    if place.exists() and not folder.begun:
        shutil.rmtree(place)  # killed before it had written what it is
    quiet = Watch(event=lambda event: None if event["event"] == "evaluation" else watch.event(event), stop=watch.stop)
    try:
        return api.carry_out(recipe, place, quiet, resume=folder.begun)
    except Interrupted as stop:
        raise Interrupted(f"{place.name}: {stop.found}", fix="give the same command again: it goes on from here") from None


def _rows(downstream: Downstream) -> pa.Table:
    file = str(downstream.test)
    found = source.read(file, DataSettings(train=file))
    pair = PAIR if downstream.pair else None
    return schema.canonical(found, schema.infer(found.table, text=TEXT, text_pair=pair, label=LABEL)).rows


def plain(downstream: Downstream) -> Mapping[str, Any]:
    """What a report says of it."""
    return {"test_rows": downstream.test_rows, "pool_rows": downstream.pool_rows, "task": downstream.task}
