"""Trials of a search side by side, as tasks of Ray: each in a process of its own, on this machine or on a cluster.

This process alone chooses, compares and notes: a task tells its evaluations by a file, and is asked by another to stop where it is beaten.
The folder has to be on a file system that all machines see. A trial whose process dies goes on from its last checkpoint.
"""

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rootstock.core.errors import received
from rootstock.core.recipe import Recipe
from rootstock.core.watch import Watch
from rootstock.corpus.on_ray import session
from rootstock.report.words import several
from rootstock.run.use import Run
from rootstock.verbs import api
from rootstock.verbs.far import Ear, Mouth, outcome
from rootstock.verbs.search_trial import Plan, Race, asked, build, check_rows, done, place, settle, settled, spoken, stopped
from rootstock.verbs.tasks_on_ray import Tasks


@dataclass(frozen=True, eq=False)
class _Under:
    """A trial that is under way. number: of those that are over or under way, as a person counts."""

    trial: Any
    number: int
    folder: Path
    race: Race
    ear: Ear


def ahead(plan: Plan, study: Any, optuna: Any, watch: Watch) -> None:
    """Carry out the trials that are missing. Raises Interrupted where the user asked to stop, and what is no outcome of a trial.

    UsageError where Ray is not installed or RAY_ADDRESS leads nowhere.
    """
    if len(done(study, optuna)) >= plan.trials:
        return
    with session() as ray:
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        watch.say(f"ray       up to {several(min(cores, plan.trials), 'trial')} side by side")
        tasks: Tasks[_Under] = Tasks(ray, work, watch.say)
        try:
            while tasks or len(done(study, optuna)) < plan.trials:
                if watch.stop():
                    raise stopped(plan, study, optuna)
                while len(tasks) < min(cores, plan.trials - len(done(study, optuna))):
                    _begin(plan, study, optuna, tasks, watch)
                _heard(plan, study, optuna, tasks, watch)
        finally:
            tasks.cancel()
            for each in tasks:
                each.trial.set_user_attr("stopped", True)
                study.tell(each.trial, state=optuna.trial.TrialState.FAIL)


def _begin(plan: Plan, study: Any, optuna: Any, tasks: Tasks[_Under], watch: Watch) -> None:
    number = len(done(study, optuna)) + len(tasks) + 1
    trial, values = asked(plan, study, optuna)
    folder, race = place(plan, study, trial.number).absolute(), Race(trial, Watch())
    beside = _beside(folder)
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    rows = partial(check_rows, trial, study)
    under = _Under(trial, number, folder, race, Ear(beside, Watch(event=race.event, stop=race.stop, read=rows)))
    order = {"recipe": build(plan.recipe, values).plain(), "place": str(folder)}
    watch.say(f"trial     {number} of {plan.trials}: {spoken(values)}")
    tasks.give(under, json.dumps(order), f"trial {number}")


def _beside(folder: Path) -> Path:
    """Where a trial and this process hear each other."""
    return folder.with_name(f"{folder.name}.told")


def _heard(plan: Plan, study: Any, optuna: Any, tasks: Tasks[_Under], watch: Watch) -> None:
    """What the tasks say in half a second; one that has ended is settled."""
    ended = tasks.ended()
    for each in tasks:
        each.ear.listen()
    if ended is None:
        return
    under, said = ended
    under.ear.listen()
    line = settled(plan, study, optuna, trial=under.trial, race=under.race, ended=partial(_run, said, under.folder))
    watch.say(f"trial     {under.number}: {line}")
    settle(plan, study, optuna, running={path.name for each in tasks for path in (each.folder, _beside(each.folder))})


def _run(said: Any, folder: Path) -> Run:
    """The run of a trial that has come to its end; raises what ended it otherwise."""
    found = json.loads(said())
    if "error" in found:
        raise received(found["error"], found["found"], found["wanted"], found["fix"])
    return Run(folder)


def work(order: str) -> str:
    """What a task does."""
    told = json.loads(order)
    folder = Path(told["place"])
    with Mouth(_beside(folder)) as mouth:
        watch = Watch(event=mouth.event, stop=mouth.stop, read=mouth.read, goes_back=False)

        def learn() -> None:
            api.part(Recipe.build(told["recipe"], ""), folder, watch, fix=api.AGAIN)

        return json.dumps(outcome(learn))
