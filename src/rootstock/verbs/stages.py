"""Stages carried out one after the other, each on what the one before left; gone on with wherever it was stopped.

Each stage is a run of its own, in a folder below stages/. All of them are tried before the first is trained.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rootstock import catalog
from rootstock.bases.resolve import resolve
from rootstock.core import artifact
from rootstock.core.errors import ContractRefused, DataError, Interrupted, RecipeError, RootstockError, retold
from rootstock.core.lock import alone
from rootstock.core.objective import Objective
from rootstock.core.runfolder import RunFolder, recipe_text
from rootstock.core.stages import StagedRecipe
from rootstock.core.watch import Event, Say, Watch
from rootstock.run import choices, several
from rootstock.run.execute import dry_run
from rootstock.run.prepare import prepare
from rootstock.run.prepared import Prepared
from rootstock.run.use import Run
from rootstock.verbs import api, stages_told
from rootstock.verbs.stages_state import State, Unit, rows_alone, units

_EVERY = 10.0
"""Seconds after which the time that a stage takes is written down again: what a kill leaves uncounted, once its events come."""


def carry_out(recipe: StagedRecipe, out: Path, watch: Watch, *, overwrite: bool = False, resume: bool = False) -> Run:
    """Try every stage, then carry them out into a folder, or on; returns the run, whose last stage answers.

    Raises UsageError where the folder already holds a run, and whatever is wrong with any stage before the first is trained.
    ContractRefused where a stage that has begun was changed, or what it stands on.
    """
    with alone(out):
        folder = RunFolder(out)
        if api.ended(folder, watch, overwrite=overwrite, resume=resume):
            return Run(out)
        state = State.read(folder) if resume else State(folder, {})
        _check_begun(recipe, state, watch.say)
        _try(recipe, state, watch)
        base = resolve(recipe.base, tokenizer=recipe.tokenizer).folder if overwrite else None
        with api.replacing(folder, base, watch, overwrite=overwrite) as heard:
            artifact.write_text(folder.recipe, recipe_text(recipe))
            state.write()
            _carry_all_out(recipe, state, heard)
        return Run(out)


def _carry_all_out(recipe: StagedRecipe, state: State, watch: Watch) -> None:
    clock = _Clock(state, watch.started, state.spent())
    for place, unit in enumerate(held := units(recipe)):
        with _stage(unit):
            if not state.ended(unit):
                watch.say(f"stage     {place + 1} of {len(held)}: {unit.folder}")
                _carry_out(recipe, clock, unit, watch)
            state.fold(unit, last=len(recipe.stages))
    stages_told.conclude(recipe, state)


@dataclass
class _Clock:
    """The whole budget's. since: time.monotonic() up to which this process's time is written down. before: of earlier ones."""

    state: State
    started: float
    before: float

    def __post_init__(self) -> None:
        self.since = self.started

    @property
    def spent(self) -> float:
        """Seconds of the whole budget until now."""
        return self.before + time.monotonic() - self.started

    @contextmanager
    def running(self, unit: Unit, watch: Watch) -> Iterator[Watch]:
        """The watch of a run whose time is written down now and then, and in the end, however that comes."""

        def event(told: Event) -> None:
            if time.monotonic() - self.since > _EVERY:
                self._note(unit)
            watch.event(told)

        try:
            yield replace(watch, event=event, started=time.monotonic())
        finally:
            self._note(unit)

    def _note(self, unit: Unit) -> None:
        now = time.monotonic()
        self.state.took(unit, now - self.since)
        self.since = now


def _carry_out(recipe: StagedRecipe, clock: _Clock, unit: Unit, watch: Watch) -> None:
    """One run, begun or gone on with."""
    state = clock.state
    on = f"go on with: {state.folder.going_on}"
    if watch.stop():
        raise Interrupted(f"stopped before {unit.folder}", fix=on)
    if unit.folder not in state.held:
        own = unit.start == unit.number - 1  # not one that only measures a gain
        before = stages_told.before(unit.recipe(recipe, state.base(recipe, unit), minutes=None)) if own else ({}, {})
        state.begin(recipe, unit, spent=clock.spent, before=before)
    with clock.running(unit, watch) as heard:
        run = api.part(state.recipe(recipe, unit), state.run(unit).path, heard, fix=on)
    watch.say(f"stage     {unit.folder}: {run.metrics.get('verdict') or 'has ended'}")


def rehearse(recipe: StagedRecipe, watch: Watch) -> dict[str, Any]:
    """Everything up to one real step of every stage, writing nothing; returns what each predicts."""
    found = _try(recipe, State(RunFolder(Path("never")), {}), watch)
    seconds = sum(each["seconds"] for each in found.values())
    watch.say(f"plan      {len(found)} runs, about {seconds:,.0f} s in all")
    return {"stages": found, "seconds": round(seconds, 2), "peak_bytes": max(each["peak_bytes"] for each in found.values())}


def _try(recipe: StagedRecipe, state: State, watch: Watch) -> dict[str, dict[str, Any]]:
    """Prove that every stage that is still to come can be carried out: on the model that the one before would leave, before training.

    Names and keys of all stages are checked before the first row is read. Returns what each stage predicts, by the name of its folder.
    """
    held = units(recipe)
    for unit in held:
        with _stage(unit):
            _check(recipe, unit)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place:
        for unit in held:
            if state.ended(unit):
                continue
            started = Path(place) / str(unit.start)
            base = str(started) if started.exists() else state.base(recipe, unit)
            with _stage(unit):
                found[unit.folder] = _tried(recipe, unit, base, Path(place))
            told = found[unit.folder]
            watch.say(f"try       {unit.folder}: {told['steps']:,} steps, about {told['seconds']:,.0f} s")
            if watch.stop():
                raise Interrupted("stopped before anything was trained", fix="give the same command again")
    return found


def _check(recipe: StagedRecipe, unit: Unit) -> None:
    """What can be told of a stage without its rows."""
    made = unit.recipe(recipe, recipe.base, minutes=None)
    choices.check(made)
    task = str(made.task.get("name", "auto"))
    if several.meant(made):
        raise RecipeError(
            f"{several.NAME} is several tasks at once", wanted="a task of one kind in each stage", fix="give each part a stage"
        )
    choices.check_rows(made)
    if recipe.gains and unit.number == len(recipe.stages) and task != "auto" and issubclass(catalog.find("tasks", task), Objective):
        raise RecipeError(
            f"{task} is learned without labels, and gains is set", wanted="a last stage that is measured by labels", fix="leave gains out"
        )


def _tried(recipe: StagedRecipe, unit: Unit, base: str, place: Path) -> dict[str, Any]:
    made = unit.recipe(recipe, base, minutes=None)
    quiet = Watch()
    prepared = api.admitted(made, quiet)
    last = unit.number == len(recipe.stages)
    if not last:
        _check_left(prepared)
    with tempfile.TemporaryDirectory() as folder:
        return dry_run(prepared, RunFolder(Path(folder)), quiet, leave=None if last else place / str(unit.number))


def _check_left(prepared: Prepared) -> None:
    """Raise RecipeError for a method that leaves nothing to the next stage: the base as it was, or what can't be folded into it."""
    name, fix = prepared.recipe.method["name"], "choose method full or lora"
    if prepared.method.warm_up() is not None:
        raise RecipeError(
            f"{name} leaves a base that was taught one vector for a whole text, and a classifier on it",
            wanted="a base that the next stage can build on",
            fix=f"{fix}, or make {name} the last stage",
        )
    if prepared.method.frozen:
        raise RecipeError(
            f"{name} leaves the base as it was, so the next stage would gain nothing", wanted="a method that changes the base", fix=fix
        )
    if prepared.saves == "adapter" and not prepared.method.folds:
        raise RecipeError(f"what {name} learns stays beside the base", wanted="a method that changes weights, or folds", fix=fix)


def _check_begun(recipe: StagedRecipe, state: State, say: Say) -> None:
    """Raise ContractRefused where a stage that has begun is another by now: its recipe, its data, or what it stands on."""
    for unit in units(recipe):
        state.check(recipe, unit)
        if state.ended(unit):
            _check_rows(recipe, state, unit, say)
            with _stage(unit):
                state.fold(unit, last=len(recipe.stages))


def _check_rows(recipe: StagedRecipe, state: State, unit: Unit, say: Say) -> None:
    """The rows that a stage has learned from are still those; where they are gone it is said, and what was learned stays."""
    learned = state.run(unit).json("manifest.json")["data"]
    try:
        present = prepare(rows_alone(state.recipe(recipe, unit)), lambda text: None).sources
    except DataError as error:
        say(f"stage     {unit.folder} has ended; its rows can't be read any more: {error.found}")
        return
    for side, facts in learned.items():
        if present.get(side, {}).get("sha256") != facts["sha256"]:
            raise ContractRefused(
                f"{unit.folder} has learned from other {side} rows than {facts['name']} holds now",
                wanted=f"sha256 {facts['sha256']}",
                fix="put them back, or begin again: the same recipe with --overwrite, or another --out",
            )
    say(f"stage     {unit.folder} has ended and is kept")


@contextmanager
def _stage(unit: Unit) -> Iterator[None]:
    """An error inside says which stage it is about."""
    try:
        yield
    except Interrupted:
        raise
    except RootstockError as error:
        raise retold(error, f"stage {unit.folder}") from error
