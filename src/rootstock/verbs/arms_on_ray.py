"""Trainings of a comparison side by side, as tasks of Ray: each in a process of its own, on this machine or on a cluster.

They do what a process of `arms_unit` does, and leave the same files: what has ended is not done again, here or there. The folder has to be
on a file system that all machines see. A first training is not ended early by a rival, as they run at the same time.
"""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from rootstock.core import aside
from rootstock.core.errors import Interrupted, RunFailed, received
from rootstock.core.watch import Watch
from rootstock.corpus.on_ray import session
from rootstock.report.words import several
from rootstock.verbs import api, arms_unit
from rootstock.verbs.arms_unit import Unit

_LOOKS_SECONDS = 0.5
"""How often a wait asks whether the user wants to stop."""


def ahead(units: Sequence[Unit], watch: Watch) -> None:
    """Carry out these trainings; each leaves its facts. Raises Interrupted where the user asked to stop: what runs then goes on later.

    Raises UsageError where Ray is not installed or RAY_ADDRESS leads nowhere, RunFailed where it loses a task, and what a training raises.
    """
    if not units:
        return
    with session() as ray:
        task = ray.remote(num_cpus=1, max_calls=1, max_retries=0)(work)  # a process each, or the peak of one would be another's
        waiting = {task.remote(json.dumps(arms_unit.order(unit, None))): unit for unit in units}
        watch.say(f"ray       {several(len(units), 'training')}, as many side by side as there are cores")
        try:
            while waiting:
                ended, _ = ray.wait(list(waiting), num_returns=1, timeout=_LOOKS_SECONDS)
                for each in ended:
                    unit = waiting.pop(each)
                    if "failed" not in arms_unit.kept(unit, partial(_told, ray, each)):
                        aside.gone(unit.folder)  # no event of a task comes here, so that nobody else knows that it has learned
                if waiting and watch.stop():
                    raise Interrupted(f"stopped with {len(waiting)} of {len(units)} trainings left", fix=api.AGAIN)
        finally:
            for each in waiting:
                ray.cancel(each, force=True)


def _told(ray: Any, task: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(ray.get(task))
    except ray.exceptions.RayError as error:
        raise RunFailed(f"Ray lost it: {str(error).strip().splitlines()[-1]}", fix=f"see Ray's logs; {api.AGAIN}") from error
    if "error" in found:
        raise received(found["error"], found["found"], found["wanted"], found["fix"])
    done: dict[str, Any] = found["done"]
    return done


def work(order: str) -> str:
    """What a task does."""
    from rootstock.verbs import arms_child

    return json.dumps(arms_child.outcome(json.loads(order), Watch(goes_back=False)))
