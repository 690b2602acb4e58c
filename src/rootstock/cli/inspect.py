"""The data report on its own."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def inspect(
    data: Annotated[str, Argument(help="Labelled rows.")],
    base: Annotated[str, Option(help="Whose tokens lengths are counted in.")] = "minilm",
    task: Annotated[str, Option(help="auto, or one of `rootstock tasks`.")] = "auto",
    text: Annotated[str | None, Option(help="Column of the text.")] = None,
    text_pair: Annotated[str | None, Option(help="Column of the second text.")] = None,
    label: Annotated[str | None, Option(help="Column of the answer.")] = None,
    validation: Annotated[str | None, Option(help="A file of validation rows, or the share to hold out.")] = None,
    show_rows: Annotated[int | None, Option("--show", help="Also print the tokens of so many rows, and which are asked.", min=1)] = None,
    label_noise: Annotated[bool, Option("--label-noise", help="Which labels are probably wrong, by the base's features.")] = False,
    out: Annotated[Path | None, Option(help="With --label-noise: a CSV file of the suspects, for adapt --exclude.")] = None,
    change: Annotated[list[str] | None, Option("--set", help="Any key of the recipe: section.key=value.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """What is in a file: columns, labels, lengths, missing values, duplicates, contradictions, overlap."""
    from rootstock.cli import _start
    from rootstock.cli.console import Console, assignments, show
    from rootstock.core.errors import UsageError
    from rootstock.core.watch import Watch
    from rootstock.verbs import inspection

    columns = {"task.name": task, "task.text": text, "task.text_pair": text_pair, "task.label": label}
    given = {"base": base, "data.validation": validation, **columns}
    recipe, console = _start.recipe_for(data, given, assignments(change or [])), Console()
    if not label_noise:
        if out is not None:
            raise UsageError("--out is given without --label-noise", wanted="both", fix="add --label-noise, or leave --out out")
        found = inspection.examine(recipe, console.say, show=show_rows or 0)
        show(found, inspection.as_text(found), as_json=as_json)
        return
    from rootstock.verbs import label_noise as noise

    found = noise.find(recipe, Watch(say=console.say, event=console.event))
    if out is not None:
        noise.write(found, out)
    show(found, noise.as_text(found), as_json=as_json)
