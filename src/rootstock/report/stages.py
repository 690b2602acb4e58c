"""Several stages as a page of their own: what each reached, what it was worth for the last, and where all of it came from."""

from typing import Any

from rootstock.report import charts, words
from rootstock.report import facts as read
from rootstock.report.card import markdown
from rootstock.report.charts import FIRST, MUTED, Chart, Table
from rootstock.report.facts import Facts, dig
from rootstock.report.page import filled


def render(facts: Facts) -> str:
    """The page. facts: the name, metrics with "stages" and "gains", and the manifests of all runs."""
    stages, gains = facts["metrics"]["stages"], facts["metrics"]["gains"]
    return filled(
        "stages.html.j2",
        {
            **_shown(facts),
            "runs": [(each["name"], f"stages/{each['name']}/report.html") for each in stages],
            "gain": _chart(gains) if gains else None,
        },
    )


def card(facts: Facts) -> str:
    """What is added to the last stage's card, as Markdown."""
    return markdown("stages.md.j2", _shown(facts))


def as_text(metrics: Facts) -> list[str]:
    """Stages and gains in lines of plain text."""
    lines = [f"{each['name']:<28}{_figure(each)}" for each in metrics["stages"]]
    return lines + [_sentence(each) for each in metrics["gains"]]


def _shown(facts: Facts) -> dict[str, Any]:
    stages, gains = facts["metrics"]["stages"], facts["metrics"]["gains"]
    first = stages[0]["base"]
    return {
        "name": facts["name"],
        "base": read.base_name(str(first.get("name") or first.get("reference"))),
        "verdict": str(facts["metrics"].get("verdict") or ""),
        "stages": _stages(stages),
        "sentences": [f"{_sentence(each)}." for each in gains],
        "gains": _gains(gains) if gains else None,
        "rows": gains[0]["rows"] if gains else 0,
        "lineage": _lineage(stages),
        "licence": first.get("licence") or "unknown: check before you share",
    }


def _stages(stages: list[Facts]) -> Table:
    rows = [
        (
            each["name"],
            each["task"],
            each["method"],
            words.count(each["rows"]["train"]),
            words.figure_name(each["figure"]),
            words.within(each["before"], each.get("before_interval"), "–"),
            words.figure(dig(each, "first", "value"), "–"),
            words.figure(each["after"], "–"),
            _between(each["interval"]),
            ", ".join(f"{name} {words.within(value, dig(each, 'baseline_intervals', name))}" for name, value in each["baselines"].items())
            or "–",
            words.span(each["seconds"]),
        )
        for each in stages
    ]
    head = ("stage", "task", "method", "rows", "figure", "before", "first look", "after", "95 % interval", "baselines", "time")
    return Table(head, rows, words=3)


def _gains(gains: list[Facts]) -> Table:
    rows = [
        (
            each["stage"],
            *(words.within(each[side], each.get(f"{side}_interval")) for side in ("before", "after")),
            f"{each['gain']:+.3f}",
            _signed(each["interval"]) + ("" if each["separable"] else ", not separable"),
        )
        for each in gains
    ]
    return Table(("stage", f"{words.figure_name(gains[0]['figure'])} without it", "with it", "gain", "95 % interval"), rows)


def _lineage(stages: list[Facts]) -> list[tuple[str, str, str, str]]:
    """Stage, what went in, its format or licence, and its digest."""
    found = []
    for each in stages:
        base = each["base"]
        found.append(
            (each["name"], f"base {read.base_name(str(base.get('name')))}", base.get("licence") or "licence unknown", base["sha256"])
        )
        found += [(each["name"], f"{side} rows ({name})", form, digest) for side, name, form, digest in read.sources({"manifest": each})]
    return found


def _figure(each: Facts) -> str:
    known = each["before"] is not None
    first = f"{each['before']:.4f}{_spaced(each.get('before_interval'))} → " if known else ""
    return (
        f"{each['figure'].replace('_', ' ')} {first}{each['after']:.4f} {_between(each['interval'])}" if each["after"] is not None else ""
    )


def _sentence(each: Facts) -> str:
    """What one stage was worth, in a sentence; where the rows can't tell, this is what it says."""
    what = "all stages before the last were" if each["stage"] == "all" else f"{each['stage']} was"
    gain = f"{each['gain']:+.3f} {each['figure'].replace('_', ' ')} ({_signed(each['interval'])})"
    if not each["separable"]:
        return f"whether {what} worth anything to the last is not separable with its {each['rows']:,} validation rows: {gain}"
    harm = "" if (each["gain"] < 0) == each["less_is_better"] else ": it did harm"
    return f"{what} worth {gain} to the last stage{harm}"


def _spaced(interval: Any) -> str:
    return f" {_between(interval)}" if interval else ""


def _between(interval: Any) -> str:
    return f"[{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "–"


def _signed(interval: Any) -> str:
    return f"{interval[0]:+.3f} to {interval[1]:+.3f}"


def _chart(gains: list[Facts]) -> Chart:
    """The gain of each stage with its interval."""
    places = {"x": [each["gain"] for each in gains], "y": list(range(len(gains)))}
    dots = {
        "type": "scatter",
        "mode": "markers",
        "marker": {"color": FIRST, "size": 10},
        "error_x": charts.whiskers(places["x"], [each["interval"] for each in gains]),
        "showlegend": False,
        **places,
    }
    zero = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": 0, "x1": 0, "line": {"color": MUTED, "width": 1}}
    title = f"gain in {gains[0]['figure'].replace('_', ' ')} of the last stage"
    names = charts.named([each["stage"] for each in gains], autorange="reversed")
    figure = charts.figure([dots], x=charts.axis(title), y=names, shapes=[zero], height=140 + 50 * len(gains))
    told = sum(each["separable"] for each in gains)
    said = f"{told} of {words.several(len(gains), 'gain')} {'has' if told == 1 else 'have'} an interval that leaves zero out."
    return Chart(key="gains", title="What each stage was worth for the last", sentence=said, figure=figure)
