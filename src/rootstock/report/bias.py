"""What a scan for bias measured, as a page of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

from rootstock.report import bias_text, charts
from rootstock.report.bias_text import figure, ordered, told
from rootstock.report.charts import FIRST, MUTED, SECOND, Chart, Table
from rootstock.report.facts import Facts
from rootstock.report.page import filled
from rootstock.report.words import short

_HEAD = ("first", "second", "class", "texts", "gap, first minus second", "p (Holm)", "moved", "flips", "verdict")
_MOST = 30
"""Gaps that the chart draws."""


def render(found: Facts) -> str:
    """The page. found: what a scan for bias measured."""
    classifier = found["kind"] == "classifier"
    about = [("model", found["model"]), ("sha256 of the weights", str(found["weights_sha256"])), ("seed", str(found["seed"]))]
    return filled(
        "bias.html.j2",
        {
            "model": found["model"],
            "kind": found["kind"],
            "verdict": found["verdict"],
            "gaps": _gaps(found) if classifier and found["tests"] else None,
            "tables": [_table(table) for table in found["tables"]] if classifier else [],
            "sets": [] if classifier else [_set(held) for held in found["sets"]],
            "preferences": None if classifier else _preferences(found),
            "caveats": list(bias_text.CAVEATS) if classifier else [],
            "terms": found.get("terms", []),
            "about": [*about, *(("data", place) for place in found["data"])],
        },
    )


def _gaps(found: Facts) -> Chart:
    """The largest gaps with their intervals, and the floor on both sides."""
    every = sorted(bias_text.gaps(found), key=lambda each: -abs(each[2]["value"]))[:_MOST][::-1]
    names = [
        f"{table['attribute']} ({table['source']}): {pair['first']} − {pair['second']}, {short(gap['label'], 16)}"
        for table, pair, gap in every
    ]
    colours = [SECOND if gap["verdict"] == "shown" else FIRST for _, _, gap in every]
    return Chart(
        key="gaps",
        title="The largest gaps",
        sentence="How much higher the probability is for the first group, all else equal. Bars are 95 % intervals, dotted lines the floor "
        f"of {found['floor']:g}; dots of the second colour are shown after the correction for {found['tests']:,} tests.",
        figure=charts.figure(
            [_dots([gap for _, _, gap in every], colours)],
            x=charts.axis("gap of probability"),
            y=charts.named(names),
            height=140 + 26 * len(every),
            shapes=[_line(-found["floor"]), _line(found["floor"])],
        ),
    )


def _line(x: float) -> dict[str, Any]:
    return {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": MUTED, "dash": "dot", "width": 1}}


def _table(table: Facts) -> dict[str, Any]:
    rows = [
        (
            pair["first"],
            pair["second"],
            gap["label"],
            f"{gap['units']:,}",
            told(gap),
            f"{gap['p_holm']:.3f}",
            figure(pair["moved"]),
            figure(pair["flips"]),
            gap["verdict"],
        )
        for pair, gap in ordered(table)
    ]
    examples = [
        f"p({each['label']}) {each['probabilities'][0]:.3f}: {each['texts'][0]} — {each['probabilities'][1]:.3f}: {each['texts'][1]}"
        for pair, gap in ordered(table)[:3]
        for each in pair["examples"][:1]
    ]
    apart = [
        f"Kept apart: {held['rows']:,} {bias_text.REASONS[held['reason']]}: moved {figure(held['moved'])}, flips {figure(held['flips'])}."
        for held in table["apart"]
    ]
    return {
        "title": f"{table['attribute'].capitalize()}, {'your rows' if table['source'] == 'rows' else 'templates'}",
        "about": bias_text.about(table),
        "cells": Table(_HEAD, rows, words=3) if rows else None,
        "examples": list(dict.fromkeys(examples)),
        "apart": apart,
    }


def _set(held: Facts) -> dict[str, Any]:
    return {
        "title": held["set"],
        "cells": Table(("", "items", "value and 95 % interval", "no preference"), bias_text.set_rows(held)),
        "caution": held["caution"],
        "notes": [
            *([f"{held['left_out']:,} items are longer than the model takes and were left out"] if held["left_out"] else []),
            *([f"{held['unknown']:.1%} of the tokens are unknown to the tokenizer"] if held["unknown"] > 0 else []),
            *held.get("notes", ()),
        ],
        "examples": [" — ".join(each["texts"]) for each in held["examples"]],
    }


def _preferences(found: Facts) -> Chart | None:
    rows = [
        (f"{held['set']}: {row.get('category') or row['name']}", row)
        for held in found["sets"]
        for row in [*held["figures"], *held["categories"]]
        if row["neutral"] == 0.5
    ][::-1]
    if not rows:
        return None
    return Chart(
        key="preferences",
        title="What the model prefers",
        sentence="The share of items in which the sentence with the stereotype (of Winogender: the female pronoun) is the likelier one. "
        "Bars are 95 % intervals; the dotted line is no preference.",
        figure=charts.figure(
            [_dots([row for _, row in rows], FIRST)],
            x=charts.axis("share", range=[0, 1.02]),
            y=charts.named([name for name, _ in rows]),
            height=140 + 26 * len(rows),
            shapes=[_line(0.5)],
        ),
    )


def _dots(figures: Sequence[Mapping[str, Any]], colour: str | list[str]) -> dict[str, Any]:
    """A dot for each figure, one above the other, with its interval."""
    values = [each["value"] for each in figures]
    bars = charts.whiskers(values, [each["interval"] for each in figures], color=MUTED, thickness=1.5)
    dots = {"type": "scatter", "mode": "markers", "x": values, "y": list(range(len(figures))), "error_x": bars}
    return {**dots, "marker": {"color": colour, "size": 9}}
