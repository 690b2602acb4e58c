"""Curves of pre-training over the tokens learned from: loss on both sides, rate, gradient norm; and how the loss spreads over rows."""

from itertools import accumulate, pairwise
from statistics import median
from typing import Any

from rootstock.report import charts, words
from rootstock.report.charts import FAINT, FIRST, MUTED, SECOND, THIRD, Chart, Table
from rootstock.report.curves import line, picked, smooth
from rootstock.report.facts import Facts, dig, events

Event = dict[str, Any]
_SEEN = "seen"
"""Under this an event holds the padded tokens that were learned from before it."""


def unit(facts: Facts) -> str:
    """What progress is counted in: a batch of images holds no tokens."""
    return "images" if dig(facts, "objective", "reads") == "images" else "tokens"


def curves(facts: Facts) -> list[Chart]:
    """Each curve that the history has values for, the loss first."""
    steps, evaluations = _counted(facts)
    found = (_loss(facts, steps, evaluations), _rate(facts, steps), _norm(facts, steps))
    return [chart for chart in found if chart]


def _counted(facts: Facts) -> tuple[list[Event], list[Event]]:
    """Steps and evaluations with the tokens seen until then."""
    steps = events(facts, "step")
    seen = list(accumulate(int(event.get("tokens") or 0) for event in steps))
    at = {event["step"]: count for event, count in zip(steps, seen, strict=True)}
    counted = [{**event, _SEEN: at[event["step"]]} for event in steps]
    return counted, [{**event, _SEEN: at.get(event["step"], 0)} for event in events(facts, "evaluation")]


def _having(name: str, found: list[Event]) -> list[Event]:
    return [event for event in found if words.is_number(event.get(name))]


def _figure(facts: Facts, data: list[dict[str, Any]], title: str, **more: Any) -> charts.Figure:
    return charts.figure(data, x=charts.axis(f"{unit(facts)} learned from", rangemode="tozero"), y=charts.axis(title), **more)


def _both(steps: list[Event], name: str) -> list[dict[str, Any]]:
    """Every value faintly, and their running mean."""
    values = [float(event[name]) for event in steps]
    faint = {"color": FAINT, "width": 1}
    clear = {"color": FIRST, "width": 2.5}
    return [
        line(steps, values, at=_SEEN, name="each step", line=faint, hoverinfo="skip"),
        line(steps, smooth(values), at=_SEEN, name="training, smoothed", line=clear),
    ]


def _loss(facts: Facts, steps: list[Event], evaluations: list[Event]) -> Chart | None:
    steps, held = _having("loss", steps), _having("loss", evaluations)
    if not steps:
        return None
    data = _both(steps, "loss")
    if held:
        marks = {"mode": "lines+markers", "line": {"color": SECOND, "width": 2}, "marker": {"size": 7}}
        data.append(line(held, [event["loss"] for event in held], at=_SEEN, name="held out", **marks))
    figure = _figure(facts, data, "loss", height=400, **_guides(facts, held))
    names = [name for name in ("loss", "accuracy", "bits_per_byte") if _having(name, held)]
    rows = [(words.count(e["step"]), words.count(e[_SEEN]), *(words.figure(e.get(name)) for name in names)) for e in picked(held)]
    table = Table(("step", unit(facts), *map(words.figure_name, names)), rows) if held else None
    return Chart(key="loss", title="Loss", sentence=_told(facts, steps, held), figure=figure, table=table)


def _told(facts: Facts, steps: list[Event], held: list[Event]) -> str:
    smoothed = smooth([float(event["loss"]) for event in steps])
    seen = f"{words.amount(steps[-1][_SEEN])} {unit(facts)}"
    said = f"The smoothed training loss went from {smoothed[0]:.3f} to {smoothed[-1]:.3f} over {seen}."
    if held:
        times = f" (the last of {len(held):,} evaluations)" if len(held) > 1 else ""
        kept = words.count(dig(facts, "metrics", "best_step"))
        said += f" The held-out loss ended at {words.figure(held[-1]['loss'])}{times}; the model that was kept is that of step {kept}."
    if dig(facts, "objective", "coupled"):
        said += " Both losses grow with the rows that stand together: compare their course, not their height."
    return said


def _guides(facts: Facts, held: list[Event]) -> dict[str, Any]:
    """A line at the state that was kept, and one at what guessing by frequency loses."""
    shapes, notes = [], []
    small = {"showarrow": False, "font": {"size": 11, "color": MUTED}}
    best = next((event for event in held if event["step"] == dig(facts, "metrics", "best_step")), None)
    if best and best[_SEEN]:
        thin = {"color": MUTED, "dash": "dot", "width": 1}
        shapes.append({"type": "line", "x0": best[_SEEN], "x1": best[_SEEN], "yref": "paper", "y0": 0, "y1": 1, "line": thin})
        notes.append({"x": best[_SEEN], "y": 1, "yref": "paper", "yanchor": "top", "xanchor": "right", "text": "kept ", **small})
    rival = dig(facts, "metrics", "baselines", "unigram", "loss")
    if words.is_number(rival):
        shapes.append(_level(rival))
        notes.append(_named(rival, "guessing by frequency"))
    return {"shapes": shapes, "annotations": notes}


def _level(value: float) -> dict[str, Any]:
    dashed = {"color": MUTED, "dash": "dash", "width": 1}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value, "line": dashed}


def _named(value: float, said: str) -> dict[str, Any]:
    place = {"xref": "paper", "x": 0, "y": value, "yanchor": "bottom", "xanchor": "left"}
    return {**place, "text": f" {said}", "showarrow": False, "font": {"size": 11, "color": MUTED}}


def _rate(facts: Facts, steps: list[Event]) -> Chart | None:
    steps = _having("rate", steps)
    if not steps:
        return None
    rates = [float(event["rate"]) for event in steps]
    data = [line(steps, rates, at=_SEEN, name="rate", line={"color": THIRD, "width": 2})]
    figure = _figure(facts, data, "learning rate", height=280)
    figure["layout"]["yaxis"] |= {"exponentformat": "power", "rangemode": "tozero"}
    said = f"It peaked at {max(rates):.2g} and ended at {rates[-1]:.2g}."
    return Chart(key="rate", title="Learning rate", sentence=said, figure=figure)


def _norm(facts: Facts, steps: list[Event]) -> Chart | None:
    steps = _having("gradient_norm", steps)
    if not steps:
        return None
    norms, clip = [float(event["gradient_norm"]) for event in steps], dig(facts, "recipe", "training", "clip")
    data = _both(steps, "gradient_norm")
    more: dict[str, Any] = {}
    said = f"Its median was {words.figure(median(norms))}, its largest {words.figure(max(norms))}."
    if words.is_number(clip):
        cut = sum(norm > clip for norm in norms)
        said += f" It was bounded at {words.plain(float(clip))} (dashed) in {cut:,} of {words.several(len(norms), 'step')}."
        more = {"shapes": [_level(clip)]} if cut else {}
    figure = _figure(facts, data, "gradient norm", height=280, showlegend=False, **more)
    figure["layout"]["yaxis"] |= {"rangemode": "tozero"}
    return Chart(key="norm", title="Gradient norm", sentence=said, figure=figure)


def spread(facts: Facts) -> Chart | None:
    """Held-out rows by their mean loss."""
    counts, edges = (dig(facts, "spread", name, default=[]) for name in ("counts", "edges"))
    if not sum(counts):
        return None
    bars = {
        "type": "bar",
        "x": [(low + high) / 2 for low, high in pairwise(edges)],
        "y": counts,
        "width": [high - low for low, high in pairwise(edges)],
        "customdata": [[low, high] for low, high in pairwise(edges)],
        "hovertemplate": "loss %{customdata[0]:.3f} to %{customdata[1]:.3f}<br>%{y} rows<extra></extra>",
        "marker": {"color": FIRST, "line": {"color": "var(--paper)", "width": 1}},
    }
    low, middle, high = dig(facts, "spread", "quartiles")
    said = f"Half of the {sum(counts):,} rows with a guess lie between {low:.3f} and {high:.3f}; "
    said += f"the middle has {middle:.3f}, the worst {edges[-1]:.3f}."
    figure = charts.figure([bars], x=charts.axis("mean loss of a row"), y=charts.axis("rows"), height=300)
    return Chart(key="spread", title="Loss of the held-out rows", sentence=said, figure=figure)
