"""Train small bottleneck layers inside the base, and the fresh head (adapters).

Prefer it to lora where a task is far from what the base was trained for: its layers bend, where an update of matrices does not. It stays a
part beside the base, costs a little in each answer and can't be merged.
Houlsby et al. 2019, https://arxiv.org/abs/1902.00751; Pfeiffer et al. 2021, https://arxiv.org/abs/2005.00247; parallel: He et al. 2022,
https://arxiv.org/abs/2110.04366
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from rootstock.core.errors import RecipeError
from rootstock.core.loaded import Head, Loaded
from rootstock.core.method import Method, train_only
from rootstock.methods import _inserted

_ATTENTION = (
    "attention.output.dense",
    "attention.out_lin",
    "attention.attn.o",
    "attention.dense",
    "attn.out_proj",
    "attn.o_proj",
    "attn.c_proj",
    "attn.Wo",
    "Attention.o",
)
"""Ends of the names of what closes an attention."""
_FEEDFORWARD = (
    ("intermediate.dense", "output.dense"),
    ("ffn.lin1", "ffn.lin2"),
    ("ffn", "ffn_output"),
    ("fc1", "fc2"),
    ("mlp.gate_proj", "mlp.down_proj"),
    ("mlp.c_fc", "mlp.c_proj"),
    ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
    ("mlp.Wi", "mlp.Wo"),
    ("DenseReluDense.wi", "DenseReluDense.wo"),
    ("DenseReluDense.wi_0", "DenseReluDense.wo"),
)
"""Ends of the names of what opens and what closes a feed-forward."""
_BASES = (
    *("albert", "bart", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "gemma", "gemma2", "gpt2", "gpt_neox"),
    *("llama", "mbart", "mistral", "modernbert", "mpnet", "mt5", "opt", "qwen2", "qwen3", "roberta", "t5", "xlm-roberta"),
)


class Bottleneck(nn.Module):
    """scale · up(relu(down(x))): it starts at zero, so that an adapted model starts as its base."""

    def __init__(self, width: int, size: int, scale: float) -> None:
        super().__init__()
        self.down, self.up, self.scale = nn.Linear(width, size), nn.Linear(size, width), scale
        nn.init.normal_(self.down.weight, std=0.02)
        for start in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(start)
        self._seen: list[Tensor] = []

    def forward(self, given: Tensor) -> Tensor:
        """What is added, of the given's shape."""
        added: Tensor = self.scale * self.up(nn.functional.relu(self.down(given)))
        return added

    def after(self, _: nn.Module, __: tuple[Any, ...], output: Tensor) -> Tensor:
        """A hook: in sequence, on what a module leaves."""
        added: Tensor = self(output)
        return output + added

    def see(self, _: nn.Module, arguments: tuple[Any, ...]) -> None:
        """A hook: what goes into a module's first part."""
        self._seen[:] = arguments[:1]

    def beside(self, _: nn.Module, __: tuple[Any, ...], output: Tensor) -> Tensor:
        """A hook: in parallel, on what `see` saw."""
        added: Tensor = self(self._seen.pop())
        return output + added


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

    place: Literal["houlsby", "pfeiffer", "parallel"] = "pfeiffer"
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
        model, scale = loaded.model, self.scale or (4.0 if self.place == "parallel" else 1.0)
        added = set()
        for first, last in list(self._places(model)):
            closing: Any = model.get_submodule(last)
            bottleneck = Bottleneck(getattr(closing, "out_features", None) or closing.nf, self.size, scale)
            if self.place == "parallel":
                model.get_submodule(first).register_forward_pre_hook(bottleneck.see)
                closing.register_forward_hook(bottleneck.beside)
            else:
                closing.register_forward_hook(bottleneck.after)
            closing.add_module("adapter", bottleneck)
            added |= {f"{last}.adapter.{name}" for name, _ in bottleneck.named_parameters()}
        if not added:
            raise ValueError("it has no attention and feed-forward under the names that are known")
        train_only(model, loaded.fresh | added)
        return model

    def _places(self, model: nn.Module) -> Iterator[tuple[str, str]]:
        """The module whose input is read in parallel, and the one that an adapter stands after."""
        names = {name for name, _ in model.named_modules()}
        for name in sorted(names):
            if self.place == "houlsby" and name.endswith(_ATTENTION):
                yield name, name
            for opens, closes in _FEEDFORWARD:
                first = f"{name.removesuffix(closes)}{opens}"
                if f".{name}".endswith(f".{closes}") and first in names:
                    yield first, name

    def keep(self, model: nn.Module) -> nn.Module:
        """The same model, saved as an adapter: only what learned."""
        return _inserted.Beside(model, {"method": "adapter", **self.plain()})

    def merge(self, model: nn.Module) -> nn.Module:
        """MergeRefused: a bottleneck bends, and no matrix does."""
        raise _inserted.refuse_merge("a bottleneck")

    def restore(self, loaded: Loaded, folder: Path) -> nn.Module:
        """The base with the bottlenecks and the head that `folder` holds."""
        return _inserted.restored(self.apply(loaded), folder)
