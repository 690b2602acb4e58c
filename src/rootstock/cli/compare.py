"""Does it transfer? Objectives compared on one corpus and one budget."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def compare(
    corpora: Annotated[list[str], Argument(help="Corpora: folders of `corpus build`, or any files and folders of text, stdlib-docs.")],
    downstream: Annotated[str, Option(help="Labelled files to adapt to, with commas between.")],
    objectives: Annotated[
        str | None, Option(help="Objectives, or objective=architecture, with commas between [masked-lm,causal-lm,span-corruption].")
    ] = None,
    evolution: Annotated[bool, Option("--evolution", help="word2vec, ELMo, GPT, BERT and T5 instead, in this order.")] = False,
    minutes: Annotated[float | None, Option(help="Time for all of it; each objective gets the same FLOPs [60].")] = None,
    flops: Annotated[str | None, Option(help="FLOPs for each objective instead, such as 1e14.")] = None,
    tokens: Annotated[str | None, Option(help="Tokens for each objective instead, such as 5M.")] = None,
    rows: Annotated[str, Option(help="Labelled rows to adapt with: points of the learning curves.")] = "100,500,all",
    rates: Annotated[str, Option(help="Learning rates of adapting; each base takes the better on its own validation rows.")] = "2e-4,1e-3",
    seeds: Annotated[int, Option(help="Adaptations of each, with rows and order of their own.", min=1)] = 3,
    size: Annotated[str, Option(help="Of the architectures: tiny, mini or small, as BERT's.")] = "tiny",
    tokenizer: Annotated[Path | None, Option(help="Folder of one tokenizer for all [8,192 tokens learned from the corpus].")] = None,
    text: Annotated[str | None, Option(help="Field or column of the text in tables of the corpora [by its name].")] = None,
    column: Annotated[list[str] | None, Option("--columns", help="FILE.label=COLUMN of a labelled file, or .text, .text_pair.")] = None,
    accept: Annotated[list[str] | None, Option(help="A finding of the ledger that may exceed its limit.")] = None,
    change: Annotated[list[str] | None, Option("--set", help="A key of the recipe of adapting: section.key=value.")] = None,
    pretrain: Annotated[list[str] | None, Option("--pretrain-set", help="seed, or training.key=value of pre-training.")] = None,
    out: Annotated[Path, Option(help="Folder; a comparison that lies there is gone on with.")] = Path("runs/compare"),
    overwrite: Annotated[bool, Option("--overwrite", help="Begin again.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Check everything, share out the budget, write nothing.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Pre-train with several objectives at equal compute, adapt each, and measure what it was worth."""
    from dataclasses import replace

    from rootstock import STARTED
    from rootstock.cli.console import Console, assignments, show
    from rootstock.core.watch import Stops, Watch
    from rootstock.report.compare_text import as_text
    from rootstock.verbs import compare as comparing
    from rootstock.verbs import compare_bases, compare_plan
    from rootstock.verbs.compare_settle import FILES

    files = compare_plan.names(compare_plan.listed(downstream))
    plan = compare_plan.Plan(
        corpora=tuple(corpora), architectures=compare_bases.chosen(compare_bases.asked(objectives, evolution=evolution), size),
        downstream=files, budget=compare_plan.budget(minutes, flops, tokens), rows=compare_plan.counts(rows), seeds=seeds,
        tokenizer=tokenizer, text=text, columns=compare_plan.columns(column or [], files), rates=compare_plan.rates(rates),
        changes=assignments(change or []) | ({"accept": accept} if accept else {}), pretraining=assignments(pretrain or []),
    )  # fmt: skip
    console = Console()
    watch = Watch(say=console.say, event=console.event, started=STARTED)
    if dry_run:
        found = comparing.rehearse(plan, out, watch, overwrite=overwrite)
        return show(found, "nothing was written", as_json=as_json)
    with Stops(console.say) as stops:
        found = comparing.compare(plan, out, replace(watch, stop=stops.asked), overwrite=overwrite)
    show(found, f"{as_text(found)}\n\nreport    {out / FILES[1]}", as_json=as_json)
