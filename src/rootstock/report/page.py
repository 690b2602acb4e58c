"""report.html: everything that is known about a run, in one file that opens anywhere and asks nobody for anything."""

import shlex
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rootstock.report import account, answers, charts, costs, curves, pretraining, summary, words
from rootstock.report import facts as read
from rootstock.report.charts import Chart
from rootstock.report.facts import Facts, dig

_PLACE = Markup("<plotly>")
"""Where the library goes: a template would copy its five megabytes at each turn. No value holds it, as their `<` is spelled otherwise."""


def render(facts: Facts) -> str:
    """The page as HTML; whatever is missing in the facts is left out of it."""
    if dig(facts, "kind") == "tokens":
        own = {"base_facts": pretraining.base_facts(facts), "lineage": pretraining.lineage(facts)}
        return filled("pretraining.html.j2", {**pretraining.page(facts), **costs.making(facts), **own})
    shown = _answers(facts) | _rows(facts) | {"curves": curves.curves(facts)}
    return filled("page.html.j2", {**shown, **_summary(facts), **costs.making(facts)})


def filled(template: str, shown: dict[str, Any]) -> str:
    """A template with these values, and with every chart among them, alone or in a list, drawn."""
    drawn = list(_drawn(shown))
    made = (
        _environment()
        .get_template(template)
        .render(
            **shown,
            figures=[(chart.key, Markup(charts.embed(chart.figure))) for chart in drawn],
            style=_asset("page.css"),
            script=_asset("page.js"),
            library=_PLACE if drawn else "",
        )
    )
    return made.replace(_PLACE, charts.library(), 1) if drawn else made


def _summary(facts: Facts) -> dict[str, Any]:
    said, table = summary.leakage(facts)
    return {
        "name": read.name(facts),
        "path": shlex.quote(read.name(facts)),
        "kind": dig(facts, "kind", default=""),
        "pair": bool(dig(facts, "recipe", "task", "text_pair")),
        "task": dig(facts, "manifest", "task", default="") or dig(facts, "recipe", "task", "name", default=""),
        "method": dig(facts, "manifest", "method", default="") or dig(facts, "recipe", "method", "name", default=""),
        "base": read.base_name(str(dig(facts, "manifest", "base", "name", default=""))),
        "verdict": str(dig(facts, "metrics", "verdict", default="")).rstrip("."),
        "judgement": summary.judgement(facts),
        "tiles": summary.tiles(facts),
        "all_figures": summary.all_figures(facts),
        "optimism": summary.optimism(facts),
        "leakage": said,
        "leakage_table": table,
    }


def _answers(facts: Facts) -> dict[str, Any]:
    return {
        "confusion": answers.confusion(facts),
        "confused": answers.confused(facts),
        "per_class": answers.per_class(facts),
        "calibration": answers.calibration(facts),
        "regression": [chart for chart in (answers.scatter(facts), answers.residuals(facts)) if chart],
        "mistakes": [_mistake(each) for each in dig(facts, "mistakes", default=[])],
    }


def _rows(facts: Facts) -> dict[str, Any]:
    return {
        "lengths": account.lengths(facts),
        "shorter": account.shorter(facts),
        "balance": account.balance(facts),
        "numbers": account.numbers(facts),
        "findings": account.findings(facts),
        "rows": dig(facts, "ledger", "rows", default={}),
        "padding": dig(facts, "ledger", "padding_share"),
        "sources": read.sources(facts),
    }


def _mistake(found: dict[str, Any]) -> dict[str, Any]:
    """A wrong answer with its texts apart."""
    sure, row = found.get("confidence"), found.get("row")
    about = [f"{words.percent(sure)} sure" if sure is not None else "", f"row {row}" if row is not None else ""]
    return {
        "answer": found.get("answer"),
        "predicted": found.get("predicted"),
        "about": " · ".join(filter(None, about)),
        "texts": dig(found, "texts", default=[]),
    }


def _drawn(shown: dict[str, Any]) -> Iterator[Chart]:
    for value in shown.values():
        yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, Chart))


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("rootstock.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {"count": words.count, "percent": words.percent, "figure": words.figure}
    return made


def _asset(name: str) -> Markup:
    return Markup((resources.files("rootstock.report") / "templates" / name).read_text("utf-8"))
