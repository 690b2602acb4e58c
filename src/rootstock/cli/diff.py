"""Where two runs part."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def diff(
    first: Annotated[Path, Argument(help="A run folder.")],
    second: Annotated[Path, Argument(help="Another run folder.")],
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare settings, data, versions and figures of two runs, then name the first step at which their batches or losses part."""
    from rootstock.cli.console import show
    from rootstock.verbs.differences import as_text, compare

    found = compare(first, second)
    show(found, as_text(found), as_json=as_json)
