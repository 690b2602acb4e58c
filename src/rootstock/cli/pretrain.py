"""Pre-train a base on text that has no labels: `rootstock pretrain corpus/ --task masked-lm --base scratch:bert-mini`."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option


def pretrain(
    corpora: Annotated[
        list[str], Argument(help="Corpora: folders of `corpus build`, or any files and folders of text, hf:NAME, stdlib-docs.")
    ],
    task: Annotated[str, Option(help="An objective of `rootstock tasks`.")] = "masked-lm",
    base: Annotated[str, Option(help="scratch:<architecture>, scratch:config.json, or a base to go on with.")] = "scratch:bert-mini",
    tokenizer: Annotated[Path | None, Option(help="Folder of `tokenizer train`, for a scratch base [minilm's].")] = None,
    add_tokens: Annotated[str | None, Option(help="Tokens for the base's tokenizer: a file with one a line, or with commas.")] = None,
    method: Annotated[str, Option(help="auto, or one of `rootstock methods`.")] = "auto",
    mix: Annotated[str | None, Option(help="Shares of several corpora: proportional, equal, a temperature, or weights 2,1.")] = None,
    text: Annotated[str | None, Option(help="Field or column of the text in tables [by its name].")] = None,
    languages: Annotated[str | None, Option(help="Codes of the languages to learn from, such as en,de [all].")] = None,
    validation: Annotated[float, Option(help="Share of the documents to hold out.")] = 0.05,
    canaries: Annotated[int | None, Option("--plant-canaries", help="Made-up texts to learn too, for scan --memorisation.")] = None,
    out: Annotated[Path | None, Option(help="Folder of the run [runs/<name of the corpus>].")] = None,
    epochs: Annotated[float | None, Option(help="Passes over the documents.")] = None,
    length: Annotated[int | None, Option(help="Tokens of a row [128].")] = None,
    rate: Annotated[str | None, Option(help="Peak learning rate; find: by a range test.")] = None,
    batch: Annotated[str | None, Option(help="Tokens that pass at once; find: the most that fit.")] = None,
    minutes: Annotated[float | None, Option(help="Time that the run may take.")] = None,
    memory: Annotated[str | None, Option(help="Memory that the run may hold, such as 4GB.")] = None,
    seed: Annotated[int | None, Option(help="Seed of order, masks and fresh weights [42].")] = None,
    accept: Annotated[list[str] | None, Option(help="A finding of the ledger that may exceed its limit.")] = None,
    change: Annotated[list[str] | None, Option("--set", help="Any key of the recipe: section.key=value.")] = None,
    track: Annotated[str | None, Option(help="Mirror metrics to tensorboard, wandb or mlflow.")] = None,
    workers: Annotated[int | None, Option(help="Processes that learn together [1].")] = None,
    engine: Annotated[str | None, Option(help="Who starts the workers: torch, on this machine, or ray.")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace a run that is there.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Check everything, try one step, write nothing.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Pre-train a base on text that has no labels: measured, saved and reported."""
    from rootstock.cli import _start
    from rootstock.cli.console import assignments

    given: dict[str, Any] = {
        "base": base, "tokenizer": str(tokenizer) if tokenizer else None, "method.name": method, "task.name": task,
        "data.validation": str(validation), "data.mix": _start.mix(mix), "task.text": text, "training.epochs": epochs,
        "training.length": length, "training.rate": rate, "budget.minutes": minutes, "seed": seed, "accept": accept, "track": track,
        "add_tokens": add_tokens, "data.canaries": canaries, "data.languages": _start.codes(languages), "training.micro_tokens": batch,
        "cluster.workers": workers, "cluster.engine": engine, "budget.memory": memory,
    }  # fmt: skip
    recipe = _start.recipe_for(corpora[0] if len(corpora) == 1 else corpora, given, assignments(change or []))
    _start.check_kind(recipe, labelled=False)
    _start.start(recipe, out, _start.Mode(overwrite=overwrite, dry_run=dry_run, as_json=as_json))
