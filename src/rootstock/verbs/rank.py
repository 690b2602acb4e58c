"""Which base to fine-tune, told from frozen vectors: LogME, nearest neighbours and a linear probe of each, and what they cost.

Shape letters: R resamples, F figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from rootstock import catalog
from rootstock.bases.resolve import Resolved, resolve
from rootstock.core.errors import Interrupted, UsageError
from rootstock.core.task import Labelled
from rootstock.core.timing import timed
from rootstock.core.watch import Say, Watch
from rootstock.evaluation import baselines, frozen, intervals
from rootstock.evaluation.paired import Difference, Drawn, difference, estimate
from rootstock.run import vectors
from rootstock.run.known import known
from rootstock.run.prepared import LabelledRows

SCORES = ("probe", "neighbours", "logme")
"""The first gives the order: it is in the unit of the task and measured on rows that were held out. The others are witnesses."""
RESAMPLES = 1000


@dataclass(frozen=True)
class _Scored:
    """A base with its figures as JSON, and what its differences to others are drawn from: figures on resamples, LogME on halves."""

    facts: dict[str, Any]
    resampled: Mapping[str, Drawn]
    evidence: frozen.Evidence

    def value(self, score: str) -> float:
        return float(self.facts[score]["value"])


@dataclass(frozen=True)
class _Rows:
    """What all bases are asked about: the same rows in the same order."""

    table: pa.Table
    task: Labelled
    labels: frozen.Labels

    @property
    def figure(self) -> str:
        """What a person quotes of this task."""
        return self.task.headline[0]

    @property
    def figures(self) -> tuple[str, ...]:
        """The same, and R² of numbers."""
        return (self.figure, *(() if self.labels.classes else ("r2",)))

    def drawn(self, scores_NC: np.ndarray) -> tuple[dict[str, Any], Drawn]:
        """Figures with intervals, the first as the value; and that one on resamples. Equal seeds draw equal rows, equal texts together."""
        columns = self.task.judged({"scores": scores_NC, "answers": self.labels.answers})
        whole = self.task.metrics(columns, self.figures)
        groups_N, how = self.labels.groups, intervals.tallied(self.task, columns, self.figures)
        drawn_RF = np.nan_to_num(intervals.draws(columns, how, names=self.figures, seed=0, resamples=RESAMPLES, groups=groups_N))
        whole_F, rows = [whole.get(name, 0.0) for name in self.figures], len(np.unique(groups_N))
        each = [Drawn(np.array([value]), drawn_R[:, None], rows) for value, drawn_R in zip(whole_F, drawn_RF.T, strict=True)]
        told = [estimate(one, within=intervals.limits(name)) for one, name in zip(each, self.figures, strict=True)]
        found, *more = [{"value": one.value, "interval": list(one.interval)} for one in told]
        return found | dict(zip(self.figures[1:], more, strict=True)), each[0]


def one_file(named: Sequence[str], data: str | None) -> str | None:
    """The file that a plan without a ranking is for. UsageError for several."""
    files = [*named, *([data] if data is not None else [])]
    if len(files) > 1:
        raise UsageError(
            f"{len(files)} files are named: {', '.join(files[:3])}",
            wanted="one file of labelled rows",
            fix="give --rank-bases for bases",
        )
    return files[0] if files else None


def rank(
    references: Sequence[str], data: str | None, watch: Watch, *, rows: int | None = None, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """The bases, best first, as JSON. rows: at most so many are drawn. Raises UsageError before the first long wait where it can."""
    if data is None:
        raise UsageError("no rows are named to rank bases by", wanted="--data FILE of labelled rows")
    if len(names := tuple(dict.fromkeys(references))) < 2:
        raise UsageError(f"{len(names)} base is named", wanted="two or more to rank", fix="name them: --rank-bases minilm runs/a")
    bases = [_opened(name, watch.say) for name in names]
    asked = changes if rows is None else {"data.rows": rows, **changes}
    prepared = [vectors.prepare(base, data, watch.say if not i else _quiet, changes=asked) for i, base in enumerate(bases)]
    held = _rows(prepared[0])
    watch.say(f"rank      all {len(held.table):,} rows in {frozen.FOLDS} folds; the split is for a training, and there is none")
    simple, drawn = _simple(held)
    scored = sorted((_scored(each, held, drawn, watch) for each in prepared), key=lambda each: -each.value(SCORES[0]))
    first, second = scored[:2]
    against = {score: _difference(first, second, score) for score in SCORES}
    leading = [each.value(SCORES[0]) for each in scored]
    orders = {score: [each.facts["base"] for each in sorted(scored, key=lambda each: -each.value(score))] for score in SCORES}
    return {
        "data": data,
        "task": catalog.name_of("tasks", type(held.task)),
        "rows": len(held.table),
        "classes": held.labels.classes,
        "figure": held.figure,
        "folds": frozen.FOLDS,
        "neighbours": frozen.NEIGHBOURS,
        "halves": frozen.HALVES,
        "dropped": prepared[0].ledger["rows"]["dropped"],
        "not_drawn": prepared[0].ledger["rows"].get("not_drawn", 0),
        "bases": [each.facts for each in scored],
        "baselines": simple,
        "orders": orders,
        "agreement": {score: _kendall(leading, [each.value(score) for each in scored]) for score in SCORES[1:]},
        "first_over_second": against,
    }


def _opened(reference: str, say: Say) -> Resolved:
    base = resolve(reference)
    for note in base.admission.notes if base.admission else ():
        say(f"base      {reference}: {note}")
    return base


def _quiet(_: str) -> None:
    """What is said of the rows is said once."""


def _rows(prepared: LabelledRows) -> _Rows:
    table = vectors.table(prepared)
    return _Rows(table, prepared.task, vectors.labels(prepared, table))


def _simple(held: _Rows) -> tuple[dict[str, Any], dict[str, Drawn]]:
    """What needs no base, by the same folds: always one answer, and a linear model of words. As JSON, and on resamples."""
    fold_N = held.labels.folds()
    parts: dict[str, dict[int, np.ndarray]] = {}
    for fold in range(frozen.FOLDS):
        found = baselines.baselines(held.table.filter(pa.array(fold_N != fold)), held.table.filter(pa.array(fold_N == fold)), held.task)
        for name, columns in found.columns.items():
            parts.setdefault(name, {})[fold] = np.asarray(columns["scores"]).reshape(int((fold_N == fold).sum()), -1)
    whole = {name: each for name, each in parts.items() if len(each) == frozen.FOLDS}
    drawn = {name: held.drawn(_joined(each, fold_N)) for name, each in whole.items()}
    return {name: facts for name, (facts, _) in drawn.items()}, {name: drawn_R for name, (_, drawn_R) in drawn.items()}


def _joined(parts: Mapping[int, np.ndarray], fold_N: np.ndarray) -> np.ndarray:
    """Answers of every fold in the order of the rows."""
    made_NC = np.empty((len(fold_N), next(iter(parts.values())).shape[1]))
    for fold, scores in parts.items():
        made_NC[fold_N == fold] = scores
    return made_NC


def _scored(prepared: LabelledRows, held: _Rows, simple: Mapping[str, Drawn], watch: Watch) -> _Scored:
    base = prepared.base
    found = vectors.of(prepared, watch)
    if watch.stop():
        raise Interrupted("interrupted: vectors that were computed are kept", fix="give the same command again")
    probe, probing = timed(lambda: frozen.probe(found.features, held.labels))
    near, asking = timed(lambda: frozen.neighbours(found.features, held.labels))
    evidence, weighing = timed(lambda: frozen.evidence(found.features, held.labels))
    (probed, probed_by), (voted, voted_by) = held.drawn(probe.scores), held.drawn(near.scores)
    watch.say(f"scored    {base.reference}: {held.figure} of the probe {probed['value']:.3f}")
    rows, cut = len(held.table), prepared.ledger["findings"]["truncation"]["count"]
    cost = {
        "seconds": found.seconds,
        "cached": found.cached,
        "rows_per_second": None if found.cached else rows / max(found.seconds, 1e-9),
        "peak_bytes": found.peak_bytes,
        "scores": {"probe": probing, "neighbours": asking, "logme": weighing},
    }
    facts = {
        "base": base.reference,
        "sha256": base.digest,
        "parameters": found.parameters,
        "width": found.features.shape[1],
        "probe": probed,
        "neighbours": voted,
        "logme": {"value": evidence.whole, "interval": list(evidence.interval)},
        "above": {name: _told(difference(probed_by, drawn_R)) for name, drawn_R in simple.items()},
        "trained_on": int(known(base.reference, held.table).sum()),
        "truncated": cut,
        "cost": cost,
    }
    return _Scored(facts, {"probe": probed_by, "neighbours": voted_by}, evidence)


def _difference(first: _Scored, second: _Scored, score: str) -> dict[str, Any]:
    """The first over the second by one score, on the same rows: resampled in pairs, of LogME on the same halves."""
    if score == "logme":
        value, between = frozen.apart(first.evidence, second.evidence)
        return {"difference": value, "interval": list(between), "separable": between[0] > 0 or between[1] < 0}
    apart = difference(first.resampled[score], second.resampled[score])
    return {"difference": apart.value, **_told(apart)}


def _told(apart: Difference) -> dict[str, Any]:
    return {"interval": list(apart.interval), "separable": apart.separable}


def _kendall(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Kendall's rank correlation; None where one of both is all equal."""
    from scipy.stats import kendalltau

    found = float(kendalltau(left, right).statistic)
    return found if np.isfinite(found) else None
