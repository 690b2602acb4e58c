"""Architectures with random weights: the baseline that shows what pre-training was worth, and the start of pre-training.

For now they all borrow the tokenizer of `minilm` (uncased WordPiece, 30,522 tokens).
"""

from typing import Any

from rootstock.core.errors import UnknownName

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "bert-tiny": {"model_type": "bert", "num_hidden_layers": 2, "hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 512},
    "bert-mini": {"model_type": "bert", "num_hidden_layers": 4, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024},
    "bert-small": {"model_type": "bert", "num_hidden_layers": 4, "hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 2048},
    "bert-base": {"model_type": "bert", "num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    "gpt-mini": {"model_type": "gpt2", "n_layer": 4, "n_embd": 256, "n_head": 4, "n_positions": 512},
}
"""Sizes of the BERT miniatures after Turc et al. 2019 (arXiv:1908.08962)."""


def facts(architecture: str) -> dict[str, Any]:
    """Config values of an architecture; raises UnknownName with the nearest."""
    if architecture not in ARCHITECTURES:
        raise UnknownName("architecture", architecture, ARCHITECTURES)
    return ARCHITECTURES[architecture]


def config(architecture: str, vocab_size: int) -> Any:
    """The transformers config of an architecture."""
    from transformers import AutoConfig

    return AutoConfig.for_model(**facts(architecture), vocab_size=vocab_size)
