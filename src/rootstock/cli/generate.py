"""Go on from a prompt."""

from typing import Annotated

from typer import Argument, Option


def generate(
    base: Annotated[str, Argument(help="A base, a run folder, or a folder of a model that generates.")],
    prompt: Annotated[str, Argument(help="The beginning of the text.")],
    max_tokens: Annotated[int, Option(help="Tokens to add at most; an end token stops before.")] = 40,
    temperature: Annotated[float, Option(help="Below 1 the likely becomes likelier, above 1 less so.")] = 1.0,
    top_k: Annotated[int | None, Option(help="Draw among so many of the likeliest tokens [all].")] = None,
    top_p: Annotated[float | None, Option(help="Draw among the likeliest tokens that hold this share together [all].")] = None,
    seed: Annotated[int, Option(help="The same seed gives the same text.")] = 0,
    greedy: Annotated[bool, Option("--greedy", help="Always the likeliest token; nothing is drawn.")] = False,
    count: Annotated[int, Option(help="How many texts.")] = 1,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Go on from a prompt with a causal or an encoder-decoder model."""
    from rootstock.cli.console import Console, show
    from rootstock.verbs import generate as generating

    drawing = generating.Drawing(
        max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, greedy=greedy, seed=seed, count=count
    )
    found = generating.generate(base, prompt, drawing)
    if found["max_tokens"] < max_tokens:
        Console().say(f"at most {found['max_tokens']:,} tokens: the model has no positions for more")
    show(found, generating.as_text(found), as_json=as_json)
