"""A run that learned without labels, as its card and its report tell it."""

import json
import shlex
from dataclasses import replace
from typing import Any

from rootstock.report import account, charts, costs, loaders, pretraining_curves, summary, words
from rootstock.report import facts as read
from rootstock.report.charts import FIRST, THIRD, Chart, Table
from rootstock.report.facts import Facts, dig

SCRATCH = "scratch:"
_UNITS = {"documents": "texts", "pairs": "pairs", "images": "images", "captions": "captioned images"}


def page(facts: Facts) -> dict[str, Any]:
    """What the report shows beside settings and costs."""
    return {
        **identity(facts),
        **score(facts),
        **data(facts),
        "done": done(facts),
        "curves": pretraining_curves.curves(facts),
        "spread": pretraining_curves.spread(facts),
        "clozes": _examples(facts, "cloze"),
        "continuations": [{name: " ↵ ".join(text.split("\n")) for name, text in each.items()} for each in _examples(facts, "continuation")],
    }


def identity(facts: Facts) -> dict[str, Any]:
    """What it is, what it started from, and how it is used again."""
    base, model = dig(facts, "manifest", "base", default={}), dig(facts, "model", default={})
    scratch, loader = from_scratch(facts), loaders.loader(facts)
    called = base.get("hub_id") or read.base_name(str(base.get("name") or base.get("reference") or ""))
    mask = model.get("mask") or "[MASK]"
    return {
        "name": read.name(facts),
        "path": shlex.quote(" ".join(read.name(facts).split())),
        "task": str(dig(facts, "manifest", "task") or dig(facts, "objective", "name", default="")),
        "method": str(dig(facts, "manifest", "method", default="")),
        "base": called,
        "start": (f"random weights ({called})" if called else "random weights") if scratch else called,
        "loader": loader,
        "own_module": loaders.own_module(facts),
        "model_class": str(model.get("class") or ""),
        "parameters": model.get("parameters"),
        "length": dig(facts, "contract", "length"),
        "gap": f"The capital of France is {mask}.",
        "beginning_python": json.dumps(f"{model.get('first') or ''}Once", ensure_ascii=False),
        "gap_python": json.dumps(f"The capital of France is {mask}.", ensure_ascii=False),
    }


def from_scratch(facts: Facts) -> bool:
    """Whether it began with random weights."""
    return str(dig(facts, "manifest", "base", "reference", default="")).startswith(SCRATCH)


def score(facts: Facts) -> dict[str, Any]:
    """The figures on what was held out, and how far to trust them."""
    return {
        "verdict": str(dig(facts, "metrics", "verdict", default="")).rstrip("."),
        "judgement": summary.judgement(facts),
        "tiles": summary.tiles(facts),
        "all_figures": summary.all_figures(facts),
        "measured_rows": dig(facts, "metrics", "rows"),
        "optimism": summary.optimism(facts),
        "leakage": _leakage(facts),
        "likelihood": bool(dig(facts, "objective", "likelihood")),
        "by_corpus": _by_corpus(facts),
    }


def _leakage(facts: Facts) -> str:
    if dig(facts, "objective", "reads") != "documents":
        return "Whether what is held out also occurs in training was not measured."
    return (
        "No held-out text also occurs in training, blanks and case aside: copies go to one side. Near copies were not looked for here, "
        "and of a long document some parts may be held out while others are learned from."
    )


def done(facts: Facts) -> list[tuple[str, str]]:
    """How much was learned, figure and name."""
    tokens, pace = (dig(facts, "plan", "measured", name) for name in ("tokens", "tokens_per_second"))
    steps, epoch = dig(facts, "metrics", "steps"), max((event.get("epoch") or 0 for event in read.events(facts, "step")), default=None)
    size, unit = dig(facts, "model", "parameters"), pretraining_curves.unit(facts)
    found = [
        (words.amount(size), "parameters", size),
        (words.amount(tokens), "images learned from" if unit == "images" else f"tokens learned from, with {_more(facts)}", tokens),
        (f"{epoch:.2f}" if words.is_number(epoch) else "", "passes over the data", epoch),
        (words.count(steps), "steps", steps),
        (words.count(pace), f"{unit} a second", pace),
    ]
    return [(value, called) for value, called, known in found if words.is_number(known)]


def _more(facts: Facts) -> str:
    """What is counted besides the tokens of the texts."""
    twice = dig(facts, "objective", "coupled") and dig(facts, "objective", "reads") == "documents"
    return "padding, each in both views" if twice else "padding"


def objective(facts: Facts) -> list[tuple[str, str]]:
    """The objective's settings as text."""
    held = dig(facts, "objective", "settings") or {k: v for k, v in dig(facts, "recipe", "task", default={}).items() if k != "name"}
    return [(str(name), words.plain(value)) for name, value in held.items() if value is not None]


def data(facts: Facts) -> dict[str, Any]:
    """What was learned from."""
    unit = _UNITS.get(dig(facts, "objective", "reads", default=""), "rows")
    held = dig(facts, "ledger", "rows", default={})
    names = {"read": f"{unit} read", "dropped": "left out", "not_drawn": "not drawn", "train": "to learn from", "validation": "held out"}
    tokens = dig(facts, "ledger", "lengths", "tokens") if unit == "texts" else None
    counts = [(words.count(held[key]), called) for key, called in names.items() if key in held]
    counts += [(words.amount(tokens), "tokens to learn from")] if tokens else []
    broken = dig(facts, "ledger", "broken", default={})
    return {
        "counts": counts,
        "unit": unit,
        "padding": None if unit == "images" else dig(facts, "ledger", "padding_share"),
        "broken_examples": [f"{each['file']}: {each['reason']}" for each in dig(facts, "ledger", "broken_examples", default=[])],
        "broken": Table(("why", unit), [(rule, words.count(n)) for rule, n in broken.items()]) if broken else None,
        "findings": account.findings(facts),
        "lengths": _lengths(facts),
        "mix": _mix(facts),
        "sources": read.sources(facts),
    }


def _lengths(facts: Facts) -> Chart | None:
    """Rows of images all cost the same; only texts have lengths."""
    found, reads = account.lengths(facts), dig(facts, "objective", "reads")
    if found is None or reads != "documents":
        return None if reads in ("images", "captions") else found
    held = dig(facts, "ledger", "lengths", default={})
    said = f"A long document is cut into pieces of like length, at most {words.count(held.get('kept'))} tokens; nothing of it is lost. "
    said += f"The mean row has {words.figure(held.get('mean'))} tokens, the longest {words.count(held.get('longest'))}."
    return replace(found, sentence=said)


def _mix(facts: Facts) -> Chart | None:
    """What each corpus holds beside what it gives to an epoch."""
    corpora = dig(facts, "corpora", default=[])
    total = sum(each["tokens"] for each in corpora)
    if not total:
        return None
    names = [read.base_name(each["name"]) for each in corpora]
    held, given = [each["tokens"] / total for each in corpora], [each["share"] for each in corpora]
    data = [_bars("of all tokens", held, THIRD), _bars("of an epoch", given, FIRST)]
    y = charts.named(names, autorange="reversed", showgrid=False)
    figure = charts.figure(data, x=charts.axis("%", rangemode="tozero"), y=y, height=110 + 44 * len(names), bargap=0.3)
    seen = dig(facts, "learned", "tokens", default=0)
    passes = [seen * each["share"] / max(each["tokens"], 1) for each in corpora]
    rows = [
        (name, words.count(each["rows"]), words.count(each["tokens"]), words.percent(own), words.percent(each["share"]), f"{times:.2f}")
        for name, each, own, times in zip(names, corpora, held, passes, strict=True)
    ]
    table = Table(("corpus", "rows", "tokens", "of all", "of an epoch", "passes in this run"), rows)
    mixed = _mixed(dig(facts, "recipe", "data", "mix", default="proportional"))
    said = f"Mixed {mixed}: a corpus that gives more than it holds is repeated."
    return Chart(key="mix", title="Mix of the corpora", sentence=said, figure=figure, table=table)


def _mixed(how: Any) -> str:
    if isinstance(how, str):
        return {"equal": "in equal parts", "proportional": "by their size"}.get(how, how)
    return f"at temperature {words.plain(how)}" if words.is_number(how) else f"with weights {', '.join(map(words.plain, how))}"


def _bars(name: str, shares: list[float], colour: str) -> dict[str, Any]:
    bars = {"type": "bar", "orientation": "h", "name": name, "y": list(range(len(shares))), "x": [100 * share for share in shares]}
    return {**bars, "hovertemplate": "%{x:.1f} %<extra></extra>", "marker": {"color": colour}}


def _by_corpus(facts: Facts) -> Table | None:
    rows = [
        (read.base_name(each["name"]), words.count(each["held_rows"]), words.figure(each["loss"]), words.between(each["interval"]) or "–")
        for each in dig(facts, "corpora", default=[])
    ]
    return Table(("corpus", "held-out rows", "loss", "95 % interval"), rows) if rows else None


def _examples(facts: Facts, kind: str) -> list[dict[str, Any]]:
    return [each for each in dig(facts, "examples", default=[]) if each.get("kind") == kind]


def base_facts(facts: Facts) -> list[tuple[str, str]]:
    """What it started from; of random weights there is no licence to know."""
    size, kind = dig(facts, "model", "parameters"), dig(facts, "model", "class")
    own = [("saved as", str(kind))] if kind else []
    own += [("parameters", words.count(size))] if size else []
    if not from_scratch(facts):
        return [*own, *(row for row in costs.base(facts) if row[0] != "parameters" or not size)]
    kept = [row for row in costs.base(facts) if row[0] not in ("base", "licence of the base", "parameters")]
    return [("started from", str(identity(facts)["start"])), *own, *kept]


def lineage(facts: Facts) -> list[tuple[str, str]]:
    """Digests of all that went in; random weights are told apart by their architecture."""
    return [("architecture" if from_scratch(facts) and name == "base weights" else name, digest) for name, digest in costs.lineage(facts)]
