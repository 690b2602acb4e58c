"""Rows of a file whose label is probably wrong, by the features of a frozen base."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rootstock.core import artifact
from rootstock.core.errors import UsageError
from rootstock.core.modules import needed
from rootstock.core.recipe import Recipe, TeacherSettings
from rootstock.core.rows import ROW, TEXT, column
from rootstock.core.watch import Watch
from rootstock.data import exclude, split
from rootstock.data.looks import shorten
from rootstock.evaluation import label_noise
from rootstock.run.build import build
from rootstock.run.prepare import prepare
from rootstock.run.prepared import LabelledRows

COLUMNS = ("row", "label", "suggested", "score", exclude.DIGEST, "text")
_SHOWN = 20


def find(recipe: Recipe, watch: Watch) -> dict[str, Any]:
    """Suspects of all rows of the file (of the training rows, where validation rows come from another), the most certain first.

    UsageError where labels are no single classes, or where the base gives no vector for a text.
    """
    needed("cleanlab", "the label-noise report", extra="noise")
    own = {"method": {"name": "feature-extraction"}, "augment": None, "teacher": TeacherSettings()}
    chosen = recipe.model_copy(update=own | {"accept": (*recipe.accept, "unlabelled")})
    prepared = prepare(chosen, watch.say)
    if not isinstance(prepared, LabelledRows) or prepared.task.kind != "class":
        fix = "leave --label-noise out, or name --label"
        raise UsageError("the labels are not one class a row", wanted="texts or images with one class each", fix=fix)
    built = build(prepared, None, watch)
    if not built.tapped:
        raise UsageError(
            f"{prepared.base.name} gives no one vector for a row", wanted="an encoder such as minilm", fix="name another --base"
        )
    parts = [(prepared.train, built.feed)]
    if not isinstance(recipe.data.validation, str):
        parts.append((prepared.validation, built.feed_validation))
    rows = pa.concat_tables([table for table, _ in parts])
    features_NH, labels_N = (np.concatenate([feed.encoded.dense[name] for _, feed in parts]) for name in ("features", "labels"))
    found = label_noise.suspects(features_NH, labels_N, split.keys(rows))
    names, places, texts = getattr(prepared.task, "labels", ()), column(rows, ROW), column(rows, TEXT)
    known = exclude.digests(rows)
    listed = [
        {
            "row": places[i],
            "label": names[labels_N[i]],
            "suggested": names[found.suggested[i]],
            "score": round(float(found.scores[i]), 4),
            exclude.DIGEST: known[i],
            "text": shorten(texts[i], 200),
        }
        for i in found.places.tolist()
    ]
    return {"rows": len(rows), "suspects": listed, "by_label": _by_label(listed, names), "base": prepared.base.name}


def write(found: dict[str, Any], path: Path) -> None:
    """The suspects as a CSV file that `adapt --exclude` takes."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder", wanted="a file for the suspects", fix="choose another --out")
    artifact.write_text(path, exclude.as_csv(found["suspects"], COLUMNS))


def as_text(found: dict[str, Any]) -> str:
    """For a person: how many, which labels for which, and the most certain of them."""
    listed, count = found["suspects"], len(found["suspects"])
    lines = [f"label noise      {count:,} of {found['rows']:,} labels are probably wrong ({count / max(found['rows'], 1):.1%})"]
    lines += [f"                 {given} that may be {meant}: {number:,}" for given, meant, number in found["by_label"][:10]]
    lines += [
        f"row {each['row']:<12} {each['label']}, rather {each['suggested']} ({each['score']:.3f}): {shorten(each['text'], 90)}"
        for each in listed[:_SHOWN]
    ]
    return "\n".join([*lines, *([f"… {count - _SHOWN:,} more"] if count > _SHOWN else [])])


def _by_label(listed: list[dict[str, Any]], names: Any) -> list[list[Any]]:
    counts: dict[tuple[str, str], int] = {}
    for each in listed:
        pair = each["label"], each["suggested"]
        counts[pair] = counts.get(pair, 0) + 1
    return [[*pair, number] for pair, number in sorted(counts.items(), key=lambda item: -item[1])]
