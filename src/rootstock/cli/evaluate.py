"""Measure a finished run on other labelled rows."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def evaluate(
    run: Annotated[Path, Argument(help="A run folder.")],
    data: Annotated[str, Argument(help="Labelled rows.")],
    text: Annotated[str | None, Option(help="Column of the text [the one learned from].")] = None,
    text_pair: Annotated[str | None, Option(help="Column of the second text.")] = None,
    label: Annotated[str | None, Option(help="Column of the answer.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a finished run on other labelled rows, with intervals, and with and without rows it was trained on."""
    from rootstock.cli._start import figures
    from rootstock.cli.console import Console, show
    from rootstock.verbs.use import Run

    found = Run(run).evaluate(data, columns={"text": text, "text_pair": text_pair, "label": label}, say=Console().say)
    show(found, "\n".join(figures(found)), as_json=as_json)
