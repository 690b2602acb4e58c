"""The same workers on a Ray cluster: Ray Train starts them, joins them, and starts them again where one dies.

The run's folder has to be on a file system that all machines see: the first worker writes it, and each writes its share of checkpoints.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

from rootstock.core.artifact import write_json, write_text
from rootstock.core.errors import RootstockError, RunFailed
from rootstock.core.modules import needed
from rootstock.core.recipe import Recipe
from rootstock.core.runfolder import RunFolder, recipe_text
from rootstock.core.watch import Say, Watch
from rootstock.core.worker import ERRORS, left
from rootstock.corpus.on_ray import session
from rootstock.verbs.launch import RESTARTS

_BEGUN = "begun"


def carry_out(recipe: Recipe, folder: RunFolder, say: Say, *, overwrite: bool, resume: bool) -> None:
    """Have Ray's workers carry a recipe out; returns when the run folder is complete. Raises what ended them.

    UsageError where Ray is not installed or RAY_ADDRESS leads nowhere.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    with session() as ray:
        train = needed("ray.train", "the engine ray", extra="cluster", otherwise="set cluster.engine=torch")
        trainers = needed("ray.train.torch", "the engine ray", extra="cluster", otherwise="set cluster.engine=torch")
        cluster, place = recipe.cluster, folder.path.absolute().with_name(f".{folder.path.name}.{uuid4().hex[:8]}.ray")
        gpus = bool(ray.cluster_resources().get("GPU")) if cluster.gpus_per_worker is None else bool(cluster.gpus_per_worker)
        place.mkdir(parents=True)
        write_text(place / "recipe.yaml", recipe_text(recipe))
        write_json(place / "task.json", {"out": str(folder.path.absolute()), "overwrite": overwrite, "resume": resume})
        say(f"workers   {cluster.workers} on Ray, {'a GPU each' if gpus else 'on processors'}")
        trainer = trainers.TorchTrainer(
            _work,
            train_loop_config={"place": str(place)},
            torch_config=trainers.TorchConfig(backend="cpu:gloo,cuda:nccl" if gpus else "gloo"),
            scaling_config=train.ScalingConfig(num_workers=cluster.workers, use_gpu=gpus),
            run_config=train.RunConfig(storage_path=str(place / "ray"), failure_config=train.FailureConfig(max_failures=RESTARTS)),
        )
        try:
            _fit(trainer, place, folder)
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _fit(trainer: Any, place: Path, folder: RunFolder) -> None:
    try:
        trainer.fit()
    except RuntimeError as error:  # Ray's TrainingFailedError is one
        reason = str(error).strip().splitlines()[-1]
        raise left(place) or RunFailed(f"Ray gave up the workers: {reason}", fix=f"go on with: {folder.going_on}") from error
    if (meant := left(place)) is not None:
        raise meant


def _work(told: dict[str, str]) -> None:
    """What a worker does. An error that is meant ends it without another try: it lies beside the task."""
    import torch.distributed as dist

    from rootstock.core.runfolder import read_recipe
    from rootstock.verbs import api

    place = Path(told["place"])
    task = json.loads((place / "task.json").read_text("utf-8"))
    again = (place / _BEGUN).exists()
    dist.barrier()  # all have looked
    (place / _BEGUN).touch()
    os.environ.update({ERRORS: str(place), "TORCHELASTIC_RESTART_COUNT": str(int(again))})
    try:
        api.carry_out(read_recipe(place / "recipe.yaml"), Path(task["out"]), Watch(), overwrite=task["overwrite"], resume=task["resume"])
    except RootstockError:
        if left(place) is None:  # this worker was left alone, and all shall start again
            raise
