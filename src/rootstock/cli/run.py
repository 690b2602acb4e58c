"""Carry out a recipe: again, changed, or from where it stopped."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def run(
    recipe: Annotated[Path, Argument(help="A recipe, such as runs/reviews/recipe.yaml.")],
    change: Annotated[list[str] | None, Option("--set", help="Any key of the recipe: section.key=value.")] = None,
    out: Annotated[Path | None, Option(help="Folder of the run [a new one beside the recipe's].")] = None,
    resume: Annotated[bool, Option("--resume", help="Go on with the run that the recipe lies in.")] = False,
    workers: Annotated[int | None, Option(help="Processes that learn together [1].")] = None,
    engine: Annotated[str | None, Option(help="Who starts the workers: torch, on this machine, or ray.")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace a run that is there.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Check everything, try one step, write nothing.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Carry out a recipe: the same run again, a changed one, or --resume one that was stopped."""
    from rootstock.cli import _start
    from rootstock.cli.console import assignments
    from rootstock.core.errors import UsageError
    from rootstock.verbs import api

    if resume and (out or overwrite):
        raise UsageError("--resume goes on in the recipe's own folder", wanted="--resume without --out and --overwrite")
    named = {"cluster.workers": workers, "cluster.engine": engine}
    chosen = api.again_any(recipe, assignments(change or []) | {key: value for key, value in named.items() if value is not None})
    where = recipe.parent if resume else out or api.beside(recipe)
    _start.start(chosen, where, _start.Mode(overwrite=overwrite, resume=resume, dry_run=dry_run, as_json=as_json))
