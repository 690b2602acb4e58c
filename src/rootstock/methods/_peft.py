"""All that knows how peft wraps and renames: kept in one place."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from rootstock.core.errors import ContractRefused
from rootstock.core.loaded import Loaded

# Importing peft draws random numbers: a first run in a process would start from other weights than a second.
with torch.random.fork_rng(devices=[]):
    import peft

_TASK_TYPES = {
    "AutoModelForSequenceClassification": "SEQ_CLS",
    "AutoModelForTokenClassification": "TOKEN_CLS",
    "AutoModelForSeq2SeqLM": "SEQ_2_SEQ_LM",
    "AutoModelForCausalLM": "CAUSAL_LM",
}


def original(name: str) -> str:
    """A parameter's name before peft wrapped it."""
    for added in ("base_model.model.", ".modules_to_save.default", ".original_module", ".base_layer"):
        name = name.replace(added, "")
    return name


def head_modules(loaded: Loaded) -> list[str]:
    """Modules that are wholly fresh; peft trains and saves them beside the adapter. Within the body only the very module is named.

    What shares weights with the base (a language model's output layer) is none: peft would train a copy of them, apart from the base.
    """
    body = getattr(loaded.model, "base_model_prefix", "")
    named = {name.rsplit(".", 1)[0] if name.startswith(f"{body}.") else name.split(".", 1)[0] for name in loaded.fresh}
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings about which a user could do nothing."""
    with warnings.catch_warnings():
        # A base of the GPT-2 family has its matrices turned round; peft sees that by itself, and says so each time.
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False but the target module is `Conv1D`", UserWarning)
        # peft still asks transformers by a name whose end is near.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def merged(model: nn.Module) -> nn.Module:
    """The plain model with the adapter folded into its weights."""
    assert isinstance(model, peft.PeftModel)
    plain: nn.Module = model.merge_and_unload(safe_merge=True)
    return plain


def restored(loaded: Loaded, folder: Path) -> nn.Module:
    """Base and adapter; every tensor of the file must have found its place, or ContractRefused (peft itself only warns)."""
    with _quiet():
        model: nn.Module = peft.PeftModel.from_pretrained(loaded.model, folder, local_files_only=True)
    held, saved = peft.get_peft_model_state_dict(model, save_embedding_layers=False), load_file(folder / "adapter_model.safetensors")
    wrong = sorted(
        name for name in {*held, *saved} if name not in held or name not in saved or not torch.equal(held[name].cpu(), saved[name])
    )
    if wrong:
        raise ContractRefused(
            f"{len(wrong)} adapter tensors of {folder} did not find their place, such as {wrong[0]}",
            wanted="the base that it was trained on",
        )
    return model
