"""Raw text to a clean corpus, with a record of every removal."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

app = typer.Typer(help="Raw text to a clean corpus, with a record of every removal.", no_args_is_help=True)


@app.command()
def build(
    sources: Annotated[list[str], Argument(help="Files, folders, hf:NAME[:CONFIGURATION][:SPLIT], or stdlib-docs.")],
    out: Annotated[Path, Option(help="Folder of the corpus.")],
    text: Annotated[str | None, Option(help="Field or column of the text in tables [by its name].")] = None,
    languages: Annotated[str | None, Option(help="Codes of the languages to keep, such as en,de [all].")] = None,
    quality: Annotated[str | None, Option(help="Rules of Gopher, C4 and FineWeb: auto (for web pages), web (for all) or none.")] = None,
    near_duplicates: Annotated[float | None, Option(help="Similarity from which documents count as the same; 0 keeps them [0.8].")] = None,
    decontaminate: Annotated[list[str] | None, Option(help="An evaluation file whose texts must not be in the corpus; repeatable.")] = None,
    block_list: Annotated[str | None, Option(help="A file of words and phrases, one a line.")] = None,
    engine: Annotated[str | None, Option(help="local, or ray: on the cluster at RAY_ADDRESS, or every core here [local].")] = None,
    licence: Annotated[list[str] | None, Option(help="SOURCE=LICENCE, for the manifest; repeatable.")] = None,
    set_: Annotated[list[str] | None, Option("--set", help="A setting, such as steps.gopher.least_words=20; repeatable.")] = None,
    overwrite: Annotated[bool, Option(help="Replace a corpus that was built otherwise.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Check everything, say what would be read, write nothing.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Build a corpus, or go on with a build that was interrupted: give the same command again."""
    from rootstock.cli.console import Console, assignments, show
    from rootstock.core.settings import changed
    from rootstock.core.watch import Stops, Watch
    from rootstock.corpus import build as building
    from rootstock.corpus import funnel, pipeline

    given: dict[str, object] = {"sources": sources, "text": text, "quality": quality, "near_duplicates": near_duplicates}
    given |= {"languages": [each.strip() for each in languages.split(",")] if languages else None, "decontaminate": decontaminate}
    given |= {"engine": engine, "block_list": block_list, "licences": dict(each.partition("=")[::2] for each in licence or [])}
    values = {key: value for key, value in given.items() if value is not None}
    settings = pipeline.CorpusSettings.build(changed(values, assignments(set_ or [])), "")
    if dry_run:
        return show(plan := building.rehearse(settings, out), funnel.plan_as_text(plan), as_json=as_json)
    console = Console()
    with Stops(console.say, after="this part of the corpus") as stops:
        watch = Watch(say=console.say, event=console.event, stop=stops.asked)
        record = building.build(settings, out, watch, overwrite=overwrite)
    show(record, f"{funnel.as_text(record)}\n\ncorpus    {out}", as_json=as_json)


@app.command("show")
def show_(
    corpus: Annotated[Path, Argument(help="Folder of a corpus.")],
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the funnel: what each step kept, changed and dropped, with examples."""
    from rootstock.cli.console import show
    from rootstock.corpus import build, funnel

    record = build.read_funnel(corpus)
    show(record, funnel.as_text(record), as_json=as_json)
