"""Rows of a batch one after the other without padding, for bodies that work token by token but where tokens attend to each other.

A padded token costs as much as a real one: of mixed requests every fourth was padding. And oneDNN makes each product anew for each number
of tokens that it has not met, 1 to 2 ms each and five a batch, so that numbers of tokens and of rows are rounded up to few. Only attention,
and what adapters add, see rows as a grid, in multiples of 16 tokens: a seventh of the work.

Shape letters: B rows, T tokens of the longest, W the same as a multiple of 16, P tokens of all rows as they lie, H heads,
D width of a head.
"""

import inspect
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rootstock.core.attention import attending
from rootstock.core.products import attend

_NAME = "rootstock_rows"
"""What transformers' registry of attention functions calls it."""
_VECTOR = 16
"""fp32 numbers in a vector of AVX-512; the rest of a row is worked on one by one."""
_KNOWN = frozenset(("input_ids", "attention_mask", "token_type_ids"))
"""Tensors that can be laid so."""
_PLAIN = frozenset(("output_hidden_states", "output_attentions", "return_dict", "use_cache"))
"""What else a body may be asked with."""
_APART = {"float32": 1e-4, "bfloat16": 3e-2, "int8": 1e-1}
"""How far the two ways may lie from each other where a body is tried, as a share of what it left: more is another answer, not rounding."""


class Unpackable(Exception):
    """A body that does more with rows than attend within them."""


def rounded(count: int, least: int) -> int:
    """The next number of few: 16 between a power of two and the next, so that 3 % are added on average."""
    step = max(least, 1 << max(count.bit_length() - 5, 0))
    return -(-count // step) * step


def cost(tokens: int) -> int:
    """Tokens that pass where these lie."""
    return rounded(tokens, _VECTOR)


class Layout:
    """Where the tokens of rows lie. mask_BT: 1 where a token is, from the left."""

    def __init__(self, mask_BT: Tensor) -> None:
        lengths_B = mask_BT.sum(1)
        (self.rows, self.wide), self.seen = mask_BT.shape, 0
        self.ends = [0, *lengths_B.cumsum(0).tolist()]
        """Where the first token of each row lies, and where the last row's tokens end."""
        places_P = mask_BT.reshape(-1).nonzero()[:, 0]
        more_rows, width = rounded(self.rows, 4) - self.rows, -(-mask_BT.shape[1] // _VECTOR) * _VECTOR
        self.tokens = cost(len(places_P))
        more = self.tokens - len(places_P)
        self.places_P = torch.cat([places_P, places_P.new_zeros(more)])
        """Of each token in the batch as it came. What fills up is the first token once more, and read by nobody."""
        self.back_P = self.places_P // self.wide * width + self.places_P % self.wide
        """Of each token in the grid."""
        columns_W = torch.arange(width, device=mask_BT.device)
        starts_B = torch.tensor(self.ends[:-1] + [0] * more_rows, device=mask_BT.device)
        lengths_B = torch.cat([lengths_B, lengths_B.new_ones(more_rows)])
        inside_BW = columns_W < lengths_B[:, None]
        self.grid_BW = torch.where(inside_BW, starts_B[:, None] + columns_W, 0)
        """Of each place of the grid among the tokens; rows are added to it as well, each of one token."""
        self._inside_BW = inside_BW
        self._masks: dict[torch.dtype, Tensor] = {}
        self._last: tuple[Tensor, Tensor] | None = None

    def mask(self, dtype: torch.dtype) -> Tensor:
        """What is added to scores, [B, 1, 1, W]: the lowest number where no token is."""
        if dtype not in self._masks:
            none = torch.zeros(self._inside_BW.shape, dtype=dtype, device=self._inside_BW.device)
            self._masks[dtype] = none.masked_fill_(~self._inside_BW, torch.finfo(dtype).min)[:, None, None]
        return self._masks[dtype]

    def fits(self, given: Tensor) -> bool:
        """Whether this is of all tokens as they lie: [1, P, ...]."""
        return given.dim() >= 3 and given.shape[0] == 1 and given.shape[1] == self.tokens

    def grid(self, given: Tensor) -> Tensor:
        """[1, P, ...] as [B, W, ...]. What several layers are given is laid out once."""
        if self._last is None or self._last[0] is not given:
            self._last = given, given[0].index_select(0, self.grid_BW.view(-1)).view(*self.grid_BW.shape, *given.shape[2:])
        return self._last[1]

    def padded(self, given: Tensor) -> Tensor:
        """[1, P, ...] as the rows came, [B, T, ...]; what stands behind a row's own tokens is some other token's."""
        return self.grid(given)[: self.rows, : self.wide]

    def flat(self, given: Tensor) -> Tensor:
        """[B, W, ...] as [1, P, ...]."""
        return given.reshape(-1, *given.shape[2:]).index_select(0, self.back_P)[None]


class _Here(threading.local):
    """The layout of the batch that passes on this thread."""

    layout: Layout | None = None


_HERE = _Here()


@contextmanager
def _laid(given: Layout) -> Iterator[None]:
    _HERE.layout = given
    try:
        yield
    finally:
        _HERE.layout = None


def by_rows(model: nn.Module, *, wanted: bool) -> AbstractContextManager[None]:
    """Inside, attention goes by the rows of the layout, and as by `products` where there is none."""
    return attending(model, _NAME, _attend, wanted=wanted)


def _attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **told: Any) -> tuple[Any, None]:
    """As transformers calls it: [1, H, P, D] each; gives [1, P, H, D]."""
    laid = _HERE.layout
    if laid is None:
        return attend(module, query, key, value, attention_mask, **told)
    strange = [name for name in ("sliding_window", "softcap", "position_bias") if told.get(name) is not None]
    causal = getattr(module, "is_causal", False) if told.get("is_causal") is None else told["is_causal"]
    flat = [each.transpose(1, 2) for each in (query, key, value)]
    if strange or causal or attention_mask is not None or not all(map(laid.fits, flat)) or key.shape != query.shape:
        raise Unpackable("its attention looks at more than the tokens of a row")
    laid.seen += 1
    query, key, value = (laid.grid(each).transpose(1, 2) for each in flat)
    mask = laid.mask(query.dtype)
    found = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=told.get("scaling"))
    return laid.flat(found.transpose(1, 2)), None


class Packing:
    """Passes batches through a body without padding, if it is one of those that can: found out once, on rows of three lengths."""

    def __init__(self, body: Any, format_name: str) -> None:
        self._body, self._plain = body, body.forward
        self._names = inspect.signature(body.forward)
        table = next((each for name, each in body.named_modules() if name.endswith("position_embeddings")), None)
        self._unplaced = getattr(table, "padding_idx", None)
        """The token that takes no position, in RoBERTa and its like, where positions begin behind its number."""
        told = "position_ids" in self._names.parameters and getattr(body.config, "vocab_size", 0) > 1
        self.able = told and self._tried(_APART[format_name])

    def stand_before(self) -> None:
        """From now on whoever calls the body has its batches laid so."""
        if self.able:
            vars(self._body)["forward"] = partial(_instead, self)

    def lays(self, inputs: Mapping[str, Any]) -> bool:
        """Whether these inputs can be laid so."""
        tensors = {name for name, value in inputs.items() if isinstance(value, Tensor)}
        if not self.able or not {"input_ids", "attention_mask"} <= tensors <= _KNOWN or not inputs.keys() - tensors <= _PLAIN:
            return False
        if inputs.get("output_attentions") or inputs.get("return_dict") is False:
            return False
        mask_BT = inputs["attention_mask"]
        return bool(mask_BT.dim() == 2 and mask_BT[:, 0].all() and (mask_BT[:, 1:] <= mask_BT[:, :-1]).all())

    def __call__(self, inputs: Mapping[str, Any], laid: Layout) -> Any:
        """What the body leaves, rows padded again."""
        given = {name: value.reshape(1, -1)[:, laid.places_P] if isinstance(value, Tensor) else value for name, value in inputs.items()}
        del given["attention_mask"]
        given["position_ids"] = self._positions(inputs["input_ids"]).reshape(1, -1)[:, laid.places_P]
        with _laid(laid):
            found = self._plain(**given)
        if not laid.seen or not isinstance(found, Mapping):
            raise Unpackable("its attention is its own")
        return type(found)(**{name: _padded(value, laid) for name, value in found.items()})

    def _positions(self, ids_BT: Tensor) -> Tensor:
        if self._unplaced is None:
            return torch.arange(ids_BT.shape[1], device=ids_BT.device).expand(ids_BT.shape)
        placed_BT = (ids_BT != self._unplaced).long()
        found: Tensor = placed_BT.cumsum(1) * placed_BT + self._unplaced
        return found

    def answer(self, *arguments: Any, **named: Any) -> Any:
        """In place of the body's forward pass."""
        bound = self._names.bind(*arguments, **named).arguments
        more = {name: value for each in bound.values() if isinstance(each, dict) for name, value in each.items()}
        inputs = {name: value for name, value in (bound | more).items() if value is not None and not isinstance(value, dict)}
        if self.lays(inputs):
            with suppress(Unpackable):
                return self(inputs, Layout(inputs["attention_mask"]))
            self.able = False
        return self._plain(*arguments, **named)

    @torch.inference_mode()
    def _tried(self, apart: float) -> bool:
        """Whether rows of several lengths get what they get padded. Their tokens are from the middle of the vocabulary: special ones may be

        read in another way.
        """
        mask_BT = (torch.arange(37) < torch.tensor([5, 37, 20])[:, None]).long()
        vocabulary = int(self._body.config.vocab_size)
        ids_BT = vocabulary // 2 + torch.arange(3 * 37).view(3, 37) * 7 % max(vocabulary // 4, 1)
        device = next(self._body.parameters()).device
        inputs = {"input_ids": (ids_BT * mask_BT).to(device), "attention_mask": mask_BT.to(device)}
        pooler = getattr(self._body, "pooler", None)
        if isinstance(pooler, nn.Module):
            pooler.register_forward_pre_hook(_rows_first)
        try:
            found, wanted = self(inputs, Layout(inputs["attention_mask"])), self._plain(**inputs)
        except (Unpackable, TypeError, ValueError, RuntimeError, LookupError, AttributeError):
            return False
        real_BT = mask_BT.bool().to(device)
        return all(_alike(found.get(name), value, real_BT, apart) for name, value in wanted.items())


def _instead(packing: Packing, *arguments: Any, **named: Any) -> Any:
    """A function that a twin of the body copies with the twin's own packing."""
    return packing.answer(*arguments, **named)


def _rows_first(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """A pooler, which reads the first token of each row, is given rows."""
    laid = _HERE.layout
    return tuple(laid.padded(each) if laid and isinstance(each, Tensor) and laid.fits(each) else each for each in given)


def _padded(value: Any, laid: Layout) -> Any:
    if isinstance(value, tuple):
        return tuple(_padded(each, laid) for each in value)
    return laid.padded(value) if isinstance(value, Tensor) and laid.fits(value) else value


def _alike(found: Any, wanted: Any, real_BT: Tensor, apart: float) -> bool:
    """Whether what a body left of real tokens is the same but for rounding."""
    if not isinstance(found, Tensor) or not isinstance(wanted, Tensor):
        return found is None and wanted is None
    if wanted.dim() == 3:
        if found.shape != wanted.shape:
            return False
        found, wanted = found[real_BT], wanted[real_BT]
    return found.shape == wanted.shape and bool((found - wanted).float().norm() <= apart * wanted.float().norm())
