"""Settings searched for: trials of one recipe, losers stopped early, the best run kept; gone on with by the same call.

Optuna chooses: Akiba et al. 2019, arXiv:1907.10902; its sampler TPE: Bergstra et al. 2011; losers by the median of those before at the
same evaluation.
"""

import errno
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rootstock.core import artifact
from rootstock.core import place as places
from rootstock.core.errors import RunFailed, UsageError
from rootstock.core.lock import alone
from rootstock.core.modules import needed
from rootstock.core.watch import Watch
from rootstock.run import choices
from rootstock.verbs import api, tasks_on_ray
from rootstock.verbs.search_trial import (
    BEST,
    TRIALS,
    Plan,
    Race,
    asked,
    build,
    check_rows,
    done,
    place,
    settle,
    settled,
    spoken,
    stopped,
)

FOUND, _KEPT = "search.json", "trials.db"
"""The file that tells of all trials, and the database of those who try."""
_UNWRITTEN = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_READONLY: errno.EROFS}
"""What SQLite calls what the system calls by these numbers; in its other errors only its words tell."""
_FOREIGN = (0, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
"""What stands there is no database of ours."""
_WARM = 4
"""Trials that are run to their end before any is stopped: a median of fewer says little."""
_SHOWN = 10


def search(plan: Plan, watch: Watch) -> dict[str, Any]:
    """Carry out the trials that are missing and keep the best run; returns the content of search.json.

    Raises UsageError for a key or a value that the recipe does not take, before anything is tried, and Interrupted where the user asked to
    stop.
    """
    if not plan.space:
        raise UsageError("there is nothing to search", wanted="one --space or more", fix="give --space training.rate=1e-5:1e-3")
    if tasks_on_ray.check(plan.engine, plan.recipe.cluster) == "ray" and plan.recipe.cluster.workers > 1:
        found = f"--engine ray and cluster.workers of {plan.recipe.cluster.workers}"
        raise UsageError(found, wanted="trials side by side, or trials of several workers", fix="leave one out")
    optuna = needed("optuna", "search", extra="search")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    first = {key: each.ends[0] for key, each in plan.space.items()}
    for key, each in plan.space.items():
        for value in each.ends:
            choices.check(build(plan.recipe, first | {key: value}))
    with alone(plan.out), _noting(plan, optuna):
        return _searched(plan, watch, optuna)


def _searched(plan: Plan, watch: Watch, optuna: Any) -> dict[str, Any]:
    with artifact.writing(plan.out):
        plan.out.mkdir(parents=True, exist_ok=True)
    study = _study(plan, optuna)
    settle(plan, study, optuna)
    if plan.engine == "ray":
        from rootstock.verbs import search_on_ray

        search_on_ray.ahead(plan, study, optuna, watch)
    while len(done(study, optuna)) < plan.trials:
        if watch.stop():
            raise stopped(plan, study, optuna)
        _try(plan, study, optuna, watch)
        settle(plan, study, optuna)
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


def _try(plan: Plan, study: Any, optuna: Any, watch: Watch) -> None:
    """One trial to its end, or to where it is beaten."""
    trial, values = asked(plan, study, optuna)
    race = Race(trial, watch)
    watch.say(f"trial     {len(done(study, optuna)) + 1} of {plan.trials}: {spoken(values)}")
    rows = partial(check_rows, trial, study)
    alone = replace(watch, say=_quiet, event=race.event, stop=race.stop, read=rows, started=time.monotonic(), goes_back=False)
    ended = partial(api.carry_out, build(plan.recipe, values), place(plan, study, trial.number), alone)
    watch.say(f"          {settled(plan, study, optuna, trial=trial, race=race, ended=ended)}")


def _quiet(_: str) -> None:
    """Of a trial its own line is enough."""


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


def _told(plan: Plan, study: Any, optuna: Any) -> dict[str, Any]:
    """Every trial, the best first, and what the search found."""
    complete = optuna.trial.TrialState.COMPLETE
    over = done(study, optuna)
    numbers = {trial.number: place for place, trial in enumerate(over, 1)}  # Optuna also counts one that was killed in its middle
    ranked = sorted((trial for trial in over if trial.state == complete), key=lambda trial: -trial.value)
    rows = [
        {
            "trial": numbers[trial.number],
            "values": trial.params,
            "state": trial.state.name.lower(),
            **({name: trial.user_attrs[name] for name in (trial.user_attrs["figure"], "interval")} if trial.state == complete else {}),
        }
        for trial in [*ranked, *(trial for trial in over if trial.state != complete)]
    ]
    return {"trials": rows, "best": rows[0] if ranked else None, "run": str(Path(ranked[0].user_attrs["out"]) / BEST) if ranked else None}


def as_text(found: Mapping[str, Any]) -> str:
    """The trials in a table, the best first, and how far to trust it."""
    lines = []
    for row in found["trials"][:_SHOWN]:
        figure = next((name for name in row if name not in ("trial", "values", "state", "interval")), None)
        shown = f"{figure} {row[figure]:.4f}" if figure else row["state"]
        between = f" [{row['interval'][0]:.4f}, {row['interval'][1]:.4f}]" if row.get("interval") else ""
        lines.append(f"{row['trial']:>4}  {shown}{between}  {spoken(row['values'])}")
    if (more := len(found["trials"]) - _SHOWN) > 0:
        lines.append(f"      and {more:,} more: {FOUND} has all")
    if found["best"] is None:
        return "\n".join([*lines, "no trial came to its end"])
    count = sum(row["state"] == "complete" for row in found["trials"])
    lines += ["", f"best run  {found['run']}"]
    lines += [f"note      the best of {count} on the same validation rows is flattered: measure it on others with rootstock evaluate"]
    return "\n".join(lines)


def check_place(out: Path) -> None:
    """Raise UsageError where `out` holds anything but an earlier search."""
    own = (BEST, FOUND, TRIALS, _KEPT, f"{_KEPT}-journal")
    places.held(out, "search", own=own, wanted="a new folder, or that of an earlier search")
