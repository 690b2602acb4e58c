"""Label texts with a finished run."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def predict(
    run: Annotated[Path, Argument(help="A run folder.")],
    texts: Annotated[list[str] | None, Argument(help="Texts; for a run on pairs, first and second text in turn.")] = None,
    file: Annotated[str | None, Option(help="A file of texts instead.")] = None,
    out: Annotated[Path | None, Option(help="Where to write the labelled rows: .csv, .tsv, .jsonl or .parquet [stdout].")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Label texts, or the rows of --file, with a finished run."""
    from rootstock.cli.console import Console, show
    from rootstock.run import labelling
    from rootstock.run.use import Run

    say = Console().say
    if file:
        made = labelling.label_file(Run(run), file, out)
        say(f"{made.rows:,} rows in {made.seconds:.1f} s ({made.rows / max(made.seconds, 1e-9):,.0f} rows/s)" + made.warning)
        if out is None:
            show(made.table, labelling.as_csv(made.table), as_json=as_json)
        return
    table, warning = labelling.label_texts(Run(run), texts or [])
    if warning:
        say(warning)
    show(labelling.as_rows(table), labelling.as_lines(table), as_json=as_json)
