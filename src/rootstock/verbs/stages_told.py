"""What stages came to: figures before and after each, what each was worth for the last, and the files that tell it."""

import importlib.metadata
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rootstock import catalog
from rootstock.bases import load as bases
from rootstock.core import artifact
from rootstock.core.figures import ERRORS
from rootstock.core.objective import Objective
from rootstock.core.recipe import Recipe
from rootstock.core.rows import PART
from rootstock.core.stages import StagedRecipe
from rootstock.core.task import Labelled, Uniform
from rootstock.core.watch import Watch
from rootstock.evaluation import held_out, intervals
from rootstock.evaluation.paired import Answered, Drawn, difference, draw, estimate
from rootstock.loop import precision
from rootstock.loop.history import read
from rootstock.report import stages as page
from rootstock.run.build import build
from rootstock.run.found import usual
from rootstock.run.measure import measure
from rootstock.run.prepare import prepare
from rootstock.run.prepared import LabelledRows
from rootstock.run.use import Run
from rootstock.verbs.stages_state import State, Unit, units


def before(recipe: Recipe) -> tuple[dict[str, float], dict[str, Sequence[float]]]:
    """What the base of a stage reaches on the stage's own validation rows, with intervals; nothing where its head has yet to learn."""
    prepared = usual(prepare(recipe, lambda text: None))
    loaded = bases.load(prepared.base, prepared.task.head(), seed=recipe.seed)
    if isinstance(prepared.task, Objective):
        loaded = prepared.task.outfit(loaded)
    if loaded.fresh:
        return {}, {}
    # Under the method that puts nothing beside the base, so that it is the base that answers.
    plain = replace(prepared, method=catalog.find("methods", "full")())
    built = build(plain, None, Watch())
    assert isinstance(prepared.task, Uniform), "several tasks at once are no stage"
    with precision.computing(built.learner, built.dtype, built.fresh):
        columns = prepared.task.judged(measure(plain, built, prepared.task, glance=True))
    figures = prepared.task.metrics(columns)
    if isinstance(prepared.task, Objective):
        document_N = prepared.encoded_validation.dense.get(PART)
        return figures, {**held_out.between(columns, prepared.task, names=list(figures), seed=recipe.seed, document_N=document_N)}
    assert isinstance(prepared.task, Labelled)
    return figures, {**intervals.between(columns, prepared.task, figures, seed=recipe.seed)}


def conclude(recipe: StagedRecipe, state: State) -> None:
    """Write figures, report, card and the last stage's model at the top of the folder; manifest.json comes last and makes it complete."""
    folder, held = state.folder, units(recipe)
    last = Run(state.run(held[-1]).path)
    stages = [_told(state, unit) for unit in held if unit.start == unit.number - 1]
    gains = _gains(recipe, state, held) if recipe.gains else []
    metrics = last.metrics | {"stages": stages, "gains": gains}
    artifact.write_json(folder.path / "metrics.json", metrics)
    facts = {"name": folder.path.name, "metrics": metrics}
    artifact.write_text(folder.path / "report.html", page.render(facts))
    card = (last.path / "README.md").read_text("utf-8")
    artifact.write_text(folder.path / "README.md", card.rstrip() + "\n\n" + page.card(facts))
    for name in ("model", "merged"):
        if (last.path / name).is_dir():
            with artifact.whole_folder(folder.path / name) as beside:
                shutil.copytree(last.path / name, beside, copy_function=_linked, dirs_exist_ok=True)
    kept = {name: digest for name, digest in last.folder.json("manifest.json")["files"].items() if name.startswith(("model/", "merged/"))}
    own = [folder.recipe, *(folder.path / name for name in ("metrics.json", "report.html", "README.md"))]
    own += [state.run(unit).manifest for unit in held]
    manifest = {
        "format": 1,
        "stages": [{"name": each["name"], "task": each["task"], "method": each["method"]} for each in stages],
        "base": stages[0]["base"],
        "seed": recipe.seed,
        "versions": {"rootstock": importlib.metadata.version("rootstock")},
        "files": {path.relative_to(folder.path).as_posix(): artifact.digest_file(path) for path in own} | kept,
    }
    artifact.write_json(folder.manifest, manifest)


def _linked(source: str, target: str) -> None:
    """The same file under two names: it takes no room twice. A copy where the disk has no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _told(state: State, unit: Unit) -> dict[str, Any]:
    """One stage as JSON: where it came from, and its leading figure before and after it."""
    folder = state.run(unit)
    manifest, metrics, plan = (folder.json(f"{name}.json") for name in ("manifest", "metrics", "plan"))
    figure = metrics["best_by"][0]
    first = next((event for event in read(folder.history) if event["event"] == "evaluation" and figure in event), None)
    return {
        "name": unit.folder,
        **{key: manifest[key] for key in ("task", "method", "base", "data", "rows")},
        "figure": figure,
        "before": state.held[unit.folder]["before"].get(figure),
        "before_interval": state.held[unit.folder].get("before_intervals", {}).get(figure),
        "first": {"step": first["step"], "value": first[figure]} if first else None,
        "after": metrics["metrics"].get(figure),
        "interval": metrics["intervals"].get(figure),
        "baselines": {name: found[figure] for name, found in metrics.get("baselines", {}).items() if figure in found},
        "baseline_intervals": {name: found.get(figure) for name, found in metrics.get("baseline_intervals", {}).items()},
        "verdict": metrics.get("verdict"),
        **{key: plan["measured"][key] for key in ("seconds", "steps")},
    }


def _gains(recipe: StagedRecipe, state: State, held: list[Unit]) -> list[dict[str, Any]]:
    """What each stage was worth for the last: the difference of the last stage from the base after and before it, on the same rows."""
    arms = {unit.start: Run(state.run(unit).path) for unit in held if unit.number == len(recipe.stages)}
    figure = arms[0].task.headline[0]
    drawn = {start: _drawn(run, figure, recipe.seed) for start, run in arms.items()}
    less = figure in ERRORS
    return [_gain(recipe.folder(start), figure, (drawn[start - 1], drawn[start]), less=less) for start in sorted(drawn) if start] + (
        [_gain("all", figure, (drawn[0], drawn[max(drawn)]), less=less)] if len(drawn) > 2 else []
    )


def _gain(stage: str, figure: str, sides: tuple[Drawn, Drawn], *, less: bool) -> dict[str, Any]:
    found = difference(sides[1], sides[0])
    before, after = (estimate(side, within=intervals.limits(figure)) for side in sides)
    return {
        "stage": stage,
        "figure": figure,
        "before": before.value,
        "before_interval": list(before.interval),
        "after": after.value,
        "after_interval": list(after.interval),
        "gain": found.value,
        "interval": list(found.interval),
        "separable": found.separable,
        "less_is_better": less,
        "rows": sides[0].rows,
    }


def _drawn(run: Run, figure: str, seed: int) -> Drawn:
    prepared = prepare(run.recipe, lambda text: None)
    assert isinstance(prepared, LabelledRows)
    rows = prepared.validation
    columns = run.task.judged({**run.predictions(rows).columns, "answers": run.task.answers(rows)})
    return draw([Answered(columns, run.task)], figure, seed=seed)
