"""A base in memory once, under the adapters and heads of many models; and whole models beside it that share nothing.

Shape letters: B rows, T tokens.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rootstock.core.linear import fused
from rootstock.core.numbers import convert, to_fp32
from rootstock.core.rows import Columns
from rootstock.core.task import Batch, Labelled
from rootstock.core.twin import same_weights
from rootstock.serving.hollow import Hollow, joined, share
from rootstock.serving.numbers import Format
from rootstock.serving.packed import Layout, Packing, Unpackable, by_rows, cost
from rootstock.serving.shared import NOBODY, Group, LowRank, Now, Plan, Unshareable, Whole


@dataclass(frozen=True, eq=False)
class Part:
    """What of a lane is one model's. head: None where the lane's model has the head as well."""

    task: Labelled
    slot: int = NOBODY
    head: Hollow | None = None


Asked = Sequence[tuple[Part, Batch]]


class Lane(Protocol):
    """Rows that may pass in one batch. model: what passes them. writes: whether it writes texts, one at a time."""

    model: Any
    writes: bool

    @property
    def packs(self) -> bool:
        """Whether rows pass without padding."""
        ...

    def cost(self, lengths: Sequence[int]) -> int:
        """Tokens that pass for rows of these lengths."""
        ...

    def answer(self, asked: Asked) -> list[Columns]:
        """What each part's task decodes of its batch; called from several threads at once."""
        ...

    def writing(self, part: Part) -> AbstractContextManager[None]:
        """Inside, the model is this thread's, and answers as the part's."""
        ...


class _Packed:
    """What passes rows without padding where its body can."""

    _packing: Packing | None

    @property
    def packs(self) -> bool:
        """Whether rows pass without padding."""
        return self._packing is not None and self._packing.able

    def cost(self, lengths: Sequence[int]) -> int:
        """By `packs` their tokens, else as many as the longest's of each."""
        return cost(sum(lengths)) if self.packs else padded(lengths)


@dataclass(eq=False)
class Trunk(_Packed):
    """model: a base's body, or with its own output layer where what is served over it writes. Slots hold adapters. proved: see Opening."""

    model: Any
    format: Format
    padding: int
    writes: bool = False
    proved: set[tuple[str, ...]] = field(default_factory=set)
    now: Now = field(default_factory=Now)
    _free: list[int] = field(default_factory=list)
    _slots: int = 1
    _held: dict[int, list[LowRank | Whole]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _writing: threading.RLock = field(default_factory=threading.RLock)
    _packing: Packing | None = None
    _ways: ExitStack | None = None

    def __post_init__(self) -> None:
        self._ways = prepare(self.model, self.format)
        if not self.writes:
            self._packing = Packing(self.model, self.format.name)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        found: torch.device = next(self.model.parameters()).device
        return found

    def graft(self, updates: Mapping[str, tuple[Tensor, Tensor]], layers: Mapping[str, nn.Module]) -> int:
        """A slot with these updates and layers of its own, by the names of modules in the model; NOBODY where there are none."""
        if not updates and not layers:
            return NOBODY
        modules = dict(self.model.named_modules())
        for name in (*updates, *layers):
            if name not in modules:
                raise Unshareable(f"it changes {name}, which is not in its base")
        with self._lock:
            slot = self._free.pop() if self._free else self._slots
            self._slots = max(self._slots, slot + 1)
            changed = self._held.setdefault(slot, [])
            try:
                for name, given in (*updates.items(), *layers.items()):
                    layer = self._place(name, Whole if isinstance(given, nn.Module) else LowRank)
                    layer.put(slot, given)
                    changed.append(layer)
            except Unshareable:
                self._release(slot)
                raise
        return slot

    def _place(self, name: str, kind: Any) -> Any:
        """The layer of a name, seen to be of a kind."""
        held = self.model.get_submodule(name)
        if isinstance(held, kind):
            return held
        if isinstance(held, LowRank | Whole):
            raise Unshareable(f"{name} is changed by some and replaced by others")
        made = kind(held, self.now)
        self.model.set_submodule(name, made)
        return made

    def release(self, slot: int) -> None:
        """Free a slot; no batch that passes may have rows of it."""
        with self._lock:
            if slot != NOBODY:
                self._release(slot)

    def _release(self, slot: int) -> None:
        for layer in self._held.pop(slot):
            layer.clear(slot)
        self._free.append(slot)

    def answer(self, asked: Asked) -> list[Columns]:
        """One pass for all rows that have a head beside the base; what writes goes group by group."""
        if self.writes:
            return [self._written(part, batch) for part, batch in there(asked, self.device)]
        asked = there(asked, self.device)
        given = [(part.head.asks(batch), part.slot) for part, batch in asked if part.head is not None]
        counts = [len(each["input_ids"]) for each, _ in given]
        ends = [sum(counts[: number + 1]) for number in range(len(counts))]
        groups = [Group(slot, end - count, end) for (_, slot), count, end in zip(given, counts, ends, strict=True)]
        inputs = joined([each for each, _ in given], self.padding)
        found = self._through(inputs, groups)
        both = zip(asked, given, groups, strict=True)
        return [
            part.head.answers(batch, share(found, each, group.start, group.stop))
            for (part, batch), (each, _), group in both
            if part.head is not None
        ]

    def _through(self, inputs: dict[str, Any], groups: Sequence[Group]) -> Any:
        """What the body leaves of a batch."""
        if self._packing is not None and self._packing.lays(inputs):
            laid = Layout(inputs["attention_mask"])
            try:
                with self.now.passing(Plan(groups, self.device, laid)):
                    return self._packing(inputs, laid)
            except Unpackable:
                self._packing.able = False
        with self.now.passing(Plan(groups, self.device)):
            return self.model(**inputs)

    def _written(self, part: Part, batch: Batch) -> Columns:
        """Of a model that writes: how it does is set in the model itself, so that one text is written at a time."""
        with self.writing(part):
            return part.task.decode(self.model, batch)

    @contextmanager
    def writing(self, part: Part) -> Iterator[None]:
        """Inside, the model is this thread's, and answers as the part's: however many rows, as all are of one adapter."""
        with self._writing, self.now.passing(Plan([Group(part.slot, 0, 1)], self.device)):
            yield


@dataclass(eq=False)
class Own(_Packed):
    """A model that shares nothing. fresh: parameters that stay in fp32. Each thread has a twin on the same weights."""

    model: nn.Module
    format: Format
    fresh: frozenset[str]
    writes: bool
    _twins: threading.local = field(default_factory=threading.local)
    _writing: threading.RLock = field(default_factory=threading.RLock)
    _packing: Packing | None = None
    _ways: ExitStack | None = None

    def __post_init__(self) -> None:
        self._ways = prepare(self.model, self.format, self.fresh)
        modules: list[Any] = [each for each in self.model.modules() if type(each).__module__.startswith("transformers.")]
        if modules and hasattr(modules[0], "base_model") and not self.writes and not modules[0].config.is_encoder_decoder:
            self._packing = Packing(modules[0].base_model, self.format.name)
            self._packing.stand_before()

    def answer(self, asked: Asked) -> list[Columns]:
        """Batch by batch."""
        asked = there(asked, next(self.model.parameters()).device)
        if self.writes:
            with self._writing:  # how it writes is set in the model itself
                return [part.task.decode(self.model, batch) for part, batch in asked]
        if not hasattr(self._twins, "model"):
            self._twins.model = same_weights(self.model)
        return [part.task.decode(self._twins.model, batch) for part, batch in asked]

    @contextmanager
    def writing(self, part: Part) -> Iterator[None]:
        """Inside, the model is this thread's."""
        with self._writing:
            yield


def padded(lengths: Sequence[int]) -> int:
    """Tokens of rows that are filled up to the longest."""
    return len(lengths) * max(lengths, default=0)


def there(asked: Asked, device: torch.device) -> Asked:
    """The batches where the model is."""
    if device.type == "cpu":
        return asked
    return [(part, {name: value.to(device) for name, value in batch.items()}) for part, batch in asked]


def prepare(model: Any, format: Format, fresh: frozenset[str] = frozenset()) -> ExitStack:
    """Put a model into the number format and the ways that are quickest where nothing learns.

    The ways last as long as what is returned is kept: a context that nobody holds is left when it is thrown away.
    """
    model.eval().requires_grad_(False)
    convert(model, format.dtype, fresh)
    format.quantise(model, fresh)
    ways = ExitStack()
    ways.enter_context(fused(model, ordered=True))
    ways.enter_context(by_rows(model, wanted=next(model.parameters()).device.type == "cpu"))
    return ways


def own_layer(like: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A layer as that of the base with other weights, in fp32. tensors: by the names that they have in it."""
    held = dict(like.named_parameters())
    if held.keys() != tensors.keys() or any(held[name].shape != value.shape for name, value in tensors.items()):
        raise Unshareable("a layer of its base is saved in another shape")
    made = same_weights(like)
    made.__dict__.pop("forward", None)  # the way of the base's own format
    for name, value in tensors.items():
        owner, _, key = name.rpartition(".")
        made.get_submodule(owner)._parameters[key] = nn.Parameter(value.float().clone(), requires_grad=False)
    made.register_forward_pre_hook(to_fp32)
    return made
