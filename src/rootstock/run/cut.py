"""A model that can begin in its middle: blocks whose output is known already are passed over, by the model's own forward.

All that the blocks above need besides (masks, positions) the model makes as it always does, so any architecture will do whose blocks take
hidden states and give hidden states. Without given states the model is what it was.

Shape letters: B rows, T tokens, H hidden size.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rootstock.core import layers
from rootstock.core.mode import in_mode
from rootstock.core.task import Batch, inputs


class _State:
    """What a model and its gates know of the present pass; a twin of the model has its own.

    beside: what a block gives besides hidden states, such as attention weights, in number; None where it gives no tuple.
    """

    def __init__(self) -> None:
        self.depth, self.given = 0, torch.empty(0)
        self.wanted: frozenset[int] = frozenset()
        self.seen: dict[int, Tensor] = {}
        self.beside: int | None = None

    def take(self, _: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Before a pass: take the given states out of what the model is called with."""
        key = next((name for name in named if name.startswith(layers.GIVEN)), None)
        self.depth, self.given = (int(key.removeprefix(layers.GIVEN)), named.pop(key)) if key else (0, torch.empty(0))
        return arguments, named


class _Gate:
    """A block's forward: the block itself, or past it."""

    def __init__(self, block: nn.Module, number: int, state: _State) -> None:
        self.block, self.number, self.state = block, number, state

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """What the block gives, in the form that it gives it."""
        state, number = self.state, self.number
        if state.depth < number <= max(state.wanted, default=number):
            found = type(self.block).forward(self.block, *arguments, **named)
            state.beside = len(found) - 1 if isinstance(found, tuple) else None
            if number in state.wanted:
                state.seen[number] = found[0] if isinstance(found, tuple) else found
            return found
        if number == state.depth:  # kept in the format that the model computed in, which may have its fp32 weights back since
            hidden = state.given.to(next(self.block.parameters()).dtype)
        else:
            hidden = arguments[0] if arguments else named["hidden_states"]
        return hidden if state.beside is None else (hidden, *[None] * state.beside)


class Cut:
    """Gates in a model's blocks; `close` takes them out again."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self._state = model, _State()
        self._blocks, self._lowest = layers.blocks(model), layers.lowest(model)
        for number, block in enumerate(self._blocks, start=1):
            vars(block)["forward"] = _Gate(block, number, self._state)
        self._hook = model.register_forward_pre_hook(self._state.take, with_kwargs=True)

    def close(self) -> None:
        """The model as it was."""
        self._hook.remove()
        for block in self._blocks:
            vars(block).pop("forward", None)

    def depth(self) -> int:
        """How many of the lowest blocks are frozen now."""
        return layers.frozen_below(self.model, self._lowest, len(self._blocks))

    def below(self, depths: frozenset[int]) -> nn.Module:
        """A module that gives the hidden states [B, T, H] that the blocks of these depths leave, by depth."""
        return _Below(self.model, self._state, depths)

    def refusal(self, batch: Batch, depth: int) -> str | None:
        """Why the model can't begin after this block, tried on a batch: it answers otherwise, or something that learns is used below."""
        given, below = inputs(batch), self.below(frozenset({depth}))
        try:
            with torch.no_grad(), in_mode(self.model, training=False), self._learning_used_below(depth) as used:
                states_BTH = below(**given)[depth]
                if used:
                    return f"{used[0]} learns and is used below"
                if states_BTH.shape[:2] != batch["input_ids"].shape:
                    return "its blocks see other rows than the batches"
                whole, above = (self.model(**given, **more)[0] for more in ({}, {f"{layers.GIVEN}{depth}": states_BTH}))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
            return f"it can't begin in its middle ({type(error).__name__})"
        return None if torch.allclose(whole, above, rtol=1e-4, atol=1e-5) else "it answers otherwise when it begins in its middle"

    @contextmanager
    def _learning_used_below(self, depth: int) -> Iterator[list[str]]:
        """Names of modules with parameters of their own that learn, as they are called before the block of this depth is done."""
        used: list[str] = []

        def see(_: nn.Module, __: Any, name: str) -> None:
            if self._state.wanted and depth not in self._state.seen:
                used.append(name)

        found = {
            name: module for name, module in self.model.named_modules() if any(p.requires_grad for p in module.parameters(recurse=False))
        }
        hooks = [module.register_forward_pre_hook(partial(see, name=name)) for name, module in found.items()]
        try:
            yield used
        finally:
            for hook in hooks:
                hook.remove()


class _Below(nn.Module):
    """The blocks up to the highest of some depths; those above are passed over."""

    def __init__(self, model: nn.Module, state: _State, depths: frozenset[int]) -> None:
        super().__init__()
        self.model, self.depths = model, depths
        self._state = state

    def forward(self, **batch: Tensor) -> Mapping[int, Tensor]:
        """Hidden states [B, T, H] by depth."""
        state = self._state
        state.wanted, state.seen = self.depths, {}
        try:
            self.model(**batch)
            return state.seen
        finally:
            state.wanted, state.seen = frozenset(), {}
