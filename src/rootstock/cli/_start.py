"""Shared by adapt, pretrain and run: a recipe from options, the run itself, and its summary."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rootstock import STARTED
from rootstock.cli.console import Console, show

if TYPE_CHECKING:
    from rootstock.core.recipe import Recipe
    from rootstock.core.stages import StagedRecipe
    from rootstock.run.use import Run


@dataclass(frozen=True, kw_only=True)
class Mode:
    """How a run is started and its result shown."""

    overwrite: bool = False
    resume: bool = False
    dry_run: bool = False
    as_json: bool = False
    goes_back: bool = True


def recipe_for(data: str | list[str] | None, given: Mapping[str, Any], changes: Mapping[str, Any]) -> "Recipe":
    """The recipe that options describe; what is not given keeps its default."""
    from rootstock.core.recipe import Recipe
    from rootstock.core.settings import changed

    values = {"data": {} if data is None else {"train": data}, "method": {"name": "auto"}, "task": {"name": "auto"}}
    options = {key: value for key, value in given.items() if value is not None}
    if "data.validation" in options:
        options["data.validation"] = _share(options["data.validation"])
    return Recipe.build(changed(changed(values, options), changes), "").anchored(Path.cwd())


def check_kind(recipe: "Recipe", *, labelled: bool) -> None:
    """Raise UsageError for an objective where labels are read, and the other way round; only labels can tell the task by themselves."""
    from rootstock import catalog
    from rootstock.core.errors import UsageError
    from rootstock.core.objective import Objective

    task = str(recipe.task.get("name", "auto"))
    if task == "auto" and not labelled:
        raise UsageError("--task is auto", wanted="an objective: text without labels tells none", fix="name one, such as --task masked-lm")
    if task == "auto" or issubclass(catalog.find("tasks", task), Objective) != labelled:
        return
    other = "rootstock pretrain" if labelled else "rootstock adapt"
    held = "is learned without labels" if labelled else "reads its labels from the data"
    raise UsageError(f"{task} {held}", wanted="one of `rootstock tasks` that fits the verb", fix=f"use {other}, or name another --task")


def parts(given: list[str]) -> dict[str, str]:
    """The rows of each part as keys of a recipe, from NAME=FILE."""
    from rootstock.core.errors import UsageError

    found: dict[str, str] = {}
    for pair in given:
        name, sign, file = pair.partition("=")
        if not sign or not name or not file or "." in name:
            raise UsageError(f"--part {pair}", wanted="NAME=FILE, with a name of letters, digits, - and _")
        if (key := f"task.parts.{name}.data.train") in found:
            raise UsageError(f"--part names {name} twice", wanted="a name of its own for each")
        found[key] = file
    return found


def rows_or_parts(data: str | None, given: list[str]) -> dict[str, str]:
    """The parts as keys of a recipe; raises UsageError unless there are either rows or parts."""
    from rootstock.core.errors import UsageError

    if (data is None) == (not given):
        found = "neither rows nor parts" if data is None else f"found {data} and --part"
        raise UsageError(found, wanted="a file of rows, or --part NAME=FILE for each of several tasks")
    return parts(given)


def codes(given: str | None) -> list[str] | None:
    """Languages as a recipe takes them, from codes with commas between."""
    return None if given is None else [each.strip() for each in given.split(",")]


def mix(given: str | None) -> str | float | list[float] | None:
    """Shares of corpora as a recipe takes them: a word, a temperature, or weights with commas between."""
    if given is None or given.isalpha():
        return given
    from rootstock.core.errors import UsageError

    try:
        numbers = [float(each) for each in given.split(",")]
    except ValueError:
        raise UsageError(f"--mix is {given!r}", wanted="proportional, equal, a number, or weights such as 2,1") from None
    return numbers if "," in given else numbers[0]


def start(recipe: "Recipe | StagedRecipe", out: Path | None, mode: Mode) -> None:
    """Carry a recipe out and print what came of it."""
    from rootstock.core import worker
    from rootstock.core.errors import Interrupted, MergeRefused, UsageError
    from rootstock.core.recipe import Recipe
    from rootstock.core.runfolder import RunFolder
    from rootstock.core.watch import Stops, Watch
    from rootstock.run.use import Run
    from rootstock.verbs import api

    if worker.launched() > 1 and out is None:
        raise UsageError("several workers and no --out", wanted="one folder, the same for all", fix="name it with --out")
    if worker.launched() > 1 and not isinstance(recipe, Recipe):
        raise UsageError(
            "several workers and a recipe of stages", wanted="the recipe of one run", fix="leave torchrun out, and give --workers"
        )
    console = Console()
    watch = Watch(say=console.say, event=console.event, goes_back=mode.goes_back, started=STARTED)
    verb: Any = api
    if isinstance(recipe, Recipe):
        name = api.name_for(recipe)
    else:
        from rootstock.verbs import stages

        verb, name = stages, "stages"
    folder = out or api.free_folder(Path("runs") / name)
    if mode.dry_run:
        api.check_place(RunFolder(folder), overwrite=mode.overwrite or mode.resume)
        show(plan := verb.rehearse(recipe, watch), "nothing was written", as_json=mode.as_json and bool(plan))
        return
    try:
        with Stops(console.say if worker.rank() == 0 else lambda text: None) as stops:
            run: Run = verb.carry_out(recipe, folder, replace(watch, stop=stops.asked), overwrite=mode.overwrite, resume=mode.resume)
    except KeyboardInterrupt:
        held = RunFolder(folder)
        if not held.begun or held.complete:
            raise
        raise Interrupted("stopped at once; checkpoints are kept", fix=f"go on with: {held.going_on}") from None
    except MergeRefused:
        if RunFolder(folder).complete:
            run = Run(folder)
            show(run.metrics, summary(run), as_json=mode.as_json)
        raise
    if worker.rank() == 0 and not worker.owned():
        show(run.whole.json("metrics.json"), summary(run), as_json=mode.as_json)


def summary(run: "Run") -> str:
    """A run in a few lines: figures with intervals, baselines, verdict, and where to look."""
    metrics, folder, before = run.whole.json("metrics.json"), run.whole, []
    if "stages" in metrics:
        from rootstock.report import stages

        before = [*stages.as_text(metrics), ""]
    return "\n".join(
        [
            "",
            *before,
            *figures(metrics),
            "",
            f"report    {folder.path / 'report.html'}",
            f"model     {folder.path / 'parts/*/model' if folder.parts else folder.model}",
            f"again     rootstock run {shlex.quote(str(folder.recipe))}",
        ]
    )


def figures(metrics: Mapping[str, Any]) -> list[str]:
    """Each figure on a line, with its interval where it has one, then the baselines, leakage and verdict."""
    lines = []
    for part, held in metrics.get("parts", {}).items():
        lines += [part, *(f"  {each}" for each in figures(held)), ""]
    values, leads = metrics["metrics"], metrics.get("headline") or list(metrics["intervals"])
    for name in dict.fromkeys([*(each for each in leads if each in values), *values]):  # the figures that lead come first
        lines.append(f"{name:<24}{values[name]:8.4f}{_ends(metrics['intervals'].get(name), '   ')}")
    lines += _baselines(metrics, leads)
    leakage = metrics.get("leakage") or {}
    if leakage.get("overlap_rows"):
        shown = f"{leakage['overlap_rows']:,} of {metrics['rows']:,} rows also occur in training"
        without = _short(leakage.get("without") or {}, leakage.get("intervals", {}).get("without", {}))
        lines.append(f"{shown}; without these: {without or 'none is left'}")
    if metrics.get("broken_images"):
        lines.append(f"{metrics['broken_images']:,} images beside these {metrics['rows']:,} can't be read and were left out")
    if metrics.get("unseen_rows"):
        lines.append(f"{metrics['unseen_rows']:,} rows beside these {metrics['rows']:,} have a label that no training row had: left out")
    if "leakage" in metrics and metrics["leakage"] is None:
        lines.append("which of these rows were trained on is not known: the model came without its run")
    if metrics.get("truncated_rows"):
        lines.append(f"{metrics['truncated_rows']:,} of {metrics['rows']:,} rows are longer than the model takes and were cut")
    if metrics.get("chose_rows"):
        lines.append(f"{metrics['chose_rows']:,} of {metrics['rows']:,} rows chose the best state: on untouched rows expect less")
    return [*lines, *([metrics["verdict"]] if metrics.get("verdict") else [])]


def _baselines(metrics: Mapping[str, Any], leads: Sequence[str]) -> Iterator[str]:
    """What each baseline reaches in the figures that lead, how far the model is from it, and why one is missing."""
    for name, found in metrics.get("baselines", {}).items():
        leading, ends = {key: found[key] for key in leads if key in found}, metrics.get("baseline_intervals", {}).get(name, {})
        shown = _short(leading, ends, most=len(leads))
        apart = metrics.get("differences", {}).get(name)
        if shown and apart and len(apart["difference"]) == 2 and apart["figure"] in found and apart["figure"] in metrics["metrics"]:
            far = metrics["metrics"][apart["figure"]] - found[apart["figure"]]
            shown += f"; the model's {apart['figure']} differs by {far:+.4f} [{apart['difference'][0]:+.4f}, {apart['difference'][1]:+.4f}]"
        yield f"{'baseline ' + name:<24}{shown or 'none of these figures is defined for it'}"
    for name, reason in metrics.get("left_out", {}).items():
        yield f"{'no baseline ' + name:<24}{reason}"


def _short(found: Mapping[str, Any], intervals: Mapping[str, Any], *, most: int = 2) -> str:
    return ", ".join(
        f"{name} {value:.4f}{_ends(intervals.get(name))}" for name, value in list(found.items())[:most] if isinstance(value, float)
    )


def _ends(interval: Sequence[float] | None, before: str = " ") -> str:
    """An interval where there is one."""
    return f"{before}[{interval[0]:.4f}, {interval[1]:.4f}]" if interval else ""


def _share(value: str) -> str | float:
    try:
        return float(value)
    except ValueError:
        return value
