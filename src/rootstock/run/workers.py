"""What changes where a run is carried out by several workers: who writes, what can't be shared, and a model of which each holds a shard."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rootstock.core import seed
from rootstock.core.coupled import Coupled
from rootstock.core.errors import RecipeError
from rootstock.core.method import Method
from rootstock.core.recipe import Recipe
from rootstock.core.runfolder import RunFolder
from rootstock.core.watch import Watch
from rootstock.loop.saving import Saver
from rootstock.loop.world import World
from rootstock.run.build import Built
from rootstock.run.prepared import Joint, Prepared

_ALONE = "leave --workers out"
_WHOLE = "set cluster.strategy=ddp"


def heard(watch: Watch, world: World) -> Watch:
    """The watch of the first worker; the others say nothing. All count time from the same moment."""
    started, goes_back = world.one(watch.started, float(watch.goes_back))  # who went back alone would wait for the others for ever
    if world.first:
        return replace(watch, started=started)
    return Watch(stop=watch.stop, enough=watch.enough, goes_back=bool(goes_back), started=started)


def known(recipe: Recipe, world: World) -> Recipe:
    """The recipe with the workers that there are, and without what the first of them does for all."""
    cluster = recipe.cluster.model_copy(update={"workers": world.size})
    own = {} if world.first else {"track": None, "budget": recipe.budget.model_copy(update={"ledger": "off"})}
    return recipe.model_copy(update={"cluster": cluster, **own})


def check(prepared: Prepared, world: World) -> None:
    """Refuse what several workers can't share: RecipeError."""
    recipe, method = prepared.recipe, prepared.method
    name = recipe.method["name"]
    if recipe.cluster.offload and recipe.cluster.strategy != "fsdp":
        raise RecipeError("cluster.offload is set", wanted="strategy fsdp", fix="leave it out: there is nothing to move")
    if world.size == 1:
        return
    if method.at_once:
        raise RecipeError(f"{name} is fitted to all rows at once, without steps to share", wanted="one process", fix=_ALONE)
    if method.warm_up() is not None:
        raise RecipeError(f"{name} teaches its base before the training, in one process", wanted="one process", fix=_ALONE)
    for key in ("micro_tokens", "rate") if world.sharded else ("rate",):  # what a worker holds of a whole model can be tried by one
        if getattr(recipe.training, key) == "find":
            asked = ", as budget.memory is set" if key == "micro_tokens" and recipe.budget.memory else ""
            raise RecipeError(
                f"training.{key} is to be found by trying{asked}", wanted="a number", fix="find it in one process, then name it to several"
            )
    if recipe.training.cache_layers == "yes":
        raise RecipeError("training.cache_layers is yes", wanted="layers that are computed anew in each worker", fix="set it to auto")
    if world.sharded:
        _check_sharded(prepared, world)


def _check_sharded(prepared: Prepared, world: World) -> None:
    method, name = prepared.method, prepared.recipe.method["name"]
    if isinstance(prepared.task, Coupled):
        raise RecipeError(f"{prepared.recipe.task['name']} compares all rows of an update", wanted="whole models", fix=_WHOLE)
    if isinstance(prepared, Joint):
        raise RecipeError("several tasks use parts of one model by turns", wanted="whole models", fix=_WHOLE)
    if type(method).revise is not Method.revise:
        raise RecipeError(f"{name} looks at whole matrices after each update", wanted="whole models", fix=_WHOLE)
    if method.packed is not None:
        raise RecipeError(f"{name} packs its base, which can't be cut", wanted="whole models", fix=_WHOLE)
    if method.frozen:
        raise RecipeError(f"{name} trains a head alone, and there is nothing to cut", wanted="whole models", fix=_WHOLE)
    if not world.apart and prepared.saves == "adapter":
        raise RecipeError(f"{name} puts weights beside layers that are cut", wanted="a method that trains the base's own", fix=_WHOLE)
    if prepared.recipe.training.adversary:
        raise RecipeError("training.adversary passes a batch twice", wanted="whole models", fix=_WHOLE)


@contextmanager
def place(folder: RunFolder, world: World) -> Iterator[RunFolder]:
    """Where this worker writes: the first in the run's folder, another in one that is thrown away. All find the run's checkpoints."""
    if world.first:
        world.wait()
        yield folder
        return
    with tempfile.TemporaryDirectory() as held:
        for path in folder.path.iterdir() if folder.path.is_dir() else ():
            if path.is_file() and not path.name.endswith(".part"):
                with suppress(FileNotFoundError):
                    shutil.copy(path, held)
        (Path(held) / "checkpoints").symlink_to(folder.checkpoints.absolute())
        world.wait()
        yield RunFolder(Path(held))


def spread(prepared: Prepared, built: Built, folder: RunFolder, world: World) -> Built:
    """The same for a training: with the other workers, and a shard of the model where none shall hold all of it."""
    cluster = prepared.recipe.cluster
    if cluster.recompute:
        _recompute(prepared, built)
    if world.size == 1:
        return built
    if world.draws:  # dropout of its own
        seed.seed_everything(seed.derive(prepared.recipe.seed, "training", world.draws))
    saver = Saver(folder.checkpoints, prepared.recipe.training.keep, world)
    if not world.sharded:
        return replace(built, world=world, saver=saver)
    from rootstock.loop import tensored
    from rootstock.loop.sharded import Sharded, fsdp

    try:
        if world.apart:
            shards = Sharded(built.learner, world, fsdp(built.dtype, built.fresh, offload=cluster.offload))
        else:
            shards = Sharded(built.learner, world, tensored.cut, dtype=built.dtype, fresh=built.fresh)
    except (ValueError, NotImplementedError) as error:
        raise RecipeError(
            f"{prepared.base.name} can't be cut into shards: {str(error).splitlines()[0]}", wanted="whole models", fix=_WHOLE
        ) from error
    return replace(built, world=world, saver=saver, shards=shards, learner=shards.learner, dtype=torch.float32)


@contextmanager
def cut_as_read() -> Iterator[None]:
    """RecipeError where a task reads weights beside the model's own passes, when only a shard of them is there."""
    try:
        yield
    except RuntimeError as error:
        if "DTensor" not in str(error):
            raise
        raise RecipeError(
            "this task or method reads weights outside of the model's own passes, where only a shard is held",
            wanted="whole models",
            fix=_WHOLE,
        ) from error


def _recompute(prepared: Prepared, built: Built) -> None:
    model: Any = built.learner
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise RecipeError(
            f"{prepared.base.name} keeps what its blocks compute", wanted="a transformers model", fix="leave cluster.recompute out"
        )
    # transformers 5.23 warns of the second name, which older ones have.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    if hasattr(model, "enable_input_require_grads") and not any(p.requires_grad for p in model.get_input_embeddings().parameters()):
        model.enable_input_require_grads()
