"""A comparison of methods as a page of its own: quality against what it costs, how sure the differences are, curves, classes."""

from collections.abc import Iterator, Mapping
from typing import Any

from rootstock.report import arms_text, charts, words
from rootstock.report.charts import FIRST, INK, MUTED, SECOND, THIRD, Chart, Table
from rootstock.report.facts import Facts
from rootstock.report.page import filled

_COLOURS = (FIRST, SECOND, THIRD, INK, MUTED)
_MARKS = ("circle", "square", "diamond", "triangle-up", "cross")
_COSTS = (
    ("seconds", "time", "seconds of a training", 1.0),
    ("peak_bytes", "memory", "peak memory, MB", 1e-6),
    ("artifact_bytes", "size", "what is left behind, MB", 1e-6),
)
_MOST_CLASSES = 30
_LEARNED = {"tfidf": "TF-IDF", "pixels": "thumbnails"}
"""Baselines that learn from the rows, so that they have a curve."""


def render(facts: Facts) -> str:
    """The page. facts: the content of compare.json."""
    first, several = facts["points"][0], len(facts["points"]) > 1
    return filled(
        "arms.html.j2",
        {
            "file": facts["file"],
            "about": arms_text.about(facts),
            "verdicts": [_sentence(arms_text.verdict(facts, point)) for point in facts["points"]],
            "notes": arms_text.notes(facts),
            "halving": facts["halving"],
            "seeds": facts["seeds"],
            "spent": words.span(facts["seconds"]),
            "tables": [_table(facts, point) for point in facts["points"]],
            "states": list(_states(facts)),
            "costs": [chart for cost in _COSTS if (chart := _cost(facts, first, cost))],
            "apart": _apart(facts, first),
            "curve": _curve(facts) if several else None,
            "training": _training(facts, first),
            "classes": _classes(first),
            "by_class": _by_class(facts, first),
            "images": facts["task"] == "image-classification",
            "settings": _settings(facts),
            "kept": facts["kept"],
        },
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _table(facts: Facts, point: Facts) -> dict[str, Any]:
    head = ("arm", "seeds", words.figure_name(facts["figure"]), *arms_text.HEAD[3:-1], "front")
    rows = [(*arms_text.cells(facts, point, each)[:-1], "yes" if each["front"] else "") for each in point["arms"]]
    return {"title": f"{arms_text.rows_of(point)} to learn from", "table": Table(head, rows), "beside": arms_text.baselines(point)}


def _states(facts: Facts) -> Iterator[tuple[str, str]]:
    for point in facts["points"]:
        for each in point["arms"]:
            if told := arms_text.state(facts, each):
                yield f"{each['arm']}, {arms_text.rows_of(point)}", told


def _style(facts: Facts, arm: str) -> dict[str, Any]:
    place = [each["name"] for each in facts["arms"]].index(arm)
    return {"color": _COLOURS[place % len(_COLOURS)], "symbol": _MARKS[place // len(_COLOURS) % len(_MARKS)]}


def _whiskers(figures: list[Facts], **look: Any) -> dict[str, Any]:
    return charts.whiskers([each["value"] for each in figures], [each["interval"] for each in figures], thickness=1.5, **look)


def _measured(point: Facts) -> list[Facts]:
    return [each for each in point["arms"] if each["test"]]


def _cost(facts: Facts, point: Facts, cost: tuple[str, str, str, float]) -> Chart | None:
    """Quality against a cost; the line joins the arms than which none is both better and cheaper, of those that learned to an end."""
    held, (key, name, title, unit) = _measured(point), cost
    if not held:
        return None
    part = [each["arm"] for each in held if not arms_text.whole(each)]
    on = _front([each for each in held if each["arm"] not in part], key, less=facts["less_is_better"])
    places = {each["arm"]: unit * each[key] for each in held}
    line = {"type": "scatter", "mode": "lines", "name": "front", "line": {"color": MUTED, "width": 1, "dash": "dot"}, "hoverinfo": "skip"}
    data = [line | {"x": [places[each["arm"]] for each in on], "y": [each["test"]["value"] for each in on]}]
    for each in held:
        dot = {"type": "scatter", "mode": "markers", "name": each["arm"], "x": [places[each["arm"]]], "y": [each["test"]["value"]]}
        data.append(dot | {"marker": _style(facts, each["arm"]) | {"size": 11}, "error_y": _whiskers([each["test"]])})
    wide = max(places.values()) > 8 * max(min(places.values()), 1e-9)
    scale = {"type": "log", "dtick": 1} if wide else {"rangemode": "tozero"}
    figure = charts.figure(data, x=charts.axis(title, **scale), y=charts.axis(words.figure_name(facts["figure"])), height=380)
    said = f"On the front: {', '.join(each['arm'] for each in on)}. No other arm is at least as good and costs less."
    said += f" Failed, or ended while they learned, and so on none: {', '.join(part)}." if part else ""
    rows = [(each["arm"], words.figure(each["test"]["value"]), f"{places[each['arm']]:,.1f}") for each in held]
    table = Table(("arm", words.figure_name(facts["figure"]), title), rows)
    return Chart(key=f"cost-{name}", title=f"Quality against {name}", sentence=said, figure=figure, table=table)


def _front(held: list[Facts], key: str, *, less: bool) -> list[Facts]:
    """Arms than which none is at least as good and as cheap, and better in one; the cheapest first."""
    sign, found = -1 if less else 1, list[Facts]()
    for each in sorted(held, key=lambda each: (each[key], -sign * each["test"]["value"])):
        if not found or sign * each["test"]["value"] > sign * found[-1]["test"]["value"]:
            found.append(each)
    return found


def _apart(facts: Facts, point: Facts) -> Chart | None:
    """Each arm's difference from the winner, with its interval."""
    held = [each for each in point["arms"] if each["against"]]
    if not held:
        return None
    values = [{"value": each["against"]["difference"], "interval": each["against"]["interval"]} for each in held][::-1]
    names = [each["arm"] for each in held][::-1]
    marks = {"color": [FIRST if each["against"]["separable"] else MUTED for each in held][::-1], "size": 10}
    dots = {"type": "scatter", "mode": "markers", "marker": marks, "error_x": _whiskers(values, color=MUTED), "showlegend": False}
    data = [dots | {"x": [each["value"] for each in values], "y": list(range(len(names))), "text": names, "hoverinfo": "x+text"}]
    zero = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": 0, "x1": 0, "line": {"color": MUTED, "width": 1}}
    called = words.figure_name(facts["figure"])
    height = 130 + 44 * len(names)
    y = charts.named(names) | {"range": [-0.6, len(names) - 0.4]}
    figure = charts.figure(data, x=charts.axis(f"{called} minus that of {point['winner']}"), y=y, height=height, shapes=[zero])
    count = sum(each["against"]["separable"] for each in held)
    said = f"{count} of {len(held)} differences from {point['winner']} are real after Holm's correction: the coloured ones. "
    said += "Each interval is of one difference alone."
    return Chart(key="apart", title="How far from the winner", sentence=said, figure=figure)


def _curve(facts: Facts) -> Chart:
    """The figure over labelled rows, each arm a line."""
    data, points = [], facts["points"][::-1]
    for arm in facts["arms"]:
        held = [(point["rows"], each["test"]) for point in points for each in _measured(point) if each["arm"] == arm["name"]]
        style = _style(facts, arm["name"])
        line = {"type": "scatter", "mode": "lines+markers", "name": arm["name"], "line": {"color": style["color"], "width": 2}}
        places = {"x": [rows for rows, _ in held], "y": [test["value"] for _, test in held]}
        data.append(line | places | {"marker": style | {"size": 8}, "error_y": _whiskers([test for _, test in held])})
    rival = {"type": "scatter", "mode": "lines", "line": {"color": MUTED, "dash": "dash", "width": 1}}
    for name, called in _LEARNED.items():
        if all(name in point["baselines"] for point in points):
            places = {"x": [point["rows"] for point in points], "y": [point["baselines"][name] for point in points]}
            data.append(rival | places | {"name": called})
    rows = [point["rows"] for point in points]
    x = charts.axis("labelled rows", type="log", tickmode="array", tickvals=rows, ticktext=[f"{count:,}" for count in rows])
    figure = charts.figure(data, x=x, y=charts.axis(words.figure_name(facts["figure"])), height=420)
    said = "Of each seed the rows of a smaller point are among those of a larger one; intervals take in rows and seeds."
    return Chart(key="curve", title="With fewer labelled rows", sentence=said, figure=figure)


def _training(facts: Facts, point: Facts) -> Chart | None:
    """The figure on the validation rows while each arm learned, of its first seed."""
    held = [each for each in point["arms"] if len(each["trajectory"]) > 1]
    if not held:
        return None
    data = []
    for each in held:
        style, (shares, figures) = _style(facts, each["arm"]), zip(*each["trajectory"], strict=True)
        line = {"type": "scatter", "mode": "lines+markers", "name": each["arm"], "line": {"color": style["color"], "width": 2}}
        data.append(line | {"x": list(shares), "y": list(figures), "marker": style | {"size": 7}})
    x = charts.axis("share of the training", tickformat=".0%", range=[0, 1.04])
    figure = charts.figure(data, x=x, y=charts.axis(f"{words.figure_name(facts['figure'])}, validation rows"), height=360)
    said = "By each arm's own schedule, of its first seed. A line that ends early belongs to a training that was ended as beaten."
    return Chart(key="training", title="While they learned", sentence=said, figure=figure)


def _classes(point: Facts) -> dict[str, Any] | None:
    """F1 of each class under each arm, means over the seeds; of many classes those that arms differ in most."""
    held = [each for each in _measured(point) if each["per_class"]]
    if not held:
        return None
    by_arm = {each["arm"]: {row["label"]: row["f1"] for row in each["per_class"]} for each in held}
    ends = {each["arm"]: {row["label"]: row.get("intervals", {}).get("f1") for row in each["per_class"]} for each in held}
    labels, shown = list(_all_of(by_arm)), _shown(by_arm)
    support = {row["label"]: row["support"] for row in held[0]["per_class"]}
    rows = [
        (
            str(label),
            *(words.within(of_label.get(label), ends[arm].get(label)) for arm, of_label in by_arm.items()),
            words.count(support.get(label)),
        )
        for label in shown
    ]
    cut = f"The {len(shown)} of {len(labels)} classes in which they differ most. " if len(shown) < len(labels) else ""
    said = f"{cut}F1 of each class on the test rows, means over the seeds, with 95 % intervals."
    return {"said": said, "table": Table(("class", *by_arm, "test rows"), rows)}


def _all_of(by_arm: Mapping[str, Mapping[str, float]]) -> dict[str, None]:
    return dict.fromkeys(label for of_label in by_arm.values() for label in of_label)


def _shown(by_arm: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The classes; of many those that arms differ in most."""
    labels = list(_all_of(by_arm))
    return sorted(labels, key=lambda label: _width(by_arm, label), reverse=True)[:_MOST_CLASSES] if len(labels) > _MOST_CLASSES else labels


def _by_class(facts: Facts, point: Facts) -> Chart | None:
    """F1 of each class, a mark for each arm; the same classes as in the table."""
    rows = {each["arm"]: each["per_class"] for each in _measured(point) if each["per_class"]}
    by_arm = {arm: {row["label"]: row["f1"] for row in told} for arm, told in rows.items()}
    if not by_arm:
        return None
    names, data = _shown(by_arm)[::-1], []
    step = min(0.16, 0.7 / len(by_arm))
    for number, (arm, of_label) in enumerate(by_arm.items()):
        beside = step * ((len(by_arm) - 1) / 2 - number)
        places = [place for place, label in enumerate(names) if label in of_label]
        dots = {"type": "scatter", "mode": "markers", "name": arm, "marker": _style(facts, arm) | {"size": 9}, "hoverinfo": "x+name"}
        values = [of_label[names[place]] for place in places]
        ends = [next(row for row in rows[arm] if row["label"] == names[place]).get("intervals", {}).get("f1") for place in places]
        bars = {} if None in ends else {"error_x": charts.whiskers(values, ends, thickness=1.5, color=dots["marker"]["color"])}
        data.append(dots | bars | {"x": values, "y": [place + beside for place in places]})
    y = charts.named([str(label) for label in names]) | {"range": [-0.6, len(names) - 0.4]}
    height = 130 + max(26, round(150 * step * len(by_arm))) * len(names)
    figure = charts.figure(data, x=charts.axis("F1 on the test rows"), y=y, height=height)
    widest = max(names, key=lambda label: _width(by_arm, label))
    said = f"They lie furthest apart in {words.short(str(widest))}, by {_width(by_arm, widest):.3f}."
    return Chart(key="by-class", title="Each class", sentence=said, figure=figure)


def _width(by_arm: Mapping[str, Mapping[str, float]], label: str) -> float:
    found = [of_label[label] for of_label in by_arm.values() if label in of_label]
    return max(found) - min(found)


def _settings(facts: Facts) -> Table:
    keys = ("epochs", "rate", "batch_tokens", "weight_decay", "dropout")
    rows = []
    for arm in facts["arms"]:
        held = (arm["settings"] or {}).get("training", {})
        method = (arm["settings"] or {}).get("method", {"name": arm["method"]})
        own = ", ".join(f"{key}={words.plain(value)}" for key, value in method.items() if key != "name" and value not in (None, [], ()))
        counts = (words.count(arm["learning"]), words.count(arm["parameters"]))
        rows.append(
            (
                arm["name"],
                arm["base"],
                f"{method['name']}{f' ({own})' if own else ''}",
                *(words.plain(held.get(key)) for key in keys),
                *counts,
            )
        )
    return Table(("arm", "base", "method", *(key.replace("_", " ") for key in keys), "learn", "of parameters"), rows, words=3)
