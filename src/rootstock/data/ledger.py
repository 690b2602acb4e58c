"""The ledger: one account of what the model will see, and the limits above which a run does not start unasked."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from rootstock.core import rows
from rootstock.core.errors import LedgerRefused, UnknownName
from rootstock.core.task import Kind
from rootstock.data.looks import shorten
from rootstock.data.split import keys

LIMITS = {"truncation": 0.01, "empty": 0.01, "contradictions": 0.05, "overlap": 0.10, "duplicates": 0.5, "unlabelled": 0.0}
"""Largest share of rows that each finding may have."""

_MEANING = {
    "truncation": "rows are longer than what is kept of them",
    "empty": "rows have no text",
    "contradictions": "training rows have the text of another row and a different label",
    "overlap": "validation rows also occur in training",
    "duplicates": "training rows repeat an earlier one",
    "unlabelled": "rows have no label and are left out",
}
_REMEDY = {"truncation": "shorten the texts, or raise training.length if it was set", "overlap": "remove them from one of the files"}
_CUTS = (32, 64, 128, 256, 512)
_PERCENTILES = (50, 90, 95, 99)
_EXAMPLES = 3
_OPEN = ("text", "completion", "preference")
"""Kinds whose answers are texts: two of them for one text contradict nothing, and only both alike repeat a row."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the tables don't tell.

    train_lengths, validation_lengths: tokens of each row before any cut, shape [N]. length: tokens kept. kind: what a label is.
    dropped: side and place in the file of rows left out for want of a label. excluded: training rows that a list leaves out.
    not_drawn: rows that a smaller number asked for leaves out.
    padding_share: padded tokens among all of the planned batches.
    names: the classes that a label names, as the model will know them. parted: what is longer is read in pieces, not cut.
    """

    train_lengths: np.ndarray
    validation_lengths: np.ndarray
    length: int
    kind: Kind
    names: Callable[[Any], Sequence[str]]
    dropped: Sequence[tuple[str, int]] = ()
    not_drawn: int = 0
    excluded: int = 0
    padding_share: float = 0.0
    parted: bool = False


@dataclass(frozen=True)
class _Side:
    """One side of the split as lists. labels: a number a row, or its names in order."""

    name: str
    texts: list[str]
    places: list[int]
    keys: list[str]
    labels: list[Any]
    empty: list[bool]
    lengths: np.ndarray


@dataclass(frozen=True)
class _Hit:
    """A row with a finding, and what more to say of it."""

    side: _Side
    place: int
    more: dict[str, Any] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """The row as a report shows it."""
        side = self.side
        return {"row": side.places[self.place], "in": side.name, "text": shorten(side.texts[self.place]), **self.more}


def account(train: pa.Table, validation: pa.Table, facts: Facts) -> dict[str, Any]:
    """The ledger as JSON values: rows, labels, lengths, padding_share, findings, truncation."""
    left, right = _side("train", train, facts.train_lengths, facts), _side("validation", validation, facts.validation_lengths, facts)
    rows_left, rows_right, dropped = len(left.texts), len(right.texts), len(facts.dropped)
    total, repeats = rows_left + rows_right, _repeats(left, whole=facts.kind in _OPEN)
    hits = {
        "truncation": ([] if facts.parted else _truncated(left, facts.length) + _truncated(right, facts.length), total),
        "empty": (_empty(left) + _empty(right), total),
        "contradictions": (_contradictions(left, repeats, kind=facts.kind), rows_left),
        "overlap": (_overlap(left, right), rows_right),
        "duplicates": (_duplicates(left, repeats), rows_left),
    }
    lengths = np.concatenate([facts.train_lengths, facts.validation_lengths])
    lost = [{"row": row, "in": side, "text": ""} for side, row in facts.dropped[:_EXAMPLES]]
    rest = {name: count for name, count in (("not_drawn", facts.not_drawn), ("excluded", facts.excluded)) if count}
    return {
        "rows": {"read": total + dropped + sum(rest.values()), "dropped": dropped, **rest, "train": rows_left, "validation": rows_right},
        "kind": facts.kind,
        "labels": _labels(left.labels, facts.kind),
        "validation_labels": _labels(right.labels, facts.kind),
        "lengths": {"kept": facts.length, "parted": facts.parted, **lengths_of(lengths)},
        "padding_share": float(facts.padding_share),
        "findings": {
            **{name: finding(name, len(found), total=of, examples=_shown(found)) for name, (found, of) in hits.items()},
            "unlabelled": finding("unlabelled", dropped, total=total + dropped, examples=lost),
        },
        "truncation": [] if facts.parted else [_cut(lengths, cut) for cut in _CUTS],
    }


def check_names(accept: Iterable[str]) -> None:
    """Raise UnknownName for a name that is no finding."""
    for name in accept:
        if name not in LIMITS:
            raise UnknownName("finding", name, LIMITS)


def refuse(ledger: dict[str, Any], accept: Iterable[str]) -> None:
    """Raise LedgerRefused if a finding is above its limit and not accepted by name; UnknownName for a name that is no finding."""
    accept = list(accept)
    check_names(accept)
    over = {name: each for name, each in ledger["findings"].items() if each["share"] > each["limit"] and name not in accept}
    if not over:
        return
    remedies = [_REMEDY[name] for name in over if name in _REMEDY] or ["clean the data"]
    raise LedgerRefused(
        "the data ledger stops this run:" + "".join(f"\n  {_sentence(name, each)}" for name, each in over.items()),
        wanted="no finding above its limit",
        fix=f"{', or '.join(remedies)}; or go on knowingly with {' '.join(f'--accept {name}' for name in over)}",
    )


def lines(ledger: dict[str, Any], accept: Iterable[str]) -> list[str]:
    """What a run goes on with, a line each: findings below their limit or accepted, and padding."""
    going = {name: each for name, each in ledger["findings"].items() if each["share"] <= each["limit"] or name in accept}
    said = [_sentence(name, each) for name, each in going.items() if each["count"]]
    return [*said, f"padding: {ledger['padding_share']:.1%} of an epoch's tokens"] if "padding_share" in ledger else said


def _sentence(name: str, found: dict[str, Any]) -> str:
    examples = "; ".join(map(_example, found["examples"]))
    return f"{name}: {_MEANING[name]}: {found['count']:,} ({found['share']:.1%}, limit {found['limit']:.0%}), such as {examples}"


def _example(shown: dict[str, Any]) -> str:
    where = " of validation" if shown["in"] == "validation" else ""
    return f"row {shown['row']}{where}" + (f" {shorten(shown['text'], 50)!r}" if shown["text"] else "")


def _side(name: str, table: pa.Table, lengths: np.ndarray, facts: Facts) -> _Side:
    texts = rows.column(table, rows.TEXT)
    blank = [not text.strip() for text in texts]
    if rows.PAIR in table.column_names:
        blank = [first or not second.strip() for first, second in zip(blank, rows.column(table, rows.PAIR), strict=True)]
    held = rows.column(table, rows.LABEL) if rows.LABEL in table.column_names else []
    labels = [float(label) if facts.kind == "number" else _named(facts, label) for label in held]
    return _Side(name, texts, rows.column(table, rows.ROW), keys(table), labels, blank, lengths)


def _named(facts: Facts, label: Any) -> tuple[str, ...]:
    """The classes that a label names; the order counts where each word has one. A text is itself."""
    names = facts.names(label)
    return tuple(names) if facts.kind == "tags" else tuple(sorted(set(names)))


def finding(name: str, count: int, *, total: int, examples: list[dict[str, Any]]) -> dict[str, Any]:
    """One finding as the ledger holds it."""
    return {"count": count, "share": count / total if total else 0.0, "limit": LIMITS[name], "examples": examples}


def _shown(hits: list[_Hit]) -> list[dict[str, Any]]:
    return [hit.shown() for hit in hits[:_EXAMPLES]]


def _truncated(side: _Side, kept: int) -> list[_Hit]:
    return [_Hit(side, place, {"tokens": int(side.lengths[place])}) for place in np.flatnonzero(side.lengths > kept).tolist()]


def _empty(side: _Side) -> list[_Hit]:
    return [_Hit(side, place) for place, empty in enumerate(side.empty) if empty]


def _repeats(side: _Side, *, whole: bool) -> list[list[int]]:
    """Places of the rows of each key that occurs more than once; of each key and label, if `whole`."""
    first: dict[Any, int] = {}
    groups: dict[Any, list[int]] = {}
    for place, key in enumerate(zip(side.keys, side.labels, strict=True) if whole and side.labels else side.keys):
        if first.setdefault(key, place) != place:
            groups.setdefault(key, [first[key]]).append(place)
    return list(groups.values())


def _duplicates(side: _Side, repeats: list[list[int]]) -> list[_Hit]:
    return [_Hit(side, place, {"first_row": side.places[group[0]]}) for group in repeats for place in group[1:]]


def _overlap(train: _Side, validation: _Side) -> list[_Hit]:
    first = dict(zip(reversed(train.keys), reversed(train.places), strict=True))
    return [_Hit(validation, place, {"train_row": first[key]}) for place, key in enumerate(validation.keys) if key in first]


def _contradictions(side: _Side, repeats: list[list[int]], *, kind: str) -> list[_Hit]:
    # two people rarely give one text the very same number: only a spread of more than a standard deviation contradicts
    spread = float(np.std(side.labels)) if kind == "number" and side.labels else 0.0
    found = []
    for group in repeats if side.labels else []:
        labels = [side.labels[place] for place in group]
        if _differ(labels, kind, spread=spread):
            shown = sorted({_shown_label(label) for label in labels})
            found += [_Hit(side, place, {"label": _shown_label(side.labels[place]), "labels": shown}) for place in group]
    return found


def _differ(labels: list[Any], kind: str, *, spread: float) -> bool:
    if kind == "number":
        return float(np.ptp(labels)) > spread
    return len(set(labels)) > 1


def _shown_label(label: Any) -> str:
    return ", ".join(label) if isinstance(label, tuple) else str(label)


def _labels(labels: list[Any], kind: str) -> dict[str, Any]:
    """Rows of each label, the most frequent first; or a summary of numbers; nothing of texts."""
    if kind in _OPEN:
        return {}
    if kind == "number":
        return _numbers(np.asarray(labels))
    if kind == "span":
        return dict(Counter("an answer" if any(label) else "no answer" for label in labels))
    counts = Counter(name for label in labels for name in label)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _numbers(values: np.ndarray) -> dict[str, Any]:
    if not len(values):
        return {"count": 0}
    figures = {
        "mean": values.mean(),
        "deviation": values.std(),
        "smallest": values.min(),
        "median": np.median(values),
        "largest": values.max(),
    }
    return {"count": len(values), **{name: float(figure) for name, figure in figures.items()}}


def lengths_of(lengths: np.ndarray) -> dict[str, Any]:
    """Histogram and percentiles of row lengths in tokens; bin i is [bins[i], bins[i + 1])."""
    longest = int(lengths.max(initial=0))
    bins = np.unique(np.linspace(0, longest + 1, min(longest + 1, 40) + 1).round().astype(int))
    percentiles = {str(each): float(np.percentile(lengths, each)) if len(lengths) else 0.0 for each in _PERCENTILES}
    return {
        "bins": bins.tolist(),
        "counts": np.histogram(lengths, bins)[0].tolist(),
        "percentiles": percentiles,
        "longest": longest,
        "mean": float(lengths.mean()) if len(lengths) else 0.0,
        "tokens": int(lengths.sum()),
    }


def _cut(lengths: np.ndarray, cut: int) -> dict[str, Any]:
    """What a length of `cut` would cost."""
    over = lengths > cut
    lost = int((lengths[over] - cut).sum())
    count = int(over.sum())
    return {
        "length": cut,
        "rows": count,
        "share": count / len(lengths) if len(lengths) else 0.0,
        "tokens_lost": lost,
        "tokens_share": lost / max(int(lengths.sum()), 1),
    }
