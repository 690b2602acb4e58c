"""rootstock scan RUN --bias: what a classifier's answers, or a language model's likelihoods, do when a group in the text is exchanged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rootstock import catalog
from rootstock.core import artifact
from rootstock.core.errors import BaseError, GateRefused, UsageError
from rootstock.core.rows import PAIR, TEXT, column
from rootstock.core.runfolder import RunFolder
from rootstock.core.task import Labelled
from rootstock.core.watch import Watch
from rootstock.data import stereotypes
from rootstock.evaluation.bias import cases, language, swaps, terms
from rootstock.evaluation.probes.likelihood import Scorer
from rootstock.report import bias as page
from rootstock.report import bias_text
from rootstock.run.opened import open_base
from rootstock.run.use import Run
from rootstock.verbs.scanning import Scanned

TAKES = ("data", "terms", "limit", "report", "seed")
_KINDS = ("class", "classes")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """data: of a classifier one file of rows, of a language model published sets. lists: names or files of terms. limit: the gap, or the
    distance from no preference, from which on the scan refuses; None: it never does."""

    data: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    limit: float | None = None
    seed: int = 0


def scanned(paths: Sequence[str], options: Mapping[str, Any], watch: Watch) -> Scanned:
    """What the command line asks: measure, write the page, and refuse beyond the limit."""
    if len(paths) != 1:
        raise UsageError(f"{len(paths)} models are named", wanted="one run or language model", fix="rootstock scan RUN --bias")
    page_at = options.get("report")
    data, lists = tuple(options.get("data") or ()), tuple(options.get("terms") or ())
    plan = Plan(data=data, lists=lists, limit=options.get("limit"), seed=options.get("seed", 0))
    found = measure(paths[0], plan, watch)
    if page_at is not None:
        write(found, page_at)
    return Scanned(found, bias_text.as_text(found), lambda: refuse(found))


def measure(reference: str, plan: Plan, watch: Watch) -> dict[str, Any]:
    """Figures with intervals, as JSON. Raises UsageError before the model is read where the plan doesn't fit it."""
    if plan.limit is not None and not 0 <= plan.limit < 1:
        raise UsageError(f"--limit is {plan.limit:g}", wanted="a gap of probabilities from 0 to below 1, such as 0.1")
    run = _classifier(reference)
    found = _swaps(run, reference, plan, watch) if run else _sets(reference, plan, watch)
    found |= {"limit": plan.limit, "seed": plan.seed}
    return found | {"verdict": bias_text.verdict(found), "over_limit": _over(found, plan.limit)}


def write(found: Mapping[str, Any], path: Path) -> None:
    """The page."""
    artifact.write_text(path, page.render(dict(found)))


def refuse(found: Mapping[str, Any]) -> None:
    """Raises GateRefused where the person gave a limit and a difference beyond it was shown."""
    if over := found["over_limit"]:
        raise GateRefused(
            f"{len(over):,} differences beyond the limit of {found['limit']:g} are shown", wanted="none", fix="; ".join(over[:4])
        )


def _over(found: Mapping[str, Any], limit: float | None) -> list[str]:
    if limit is None:
        return []
    named = [
        (f"{table['attribute']}, {table['source']}: {pair['first']} and {pair['second']}, {gap['label']}: {gap['value']:+.3f}", gap)
        for table in found.get("tables", ())
        for pair in table["pairs"]
        for gap in pair["gaps"]
        if gap["p_holm"] < swaps.LEVEL
    ]
    over = [text for text, gap in named if abs(gap["value"]) > limit]
    for each in found.get("sets", ()):
        for row in each["figures"]:
            low, high = row["interval"]
            neutral = row["neutral"]
            if neutral is not None and not low <= neutral <= high and abs(row["value"] - neutral) > limit:
                over.append(f"{each['set']}: {row['name']}: {row['value']:.3f}")
    return over


# -- classifiers ------------------------------------------------------------------------------------------------------------


def _classifier(reference: str) -> Run | None:
    """The run that a reference names, where it gives labels; None: a model of words, or a base."""
    if not RunFolder(Path(reference)).complete:
        return None
    run = Run(reference)
    if not issubclass(catalog.find("tasks", str(run.recipe.task["name"])), Labelled):
        return None
    if run.task.kind not in _KINDS or run.task.reads != "texts":
        raise UsageError(
            f"{reference} was trained for {run.recipe.task['name']}",
            wanted="a classifier of texts, or a language model",
            fix="exchanges of groups are measured on probabilities of labels",
        )
    return run


def _swaps(run: Run, reference: str, plan: Plan, watch: Watch) -> dict[str, Any]:
    if len(plan.data) > 1:
        raise UsageError(
            f"{reference} is a classifier, and {len(plan.data)} files are named", wanted="one file of rows", fix="join the files"
        )
    attributes, pair = terms.load(plan.lists), run.recipe.task.get("text_pair") is not None
    if pair and not plan.data:
        raise UsageError(f"{reference} reads pairs of texts, for which there are no templates", wanted="--data FILE of your own rows")
    asked, held = cases.Asked(), list[cases.Cases]()
    rows = _rows(run, plan.data[0], watch) if plan.data else []
    for attribute in attributes:
        held += [cases.of_rows(attribute, rows, asked, plan.seed)] if rows else []
        held += [] if pair else [cases.of_templates(attribute, asked)]
    if not asked.texts:
        raise UsageError(
            f"no row of {plan.data[0] if plan.data else 'none'} names a group of {', '.join(each.name for each in attributes)}",
            wanted="rows that do, or phrases in the lists of terms",
            fix="give a list of your own with --terms FILE.yaml",
        )
    watch.say(f"bias      {len(asked.texts):,} texts of {len(attributes)} attributes are asked")
    answers, cut = _answers(run, asked.texts, pair=pair)
    tables = swaps.measure(held, answers, asked.texts, floor=swaps.FLOOR, seed=plan.seed)
    return {
        "kind": "classifier",
        "model": reference,
        "weights_sha256": run.weights,
        "labels": list(answers.labels),
        "floor": swaps.FLOOR,
        "data": list(plan.data),
        "rows": len(rows),
        "texts": len(asked.texts),
        "cut": cut,
        "terms": [{"name": each.name, "about": each.about, "source": each.source} for each in attributes],
        "tables": tables,
        "tests": sum(len(pair["gaps"]) for table in tables for pair in table["pairs"]),
    }


def _rows(run: Run, path: str, watch: Watch) -> list[cases.Row]:
    table = run.read(path, labelled=False, say=watch.say).rows
    columns = [column(table, name) for name in (TEXT, PAIR) if name in table.column_names]
    return [tuple(str(each) for each in row) for row in zip(*columns, strict=True)]


def _answers(run: Run, texts: Sequence[cases.Row], *, pair: bool) -> tuple[swaps.Answers, int]:
    rows: pa.Table = run.rows_of(list(texts) if pair else [row[0] for row in texts])
    made = run.predictions(rows)
    labels = tuple(getattr(run.task, "labels"))  # noqa: B009 - only some tasks have them
    return swaps.Answers(np.asarray(made.columns["scores"], dtype=np.float64), labels, run.task.kind == "classes"), made.cut


# -- language models --------------------------------------------------------------------------------------------------------


def _sets(reference: str, plan: Plan, watch: Watch) -> dict[str, Any]:
    if not plan.data:
        raise UsageError(
            f"{reference} gives no labels, and no set of sentences is named",
            wanted=f"--data FILE: {stereotypes.WANTED}",
            fix="fetch one of them",
        )
    if plan.lists:
        raise UsageError("--terms is given, and means nothing to a language model", fix="leave --terms out")
    held = {place: stereotypes.read(Path(place).expanduser()) for place in plan.data}
    opened = open_base(reference)
    if opened.kind not in ("masked", "causal"):
        raise BaseError(
            f"{reference} ({opened.architecture}) has no head that says how likely a sentence is",
            wanted="a run that gives labels, …ForMaskedLM, …ForCausalLM or …LMHeadModel",
            fix="train a classifier on it, and scan that run",
        )
    scorer = Scorer(model=opened.model, tokens=opened.tokens, masked=opened.kind == "masked", room=opened.room)
    found = []
    for place, each in held.items():
        watch.say(f"bias      {each.kind}: {len(each.items):,} items")
        found.append({"file": place, **language.measure(scorer, each, plan.seed)})
    return {
        "kind": opened.kind,
        "model": reference,
        "weights_sha256": opened.base.digest,
        "architecture": opened.architecture,
        "data": list(plan.data),
        "sets": found,
    }
