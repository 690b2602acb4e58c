"""Measure a finished run on other labelled rows."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def evaluate(
    run: Annotated[Path, Argument(help="A run folder.")],
    data: Annotated[str, Argument(help="Labelled rows.")],
    part: Annotated[str | None, Option(help="Which of the run's tasks, where it learned several.")] = None,
    text: Annotated[str | None, Option(help="Column of the text [the one learned from].")] = None,
    text_pair: Annotated[str | None, Option(help="Column of the second text.")] = None,
    label: Annotated[str | None, Option(help="Column of the answer.")] = None,
    accept: Annotated[list[str] | None, Option(help="unlabelled, unseen: leave out rows without a label or with a new one.")] = None,
    change: Annotated[list[str] | None, Option("--set", help="How to read the file, such as data.encoding=latin-1.")] = None,
    baselines: Annotated[bool, Option(help="Learn the run's baselines again from its training rows, to stand beside.")] = True,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a finished run on other labelled rows, with intervals, and with and without rows it was trained on."""
    from rootstock.cli._start import figures
    from rootstock.cli.console import Console, assignments, show
    from rootstock.data.ledger import check_names
    from rootstock.run.use import Reading, Run

    left_out = {name: name in (accept or ()) for name in ("unlabelled", "unseen")}
    check_names(name for name in accept or () if name not in left_out)
    columns = {"text": text, "text_pair": text_pair, "label": label}
    reading = Reading(columns=columns, settings=assignments(change or []), **left_out)
    found = Run(run).part(part).evaluate(data, reading=reading, baselines=baselines, say=Console().say)
    show(found, "\n".join(figures(found)), as_json=as_json)
