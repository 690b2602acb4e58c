"""Architectures with random weights: the start of pre-training, and the baseline that shows what it was worth."""

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from rootstock.core import tokens
from rootstock.core.errors import BaseError, UnknownName
from rootstock.sentinel.gate import check_config

_BERT = {"model_type": "bert", "max_position_embeddings": 512}
_T5 = {"model_type": "t5", "n_positions": 512}
_GPT2 = {"model_type": "gpt2", "activation_function": "gelu_pytorch_tanh"}
"""GPT-2's own GELU in one kernel; the default writes the same formula in eight."""
_LLAMA = {"model_type": "llama", "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "tie_word_embeddings": True}
_LETTER_FILTERS = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]]

ARCHITECTURES: dict[str, dict[str, Any]] = {
    # Turc et al. 2019 (arXiv:1908.08962), table 1: 4.4, 11.3, 29.1 and 110.1 million parameters with the heads of pre-training.
    "bert-tiny": {**_BERT, "num_hidden_layers": 2, "hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 512},
    "bert-mini": {**_BERT, "num_hidden_layers": 4, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024},
    "bert-small": {**_BERT, "num_hidden_layers": 4, "hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 2048},
    "bert-base": {**_BERT, "num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    # Warner et al. 2024 (arXiv:2412.13663) begin at 149 million; this is the 32 million of Ettin, the same recipe made smaller
    # (Weller et al. 2025, arXiv:2507.11412).
    "modernbert-small": {
        "model_type": "modernbert",
        "num_hidden_layers": 10,
        "hidden_size": 384,
        "num_attention_heads": 6,
        "intermediate_size": 576,
        "global_attn_every_n_layers": 3,
        "local_attention": 128,
        "max_position_embeddings": 8192,
    },
    # Nothing so small was published: GPT-2 in the sizes of BERT tiny and mini, so that objectives compare at equal size.
    "gpt2-tiny": {**_GPT2, "n_layer": 2, "n_embd": 128, "n_head": 2, "n_positions": 512},
    "gpt2-mini": {**_GPT2, "n_layer": 4, "n_embd": 256, "n_head": 4, "n_positions": 512},
    # Radford et al. 2019, table 2: the smallest of GPT-2; 124 million with its own 50,257 tokens.
    "gpt2-small": {**_GPT2, "n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024},
    # As wide and deep as BERT tiny; two heads share a key and value; the SwiGLU is 8/3 of the width (Shazeer 2020), in whole 32s.
    "llama-tiny": {
        **_LLAMA,
        "num_hidden_layers": 2,
        "hidden_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 352,
    },
    # MobileLLM-125M (Liu et al. 2024, arXiv:2402.14905), whose shape SmolLM-135M took: deep, narrow, tied, three heads to a key.
    "llama-small": {
        **_LLAMA,
        "num_hidden_layers": 30,
        "hidden_size": 576,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
    },
    # Tay et al. 2021 (arXiv:2109.10686): 15.58 million with 32,128 tokens, which the d_kv of 64 gives; their table says 32, which does not.
    "t5-tiny": {**_T5, "num_layers": 4, "d_model": 256, "d_kv": 64, "d_ff": 1024, "num_heads": 4},
    # Raffel et al. 2019 (arXiv:1910.10683), section 3.7: 60 and 220 million.
    "t5-small": {**_T5, "num_layers": 6, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_heads": 8},
    "t5-base": {**_T5, "num_layers": 12, "d_model": 768, "d_kv": 64, "d_ff": 3072, "num_heads": 12},
    # Both halves as wide and deep as BERT tiny; none so small was published.
    "bart-tiny": {
        "model_type": "bart",
        "d_model": 128,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 512,
        "decoder_ffn_dim": 512,
        "max_position_embeddings": 512,
    },
    # Lewis et al. 2019 (arXiv:1910.13461), section 3.1: six layers a half; 139 million with 50,265 tokens.
    "bart-base": {
        "model_type": "bart",
        "d_model": 768,
        "encoder_layers": 6,
        "decoder_layers": 6,
        "encoder_attention_heads": 12,
        "decoder_attention_heads": 12,
        "encoder_ffn_dim": 3072,
        "decoder_ffn_dim": 3072,
        "max_position_embeddings": 1024,
    },
    # Clark et al. 2020 (arXiv:2003.10555), table 6: 14 million. generator_sizes: of the small model whose guesses this one judges, a
    # quarter as wide; both share their embeddings.
    "electra-small": {
        "model_type": "electra",
        "embedding_size": 128,
        "num_hidden_layers": 12,
        "hidden_size": 256,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
        "max_position_embeddings": 512,
        "generator_sizes": {"num_hidden_layers": 12, "hidden_size": 64, "num_attention_heads": 1, "intermediate_size": 256},
    },
    # DeiT-Ti (Touvron et al. 2020, arXiv:2012.12877), 5.7 million there; for images of 32 x 32 in patches of 4, so 64 of them.
    "vit-tiny": {
        "model_type": "vit",
        "num_hidden_layers": 12,
        "hidden_size": 192,
        "num_attention_heads": 3,
        "intermediate_size": 768,
        "image_size": 32,
        "patch_size": 4,
    },
    # Radford et al. 2021 (arXiv:2103.00020) begin at 151 million. Width of BERT tiny, and a deeper half for images than for captions:
    # a few words are easier than 64 patches.
    "clip-tiny": {
        "model_type": "clip",
        "projection_dim": 128,
        "text_config": {
            "num_hidden_layers": 2,
            "hidden_size": 128,
            "num_attention_heads": 2,
            "intermediate_size": 512,
            "max_position_embeddings": 77,
            "projection_dim": 128,
        },
        "vision_config": {
            "num_hidden_layers": 4,
            "hidden_size": 128,
            "num_attention_heads": 4,
            "intermediate_size": 512,
            "image_size": 32,
            "patch_size": 4,
            "projection_dim": 128,
        },
    },
    # Mikolov et al. 2013 (arXiv:1310.4546): 300 numbers a word; window and negatives as in the authors' program.
    "cbow": {"model_type": "rootstock-cbow", "hidden_size": 300, "window": 5, "negatives": 5},
    # Peters et al. 2018, the small one of the published models: 13.6 million without the softmax layer.
    "elmo-small": {
        "model_type": "rootstock-elmo",
        "cells": 1024,
        "hidden_size": 256,
        "num_hidden_layers": 2,
        "letter_size": 16,
        "filters": _LETTER_FILTERS,
        "highways": 1,
        "max_letters": 50,
    },
}
"""Config values by name. The vocabulary and the special tokens' ids come from the tokenizer."""

OWN = {"rootstock-cbow": "cbow", "rootstock-elmo": "elmo"}
"""Model types of our own, and the files beside this one that tell transformers of them."""

_BYTES = "--kind bpe --family"
_LEARN = {"gpt2": f"{_BYTES} gpt", "llama": f"{_BYTES} llama", "t5": "--kind unigram --family t5", "bart": "", "clip": ""}
"""Model types that can't do without an end token, and how a tokenizer is learned that has one."""


def register(model_type: object) -> None:
    """Make a model type known to transformers, where it is one of our own."""
    if model_type in OWN:
        import_module(f"rootstock.bases.{OWN[str(model_type)]}")


def is_file(architecture: str) -> bool:
    """Whether it is the path of a config rather than a name."""
    return architecture.endswith(".json")


def facts(architecture: str) -> dict[str, Any]:
    """Config values of a named architecture, or those in a config.json; transformers is not imported.

    Raises UnknownName with the nearest, BaseError for a file that is missing or no config, GateRefused where it names code of its own.
    """
    if is_file(architecture):
        return _read(Path(architecture).expanduser())
    if architecture not in ARCHITECTURES:
        raise UnknownName("architecture", architecture, ARCHITECTURES)
    return ARCHITECTURES[architecture]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BaseError(f"there is no file {path}", wanted="the config.json of a transformers model", fix="correct what follows scratch:")
    check_config(path)
    values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if not isinstance(values.get("model_type"), str):
        raise BaseError(f"{path} has no model_type", wanted='for example "model_type": "bert"', fix="add it, or give a whole config.json")
    return values


def config(architecture: str, tokenizer: Any) -> Any:
    """The transformers config, with the vocabulary and special ids of the tokenizer that will be used; images alone need none (None).

    A config.json keeps its vocab_size where that is larger. Raises as facts does, and BaseError where the tokenizer does not suit.
    """
    from transformers import AutoConfig

    values = facts(architecture)
    register(values["model_type"])
    made = type(AutoConfig.for_model(values["model_type"])).from_dict(json.loads(json.dumps(values)))
    text = getattr(made, "text_config", made)
    if not hasattr(text, "vocab_size"):
        return made
    _check(values["model_type"], tokenizer)
    text.vocab_size = max(text.vocab_size, len(tokenizer)) if is_file(architecture) and "vocab_size" in values else len(tokenizer)
    if hasattr(text, "max_letters"):
        text.max_letters = _letters(tokenizer.get_vocab(), made)
    _name_tokens(made, tokenizer)
    if text is not made:
        _name_tokens(text, tokenizer)
    return made


def takes_text(architecture: str) -> bool:
    """Whether a tokenizer means anything to it."""
    return "image_size" not in facts(architecture)


def _check(model_type: str, tokenizer: Any) -> None:
    if model_type not in _LEARN:
        return
    end, fix = tokens.end(tokenizer), f"learn one: rootstock tokenizer train CORPUS --out FOLDER {_LEARN[model_type]}".strip()
    if end is None:
        raise BaseError(f"the tokenizer has no end token, which {model_type} needs", wanted="eos_token or sep_token", fix=fix)
    # CLIP reads a text at its first end token, and transformers takes an end token of id 2 for an old mistake of its own.
    if model_type == "clip" and (end == 2 or end not in tokenizer("a").input_ids):
        raise BaseError("the tokenizer does not put an end token that clip can find behind a text", wanted="[SEP] or another", fix=fix)


def _name_tokens(made: Any, tokenizer: Any) -> None:
    """Set the ids of special tokens, under every name that the config has for them."""
    end = tokens.end(tokenizer)
    made.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    made.bos_token_id = tokens.begin(tokenizer)
    made.eos_token_id = end
    if tokenizer.mask_token_id is not None:
        made.mask_token_id = tokenizer.mask_token_id
    for name, number in (("cls_token_id", made.bos_token_id), ("sep_token_id", end), ("forced_eos_token_id", end)):
        if hasattr(made, name):
            setattr(made, name, number)
    if made.is_encoder_decoder:
        made.decoder_start_token_id = made.pad_token_id if "t5" in made.model_type else end


def _letters(vocabulary: Mapping[str, int], made: Any) -> int:
    """Room for the longest token and its two marks, within what the config allows: empty room would be computed all the same."""
    widest = max(reach for reach, _ in made.filters)
    return int(max(widest, min(made.max_letters, 2 + max(len(token.encode()) for token in vocabulary))))
