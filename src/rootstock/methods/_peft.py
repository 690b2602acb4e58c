"""All that knows how peft wraps and renames: kept in one place."""

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import nn

from rootstock.core.errors import ContractRefused, MergeRefused, RecipeError, nearest
from rootstock.core.heads import head_of
from rootstock.core.loaded import Head, Loaded
from rootstock.core.method import Saved

# Importing peft draws random numbers: a first run in a process would start from other weights than a second.
with torch.random.fork_rng(devices=[]):
    import peft
    from peft.utils import ModulesToSaveWrapper, TrainableTokensWrapper
    from peft.utils.other import get_pattern_key

_TASK_TYPES = {
    "AutoModelForSequenceClassification": "SEQ_CLS",
    "AutoModelForTokenClassification": "TOKEN_CLS",
    "AutoModelForQuestionAnswering": "QUESTION_ANS",
    "AutoModelForSeq2SeqLM": "SEQ_2_SEQ_LM",
    "AutoModelForCausalLM": "CAUSAL_LM",
}


def original(name: str) -> str:
    """A parameter's name before peft wrapped it."""
    for added in ("base_model.model.", ".modules_to_save.default", ".original_module", ".base_layer"):
        name = name.replace(added, "")
    return name


def original_of_prompted(name: str) -> str:
    """A parameter's name before peft put vectors before it: the base lies one module less deep than under a tuner."""
    return original(f"base_model.model.{name.removeprefix('base_model.')}")


def kind_of(name: str) -> Any:
    """peft's type for a kind in its words, such as hra."""
    return peft.PeftType(name.upper())


def config_name(kind: str) -> str:
    """The config class of a kind."""
    return str(peft.PEFT_TYPE_TO_CONFIG_MAPPING[kind_of(kind)].__name__)


def targets(names: Sequence[str]) -> list[str] | str | None:
    """Names of modules as peft takes them; None leaves the choice to peft."""
    return "all-linear" if tuple(names) == ("all-linear",) else list(names) or None


_TURNED = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")
"""Kinds of base whose linear layers hold their matrices the other way round (Conv1D)."""


def check(kind: str, settings: Mapping[str, Any], names: Sequence[str], config: Mapping[str, Any]) -> None:
    """RecipeError where peft refuses the settings of a kind, or knows no modules for it in this architecture and none are named."""
    made = getattr(peft, config_name(kind))
    known = sorted(made.__dataclass_fields__)
    for key in settings:
        if key not in known:
            near = nearest(key, known)
            raise RecipeError(
                f"{kind} has no option {key}",
                wanted=f"one of {', '.join(known)}",
                fix=f"did you mean {near!r}?" if near else "leave it out",
            )
    try:
        with _quiet():
            made(target_modules=targets(names), **settings)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{kind}: {error}", wanted="settings that peft takes", fix="correct the method's settings") from error
    places = getattr(peft.mapping.PEFT_TYPE_TO_TUNER_MAPPING[kind_of(kind)], "target_module_mapping", None)
    if places is not None and not names and "target_modules" not in settings and config.get("model_type") not in places:
        raise RecipeError(
            f"peft knows no modules for {kind} in a base of the kind {config.get('model_type')}",
            wanted="the names of modules",
            fix="add --set method.targets=[all-linear]",
        )
    if config.get("model_type") in _TURNED and not _takes_turned(made, settings):
        raise RecipeError(
            f"peft's {kind} takes no matrices that are turned round, as those of a {config['model_type']} are",
            wanted="a method that does, or a base with plain linear layers",
            fix="choose --method lora, or another base",
        )


def _takes_turned(made: Any, settings: Mapping[str, Any]) -> bool:
    """Whether peft hangs this kind on GPT-2's Conv1D: tried on one alone."""
    from transformers.pytorch_utils import Conv1D

    try:
        with _quiet(), torch.random.fork_rng(devices=[]):
            peft.inject_adapter_in_model(made(**{**settings, "target_modules": ["0"]}), nn.Sequential(Conv1D(64, 64)))
    except TypeError:
        return False
    except ValueError:  # something else is wrong with it; the base itself will say what
        return True
    return True


def head_modules(loaded: Loaded) -> list[str]:
    """Modules that are wholly fresh; peft trains and saves them beside the adapter. Within the body only the very module is named.

    What shares weights with the base (a language model's output layer) is none: peft would train a copy of them, apart from the base.
    """
    body = getattr(loaded.model, "base_model_prefix", "")
    named = {name.rsplit(".", 1)[0] if name.startswith(f"{body}.") else head_of(name) or name.split(".", 1)[0] for name in loaded.fresh}
    held = {module: {f"{module}.{name}" for name, _ in loaded.model.get_submodule(module).named_parameters()} for module in named}
    return sorted(module for module, names in held.items() if names <= loaded.fresh)


def wrap(loaded: Loaded, config_name: str, **settings: Any) -> nn.Module:
    """The model with an adapter of this peft config, its fresh head trainable and saved with it."""
    config = getattr(peft, config_name)(
        task_type=_TASK_TYPES.get(loaded.head.auto), modules_to_save=head_modules(loaded) or None, **settings
    )
    with _quiet():
        wrapped: nn.Module = peft.get_peft_model(loaded.model, config)
    for name, parameter in wrapped.named_parameters():
        if original(name) in loaded.fresh and ".original_module." not in name:
            parameter.requires_grad_(True)
    return wrapped


def prompted(loaded: Loaded, config_name: str, **settings: Any) -> nn.Module:
    """The model with vectors of this peft config before each row, its fresh head trainable and saved with them.

    peft reads the shape of a base from its config, where not all architectures call it alike.
    """
    base: Any = loaded.model
    held = base.config
    shape = {"token_dim": base.get_input_embeddings().embedding_dim if config_name != "PrefixTuningConfig" else loaded.width}
    if loaded.head.auto == "AutoModelForSeq2SeqLM":
        shape["num_transformer_submodules"] = 1  # the encoder's; peft would hold vectors for the decoder as well, which nothing reads
    shape |= {"num_layers": held.num_hidden_layers, "num_attention_heads": held.num_attention_heads}
    if config_name == "PromptEncoderConfig":
        settings = {"encoder_hidden_size": shape["token_dim"]} | settings
    config = getattr(peft, config_name)(
        task_type=_TASK_TYPES[loaded.head.auto], modules_to_save=head_modules(loaded) or None, **shape, **settings
    )
    with _quiet():
        wrapped: nn.Module = peft.get_peft_model(base, config)
    for name, parameter in wrapped.named_parameters():
        if original_of_prompted(name) in loaded.fresh and ".original_module." not in name:
            parameter.requires_grad_(True)
    return wrapped


def answering_tokens(model: Any) -> nn.Module:
    """A model with vectors before each row, whose answers to these are left out where each token has an answer of its own."""
    config: Any = model.active_peft_config
    if config.peft_type.value != "PREFIX_TUNING" and config.task_type in _OF_TOKENS:
        model.base_model.base_model.register_forward_hook(partial(_behind, config.num_virtual_tokens), with_kwargs=True)
    if config.peft_type.value != "PREFIX_TUNING" and config.task_type == "CAUSAL_LM":
        model.base_model_prepare_inputs_for_generation = partial(_unplaced, model.base_model_prepare_inputs_for_generation)
    return cast(nn.Module, model)


_OF_TOKENS = ("TOKEN_CLS", "QUESTION_ANS", "CAUSAL_LM")


def _behind(count: int, _: nn.Module, __: Any, given: Mapping[str, Any], output: Any) -> Any:
    """Without the states of the first places; a token that is written later comes by its id, with no vectors before it."""
    if given.get("inputs_embeds") is not None:
        output.last_hidden_state = output.last_hidden_state[:, count:]
    return output


def _unplaced(prepare: Any, *given: Any, **named: Any) -> dict[str, Any]:
    """What is read next while writing, without positions: peft would leave them out itself, and warn."""
    return {**prepare(*given, **named), "position_ids": None}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings about which a user could do nothing."""
    with warnings.catch_warnings():
        # A base of the GPT-2 family has its matrices turned round; peft sees that by itself, and says so each time.
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False but the target module is `Conv1D`", UserWarning)
        # peft still asks transformers by a name whose end is near.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        # BOFT looks for a compiler of CUDA, and does without.
        warnings.filterwarnings("ignore", "Failed to load the CUDA extension", UserWarning)
        warnings.filterwarnings("ignore", "Setting boft_n_butterfly_factor to 1", UserWarning)
        # Its list of layers knows LayerNorm only; it copies any norm as it is.
        warnings.filterwarnings("ignore", "Unsupported layer type .*Norm", UserWarning)
        yield


def lora_updates(folder: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """A and B of each matrix that a saved LoRA changes, by the matrix's module; B holds the scale.

    RecipeError where the folder holds no LoRA, or one that does more than add B·A.
    """
    path = folder / "adapter_config.json"
    config = peft.PeftConfig.from_pretrained(str(folder)) if path.is_file() and "peft_type" in json.loads(path.read_text("utf-8")) else None
    kind = "no adapter of peft" if config is None else _kind(config)
    if config is None or kind != "lora" or config.bias != "none":
        raise RecipeError(
            f"{folder} holds {kind}",
            wanted="an adapter of lora, rslora or compose (or bottlenecks, all of one placement): only such add up",
            fix="name runs with --method lora",
        )
    if getattr(config, "trainable_token_indices", None):
        raise RecipeError(f"{folder} holds rows of new tokens", wanted="adapters over the base's own vocabulary", fix="name other runs")
    return _updates(config, load_file(folder / "adapter_model.safetensors"))


def _kind(config: Any) -> str:
    return "dora" if getattr(config, "use_dora", False) else str(config.peft_type.value).lower()


def _updates(config: Any, tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    found = {}
    for name, down_RI in tensors.items():
        if name.endswith(".lora_A.weight"):
            module, rank = original(name.removesuffix(".lora_A.weight")), len(down_RI)
            alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern.keys(), module), config.lora_alpha)
            scale = alpha / (math.sqrt(rank) if config.use_rslora else rank)
            found[module] = (down_RI, scale * tensors[name.replace(".lora_A.", ".lora_B.")])
    return found


def saved(folder: Path) -> Saved | None:
    """A LoRA that does no more than add B·A, with the whole parameters beside it; None for anything else."""
    config = peft.PeftConfig.from_pretrained(str(folder))
    if _kind(config) != "lora" or config.bias != "none" or getattr(config, "trainable_token_indices", None):
        return None
    tensors = load_file(folder / "adapter_model.safetensors")
    updates, beside = _updates(config, tensors), {name: value for name, value in tensors.items() if ".lora_" not in name}
    if len(tensors) != 2 * len(updates) + len(beside):  # vectors of embeddings, or another part that is no product
        return None
    return Saved(updates, {original(name): value for name, value in beside.items()})


def as_lora(model: nn.Module, updates: Mapping[str, tuple[torch.Tensor, torch.Tensor]], fresh: frozenset[str]) -> nn.Module:
    """A plain model with these updates (A and B of each matrix, by its module) as one LoRA, its fresh head saved with it."""
    ranks = {name: len(down_RI) for name, (down_RI, _) in updates.items()}
    most = max(ranks.values())
    odd = {name: rank for name, rank in ranks.items() if rank != most}
    loaded = Loaded(model, Head(auto=_auto_of(model)), fresh)
    wrapped = wrap(loaded, "LoraConfig", r=most, lora_alpha=most, target_modules=list(updates), rank_pattern=odd, alpha_pattern=odd)
    with torch.no_grad():
        for name, (down_RI, up_OR) in updates.items():
            layer: Any = wrapped.get_submodule(f"base_model.model.{name}")
            layer.lora_A["default"].weight.copy_(down_RI)
            layer.lora_B["default"].weight.copy_(up_OR)
    return wrapped


def _auto_of(model: nn.Module) -> str:
    """The Auto class that a model is of, among those that peft has a name for."""
    import transformers

    def held(auto: str) -> Any:
        return getattr(transformers, auto)._model_mapping.get(type(model.config), ())

    return next(
        (auto for auto in _TASK_TYPES if type(model) in (found if isinstance(found := held(auto), tuple) else (found,))), "AutoModel"
    )


def merged(model: nn.Module) -> nn.Module:
    """The plain model with the adapter folded into its weights."""
    assert isinstance(model, peft.PeftModel)
    try:
        plain: nn.Module = model.merge_and_unload(safe_merge=True)
    except (AttributeError, NotImplementedError, ValueError) as error:
        kind = model.active_peft_config.peft_type.value.lower()
        raise MergeRefused(
            f"peft can't fold {kind} into weights: {error}", wanted="a kind that folds", fix="use the adapter unmerged"
        ) from error
    for name, module in list(plain.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):  # not every kind takes its head out by itself
            plain.set_submodule(name, module.modules_to_save["default"])
    return plain


def restored(loaded: Loaded, folder: Path) -> nn.Module:
    """Base and adapter; every tensor of the file must have found its place, or ContractRefused (peft itself only warns)."""
    try:
        with _quiet():
            warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)
            model: nn.Module = peft.PeftModel.from_pretrained(loaded.model, folder, local_files_only=True)
    except (KeyError, RuntimeError) as error:
        raise ContractRefused(f"the adapter of {folder} does not fit: {error}", wanted="the base that it was trained on") from error
    held, saved = peft.get_peft_model_state_dict(model, save_embedding_layers=False), load_file(folder / "adapter_model.safetensors")
    wrong = sorted(
        name for name in {*held, *saved} if name not in held or name not in saved or not torch.equal(held[name].cpu(), saved[name])
    )
    if wrong:
        raise ContractRefused(
            f"{len(wrong)} adapter tensors of {folder} did not find their place, such as {wrong[0]}",
            wanted="the base that it was trained on",
        )
    for name, module in list(model.named_modules()):
        if isinstance(module, TrainableTokensWrapper):  # it would write the whole table anew in each pass
            model.set_submodule(name, module.unload_and_optionally_merge_module(merge=True, safe_merge=False, adapter_names=None))
    return model
