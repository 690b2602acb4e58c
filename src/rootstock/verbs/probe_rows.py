"""A user's own labelled rows asked of every layer: what the frozen base holds of the task, and which blocks to freeze."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rootstock import catalog
from rootstock.core.watch import Say, Watch
from rootstock.evaluation.frozen import FOLDS, Labels
from rootstock.evaluation.probes import own
from rootstock.run import vectors
from rootstock.run.known import known
from rootstock.run.opened import Opened
from rootstock.run.prepared import LabelledRows

ROWS = 20
"""Rows for one unit of the limit."""


@dataclass(frozen=True)
class Asked:
    """Rows under a base, and what the probe goes by."""

    prepared: LabelledRows
    labels: Labels
    words: list[str]


def read(place: Path, opened: Opened, say: Say, *, limit: int, seed: int, changes: Mapping[str, Any]) -> Asked:
    """The rows, drawn with the seed. Raises UsageError or DataError where they can't be used."""
    settings = {"data.rows": ROWS * limit, "seed": seed, **changes}
    prepared = vectors.prepare(opened.base, str(place), say, changes=settings, every=True)
    table = vectors.table(prepared)
    return Asked(prepared, vectors.labels(prepared, table), vectors.first_words(table))


def measure(asked: Asked, watch: Watch, told: Callable[[int, int], None], *, beside_random: bool) -> dict[str, Any]:
    """Figures of every layer, beside random weights, and the proposal, as JSON."""
    found, layered = _layers(asked, watch, told, random=None)
    floor, best = own.simplest(asked.labels), layered.task[layered.best]
    beside: dict[str, Any] = {}
    if beside_random:
        _, other = _layers(asked, watch, told, random=asked.labels.seed)
        rows = [{key: row[key] for key in ("layer", "dev", "score")} for row in other.rows]
        beside = {"random": {"best": other.best, "layers": rows}, "gain": best.over(other.task[other.best])}
    rows = asked.prepared.ledger["rows"]
    return {
        "task": catalog.name_of("tasks", type(asked.prepared.task)),
        "rows": len(asked.labels.answers),
        "classes": asked.labels.classes,
        "figure": "accuracy" if asked.labels.classes else "r2",
        "folds": FOLDS,
        "left_out": {name: rows[name] for name in ("dropped", "not_drawn") if rows.get(name)},
        "truncated": asked.prepared.ledger["findings"]["truncation"]["count"],
        "trained_on": int(known(asked.prepared.base.reference, vectors.table(asked.prepared)).sum()),
        "first_words": len(set(asked.words)),
        "simplest": floor.told,
        "best": layered.best,
        "layers": layered.rows,
        **beside,
        "freeze": {**asdict(own.freeze(layered, floor, found.blocks)), "blocks": found.blocks, "rule": own.RULE},
    }


def _layers(asked: Asked, watch: Watch, told: Callable[[int, int], None], *, random: int | None) -> tuple[vectors.Vectors, own.Layered]:
    watch.say(f"task      each layer, {'trained' if random is None else 'random'} weights, all {len(asked.words):,} rows in {FOLDS} folds")
    found = vectors.of(asked.prepared, watch, random=random)
    each = [found.layer(number) for number in range(found.layers)]
    return found, own.measure(each, asked.labels, asked.words, told)
