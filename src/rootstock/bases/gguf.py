"""GGUF, the one-file form of llama.cpp: tensors under its names and in its order, the tokenizer, and all of it read back.

Only architectures whose layers llama.cpp computes as transformers does are written; whatever a config says beyond them is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from rootstock.bases.gguf_tokens import add_tokens
from rootstock.core.errors import UsageError
from rootstock.core.modules import needed

PRECISIONS = ("f32", "f16", "q8_0")
_FIXED = ("token_types.weight", "position_embd.weight")
"""Tables that llama.cpp adds as they are, and so wants in 32 bits."""


@dataclass(frozen=True)
class Layout:
    """How llama.cpp knows a class of transformers. turned: its rotary positions pair neighbours where transformers pairs halves."""

    arch: str
    turned: bool
    act: str
    prefix: str = ""


_LAYOUTS = {
    "LlamaForCausalLM": Layout("llama", True, "silu"),
    "MistralForCausalLM": Layout("llama", True, "silu"),
    "Qwen2ForCausalLM": Layout("qwen2", False, "silu"),
    "Qwen3ForCausalLM": Layout("qwen3", False, "silu"),
    "BertModel": Layout("bert", False, "gelu"),
    "BertForSequenceClassification": Layout("bert", False, "gelu", "bert."),
}
_ENDS = (".weight", ".bias")
_POOLS = {"mean": 1, "cls": 2, "last": 3}
_RANK = 4


def layout(model: Any) -> Layout:
    """The layout of a model; UsageError for what GGUF has no place for."""
    name, config = type(model).__name__, model.config
    if name not in _LAYOUTS:
        raise UsageError(f"{name} --to gguf", wanted=f"one of {', '.join(_LAYOUTS)}", fix="export it --to merged or --to onnx")
    found = _LAYOUTS[name]
    act = getattr(config, "hidden_act", found.act)
    rope = getattr(config, "rope_parameters", None) or {}
    window = getattr(config, "sliding_window", None)
    wrong = {
        f"the activation {act}": act != found.act,
        f"scaled rotary positions ({rope.get('rope_type')})": rope.get("rope_type", "default") != "default",
        f"a sliding window of {window} tokens": window is not None and window < config.max_position_embeddings,
        f"{getattr(config, 'position_embedding_type', '')} positions": getattr(config, "position_embedding_type", "absolute") != "absolute",
        "biases in its feed-forward layers": bool(getattr(config, "mlp_bias", False)),
    }
    if held := [what for what, is_so in wrong.items() if is_so]:
        raise UsageError(
            f"{name} with {held[0]} --to gguf", wanted="what llama.cpp computes alike", fix="export it --to merged or --to onnx"
        )
    return found


def write(model: nn.Module, tokenizer: Any, path: Path, *, precision: str, pool: str | None, labels: tuple[str, ...]) -> None:
    """Write a plain model. pool: of a model of vectors, how a text's one is made. UsageError for what GGUF has no place for."""
    gguf = needed("gguf", "export to GGUF", extra="gguf")
    found = layout(model)
    writer = gguf.GGUFWriter(str(path), found.arch)
    _add_shape(writer, model.config, found)
    writer.add_file_type({"f32": 0, "f16": 1, "q8_0": 7}[precision])
    if found.arch == "bert":
        config: Any = model.config
        writer.add_layer_norm_eps(config.layer_norm_eps)
        writer.add_causal_attention(False)
        writer.add_pooling_type(gguf.PoolingType(_POOLS[pool] if pool else _RANK))
        if labels:
            writer.add_classifier_output_labels(list(labels))
    add_tokens(writer, tokenizer, model.config)
    for name, values in _named(model, found).items():
        kind = _kind(gguf, name, values, precision)
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read(path: Path, model: nn.Module) -> tuple[dict[str, np.ndarray], float]:
    """A file's tensors under the model's own names and in its own order, and how far any is from the model's own.

    As a share of the largest value of its tensor; nan where a value is no number. UsageError where a tensor is missing.
    """
    gguf = needed("gguf", "export to GGUF", extra="gguf")
    found = layout(model)
    held = {each.name: gguf.quants.dequantize(each.data, each.tensor_type) for each in gguf.GGUFReader(str(path)).tensors}
    own = dict(_own(model, found))
    names = _names(model, found, own)
    if strange := sorted(set(names.values()) ^ set(held)):
        raise UsageError(f"{path} lacks {strange[0]}, or has it too much", wanted="each tensor once", fix="write it again")
    back = {name: _turned(name, held[names[name]].reshape(own[name].shape), model.config, found, back=True) for name in own}
    largest = [float(np.abs(back[name] - own[name]).max() / max(float(np.abs(own[name]).max()), 1e-12)) for name in own]
    return back, float(np.max(largest))


def _add_shape(writer: Any, config: Any, found: Layout) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    if found.arch == "bert":
        return
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_rope_dimension_count(width)
    writer.add_key_length(width)
    writer.add_value_length(width)


def _own(model: Any, found: Layout) -> Mapping[str, np.ndarray]:
    """The tensors that answers are made of, in fp32: a tied table once, no pooler where nothing reads it."""
    tied = {"lm_head.weight"} if getattr(model.config, "tie_word_embeddings", False) else set()
    skipped = ("pooler.",) if found.arch == "bert" and not found.prefix else ()
    state = model.state_dict()
    return {
        name: value.detach().float().cpu().numpy()
        for name, value in state.items()
        if value.is_floating_point() and name not in tied and not name.startswith(skipped)
    }


def _names(model: Any, found: Layout, own: Mapping[str, np.ndarray]) -> dict[str, str]:
    """llama.cpp's name of each tensor; UsageError for one that has none."""
    gguf = needed("gguf", "export to GGUF", extra="gguf")
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == found.arch)
    table = gguf.get_tensor_name_map(arch, model.config.num_hidden_layers)
    heads = {"bert.pooler.dense": "cls", "classifier": "cls.output"}
    made = {}
    for name in own:
        stem, _, end = name.rpartition(".")
        told = f"{heads[stem]}.{end}" if found.prefix and stem in heads else table.get_name(name.removeprefix(found.prefix), _ENDS)
        if told is None:
            raise UsageError(f"GGUF has no name for the tensor {name}", wanted=f"the tensors of {found.arch}", fix="export it --to merged")
        made[name] = told
    return made


def _named(model: Any, found: Layout) -> dict[str, np.ndarray]:
    own = _own(model, found)
    names = _names(model, found, own)
    return {names[name]: np.ascontiguousarray(_turned(name, values, model.config, found)) for name, values in own.items()}


def _turned(name: str, values: np.ndarray, config: Any, found: Layout, *, back: bool = False) -> np.ndarray:
    """Queries' and keys' rows in the order that llama.cpp turns them by their place, or back from there."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": getattr(config, "num_key_value_heads", None)} if found.turned else {}
    count = next((number for part, number in heads.items() if f".{part}." in name), None)
    if count is None:
        return values
    half = values.shape[0] // count // 2
    split = (count, half, 2) if back else (count, 2, half)
    return values.reshape(*split, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def _kind(gguf: Any, name: str, values: np.ndarray, precision: str) -> Any:
    """The number format of a tensor: vectors and tables that are added stay in 32 bits; blocks of 8-bit numbers hold 32 each."""
    kinds = gguf.GGMLQuantizationType
    if precision == "f32" or values.ndim < 2 or name in _FIXED:
        return kinds.F32
    return kinds.Q8_0 if precision == "q8_0" and values.shape[-1] % 32 == 0 else kinds.F16
