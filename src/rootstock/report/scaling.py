"""A scaling law as a page of its own: the law, what a budget buys, and the runs behind it."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rootstock.report import charts, words
from rootstock.report.charts import FAINT, FIRST, MUTED, PAPER, SECOND, THIRD, Chart, Table
from rootstock.report.facts import Facts
from rootstock.report.page import filled
from rootstock.report.scaling_words import MEANINGS, between, columns, formula, how, power, quantity

_SHOWN = 20
_LINES = 10
_NONE = "–"
_LOG = {"type": "log", "exponentformat": "power", "dtick": 1}
_HOVER = "%{text}<extra></extra>"


def render(facts: Facts) -> str:
    """The page. facts: what a fit wrote, with budgets, frontier and surface beside it."""
    runs, skipped = facts["runs"], facts["skipped"]
    return filled(
        "scaling.html.j2",
        {
            "runs": len(runs),
            "sources": Table(("source", "format", "columns", "rows"), [*map(_source, facts["sources"])], words=3),
            "formula": formula(facts["law"]),
            "notes": facts["notes"],
            "law": _law(facts),
            "how": how(facts),
            "budgets": _budgets(facts["budgets"]),
            "frontier": _frontier(facts),
            "plane": _plane(facts),
            "misses": _misses(facts),
            "skipped": Table(("row", "why"), [(each["where"], each["reason"]) for each in skipped[:_SHOWN]], words=2) if skipped else None,
            "unshown": max(len(skipped) - _SHOWN, 0),
            "left_out": Table(("run", "parameters", "tokens", "loss"), [*map(_run, facts["left_out"])]) if facts["left_out"] else None,
        },
    )


# -- tables -----------------------------------------------------------------------------------------------------------------


def _source(source: Facts) -> tuple[str, ...]:
    return Path(source["name"]).name, source["format"], columns(source), words.count(source["rows"])


def _run(run: Facts) -> tuple[str, ...]:
    return run["where"], quantity(run["parameters"]), quantity(run["tokens"]), words.figure(run["loss"])


def _law(facts: Facts) -> Table:
    ends = {name: between(found, "{:.4g}".format) or _NONE for name, found in facts["intervals"].items()}
    rows = [(name, MEANINGS[name], f"{value:.5g}", ends[name]) for name, value in facts["law"].items()]
    return Table(("figure", "meaning", "value", "95 % interval"), rows, words=2)


def _budgets(plans: Sequence[Facts]) -> Table | None:
    rows = []
    for plan in plans:
        ratio = f"{plan['tokens_per_parameter']:.3g}", between(plan["intervals"]["tokens_per_parameter"], "{:.3g}".format) or _NONE
        loss = words.figure(plan["loss"]), between(plan["intervals"]["loss"], words.figure) or _NONE
        rows.append((power(plan["flops"]), quantity(plan["parameters"]), quantity(plan["tokens"]), *ratio, *loss))
    head = ("FLOPs", "parameters", "tokens", "tokens per parameter", "95 % interval", "expected loss", "95 % interval")
    return Table(head, rows) if rows else None


# -- charts -----------------------------------------------------------------------------------------------------------------


def _frontier(facts: Facts) -> Chart:
    """Loss over operations: the runs, and the best that each budget buys."""
    curve, runs, left, floor = facts["frontier"], facts["runs"], facts["left_out"], facts["law"]["E"]
    inside = sum(plan["flops"] <= facts["flops"][1] for plan in curve)
    data = [
        *_band(curve),
        _dots(runs, _flops, _loss, name="runs", marker=_shade(runs)),
        *_aside(left, _flops, _loss),
        _stroke(curve[:inside], "best for its FLOPs", "solid"),
        _stroke(curve[max(inside - 1, 0) :], "beyond the runs", "dash"),
    ]
    line = {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": floor,
        "y1": floor,
        "line": {"color": MUTED, "dash": "dot", "width": 1},
    }
    place = {"xref": "paper", "x": 0, "y": floor, "xanchor": "left", "yanchor": "bottom", "showarrow": False}
    note = {**place, "text": f"E = {floor:.3f}", "font": {"size": 11, "color": MUTED}}
    axes = {"x": charts.axis("FLOPs (6 N D)", **_LOG), "y": charts.axis("loss, nats a token")}
    figure = charts.figure(data, **axes, height=460, shapes=[line], annotations=[note])
    said = "Each dot is a run; the line is the lowest loss that so many FLOPs buy, with its 95 % interval. "
    said += "The interval says how far other runs of the same kind would have moved the line, not whether the law bends further out."
    return Chart(key="frontier", title="Loss and compute", sentence=said, figure=figure)


def _plane(facts: Facts) -> Chart:
    """Size against tokens: the runs, lines of equal loss, and the best pairs."""
    surface, runs = facts["surface"], facts["runs"]
    inside = [plan for plan in facts["frontier"] if all(plan[name] <= surface[name][-1] for name in ("parameters", "tokens"))]
    best = {"x": [plan["parameters"] for plan in inside], "y": [plan["tokens"] for plan in inside], "hoverinfo": "skip"}
    data = [
        _equal(surface, max(map(_loss, runs))),
        _dots(runs, _size, _tokens, name="runs", marker={"color": SECOND}),
        *_aside(facts["left_out"], _size, _tokens),
        {"type": "scatter", "mode": "lines", "name": "best for its FLOPs", "line": {"color": FIRST, "width": 3}, **best},
    ]
    figure = charts.figure(data, x=charts.axis("parameters", **_LOG), y=charts.axis("tokens", **_LOG), height=460)
    said = "Thin lines join sizes and numbers of tokens of the same expected loss. Dots that spread to both sides of the thick line tell "
    said += "what a parameter and a token are worth apart from each other."
    return Chart(key="plane", title="Sizes and tokens", sentence=said, figure=figure)


def _misses(facts: Facts) -> Chart:
    """How far each run lies from the law, in percent of the loss."""
    runs = facts["runs"]
    data = [_dots(runs, _flops, _apart, name="runs", marker={"color": FIRST})]
    zero = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 0, "y1": 0, "line": {"color": MUTED, "width": 1}}
    axes = {"x": charts.axis("FLOPs (6 N D)", **_LOG), "y": charts.axis("above the law, %")}
    farthest = max(runs, key=lambda run: abs(_apart(run)))
    said = f"Half of the runs lie within {sorted(abs(_apart(run)) for run in runs)[len(runs) // 2]:.2f} % of the law; "
    said += f"the farthest is {farthest['where']}, {_apart(farthest):+.1f} %."
    figure = charts.figure(data, **axes, height=320, shapes=[zero])
    return Chart(key="misses", title="Distance from the law", sentence=said, figure=figure)


def _flops(run: Facts) -> float:
    return 6 * _size(run) * _tokens(run)


def _size(run: Facts) -> float:
    return float(run["parameters"])


def _tokens(run: Facts) -> float:
    return float(run["tokens"])


def _loss(run: Facts) -> float:
    return float(run["loss"])


def _apart(run: Facts) -> float:
    return float(100 * (run["loss"] / run["expected"] - 1))


def _dots(
    runs: Sequence[Facts], x: Callable[[Facts], float], y: Callable[[Facts], float], *, name: str, marker: dict[str, Any]
) -> dict[str, Any]:
    """One mark a run, with what is known of it under the pointer."""
    told = [f"{charts.text(run['where'])}<br>{_pair(run)}<br>loss {run['loss']:.3f}, law {run['expected']:.3f}" for run in runs]
    marks = {"size": 7, "line": {"color": PAPER, "width": 0.5}, **marker}
    places = {"x": [x(run) for run in runs], "y": [y(run) for run in runs]}
    return {"type": "scatter", "mode": "markers", "name": name, **places, "marker": marks, "text": told, "hovertemplate": _HOVER}


def _aside(runs: Sequence[Facts], x: Callable[[Facts], float], y: Callable[[Facts], float]) -> Iterator[dict[str, Any]]:
    """The runs that were left out, where there are some."""
    if runs:
        yield _dots(runs, x, y, name="left out", marker={"color": MUTED, "symbol": "x"})


def _pair(run: Facts) -> str:
    return f"{quantity(run['parameters'])} parameters, {quantity(run['tokens'])} tokens"


def _shade(runs: Sequence[Facts]) -> dict[str, Any]:
    """A colour by size, and a scale that names sizes."""
    sizes = [math.log10(_size(run)) for run in runs]
    ticks = [place for whole in range(16) for place in (whole, whole + math.log10(3)) if min(sizes) <= place <= max(sizes)]
    quiet = {"thickness": 10, "outlinewidth": 0, "tickfont": {"color": MUTED, "size": 12}}
    title = {"text": "parameters", "font": {"size": 12, "color": MUTED}}
    scale = {"title": title, "tickvals": ticks, "ticktext": [quantity(10**tick) for tick in ticks], **quiet}
    return {"color": sizes, "colorscale": [[0, THIRD], [1, SECOND]], "showscale": True, "colorbar": scale}


def _stroke(plans: Sequence[Facts], name: str, dash: str) -> dict[str, Any]:
    told = [f"{power(plan['flops'])} FLOPs<br>{_pair(plan)}<br>loss {words.figure(plan['loss'])}" for plan in plans]
    places = {"x": [plan["flops"] for plan in plans], "y": [plan["loss"] for plan in plans], "text": told, "hovertemplate": _HOVER}
    return {"type": "scatter", "mode": "lines", "name": name, "line": {"color": FIRST, "width": 3, "dash": dash}, **places}


def _band(plans: Sequence[Facts]) -> Iterator[dict[str, Any]]:
    """The interval of the curve, where it has one."""
    known = [(plan["flops"], *plan["intervals"]["loss"]) for plan in plans if plan["intervals"]["loss"]]
    if known:
        x, low, high = zip(*known, strict=True)
        places = {"x": [*x, *reversed(x)], "y": [*high, *reversed(low)], "fill": "toself", "fillcolor": FAINT, "opacity": 0.5}
        yield {"type": "scatter", "mode": "lines", "name": "95 % interval", "line": {"width": 0}, "hoverinfo": "skip", **places}


def _equal(surface: Facts, highest: float) -> dict[str, Any]:
    """About ten lines of equal loss, at round steps, up to the highest of the runs."""
    low = min(map(min, surface["loss"]))
    raw = max(highest - low, 1e-6) / _LINES
    digit = 10 ** math.floor(math.log10(raw))
    step = next(digit * each for each in (1, 2, 5, 10) if digit * each >= raw)
    levels = {"start": math.ceil(low / step) * step, "end": highest, "size": step}
    look = {"coloring": "lines", "showlabels": True, "labelfont": {"size": 11, "color": MUTED}}
    places = {"x": surface["parameters"], "y": surface["tokens"], "z": surface["loss"], "hoverinfo": "skip", "showscale": False}
    colours = {"colorscale": [[0, MUTED], [1, MUTED]], "line": {"width": 1}}
    return {"type": "contour", "name": "equal loss", "showlegend": False, "contours": levels | look, **colours, **places}
