"""Train keys and values that every layer's attention finds before the row's own, and the fresh head (prefix tuning).

Prefer it to prompt, as it acts in every layer; on small encoders lora is better than both. It fits bases that read past keys and values.
Li and Liang 2021, https://arxiv.org/abs/2101.00190
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from rootstock.methods._prompted import CLASSIFIER, DECODERS, Prompted

_ENCODERS = ("bert", "camembert", "electra", "roberta", "xlm-roberta")
"""Those that read past keys and values."""


class PrefixTuning(Prompted):
    """Keys and values of `tokens` positions that no row has, in each layer."""

    epochs: ClassVar[float] = 10
    updates: ClassVar[int] = 300
    rate: ClassVar[float] = 2e-2
    weight_decay: ClassVar[float] = 0.0
    trained: ClassVar[float] = 0.004
    fits: ClassVar[Mapping[str, tuple[str, ...]]] = {
        CLASSIFIER: (*_ENCODERS, *DECODERS),
        "AutoModelForTokenClassification": _ENCODERS,
        "AutoModelForQuestionAnswering": _ENCODERS,
        "AutoModelForCausalLM": (*_ENCODERS, *DECODERS),
    }

    project: bool = False
    """Whether a network makes them from an embedding each while training, which the paper found steadier; only the result is saved."""

    def prompt(self) -> tuple[str, dict[str, Any]]:
        """peft's prefix tuning."""
        return "PrefixTuningConfig", {"prefix_projection": self.project}
