"""The data report on its own."""

from typing import Annotated

from typer import Argument, Option


def inspect(
    data: Annotated[str, Argument(help="Labelled rows.")],
    base: Annotated[str, Option(help="Whose tokens lengths are counted in.")] = "minilm",
    text: Annotated[str | None, Option(help="Column of the text.")] = None,
    text_pair: Annotated[str | None, Option(help="Column of the second text.")] = None,
    label: Annotated[str | None, Option(help="Column of the answer.")] = None,
    validation: Annotated[str | None, Option(help="A file of validation rows, or the share to hold out.")] = None,
    change: Annotated[list[str] | None, Option("--set", help="Any key of the recipe: section.key=value.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """What is in a file: columns, labels, lengths, missing values, duplicates, contradictions, overlap."""
    from rootstock.cli import _start
    from rootstock.cli.console import Console, assignments, show
    from rootstock.verbs.inspection import as_text, examine

    given = {"base": base, "task.text": text, "task.text_pair": text_pair, "task.label": label, "data.validation": validation}
    found = examine(_start.recipe_for(data, given, assignments(change or [])), Console().say)
    show(found, as_text(found), as_json=as_json)
