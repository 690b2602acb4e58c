"""What a run leaves behind: the model in the ecosystem's formats, its figures, its card and report, and the digests of all of it."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import save_file
from torch import nn

from rootstock.core import artifact
from rootstock.core.errors import RunFailed
from rootstock.core.mode import in_mode
from rootstock.core.rows import PAIR, PIXELS, ROW, TEXT, Columns, column
from rootstock.core.runfolder import RunFolder
from rootstock.core.seed import Draw
from rootstock.core.task import Batch, Labelled
from rootstock.data import cache, split
from rootstock.data.looks import shorten
from rootstock.evaluation import score as evaluation
from rootstock.evaluation.baselines import Baselines
from rootstock.evaluation.baselines import baselines as fit_baselines
from rootstock.loop import precision
from rootstock.loop.history import read
from rootstock.loop.infer import to_device
from rootstock.report import card, page
from rootstock.run import contract as contracts
from rootstock.run import ending, planted
from rootstock.run.build import Built
from rootstock.run.measure import measure
from rootstock.run.merge import write_merged
from rootstock.run.prepared import LabelledRows

_KEPT_TOLERANCE = 2e-3
"""Largest move of a probability (of the labels' spread, for numbers) between the model measured and the model saved, both in fp32."""
_TABLES = ("per_class", "calibration")
_SHOWN_LETTERS = 400
"""Letters of a text that the report shows."""


@dataclass(frozen=True)
class Measured:
    """columns: scores and answers of the validation rows. metrics: the content of metrics.json. history: its events.

    details: what the report draws; its tables of classes and of confidence are among the metrics as well.
    """

    columns: Columns
    metrics: dict[str, Any]
    history: list[dict[str, Any]]
    details: dict[str, Any]


def conclude(prepared: LabelledRows, built: Built, folder: RunFolder, facts: dict[str, Any]) -> dict[str, Any]:
    """Measure the best state, write everything else that a run folder holds; returns the content of metrics.json."""
    task, found = measured(prepared, built, folder, facts)
    write(prepared, built, folder, task, found)
    return found.metrics


def measured(prepared: LabelledRows, built: Built, folder: RunFolder, facts: dict[str, Any]) -> tuple[Labelled, Measured]:
    """The best state on the validation rows, by the task as it stands once training has ended."""
    task = prepared.task.settle(built.learner, built.fresh)
    with precision.computing(built.learner, built.dtype, built.fresh):
        columns = measure(prepared, built, task)
    seen_N, rivals = overlap(prepared), baselines(prepared, built.before)
    metrics = evaluation.score(columns, task, seed=prepared.recipe.seed, overlap_N=seen_N, baselines=rivals)
    details = evaluation.details(columns, task, seed=prepared.recipe.seed)
    metrics |= {name: details[name] for name in _TABLES if name in details} | facts
    return task, Measured(columns, metrics, read(folder.history), details)


def seen_keys(rows: pa.Table) -> np.ndarray:
    """A 64-bit digest of each row's normalised text: what is needed to tell later whether a row was trained on, without its text."""
    digests = (hashlib.blake2b(key.encode(), digest_size=8).digest() for key in split.keys(rows))
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def overlap(prepared: LabelledRows) -> np.ndarray:
    """Which validation rows also occur in training, [N] of bool."""
    return np.isin(seen_keys(prepared.validation), seen_keys(prepared.learned))


def baselines(prepared: LabelledRows, before: Columns | None = None) -> Baselines:
    """What a model has to beat, on the same split. before: what the untouched base answered, where it can answer."""
    if own := prepared.task.rivals(prepared.encoded, prepared.encoded_validation):
        return Baselines({**_untouched(prepared, before), **own}, {})
    return fitted(prepared.task, prepared.train, prepared.validation)


def fitted(task: Labelled, train: pa.Table, validation: pa.Table) -> Baselines:
    """Majority, TF-IDF and their like: they depend on nothing but the rows, and are kept by their digest."""
    if task.writes:  # texts are no arrays to keep, and nothing is fitted
        return fit_baselines(train, validation, task)
    sides = (train, validation)
    rows = [[column(part, name) for name in part.column_names if name not in (ROW, PIXELS)] for part in sides]
    pictures = [split.keys(part) for part in sides if PIXELS in part.column_names]
    key = {
        "rows": artifact.digest_json(rows + pictures),
        "kind": task.kind,
        "labels": list(getattr(task, "labels", ())),
        "version": 1,
    }
    left_out: dict[str, str] = {}

    def make() -> dict[str, np.ndarray]:
        found = fit_baselines(train, validation, task)
        left_out.update(found.left_out)
        return {name: np.asarray(columns["scores"]) for name, columns in found.columns.items()}

    arrays, _ = cache.remembered("baselines", key, make)
    answers = task.answers(validation)
    if set(arrays) == {"majority"} and task.kind in ("class", "classes", "number"):
        left_out.setdefault("tfidf", "no word of the training texts is left for it")
    return Baselines({name: {"scores": scores, "answers": answers} for name, scores in sorted(arrays.items())}, left_out)


def _untouched(prepared: LabelledRows, before: Columns | None) -> dict[str, Columns]:
    """What the untouched base answered, as a baseline."""
    if before is None:
        return {}
    told = prepared.task.told(before, prepared.encoded_validation, prepared.validation, prepared.tokenizer)
    return {"base": {**told, "answers": prepared.task.answers(prepared.validation)}}


def write(prepared: LabelledRows, built: Built, folder: RunFolder, task: Labelled, measured: Measured) -> None:
    """Write all that is left; manifest.json comes last and makes the run complete."""
    artifact.write_json(folder.path / "metrics.json", measured.metrics)
    _write_predictions(prepared, folder, task, measured.columns)
    check_kept(prepared, built, task, measured.columns)
    contract = contracts.made(prepared, built, task)
    with artifact.whole_folder(folder.model) as beside:
        built.save(beside)
        contracts.write(contract, beside)
    save_seen(folder.path / "seen.safetensors", prepared)
    planted.save(folder, prepared)
    manifest = ending.manifest(prepared, task, {"train": len(prepared.train), "validation": len(prepared.validation)})
    facts = {
        "manifest": manifest,
        "metrics": measured.metrics,
        "ledger": prepared.ledger,
        "history": measured.history,
        "plan": folder.json("plan.json"),
    }
    facts |= {
        "details": measured.details,
        "mistakes": mistakes(prepared.validation, task, measured.columns),
        "recipe": prepared.recipe.plain(),
    }
    facts |= {"name": folder.path.name, "kind": task.kind, "reads": task.reads, "choices": prepared.choices, "contract": contract}
    artifact.write_text(folder.path / "README.md", card.render(facts))
    artifact.write_text(folder.path / "report.html", page.render(facts))
    ending.seal(folder, manifest)
    if prepared.recipe.merge and prepared.method.saves == "adapter" and built.kept:
        write_merged(prepared, folder, built.kept())
        ending.seal(folder, manifest)


def check_kept(prepared: LabelledRows, built: Built, task: Labelled, columns: Columns) -> None:
    """Where only what stands above cached values was trained, the model to save is another than the one measured: the same answers."""
    if not (built.tapped or built.lower) or built.kept is None:
        return
    rows = np.arange(min(len(prepared.encoded_validation), 32))
    measured = _numbers(task, built.learner, built.feed_validation.micro_batches(rows), built)
    if built.lower:
        built.lower.cut.close()
    plain = task.collate(prepared.encoded_validation, rows, prepared.tokenizer, Draw(prepared.recipe.seed))
    kept = _numbers(task, built.kept(), [plain], built)
    # numbers that hardly differ, as where there is nothing to learn, are no measure of how far one moved: the true ones are
    spread = max(float(np.std(columns["scores"])), float(np.std(columns["answers"])), 1e-6) if task.kind == "number" else 1.0
    # a vote more or less is a jump of some answer: of votes the mean is compared
    moved = float(np.abs(kept - measured).mean() if prepared.method.votes else np.abs(kept - measured).max(initial=0.0)) / spread
    allowed = _KEPT_TOLERANCE if precision.choose(prepared.recipe.training.precision, built.accelerator.device.type).itemsize == 4 else 0.05
    if moved > allowed:
        raise RunFailed(f"the model to save answers otherwise than the one measured: by {moved:.2g}", wanted=f"at most {allowed}")


def _numbers(task: Labelled, model: nn.Module, batches: Iterable[Batch], built: Built) -> np.ndarray:
    """Every probability or other number that a model answers with, row by row of the batches."""
    with in_mode(model, training=False):
        made = [task.decode(model, to_device(batch, built.accelerator.device)) for batch in batches]
    found = [np.concatenate([np.ravel(each) for each in part[name]]) for name in sorted(made[0]) for part in made]
    return np.concatenate([each for each in found if each.dtype.kind == "f"])


def save_seen(path: Path, prepared: LabelledRows) -> None:
    """Keep the digests of the rows that were learned from ("rows") and of those that chose the best state ("chose")."""
    with artifact.writing(path):
        save_file({"rows": seen_keys(prepared.learned), "chose": seen_keys(prepared.validation)}, path)


def _write_predictions(prepared: LabelledRows, folder: RunFolder, task: Labelled, columns: Columns) -> None:
    rows = prepared.validation
    table = {name: rows.column(name) for name in (ROW, TEXT, PAIR) if name in rows.column_names}
    table |= {"answer": task.truth(rows), **task.readable(columns)}
    artifact.write_bytes(folder.path / "predictions.parquet", ending.parquet(table))


def mistakes(rows: pa.Table, task: Labelled, columns: Columns, count: int = 12) -> list[dict[str, Any]]:
    """The wrong answers that the model was surest of, the numbers that it missed by most, or the texts that it found least likely."""
    readable, truth = task.readable(columns), task.truth(rows)
    if "predicted" not in readable:
        return []
    if task.kind == "number":
        missed_N = np.abs(np.asarray(readable["predicted"]) - columns["answers"])
        order, wrong_N = np.argsort(-missed_N, kind="stable"), missed_N > 0
    else:
        wrong_N = np.array([not task.agrees(said, true) for said, true in zip(readable["predicted"], truth, strict=True)])
        order = np.argsort(-np.asarray(readable["confidence"] if "confidence" in readable else columns["loss"]), kind="stable")
    chosen = [int(i) for i in order if wrong_N[i]][:count]
    parts = [column(rows, name) for name in (TEXT, PAIR) if name in rows.column_names]
    texts = [[part[i] for part in parts] for i in chosen]
    numbers = column(rows, ROW)
    return [
        {
            "row": numbers[i],
            "texts": [shorten(each, _SHOWN_LETTERS) for each in text],
            **_told_apart(truth[i], readable["predicted"][i], readable.get("words", [()] * len(truth))[i]),
            "confidence": readable.get("confidence", [None] * len(truth))[i],
        }
        for i, text in zip(chosen, texts, strict=True)
    ]


def _told_apart(answer: Any, predicted: Any, words: Sequence[str]) -> dict[str, str]:
    """The true and the predicted answer as a report shows them; of tags only those that differ, each beside its word."""
    if not words:
        return {"answer": shorten(_text(answer), _SHOWN_LETTERS), "predicted": shorten(_text(predicted), _SHOWN_LETTERS)}
    wrong = [(word, *both) for word, *both in zip(words, answer, predicted, strict=True) if both[0] != both[1]]
    return {name: "; ".join(f"{each[0]}: {each[place]}" for each in wrong) for place, name in ((1, "answer"), (2, "predicted"))}


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else ", ".join(value) if isinstance(value, list) else str(value)
