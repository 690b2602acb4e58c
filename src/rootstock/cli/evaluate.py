"""Measure a finished run on other labelled rows."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def evaluate(
    run: Annotated[Path, Argument(help="A run folder.")],
    data: Annotated[str, Argument(help="Labelled rows.")],
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a finished run on other labelled rows, with intervals, and with and without rows it was trained on."""
    from rootstock.cli._start import figures
    from rootstock.cli.console import show
    from rootstock.run.use import Run

    found = Run(run).evaluate(data)
    show(found, "\n".join(figures(found)), as_json=as_json)
