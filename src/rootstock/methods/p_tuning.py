"""Train a small network that makes the vectors before each row's tokens, and the fresh head (P-tuning).

Prefer it to prompt where that learns too slowly: the network lets the vectors move together. Only the vectors are saved. It fits
encoders, and language models that write. Liu et al. 2021, https://arxiv.org/abs/2103.10385
"""

from typing import Any, ClassVar, Literal

from pydantic import Field

from rootstock.methods._prompted import Prompted


class PTuning(Prompted):
    """The vectors are what a network of two or three layers makes of an embedding each."""

    epochs: ClassVar[float] = 10
    updates: ClassVar[int] = 300
    rate: ClassVar[float] = 2e-3
    trained: ClassVar[float] = 0.005

    network: Literal["mlp", "lstm"] = "mlp"
    """What makes the vectors: three linear layers, or the paper's two-layer LSTM, which is slower."""
    hidden: int = Field(default=128, ge=1)
    """Width of the network inside."""

    def prompt(self) -> tuple[str, dict[str, Any]]:
        """peft's prompt encoder."""
        return "PromptEncoderConfig", {"encoder_reparameterization_type": self.network.upper(), "encoder_hidden_size": self.hidden}
