"""Train small bottleneck layers inside the base, and the fresh head (adapters).

Prefer it to lora where a task is far from what the base was trained for: its layers bend, where an update of matrices does not. It stays a
part beside the base, costs a little in each answer and can't be merged.
Houlsby et al. 2019, https://arxiv.org/abs/1902.00751; Pfeiffer et al. 2021, https://arxiv.org/abs/2005.00247; parallel: He et al. 2022,
https://arxiv.org/abs/2110.04366
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from torch import nn

from rootstock.core.errors import RecipeError
from rootstock.core.loaded import Head, Loaded
from rootstock.core.method import Method, train_only
from rootstock.methods import _bottleneck, _inserted

_BASES = (
    *("albert", "bart", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "gemma", "gemma2", "gpt2", "gpt_neox"),
    *("llama", "mbart", "mistral", "modernbert", "mpnet", "mt5", "opt", "qwen2", "qwen3", "roberta", "t5", "xlm-roberta"),
)


class Adapter(Method):
    """Bottlenecks after each attention and feed-forward (houlsby), after the feed-forward only (pfeiffer), or beside it (parallel)."""

    epochs: ClassVar[float] = 3
    updates: ClassVar[int] = 150
    rate: ClassVar[float] = 2e-3
    base_dropout: ClassVar[float | None] = 0.0
    flops: ClassVar[float] = 4
    trained: ClassVar[float] = 0.01
    saves: ClassVar[str] = "adapter"
    folds: ClassVar[bool] = False

    place: _bottleneck.Place = "pfeiffer"
    """Where they stand. pfeiffer: half of houlsby's size for about the same scores. parallel: on what the feed-forward reads."""
    size: int = Field(default=48, ge=1)
    """Width of the bottleneck; both papers use 16 to 64 on small data."""
    scale: float | None = Field(default=None, gt=0)
    """What the output is multiplied by. None: 1 in sequence, 4 in parallel, as in the papers."""

    def check(self, head: Head, config: Mapping[str, Any]) -> None:
        """RecipeError for an architecture whose parts are not known by name."""
        if config.get("model_type") not in _BASES:
            raise RecipeError(
                f"where adapters belong in a base of the kind {config.get('model_type')} is not known",
                wanted=f"one of {', '.join(_BASES)}",
                fix="choose --method lora, or another base",
            )

    def apply(self, loaded: Loaded) -> nn.Module:
        """Freeze the base and insert the bottlenecks; they and the fresh head learn. ValueError where no place is found."""
        model, scale = loaded.model, self.scale or _bottleneck.usual_scale(self.place)
        held = _bottleneck.insert(model, self.place, lambda _, width: _bottleneck.Bottleneck(width, self.size, scale))
        train_only(model, loaded.fresh | {f"{name}.{part}" for name, each in held.items() for part, _ in each.named_parameters()})
        return model

    def keep(self, model: nn.Module) -> nn.Module:
        """The same model, saved as an adapter: only what learned."""
        return _inserted.Beside(model, {"method": "adapter", **self.plain()})

    def merge(self, model: nn.Module) -> nn.Module:
        """MergeRefused: a bottleneck bends, and no matrix does."""
        raise _inserted.refuse_merge("a bottleneck")

    def restore(self, loaded: Loaded, folder: Path) -> nn.Module:
        """The base with the bottlenecks and the head that `folder` holds."""
        return _inserted.restored(self.apply(loaded), folder)
