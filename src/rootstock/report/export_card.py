"""README.md of an exported model, and the same in a few lines: what it was made of, and what was compared."""

from collections.abc import Iterator
from typing import Any

from rootstock.report import card, words
from rootstock.report.facts import Facts, dig


def render(facts: Facts) -> str:
    """The card as Markdown with YAML front matter."""
    hub_id = dig(facts, "contract", "base", "hub_id")
    front = {
        "license": facts["licence"],
        **({"base_model": hub_id, "base_model_relation": "merge" if len(facts["sources"]) > 1 else "finetune"} if hub_id else {}),
        "library_name": "transformers",
        "tags": ["rootstock", facts["sources"][0]["task"], *(["merge"] if len(facts["sources"]) > 1 else [])],
    }
    shown = {"several": len(facts["sources"]) > 1, "figures": list(_figures(facts)), "moved": _moved(facts)}
    return card.written("export.md.j2", front, {**facts, **shown})


def lines(facts: Facts) -> list[str]:
    """The same for a terminal."""
    told = [
        f"{name:<10}largest move of an answer {each['largest_move']:.2g} of their spread, on {each['rows']:,} rows"
        for name, each in _moved(facts)
    ]
    return told + [
        f"{name:<10}{figure} {alone} alone, {merged} merged{note}, on {rows:,} rows"
        for name, rows, figure, alone, merged, note in _figures(facts)
    ]


def _moved(facts: Facts) -> list[tuple[str, dict[str, Any]]]:
    """Each comparison of folded weights with the adapter, by the run's name."""
    own = [(facts["sources"][0]["name"], facts["compared"])] if facts.get("compared") else []
    return own + [(each["name"], each["compared"]) for each in facts["sources"] if each.get("compared")]


def _figures(facts: Facts) -> Iterator[tuple[str, int, str, str, str, str]]:
    """Each headline figure of each run that was measured: of the run alone and of the merged model, with intervals."""
    for each in facts["sources"]:
        held = each.get("measured")
        for name in held["merged"] if held else ():
            alone, merged = (_shown(held[kind][name]) for kind in ("alone", "merged"))
            yield each["name"], held["rows"], words.figure_name(name), alone, merged, " under its own head" if each.get("own_head") else ""


def _shown(found: list[float | None]) -> str:
    value, *between = found
    if value is None:
        return "–"
    return f"{value:.4f}" + (f" [{between[0]:.4f}, {between[1]:.4f}]" if between else "")
