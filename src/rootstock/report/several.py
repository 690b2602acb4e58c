"""Card and page of a run on several tasks: its parts side by side. Each part's own card and page hold the rest."""

import shlex
from typing import Any

from rootstock.report import card as cards
from rootstock.report import charts, costs, words
from rootstock.report import facts as read
from rootstock.report.charts import FIRST, INK, MUTED, SECOND, THIRD, Chart, Table
from rootstock.report.curves import line
from rootstock.report.facts import Facts, dig, events
from rootstock.report.page import filled

_COLOURS = (FIRST, SECOND, THIRD, INK, MUTED)


def page(facts: Facts) -> str:
    """The page as HTML."""
    return filled("several.html.j2", {**_shown(facts), "curves": [chart for chart in (_curve(facts),) if chart]})


def card(facts: Facts) -> str:
    """The card as Markdown with YAML front matter."""
    base = dig(facts, "manifest", "base", default={})
    front = {
        "license": (base.get("licence") or "unknown").lower(),
        **({"base_model": base["hub_id"]} if base.get("hub_id") else {}),
        "library_name": "peft" if facts["saves"] == "adapter" else "transformers",
        "tags": ["rootstock", "multi-task"],
    }
    return cards.written("several.md.j2", front, _shown(facts))


def _shown(facts: Facts) -> dict[str, Any]:
    name = read.name(facts)
    return {
        "name": name,
        "path": shlex.quote(name),
        "base": read.base_name(str(dig(facts, "manifest", "base", "name", default=""))),
        "method": dig(facts, "manifest", "method", default=""),
        "verdict": str(dig(facts, "metrics", "verdict", default="")),
        "parts": list(dig(facts, "metrics", "parts", default={})),
        "verdicts": [(part, str(each["verdict"]).rstrip(".")) for part, each in facts["metrics"]["parts"].items()],
        "table": _table(facts),
        "heads": dig(facts, "heads", default={}),
        "adapter": facts["saves"] == "adapter",
        "whole": facts["whole"],
        "sources": read.sources(facts),
        **costs.making(facts),
    }


def _table(facts: Facts) -> Table:
    """Each part: its task, rows, share and headline figure."""
    rows = []
    for part, found in facts["metrics"]["parts"].items():
        figure = next(iter(found.get("headline") or found["intervals"]), next(iter(found["metrics"]), ""))
        ends = found.get("baseline_intervals", {})
        rivals = {words.within(each[figure], dig(ends, name, figure)) for name, each in found["baselines"].items() if figure in each}
        rows.append(
            (
                part,
                str(dig(facts, "recipe", "task", "parts", part, "task", "name", default="")),
                words.figure_name(figure),
                words.count(dig(facts, "rows", part, "train", default=0)),
                words.percent(dig(facts, "shares", part, default=0.0)),
                words.figure(found["metrics"].get(figure)),
                words.between(found["intervals"].get(figure, []), " – "),
                ", ".join(sorted(rivals)),
            )
        )
    return Table(("part", "task", "figure", "rows", "share", "reached", "95 % interval", "baselines"), rows, words=3)


def _curve(facts: Facts) -> Chart | None:
    """What decided, part by part, at each evaluation."""
    held = events(facts, "evaluation")
    if not held:
        return None
    data = []
    for place, (part, found) in enumerate(facts["metrics"]["parts"].items()):
        key, colour = f"{part}/{found['best_by'][0]}", _COLOURS[place % len(_COLOURS)]
        known = [event for event in held if words.is_number(event.get(key))]
        look: dict[str, Any] = {"mode": "lines+markers", "line": {"color": colour}, "marker": {"color": colour, "size": 7}}
        data.append(line(known, [event[key] for event in known], name=f"{part}: {words.figure_name(found['best_by'][0])}", **look))
    figure = charts.figure(data, x=charts.axis("step"), y=charts.axis("on the validation rows"), height=400)
    said = f"The mean over parts decides; the model that was kept is that of step {facts['metrics']['best_step']:,}."
    return Chart(key="parts", title="What decides, part by part", sentence=said, figure=figure)
