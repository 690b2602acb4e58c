"""The options of compare, and its two ways: methods on labelled rows, or objectives on a corpus."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Context, Option

Targets = Annotated[list[str], Argument(help="Labelled rows, or a recipe.yaml. To compare objectives: corpora, as pretrain takes them.")]
Methods = Annotated[str | None, Option(help="Methods, and scratch, with commas between [feature-extraction,lora,full,scratch].")]
Bases = Annotated[str | None, Option(help="Bases, with commas between [minilm, or the recipe's].")]
Sweep = Annotated[list[str] | None, Option(help="A key of the recipe and its values: method.r=4,8,16. May be repeated.")]
Curve = Annotated[str | None, Option(help="Labelled rows to learn from: 50,200,1000,all [all].")]
Keep = Annotated[str | None, Option(help="best: keep the winner's run in OUT/best.")]
Freeze = Annotated[str | None, Option(help="probe: full with the blocks frozen that the probe proposes, beside as many at random.")]
Halving = Annotated[bool, Option("--halving/--no-halving", help="Stop arms that are beaten, or run all of them to the end.")]
Engine = Annotated[str | None, Option(help="ray: trainings side by side, on this machine's cores or the cluster of RAY_ADDRESS.")]
Downstream = Annotated[str | None, Option(help="Compare objectives, by adapting to these labelled files, with commas between.")]
Objectives = Annotated[
    str | None, Option(help="Objectives, or objective=architecture, with commas between [masked-lm,causal-lm,span-corruption].")
]
Evolution = Annotated[bool, Option("--evolution", help="Objectives: word2vec, ELMo, GPT, BERT and T5, in this order.")]
Minutes = Annotated[float | None, Option(help="Time for all of it. Of objectives each gets the same FLOPs [60].")]
Flops = Annotated[str | None, Option(help="Objectives: FLOPs for each instead, such as 1e14.")]
Tokens = Annotated[str | None, Option(help="Objectives: tokens for each instead, such as 5M.")]
Rows = Annotated[str, Option(help="Objectives: labelled rows to adapt with, points of the learning curves.")]
Rates = Annotated[str, Option(help="Objectives: learning rates of adapting; each base takes the better on its own validation rows.")]
Seeds = Annotated[int, Option(help="Trainings of each on the labelled rows.", min=1)]
Size = Annotated[str, Option(help="Objectives: size of the architectures, tiny, mini or small, as BERT's.")]
Tokenizer = Annotated[Path | None, Option(help="Objectives: folder of one tokenizer for all [8,192 tokens learned from the corpus].")]
Text = Annotated[str | None, Option(help="Objectives: field or column of the text in tables of the corpora [by its name].")]
Columns = Annotated[list[str] | None, Option("--columns", help="Objectives: FILE.label=COLUMN of a labelled file, or .text, .text_pair.")]
Accept = Annotated[list[str] | None, Option(help="A finding of the ledger that may exceed its limit.")]
Change = Annotated[list[str] | None, Option("--set", help="A key of the recipe of every training on labelled rows: section.key=value.")]
Pretrain = Annotated[list[str] | None, Option("--pretrain-set", help="Objectives: seed, or training.key=value of pre-training.")]
Out = Annotated[Path, Option(help="Folder; a comparison that lies there is gone on with.")]
Overwrite = Annotated[bool, Option("--overwrite", help="Begin again.")]
DryRun = Annotated[bool, Option("--dry-run", help="Check everything, say what each would take, write nothing.")]
Json = Annotated[bool, Option("--json", help="Print JSON.")]

_OF_METHODS = ("methods", "bases", "sweep", "learning_curve", "keep", "halving", "freeze", "engine")
_OF_OBJECTIVES = {
    "downstream": "name the labelled rows first: rootstock compare FILE --methods …",
    "objectives": "leave it out, or compare objectives without --methods",
    "evolution": "leave it out, or compare objectives without --methods",
    "flops": "give --minutes",
    "tokens": "give --minutes",
    "rows": "give --learning-curve",
    "rates": "give --sweep training.rate=2e-4,1e-3",
    "size": "name architectures as bases: --bases scratch:bert-mini",
    "tokenizer": "each base brings its own",
    "text": "give --set task.text=COLUMN",
    "column": "give --set task.label=COLUMN, or task.text",
    "pretrain": "name runs of pretrain as bases",
}
"""Options that mean something for objectives alone, and what to use instead where methods are compared."""
_SPELLED = {"column": "--columns", "pretrain": "--pretrain-set"}


def carry_out(context: Context) -> None:
    """The way that the options name. Raises UsageError for an option of the other."""
    from rootstock.core.errors import UsageError

    given = [name for name in context.params if (source := context.get_parameter_source(name)) and source.name != "DEFAULT"]
    methods, objectives = ([name for name in given if name in own] for own in (_OF_METHODS, _OF_OBJECTIVES))
    if "downstream" not in given and "objectives" not in given and "evolution" not in given:
        if objectives:
            found = f"{_spelled(objectives[0])} is for comparing objectives"
            raise UsageError(found, wanted="--downstream for objectives, or options of methods", fix=_OF_OBJECTIVES[objectives[0]])
        return _of_methods(context.params)
    if methods:
        foreign = next((name for name in ("objectives", "evolution", "downstream") if name in given), "")
        found = f"{_spelled(methods[0])} compares methods on labelled rows, and {_spelled(foreign)} compares objectives"
        raise UsageError(found, wanted="one of the two", fix=_OF_OBJECTIVES[foreign] if "methods" in given else "leave it out")
    if "downstream" not in given:
        raise UsageError("--downstream is missing", wanted="labelled files to adapt to, with commas between", fix="give --downstream FILE")
    return _of_objectives(context.params)


def _spelled(name: str) -> str:
    return _SPELLED.get(name, f"--{name.replace('_', '-')}")


def _changes(given: Mapping[str, Any]) -> dict[str, Any]:
    from rootstock.cli.console import assignments

    return assignments(given["change"] or []) | ({"accept": given["accept"]} if given["accept"] else {})


def _carried_out(verb: Any, plan: Any, given: Mapping[str, Any], as_text: Any) -> None:
    from dataclasses import replace

    from rootstock import STARTED
    from rootstock.cli.console import Console, show
    from rootstock.core.watch import Stops, Watch

    console, out, overwrite = Console(), given["out"], given["overwrite"]
    watch = Watch(say=console.say, event=console.event, started=STARTED)
    if given["dry_run"]:
        return show(verb.rehearse(plan, out, watch, overwrite=overwrite), "nothing was written", as_json=given["as_json"])
    with Stops(console.say) as stops:
        found = verb.compare(plan, out, replace(watch, stop=stops.asked), overwrite=overwrite)
    return show(found, f"{as_text(found)}\n\nreport    {out / 'compare.html'}", as_json=given["as_json"])


def _of_methods(given: Mapping[str, Any]) -> None:
    from rootstock.core.errors import UsageError
    from rootstock.report.arms_text import as_text
    from rootstock.verbs import arms_plan, compare_methods

    if len(given["targets"]) > 1:
        found = f"{len(given['targets'])} files are given"
        raise UsageError(found, wanted="one file of labelled rows, or a recipe.yaml", fix="compare on each alone, or give --downstream")
    plan = arms_plan.asked(given["targets"][0], given, _changes(given))
    _carried_out(compare_methods, plan, given, as_text)


def _of_objectives(given: Mapping[str, Any]) -> None:
    from rootstock.cli.console import assignments
    from rootstock.report.compare_text import as_text
    from rootstock.verbs import compare as comparing
    from rootstock.verbs import compare_bases, compare_plan

    files = compare_plan.names(compare_plan.listed(given["downstream"]))
    chosen = compare_bases.asked(given["objectives"], evolution=given["evolution"])
    plan = compare_plan.Plan(
        corpora=tuple(given["targets"]), architectures=compare_bases.chosen(chosen, given["size"]), downstream=files,
        budget=compare_plan.budget(given["minutes"], given["flops"], given["tokens"]), rows=compare_plan.counts(given["rows"]),
        seeds=given["seeds"], tokenizer=given["tokenizer"], text=given["text"],
        columns=compare_plan.columns(given["column"] or [], files), rates=compare_plan.rates(given["rates"]),
        changes=_changes(given), pretraining=assignments(given["pretrain"] or []),
    )  # fmt: skip
    _carried_out(comparing, plan, given, as_text)
