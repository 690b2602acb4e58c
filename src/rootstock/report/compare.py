"""A comparison of objectives as a page of its own: what each got, what it was worth, and how that changes with the rows."""

from collections.abc import Sequence
from typing import Any

from rootstock.report import charts, words
from rootstock.report.charts import FIRST, INK, MUTED, SECOND, THIRD, Chart, Table
from rootstock.report.compare_text import baseline, by_chance, gains, mean, overlap, rows_of, signed, spent, uneven, verdicts
from rootstock.report.facts import Facts, dig
from rootstock.report.page import filled

_COLOURS = (FIRST, SECOND, THIRD, INK, MUTED)
_MARKS = ("circle", "square", "diamond")
_LOG_ROWS = {"type": "log", "tickmode": "array"}


def render(facts: Facts) -> str:
    """The page. facts: the content of compare.json."""
    return filled(
        "compare.html.j2",
        {
            "corpora": facts["corpora"],
            "spent": spent(facts),
            "formula": facts["budget"]["formula"],
            "meaning": facts["budget"]["meaning"],
            "verdicts": verdicts(facts),
            "chance": by_chance(facts).capitalize(),
            "seeds": facts["seeds"],
            "rates": ", ".join(f"{rate:g}" for rate in facts["rates"]),
            "objectives": _objectives(facts),
            "costs": _costs(facts),
            "uneven": uneven(facts),
            "capped": [name for name, held in facts["objectives"].items() if held["capped"]],
            "tasks": [_task(facts, name) for name in facts["tasks"]],
            "charts": [chart for name in facts["tasks"] for chart in (_gained(facts, name), _curves(facts, name))],
            "runs": [(name, held["run"]) for name, held in facts["objectives"].items()],
        },
    )


def _objectives(facts: Facts) -> Table:
    head = ("objective", "architecture", "tokens", "passes", "FLOPs", "time", "loss", "accuracy")
    rows = [
        (
            name,
            held["architecture"],
            words.count(held["tokens"]),
            f"{held['passes']:.1f}",
            f"{held['flops']:.2e}",
            words.span(held["seconds"]),
            words.figure(held["loss"]),
            words.figure(held["accuracy"]),
        )
        for name, held in facts["objectives"].items()
    ]
    return Table(head, rows, words=2)


def _costs(facts: Facts) -> Table:
    head = ("objective", "N_body", "N_decoder", "N_output", "g", "FLOPs a token")
    rows = [
        (
            name,
            *(words.count(held[key]) for key in ("body", "decoder", "output")),
            f"{held['guessed']:.3f}",
            f"{held['flops_per_token']:.3g}",
        )
        for name, held in facts["objectives"].items()
    ]
    return Table(head, rows)


def _task(facts: Facts, name: str) -> dict[str, Any]:
    """A table of one task; its charts are named by their keys."""
    rows = []
    for each in gains(facts, name):
        beside = baseline(facts, each)
        figures = (words.within(mean(each[side]), dig(each, "intervals", side)) for side in ("pretrained", "scratch"))
        tfidf = words.within(beside.get("tfidf"), baseline(facts, each, "baseline_intervals").get("tfidf"))
        rows.append((each["objective"], rows_of(each), *figures, *signed(each), tfidf))
    head = ("objective", "rows", "pre-trained", "from scratch", "gain", "95 % interval", "TF-IDF")
    figure = words.figure_name(gains(facts, name)[0]["figure"])
    held, seeds = facts["tasks"][name]["test_rows"], words.several(facts["seeds"], "seed")
    about = f"{figure} on {held:,} test rows that no adaptation saw, means of {seeds}. {overlap(facts, name)}."
    return {"name": name, "about": about, "table": Table(head, rows), "keys": (f"gain-{name}", f"curve-{name}")}


def _style(facts: Facts, objective: str) -> dict[str, Any]:
    place = list(facts["objectives"]).index(objective)
    return {"color": _COLOURS[place % len(_COLOURS)], "symbol": _MARKS[place // len(_COLOURS) % len(_MARKS)]}


def _of(facts: Facts, task: str, objective: str) -> list[Facts]:
    return sorted((each for each in gains(facts, task) if each["objective"] == objective), key=lambda each: each["rows"])


def _gained(facts: Facts, task: str) -> Chart:
    """The gain of each objective over rows, with its interval; marks stand a little apart so that none hides another."""
    data, count = [], len(facts["objectives"])
    for place, objective in enumerate(facts["objectives"]):
        held = _of(facts, task, objective)
        shift = 1.04 ** (place - (count - 1) / 2)
        values = [each["gain"] for each in held]
        whiskers = charts.whiskers(values, [each["interval"] for each in held], thickness=1.5)
        marks = _style(facts, objective) | {"size": 9}
        dots = {"type": "scatter", "mode": "markers", "name": objective, "marker": marks, "error_y": whiskers}
        data.append(dots | {"x": [each["rows"] * shift for each in held], "y": values})
    zero = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 0, "y1": 0, "line": {"color": MUTED, "width": 1}}
    figure = charts.figure(data, x=_rows_axis(facts, task), y=charts.axis("gain over the same architecture from scratch"), shapes=[zero])
    told = [each for each in gains(facts, task) if each["separable"]]
    said = f"{len(told)} of {len(gains(facts, task))} gains have an interval that leaves zero out."
    return Chart(key=f"gain-{task}", title=f"{task}: what pre-training was worth", sentence=said, figure=figure)


def _curves(facts: Facts, task: str) -> Chart:
    """Learning curves: the figure over labelled rows, pre-trained and from scratch."""
    data = []
    for objective in facts["objectives"]:
        held, style = _of(facts, task, objective), _style(facts, objective)
        for side, dash, shown in (("pretrained", "solid", True), ("scratch", "dot", False)):
            name = objective if shown else f"{objective}'s architecture from scratch"
            line = {"color": style["color"], "dash": dash, "width": 2.5 if shown else 1.5}
            places = {"x": [each["rows"] for each in held], "y": [mean(each[side]) for each in held]}
            trace = {"type": "scatter", "mode": "lines+markers", "name": name, "showlegend": shown, "line": line, **places}
            data.append(trace | {"marker": style | {"size": 7 if shown else 4}})
    data.append(_linear(facts, task))
    figure = charts.figure(data, x=_rows_axis(facts, task), y=charts.axis(words.figure_name(gains(facts, task)[0]["figure"])), height=400)
    said = "Solid: pre-trained; dotted in the same colour: the same architecture from scratch; grey: TF-IDF and a linear model."
    return Chart(key=f"curve-{task}", title=f"{task}: learning curves", sentence=said, figure=figure)


def _linear(facts: Facts, task: str) -> dict[str, Any]:
    places = sorted((each for each in facts["ahead"] if each["task"] == task), key=lambda each: each["rows"])
    values: Sequence[Any] = [baseline(facts, each).get("tfidf") for each in places]
    line = {"color": MUTED, "dash": "dash", "width": 1}
    return {"type": "scatter", "mode": "lines", "name": "TF-IDF", "line": line, "x": [each["rows"] for each in places], "y": values}


def _rows_axis(facts: Facts, task: str) -> dict[str, Any]:
    rows = sorted({each["rows"] for each in gains(facts, task)})
    return charts.axis("labelled rows", tickvals=rows, ticktext=[f"{count:,}" for count in rows], **_LOG_ROWS)
