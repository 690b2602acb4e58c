"""Scaling laws: fit one to runs, and plan with it."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

app = typer.Typer(help="How loss falls with size and tokens: fit a law to runs, and plan with it.", no_args_is_help=True)


@app.command()
def fit(
    runs: Annotated[list[str], Argument(help="Tables with parameters, loss, and tokens or flops; folders of pre-training runs.")],
    out: Annotated[Path | None, Option(help="Folder for scaling.json and scaling.html.")] = None,
    columns: Annotated[list[str] | None, Option(help="QUANTITY=COLUMN, such as loss=val_loss; repeatable [by their names].")] = None,
    leave_out_highest: Annotated[int, Option(help="Leave out so many runs of highest loss.")] = 0,
    resamples: Annotated[int, Option(help="Bootstrap samples for the intervals; 0 gives none.")] = 500,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace a fit that lies there.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fit L(N, D) = E + A / N^alpha + B / D^beta to runs."""
    from rootstock.cli.console import Console, show
    from rootstock.report import scaling_words
    from rootstock.verbs import scaling

    told = scaling.told_columns(columns or [])
    if out is not None:
        scaling.check_place(out, overwrite=overwrite)
    console = Console()
    facts = scaling.fit_runs(runs, told, leave_out=leave_out_highest, resamples=resamples, say=console.say)
    if out is not None:
        scaling.write(facts, out)
        console.say(f"wrote {out / 'scaling.json'} and {out / 'scaling.html'}")
    show(facts, scaling_words.as_text(facts), as_json=as_json)


@app.command()
def plan(
    flops: Annotated[str | None, Option(help="Operations to spend, such as 1e21.")] = None,
    parameters: Annotated[str | None, Option(help="A size, such as 70M.")] = None,
    tokens: Annotated[str | None, Option(help="Tokens, such as 2B.")] = None,
    fit: Annotated[Path | None, Option(help="scaling.json of a fit, or its folder [a published one].")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """The best size and tokens for one of --flops, --parameters and --tokens; with two, the loss to expect of them."""
    from rootstock.cli.console import Console, show
    from rootstock.report import scaling_words
    from rootstock.verbs import scaling
    from rootstock.verbs.scaling_points import asked

    held = {"flops": asked("flops", flops), "parameters": asked("parameters", parameters), "tokens": asked("tokens", tokens)}
    found = scaling.plan_from(fit, **held)
    if fit is None:
        Console().say(scaling.ABOUT_PUBLISHED)
    show(found, scaling_words.plan_text(found), as_json=as_json)
