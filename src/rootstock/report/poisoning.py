"""What a scan for poisoned rows found, as a page of its own."""

from typing import Any

from rootstock.report import charts, poisoning_text, words
from rootstock.report.charts import FIRST, MUTED, SECOND, Chart, Table
from rootstock.report.facts import Facts
from rootstock.report.page import filled

_ROWS = 200
_HEAD = ("group", "label", "rows", "with the label", "expected by meaning", "z", "errors above meaning", "decided", "suspects")


def render(facts: Facts) -> str:
    """The page. facts: what the scan found."""
    listed = facts["suspects"]
    return filled(
        "poisoning.html.j2",
        {
            "file": facts["file"],
            "verdict": facts["verdict"],
            "rows": facts["rows"],
            "suspects": len(listed),
            "notes": facts["notes"],
            "sentences": [poisoning_text.sentence(each) for each in facts["findings"]],
            "findings": Table(_HEAD, [_finding(each) for each in facts["findings"]], words=2) if facts["findings"] else None,
            "counts": _counts(facts) if facts["findings"] else None,
            "table": Table(("row", "label", "score", "why", "text"), [_row(each) for each in listed[:_ROWS]], words=5) if listed else None,
            "unshown": max(len(listed) - _ROWS, 0),
            "about": _about(facts),
        },
    )


def _finding(found: Facts) -> tuple[str, ...]:
    counts = (words.count(found["rows"]), words.count(found["with_label"]), f"{found['expected']:.1f}")
    sure = (f"{found['z']:.1f}", f"{found['surprise']:.1f}", f"{found['forced']:.0%}", words.count(found["suspects"]))
    return (f"{found['kind']}: {found['name']}", found["label"], *counts, *sure)


def _row(found: Facts) -> tuple[str, ...]:
    return str(found["row"]), found["label"], f"{found['score']:.2f}", found["why"], found["text"]


def _counts(facts: Facts) -> Chart:
    """Rows with the label beside those that meaning expects, a bar each."""
    found = facts["findings"][::-1]
    places = list(range(len(found)))
    bars = [
        {"type": "bar", "orientation": "h", "y": places, "x": values, "name": name, "marker": {"color": colour}}
        for name, values, colour in (
            ("expected by meaning", [each["expected"] for each in found], MUTED if len(found) > 1 else FIRST),
            ("with the label", [each["with_label"] for each in found], SECOND),
        )
    ]
    names = [f"{each['name']} → {each['label']}" for each in found]
    return Chart(
        key="counts",
        title="Rows with the label, and rows that would have it",
        sentence="Other words explain a word that means something, but not one that decides labels against the meaning of their texts.",
        figure=charts.figure(
            bars, x=charts.axis("rows"), y=charts.named(names), height=120 + 46 * len(found), barmode="group", showlegend=True
        ),
    )


def _about(facts: Facts) -> list[tuple[str, Any]]:
    meaning = facts["meaning"]
    told = "unknown" if meaning["loss"] is None else f"{meaning['loss']:.3f} nats a label out of sight, guessing {meaning['guessing']:.3f}"
    return [
        ("file", facts["file"]),
        ("sha256", facts["sha256"]),
        ("base", facts["base"]),
        ("groups of rows", f"{facts['groups']:,}, {facts['tested']:,} of them tested"),
        ("meaning", told),
    ]
