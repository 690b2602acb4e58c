"""Workers on this machine: started by torch's elastic agent, watched, and started again from the last checkpoint where one dies.

A worker that ends on purpose (wrong data, a full disk, Ctrl-C) would do so again, so that nothing is started again after it.
"""

import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rootstock.core.artifact import write_json, write_text
from rootstock.core.errors import Interrupted, RecipeError, RunFailed
from rootstock.core.recipe import ClusterSettings, Recipe
from rootstock.core.resources import usable_cores
from rootstock.core.runfolder import RunFolder, recipe_text
from rootstock.core.watch import Say, Watch
from rootstock.core.worker import ERRORS, launched, left, owned, patience_minutes

RESTARTS = 3
"""How often the workers are started again before the run is given up: what kills them every time won't stop."""
_SAVING_SECONDS = 600
"""How long workers that were asked to stop may take to save."""


def wanted(cluster: ClusterSettings) -> bool:
    """Whether workers are to be started: more than one is asked for, or one on a cluster, and this process is none of them."""
    return (cluster.workers > 1 or cluster.engine == "ray") and launched() == 1 and not owned()


def check(cluster: ClusterSettings) -> None:
    """Raise RecipeError where this machine has not a GPU for each worker that is to have one."""
    if cluster.gpus_per_worker == 0:
        return
    import torch

    held = torch.cuda.device_count()
    if cluster.workers > held and (held or cluster.gpus_per_worker):
        raise RecipeError(
            f"cluster.workers is {cluster.workers}, and this machine has {held} GPU{'s' if held != 1 else ''}",
            wanted="one for each worker",
            fix="lower --workers, or set cluster.gpus_per_worker=0 to learn on processors",
        )


def carry_out(recipe: Recipe, folder: RunFolder, watch: Watch, *, overwrite: bool, resume: bool) -> None:
    """Have workers carry a recipe out; returns when the run folder is complete. Raises what ended them."""
    patience_minutes()  # what is wrong with it is said here once, and not by each worker to nobody
    if recipe.cluster.engine == "ray":
        from rootstock.verbs import on_ray

        on_ray.carry_out(recipe, folder, watch, overwrite=overwrite, resume=resume)
        return
    check(recipe.cluster)
    with tempfile.TemporaryDirectory() as held:
        place = Path(held)
        write_text(place / "recipe.yaml", recipe_text(recipe))
        task = {"recipe": str(place / "recipe.yaml"), "out": str(folder.path), "overwrite": overwrite, "resume": resume}
        task |= {"parent": os.getpid(), "goes_back": watch.goes_back}
        write_json(place / "task.json", task)
        (place / "errors").mkdir()
        with _environment(recipe.cluster, place / "errors"):
            _launch(recipe.cluster, place, watch.say, folder)


def _launch(cluster: ClusterSettings, place: Path, say: Say, folder: RunFolder) -> None:
    from torch.distributed.elastic.multiprocessing import SignalException

    from rootstock.verbs.agent import agent

    errors = place / "errors"
    words = ("-m", "rootstock", "worker", str(place / "task.json"))
    watching = agent(cluster.workers, (sys.executable, *words), errors=errors, say=say, restarts=RESTARTS, patience=_SAVING_SECONDS)
    try:
        result = watching.run()
    except SignalException:
        raise left(errors) or _stopped(folder) from None
    if result.is_failed():
        if error := left(errors):
            raise error
        raise RunFailed(
            f"workers died {RESTARTS + 1} times: {ended(result.failures)}",
            fix=f"see what they said above; where memory ran out, use fewer workers; then go on with: {folder.going_on}",
        )


def _stopped(folder: RunFolder) -> Interrupted:
    """Asked to stop before a worker could say what it has done."""
    if not folder.begun:
        return Interrupted("stopped before anything was learned", fix="give the same command again")
    return Interrupted("stopped at once; checkpoints are kept", fix=f"go on with: {folder.going_on}")


def ended(failures: Mapping[int, Any]) -> str:
    """How workers ended, in words."""
    return ", ".join(f"worker {rank} {_how(failure.exitcode)}" for rank, failure in sorted(failures.items()))


def _how(code: int) -> str:
    if code >= 0:
        return f"failed (exit code {code})"
    return f"was killed ({signal.Signals(-code).name})" if -code in set(signal.Signals) else f"was killed (signal {-code})"


@contextmanager
def _environment(cluster: ClusterSettings, errors: Path) -> Iterator[None]:
    """What the workers inherit: their share of the cores, and where to leave errors."""
    told = {ERRORS: str(errors), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, usable_cores() // cluster.workers)))}
    told |= {"CUDA_VISIBLE_DEVICES": ""} if cluster.gpus_per_worker == 0 else {}
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        with _quiet():
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@contextmanager
def _quiet() -> Iterator[None]:
    """torch's agent says nothing: it would tell of every end what is told here in a line. Each of its modules has a level of its own."""
    import rootstock.verbs.agent  # noqa: F401  # only then are they there

    names = [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed.elastic")]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def task_of(path: Path) -> dict[str, Any]:
    """What a worker was started for."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found
