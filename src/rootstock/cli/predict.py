"""Label texts with a finished run."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def predict(
    run: Annotated[Path, Argument(help="A run folder.")],
    texts: Annotated[list[str] | None, Argument(help="Texts; for a run on pairs, first and second text in turn.")] = None,
    file: Annotated[str | None, Option(help="A file of texts instead.")] = None,
    also: Annotated[list[Path] | None, Option(help="Another run that answers the rows of --file too, in columns of its name.")] = None,
    part: Annotated[str | None, Option(help="Which of the run's tasks, where it learned several.")] = None,
    text: Annotated[str | None, Option(help="The file's column of texts [the one learned from].")] = None,
    text_pair: Annotated[str | None, Option(help="The file's column of second texts.")] = None,
    pairs: Annotated[bool, Option("--pairs", help="Two texts in turn: how alike they are, of a run that learned vectors.")] = False,
    out: Annotated[Path | None, Option(help="Where to write the labelled rows: .csv, .tsv, .jsonl or .parquet [stdout].")] = None,
    change: Annotated[list[str] | None, Option("--set", help="How to read the file, such as data.encoding=latin-1.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Label texts, or the rows of --file, with a finished run."""
    from rootstock.cli.console import Console, assignments, show
    from rootstock.core.errors import UsageError
    from rootstock.run.use import Reading, Run
    from rootstock.verbs import labelling

    say = Console().say
    if file and (texts or pairs):
        raise UsageError(f"found {'texts' if texts else '--pairs'} and --file", wanted="one of the two", fix="a file's columns have names")
    if also and part:
        raise UsageError("found --also and --part", wanted="one of the two", fix="name the folder of the part itself: RUN/parts/NAME")
    if also and not file:
        raise UsageError("found --also without --file", wanted="a file whose rows all runs answer", fix="give --file")
    if out:
        labelling.check_name(out)
    if file:
        reading = Reading(columns={"text": text, "text_pair": text_pair}, settings=assignments(change or []))
        one, many = labelling.label_file, labelling.label_by_each
        made = many([run, *also], file, reading=reading, say=say) if also else one(Run(run).part(part), file, reading=reading, say=say)
        table, shown = made.table, labelling.as_csv
        say(f"{made.rows:,} rows in {made.seconds:.1f} s ({made.rows / max(made.seconds, 1e-9):,.0f} rows/s){made.warning}")
    else:
        (table, warning), shown = labelling.label_texts(Run(run).part(part), texts or [], pairs=pairs), labelling.as_lines
        if warning:
            say(warning.removeprefix("; "))
    if out:
        labelling.write(table, out)
        say(f"written   {out}")
    elif as_json:
        show(labelling.as_rows(table), "", as_json=True)
    else:
        show(None, shown(table), as_json=False)
