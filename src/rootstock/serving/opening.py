"""From the folder of a run to a model that answers: over a trunk that others share, or by itself with the reason why.

Shape letters: B rows.
"""

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor, nn

from rootstock.bases import load as bases
from rootstock.bases.resolve import Resolved
from rootstock.core.errors import UsageError
from rootstock.core.loaded import Head, Loaded
from rootstock.core.method import Answer, Method, Saved, Tap
from rootstock.core.rows import Encoded
from rootstock.core.seed import Draw
from rootstock.core.task import Batch, Labelled
from rootstock.serving.hollow import Hollow, fill, hollow
from rootstock.serving.numbers import Format
from rootstock.serving.rows import table
from rootstock.serving.shared import NOBODY, LowRank, Unshareable, Whole
from rootstock.serving.told import ModelInfo
from rootstock.serving.trunk import Lane, Own, Part, Trunk, own_layer

_CLOSE = {"float32": 1e-4, "bfloat16": 2e-2, "int8": 0.3}
"""How far a shared model's answers may lie from its whole model's in the same format, where it is proved: more is another model."""


class Source(Protocol):
    """A finished run, as far as an engine asks it; run.use.Run is one."""

    @property
    def admitted(self) -> Resolved:
        """Its model after the gate, each file as it was written."""
        ...

    @property
    def contract(self) -> Mapping[str, Any]:
        """What it must meet to give the same answers."""
        ...

    @property
    def task(self) -> Labelled:
        """What it answers."""
        ...

    @property
    def method(self) -> Method | None:
        """None of a base that nobody adapted."""
        ...

    @property
    def tokenizer(self) -> Any:
        """That of its contract."""
        ...

    @property
    def place(self) -> Path:
        """The folder of its model."""
        ...

    def load(self) -> nn.Module:
        """The whole model in fp32."""
        ...

    def base(self, meant: str) -> Resolved:
        """Its base after the gate; ContractRefused where it is another by now."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Model:
    """A model in memory."""

    info: ModelInfo
    task: Labelled
    tokenizer: Any
    lane: Lane
    part: Part

    @property
    def length(self) -> int | None:
        """Tokens that are kept of a row."""
        return self.info.length or None

    @property
    def encoding(self) -> tuple[Any, ...]:
        """Models for which this is the same encode a row to the same tokens."""
        alike = self.task.encodes_alike
        return id(self.tokenizer), self.length, *((type(self.task),) if alike else (id(self),))

    def batch(self, encoded: Encoded, rows: np.ndarray) -> Batch:
        """Encoded rows as tensors."""
        return self.task.collate(encoded, rows, self.tokenizer, Draw(0))

    def release(self) -> None:
        """Free what it holds of a trunk. Nothing may be answered by it any more."""
        if isinstance(self.lane, Trunk):
            self.lane.release(self.part.slot)


@dataclass(eq=False)
class Opening:
    """Opens runs over the trunks that are in memory. One at a time; answers go on meanwhile. A trunk goes with its last model."""

    opener: Callable[[Path], Source]
    format: Format
    device: torch.device
    _trunks: WeakValueDictionary[tuple[str, bool], Trunk] = field(default_factory=WeakValueDictionary)
    _tokenizers: WeakValueDictionary[tuple[tuple[str, str], ...], Any] = field(default_factory=WeakValueDictionary)
    _lately: deque[Any] = field(default_factory=lambda: deque(maxlen=4))
    """Tokenizers that stay though no model in memory has them: many folders are looked at before one is opened."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self, name: str, folder: Path) -> ModelInfo:
        """What a folder holds, after gate and contract, and without its weights."""
        with self._lock:
            source = self._admitted(folder)
            info = self._info(name, source)
            try:
                _check_shares(info, source)
            except Unshareable as why:
                return replace(info, alone_because=str(why), shares=False)
            return info

    def open(self, name: str, folder: Path) -> Model:
        """The model of a folder, its weights in memory."""
        with self._lock, torch.no_grad():
            source = self._admitted(folder)
            info = self._info(name, source)
            try:
                return self._over_trunk(info, source)
            except Unshareable as why:
                return self._by_itself(replace(info, alone_because=str(why), shares=False), source)

    def _admitted(self, folder: Path) -> Source:
        source = self.opener(folder)
        admitted = source.admitted  # the gate, before anything of its model is read
        if admitted.admission is None or source.task.reads != "texts":
            raise UsageError(f"{folder} reads {source.task.reads}", wanted="a run on texts", fix="ask it with rootstock predict")
        return source

    def _info(self, name: str, source: Source) -> ModelInfo:
        contract, task = source.contract, source.task
        names = ("text", "text_pair") if contract["task"].get("text_pair") and not task.singly else ("text",)
        tokens = self._tokenizer(source)
        return ModelInfo(
            name=name,
            task=contract["task"]["name"],
            kind=task.kind,
            method=contract["method"]["name"],
            base=contract["base"]["reference"],
            base_sha256=contract["base"]["sha256"],
            labels=tuple(contract["labels"]),
            reads=(*names, *(each for each in task.further if each == "choices")),
            length=contract["length"] or 0,
            can=("predict", *(("embed",) if task.singly else ()), *(("generate",) if task.writes else ())),
            chat=bool(getattr(tokens, "chat_template", None)) and getattr(task, "form", "") == "chat",
            loaded=True,
            shares=True,
            alone_because="",
            precision=self.format.name,
        )

    def _tokenizer(self, source: Source) -> Any:
        """One for all models whose tokenizer files are the same bytes; each was held to its contract when it was first read."""
        assert source.admitted.admission is not None
        others = (".safetensors", ".index.json", "config.json")
        files = source.admitted.admission.files.items()
        key = tuple(sorted((name, digest) for name, digest in files if not name.endswith(others) or name == "tokenizer_config.json"))
        key += (("contract", source.contract["tokenizer_sha256"]),)
        found = self._tokenizers.get(key)
        if found is None:
            found = self._tokenizers[key] = source.tokenizer
        self._lately.append(found)
        return found

    def _by_itself(self, info: ModelInfo, source: Source) -> Model:
        return Model(info=info, task=source.task, tokenizer=self._tokenizer(source), lane=self._own(source), part=Part(source.task))

    def _own(self, source: Source) -> Own:
        """The whole model."""
        model = source.load().to(self.device)
        original = source.method.original if source.method else str
        fresh = frozenset(name for name, _ in model.named_parameters() if original(name) in source.contract["fresh"])
        return Own(model, self.format, fresh, source.task.writes)

    def _over_trunk(self, info: ModelInfo, source: Source) -> Model:
        task, saved = source.task, _saved(info, source)
        base = source.base("adapter was trained on")
        tokens = self._tokenizer(source)
        part, trunk = self._part(source, saved, self._trunk(base, task, tokens), base)
        made = Model(info=info, task=task, tokenizer=tokens, lane=trunk, part=part)
        self._prove(made, source)
        return made

    def _trunk(self, base: Resolved, task: Labelled, tokens: Any) -> Trunk:
        """The base in memory, read now where it is not."""
        key = (base.digest, task.writes)
        found = self._trunks.get(key)
        if found is None:
            head = Head(auto=task.head().auto if task.writes else "AutoModel")
            model: Any = bases.load(base, head, seed=0).model
            if model.config.is_encoder_decoder and not task.writes:
                raise Unshareable("its base has an encoder and a decoder")
            bases.fit(tokens, model)
            found = self._trunks[key] = Trunk(model.to(self.device), self.format, tokens.pad_token_id, task.writes)
        return found

    def _part(self, source: Source, saved: Saved, trunk: Trunk, base: Resolved) -> tuple[Part, Trunk]:
        task = source.task
        if task.writes:
            if saved.tensors:
                raise Unshareable("it has parameters beside its base's own output layer")
            return Part(task, trunk.graft(saved.updates, {})), trunk
        skeleton = bases.skeleton(base, task.head())
        bases.fit(self._tokenizer(source), skeleton)
        body = skeleton.base_model
        if type(body) is not type(trunk.model):
            raise Unshareable(f"its body is a {type(body).__name__}, and its base's a {type(trunk.model).__name__}")
        prefix = "" if body is skeleton else f"{skeleton.base_model_prefix}."
        model, names = _headed(source, skeleton)
        made = hollow(model, body, trunk.model)
        fill(made, {name: p for name, p in names.items() if not name.startswith(prefix)}, saved.tensors)
        updates = {_below(name, prefix): value for name, value in saved.updates.items()}
        layers = {} if source.method and source.method.frozen else _layers(saved.tensors, prefix, trunk)
        return Part(task, trunk.graft(updates, layers), Hollow(made, task, trunk.model)), trunk

    def _prove(self, made: Model, source: Source) -> None:
        """On a few tokens, beside another's rows, it must answer as the whole model does: each frozen one, else the first of its kind."""
        kind = (made.info.task, made.info.method, *sorted(source.contract["fresh"]))
        if not isinstance(made.lane, Trunk) or made.lane.writes or kind in made.lane.proved:
            return
        try:
            self._compare(made, source)
        except Unshareable:
            made.release()
            raise
        if not (source.method and source.method.frozen):
            made.lane.proved.add(kind)

    def _compare(self, made: Model, source: Source) -> None:
        whole = self._own(source)
        rows = table([_example(made.info, text) for text in ("a film", "this is quite another song, a longer one")], made.info, made.task)
        encoded = made.task.encode(rows, made.tokenizer, made.length)
        batch = made.batch(encoded, np.arange(len(encoded)))
        assert isinstance(made.lane, Trunk)
        assert made.part.head is not None
        other = replace(made.part, slot=NOBODY)
        found = [made.lane.answer([(made.part, batch), (other, batch)])[0], made.lane.answer([(made.part, batch)])[0]]
        wanted = whole.answer([(Part(made.task), batch)])[0]
        close = math.inf if source.method and source.method.votes else _CLOSE[self.format.name]
        for name, part in ((name, part) for name in wanted for part in found):
            if not all(_near(one, other, close) for one, other in zip(part[name], wanted[name], strict=True)):
                raise Unshareable("beside others it answers otherwise than its whole model")


def _near(one: Any, other: Any, close: float) -> bool:
    """Whether a row's numbers are alike; a choice, such as a tag's number, may jump where rounding decides."""
    return np.asarray(other).dtype.kind != "f" or bool(np.allclose(one, other, rtol=close, atol=close))


def _headed(source: Source, skeleton: Any) -> tuple[nn.Module, dict[str, nn.Parameter]]:
    """The model of a head without memory, and its parameters by the names that they are saved under."""
    names = dict(skeleton.named_parameters())
    loaded = Loaded(skeleton, source.task.head(), frozenset(source.contract["fresh"]) & names.keys())
    method = source.method
    if method is None or not method.frozen:
        return skeleton, names
    model = method.apply(loaded)
    if method.leaves == "head":
        return model, {name: p for name, p in model.named_parameters() if p.requires_grad or name.startswith("head.")}
    tap = method.tap(model, loaded)
    if tap is None:
        raise Unshareable("its head reads more of its base than one vector a text")
    return _Tapped(tap), names


def _check_shares(info: ModelInfo, source: Source) -> None:
    """Raise Unshareable for what can't be put beside a base, as far as that is told without its weights."""
    method = source.method
    if source.contract.get("added"):
        raise Unshareable("it brings tokens of its own")
    if method is None:
        return
    if method.frozen and method.warm_up() is not None:
        raise Unshareable("its base was warmed up, and is no other's")
    if method.positions or not (method.saves == "adapter" or method.frozen):
        raise Unshareable(f"{info.method} changes more of its base than can be put beside it")


def _saved(info: ModelInfo, source: Source) -> Saved:
    """What is put beside the base; Unshareable where that can't be done."""
    _check_shares(info, source)
    method = source.method
    if method is None:
        return Saved({}, {})
    saved = method.saved(source.place)
    if saved is None:
        raise Unshareable(f"{info.method} changes its base by more than products of low rank")
    return saved


class _Tapped(nn.Module):
    """A frozen base's vector, and the head on it."""

    def __init__(self, tap: Tap) -> None:
        super().__init__()
        self.below, self.above = tap.body, tap.head

    def forward(self, **batch: Tensor) -> Answer:
        """As the whole model answers."""
        return cast(Answer, self.above(self.below(**batch)))


def _layers(tensors: Mapping[str, Tensor], prefix: str, trunk: Trunk) -> dict[str, nn.Module]:
    """Layers of the body that were saved whole, such as a pooler's, by their names in it."""
    inside: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(prefix):
            owner, _, key = _below(name, prefix).rpartition(".")
            inside.setdefault(owner, {})[key] = value
    modules = dict(trunk.model.named_modules())
    if strange := sorted(inside.keys() - modules.keys()):
        raise Unshareable(f"it changes {strange[0]}, which is not in its base")
    return {name: own_layer(_under(modules[name]), held) for name, held in inside.items()}


def _under(layer: nn.Module) -> nn.Module:
    """The base's own layer."""
    return layer.layer if isinstance(layer, Whole | LowRank) else layer


def _below(name: str, prefix: str) -> str:
    if not name.startswith(prefix):
        raise Unshareable(f"it changes {name}, which is in no body that others share")
    return name.removeprefix(prefix)


def _example(info: ModelInfo, text: str) -> dict[str, Any]:
    """A row that the model can read."""
    held = {"text": text, "text_pair": f"{text} was good", "choices": [text, "cold"]}
    return {name: held[name] for name in info.reads}
