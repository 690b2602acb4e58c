"""Train low-rank updates beside weights that are kept in four bits (QLoRA).

Prefer it to lora where the base does not fit in the GPU's memory otherwise: weights take an eighth of fp32's place, and answers move a
little. It needs a GPU and bitsandbytes. Dettmers et al. 2023, https://arxiv.org/abs/2305.14314
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from rootstock.core.errors import MergeRefused, RecipeError
from rootstock.core.loaded import Head, Loaded
from rootstock.core.method import Method

_FIX = "choose --method lora"


class QLoRA(Method):
    """Every matrix of the base in four bits, with (alpha / r) · B·A beside it in full precision."""

    epochs: ClassVar[float] = 3
    updates: ClassVar[int] = 150
    rate: ClassVar[float] = 1e-3
    large_rate: ClassVar[float | None] = 2e-4  # Dettmers et al. 2023, table 9
    base_dropout: ClassVar[float | None] = 0.0
    flops: ClassVar[float] = 4
    trained: ClassVar[float] = 0.02
    saves: ClassVar[str] = "adapter"
    folds: ClassVar[bool] = False
    packed: ClassVar[float | None] = (4 + 0.127) / 8  # four bits, and 0.127 of their blocks' scales (section 3 of the paper)

    r: int = Field(default=8, ge=1)
    """Rank of the update."""
    alpha: float = Field(default=16, gt=0)
    """Scale of the update, used as alpha / r."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the update."""
    targets: tuple[str, ...] = ("all-linear",)
    """Names of the adapted modules. all-linear, as in the paper: updates on every matrix make good what four bits lose."""
    form: Literal["nf4", "fp4"] = "nf4"
    """How a weight is kept: nf4 has its sixteen values where normally distributed weights lie."""
    double: bool = True
    """Whether the blocks' scales are kept in eight bits, which saves another 0.4 bits a weight."""

    def check(self, head: Head, config: Mapping[str, Any]) -> None:
        """RecipeError without bitsandbytes or a GPU."""
        if not find_spec("bitsandbytes"):
            raise RecipeError(
                "qlora needs the package bitsandbytes", wanted="the extra quantized", fix=f"pip install 'rootstock[quantized]', or {_FIX}"
            )
        if not torch.cuda.is_available():
            raise RecipeError("qlora needs a GPU that computes with weights of four bits", wanted="a CUDA device", fix=_FIX)

    def apply(self, loaded: Loaded) -> nn.Module:
        """Pack the base's matrices, which happens as they reach the device; updates and the fresh head learn."""
        from rootstock.methods import _peft

        settings = {"r": self.r, "lora_alpha": self.alpha, "lora_dropout": self.dropout, "target_modules": _peft.targets(self.targets)}
        return _peft.wrap(self._packed(loaded), "LoraConfig", **settings)

    def _packed(self, loaded: Loaded) -> Loaded:
        model: Any = loaded.model
        if next(model.parameters()).is_meta:  # a plan asks for shapes, and there is nothing to pack
            return loaded
        from bitsandbytes import nn as four_bit

        body = f"{model.base_model_prefix}."
        for name, module in list(model.named_modules()):
            if type(module) is not nn.Linear or not name.startswith(body) or f"{name}.weight" in loaded.fresh:
                continue
            options = {"compress_statistics": self.double, "quant_type": self.form}
            packed = four_bit.Linear4bit(module.in_features, module.out_features, bias=module.bias is not None, **options)
            packed.weight = four_bit.Params4bit(module.weight.data, requires_grad=False, **options)
            packed.bias = module.bias
            model.set_submodule(name, packed)
        model.is_loaded_in_4bit = True  # what peft goes by
        return loaded

    def original(self, name: str) -> str:
        """The name without what peft wrapped around it."""
        from rootstock.methods import _peft

        return _peft.original(name)

    def merge(self, model: nn.Module) -> nn.Module:
        """MergeRefused: packed again with the update inside, the weights would be others."""
        raise MergeRefused(
            "weights of four bits can't take an update in", wanted="an update of full weights", fix="use the adapter unmerged"
        )

    def restore(self, loaded: Loaded, folder: Path) -> nn.Module:
        """The base, packed as in training, with the adapter that `folder` holds."""
        from rootstock.methods import _peft

        return _peft.restored(self._packed(loaded), folder)
