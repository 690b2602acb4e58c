"""Where the model is right and wrong: confusion, classes, calibration, and predicted against true numbers."""

from itertools import pairwise
from typing import Any

from rootstock.report import charts, words
from rootstock.report.charts import FIRST, MUTED, PAPER, SECOND, Chart, Table
from rootstock.report.facts import Facts, dig

NUMBERED = 20
"""Most classes whose cells still hold readable numbers."""
DRAWN = 120
"""Most classes of a heat map: a thousand would be a million cells in the page."""
WORST = 15
"""Confusions listed where the cells have no numbers."""
_DASHED = {"type": "scatter", "mode": "lines", "line": {"color": MUTED, "dash": "dash", "width": 1}}


def labels(facts: Facts) -> list[str]:
    """Class names in the order of the confusion matrix."""
    rows = dig(facts, "details", "per_class", default=[])
    return [str(row.get("label", i)) for i, row in enumerate(rows)] or [str(each) for each in dig(facts, "manifest", "labels", default=[])]


def per_class(facts: Facts) -> Table | None:
    """Precision, recall, F1 and rows of each class, with intervals in brackets."""
    rows = dig(facts, "details", "per_class", default=[])
    figures = ("precision", "recall", "f1")
    shown = [
        (
            str(row.get("label", "")),
            *(words.within(row.get(name), dig(row, "intervals", name)) for name in figures),
            words.count(row.get("support")),
        )
        for row in rows
    ]
    return Table(("class", "precision", "recall", "F1", "rows"), shown) if shown else None


def confusion(facts: Facts) -> list[Chart]:
    """The confusion matrix as counts and as shares of each true class."""
    counts, names = dig(facts, "details", "confusion", default=[]), labels(facts)
    if not counts or len(counts) != len(names):
        return []
    kept = _most_confused(counts)
    names = [names[i] for i in kept]
    cells = [[counts[i][j] for j in kept] for i in kept]
    shares = [[counts[i][j] / max(sum(counts[i]), 1) for j in kept] for i in kept]
    right, rows = sum(row[i] for i, row in enumerate(counts)), sum(map(sum, counts))
    said = f"Rows are the true classes, columns the answers. {right:,} of {rows:,} rows lie on the diagonal, where the answer is right."
    if len(kept) < len(counts):
        said += f" Drawn are the {len(kept)} of {len(counts):,} classes that were confused most often."
    table = _cells(names, cells) if len(names) <= NUMBERED else None
    return [
        Chart(key="confusion", title="Confusion, rows", sentence=said, figure=_heat(names, cells, cells), table=table),
        Chart(
            key="confusion-share",
            title="Confusion, % of each true class",
            sentence="The same, each row divided by its sum: the diagonal is each class's recall.",
            figure=_heat(names, shares, [[f"{100 * share:.0f}" for share in row] for row in shares]),
        ),
    ]


def confused(facts: Facts) -> Table | None:
    """The most frequent confusions, where the heat map can't show numbers."""
    counts, names = dig(facts, "details", "confusion", default=[]), labels(facts)
    if len(counts) <= NUMBERED or len(counts) != len(names):
        return None
    wrong = [(count, i, j) for i, row in enumerate(counts) for j, count in enumerate(row) if i != j and count]
    worst = sorted(wrong, key=lambda found: (-found[0], found[1], found[2]))[:WORST]
    rows = [(names[i], names[j], words.count(count), words.percent(count / max(sum(counts[i]), 1), 0)) for count, i, j in worst]
    return Table(("true class", "answered", "rows", "of the true class"), rows, words=2) if rows else None


def _most_confused(counts: list[list[int]]) -> list[int]:
    """Which classes to draw: all, or those with the most wrong rows on either side, in their own order."""
    if len(counts) <= DRAWN:
        return list(range(len(counts)))
    columns = [sum(column) for column in zip(*counts, strict=True)]
    wrong = [sum(row) + columns[i] - 2 * row[i] for i, row in enumerate(counts)]
    return sorted(sorted(range(len(counts)), key=lambda i: -wrong[i])[:DRAWN])


def _cells(names: list[str], cells: list[list[int]]) -> Table:
    return Table(("true ↓ answered →", *names), [(name, *map(words.count, row)) for name, row in zip(names, cells, strict=True)])


def _heat(names: list[str], values: list[Any], shown: list[Any]) -> charts.Figure:
    few = len(names) <= NUMBERED
    trace: dict[str, Any] = {
        "type": "heatmap",
        "z": values,
        "colorscale": [[0, "var(--cool)"], [1, FIRST]],
        "showscale": False,
        "xgap": 2 if few else 0,
        "ygap": 2 if few else 0,
        "hovertemplate": "true: %{y}<br>answered: %{x}<br>%{z}<extra></extra>",
    }
    if few:
        trace |= {"text": shown, "texttemplate": "%{text}", "textfont": {"size": 15 if len(names) <= 6 else 10}}
    longest, listed = max(len(words.short(name)) for name in names), len(names) <= 40
    level = listed and longest * len(names) <= 45
    dense = {"showticklabels": listed, "showgrid": False, "ticks": ""}
    across = charts.named(names, "answered", **dense, tickangle=0 if level else -60)
    height = min(180 + 34 * len(names), 560) + (6 * longest if listed and not level else 0)
    return charts.figure([trace], x=across, y=charts.named(names, "true", **dense, autorange="reversed"), height=height)


def calibration(facts: Facts) -> Chart | None:
    """How often the model is right when it is so and so sure."""
    bins = [each for each in dig(facts, "details", "calibration", default=[]) if each.get("count")]
    if not bins:
        return None
    diagonal = {"name": "perfectly calibrated", "x": [0, 1], "y": [0, 1], **_DASHED}
    most = max(each["count"] for each in bins)
    sizes = [8 + 18 * (each["count"] / most) ** 0.5 for each in bins]
    dots = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "this model",
        "x": [each["confidence"] for each in bins],
        "y": [each["accuracy"] for each in bins],
        "customdata": [each["count"] for each in bins],
        "hovertemplate": "sure: %{x:.2f}<br>right: %{y:.2f}<br>%{customdata} rows<extra></extra>",
        "line": {"color": FIRST},
        "marker": {"color": FIRST, "line": {"color": PAPER, "width": 1.5}, "size": sizes, "opacity": 1},
        **_whiskers(bins),
    }
    square = {"range": [0, 1.04], "dtick": 0.2}
    rows = [
        (*(words.within(each[name], dig(each, "intervals", name)) for name in ("confidence", "accuracy")), words.count(each["count"]))
        for each in bins
    ]
    return Chart(
        key="calibration",
        title="Calibration",
        sentence=_calibrated(facts, bins),
        figure=charts.figure(
            [diagonal, dots], x=charts.axis("confidence", **square), y=charts.axis("share that is right", **square), height=400
        ),
        table=Table(("confidence", "share that is right", "answers"), rows),
    )


def _whiskers(bins: list[dict[str, Any]]) -> dict[str, Any]:
    """The intervals of what is right, where all have one."""
    ends = [dig(each, "intervals", "accuracy") for each in bins]
    return {"error_y": charts.whiskers([each["accuracy"] for each in bins], ends)} if all(ends) else {}


def _calibrated(facts: Facts, bins: list[dict[str, Any]]) -> str:
    rows = sum(each["count"] for each in bins)
    sure, right = (sum(each[name] * each["count"] for each in bins) / rows for name in ("confidence", "accuracy"))
    error = dig(facts, "metrics", "metrics", "calibration_error")
    if not words.is_number(error):
        error = sum(abs(each["confidence"] - each["accuracy"]) * each["count"] for each in bins) / rows
    lean = "too sure of itself" if sure > right else "less sure than it could be"
    shown = words.within(error, dig(facts, "metrics", "intervals", "calibration_error"))
    said = f"Expected calibration error (ECE) {shown}: confidence misses the share of right answers by {100 * error:.1f} points. "
    said += f"Mean confidence is {sure:.3f} and {right:.3f} of the answers are right: on the whole the model is {lean}. "
    bars = " Bars are 95 % intervals." if _whiskers(bins) else ""
    return f"{said}Larger dots stand for more answers.{bars}"


def scatter(facts: Facts) -> Chart | None:
    """Predicted against true numbers."""
    points = [point for point in dig(facts, "details", "scatter", default=[]) if len(point) == 2 and all(map(words.is_number, point))]
    if not points:
        return None
    true, said = [point[0] for point in points], [point[1] for point in points]
    low, high = min(true + said), max(true + said)
    line = {"name": "predicted = true", "x": [low, high], "y": [low, high], **_DASHED}
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": true,
        "y": said,
        "name": "validation rows",
        "marker": {"color": FIRST, "size": 7, "opacity": 0.55},
    }
    above = sum(each > other for other, each in points) / len(points)
    rows = dig(facts, "metrics", "rows", default=len(points))
    shown = (
        words.several(len(points), "validation row")
        if rows <= len(points)
        else f"{len(points):,} of {rows:,} validation rows, evenly picked"
    )
    sentence = f"{shown}; {words.percent(above, 0)} of the predictions lie above the true number. "
    sentence += f"True numbers go from {words.between((min(true), max(true)))}, predictions from {words.between((min(said), max(said)))}."
    figure = charts.figure([line, dots], x=charts.axis("true"), y=charts.axis("predicted"), height=420)
    return Chart(key="scatter", title="Predicted against true", sentence=sentence, figure=figure)


def residuals(facts: Facts) -> Chart | None:
    """How far predictions lie from the truth."""
    edges, counts = (dig(facts, "details", "residuals", name, default=[]) for name in ("edges", "counts"))
    if len(edges) != len(counts) + 1 or not counts:
        return None
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    bars = {
        "type": "bar",
        "x": middles,
        "y": counts,
        "width": [0.94 * (high - low) for low, high in pairwise(edges)],
        "marker": {"color": FIRST},
    }
    zero = {"type": "line", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": SECOND, "width": 1.5}}
    figure = charts.figure([bars], x=charts.axis("predicted − true"), y=charts.axis("rows"), height=420, shapes=[zero])
    figures = dig(facts, "metrics", "metrics", default={})
    sentence = f"Predicted minus true goes from {words.between((edges[0], edges[-1]))}; a prediction misses by "
    mean, root = "mean_absolute_error", "root_mean_squared_error"
    ends = {name: words.between(dig(facts, "metrics", "intervals", name)) for name in (mean, root)}
    sentence += f"{words.figure(figures.get(mean))} on average{f' ({ends[mean]})' if ends[mean] else ''}, root mean square "
    sentence += f"{words.within(figures.get(root), dig(facts, 'metrics', 'intervals', root))}."
    rows = [(words.figure(low), words.figure(high), words.count(count)) for (low, high), count in zip(pairwise(edges), counts, strict=True)]
    return Chart(key="residuals", title="Residuals", sentence=sentence, figure=figure, table=Table(("from", "to", "rows"), rows))
