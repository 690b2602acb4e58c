"""Any other tuner of peft, by the name that peft gives it: hra, oft, loha, lokr, fourierft, vblora, randlora, …

Prefer a method of its own name where there is one: its defaults were tried. Here kind names the tuner and options are peft's own.
https://huggingface.co/docs/peft
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from rootstock.methods._tuner import Tuner

_OWN = {
    "adalora": "adalora",
    "boft": "boft",
    "ia3": "ia3",
    "ln_tuning": "layer-norm",
    "lora": "lora",
    "p_tuning": "p-tuning",
    "prefix_tuning": "prefix",
    "prompt_tuning": "prompt",
    "vera": "vera",
}
"""Kinds that have a method of their own."""
_UNFIT = {
    "adaption_prompt": "it can't train a new head",
    "cartridge": "its vectors are made from a text of its own",
    "cpt": "it needs a prompt's own tokens and labels",
    "mixed": "it holds other tuners",
    "multitask_prompt_tuning": "each row would have to name its task",
    "poly": "each row would have to name its task",
    "shadow": "its network beside the base can't be copied to other cores",
    "trainable_tokens": "it can't train a new head",
    "xlora": "it mixes adapters that were trained before",
}
"""Kinds that can't be trained here, and why."""


def kinds() -> list[str]:
    """What can be chosen: a folder each in peft, read without importing it."""
    found = find_spec("peft")
    tuners = Path(str(found.origin)).parent / "tuners" if found else Path("tuners")
    return sorted(each.name for each in tuners.iterdir() if (each / "config.py").is_file() and each.name not in {*_OWN, *_UNFIT})


class OtherTuner(Tuner):
    """What the kind says; peft's documentation explains each."""

    epochs: ClassVar[float] = 5
    updates: ClassVar[int] = 200
    rate: ClassVar[float] = 5e-3
    trained: ClassVar[float] = 0.005

    kind: str = "hra"
    """The tuner, in peft's words. hra (Householder reflections) needs no options and folds exactly."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Settings of that tuner's config by peft's names, such as {r: 4}; peft's own defaults hold for the rest."""

    @field_validator("kind")
    @classmethod
    def _known(cls, value: str) -> str:
        if value in _OWN:
            raise ValueError(f"a tuner without a method of its own; this one is --method {_OWN[value]}")
        if value in _UNFIT:
            raise ValueError(f"a tuner that can be trained on rows alone; of {value}: {_UNFIT[value]}")
        if value not in kinds():
            raise ValueError(f"one of {', '.join(kinds())}")
        return value

    @classmethod
    def stands_for(cls, name: str) -> str | None:
        """The kind of that name."""
        spelled = name.lower().replace("-", "_")
        return f"method.kind={spelled}" if spelled in kinds() else None

    def tuned(self) -> tuple[str, dict[str, Any]]:
        """As they were given."""
        return self.kind, dict(self.options)
