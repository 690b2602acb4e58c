"""Fill what is masked."""

from typing import Annotated

from typer import Argument, Option


def fill(
    base: Annotated[str, Argument(help="A base, a run folder, or a folder of a model that fills masks.")],
    prompts: Annotated[list[str], Argument(help="Texts with [MASK], or the model's own mask token.")],
    top: Annotated[int, Option(help="Answers for each mask.")] = 5,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """What belongs where a word is masked: the likeliest tokens with their probabilities."""
    from rootstock.cli.console import show
    from rootstock.verbs import fill as filling

    found = filling.fill(base, prompts, top=top)
    show(found, filling.as_text(found), as_json=as_json)
