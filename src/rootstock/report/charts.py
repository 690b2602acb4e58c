"""Charts as plain data: a plotly figure, the sentence that says the same, and the table behind it.

Colours are written as var(--name); the page's script fills in what its style sheet holds, so one figure serves light and dark.
"""

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from rootstock.report.words import short

Figure = dict[str, Any]
INK, MUTED, RULE, PAPER = "var(--ink)", "var(--muted)", "var(--rule)", "var(--paper)"
FIRST, SECOND, THIRD, FAINT = "var(--first)", "var(--second)", "var(--third)", "var(--faint)"
_DIGITS = 6


@dataclass(frozen=True)
class Table:
    """Rows of text. words: leading columns that hold words; the others hold numbers and stand on the right."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: int = 1


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure with its text twin. key: its id in the page. table: the numbers that it draws, where they are few enough to read."""

    key: str
    title: str
    sentence: str
    figure: Figure
    table: Table | None = None

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.figure["layout"]["height"])


def figure(data: list[dict[str, Any]], *, x: dict[str, Any], y: dict[str, Any], height: int = 340, **more: Any) -> Figure:
    """Traces with the look that all charts share; `more` goes into the layout."""
    layout = {
        "height": height,
        "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "var(--sans)", "size": 13, "color": INK},
        "hoverlabel": {"bgcolor": PAPER, "bordercolor": MUTED, "font": {"color": INK}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"color": MUTED}},
        "dragmode": False,
        "xaxis": x,
        "yaxis": y,
    }
    return {"data": data, "layout": layout | more}


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """A quiet axis."""
    quiet = {"gridcolor": RULE, "linecolor": MUTED, "zeroline": False, "automargin": True, "tickfont": {"color": MUTED, "size": 12}}
    return {"title": {"text": title, "font": {"size": 12, "color": MUTED}, "standoff": 10}, **quiet, **more}


def named(labels: list[str], title: str = "", **more: Any) -> dict[str, Any]:
    """An axis of names at 0, 1, 2 …: places are numbers, so that equal short forms of two names stay two places."""
    return axis(title, tickmode="array", tickvals=list(range(len(labels))), ticktext=[text(short(label)) for label in labels], **more)


def whiskers(values: Sequence[float], intervals: Sequence[Sequence[float]], **look: Any) -> dict[str, Any]:
    """The interval of each value, as a line on both sides of its mark."""
    above = [high - value for value, (_, high) in zip(values, intervals, strict=True)]
    below = [value - low for value, (low, _) in zip(values, intervals, strict=True)]
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1, **look}


def between(rows: Sequence[Mapping[str, Any]], name: str, called: str, colour: str) -> dict[str, Any]:
    """A line over the layers 0, 1, 2 … with the interval of each."""
    values = [row[name]["value"] for row in rows]
    bars = whiskers(values, [row[name]["interval"] for row in rows], color=colour)
    places = {"x": list(range(len(values))), "y": values, "error_y": bars, "line": {"color": colour}, "marker": {"color": colour}}
    return {"type": "scatter", "mode": "lines+markers", "name": called, **places}


def text(value: str) -> str:
    """Text that plotly shows as it stands: it would read tags and entities in it otherwise."""
    return html.escape(value, quote=False)


def embed(value: Any) -> str:
    """JSON that is safe inside a script element; numbers are rounded to six digits, no-numbers become null."""
    dumped = json.dumps(_rounded(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for mark in "<>&\u2028\u2029":
        dumped = dumped.replace(mark, f"\\u{ord(mark):04x}")
    return dumped


@cache
def library() -> str:
    """plotly's JavaScript, as its Python package carries it."""
    source = (resources.files("plotly") / "package_data" / "plotly.min.js").read_text("utf-8")
    return source.replace("</script", "<\\/script")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list | tuple) else value
