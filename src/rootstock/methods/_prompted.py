"""What methods share that learn vectors for the base to read, and leave its weights alone."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from torch import nn

from rootstock.core.errors import MergeRefused, RecipeError
from rootstock.core.loaded import Head, Loaded
from rootstock.core.method import Method

CLASSIFIER = "AutoModelForSequenceClassification"
ENCODERS = (
    "albert",
    "bert",
    "camembert",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "modernbert",
    "mpnet",
    "roberta",
    "xlm-roberta",
)
"""Architectures whose classifier reads the first position: where embeddings come in place of ids, none can tell where padding begins."""
DECODERS = ("gpt2", "gpt_neox", "llama", "mistral", "opt", "qwen2", "qwen3")


class Prompted(Method, ABC):
    """Vectors at the front of each row that learn; the base reads them as if they were tokens."""

    base_dropout: ClassVar[float | None] = 0.0
    flops: ClassVar[float] = 4
    saves: ClassVar[str] = "adapter"
    folds: ClassVar[bool] = False
    fits: ClassVar[Mapping[str, tuple[str, ...]]] = {
        CLASSIFIER: ENCODERS,
        "AutoModelForTokenClassification": ENCODERS,
        "AutoModelForQuestionAnswering": ENCODERS,
        "AutoModelForCausalLM": DECODERS,
        "AutoModelForSeq2SeqLM": ("bart", "mbart", "mt5", "t5"),
    }
    """Architectures that it fits, as config.json calls them, by the names of transformers' Auto classes for heads."""

    tokens: int = Field(default=20, ge=1)
    """Vectors at the front of each row; a row may have so many tokens fewer."""

    @abstractmethod
    def prompt(self) -> tuple[str, dict[str, Any]]:
        """The name of peft's config class, and its settings but for the number of vectors."""

    @property
    def positions(self) -> int:
        """One a vector."""
        return self.tokens

    def check(self, head: Head, config: Mapping[str, Any]) -> None:
        """RecipeError for a head or an architecture that can't read vectors for tokens."""
        fix = "choose --method lora, or another base"
        if head.auto not in self.fits:
            wanted = f"one of {', '.join(self.fits)}"
            raise RecipeError(f"vectors before a row do not fit the head of this task ({head.auto})", wanted=wanted, fix=fix)
        if config.get("model_type") not in (bases := self.fits[head.auto]):
            wanted = f"one of {', '.join(bases)}"
            raise RecipeError(f"a base of the kind {config.get('model_type')} does not read such vectors", wanted=wanted, fix=fix)

    def apply(self, loaded: Loaded) -> nn.Module:
        """Freeze the base; the vectors and the fresh head learn."""
        from rootstock.methods import _peft

        name, settings = self.prompt()
        return _peft.answering_tokens(_peft.prompted(loaded, name, num_virtual_tokens=self.tokens, **settings))

    def original(self, name: str) -> str:
        """The name without what peft wrapped around it."""
        from rootstock.methods import _peft

        return _peft.original_of_prompted(name)

    def merge(self, model: nn.Module) -> nn.Module:
        """MergeRefused: vectors that stand before a row are no weights of the base."""
        raise MergeRefused(
            "vectors before a row can't be folded into weights", wanted="an update of weights", fix="use the adapter unmerged"
        )

    def restore(self, loaded: Loaded, folder: Path) -> nn.Module:
        """The base with the vectors that `folder` holds."""
        from rootstock.methods import _peft

        return _peft.answering_tokens(_peft.restored(loaded, folder))
