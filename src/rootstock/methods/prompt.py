"""Train vectors that stand before each row's tokens, and the fresh head (prompt tuning).

Prefer it only for bases of billions of parameters, where it is the least that can be kept; on small encoders lora is far better.
It fits encoders, and language models that write. Lester et al. 2021, https://arxiv.org/abs/2104.08691
"""

from typing import Any, ClassVar, Literal

from rootstock.methods._prompted import Prompted


class PromptTuning(Prompted):
    """The vectors are read as if they were embedded tokens."""

    epochs: ClassVar[float] = 10
    updates: ClassVar[int] = 300
    rate: ClassVar[float] = 2e-2
    weight_decay: ClassVar[float] = 0.0
    trained: ClassVar[float] = 0.0003

    start: Literal["words", "random"] = "words"
    """words: the embeddings of words drawn from the vocabulary, which the paper found better on small bases. random: uniform."""

    def prompt(self) -> tuple[str, dict[str, Any]]:
        """peft's prompt tuning."""
        return "PromptTuningConfig", {"prompt_tuning_init": "SAMPLE_VOCAB" if self.start == "words" else "RANDOM"}
