"""The verb scan --poisoning: which rows of a labelled file look planted, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rootstock.bases.resolve import resolve
from rootstock.core import artifact
from rootstock.core.errors import GateRefused, UsageError
from rootstock.core.rows import PAIR, ROW, TEXT, column
from rootstock.core.watch import Watch
from rootstock.corpus import near
from rootstock.data import exclude
from rootstock.data.looks import shorten
from rootstock.report import poisoning as page
from rootstock.report import poisoning_text
from rootstock.run import vectors
from rootstock.run.prepared import LabelledRows
from rootstock.sentinel.poisoning.examine import EVIDENCE, Report, Rows, examine
from rootstock.verbs.scanning import Scanned

TAKES = ("base", "text", "label", "out", "set", "report")
COLUMNS = ("row", "label", "score", "why", exclude.DIGEST, "text")
_NEAR = near.Near(threshold=0.8, words=3)
"""Texts of a training set are short: of three words in a row they share enough."""


def scanned(paths: Sequence[str], options: Mapping[str, Any], watch: Watch) -> Scanned:
    """Scan one file; what is asked for is written before anything is refused. Raises UsageError for labels that are no single classes."""
    if len(paths) != 1:
        found = f"{len(paths)} files" if paths else "no file"
        raise UsageError(found, wanted="one file of labelled rows", fix="rootstock scan train.csv --poisoning")
    out, shown = options.get("out"), options.get("report")
    for place in (out, shown):
        if place is not None and Path(place).is_dir():
            raise UsageError(f"{place} is a folder", wanted="a file", fix="name a file in it")
    facts = scan(paths[0], options, watch)
    if out is not None:
        artifact.write_text(Path(out), exclude.as_csv(facts["suspects"], COLUMNS))
    if shown is not None:
        artifact.write_text(Path(shown), page.render(facts))
    return Scanned(facts, poisoning_text.as_text(facts, out=out), lambda: _refuse(facts))


def scan(data: str, options: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """All that was found, as JSON values."""
    prepared = _prepared(data, options, watch)
    rows = vectors.table(prepared)
    found = vectors.of(prepared, watch)
    label_N = prepared.task.answers(rows)
    names, texts = getattr(prepared.task, "labels", ()), _texts(rows)
    report = examine(Rows(texts, label_N, names, found.features, _near(texts)))
    counts = np.bincount(label_N, minlength=len(names))
    return {
        "verdict": report.verdict,
        "file": data,
        "sha256": prepared.sources["train"]["sha256"],
        "base": prepared.base.name,
        "rows": len(texts),
        "labels": {name: int(count) for name, count in zip(names, counts, strict=True)},
        "notes": list(report.notes),
        "groups": report.groups,
        "tested": report.tested,
        "strongest_other": _finite(report.strongest),
        "meaning": {"loss": _finite(report.loss), "guessing": _finite(report.guessing)},
        "findings": [
            {**asdict(each), "suspects": len(each.suspects), "label_rows": int(counts[names.index(each.label)])} for each in report.findings
        ],
        "suspects": _suspects(report, rows, [names[label] for label in label_N.tolist()]),
    }


def _prepared(data: str, options: Mapping[str, Any], watch: Watch) -> LabelledRows:
    changes = {f"task.{key}": options[key] for key in ("text", "label") if options.get(key)} | dict(options.get("set") or {})
    if "data.validation" in changes:
        raise UsageError("--set data.validation means nothing here", wanted="one file", fix="leave it out: every row is looked at")
    base = resolve(options.get("base") or "minilm")
    prepared = vectors.prepare(base, data, watch.say, changes=changes)
    if prepared.task.kind != "class":
        raise UsageError(f"the labels are {prepared.task.kind}s", wanted="one class a text", fix="name the label's column with --label")
    return prepared


def _texts(rows: pa.Table) -> list[str]:
    firsts = column(rows, TEXT)
    return [f"{one}\n{two}" for one, two in zip(firsts, column(rows, PAIR), strict=True)] if PAIR in rows.column_names else firsts


def _near(texts: Sequence[str]) -> np.ndarray:
    """The smallest member of each row's cluster of near duplicates."""
    pairs = near.candidates(near.signatures(texts, _NEAR), _NEAR)
    return near.merged(pairs, lambda places: [texts[place] for place in places.tolist()], _NEAR, count=len(texts))


def _suspects(report: Report, rows: pa.Table, labels: Sequence[str]) -> list[dict[str, Any]]:
    places, texts, known = column(rows, ROW), column(rows, TEXT), exclude.digests(rows)
    return [
        {
            "row": places[row],
            "label": labels[row],
            "score": round(float(report.scores[row]), 4),
            "why": poisoning_text.reason(asdict(report.findings[report.why[row]])),
            exclude.DIGEST: known[row],
            "text": shorten(texts[row], 200),
        }
        for row in report.suspects.tolist()
    ]


def _finite(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _refuse(facts: Mapping[str, Any]) -> None:
    """Raises GateRefused where evidence was found. A scan that can't tell says so in its verdict, as one for backdoors does."""
    if facts["verdict"] == EVIDENCE:
        raise GateRefused(
            f"{facts['file']}: evidence of poisoning in {len(facts['suspects']):,} of {facts['rows']:,} rows",
            fix="read the rows; --out suspects.csv lists them, and rootstock adapt --exclude suspects.csv trains without them",
        )
