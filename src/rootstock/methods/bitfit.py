"""Train only the biases and the fresh head (BitFit).

Prefer it to lora where nothing may be added to the model: a thousandth of its weights changes, and it loads in plain transformers.
It needs a base with biases, which newer language models lack. Ben Zaken et al. 2022, https://arxiv.org/abs/2106.10199
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from rootstock.core.errors import RecipeError
from rootstock.core.loaded import Head, Loaded
from rootstock.core.method import Method, train_only

_WITHOUT = ("gemma", "gemma2", "gemma3_text", "llama", "mistral", "mixtral", "modernbert", "mt5", "olmo", "olmo2", "t5")
"""Architectures that have none, unless their config.json says so."""


class BitFit(Method):
    """Matrices and embeddings stay as they were."""

    epochs: ClassVar[float] = 5
    updates: ClassVar[int] = 200
    rate: ClassVar[float] = 5e-3
    base_dropout: ClassVar[float | None] = 0.0
    flops: ClassVar[float] = 4
    trained: ClassVar[float] = 0.001

    def check(self, head: Head, config: Mapping[str, Any]) -> None:
        """RecipeError for an architecture without biases."""
        told = any(config.get(key) for key in ("attention_bias", "mlp_bias", "norm_bias"))
        if config.get("model_type") in _WITHOUT and not told:
            raise RecipeError(
                f"a base of the kind {config['model_type']} has no biases",
                wanted="a base with biases, such as BERT",
                fix="choose --method lora",
            )

    def apply(self, loaded: Loaded) -> nn.Module:
        """Freeze all but biases and head. ValueError where there is no bias."""
        biases = {name for name, _ in loaded.model.named_parameters() if name.endswith((".bias", "_bias"))}
        if not biases - loaded.fresh:
            raise ValueError("it has no biases that could learn")
        train_only(loaded.model, biases | loaded.fresh)
        return loaded.model
