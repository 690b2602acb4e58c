"""The upper part of a report: what was reached, whether that is worth anything, and how far to trust it."""

import math
from dataclasses import dataclass
from typing import Any

from rootstock.report import words
from rootstock.report.charts import Table
from rootstock.report.facts import SIMPLE, Facts, dig, events, figures, headline, strong_baseline

_TRAINED = ("tfidf", "dictionary", "majority")
"""Baselines that answer as the model does: a figure that they lack is not defined for them."""


@dataclass(frozen=True)
class Mark:
    """A value on a tile's scale. kind: model or the baseline's name. at: its place in percent; None where the value is not defined."""

    kind: str
    called: str
    value: str
    at: float | None


@dataclass(frozen=True)
class Tile:
    """One headline figure. span: left end and width of its interval on the scale, in percent. ends: what the scale goes from and to."""

    name: str
    value: str
    interval: str
    span: tuple[float, float] | None
    marks: list[Mark]
    ends: tuple[str, str]
    note: str


@dataclass(frozen=True)
class Judgement:
    """tone: good, unsure or bad."""

    tone: str
    title: str
    text: str


def tiles(facts: Facts) -> list[Tile]:
    """The headline figures, each beside the baselines; where no figure is known, none."""
    return [_tile(facts, name) for name in headline(facts) if name != "perplexity"]  # it is the loss once more, and stands under it


def _tile(facts: Facts, name: str) -> Tile:
    value, between = figures(facts)[name], dig(facts, "metrics", "intervals", name, default=[])
    between = list(between) if len(between) == 2 else []
    rivals = {key: found.get(name) for key, found in _baselines(facts).items() if name in found or key in _TRAINED}
    low, high = _scale([value, *between, *rivals.values()])

    def place(of: Any) -> float | None:
        return round(100 * (of - low) / (high - low), 2) if words.is_number(of) else None

    kind = str(dig(facts, "kind", default=""))
    marks = [Mark(key, words.baseline_name(key, kind), words.figure(found, "not defined"), place(found)) for key, found in rivals.items()]
    marks.insert(0, Mark("model", "This model", words.figure(value), place(value)))
    ends = [end for end in map(place, between) if end is not None]
    span = (ends[0], round(ends[1] - ends[0], 2)) if len(ends) == 2 else None
    shown = words.between(between, " – ")
    return Tile(words.figure_name(name), words.figure(value), shown, span, marks, (f"{low:.2g}", f"{high:.2g}"), _note(facts, name))


def _scale(values: list[Any]) -> tuple[float, float]:
    """Ends of a scale that holds 0, 1 and all values."""
    known = [float(value) for value in values if words.is_number(value)]
    return min(0.0, *known), max(1.0, *known)


def _note(facts: Facts, name: str) -> str:
    return _meaning(facts, name) if dig(facts, "kind") == "tokens" else _difference(facts, name)


def _meaning(facts: Facts, name: str) -> str:
    """What a figure of pre-training counts; loss and what follows from it only where it is a likelihood."""
    perplexity = figures(facts).get("perplexity")
    said = {"accuracy": "Share of all guesses that were right", "bits_per_byte": "Compares across tokenizers, as the loss does not"}
    loss = "Nats a guess" if perplexity is None else f"Nats a token; perplexity {words.figure(perplexity)}"
    return (said | {"loss": loss}).get(name, "")


def _difference(facts: Facts, name: str) -> str:
    rival = strong_baseline(facts)
    found = dig(facts, "metrics", "differences", rival, default={})
    if found.get("figure") != name or len(found.get("difference") or []) != 2:
        return ""
    low, high = found["difference"]
    return f"Difference to {words.baseline_short(rival)}, on the same rows: {low:+.3f} to {high:+.3f} (95 %)".replace("-0", "−0")


def _baselines(facts: Facts) -> dict[str, dict[str, Any]]:
    """What needs no training, the stronger kind first; to guess by frequency has a perplexity as well as a loss."""
    found = dig(facts, "metrics", "baselines", default={})
    known = {key: found[key] for key in sorted(found, key=SIMPLE.__contains__)}
    if words.is_number(loss := dig(known, "unigram", "loss")):
        known["unigram"] = {**known["unigram"], "loss": loss, "perplexity": math.exp(min(loss, 700.0))}
    return known


def judgement(facts: Facts) -> Judgement | None:
    """Whether the model is worth more than the baselines; None where nothing is known."""
    beats, kind = dig(facts, "metrics", "beats", default={}), str(dig(facts, "kind", default=""))
    if kind == "tokens":
        return _against_frequency(facts)
    strong = strong_baseline(facts)
    if strong not in beats:
        return _unknown(facts)
    if all(beats.values()):
        text = f"The difference to “{words.baseline_name(strong, kind)}” is larger than chance explains."
        return Judgement("good", "It beats both baselines." if len(beats) > 1 else "It beats the baseline.", text)
    rival = "majority" if beats[strong] else strong
    called, full = words.baseline_short(rival), words.baseline_name(rival, kind)
    either = (
        "" if rival == "majority" or beats.get("majority", True) else f" Nor is it shown to beat “{words.baseline_name('majority', kind)}”."
    )
    found = dig(facts, "metrics", "differences", rival, default={})
    if found.get("separable"):  # and not in the model's favour, of errors as of shares: it would beat this baseline
        needs = "learned nothing from these rows" if rival == "base" else "needs no pre-trained model, trains in seconds"
        text = f"“{full}” {needs} and answers better on them. Use it instead, or try another method, more rows or a longer training."
        return Judgement("bad", f"This model is worse than {called}.", f"{text}{either}")
    text = f"With {words.count(dig(facts, 'metrics', 'rows'))} validation rows the difference to “{full}” is within chance. "
    return Judgement("unsure", f"This model is not shown to beat {called}.", f"{text}Measure on more rows before you rely on it.{either}")


def _against_frequency(facts: Facts) -> Judgement | None:
    """Whether pre-training taught more than which tokens are frequent; None where the loss is no likelihood of tokens."""
    rival, between = dig(facts, "metrics", "baselines", "unigram", "loss"), dig(facts, "metrics", "intervals", "loss", default=[])
    if not words.is_number(rival) or len(between) != 2:
        return None
    if between[1] < rival:
        text = "It has learned from the context of a token. What that is worth for a task shows only after rootstock adapt."
        return Judgement("good", "It beats guessing by frequency.", text)
    text = "The context of a token taught it nothing that shows. Train longer, on more text, or at another rate."
    if between[0] > rival:
        return Judgement("bad", "This model is worse than guessing by frequency.", text)
    return Judgement("unsure", "This model is not shown to beat guessing by frequency.", text)


def _unknown(facts: Facts) -> Judgement | None:
    reasons = [f"{name}: {reason}" for name, reason in dig(facts, "metrics", "left_out", default={}).items()]
    if not figures(facts) and not reasons:
        return None
    return Judgement(
        "unsure",
        f"Not compared with {words.baseline_short(strong_baseline(facts))}.",
        f"What this score is worth is not known ({'; '.join(reasons) or 'the baseline was not computed'}).",
    )


def optimism(facts: Facts) -> str:
    """Why the score is a little better than the truth."""
    times = len(events(facts, "evaluation"))
    held = "held-out" if dig(facts, "kind") == "tokens" else "validation"
    chosen = f"The best of {times:,} checkpoints was chosen" if times > 1 else "The checkpoint was chosen"
    rows = dig(facts, "metrics", "rows") or dig(facts, "manifest", "rows", "validation")
    return f"{chosen} on these same {words.count(rows) + ' ' if rows else ''}{held} rows, so the score is slightly optimistic."


def all_figures(facts: Facts) -> Table | None:
    """Every figure beside the baselines'."""
    kind, rivals = str(dig(facts, "kind", default="")), _baselines(facts)
    rows = []
    for name, value in figures(facts).items():
        others = (
            words.within(rival.get(name), dig(facts, "metrics", "baseline_intervals", key, name), "not defined" if key in _TRAINED else "–")
            for key, rival in rivals.items()
        )
        rows.append((words.figure_name(name), words.figure(value), words.between(dig(facts, "metrics", "intervals", name)), *others))
    return Table(("figure", "this model", "95 % interval", *(words.baseline_name(key, kind) for key in rivals)), rows) if rows else None


def leakage(facts: Facts) -> tuple[str, Table | None]:
    """What the score is without rows that training has shown."""
    found = dig(facts, "metrics", "leakage")
    if not isinstance(found, dict):
        return "Whether validation rows also occur in training was not measured.", None
    overlap, rows = int(found.get("overlap_rows") or 0), dig(facts, "metrics", "rows")
    if not overlap:
        return "No validation row also occurs in training: there is nothing to correct.", None
    said = (
        f"{words.count(overlap)} of {words.count(rows)} validation rows also occur in training. The honest figure is the one without them."
    )
    parts: list[tuple[dict[str, Any], Any]] = [
        (found.get(key) or {}, dig(found, "intervals", key, default={})) for key in ("with", "without", "overlap_only")
    ]
    names = dict.fromkeys(name for part, _ in parts for name in part)
    table = [(words.figure_name(name), *(words.within(part.get(name), ends.get(name)) for part, ends in parts)) for name in names]
    return said, Table(("figure", "all rows", "without the rows seen in training", "only those"), table)
