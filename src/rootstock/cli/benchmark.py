"""How good is a base, as the field measures it? `rootstock benchmark glue minilm --data GLUE`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Context, Option

_HARNESS = ("words", "harness", "limit", "batch", "out", "as_json")
_SUITE = ("words", "tasks", "data", "method", "seeds", "minutes", "change", "submission", "keep", "out", "overwrite", "as_json")


def benchmark(
    context: Context,
    words: Annotated[list[str], Argument(metavar="[SUITE] BASE", help="glue, or a suite's YAML file; then a base or a run.")],
    tasks: Annotated[str | None, Option(help="Tasks of the suite with commas between [all].")] = None,
    data: Annotated[list[str] | None, Option(help="FOLDER of the suite's files, hf:NAME, or TASK=FOLDER; repeatable [the hub].")] = None,
    method: Annotated[str | None, Option(help="auto, or one of `rootstock methods`.")] = None,
    seeds: Annotated[int, Option(help="Trainings of each task.", min=1)] = 1,
    minutes: Annotated[float | None, Option(help="For all trainings together; each gets an equal part of what is left.")] = None,
    change: Annotated[list[str] | None, Option("--set", help="Any key of each training's recipe: section.key=value.")] = None,
    submission: Annotated[bool, Option("--submission", help="Also answer the test rows, in the benchmark's own files.")] = False,
    keep: Annotated[bool, Option("--keep", help="Keep the folder of each training.")] = False,
    harness: Annotated[str | None, Option("--lm-eval", help="Tasks of lm-evaluation-harness instead, or YAML files of such.")] = None,
    limit: Annotated[int | None, Option(help="With --lm-eval: rows of each task, for trials.", min=1)] = None,
    batch: Annotated[int, Option(help="With --lm-eval: rows at once.", min=1)] = 8,
    out: Annotated[Path, Option(help="Folder; a benchmark that lies there is gone on with.")] = Path("runs/benchmark"),
    overwrite: Annotated[bool, Option("--overwrite", help="Begin again.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fine-tune a base on each task of a suite and measure it by the suite's own figures; or ask a causal model through lm-eval."""
    from dataclasses import replace

    from rootstock import STARTED
    from rootstock.cli.console import Console, assignments, check_beside, show
    from rootstock.core.watch import Stops, Watch
    from rootstock.report.benchmark import as_text
    from rootstock.verbs import benchmark as benchmarking
    from rootstock.verbs import benchmark_words

    asked = benchmark_words.told(words, harness)
    check_beside(context, *(("--lm-eval", _HARNESS) if asked.harness else ("a suite", _SUITE)))
    console = Console()
    watch = Watch(say=console.say, event=console.event, started=STARTED)
    if asked.harness:
        found, text = benchmark_words.by_harness(asked, out, limit=limit, batch=batch, watch=watch)
        return show(found, text, as_json=as_json)
    changes = assignments(change or []) | ({"method.name": method} if method else {})
    plan = benchmarking.Plan(
        suite=asked.suite, base=asked.base, tasks=asked.suite.chosen(tasks), data=tuple(data or ()), seeds=seeds, minutes=minutes,
        changes=changes, submission=submission, keep=keep,
    )  # fmt: skip
    with Stops(console.say) as stops:
        found = benchmarking.benchmark(plan, out, replace(watch, stop=stops.asked), overwrite=overwrite)
    show(found, f"{as_text(found)}\n\nresults   {out / benchmarking.FILES[0]}", as_json=as_json)
