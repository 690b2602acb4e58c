"""Settings searched for: trials of one recipe, losers stopped early, the best run kept; gone on with by the same call.

Optuna chooses: Akiba et al. 2019, arXiv:1907.10902; its sampler TPE: Bergstra et al. 2011; losers by the median of those before at the
same evaluation.
"""

import errno
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rootstock.core import artifact, place
from rootstock.core.errors import ContractRefused, Diverged, Interrupted, OutOfMemory, RootstockError, RunFailed, UsageError
from rootstock.core.figures import ERRORS
from rootstock.core.lock import alone
from rootstock.core.modules import needed
from rootstock.core.recipe import Recipe
from rootstock.core.settings import changed, number
from rootstock.core.watch import Event, Watch
from rootstock.run import choices
from rootstock.verbs import api

BEST, FOUND = "best", "search.json"
"""The folder of the best run, and the file that tells of all trials."""
_TRIALS, _READ, _KEPT = "trials", "read", "trials.db"
_UNWRITTEN = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_READONLY: errno.EROFS}
"""What SQLite calls what the system calls by these numbers; in its other errors only its words tell."""
_FOREIGN = (0, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
"""What stands there is no database of ours."""
_WARM = 4
"""Trials that are run to their end before any is stopped: a median of fewer says little."""
_SHOWN = 10


@dataclass(frozen=True)
class Range:
    """Values of one key: `choices`, or numbers from `low` to `high`; `log` where their ratio counts; `whole` for integers."""

    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    @property
    def ends(self) -> tuple[Any, ...]:
        """All choices, or the smallest and the largest value."""
        return self.choices or tuple(int(each) if self.whole else each for each in (self.low, self.high))

    def chosen(self, trial: Any, key: str) -> Any:
        """The value that a trial is to try."""
        if self.choices:
            return trial.suggest_categorical(key, list(self.choices))
        if self.whole:
            return trial.suggest_int(key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(key, self.low, self.high, log=self.log)


def read_range(key: str, text: str) -> Range:
    """`4,8,16` are choices, `1e-5:1e-3` a range by ratio where its ends are a factor of ten apart or more, else by difference."""
    low, colon, high = text.partition(":")
    if not colon:
        choices = tuple(_value(each) for each in text.split(",") if each.strip())
        if len(choices) < 2:
            raise UsageError(
                f"--space {key}={text} leaves no choice", wanted="values with commas between, or low:high", fix=f"give --set {key}={text}"
            )
        return Range(choices=choices)
    ends = [_value(each) for each in (low, high)]
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in ends) or not ends[0] < ends[1]:
        raise UsageError(f"--space {key}={text} is no range", wanted="two numbers, the smaller first, such as 1e-5:1e-3")
    return Range(low=ends[0], high=ends[1], log=ends[0] > 0 and ends[1] >= 10 * ends[0], whole=all(isinstance(each, int) for each in ends))


def _value(text: str) -> Any:
    if (told := number(text)) is not None:
        return told
    return {"true": True, "false": False}.get(text.strip(), text.strip())


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to search. trials: in all, those of earlier calls included. storage: database URL for several workers; None: SQLite."""

    recipe: Recipe
    space: Mapping[str, Range]
    trials: int
    out: Path
    storage: str | None = None


def search(plan: Plan, watch: Watch) -> dict[str, Any]:
    """Carry out the trials that are missing and keep the best run; returns the content of search.json.

    Raises UsageError for a key or a value that the recipe does not take, before anything is tried, and Interrupted where the user asked to
    stop.
    """
    if not plan.space:
        raise UsageError("there is nothing to search", wanted="one --space or more", fix="give --space training.rate=1e-5:1e-3")
    optuna = needed("optuna", "search", extra="search")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    first = {key: each.ends[0] for key, each in plan.space.items()}
    for key, each in plan.space.items():
        for value in each.ends:
            choices.check(_build(plan.recipe, first | {key: value}))
    with alone(plan.out), _noting(plan, optuna):
        return _searched(plan, watch, optuna)


def _searched(plan: Plan, watch: Watch, optuna: Any) -> dict[str, Any]:
    with artifact.writing(plan.out):
        plan.out.mkdir(parents=True, exist_ok=True)
    study = _study(plan, optuna)
    _settle(plan, study, optuna)
    while len(_done(study, optuna)) < plan.trials:
        if watch.stop():
            raise Interrupted(
                f"stopped after {len(_done(study, optuna))} of {plan.trials} trials", fix="give the same command again: it goes on"
            )
        _try(plan, study, optuna, watch)
        _settle(plan, study, optuna)
    found = _told(plan, study, optuna)
    artifact.write_json(plan.out / FOUND, found)
    return found


def _study(plan: Plan, optuna: Any) -> Any:
    storage = _storage(plan)
    named = artifact.digest_json([plan.recipe.plain(), {key: vars(each) for key, each in sorted(plan.space.items())}])[:16]
    pruner = optuna.pruners.MedianPruner(n_startup_trials=_WARM)
    try:
        return optuna.create_study(storage=storage, study_name=named, direction="maximize", load_if_exists=True, pruner=pruner)
    except _unreachable(optuna) as error:
        if plan.storage is None and _code(error) not in _FOREIGN:
            raise
        found = f"the trials can't be kept in {storage}: {str(error).splitlines()[0]}"
        raise UsageError(found, wanted="the URL of a database, its driver installed", fix="give such a --storage, or none") from error


def _unreachable(optuna: Any) -> tuple[type[Exception], ...]:
    """What is raised for a URL that names no database, one without its driver, or one that does not answer."""
    from sqlalchemy.exc import SQLAlchemyError

    return ImportError, ValueError, SQLAlchemyError, optuna.exceptions.StorageInternalError


def _storage(plan: Plan) -> str:
    return plan.storage or f"sqlite:///{(plan.out / _KEPT).resolve()}"


@contextmanager
def _noting(plan: Plan, optuna: Any) -> Iterator[None]:
    """What the database says of a note that it could not keep, as WriteFailed, or RunFailed where it is one of several workers."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        code, reason = _code(error), str(error.__cause__ or error).splitlines()[0]
        if plan.storage is not None:
            found = f"a trial could not be noted in {plan.storage}: {reason}"
            raise RunFailed(found, fix=f"see that the database answers; {api.AGAIN}") from error
        with artifact.writing(plan.out / _KEPT):
            raise OSError(_UNWRITTEN.get(code, 0), reason) from error


def _code(error: BaseException) -> int:
    """SQLite's own number of what lies below an error; 0 where it is no error of SQLite."""
    below: BaseException | None = error
    while below is not None and not hasattr(below, "sqlite_errorcode"):
        below = below.__cause__
    return getattr(below, "sqlite_errorcode", 0) & 0xFF


def _build(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    return Recipe.build(changed(recipe.plain(), values), "")


def _done(study: Any, optuna: Any) -> list[Any]:
    over = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL)
    return [trial for trial in study.trials if trial.state in over and not trial.user_attrs.get("stopped")]


def _place(plan: Plan, study: Any, number: int) -> Path:
    """Where a trial of this study runs; of an earlier study with another space none is taken for it."""
    return plan.out / _TRIALS / f"{study.study_name[:8]}-{number:04}"


def _try(plan: Plan, study: Any, optuna: Any, watch: Watch) -> None:
    """One trial to its end, or to where it is beaten; a run that diverges or does not fit has failed and teaches the sampler."""
    done, states = len(_done(study, optuna)), optuna.trial.TrialState
    # Seeded by the number of trials so far: a search that was stopped and goes on chooses as one that never was. Workers that share a
    # database must not choose alike: there the trials that are under way count as well.
    seed = (plan.recipe.seed + (len(study.trials) if plan.storage else done)) % 2**32
    study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=plan.storage is not None)
    trial = study.ask()
    values = {key: each.chosen(trial, key) for key, each in plan.space.items()}
    race = _Race(trial, watch)
    watch.say(f"trial     {done + 1} of {plan.trials}: {_spoken(values)}")
    rows = partial(_check_rows, trial, study)
    alone = replace(watch, say=_quiet, event=race.event, stop=race.stop, read=rows, started=time.monotonic(), goes_back=False)
    try:
        run = api.carry_out(_build(plan.recipe, values), _place(plan, study, trial.number), alone)
        rows(run.folder.json("manifest.json")["data"])  # workers have read by themselves
    except RootstockError as error:
        if isinstance(error, Interrupted) and race.beaten:
            study.tell(trial, state=states.PRUNED)
            return watch.say(f"          stopped: below the median of those before at its evaluation {race.evaluations}")
        lost = isinstance(error, Diverged | OutOfMemory)
        trial.set_user_attr("stopped", not lost)
        study.tell(trial, state=states.FAIL)
        if not lost:
            raise
        return watch.say(f"          failed: {error.found}")
    figure = run.task.chosen_by[0]
    if (value := run.metrics["metrics"].get(figure)) is None:
        study.tell(trial, state=states.FAIL)
        return watch.say(f"          failed: these validation rows give no {figure}")
    for name, told in (("figure", figure), (figure, value), ("interval", run.metrics["intervals"].get(figure)), ("out", str(plan.out))):
        trial.set_user_attr(name, told)
    study.tell(trial, -value if figure in ERRORS else value)
    return watch.say(f"          {figure} {value:.4f}")


def _quiet(_: str) -> None:
    """Of a trial its own line is enough."""


def _check_rows(trial: Any, study: Any, sources: Mapping[str, Any]) -> None:
    """Raises ContractRefused where a trial has read a file that was another one for those before it: figures could not be compared."""
    read = {each["name"]: each["sha256"] for each in sources.values()}
    before = {name: digest for each in study.trials for name, digest in each.user_attrs.get(_READ, {}).items()}
    if any(before.get(name, digest) != digest for name, digest in read.items()):
        raise ContractRefused(
            "the files that the trials read have changed since the search began",
            wanted="the same rows for every trial",
            fix="put them back, or search into another --out",
        )
    trial.set_user_attr(_READ, read)


class _Race:
    """Reports each evaluation of a trial and asks whether it is beaten."""

    def __init__(self, trial: Any, watch: Watch) -> None:
        self._trial, self._watch = trial, watch
        self.beaten, self.evaluations = False, 0

    def event(self, event: Event) -> None:
        """Pass an event on; of an evaluation, compare its leading figure with the trials before."""
        if event["event"] != "evaluation":
            return self._watch.event(event)
        figure, self.evaluations = event["by"], self.evaluations + 1
        if figure not in event:  # a constant answer has no correlation
            return None
        self._trial.report(-event[figure] if figure in ERRORS else event[figure], self.evaluations)
        self.beaten = self.beaten or self._trial.should_prune()
        return None

    def stop(self) -> bool:
        """Whether the loop is to stop: the trial is beaten, or the user asked."""
        return self.beaten or self._watch.stop()


def _settle(plan: Plan, study: Any, optuna: Any) -> None:
    """The best run's folder stays under its name, of other trials nothing; also where a search was killed before it came to that."""
    complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    best = _place(plan, study, study.best_trial.number) if complete else None
    if best and best.is_dir():
        artifact.remove(plan.out / BEST)
        with artifact.writing(plan.out / BEST):
            best.rename(plan.out / BEST)
    shutil.rmtree(plan.out / _TRIALS, ignore_errors=True)


def _told(plan: Plan, study: Any, optuna: Any) -> dict[str, Any]:
    """Every trial, the best first, and what the search found."""
    complete = optuna.trial.TrialState.COMPLETE
    done = _done(study, optuna)
    numbers = {trial.number: place for place, trial in enumerate(done, 1)}  # Optuna also counts one that was killed in its middle
    ranked = sorted((trial for trial in done if trial.state == complete), key=lambda trial: -trial.value)
    rows = [
        {
            "trial": numbers[trial.number],
            "values": trial.params,
            "state": trial.state.name.lower(),
            **({name: trial.user_attrs[name] for name in (trial.user_attrs["figure"], "interval")} if trial.state == complete else {}),
        }
        for trial in [*ranked, *(trial for trial in done if trial.state != complete)]
    ]
    return {"trials": rows, "best": rows[0] if ranked else None, "run": str(Path(ranked[0].user_attrs["out"]) / BEST) if ranked else None}


def as_text(found: Mapping[str, Any]) -> str:
    """The trials in a table, the best first, and how far to trust it."""
    lines = []
    for row in found["trials"][:_SHOWN]:
        figure = next((name for name in row if name not in ("trial", "values", "state", "interval")), None)
        shown = f"{figure} {row[figure]:.4f}" if figure else row["state"]
        between = f" [{row['interval'][0]:.4f}, {row['interval'][1]:.4f}]" if row.get("interval") else ""
        lines.append(f"{row['trial']:>4}  {shown}{between}  {_spoken(row['values'])}")
    if (more := len(found["trials"]) - _SHOWN) > 0:
        lines.append(f"      and {more:,} more: {FOUND} has all")
    if found["best"] is None:
        return "\n".join([*lines, "no trial came to its end"])
    count = sum(row["state"] == "complete" for row in found["trials"])
    lines += ["", f"best run  {found['run']}"]
    lines += [f"note      the best of {count} on the same validation rows is flattered: measure it on others with rootstock evaluate"]
    return "\n".join(lines)


def _spoken(values: Mapping[str, Any]) -> str:
    return "  ".join(f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items())


def check_place(out: Path) -> None:
    """Raise UsageError where `out` holds anything but an earlier search."""
    own = (BEST, FOUND, _TRIALS, _KEPT, f"{_KEPT}-journal")
    place.held(out, "search", own=own, wanted="a new folder, or that of an earlier search")
