"""Tensor parallelism by the plan that a transformers model brings: each worker computes with its columns or rows of the large matrices.

All workers see every row, and hold the same activations between the blocks. What no rule of the plan names, and the output layer of words,
is whole on each of them; as all compute the same with it, its gradients agree without a word between them.
"""

from collections.abc import Collection
from typing import Any

from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from transformers import CONFIG_MAPPING
from transformers.distributed.tensor_parallel import apply_tensor_parallelism

from rootstock.core.errors import RecipeError
from rootstock.loop.world import World

_SUMMED = "replicated_with_grad_allreduce"
"""A norm of single heads, whole on each worker, that meets only this one's heads. transformers would sum its gradient after each backward
pass, and so more than once where an update has several; here they are summed once."""
_KNOWN = ("llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "olmo2", "granite", "cohere", "glm", "gpt_oss")
_OTHERWISE = "set cluster.strategy=fsdp"
_HEADS = ("num_attention_heads", "num_key_value_heads")


def cut(model: nn.Module, world: World) -> Collection[str]:
    """Make the model compute with this worker's part; the names of parameters whose gradients have to be summed.

    Raises RecipeError where the model brings no plan, or its heads can't be shared evenly.
    """
    whole: Any = model
    plan: dict[str, str] = dict(getattr(whole, "tp_plan", None) or {})
    if not plan:
        raise RecipeError(
            f"{type(model).__name__} brings no plan for tensor parallelism",
            wanted=f"a model that does: {', '.join(_planned())} and others",
            fix=_OTHERWISE,
        )
    _check_heads(whole.config.get_text_config(), world)
    rules = whole._expand_parallel_plan({name: style for name, style in plan.items() if style != _SUMMED})
    kept, before = _vocabulary(whole), len(list(model.parameters()))
    rules = {name: style for name, style in rules.items() if not kept & {name, name.rpartition(".")[0]}}
    apply_tensor_parallelism(model, init_device_mesh(_kind(model), (world.size,), mesh_dim_names=("tp",)), rules)
    _check_cut(model, before)
    _check_widths(model, world)
    named = whole._expand_parallel_plan({name: style for name, style in plan.items() if style == _SUMMED})
    return [name for name, parameter in model.named_parameters() if name in named and parameter.requires_grad]


def _check_heads(config: Any, world: World) -> None:
    for key in _HEADS:
        if (heads := getattr(config, key, None)) and heads % world.size:
            raise RecipeError(
                f"{heads} {key.removeprefix('num_').replace('_', ' ')} can't be shared evenly by {world.size} workers",
                wanted="a number of workers that divides them",
                fix="change --workers",
            )


def _check_cut(model: nn.Module, before: int) -> None:
    """RecipeError for a cut that checkpoints can't tell by rows or columns, or that has parted weights that were one."""
    for name, parameter in model.named_parameters():
        if isinstance(parameter, DTensor) and any(type(each) not in (Shard, Replicate) for each in parameter.placements):
            raise RecipeError(f"{name} would be cut into pieces that take turns", wanted="rows or columns", fix=_OTHERWISE)
    if len(list(model.parameters())) != before:
        raise RecipeError(f"{type(model).__name__} shares weights that its plan cuts one by one", wanted="whole models", fix=_OTHERWISE)


def _check_widths(model: nn.Module, world: World) -> None:
    """RecipeError where dropout would draw masks of another width on one worker: all draw the same numbers, and would part there unseen."""
    if not _drops(model):
        return
    tables = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)}  # their sum is whole again
    for name, parameter in model.named_parameters():
        for each in parameter.placements if isinstance(parameter, DTensor) and name not in tables else ():
            if isinstance(each, Shard) and (width := parameter.shape[each.dim]) % world.size:
                raise RecipeError(
                    f"the {width:,} units of {name} can't be shared evenly by {world.size} workers, and dropout draws for each unit",
                    wanted="a number of workers that divides them",
                    fix="change --workers, or set training.dropout=0",
                )


def _drops(model: Any) -> bool:
    """Whether anything is dropped in training: by a module, or by a function that reads its share in the configuration."""
    settings = model.config.get_text_config().to_dict()
    told = any(isinstance(value, float) and value > 0 for key, value in settings.items() if key.endswith(("dropout", "pdrop")))
    return told or any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())


def _vocabulary(model: Any) -> set[str]:
    """The output layer of words, and a table that shares its weights: tasks read them beside the model's passes, and so they stay whole."""
    output = model.get_output_embeddings()
    weights = {id(parameter) for parameter in output.parameters()} if isinstance(output, nn.Module) else set()
    return {name for name, module in model.named_modules() if any(id(each) in weights for each in module.parameters(recurse=False))}


def _planned() -> list[str]:
    """Well-known architectures whose configuration brings a plan."""
    return [name for name in _KNOWN if name in CONFIG_MAPPING and getattr(CONFIG_MAPPING[name], "base_model_tp_plan", None)]


def _kind(model: nn.Module) -> str:
    return next(model.parameters()).device.type
