"""The verb scan --memorisation: what a run remembers of single rows, by planted canaries and by a membership audit."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rootstock import catalog
from rootstock.bases.resolve import resolve
from rootstock.core import artifact
from rootstock.core.errors import GateRefused, UsageError
from rootstock.core.objective import Objective
from rootstock.core.rows import LABEL, PAIR, ROW, TEXT
from rootstock.core.seed import stream
from rootstock.core.watch import Say, Watch
from rootstock.data import canaries
from rootstock.data.canaries import Canary
from rootstock.evaluation.intervals import FEWEST, bootstrap
from rootstock.evaluation.probes.likelihood import Scorer, log_likelihoods
from rootstock.report import memorisation as page
from rootstock.run import unlabelled, vectors
from rootstock.run.finish import seen_keys
from rootstock.run.opened import Opened, open_base
from rootstock.run.use import Reading, Run
from rootstock.sentinel import memorisation
from rootstock.sentinel.poisoning.examine import EVIDENCE, NONE, OUT
from rootstock.sentinel.poisoning.meaning import Meaning
from rootstock.verbs.scanning import Scanned

TAKES = ("data", "canaries", "report")
_SURE = 0.01
"""p of the exact test from which on canaries are evidence."""
_MOST, _WORDS, _MOST_MASKED, _WORDS_MASKED = 1000, 100, 200, 24
"""Texts of each side that a language model is asked about, and words of each: a masked one reads a text once a token."""


@dataclass(frozen=True, eq=False)
class Sides:
    """Losses of rows by the model and by what never saw them (NaN where nothing is known), and which of them were learned from."""

    loss: np.ndarray
    other: np.ndarray
    member: np.ndarray
    against: str
    notes: tuple[str, ...] = ()


def scanned(paths: Sequence[str], options: Mapping[str, Any], watch: Watch) -> Scanned:
    """Scan one run. Raises UsageError for a folder that holds none, and for tasks that have no loss of single texts."""
    if len(paths) != 1:
        raise UsageError(f"{len(paths)} runs" if paths else "no run", wanted="one run folder", fix="rootstock scan RUN --memorisation")
    facts = scan(paths[0], options, watch.say)
    if (shown := options.get("report")) is not None:
        artifact.write_text(Path(shown), page.render(facts))
    return Scanned(facts, page.as_text(facts), lambda: _refuse(facts))


def scan(path: str, options: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """All that was found, as JSON values."""
    run = Run(path)
    learned = issubclass(catalog.find("tasks", str(run.recipe.task["name"])), Objective)
    if not learned and (run.task.kind != "class" or run.task.reads != "texts"):
        raise UsageError(
            f"{path} learned {run.recipe.task['name']}", wanted="one class a text, or a language model", fix="name another run"
        )
    held = _canaries(run, options)
    if learned:
        if options.get("data"):
            raise UsageError("--data means nothing to a language model's run", wanted="its own held-out texts", fix="leave it out")
        found, sides = _language(run, held, say)
    else:
        found, sides = _classifier(run, held, options.get("data") or [], say)
    facts = {"run": path, "canaries": found, "membership": _membership(sides, run.recipe.seed)}
    return {**facts, "verdict": _verdict(facts)}


def _canaries(run: Run, options: Mapping[str, Any]) -> list[Canary]:
    own = run.path / canaries.FILE
    named = options.get("canaries") or (own if own.is_file() else None)
    return canaries.read(Path(named)) if named else []


def _remembered(held: Sequence[Canary], loss_N: np.ndarray) -> dict[str, Any] | None:
    if not held:
        return None
    planted_N = np.array([each.planted for each in held])
    found = memorisation.remembered(loss_N[planted_N], loss_N[~planted_N])
    strongest = np.flatnonzero(planted_N)[np.argsort(-found.exposure, kind="stable")[:5]]
    return {
        "planted": int(planted_N.sum()),
        "controls": int((~planted_N).sum()),
        "p": found.p,
        "exposure": {"mean": float(found.exposure.mean()), "largest": float(found.exposure.max()), "without_memory": found.expected},
        "loss": {"planted": float(loss_N[planted_N].mean()), "controls": float(loss_N[~planted_N].mean())},
        "examples": [held[place].text for place in strongest.tolist()],
    }


# -- classifiers ------------------------------------------------------------------------------------------------------------


def _classifier(run: Run, held: Sequence[Canary], data: Sequence[str], say: Say) -> tuple[dict[str, Any] | None, Sides]:
    found = None
    if held:
        pair = bool(run.recipe.task.get("text_pair"))
        texts = [(each.text, each.pair) if pair else each.text for each in held]
        rows = run.rows_of(texts).append_column(LABEL, pa.array([each.label or "" for each in held], pa.string()))
        found = _remembered(held, _losses(run, rows))
    return found, _rows(run, data, say)


def _losses(run: Run, rows: pa.Table) -> np.ndarray:
    """Nats of each row's own label."""
    scores_NC, label_N = run.predictions(rows).columns["scores"], run.task.answers(rows)
    return np.asarray(-np.log(np.maximum(scores_NC[np.arange(len(label_N)), label_N], 1e-12)), np.float64)


def _rows(run: Run, data: Sequence[str], say: Say) -> Sides:
    """The rows that were learned from, and others: of the files that are named, or the run's own validation rows."""
    own, seen = str(run.recipe.data.train), run.seen()
    if not seen:
        raise UsageError(f"{run.path} keeps no list of its training rows", wanted="a run that adapt wrote", fix="name another run")
    validation = run.recipe.data.validation
    names = [own, *data] if data else [own, *([validation] if isinstance(validation, str) else [])]
    tables = [run.read(name, labelled=True, reading=Reading(unlabelled=True), say=say).rows for name in names]
    rows = pa.concat_tables([table.select([name for name in (TEXT, PAIR, LABEL, ROW) if name in table.column_names]) for table in tables])
    keys, place_N = seen_keys(rows), np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    member_N = np.isin(keys, seen["rows"]) & (place_N == 0)
    chose_N = np.isin(keys, seen.get("chose", np.empty(0, np.uint64)))
    other_N = ~np.isin(keys, seen["rows"]) & (~chose_N & (place_N > 0) if data else chose_N)
    notes = () if data else ("the others are validation rows, which chose the best state: --data held_out.csv names rows nobody saw",)
    loss_N = _losses(run, rows)
    calibrated_N, why = _out_of_sight(run, names, rows, say)
    kept_N = member_N | other_N
    return Sides(loss_N[kept_N], calibrated_N[kept_N], member_N[kept_N], why, notes)


def _out_of_sight(run: Run, names: Sequence[str], rows: pa.Table, say: Say) -> tuple[np.ndarray, str]:
    """Nats of each row's label by a regression on the base's vectors that saw all rows but this one (Watson et al. 2022)."""
    base, label_N = resolve(run.base_reference), run.task.answers(rows)
    if base.scratch:
        return np.full(len(label_N), np.nan), "nothing: the base has random weights"
    task, parts = run.recipe.task, []
    changes = {f"task.{key}": task[key] for key in ("text", "text_pair", "label") if task.get(key)}
    for name in dict.fromkeys(names):
        prepared = vectors.prepare(base, name, say, changes=changes)
        table, found = vectors.table(prepared), vectors.of(prepared, Watch(say=say, event=lambda event: None))
        parts.append(dict(zip(seen_keys(table).tolist(), found.features, strict=True)))
    known = {key: vector for part in parts for key, vector in part.items()}
    vectors_NH = np.stack([known[key] for key in seen_keys(rows).tolist()])
    chance_N = Meaning(vectors_NH, label_N, len(getattr(run.task, "labels", ()))).alone_NC[np.arange(len(label_N)), label_N]
    return -np.log(np.maximum(chance_N, 1e-12)), "a regression on the base's vectors that saw all rows but this one"


# -- language models --------------------------------------------------------------------------------------------------------


def _language(run: Run, held: Sequence[Canary], say: Say) -> tuple[dict[str, Any] | None, Sides]:
    opened = open_base(str(run.folder.model))
    if opened.kind not in ("masked", "causal"):
        raise UsageError(f"{run.path} is no language model of words", wanted="a masked or causal one", fix="name another run")
    found = _remembered(held, -_nats(opened, [each.text for each in held])) if held else None
    return found, _texts(run, opened, say)


def _nats(opened: Opened, texts: Sequence[str]) -> np.ndarray:
    scorer = Scorer(model=opened.model, tokens=opened.tokens, masked=opened.kind == "masked", room=opened.room)
    return log_likelihoods(scorer, texts).nats


def _texts(run: Run, opened: Opened, say: Say) -> Sides:
    """Beginnings of texts that were learned from and of held-out ones: both come from the same corpora."""
    most, words = (_MOST_MASKED, _WORDS_MASKED) if opened.kind == "masked" else (_MOST, _WORDS)
    drawn = stream(run.recipe.seed, "membership")
    sides = []
    for texts in unlabelled.texts(run.recipe):
        chosen = np.sort(drawn.permutation(len(texts))[:most]).tolist()
        sides.append([text for text in (" ".join(texts[place].split()[:words]) for place in chosen) if text])
    whole = [*sides[0], *sides[1]]
    say(f"membership {len(sides[0]):,} texts that were learned from and {len(sides[1]):,} that were held out")
    length_N, loss_N = np.array([len(text.encode()) for text in whole]), -_nats(opened, whole)
    base = resolve(run.base_reference)
    if base.scratch:
        other_N, why = np.array([8.0 * len(zlib.compress(text.encode(), 9)) * np.log(2) for text in whole]), "the size that zlib gives it"
    else:
        other_N, why = -_nats(open_base(run.base_reference), whole), "the base before this run"
    fits_N = np.isfinite(loss_N) & np.isfinite(other_N)
    member_N = np.arange(len(whole)) < len(sides[0])
    return Sides((loss_N / length_N)[fits_N], (other_N / length_N)[fits_N], member_N[fits_N], why)


# -- what it says -----------------------------------------------------------------------------------------------------------


def _membership(sides: Sides, seed: int) -> dict[str, Any]:
    """Both attacks: the loss as it is, and against what never saw the row."""
    inside, outside = int(sides.member.sum()), int((~sides.member).sum())
    facts: dict[str, Any] = {"members": inside, "others": outside, "calibrated_by": sides.against, "notes": list(sides.notes)}
    if min(inside, outside) < FEWEST:
        return facts | {"notes": [*sides.notes, f"{inside:,} members and {outside:,} others: {FEWEST} of each are needed"]}
    attacks = {"loss": -sides.loss}
    if np.isfinite(sides.other).all():
        attacks["calibrated"] = sides.other - sides.loss
    return facts | {name: _attack(score_N, sides.member, seed) for name, score_N in attacks.items()}


def _attack(score_N: np.ndarray, member_N: np.ndarray, seed: int) -> dict[str, Any]:
    def figures(columns: Mapping[str, np.ndarray], names: Any = None) -> dict[str, float]:
        return memorisation.figures(columns["score"], columns["member"])

    columns = {"score": score_N, "member": member_N}
    ends = bootstrap(columns, figures, names=("roc_auc", "recall"), seed=seed)
    return {name: {"value": value, "interval": list(ends[name])} for name, value in figures(columns).items() if name in ends}


def _verdict(facts: Mapping[str, Any]) -> str:
    found, audit = facts["canaries"], facts["membership"]
    attacks = [audit[name] for name in ("loss", "calibrated") if name in audit]
    if (found and found["p"] <= _SURE) or any(each["roc_auc"]["interval"][0] > 0.5 for each in attacks):
        return EVIDENCE
    return NONE if found or attacks else OUT


def _refuse(facts: Mapping[str, Any]) -> None:
    """Raises GateRefused where rows are remembered, or where nothing could be measured."""
    if facts["verdict"] == EVIDENCE:
        raise GateRefused(
            f"{facts['run']}: evidence that single training rows can be told from others",
            fix="train for fewer epochs, on more rows, or with fewer parameters that learn; docs/poisoning.md says what the figures mean",
        )
    if facts["verdict"] == OUT:
        raise GateRefused(f"{facts['run']}: nothing could be measured", fix="plant canaries, or name more rows with --data")
