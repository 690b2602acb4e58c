"""Does it transfer? Objectives compared on one corpus and one budget."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def compare(
    corpora: Annotated[list[str], Argument(help="Corpora: folders of `corpus build`, or any files and folders of text, stdlib-docs.")],
    downstream: Annotated[str, Option(help="Labelled files to adapt to, with commas between.")],
    objectives: Annotated[
        str, Option(help="Objectives, or objective=architecture, with commas between.")
    ] = "masked-lm,causal-lm,span-corruption",
    evolution: Annotated[bool, Option("--evolution", help="word2vec, ELMo, GPT, BERT and T5 instead, in this order.")] = False,
    minutes: Annotated[float | None, Option(help="Time for all of it; each objective gets the same FLOPs [60].")] = None,
    flops: Annotated[str | None, Option(help="FLOPs for each objective instead, such as 1e14.")] = None,
    tokens: Annotated[str | None, Option(help="Tokens for each objective instead, such as 5M.")] = None,
    rows: Annotated[str, Option(help="Labelled rows to adapt with: points of the learning curves.")] = "100,500,all",
    rates: Annotated[str, Option(help="Learning rates of adapting; each base takes the better on its own validation rows.")] = "2e-4,1e-3",
    seeds: Annotated[int, Option(help="Adaptations of each, with rows and order of their own.", min=1)] = 3,
    size: Annotated[str, Option(help="Of the architectures: tiny, mini or small, as BERT's.")] = "tiny",
    tokenizer: Annotated[Path | None, Option(help="Folder of one tokenizer for all [8,192 tokens learned from the corpus].")] = None,
    text: Annotated[str | None, Option(help="Field or column of the text in tables [by its name].")] = None,
    accept: Annotated[list[str] | None, Option(help="A finding of the ledger that may exceed its limit.")] = None,
    change: Annotated[list[str] | None, Option("--set", help="Any key of the recipe of adapting: section.key=value.")] = None,
    out: Annotated[Path, Option(help="Folder; a comparison that lies there is gone on with.")] = Path("runs/compare"),
    overwrite: Annotated[bool, Option("--overwrite", help="Begin again.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Check everything, share out the budget, write nothing.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Pre-train with several objectives at equal compute, adapt each, and measure what it was worth."""
    from rootstock import STARTED
    from rootstock.cli.console import Console, assignments, show
    from rootstock.core.watch import Watch
    from rootstock.report.compare_text import as_text
    from rootstock.run import compare as comparing
    from rootstock.run import compare_bases, compare_transfer

    listed = list(compare_bases.EVOLUTION) if evolution else [each.strip() for each in objectives.split(",") if each.strip()]
    plan = comparing.Plan(
        corpora=tuple(corpora), architectures=compare_bases.chosen(listed, size),
        downstream=compare_transfer.names([each.strip() for each in downstream.split(",") if each.strip()]),
        budget=comparing.budget(minutes, flops, tokens), rows=comparing.counts(rows), seeds=seeds, rates=comparing.rates(rates),
        tokenizer=tokenizer, text=text,
        changes=assignments(change or []) | ({"accept": accept} if accept else {}),
    )  # fmt: skip
    console = Console()
    watch = Watch(say=console.say, event=console.event, stop=console.stop, started=STARTED)
    if dry_run:
        return show(found := comparing.rehearse(plan, watch), "nothing was written", as_json=as_json and bool(found))
    console.listen()
    found = comparing.compare(plan, out, watch, overwrite=overwrite)
    show(found, f"{as_text(found)}\n\nreport    {out / comparing.FILES[1]}", as_json=as_json)
