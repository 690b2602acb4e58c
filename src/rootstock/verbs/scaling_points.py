"""Points for a scaling law: what tables and finished runs say of size, tokens and loss."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rootstock.core.errors import DataError, UnknownName, UsageError
from rootstock.core.recipe import DataSettings
from rootstock.core.rows import ROW, column
from rootstock.core.runfolder import RunFolder
from rootstock.core.sizes import amount
from rootstock.data import source
from rootstock.report.facts import dig

NAMES = {
    "parameters": ("parameters", "n", "modelsize", "params", "nparams", "numparams", "nparameters", "numparameters", "parametercount"),
    "tokens": ("tokens", "d", "trainingtokens", "traintokens", "ntokens", "numtokens", "tokensseen", "datasetsize"),
    "flops": ("flops", "flop", "c", "trainingflops", "trainingflop", "trainflops", "compute", "trainingcompute"),
    "loss": ("loss", "l", "validationloss", "valloss", "evalloss", "evaluationloss", "testloss", "finalloss", "trainingloss", "trainloss"),
}
"""Columns by the names they usually have, spelled without blanks, signs and capitals; the first that is found counts."""
MOST_PASSES = 4.0
"""Over the same text: more teach less than new text would (Muennighoff et al. 2023, arXiv:2305.16264), and the law knows no repeats."""
_EXAMPLES = 3


@dataclass(kw_only=True)
class Gathered:
    """Runs found in tables and folders. runs: parameters, tokens, loss and where each stood. skipped: place and reason of rows left out."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)
    told: dict[str, "Told"] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a run folder says of a run beside its point. tokenizer, data: digests; None where it does not say.

    passes: over its rows. bare: whether its size leaves embeddings out, and its tokens padding.
    """

    task: str
    tokenizer: str | None
    data: str | None
    passes: float
    bare: bool


def asked(name: str, text: str | None) -> float | None:
    """The value of an option; UsageError where it is no number."""
    try:
        return None if text is None else amount(text)
    except ValueError:
        raise UsageError(f"--{name} is {text!r}", wanted="a number, such as 1e21 or 7B") from None


def gather(references: Sequence[str], columns: Mapping[str, str]) -> Gathered:
    """The runs of tables and of run folders, in their order. columns: quantity to column, where the usual names don't do.

    Raises DataError for a table without the columns needed, a folder that is no such run, or runs of different tasks or tokenizers.
    """
    if unknown := next((name for name in columns if name not in NAMES), None):
        raise UnknownName("quantity", unknown, NAMES)
    found = Gathered()
    for reference in references:
        if Path(reference).is_dir():
            _run(found, reference)
        else:
            _table(found, reference, columns)
    _alike("tasks", {name: each.task for name, each in found.told.items()})
    _alike("tokenizers", {name: each.tokenizer[:8] for name, each in found.told.items() if each.tokenizer})
    found.notes += _cautions(found.told)
    return found


def _alike(what: str, of: Mapping[str, str]) -> None:
    """Raise DataError where runs differ in what makes their losses compare. of: by the name of the run."""
    if len(set(of.values())) > 1:
        told = ", ".join(f"{name} ({value})" for name, value in of.items())
        raise DataError(
            f"the runs are of different {what}: {told}",
            wanted=f"runs of one {what[:-1]}: losses of two do not compare",
            fix="fit them apart",
        )


def _cautions(told: Mapping[str, Told]) -> list[str]:
    """What makes the points of run folders less than a law asks for."""
    notes = []
    if len({each.data for each in told.values()} - {None}) > 1:
        notes.append("The runs learned from different data: what the data is worth goes into the law as if it were size or tokens.")
    if often := {name: each.passes for name, each in told.items() if each.passes > MOST_PASSES}:
        shown = f"{_names(often)} saw the same text more than {MOST_PASSES:g} times (up to {max(often.values()):.3g})"
        notes.append(f"{shown}: a repeated token teaches less than a new one, which the law does not know.")
    if whole := [name for name, each in told.items() if not each.bare]:
        notes.append(f"{_names(whole)}: sizes with embeddings and tokens with padding, as the folder says no others.")
    return notes


def _names(runs: Collection[str]) -> str:
    shown = ", ".join(list(runs)[:_EXAMPLES])
    return shown if len(runs) <= _EXAMPLES else f"{shown} and {len(runs) - _EXAMPLES} others"


def run_point(folder: RunFolder) -> dict[str, float]:
    """Size, tokens learned from and final loss of a pre-training run, from what it wrote. Raises DataError where one is missing.

    The size leaves embeddings and the layer over the vocabulary out and the tokens leave padding out where the run says both.
    """
    manifest, plan, metrics = (folder.json(name) for name in ("manifest.json", "plan.json", "metrics.json"))
    bare = _bare(manifest)
    places = {
        "parameters": ("manifest.json", manifest.get("body_parameters" if bare else "parameters")),
        "tokens": ("manifest.json, learned", dig(manifest, "learned", "tokens"))
        if bare
        else ("plan.json, measured", dig(plan, "measured", "tokens")),
        "loss": ("metrics.json, metrics", dig(metrics, "metrics", "loss")),
    }
    point = {}
    for name, (place, value) in places.items():
        number, reason = _positive(value)
        if number is None:
            raise DataError(f"{folder.path}: {name} is {reason} in {place}", wanted="the folder of a pre-training run that has ended")
        point[name] = number
    return point


def _bare(manifest: Mapping[str, Any]) -> bool:
    """Whether a run says its size without embeddings, and its tokens without padding; a model that is all embeddings has no such size."""
    return bool(manifest.get("body_parameters")) and bool(dig(manifest, "learned", "tokens"))


def _told(folder: RunFolder) -> Told:
    manifest = folder.json("manifest.json")
    contract = folder.json("model/contract.json") if (folder.model / "contract.json").exists() else {}
    data = sorted(str(each.get("sha256")) for each in manifest.get("data", {}).values())
    return Told(
        task=str(manifest.get("task")),
        tokenizer=contract.get("tokenizer_sha256"),
        data=" ".join(data) or None,
        passes=float(dig(manifest, "learned", "passes", default=0.0)),
        bare=_bare(manifest),
    )


def _run(found: Gathered, reference: str) -> None:
    folder = RunFolder(Path(reference))
    if not folder.complete:
        inside = next((path.parent for path in sorted(folder.path.glob("*/manifest.json"))), None)
        fix = f"name the runs one by one, such as {inside}" if inside else "name run folders, or a table of runs"
        raise DataError(f"{reference} is no run that has ended: it has no manifest.json", wanted="a run folder or a table", fix=fix)
    found.runs.append({"where": Path(reference).name, **run_point(folder)})
    found.sources.append({"name": reference, "format": "run", "rows": 1})
    found.told[reference] = _told(folder)


def _table(found: Gathered, reference: str, columns: Mapping[str, str]) -> None:
    read = source.read(reference, DataSettings(train=reference))
    used = _columns(read, columns)
    values = {name: column(read.table, each) for name, each in used.items()}
    for place, number in enumerate(column(read.table, ROW)):
        where = f"{Path(reference).name}, {read.unit} {number}"
        point, reason = _point({name: held[place] for name, held in values.items()}, used)
        if reason:
            found.skipped.append({"where": where, "reason": reason})
        else:
            found.runs.append({"where": where, **point})
    found.sources.append({"name": reference, "format": read.format, "sha256": read.digest, "rows": read.table.num_rows, "columns": used})


def _columns(read: source.Source, told: Mapping[str, str]) -> dict[str, str]:
    """Which column holds which quantity. Tokens come before flops, from which they would follow."""
    names = [name for name in read.table.column_names if name != ROW]
    if strange := next((name for name in told.values() if name not in names), None):
        raise UnknownName(f"column in {read.name}", strange, names)
    plain = {re.sub(r"[^a-z]", "", name.lower()): name for name in reversed(names)}
    found = {quantity: plain[usual] for quantity, known in NAMES.items() for usual in reversed(known) if usual in plain} | dict(told)
    if "tokens" in found and not ("flops" in told and "tokens" not in told):
        found.pop("flops", None)
    else:
        found.pop("tokens", None)
    missing = [name for name in ("parameters", "loss") if name not in found]
    missing += [] if {"tokens", "flops"} & found.keys() else ["tokens (or flops)"]
    if missing:
        raise DataError(
            f"{read.name} has no column for {' and '.join(missing)}: its columns are {', '.join(names[:20])}",
            wanted="parameters, loss, and tokens or flops",
            fix=f"name it: --columns {missing[0].split()[0]}=COLUMN",
        )
    return found


def _point(values: Mapping[str, Any], used: Mapping[str, str]) -> tuple[dict[str, float], str]:
    """A row's parameters, tokens and loss, or the reason why it is no point."""
    found = {}
    for name, value in values.items():
        number, reason = _positive(value)
        if number is None:
            return {}, f"{used[name]} is {reason}"
        found[name] = number
    tokens = found["tokens"] if "tokens" in found else found["flops"] / 6 / found["parameters"]
    return {"parameters": found["parameters"], "tokens": tokens, "loss": found["loss"]}, ""


def _positive(value: Any) -> tuple[float | None, str]:
    """A number above zero, or None and why it is none."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None, "missing"
    try:
        number = amount(value) if isinstance(value, str) else math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if number > 0 and math.isfinite(number):
        return number, ""
    return None, "no number" if math.isnan(number) else f"{number:g}"
