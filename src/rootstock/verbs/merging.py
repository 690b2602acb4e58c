"""Runs over one base as one model: what they must share, whose head it gets, and what it gives on the rows of each."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from rootstock.bases import load as bases
from rootstock.bases.combine import Combination, combined
from rootstock.core import artifact
from rootstock.core.errors import ContractRefused, UsageError
from rootstock.loop import precision
from rootstock.run import contract as contracts
from rootstock.run import merge as gate
from rootstock.run.finish import seen_keys
from rootstock.run.prepared import device_name
from rootstock.run.use import Run


@dataclass(frozen=True, kw_only=True)
class Head:
    """Which head the merged model gets: of `run` alone, or the mean of all where every run answers alike."""

    run: Run
    mean: bool

    def answers(self, run: Run) -> bool:
        """Whether the head stands for the answers of this run."""
        return _alike(run) == _alike(self.run)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A run taken apart: what its body became, and the head that learned beside it."""

    body: dict[str, Tensor]
    head: dict[str, Tensor]
    moved: dict[str, Any] | None


def head_of(runs: Sequence[Run], named: Path | None) -> Head:
    """The head to give; ContractRefused with both digests where the runs are not over one base, or answer otherwise and none is named."""
    first = runs[0]
    for run in runs[1:]:
        for what, key in (("base", "base"), ("tokenizer", "tokenizer_sha256")):
            held, wanted = (each.contract[key] if what == "tokenizer" else each.contract[key]["sha256"] for each in (run, first))
            if held != wanted:
                raise ContractRefused(
                    f"{run.path} was trained with the {what} {held}",
                    wanted=f"{wanted}, the {what} of {first.path}",
                    fix="merge runs over one base with one tokenizer only",
                )
    if first.contract["base"]["reference"].startswith("scratch:"):
        raise UsageError(
            f"{first.path} began from random weights", wanted="runs over one trained base", fix="name runs from a trained base"
        )
    if named is not None:
        found = next((run for run in runs if run.path.resolve() == named.resolve()), None)
        if found is None:
            raise UsageError(
                f"--head-from {named}", wanted=f"one of {', '.join(str(run.path) for run in runs)}", fix="name one of the runs"
            )
        return Head(run=found, mean=False)
    for run in runs[1:]:
        if _alike(run) != _alike(first):
            raise ContractRefused(
                f"{run.path} answers with {_told(run)}",
                wanted=f"{_told(first)}, as {first.path} does",
                fix=f"say whose head the merged model gets: --head-from {first.path}",
            )
    return Head(run=first, mean=True)


def _alike(run: Run) -> tuple[str, list[str]]:
    return run.recipe.task["name"], run.contract["labels"]


def _told(run: Run) -> str:
    name, labels = _alike(run)
    shown = ", ".join(labels[:6]) + (" …" if len(labels) > 6 else "")
    return f"{name}{f' ({shown})' if labels else ''}, labels of the digest {contracts.digest(labels)}"


def source(run: Run) -> dict[str, Any]:
    """Which run it is, for the record."""
    return {
        "name": run.path.resolve().name,
        "task": run.recipe.task["name"],
        "method": run.recipe.method["name"],
        "base_sha256": run.contract["base"]["sha256"],
        "contract_sha256": artifact.digest_json(run.contract),
    }


def folded(run: Run, rows: pa.Table) -> tuple[nn.Module, dict[str, Any]]:
    """The run's model with its adapter folded in, compared with the unmerged one on these rows. Raises MergeRefused as the gate does."""
    encoded = run.task.encode(rows, run.tokenizer, run.contract["length"])
    return gate.folded(run.method, run.load().to(device_name()).eval(), run.task, run.feed(encoded))


def merge(runs: Sequence[Run], head: Head, how: Combination, rows: Sequence[pa.Table | None]) -> tuple[nn.Module, dict[str, Any]]:
    """The merged model, and what it gives on the rows of each run beside what that run gave alone."""
    shares = how.shares(len(runs))
    parts = [_part(run, held) for run, held in zip(runs, rows, strict=True)]
    loaded = [_base(run) for run in runs]
    base = {name: tensor for each in loaded for name, tensor in each.state_dict().items()}
    for run, part in zip(runs, parts, strict=True):
        if strange := sorted(name for name in part.body if name not in base or part.body[name].shape != base[name].shape):
            raise ContractRefused(
                f"{run.path} has another architecture than its base: {len(strange)} tensors, the first {strange[0]}",
                wanted="runs that change weights of the base and add none to its body",
                fix="leave this run out",
            )
    body = combined({name: base[name] for name in base if any(name in part.body for part in parts)}, [p.body for p in parts], how)
    chosen = next(i for i, run in enumerate(runs) if run is head.run)
    top = _mean([part.head for part in parts], shares) if head.mean else parts[chosen].head
    model = _filled(loaded[chosen], body, top)
    told = []
    for run, part, skeleton, held in zip(runs, parts, loaded, rows, strict=True):
        own = None if head.answers(run) else _filled(skeleton, body, part.head)
        told.append(
            source(run) | {"compared": part.moved, "measured": _measured(run, own or model, held, runs), "own_head": own is not None}
        )
    facts = {"combine": how.plain() | {"density": how.kept, "weights": shares}, "head": "mean" if head.mean else source(head.run)["name"]}
    return model, {"sources": told, **facts}


def _part(run: Run, rows: pa.Table | None) -> Part:
    moved = None
    if run.contract["saves"] != "adapter":
        model = run.load()
    elif rows is not None:
        model, moved = folded(run, rows)
    else:
        model = run.method.merge(run.load())
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    fresh = set(run.contract["fresh"])
    return Part(
        body={name: tensor for name, tensor in state.items() if name not in fresh and tensor.is_floating_point()},
        head={name: tensor for name, tensor in state.items() if name in fresh},
        moved=moved,
    )


def _base(run: Run) -> nn.Module:
    """The run's base as it was, under the run's own head."""
    model = bases.load(run.base(f"run of {run.path} was trained from"), run.task.head(), seed=run.recipe.seed).model
    if run.tokenizer is not None:
        bases.fit(run.tokenizer, model)
    return model


def _mean(heads: Sequence[dict[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """Heads have no base to differ from: their weighted mean, whatever the scale."""
    total = sum(shares)
    return {name: sum((share / total) * head[name] for share, head in zip(shares, heads, strict=True)) for name in heads[0]}  # type: ignore[misc]


@torch.no_grad()
def _filled(skeleton: nn.Module, body: dict[str, Tensor], head: dict[str, Tensor]) -> nn.Module:
    """A copy of a model with these weights."""
    model = copy.deepcopy(skeleton)
    held = model.state_dict()
    model.load_state_dict({name: {**body, **head}.get(name, held[name]) for name in held})
    return model.eval()


def _measured(run: Run, model: nn.Module, rows: pa.Table | None, runs: Sequence[Run]) -> dict[str, Any] | None:
    """The headline figures of the merged model on a run's rows, and of that run alone on the same."""
    if rows is None:
        return None
    alone = run.scored(rows)
    with precision.computing(model.to(device_name()), run.dtype, set(run.contract["fresh"])):
        scores = {"alone": alone, "merged": run.scored(rows, model)}
    names = [name for name in run.task.headline if name in scores["merged"]["metrics"]]
    figures = {
        kind: {name: [found["metrics"].get(name), *found["intervals"].get(name, [])] for name in names} for kind, found in scores.items()
    }
    keys = seen_keys(rows)
    learned = [np.isin(keys, seen["rows"]) for other in runs if other is not run and (seen := other.seen())]
    return {"rows": len(rows), **figures, "learned_by_others": int(np.logical_or.reduce(learned).sum()) if learned else 0}


def save_seen(runs: Sequence[Run], path: Path) -> None:
    """Keep the digests of all rows that any of the runs learned from or chose by; nothing where one of them does not know its own."""
    seen = [run.seen() for run in runs]
    if all(seen):
        with artifact.writing(path):
            save_file({key: np.unique(np.concatenate([each[key] for each in seen])) for key in ("rows", "chose")}, path)
