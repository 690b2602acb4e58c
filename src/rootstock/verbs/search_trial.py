"""A trial of a search: what it tries, whether it is beaten, and what it comes to."""

import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rootstock.core import artifact
from rootstock.core.errors import ContractRefused, Diverged, Interrupted, OutOfMemory, RootstockError, UsageError
from rootstock.core.figures import ERRORS
from rootstock.core.recipe import Recipe
from rootstock.core.settings import changed, number
from rootstock.core.watch import Event, Watch
from rootstock.run.use import Run

BEST, TRIALS = "best", "trials"
"""The folder of the best run, and that of those which are under way."""
_READ = "read"


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
    """What to search. trials: in all, those of earlier calls included. storage: database URL for several workers; None: SQLite.

    engine: who carries trials out, torch here one by one, or ray side by side.
    """

    recipe: Recipe
    space: Mapping[str, Range]
    trials: int
    out: Path
    storage: str | None = None
    engine: str = "torch"


def build(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with a trial's values."""
    return Recipe.build(changed(recipe.plain(), values), "")


def done(study: Any, optuna: Any) -> list[Any]:
    """Trials that are over; not those that the user stopped."""
    over = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL)
    return [trial for trial in study.trials if trial.state in over and not trial.user_attrs.get("stopped")]


def place(plan: Plan, study: Any, number: int) -> Path:
    """Where a trial of this study runs; of an earlier study with another space none is taken for it."""
    return plan.out / TRIALS / f"{study.study_name[:8]}-{number:04}"


def asked(plan: Plan, study: Any, optuna: Any) -> tuple[Any, dict[str, Any]]:
    """The next trial of a study, and its values."""
    # Seeded by the number of trials so far: a search that was stopped and goes on chooses as one that never was. Those that learn at the
    # same time must not choose alike: there the trials that are under way count as well.
    beside = plan.storage is not None or plan.engine == "ray"
    seed = (plan.recipe.seed + (len(study.trials) if beside else len(done(study, optuna)))) % 2**32
    study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=beside)
    trial = study.ask()
    return trial, {key: each.chosen(trial, key) for key, each in plan.space.items()}


def stopped(plan: Plan, study: Any, optuna: Any) -> Interrupted:
    """The user asked to stop."""
    found = f"stopped after {len(done(study, optuna))} of {plan.trials} trials"
    return Interrupted(found, fix="give the same command again: it goes on")


def settled(plan: Plan, study: Any, optuna: Any, *, trial: Any, race: "Race", ended: Callable[[], Run]) -> str:
    """Tell the study what came of a trial, and a person in a line; a run that diverges or does not fit has failed and teaches the sampler.

    ended: gives its run, or raises what ended it. Raises what is no outcome of a trial.
    """
    states = optuna.trial.TrialState
    try:
        run = ended()
        check_rows(trial, study, run.folder.json("manifest.json")["data"])  # workers have read by themselves
    except RootstockError as error:
        if isinstance(error, Interrupted) and race.beaten:
            study.tell(trial, state=states.PRUNED)
            return f"stopped: below the median of those before at its evaluation {race.evaluations}"
        lost = isinstance(error, Diverged | OutOfMemory)
        trial.set_user_attr("stopped", not lost)
        study.tell(trial, state=states.FAIL)
        if not lost:
            raise
        return f"failed: {error.found}"
    figure = run.task.chosen_by[0]
    if (value := run.metrics["metrics"].get(figure)) is None:
        study.tell(trial, state=states.FAIL)
        return f"failed: these validation rows give no {figure}"
    for name, told in (("figure", figure), (figure, value), ("interval", run.metrics["intervals"].get(figure)), ("out", str(plan.out))):
        trial.set_user_attr(name, told)
    study.tell(trial, -value if figure in ERRORS else value)
    return f"{figure} {value:.4f}"


def check_rows(trial: Any, study: Any, sources: Mapping[str, Any]) -> None:
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


class Race:
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


def settle(plan: Plan, study: Any, optuna: Any, running: Collection[str] = ()) -> None:
    """The best run's folder stays under its name, of other trials nothing; also where a search was killed before it came to that.

    running: names below TRIALS that are left alone.
    """
    complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    best = place(plan, study, study.best_trial.number) if complete else None
    if best and best.is_dir():
        artifact.remove(plan.out / BEST)
        with artifact.writing(plan.out / BEST):
            best.rename(plan.out / BEST)
    for old in (plan.out / TRIALS).iterdir() if (plan.out / TRIALS).is_dir() else ():
        if old.name not in running:
            shutil.rmtree(old, ignore_errors=True)
    if not running:
        shutil.rmtree(plan.out / TRIALS, ignore_errors=True)


def spoken(values: Mapping[str, Any]) -> str:
    """A trial's values for a person."""
    return "  ".join(f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items())
