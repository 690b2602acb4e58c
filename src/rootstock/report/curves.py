"""Training curves: the loss of every step, what the validation rows said on the way, and the learning rate."""

import math
from collections.abc import Sequence
from typing import Any

from rootstock.report import charts, words
from rootstock.report.charts import FAINT, FIRST, MUTED, SECOND, THIRD, Chart, Table
from rootstock.report.facts import Facts, dig, events, headline, strong_baseline

POINTS = 1500
"""Most points of one curve: more than a screen has columns, few enough to keep the page small."""
_WINDOWS, _FEWEST = 40, 3.0
_LINES = 60


def curves(facts: Facts) -> list[Chart]:
    """Loss with rate, validation figures, and how the rate was found; each only where there is one."""
    steps = [event for event in events(facts, "step") if words.is_number(event.get("loss"))]
    evaluations = events(facts, "evaluation")
    return [*([_loss(facts, steps, evaluations)] if steps else []), *_validation(facts, evaluations), *_range_test(facts)]


def smooth(values: Sequence[float]) -> list[float]:
    """A running mean over about a fortieth of the curve, three values at least; its start is not pulled towards zero."""
    keep = 1 - 1 / max(len(values) / _WINDOWS, _FEWEST)
    held, weight, found = 0.0, 0.0, []
    for value in values:
        held, weight = keep * held + (1 - keep) * value, keep * weight + (1 - keep)
        found.append(held / weight)
    return found


def thin(values: Sequence[float], most: int = POINTS) -> list[int]:
    """Which places to keep so that at most `most` are left: ends, and lowest and highest of each stretch, so that no spike is lost."""
    if len(values) <= most:
        return list(range(len(values)))
    stretches = max(most // 2 - 1, 1)
    kept = {0, len(values) - 1}
    for i in range(stretches):
        places = range(i * len(values) // stretches, (i + 1) * len(values) // stretches)
        kept |= {min(places, key=values.__getitem__), max(places, key=values.__getitem__)}
    return sorted(kept)[:most]


def line(steps: list[dict[str, Any]], values: Sequence[float], *, at: str = "step", **more: Any) -> dict[str, Any]:
    """A curve over what each event holds under `at`."""
    kept = thin(values)
    shown = {"type": "scatter", "mode": "lines", "x": [steps[i][at] for i in kept], "y": [values[i] for i in kept]}
    return shown | more


def _loss(facts: Facts, steps: list[dict[str, Any]], evaluations: list[dict[str, Any]]) -> Chart:
    losses = [float(event["loss"]) for event in steps]
    smoothed = smooth(losses)
    data = [
        line(steps, losses, name="each step", line={"color": FAINT, "width": 1}, hoverinfo="skip"),
        line(steps, smoothed, name="smoothed", line={"color": FIRST, "width": 2.5}),
    ]
    held = [event for event in evaluations if words.is_number(event.get("log_loss"))]
    if held and dig(facts, "kind") == "class":  # elsewhere the two losses have different units
        data.append(
            line(held, [event["log_loss"] for event in held], name="validation", mode="lines+markers", line={"color": SECOND, "width": 2})
        )
    rated = [event for event in steps if words.is_number(event.get("rate"))]
    if rated:
        data.append(
            line(
                rated,
                [event["rate"] for event in rated],
                name="learning rate",
                yaxis="y2",
                showlegend=False,
                line={"color": MUTED, "width": 1.5},
            )
        )
    figure = charts.figure(
        data,
        x=charts.axis("step", anchor="y2" if rated else "y"),
        y=charts.axis("loss", domain=[0.36, 1] if rated else [0, 1]),
        height=400,
        yaxis2=charts.axis("rate", domain=[0, 0.24], exponentformat="power", nticks=4, rangemode="tozero"),
    )
    lowest = min(range(len(losses)), key=smoothed.__getitem__)
    said = f"The smoothed training loss went from {smoothed[0]:.3f} to {smoothed[-1]:.3f} in {words.several(len(steps), 'step')}"
    said += f", lowest at step {steps[lowest]['step']:,} ({smoothed[lowest]:.3f})."
    if rated:
        said += f" The learning rate peaked at {max(event['rate'] for event in rated):.2g} and ended at {rated[-1]['rate']:.2g}."
    return Chart(key="loss", title="Loss and learning rate", sentence=said, figure=figure)


def _validation(facts: Facts, evaluations: list[dict[str, Any]]) -> list[Chart]:
    names = [name for name in headline(facts) if any(words.is_number(event.get(name)) for event in evaluations)]
    if not names:
        return []
    data = []
    for name, colour in zip(names[:3], (FIRST, SECOND, THIRD), strict=False):
        held = [event for event in evaluations if words.is_number(event.get(name))]
        marks = {"color": colour, "size": 7}
        data.append(
            line(
                held,
                [event[name] for event in held],
                name=words.figure_name(name),
                mode="lines+markers",
                line={"color": colour},
                marker=marks,
            )
        )
    best, first = dig(facts, "metrics", "best_step"), names[0]
    figure = charts.figure(data, x=charts.axis("step"), y=charts.axis("on the validation rows"), height=400, **_guides(facts, best, first))
    last = evaluations[-1].get(first)
    said = f"{words.several(len(evaluations), 'evaluation')}; {words.figure_name(first)} was {words.figure(last)} at the last one"
    said += f". The model that was kept is that of step {best:,}." if words.is_number(best) else "."
    rows = [tuple([words.count(event["step"]), *(words.figure(event.get(name)) for name in names)]) for event in picked(evaluations)]
    table = Table(("step", *map(words.figure_name, names)), rows)
    return [Chart(key="validation", title="Validation figures", sentence=said, figure=figure, table=table)]


def _guides(facts: Facts, best: Any, first: str) -> dict[str, Any]:
    """A line at the checkpoint that was kept, and one at what the stronger baseline reached."""
    shapes: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    small = {"showarrow": False, "font": {"size": 11, "color": MUTED}}
    if words.is_number(best):
        shapes.append(
            {"type": "line", "x0": best, "x1": best, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": MUTED, "dash": "dot", "width": 1}}
        )
        notes.append({"x": best, "y": 0, "yref": "paper", "yanchor": "bottom", "xanchor": "right", "text": "kept ", **small})
    called = strong_baseline(facts)
    rival = dig(facts, "metrics", "baselines", called, first)
    if words.is_number(rival):
        shapes.append(
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": rival,
                "y1": rival,
                "line": {"color": MUTED, "dash": "dash", "width": 1},
            }
        )
        notes.append(
            {
                "xref": "paper",
                "x": 0,
                "y": rival,
                "yanchor": "bottom",
                "xanchor": "left",
                "text": f" {charts.text(words.baseline_short(called))}, {charts.text(words.figure_name(first))}",
                **small,
            }
        )
    return {"shapes": shapes, "annotations": notes}


def _range_test(facts: Facts) -> list[Chart]:
    """The smoothed loss over the rates that were tried before the training."""
    found = dig(facts, "plan", "found", "rate")
    if not found:
        return []
    curve = {"type": "scatter", "mode": "lines", "x": found["rates"], "y": found["losses"], "line": {"color": FIRST, "width": 2.5}}
    marked = {"type": "line", "x0": found["rate"], "x1": found["rate"], "yref": "paper", "y0": 0, "y1": 1}
    note = {
        "x": math.log10(found["rate"]),
        "y": 1,
        "yref": "paper",
        "yanchor": "top",
        "xanchor": "right",
        "text": "chosen ",
        "showarrow": False,
    }
    figure = charts.figure(
        [curve],
        x=charts.axis("learning rate", type="log", exponentformat="power"),
        y=charts.axis("smoothed training loss"),
        height=400,
        shapes=[{**marked, "line": {"color": MUTED, "dash": "dot", "width": 1}}],
        annotations=[{**note, "font": {"size": 11, "color": MUTED}}],
    )
    return [Chart(key="range-test", title="How the learning rate was found", sentence=f"The rate is {found['reason']}.", figure=figure)]


def picked(evaluations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most sixty evaluations, evenly spread, with the last."""
    every = -(-len(evaluations) // _LINES)
    return [event for i, event in enumerate(evaluations) if i % every == 0 or i == len(evaluations) - 1]
