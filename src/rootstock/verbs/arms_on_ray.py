"""Trainings of a comparison side by side, as tasks of Ray: each in a process of its own, on this machine or on a cluster.

They do what a process of `arms_unit` does, and leave the same files: what has ended is not done again, here or there. The folder has to be
on a file system that all machines see. A first training is not ended early by a rival, as they run at the same time. One whose process
dies goes on from its last checkpoint.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rootstock.core import aside
from rootstock.core.errors import Interrupted, received
from rootstock.core.watch import Watch
from rootstock.corpus.on_ray import session
from rootstock.report.words import several
from rootstock.verbs import api, arms_unit
from rootstock.verbs.arms_unit import Unit
from rootstock.verbs.tasks_on_ray import Tasks


def ahead(units: Sequence[Unit], watch: Watch) -> None:
    """Carry out these trainings; each leaves its facts. Raises Interrupted where the user asked to stop: what runs then goes on later.

    Raises UsageError where Ray is not installed or RAY_ADDRESS leads nowhere, RunFailed where it loses a task, and what a training raises.
    """
    if not units:
        return
    with session() as ray:
        tasks: Tasks[Unit] = Tasks(ray, work, watch.say)
        for unit in units:
            tasks.give(unit, json.dumps(arms_unit.order(unit, None)), unit.spoken)
        watch.say(f"ray       {several(len(units), 'training')}, as many side by side as there are cores")
        try:
            while tasks:
                if ended := tasks.ended():
                    unit, said = ended
                    if "failed" not in arms_unit.kept(unit, partial(_told, said)):
                        aside.gone(unit.folder)  # no event of a task comes here, so that nobody else knows that it has learned
                if tasks and watch.stop():
                    raise Interrupted(f"stopped with {len(tasks)} of {len(units)} trainings left", fix=api.AGAIN)
        finally:
            tasks.cancel()


def _told(said: Callable[[], str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said())
    if "error" in found:
        raise received(found["error"], found["found"], found["wanted"], found["fix"])
    done: dict[str, Any] = found["done"]
    return done


def work(order: str) -> str:
    """What a task does."""
    from rootstock.verbs import arms_child

    return json.dumps(arms_child.outcome(json.loads(order), Watch(goes_back=False)))
