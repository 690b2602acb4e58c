"""Prove that a killed run goes on as if nothing had happened."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def verify_resume(
    recipe: Annotated[Path, Argument(help="The recipe to prove it for.")],
    steps: Annotated[int, Option(min=2, help="Updates of the proof; the second run is stopped halfway.")] = 8,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train some steps straight, and the same steps with a restart in the middle; compare every tensor and name the first difference."""
    from rootstock.cli.console import Console, show
    from rootstock.core.errors import RunFailed
    from rootstock.verbs.verify import verify

    found = verify(recipe, steps, Console().say)
    show(found, found["verdict"], as_json=as_json)
    if not found["identical"]:
        raise RunFailed("a resumed run is not the same run", fix="see the first difference above")
