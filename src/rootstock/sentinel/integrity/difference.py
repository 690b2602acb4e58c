"""What differs between the weights of a model and those of a reference: which tensors, which rows, by how much, and of which rank.

Shape letters: R rows, W width, K columns of the sketch.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np

from rootstock.sentinel.integrity.tensors import ROUNDING, Stored, widened

_SKETCH = 72
_LARGEST_RANK = 64
"""Ranks above are told as more than this: the sketch has room for it and eight columns to spare."""
_ROWS_NAMED = 16
_FEW = 0.01
"""A share of rows; an embedding of which fewer changed was edited and not trained."""
_BLOCK = re.compile(r"(?:^|\.)(?:layer|layers|h|block|blocks|encoder|decoder)\.(\d+)\.")
EMBEDDING = re.compile(
    r"(word_embeddings|embed_tokens|wte|tok_embeddings|shared|word_embedding|embedding|embed_in|tokens_embed|(?:^|\.)embeddings)\.weight$"
)
_HEAD = re.compile(r"(^|\.)(classifier|score|lm_head|qa_outputs|cls|pre_classifier|classification_head|decoder)\.")


@dataclass(frozen=True)
class Change:
    """One tensor that differs.

    relative: norm of the difference over the reference's norm. share: of numbers that differ. changed_rows: their count, and named the
    first of them. rank: of the difference, None where it has one dimension; 65 means more than 64.
    """

    name: str
    shape: tuple[int, ...]
    relative: float
    largest: float
    share: float
    changed_rows: int
    named: tuple[int, ...]
    rank: int | None

    @property
    def part(self) -> str:
        """The place in the model: a block by its number, the embeddings, the head, or the rest."""
        if found := _BLOCK.search(self.name):
            return f"block {found[1]}"
        return "embeddings" if "embed" in self.name or "wte" in self.name else "head" if _HEAD.search(self.name) else "rest"

    @property
    def edited(self) -> bool:
        """A table of embeddings of which a few rows changed and all others are bit for bit the same."""
        return bool(EMBEDDING.search(self.name)) and 0 < self.changed_rows <= max(1, _FEW * self.shape[0]) and len(self.shape) == 2


@dataclass
class Difference:
    """All that differs. same: count of equal tensors. added, lacking: names on one side only. reshaped: other shape or dtype."""

    same: int = 0
    changed: list[Change] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)

    def summary(self) -> list[str]:
        """What a person would say of it, in a few lines."""
        if not self.same and not self.changed:
            return ["no tensor of this model is in the reference: another architecture, or an adapter"]
        lines = [f"{self.same:,} tensors are equal, {len(self.changed):,} differ"]
        parts = sorted({each.part for each in self.changed}, key=lambda part: (part.split()[0], len(part), part))
        lines += [f"changed parts: {', '.join(parts)}"] if parts else []
        heads = [each.name for each in self.changed if each.part == "head"] + [name for name in self.added if _HEAD.search(name)]
        if heads and all(each.part == "head" for each in self.changed):
            lines.append(f"only the head was trained: {', '.join(heads)}")
        ranks = [each.rank for each in self.changed if each.rank is not None and not each.edited]
        if ranks and max(ranks) <= _LARGEST_RANK:
            lines.append(f"the differences of matrices have a rank of {max(ranks)} at most, as a folded adapter leaves")
        lines += [f"only here: {', '.join(self.added)}"] if self.added else []
        lines += [f"only in the reference: {', '.join(self.lacking)}"] if self.lacking else []
        return lines + [f"other shape: {each}" for each in self.reshaped]


def between(model: Mapping[str, Stored], reference: Mapping[str, Stored]) -> Difference:
    """Compare tensor by tensor; a prefix that one side alone has, such as `bert.`, is seen through."""
    result, found = Difference(), partners(model, reference)
    for name, tensor in model.items():
        other = found.get(name)
        if other is None:
            result.added.append(name)
        elif tensor.shape != reference[other].shape or not (tensor.readable and reference[other].readable):
            result.reshaped.append(
                f"{name} is {tensor.dtype} {list(tensor.shape)}, was {reference[other].dtype} {list(reference[other].shape)}"
            )
        elif (change := _change(tensor, reference[other])) is None:
            result.same += 1
        else:
            result.changed.append(change)
    result.lacking = sorted(set(reference) - set(found.values()))
    return result


def partners(model: Mapping[str, Stored], reference: Mapping[str, Stored]) -> dict[str, str]:
    """Name here to name there: the same, or the only one of which one ends with the other."""
    found = {name: name for name in model if name in reference}
    for name in [name for name in model if name not in found]:
        near = [other for other in reference if name.endswith(f".{other}") or other.endswith(f".{name}")]
        if len(near) == 1 and near[0] not in model:
            found[name] = near[0]
    return found


def _change(tensor: Stored, reference: Stored) -> Change | None:
    """None where both hold the same numbers. Two passes at most: equal tensors are never widened."""
    mine_RW, theirs_RW = tensor.rows(), reference.rows()
    step = max(1, (1 << 20) // mine_RW.shape[1])
    generator = np.random.default_rng(0)
    sketch_WK = generator.standard_normal((mine_RW.shape[1], _SKETCH))
    sums, norms, largest, numbers = 0.0, 0.0, 0.0, 0
    rows: list[int] = []
    seen_RK: list[np.ndarray] = []
    for first in range(0, len(mine_RW), step):
        raw = mine_RW[first : first + step], theirs_RW[first : first + step]
        theirs = widened(np.asarray(raw[1]), reference.dtype).astype(np.float64)
        norms += float(np.square(theirs[np.isfinite(theirs)]).sum())
        if tensor.dtype == reference.dtype and raw[0].tobytes() == raw[1].tobytes():
            continue
        apart = np.nan_to_num(widened(np.asarray(raw[0]), tensor.dtype).astype(np.float64) - theirs, nan=np.inf, posinf=np.inf)
        differ = apart != 0
        touched = np.flatnonzero(differ.any(axis=1))
        finite = np.where(np.isfinite(apart), apart, 0.0)[touched]
        rows += [int(first + row) for row in touched]
        sums, largest, numbers = (
            sums + float(np.square(finite).sum()),
            max(largest, float(np.abs(apart).max())),
            numbers + int(differ.sum()),
        )
        if len(tensor.shape) > 1:
            seen_RK.append(finite @ sketch_WK)
    if not numbers:
        return None
    noise = _noise(tensor, reference) * sqrt(norms / max(1, tensor.size))
    rank = _rank(np.concatenate(seen_RK), noise, mine_RW.shape[1]) if seen_RK else None
    relative = sqrt(sums / norms) if norms else float("inf")
    return Change(tensor.name, tensor.shape, relative, largest, numbers / tensor.size, len(rows), tuple(rows[:_ROWS_NAMED]), rank)


def _noise(tensor: Stored, reference: Stored) -> float:
    """Relative error of a number that was computed and stored again."""
    return max(ROUNDING.get(tensor.dtype, 0.0), ROUNDING.get(reference.dtype, 0.0), 2.0**-24)


def _rank(sketched_RK: np.ndarray, noise: float, width: int) -> int:
    """Singular values of difference × random columns above what rounding alone would leave; exact for ranks up to 64."""
    values = np.linalg.svd(sketched_RK, compute_uv=False)
    floor = 4 * noise * sqrt(width) * (sqrt(len(sketched_RK)) + sqrt(_SKETCH))
    return min(int((values > max(floor, values[0] * 1e-12)).sum()), _LARGEST_RANK + 1)


def as_json(found: Difference) -> dict[str, Any]:
    """For machines: every change with its part."""
    changed = [
        {
            "name": each.name,
            "part": each.part,
            "shape": list(each.shape),
            "relative": each.relative if np.isfinite(each.relative) else None,
            "largest": each.largest if np.isfinite(each.largest) else None,
            "share": each.share,
            "changed_rows": each.changed_rows,
            "rows": list(each.named),
            "rank": each.rank,
            "edited": each.edited,
        }
        for each in found.changed
    ]
    return {"same": found.same, "changed": changed, "added": found.added, "lacking": found.lacking, "reshaped": found.reshaped}
