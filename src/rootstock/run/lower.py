"""What the frozen lower blocks give, kept on disk for each token by the digest of all that decides it: computed once, read from then on.

Where a method leaves the lowest blocks as they are, the loop trains the same model from a cut on: batches bring what the block below it
gave. Where blocks thaw by and by, one pass keeps what is needed at each turn, and the cut moves down with them.
"""

import math
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rootstock.core import layers
from rootstock.core.artifact import digest_bytes
from rootstock.core.errors import UsageError, WriteFailed, fitting
from rootstock.core.loaded import configs
from rootstock.core.products import by_products
from rootstock.core.resources import cache_folder
from rootstock.core.rows import Columns, Encoded
from rootstock.core.seed import Draw
from rootstock.core.task import Batch, inputs
from rootstock.core.watch import Watch
from rootstock.data import mapped, states
from rootstock.data.batches import Feed
from rootstock.loop import infer, precision
from rootstock.run import features
from rootstock.run.cut import Cut
from rootstock.run.prepared import LabelledRows, Place, Prepared
from rootstock.run.waited import by_one

_SPARE_BYTES = 1_000_000_000
"""Left free on the disk: checkpoints and the model are still to be written."""
_SHARE = 0.5
"""Of a budget's minutes, at most, for the pass that fills the cache."""
_WAIT_SECONDS = 600.0
"""For another run that makes the same."""

_TOKENS = 512
"""Padded tokens that a core passes at once: what a block makes of them stays near the core, and memory that is free already holds it."""


@dataclass(frozen=True, kw_only=True)
class Lower:
    """A cut model and what its batches bring. ahead: seconds of the pass that a rehearsal left out. facts: for plan.json."""

    cut: Cut
    train: states.States
    validation: states.States
    ahead: float
    facts: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """model: under its method. spans: blocks frozen and the share of the training for which they are, in order. fresh: names in fp32."""

    prepared: Prepared
    model: nn.Module
    place: Place
    fresh: frozenset[str]
    watch: Watch
    spans: Sequence[tuple[int, float]]

    @property
    def depths(self) -> frozenset[int]:
        """Depths to keep."""
        return frozenset(depth for depth, _ in self.spans if depth)

    @property
    def parts(self) -> tuple[Encoded, Encoded]:
        """Rows of both sides."""
        return self.prepared.encoded, self.prepared.encoded_validation


class _NotKeptError(Exception):
    """Why nothing is kept; the run goes on without."""


def below(prepared: Prepared, model: nn.Module, place: Place, fresh: frozenset[str], watch: Watch, *, dry: bool) -> Lower | None:
    """The model cut above what never changes, and what lies below the cut for every row; None where that does not suit, and why is said.

    dry: only work out the disk and the time that it will take.
    """
    if prepared.recipe.training.cache_layers == "no" or not isinstance(prepared, LabelledRows):
        return None
    plan = _Plan(prepared=prepared, model=model, place=place, fresh=fresh, watch=watch, spans=_spans(prepared, model))
    if not plan.depths:
        return None
    cut = Cut(model)
    try:
        return _kept(plan, cut, dry=dry)
    except _NotKeptError as reason:
        cut.close()
        watch.say(f"layers    nothing is learned in {_count(max(plan.depths))}, which all the same run at each step: {reason}")
        return None
    except BaseException:
        cut.close()
        raise


def _spans(prepared: Prepared, model: nn.Module) -> list[tuple[int, float]]:
    """Blocks frozen from each turn of the method to the next, and its share of the training."""
    turns = [0.0, *prepared.method.turns(model), 1.0]
    learn = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    spans = []
    for start, end in pairwise(turns):
        if len(turns) > 2:
            prepared.method.advance(model, start)
        spans.append((layers.frozen(model), end - start))
    for parameter, before in learn:
        parameter.requires_grad_(before)
    return spans


def _kept(plan: _Plan, cut: Cut, *, dry: bool) -> Lower:
    _check(plan)
    width, dtype = _tried(plan, cut)
    paths = {part: {depth: _path(plan, encoded, depth) for depth in plan.depths} for part, encoded in enumerate(plan.parts)}
    held = {
        part: {depth: found for depth, path in each.items() if (found := mapped.opened(path)) is not None} for part, each in paths.items()
    }
    size = {part: int(encoded.tokens["input_ids"].offsets[-1]) * width * dtype.itemsize for part, encoded in enumerate(plan.parts)}
    needed = sum(size[part] * (len(each) - len(held[part])) for part, each in paths.items())
    ahead, started = 0.0, time.monotonic()
    if needed:
        _check_worth(plan)
        _say_disk(plan, needed)
        missing = {part: plan.depths - held[part].keys() for part in paths if len(held[part]) < len(paths[part])}
        ahead = _seconds(plan, cut, missing) if dry or plan.prepared.recipe.budget.minutes else 0.0
        progress = features.Progress(
            plan.watch, sum(int(plan.parts[part].lengths.sum()) for part in missing), what="layers    the frozen blocks pass every row once"
        )
        for part, depths in missing.items():
            shape = int(plan.parts[part].tokens["input_ids"].offsets[-1]), width
            files = {depth: paths[part][depth] for depth in depths}
            held[part] |= (
                _blank(files, shape, dtype) if dry else _alone(plan, cut, part, _Files(files, shape, dtype), progress, ahead=ahead)
            )
    made = f"will take about {ahead:.0f} s" if dry else f"computed once in {time.monotonic() - started:.1f} s"
    how = made if needed else "from the cache"
    plan.watch.say(f"layers    the output of {_count(max(plan.depths))} for {len(plan.parts[0]):,} + {len(plan.parts[1]):,} rows {how}")
    train, validation = (states.States(held[part], encoded.tokens["input_ids"], cut.depth) for part, encoded in enumerate(plan.parts))
    facts = {"depths": sorted(plan.depths), "bytes": sum(size[part] * len(each) for part, each in paths.items()), "computed_bytes": needed}
    facts["seconds"] = round(ahead if dry else time.monotonic() - started if needed else 0.0, 2)
    return Lower(cut=cut, train=train, validation=validation, ahead=ahead if dry else 0.0, facts=facts)


def _check(plan: _Plan) -> None:
    """Raise where the lower blocks give other values each time, or the rows are no plain tokens."""
    prepared, config = plan.prepared, getattr(plan.model, "config", None)
    if prepared.base.scratch:
        raise _NotKeptError("a base of random weights is another one for each seed")
    if prepared.recipe.training.adversary:
        raise _NotKeptError("training.adversary attacks the embeddings below them")
    if prepared.recipe.training.mixup:
        raise _NotKeptError("training.mixup mixes what lies below them")
    if prepared.recipe.teacher.hidden:
        raise _NotKeptError("teacher.hidden compares what they give")
    if getattr(config, "is_encoder_decoder", False):
        raise _NotKeptError("its decoder reads more than the block below")
    if prepared.task.packs:
        raise _NotKeptError("several rows share a line")
    if "input_ids" not in prepared.encoded.tokens:
        raise _NotKeptError("its rows are no tokens")
    if dropout := _dropout(plan.model, max(plan.depths)):
        raise _NotKeptError(f"dropout of {dropout:g} draws at random in them; training.dropout=0 lets them be computed once")


def _dropout(model: nn.Module, depth: int) -> float:
    """The largest share that is dropped in the lowest `depth` blocks or by the model's config; 0 where nothing is."""
    low = [module for block in layers.blocks(model)[:depth] for module in block.modules()]
    found = [module.p for module in low if isinstance(module, nn.modules.dropout._DropoutNd)]
    told = (vars(part) for part in configs(model.config)) if hasattr(model, "config") else ()
    named = [value for part in told for key, value in part.items() if "drop" in key and "classifier" not in key]
    return max([*found, *(value for value in named if isinstance(value, float))], default=0.0)


def _tried(plan: _Plan, cut: Cut) -> tuple[int, np.dtype[Any]]:
    """Hidden size and the kind of number to keep; raises where the model, begun at a depth, would answer otherwise."""
    batch = _some_rows(plan)
    for start, depth in zip([0.0, *plan.prepared.method.turns(plan.model)], [depth for depth, _ in plan.spans], strict=True):
        if depth:
            learn = [(parameter, parameter.requires_grad) for parameter in plan.model.parameters()]
            if len(plan.spans) > 1:
                plan.prepared.method.advance(plan.model, start)
            refusal = cut.refusal(batch, depth)
            for parameter, before in learn:
                parameter.requires_grad_(before)
            if refusal:
                raise _NotKeptError(refusal)
    deepest = max(plan.depths)
    with precision.computing(plan.model, plan.place.dtype, plan.fresh), torch.no_grad():
        found = cut.below(frozenset({deepest}))(**inputs(batch))[deepest]
    kind = np.dtype(np.uint16) if found.dtype == torch.bfloat16 else np.dtype(np.float32)
    return int(found.shape[-1]), kind


def _some_rows(plan: _Plan) -> Batch:
    """A batch of rows of several lengths; raises where a task makes something else of rows than padded tokens."""
    prepared, encoded = plan.prepared, plan.parts[0]
    order = np.argsort(encoded.lengths, kind="stable")
    rows = order[np.unique(np.linspace(0, len(order) // 2, 4).astype(int))]
    batch = prepared.task.collate(encoded, rows, prepared.tokenizer, Draw(prepared.recipe.seed))
    expected = encoded.tokens["input_ids"].padded(rows, int(prepared.tokenizer.pad_token_id))
    if "input_ids" not in batch or not np.array_equal(batch["input_ids"].numpy(), expected):
        raise _NotKeptError("its batches are no rows of padded tokens")
    return infer.to_device(batch, plan.place.device)


def _check_worth(plan: _Plan) -> None:
    """Raise where the pass that fills the cache costs as much as this training would save by it."""
    training = plan.prepared.recipe.training
    steps = len(plan.prepared.feed(plan.parts[0]).epoch(0))
    epochs = training.steps / steps if training.steps else training.epochs or 1
    saved, spent = epochs * sum(depth * share for depth, share in plan.spans), max(plan.depths)
    if training.cache_layers == "auto" and saved <= spent:
        raise _NotKeptError(
            "in so short a training a pass to keep what they give costs more than it saves (training.cache_layers=yes keeps it)"
        )


def _say_disk(plan: _Plan, needed: int) -> None:
    """Say what will be spent; raise where the disk has no room for it."""
    free = shutil.disk_usage(_existing(cache_folder())).free
    if needed + _SPARE_BYTES > free:
        raise _NotKeptError(f"what they give takes {_size(needed)}, and {cache_folder()} has {_size(free)} free")
    learned = f"the output of {_count(max(plan.depths))} goes to {cache_folder()}"
    plan.watch.say(f"layers    {learned}: {_size(needed)} of {_size(free)} free (training.cache_layers=no keeps nothing)")


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


@dataclass(frozen=True)
class _Files:
    """Arrays to be made: their places by depth, and their shape and kind."""

    paths: dict[int, Path]
    shape: tuple[int, int]
    dtype: np.dtype[Any]


def _blank(files: dict[int, Path], shape: tuple[int, int], dtype: np.dtype[Any]) -> dict[int, np.ndarray]:
    """Zeros that take no memory: enough to try a step on."""
    return {depth: np.broadcast_to(np.zeros((1, shape[1]), dtype), shape) for depth in files}


def _alone(plan: _Plan, cut: Cut, number: int, files: _Files, progress: features.Progress, *, ahead: float) -> dict[int, np.ndarray]:
    """The states of a side's rows, which another run may be making just now. ahead: seconds that a pass after the wait would take."""
    part, seconds = plan.parts[number], min(_WAIT_SECONDS, max(_room(plan) - ahead, 0.0))
    with ExitStack() as locks:
        try:
            locks.enter_context(by_one(files.paths.values(), plan.watch, seconds=seconds))
        except UsageError:
            raise _NotKeptError(f"another run has been making what they give for {seconds:.0f} s") from None
        found = {depth: array for depth, path in files.paths.items() if (array := mapped.opened(path)) is not None}
        return found if len(found) == len(files.paths) else _filled(plan, cut, part, files, progress)


def _filled(plan: _Plan, cut: Cut, part: Encoded, files: _Files, progress: features.Progress) -> dict[int, np.ndarray]:
    """One pass of these rows, its states on disk."""
    tokens = part.tokens["input_ids"]
    try:
        with ExitStack() as opened:
            arrays = {depth: opened.enter_context(mapped.making(path, files.shape, files.dtype)) for depth, path in files.paths.items()}

            def passed(rows: np.ndarray) -> None:
                progress.add(int(part.lengths[rows].sum()), rows=len(rows))

            with (
                precision.computing(plan.model, plan.place.dtype, plan.fresh),
                by_products(plan.model, wanted=plan.place.device.type == "cpu", alike=True),
                fitting("a pass of the base", fix=features.FIX),
            ):
                infer.infer(
                    cut.below(frozenset(arrays)),
                    _Numbered(_feed(plan, part)),
                    partial(_put, arrays=arrays, put=partial(states.filled, tokens=tokens)),
                    device=plan.place.device,
                    passed=passed,
                )
    except WriteFailed as error:
        raise _NotKeptError(error.found) from error
    found = {depth: mapped.opened(path) for depth, path in files.paths.items()}
    if any(array is None for array in found.values()):
        raise _NotKeptError(f"what was written to {cache_folder()} can't be read again")
    return {depth: array for depth, array in found.items() if array is not None}


def _feed(plan: _Plan, part: Encoded) -> Feed:
    """Batches of these rows; on a processor small ones."""
    feed = plan.prepared.feed(part)
    return replace(feed, micro=min(feed.micro, _TOKENS * torch.get_num_threads())) if plan.place.device.type == "cpu" else feed


_ROWS = "rows"


@dataclass(frozen=True)
class _Numbered:
    """Batches that know which rows they hold."""

    rows: infer.Rows

    def in_order(self, beside: int) -> list[np.ndarray]:
        return self.rows.in_order(beside)

    def micro_batches(self, rows: np.ndarray, beside: int) -> list[Batch]:
        made: list[Batch] = []
        start = 0
        for batch in self.rows.micro_batches(rows, beside):
            count = len(batch["input_ids"])
            made.append({**batch, _ROWS: torch.from_numpy(rows[start : start + count])})
            start += count
        return made


def _put(body: nn.Module, batch: Batch, *, arrays: dict[int, np.ndarray], put: Callable[..., None]) -> Columns:
    """Write a batch's states where they belong; nothing is left to hand on."""
    rows = batch[_ROWS].cpu().numpy()
    found = body(**{name: value for name, value in inputs(batch).items() if name != _ROWS})
    for depth, array in arrays.items():
        put(array, rows=rows, states_BTH=found[depth])
    return {_ROWS: rows}


def _seconds(plan: _Plan, cut: Cut, missing: dict[int, frozenset[int]]) -> float:
    """About how long the pass takes; raises where a budget has no room for it."""
    seconds = 0.0
    for part, depths in missing.items():
        body = cut.below(depths)
        with precision.computing(plan.model, plan.place.dtype, plan.fresh):
            seconds += features.tried(
                _feed(plan, plan.parts[part]), partial(infer.infer, body, answer=_count_only, device=plan.place.device)
            )
    if seconds > _room(plan):
        minutes = plan.prepared.recipe.budget.minutes
        raise _NotKeptError(f"a pass to keep what they give takes about {seconds:.0f} s of --minutes {minutes:g}")
    return seconds


def _room(plan: _Plan) -> float:
    """Seconds that a budget of minutes has for a pass by now."""
    minutes = plan.prepared.recipe.budget.minutes
    return _SHARE * (60 * minutes - (time.monotonic() - plan.watch.started)) if minutes else math.inf


def _count_only(body: nn.Module, batch: Batch) -> Columns:
    return {"width": np.full(len(batch["input_ids"]), max(body(**inputs(batch))))}


def _path(plan: _Plan, part: Encoded, depth: int) -> Path:
    """By all that decides the states of a depth."""
    key = {
        "base": plan.prepared.base.digest,
        "below": _fingerprint(plan.model, depth),
        "tokens": features.digests(part),
        "depth": depth,
        "dtype": str(plan.place.dtype),
        "device": plan.place.device.type,
        "version": 2,
    }
    return mapped.place("layers", key)


def _fingerprint(model: nn.Module, depth: int) -> str:
    """Of kinds and some values of what lies below: a method may have changed frozen blocks, such as to four bits."""
    low = [tensor.detach() for block in layers.blocks(model)[:depth] for tensor in (*block.parameters(), *block.buffers())]
    some = [
        (tensor.reshape(-1)[:: max(1, tensor.numel() // 64)].float().cpu().numpy().tobytes(), str(tensor.dtype).encode()) for tensor in low
    ]
    kinds = [type(module).__name__.encode() for block in layers.blocks(model)[:depth] for module in block.modules()]
    return digest_bytes(*kinds, *(part for pair in some for part in pair))


def _count(depth: int) -> str:
    return "the lowest block" if depth == 1 else f"the lowest {depth} blocks"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def feeds(prepared: Prepared, lower: Lower | None) -> list[Any]:
    """Batches of both sides, with what the frozen blocks gave where it is kept."""
    given = (lower.train, lower.validation) if lower else (None, None)
    parts = (prepared.encoded, prepared.encoded_validation)
    return [replace(prepared.feed(part), states=each) for part, each in zip(parts, given, strict=True)]
