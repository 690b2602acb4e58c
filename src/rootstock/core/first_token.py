"""The last block of an encoder for the first token alone, where the head above reads no other.

A classifier of BERT's kind reads its first token's vector. For that the last block needs keys and values of all tokens; its queries, the
attention's output, the feed-forward and the norms it needs for one: a sixth of the block's products. So the block's own forward pass is
given the first tokens, and its attention all of them to look at. Answers and gradients are the plain model's, but for rounding.

That holds while one of the heads that are known is asked as a whole, with plain inputs. Everything else gets the whole block: a body that
is asked by itself, hidden states that are asked for, vectors in place of ids, a hook of an unknown kind on anything that comes after the
block before, and where `kept`, a body of which nothing learns.

Rows are filled up to whole _ROWS. oneDNN makes code anew for each number of rows that a product has not met, and one of one to three rows
sums in another order than one of many: so there are few numbers, and none is small.

Shape letters: B rows, R the same filled up, T tokens, H width, N heads, D width of a head.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rootstock.core import layers
from rootstock.core.numbers import to_fp32

_ROWS = 32
"""Few enough to cost nothing beside the tokens of a batch."""
_PLAIN = frozenset(("input_ids", "attention_mask", "token_type_ids", "position_ids", "pixel_values", "labels", "return_dict"))
"""What a head may be asked with."""
_TUNERS = ("_buffer_dict", "adalora", "boft", "ia3", "ln_tuning", "lora", "oft", "vera")
_TOKENWISE = ("torch.nn.", "transformers.", "bitsandbytes.nn.", "rootstock.", "peft.utils.", *(f"peft.tuners.{each}." for each in _TUNERS))
"""Where the parts of a block may come from: nothing there looks at other tokens, but for the attention."""
_RECORDS = "transformers.utils.output_capturing"
"""Whose hooks stay for good once hidden states were asked for, and do nothing where they are not."""
_FUSED = ("sdpa", "rootstock_")
"""How the names of attention functions begin that take fewer queries than keys."""


class _Way(NamedTuple):
    """How to a block's attention. attention: its name. looks: what it does. layers: its own, of queries, keys and values, by name.

    closing: the layers behind what the heads saw. norm: the block's before the attention, None where there is none.
    """

    attention: str
    looks: "Looks"
    layers: tuple[str, ...]
    closing: tuple[str, ...] = ()
    norm: str | None = None

    @property
    def wide(self) -> tuple[str, ...]:
        """Layers that see all tokens, by their names in the block."""
        own = tuple(f"{self.attention}.{each}" for each in self.layers[-2:])
        return own if self.norm is None else (*own, self.norm)


Looks = Callable[[Any, _Way, Tensor, Tensor, "_Function"], Tensor]
"""What an attention gives first tokens [R, 1, H], its layers' input, of all tokens [B, T, H], by an attention function: [R, 1, H]."""


def _apart(module: Any, way: _Way, first_R1H: Tensor, all_BTH: Tensor, attend: "_Function") -> Tensor:
    """With a layer each for queries, keys and values."""
    width = getattr(module, "attention_head_size", None) or module.head_dim
    query, key, value = (getattr(module, name) for name in way.layers)
    parts = query(first_R1H)[: len(all_BTH)], key(all_BTH), value(all_BTH)
    query_BN1D, key_BNTD, value_BNTD = (part.unflatten(-1, (-1, width)).transpose(1, 2) for part in parts)
    return attend(query_BN1D, key_BNTD, value_BNTD)


def _rotated(module: Any, way: _Way, first_R1H: Tensor, all_BTH: Tensor, attend: "_Function") -> Tensor:
    """ModernBERT's: one layer for all three, and positions by rotation."""
    from transformers.models.modernbert.modeling_modernbert import rotate_half

    cos, sin = (each[:, None] for each in attend.told.pop("position_embeddings"))

    def turned(part: Tensor) -> Tensor:
        count = part.shape[2]
        found: Tensor = part.float() * cos[:, :, :count] + rotate_half(part.float()) * sin[:, :, :count]
        return found.to(part.dtype)

    qkv_BT3ND = module.Wqkv(all_BTH).unflatten(-1, (3, -1, module.head_dim))
    query_BNTD, key_BNTD, value_BNTD = (each.transpose(1, 2) for each in qkv_BT3ND.unbind(-3))
    return attend(turned(query_BNTD[:, :, :1]), turned(key_BNTD), value_BNTD)


_BERT = _Way("attention.self", _apart, ("query", "key", "value"))
_MODELS = "transformers.models."
_BLOCKS = {
    "bert.modeling_bert.BertLayer": _BERT,
    "camembert.modeling_camembert.CamembertLayer": _BERT,
    "distilbert.modeling_distilbert.TransformerBlock": _Way("attention", _apart, ("q_lin", "k_lin", "v_lin"), ("out_lin",)),
    "electra.modeling_electra.ElectraLayer": _BERT,
    "modernbert.modeling_modernbert.ModernBertEncoderLayer": _Way("attn", _rotated, ("Wqkv",), ("Wo", "out_drop"), "attn_norm"),
    "roberta.modeling_roberta.RobertaLayer": _BERT,
    "vit.modeling_vit.ViTLayer": _Way("attention", _apart, ("q_proj", "k_proj", "v_proj"), ("o_proj",), "layernorm_before"),
    "xlm_roberta.modeling_xlm_roberta.XLMRobertaLayer": _BERT,
}
HEADS: Mapping[str, Mapping[str, str]] = {
    "BertForMultipleChoice": {},
    "BertForNextSentencePrediction": {},
    "BertForSequenceClassification": {},
    "CamembertForMultipleChoice": {},
    "CamembertForSequenceClassification": {},
    "DistilBertForMultipleChoice": {},
    "DistilBertForSequenceClassification": {},
    "ElectraForMultipleChoice": {"summary_type": "first"},
    "ElectraForSequenceClassification": {},
    "ModernBertForSequenceClassification": {"classifier_pooling": "cls"},
    "RobertaForMultipleChoice": {},
    "RobertaForSequenceClassification": {},
    "ViTForImageClassification": {},
    "XLMRobertaForMultipleChoice": {},
    "XLMRobertaForSequenceClassification": {},
}
"""Classes of transformers whose answer is of the first token alone, and what their config must say for it."""


def filled(count: int) -> int:
    """So many rows filled up."""
    return -(-count // _ROWS) * _ROWS


class _Here(threading.local):
    """The pass that is under way on this thread. last: the block that it gives first tokens alone.

    states: what the attention looks at, [B, T, H].
    """

    last: "_Last | None" = None
    states: Tensor | None = None


_HERE, _LOCK = _Here(), threading.Lock()


@contextmanager
def first_alone(model: nn.Module, *, wanted: bool = True, kept: bool = False) -> Iterator[None]:
    """Inside, heads in the model that read the first token alone get the last block's work for it alone, where `wanted`.

    Whoever enters it again for the same model, on whatever thread, shares what the first one put in; the last to leave takes it out.
    kept: whether what a frozen body gives may have been kept from a pass of the whole block, which must be met bit for bit.
    """
    held: list[_Asked] = []
    try:
        with _LOCK:
            for head, block, way in list(_known(model)) if wanted else ():
                held += _put_in(head, block, way, kept=kept)
        yield
    finally:
        with _LOCK:
            for asked in held:
                asked.leave()


def _put_in(head: Any, block: nn.Module, way: _Way, *, kept: bool) -> "list[_Asked]":
    """A head's way of being asked, there already or new; none where somebody else has changed how the head or a part of the block works."""
    asked, looks = vars(head).get("forward"), vars(block.get_submodule(way.attention)).get("forward")
    last: Any = getattr(looks, "__self__", None)
    if asked is None and not isinstance(last, _Last):
        if any("forward" in vars(part) for part in block.modules() if part is not block):
            return []
        last = _Last(block, way)
    if asked is None:
        asked = vars(head)["forward"] = _Asked(head, last, kept=kept)
    if not isinstance(asked, _Asked):
        return []
    asked.enter()
    return [asked]


def narrowed(model: nn.Module) -> list[nn.Module]:
    """Modules that work on first tokens alone inside `first_alone`."""
    return [
        part
        for _, block, way in _known(model)
        for name, part in block.named_modules()
        if not any(f"{name}.".startswith(f"{each}.") for each in way.wide)
    ]


def _known(model: nn.Module) -> Iterator[tuple[Any, nn.Module, _Way]]:
    """Heads of known classes, each with the last block below it and the way there."""
    parts: Iterator[Any] = model.modules()
    for head in parts:
        kind = type(head)
        if kind.__name__ in HEADS and kind.__module__.startswith(_MODELS) and _reads_first(head):
            stack = layers.blocks(head.base_model)
            way = _BLOCKS.get(_name(stack[-1])) if stack else None
            if way and sum(each is stack[-1] for each in stack) == 1 and _tokenwise(stack[-1], way):
                yield head, stack[-1], way


def _name(part: nn.Module) -> str:
    return f"{type(part).__module__}.{type(part).__qualname__}".removeprefix(_MODELS)


def _reads_first(head: Any) -> bool:
    """Whether its config says that it reads the first token, and nothing else that this does not know."""
    strange = ("is_decoder", "is_encoder_decoder", "chunk_size_feed_forward", "output_hidden_states", "output_attentions")
    told = HEADS[type(head).__name__]
    return all(getattr(head.config, name, None) == value for name, value in told.items()) and not any(
        getattr(head.config, name, None) for name in strange
    )


def _tokenwise(block: nn.Module, way: _Way) -> bool:
    known = type(block.get_submodule(way.attention)).__module__ == type(block).__module__
    return known and all(f"{type(part).__module__}.".startswith(_TOKENWISE) for part in block.modules())


class _Asked:
    """A head's forward pass, which says to the block below it when the first token is all that is read."""

    def __init__(self, head: Any, last: "_Last", *, kept: bool) -> None:
        self.__wrapped__ = head.forward  # whoever asks what a head takes is told of this one
        self._head, self._last, self._kept, self._users, body = head, last, kept, 0, head.base_model
        below = [*layers.blocks(body)[:-1], body.get_input_embeddings()]
        left_out = {part for each in below for part in each.modules()} | {head}
        self._read = [part for part in {*head.modules(), *body.modules()} if part not in left_out]
        places, top = layers.lowest(body), len(layers.blocks(body))
        self._body = [each for name, each in body.named_parameters() if places[name] <= top]

    def enter(self) -> None:
        """One more uses it."""
        self._users += 1
        self._last.enter()

    def leave(self) -> None:
        """One less; nobody's, it is taken out."""
        self._users -= 1
        self._last.leave()
        if not self._users and vars(self._head).get("forward") is self:  # what somebody else has put there since is theirs
            del vars(self._head)["forward"]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        _HERE.last = self._last if not arguments and self._suits(named) else None
        try:
            return self.__wrapped__(*arguments, **named)
        finally:
            _HERE.last = _HERE.states = None

    def _suits(self, named: Mapping[str, Any]) -> bool:
        if any(value is not None and value is not False and name not in _PLAIN for name, value in named.items()):
            return False
        if self._kept and not any(p.requires_grad for p in self._body):
            return False
        return self._last.suits and not any(map(_watched, self._read))


def _watched(part: nn.Module) -> bool:
    """Whether a hook may read or change other tokens."""
    if part._backward_hooks or part._backward_pre_hooks:
        return True
    if not part._forward_hooks and not part._forward_pre_hooks:
        return False
    return not all(map(_harmless, (*part._forward_hooks.values(), *part._forward_pre_hooks.values())))


def _harmless(hook: Any) -> bool:
    """Whether a hook does the same to each token by itself, as `by_token` of its owner says, or nothing now."""
    return hook is to_fp32 or getattr(getattr(hook, "__self__", None), "by_token", False) or getattr(hook, "__module__", "") == _RECORDS


class _Last:
    """A last block that can take first tokens alone; a twin of the model has its own."""

    by_token = True

    def __init__(self, block: nn.Module, way: _Way) -> None:
        self._way, self._block, self._users = way, block, 0
        self._attention: Any = block.get_submodule(way.attention)
        self._norm = block.get_submodule(way.norm) if way.norm else None
        self._hooks: list[RemovableHandle] = []

    def enter(self) -> None:
        """One more uses it: its hooks and its attention's forward pass are in place."""
        self._users += 1
        if self._users == 1:
            vars(self._attention)["forward"] = self._attend
            block = self._block
            self._hooks = [block.register_forward_pre_hook(self._take, with_kwargs=True), block.register_forward_hook(self._give)]

    def leave(self) -> None:
        """One less; nobody's, the block is as it was."""
        self._users -= 1
        if self._users:
            return
        for hook in self._hooks:
            hook.remove()
        if getattr(vars(self._attention).get("forward"), "__self__", None) is self:
            del vars(self._attention)["forward"]

    @property
    def suits(self) -> bool:
        """Whether its attention function takes fewer queries than keys, and no pass of it is made again for the backward one."""
        again = getattr(self._block, "gradient_checkpointing", False) and self._block.training
        return self._attention.config._attn_implementation.startswith(_FUSED) and not again

    def _take(self, _: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Before the block: keep all tokens, go on with the first ones."""
        if _HERE.last is not self or not arguments:
            return None
        hidden_BTH, *others = arguments
        _HERE.states = hidden_BTH if self._norm is None else self._norm(hidden_BTH)
        return (_filled(hidden_BTH[:, :1]), *others), named

    def _give(self, _: nn.Module, __: tuple[Any, ...], left: Tensor) -> Tensor | None:
        """After it: the rows that there were, [B, 1, H]."""
        if _HERE.last is not self or _HERE.states is None:
            return None
        count, _HERE.states = len(_HERE.states), None
        return left[:count]

    def _attend(self, hidden: Tensor, attention_mask: Tensor | None = None, **told: Any) -> Any:
        """In place of the attention's forward pass."""
        module, way, all_BTH = self._attention, self._way, _HERE.states
        if _HERE.last is not self or all_BTH is None:
            return type(module).forward(module, hidden, attention_mask=attention_mask, **told)  # ModernBERT's second is another
        seen_R1H = way.looks(module, way, hidden, all_BTH, _Function(module, attention_mask, told))
        for name in way.closing:
            seen_R1H = getattr(module, name)(seen_R1H)
        return seen_R1H, None


class _Function:
    """The attention function that the model uses, for first tokens. told: what it is called with besides."""

    def __init__(self, module: Any, mask: Tensor | None, told: dict[str, Any]) -> None:
        self._module, self._mask, self.told = module, mask, told
        self.told.pop("past_key_values", None)

    def __call__(self, query_BN1D: Tensor, key_BNTD: Tensor, value_BNTD: Tensor) -> Tensor:
        """What they see, all heads side by side, filled up: [R, 1, H]."""
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        module, mask = self._module, self._mask
        dropout = getattr(module, "dropout", None)
        share = module.attention_dropout if dropout is None else dropout.p
        found_B1ND, _ = ALL_ATTENTION_FUNCTIONS[module.config._attn_implementation](
            module,
            query_BN1D,
            key_BNTD,
            value_BNTD,
            None if mask is None else mask[:, :, :1],
            dropout=share if module.training else 0.0,
            scaling=query_BN1D.shape[-1] ** -0.5,
            **self.told,
        )
        return _filled(found_B1ND.flatten(2))


def _filled(first_B1H: Tensor) -> Tensor:
    """[B, 1, H] as [R, 1, H]; what is added is zeros, and read by nobody."""
    more = filled(len(first_B1H)) - len(first_B1H)
    return nn.functional.pad(first_B1H, (0, 0, 0, 0, 0, more)) if more else first_B1H
