"""Fine-tune a base on labelled rows: `rootstock adapt reviews.csv`."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option


def adapt(
    data: Annotated[
        str | None, Argument(help="Labelled rows: a file, class folders of texts or images, hf:<dataset>, stdlib-docs.", show_default=False)
    ] = None,
    base: Annotated[str, Option(help="minilm, a folder, a run, a hub id[@revision], or scratch:<architecture>.")] = "minilm",
    method: Annotated[str, Option(help="auto, or one of `rootstock methods`.")] = "auto",
    task: Annotated[str, Option(help="auto, or one of `rootstock tasks`.")] = "auto",
    text: Annotated[str | None, Option(help="Column of the text.")] = None,
    text_pair: Annotated[str | None, Option(help="Column of the second text.")] = None,
    label: Annotated[str | None, Option(help="Column of the answer.")] = None,
    validation: Annotated[str | None, Option(help="A file of validation rows, or the share to hold out [0.1].")] = None,
    add_tokens: Annotated[str | None, Option(help="Tokens for the base's tokenizer: a file with one a line, or with commas.")] = None,
    augment: Annotated[str | None, Option(help="More training rows made of those there are: eda, back-translation or paraphrase.")] = None,
    teacher: Annotated[str | None, Option(help="A finished run to learn from beside the labels.")] = None,
    part: Annotated[list[str] | None, Option(help="NAME=FILE: one of several tasks that learn together; repeatable.")] = None,
    mix: Annotated[str | None, Option(help="Turns of parts: proportional, equal, a temperature, or weights such as 2,1.")] = None,
    exclude: Annotated[str | None, Option(help="CSV of rows to train without, of inspect --label-noise or scan --poisoning.")] = None,
    canaries: Annotated[int | None, Option("--plant-canaries", help="Made-up texts to learn too, for scan --memorisation.")] = None,
    out: Annotated[Path | None, Option(help="Folder of the run [runs/<name of the data>].")] = None,
    epochs: Annotated[float | None, Option(help="Passes over the rows.")] = None,
    rate: Annotated[str | None, Option(help="Peak learning rate; find: by a range test.")] = None,
    batch: Annotated[str | None, Option(help="Tokens that pass at once; find: the most that fit.")] = None,
    minutes: Annotated[float | None, Option(help="Time that the run may take.")] = None,
    memory: Annotated[str | None, Option(help="Memory that the run may hold, such as 4GB.")] = None,
    seed: Annotated[int | None, Option(help="Seed of splits, order and fresh weights [42].")] = None,
    accept: Annotated[list[str] | None, Option(help="A finding of the ledger that may exceed its limit, by name; repeatable.")] = None,
    change: Annotated[list[str] | None, Option("--set", help="Any key of the recipe: section.key=value.")] = None,
    track: Annotated[str | None, Option(help="Mirror metrics to tensorboard, wandb or mlflow.")] = None,
    merge: Annotated[bool, Option("--merge", help="Also write merged/, one plain model.")] = False,
    workers: Annotated[int | None, Option(help="Processes that learn together [1].")] = None,
    engine: Annotated[str | None, Option(help="Who starts the workers: torch, on this machine, or ray.")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace a run that is there.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Check everything, try one step, write nothing.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Fine-tune a base on labelled rows: measured, saved and reported."""
    from rootstock.cli import _start
    from rootstock.cli.console import assignments

    given: dict[str, Any] = {
        "base": base, "method.name": method, "task.name": task, "task.text": text, "task.text_pair": text_pair, "task.label": label,
        "teacher.run": teacher, "add_tokens": add_tokens, "augment.name": augment,
        "data.validation": validation, "training.epochs": epochs, "training.rate": rate, "budget.minutes": minutes, "seed": seed,
        "training.micro_tokens": batch, "budget.memory": memory, "data.exclude": exclude, "accept": accept, "track": track,
        "merge": merge or None, "cluster.workers": workers, "cluster.engine": engine, "data.canaries": canaries,
        "data.mix": _start.mix(mix), **_start.rows_or_parts(data, part or []),
    }  # fmt: skip
    recipe = _start.recipe_for(data, given, assignments(change or []))
    _start.check_kind(recipe, labelled=True)
    _start.start(recipe, out, _start.Mode(overwrite=overwrite, dry_run=dry_run, as_json=as_json))
