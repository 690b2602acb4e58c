"""Bottlenecks inside a base: where they stand, one alone, and several that were trained apart side by side.

Bottlenecks at one place, each under a share of its own, are one wider bottleneck: their first matrices one below the other, their second
ones, times share, side by side. So what is left of several is an adapter like any other.

Shape letters: S width of a bottleneck, R sum of several widths, H width of the base, N how many there are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rootstock.core import artifact
from rootstock.core.errors import RecipeError
from rootstock.methods import _inserted

Place = Literal["houlsby", "pfeiffer", "parallel"]
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


class Added(nn.Module):
    """What a place inside a base gets added: a subclass says what of its input. A hook is a method of the module that it runs."""

    by_token: ClassVar[bool] = True
    """Whether its hooks do the same to each token by itself."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[Tensor] = []

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


class Bottleneck(Added):
    """scale · up(relu(down(x))): it starts at zero, so that an adapted model starts as its base."""

    def __init__(self, width: int, size: int, scale: float) -> None:
        super().__init__()
        self.down, self.up, self.scale = nn.Linear(width, size), nn.Linear(size, width), scale
        nn.init.normal_(self.down.weight, std=0.02)
        for start in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(start)

    def forward(self, given: Tensor) -> Tensor:
        """What is added, of the given's shape."""
        added: Tensor = self.scale * self.up(nn.functional.relu(self.down(given)))
        return added


class Held(NamedTuple):
    """A trained bottleneck: down [S, H] and its bias [S], up [H, S] and its bias [H], both with the scale."""

    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor


class Mixed(Added):
    """Σ share · bottleneck(x) over trained ones, and where stacked a new one that learns beside them."""

    def __init__(self, held: Sequence[Held], share: float, new: Bottleneck | None) -> None:
        super().__init__()
        self.down, self.down_bias, self.up, self.up_bias = (
            nn.Parameter(torch.cat([each[part] for each in held], axis) if part < 3 else torch.stack([each.up_bias for each in held]))
            for part, axis in enumerate((0, 0, 1, 0))
        )
        self.shares = nn.Parameter(torch.full((len(held),), share))
        self.sizes = [len(each.down) for each in held]
        self.new = new

    def _each(self) -> Tensor:
        """The share of each direction, [R]."""
        return torch.cat([share.expand(size) for share, size in zip(self.shares, self.sizes, strict=True)])

    def forward(self, given: Tensor) -> Tensor:
        """What is added, of the given's shape."""
        functional = nn.functional
        inner = functional.relu(functional.linear(given, self.down, self.down_bias)) * self._each()
        added = functional.linear(inner, self.up, self.shares @ self.up_bias)
        return added if self.new is None else added + self.new(given)

    @torch.no_grad()
    def one(self) -> dict[str, Tensor]:
        """All of it as the tensors of one bottleneck of scale 1."""
        parts = [Held(self.down, self.down_bias, self.up * self._each(), self.shares @ self.up_bias)]
        if (new := self.new) is not None:
            parts.append(Held(new.down.weight, new.down.bias, new.scale * new.up.weight, new.scale * new.up.bias))
        down, down_bias, up, up_bias = zip(*parts, strict=True)
        tensors = {"down.weight": torch.cat(down), "down.bias": torch.cat(down_bias), "up.weight": torch.cat(up, 1)}
        return {**tensors, "up.bias": torch.stack(up_bias).sum(0)}


def usual_scale(place: Place) -> float:
    """What the output is multiplied by where nobody says: 1 in sequence, 4 in parallel, as in the papers."""
    return 4.0 if place == "parallel" else 1.0


def insert(model: nn.Module, place: Place, make: Callable[[str, int], Added]) -> dict[str, Added]:
    """Hang what `make` gives for a name and a width at each place, by its name. ValueError where no place is found."""
    found = {}
    for first, last in list(_places(model, place)):
        closing: Any = model.get_submodule(last)
        added = make(f"{last}.adapter", getattr(closing, "out_features", None) or closing.nf).to(next(closing.parameters()).device)
        if place == "parallel":
            model.get_submodule(first).register_forward_pre_hook(added.see)
            closing.register_forward_hook(added.beside)
        else:
            closing.register_forward_hook(added.after)
        closing.add_module("adapter", added)
        found[f"{last}.adapter"] = added
    if not found:
        raise ValueError("it has no attention and feed-forward under the names that are known")
    return found


def _places(model: nn.Module, place: Place) -> Iterator[tuple[str, str]]:
    """The module whose input is read in parallel, and the one that an adapter stands after."""
    names = {name for name, _ in model.named_modules()}
    for name in sorted(names):
        if place == "houlsby" and name.endswith(_ATTENTION):
            yield name, name
        for opens, closes in _FEEDFORWARD:
            first = f"{name.removesuffix(closes)}{opens}"
            if f".{name}".endswith(f".{closes}") and first in names:
                yield first, name


class Trained(NamedTuple):
    """A saved adapter: where its bottlenecks stand, their width, and each by its module's name."""

    place: Place
    size: int
    held: Mapping[str, Held]


def is_one(folder: Path) -> bool:
    """Whether a folder holds an adapter of bottlenecks."""
    path = folder / _inserted.CONFIG
    return path.is_file() and artifact.read_json(path, wanted="an adapter", fix="name another").get("method") == "adapter"


def trained(folder: Path) -> Trained:
    """The adapter that a folder holds; RecipeError where it holds none of bottlenecks."""
    if not is_one(folder):
        raise RecipeError(
            f"{folder} holds no adapter of bottlenecks, and others that are named do",
            wanted="adapters of one kind",
            fix="name runs with --method adapter only, or with lora only",
        )
    facts = artifact.read_json(folder / _inserted.CONFIG, wanted="an adapter", fix="name another")
    scale, tensors = facts["scale"] or usual_scale(facts["place"]), load_file(folder / _inserted.WEIGHTS)
    names = [name.removesuffix(".down.weight") for name in tensors if name.endswith(".adapter.down.weight")]
    held = {
        name: Held(
            *(tensors[f"{name}.down.{part}"] for part in ("weight", "bias")),
            *(scale * tensors[f"{name}.up.{part}"] for part in ("weight", "bias")),
        )
        for name in names
    }
    return Trained(facts["place"], facts["size"], held)
