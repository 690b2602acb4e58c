"""The same workers on a Ray cluster: Ray Train starts them, joins them, and starts them again where one dies.

The run's folder has to be on a file system that all machines see: the first worker writes it, and each writes its share of checkpoints.
Beside it lies, as long as the run goes on, a folder by which workers and the process that asked for them hear each other.
"""

import glob
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

from rootstock.core.artifact import write_json, write_text
from rootstock.core.errors import RecipeError, RootstockError, RunFailed
from rootstock.core.modules import needed
from rootstock.core.recipe import ClusterSettings, Recipe
from rootstock.core.runfolder import RunFolder, recipe_text
from rootstock.core.watch import Watch
from rootstock.core.worker import ERRORS, left
from rootstock.corpus.on_ray import session
from rootstock.verbs.far import Ear, Mouth
from rootstock.verbs.launch import RESTARTS

_LOOKS_SECONDS = 0.3
"""How often is looked for what workers say, and whether the user wants to stop."""
_OTHERWISE = "set cluster.engine=torch"


def carry_out(recipe: Recipe, folder: RunFolder, watch: Watch, *, overwrite: bool, resume: bool) -> None:
    """Have Ray's workers carry a recipe out; returns when the run folder is complete. Raises what ended them.

    UsageError where Ray is not installed or RAY_ADDRESS leads nowhere, RecipeError where this machine has too little for the workers.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    with session() as ray:
        train = needed("ray.train", "the engine ray", extra="cluster", otherwise=_OTHERWISE)
        trainers = needed("ray.train.torch", "the engine ray", extra="cluster", otherwise=_OTHERWISE)
        cluster = recipe.cluster
        gpus = _check(cluster, ray.cluster_resources())
        place = _place(folder.path.absolute())
        write_text(place / "recipe.yaml", recipe_text(recipe))
        task = {"out": str(folder.path.absolute()), "overwrite": overwrite, "resume": resume, "goes_back": watch.goes_back}
        write_json(place / "task.json", task)
        watch.say(f"workers   {cluster.workers} on Ray, {'a GPU each' if gpus else 'on processors'}")
        trainer = trainers.TorchTrainer(
            _work,
            train_loop_config={"place": str(place)},
            torch_config=trainers.TorchConfig(backend="cpu:gloo,cuda:nccl" if gpus else "gloo"),
            scaling_config=train.ScalingConfig(num_workers=cluster.workers, use_gpu=gpus),
            run_config=train.RunConfig(storage_path=str(place / "ray"), failure_config=train.FailureConfig(max_failures=RESTARTS)),
        )
        try:
            with _given_up(folder, (RuntimeError, train.TrainingFailedError, ray.exceptions.RayError)):
                _fit(trainer, place, watch)
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _place(run: Path) -> Path:
    """A new folder beside a run's. Those of one that was killed go: the run's lock is ours."""
    for old in run.parent.glob(f".{glob.escape(run.name)}.{'[0-9a-f]' * 8}.ray"):  # `*` would also be the rest of a longer run's name
        shutil.rmtree(old, ignore_errors=True)
    made = run.with_name(f".{run.name}.{uuid4().hex[:8]}.ray")
    (made / "errors").mkdir(parents=True)
    return made


def _check(cluster: ClusterSettings, held: dict[str, float]) -> bool:
    """Whether each worker gets a GPU. RecipeError where this machine will never have room for all; a cluster may still grow."""
    gpus = bool(held.get("GPU")) if cluster.gpus_per_worker is None else bool(cluster.gpus_per_worker)
    there, what = int(held.get("GPU" if gpus else "CPU", 0)), "GPU" if gpus else "core"
    if not os.environ.get("RAY_ADDRESS") and there < cluster.workers:
        raise RecipeError(
            f"cluster.workers is {cluster.workers}, and this machine has {there} {what}{'s' if there != 1 else ''} for Ray",
            wanted="one for each worker",
            fix=f"lower --workers, {'leave GPUs out by --set cluster.gpus_per_worker=0, ' if gpus else ''}or name a cluster by RAY_ADDRESS",
        )
    return gpus


@contextmanager
def _given_up(folder: RunFolder, kinds: tuple[type[Exception], ...]) -> Iterator[None]:
    """RunFailed for what Ray raises where workers died too often, or never started."""
    try:
        yield
    except RootstockError:
        raise
    except kinds as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        fix = f"see Ray's logs; go on with: {folder.going_on}" if folder.begun else "see Ray's logs, then give the same command again"
        raise RunFailed(f"Ray gave up the workers: {said[-1]}", fix=fix) from error


def _fit(trainer: Any, place: Path, watch: Watch) -> None:
    """Wait for the workers in a thread: in the main one Ray would take Ctrl-C for itself, and end them before anything is saved."""
    failed: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:  # it is raised again where it is waited for
            failed.append(error)

    waits, ear = Thread(target=fit, name="ray", daemon=True), Ear(place, watch)
    waits.start()
    while waits.is_alive():
        waits.join(_LOOKS_SECONDS)
        ear.listen()
    ear.listen()  # to what was said between the last look and the end
    if (meant := left(place / "errors")) is not None:
        raise meant
    if failed:
        raise failed[0]


def _work(told: dict[str, str]) -> None:
    """What a worker does. An error that is meant ends it without another try: it lies beside the task."""
    import torch.distributed as dist

    from rootstock.core.runfolder import read_recipe
    from rootstock.verbs import api

    place = Path(told["place"])
    task = json.loads((place / "task.json").read_text("utf-8"))
    before = len(list(place.glob("begun-*")))
    dist.barrier()  # all have looked
    (place / f"begun-{before}").touch()
    os.environ.update({ERRORS: str(place / "errors"), "TORCHELASTIC_RESTART_COUNT": str(before)})
    with Mouth(place) as mouth:
        if before and dist.get_rank() == 0:
            mouth.say(f"restart   a worker died; all start again from the last checkpoint ({before} of {RESTARTS})")
        watch = Watch(say=mouth.say, event=mouth.event, stop=mouth.stop, goes_back=task["goes_back"])
        try:
            api.carry_out(read_recipe(place / "recipe.yaml"), Path(task["out"]), watch, overwrite=task["overwrite"], resume=task["resume"])
        except RootstockError:
            if left(place / "errors") is None:  # this worker was left alone, and all shall start again
                raise
