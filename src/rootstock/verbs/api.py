"""What people call: adapt, run a recipe, inspect."""

import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from rootstock import catalog
from rootstock.core import aside
from rootstock.core.errors import Interrupted, UsageError
from rootstock.core.lock import alone
from rootstock.core.method import Method
from rootstock.core.recipe import Recipe
from rootstock.core.resources import restart_peak
from rootstock.core.runfolder import RunFolder, built, read_any, read_recipe
from rootstock.core.settings import changed
from rootstock.core.stages import StagedRecipe
from rootstock.core.task import Task
from rootstock.core.watch import Stops, Watch
from rootstock.core.worker import misled, owned, reported, restarts
from rootstock.data.hub import PREFIX
from rootstock.data.ledger import lines, refuse
from rootstock.loop.world import World, joined
from rootstock.run import workers
from rootstock.run.execute import dry_run, execute
from rootstock.run.prepare import prepare
from rootstock.run.prepared import Prepared, ledgers
from rootstock.run.use import Run
from rootstock.verbs import launch

_LOG = logging.getLogger("rootstock")
AGAIN = "give the same command again: it goes on from here"
"""How to go on with what has parts that are runs."""
_SECTIONS = ("tokenizer", "add_tokens", "augment", "teacher", "training", "budget", "accept", "merge", "seed", "track", "cluster")
"""Parts of a recipe that adapt() takes by their own names."""


def adapt(
    data: str | Path | Mapping[str, str | Path],
    *,
    base: str = "minilm",
    method: str | Method = "auto",
    task: str | Task = "auto",
    out: str | Path | None = None,
    **more: Any,
) -> Run:
    """Fine-tune a base on labelled rows; returns the finished run. data: a file, or files by name for several tasks that learn together.

    more: the other sections of a recipe as plain values, such as training={"epochs": 3}, validation="dev.csv", seed=1, overwrite=True.
    What the command line prints of decisions and findings goes to the logger "rootstock" at level INFO. The first Ctrl-C raises Interrupted
    once a checkpoint is saved, and says how to go on; the second stops at once.
    """
    sections: dict[str, Any] = {name: more.pop(name) for name in _SECTIONS if name in more}
    overwrite = bool(more.pop("overwrite", False))
    values: dict[str, Any] = {
        "base": str(base),
        "data": more if isinstance(data, Mapping) else {"train": str(data), **more},
        "method": _section("methods", method),
        "task": _section("tasks", task),
        **sections,
    }
    if isinstance(data, Mapping):
        values = changed(values, {f"task.parts.{name}.data.train": str(file) for name, file in data.items()})
    recipe = Recipe.build(values, "").anchored(Path.cwd())
    place = Path(out) if out else free_folder(Path("runs") / name_for(recipe))
    with Stops(_LOG.warning) as stops:
        return carry_out(recipe, place, Watch(say=_LOG.info, stop=stops.asked), overwrite=overwrite)


def carry_out(recipe: Recipe, out: Path, watch: Watch, *, overwrite: bool = False, resume: bool = False) -> Run:
    """Prepare and execute a recipe into a folder. Raises UsageError where the folder already holds a run.

    A run that is to be replaced stays until the new one has made its first update, and is back where it comes to none.
    """
    folder = RunFolder(out)
    if launch.wanted(recipe.cluster):
        with alone(out):
            if not ended(folder, watch, overwrite=overwrite, resume=resume):
                launch.carry_out(recipe, folder, watch, overwrite=overwrite, resume=resume)
        return Run(out)
    if warning := misled():
        watch.say(f"warning   {warning}")
    with joined(recipe.cluster.strategy) as world, reported():
        if restarts() and folder.begun:  # a worker has died, and all were started again by the same command
            overwrite, resume = False, True
        with alone(out) if world.first and not owned() else nullcontext():  # who started the workers holds it for them
            return _carried_out(recipe, folder, workers.heard(watch, world), world, _How(overwrite=overwrite, resume=resume))


class _How(NamedTuple):
    overwrite: bool
    resume: bool


def _carried_out(recipe: Recipe, folder: RunFolder, watch: Watch, world: World, how: _How) -> Run:
    """As one of the workers of a world, or alone. The first of them comes first, and leaves what it computes in the cache."""
    recipe = workers.known(recipe, world)
    (done,) = world.one(float(world.first and ended(folder, watch, overwrite=how.overwrite, resume=how.resume)))
    if done:
        return Run(folder.path)
    with world.turn():
        prepared = admitted(recipe, watch)
    with replacing(folder, prepared.base.folder, watch, overwrite=how.overwrite) if world.first else nullcontext(watch) as heard:
        try:
            execute(prepared, folder, heard, resume=how.resume, world=world)
        finally:
            if world.first and folder.complete:  # also where a merge was refused: there is nothing left to go on with
                shutil.rmtree(folder.checkpoints, ignore_errors=True)
    world.wait()
    return Run(folder.path)


def ended(folder: RunFolder, watch: Watch, *, overwrite: bool, resume: bool) -> bool:
    """Whether there is nothing left to do. Raises UsageError where a run can neither begin in this folder nor go on."""
    aside.mend(folder.path, begun=folder.begun, learned=aside.waits(folder.path) and (folder.complete or folder.learned))
    if not resume:
        check_place(folder, overwrite=overwrite)
    elif not folder.begun:
        raise UsageError(
            f"{folder.path} holds no run to go on with", wanted="the recipe.yaml in the folder of a run", fix="leave --resume out"
        )
    elif folder.complete:
        watch.say(f"run       {folder.path} had already ended")
    return resume and folder.complete


def part(recipe: Recipe, place: Path, watch: Watch, *, fix: str) -> Run:
    """A run that is part of something larger, gone on with where it was begun. fix: how to go on with the whole."""
    folder = RunFolder(place)
    if place.exists() and not folder.begun:
        shutil.rmtree(place)  # killed before it had written what it is
    try:
        return carry_out(recipe, place, watch, resume=folder.begun)
    except Interrupted as stop:
        raise Interrupted(f"{place.name}: {stop.found}", fix=fix) from None


def admitted(recipe: Recipe, watch: Watch) -> Prepared:
    """What can be learned from, its account accepted and said."""
    if recipe.budget.memory:  # what an earlier run of this process held is not held by this one
        restart_peak()
    prepared = prepare(recipe, watch.say)
    watch.read(prepared.sources)
    for name, account in ledgers(prepared).items():
        refuse(account, recipe.accept, part=name)
        for line in lines(account, recipe.accept):
            watch.say(f"ledger    {name + ': ' if name else ''}{line}")
    return prepared


def check_place(folder: RunFolder, *, overwrite: bool) -> None:
    """Make sure that no run is written over unasked, and nobody's own files ever."""
    above = next(each for each in (folder.path, *folder.path.parents) if each.exists())
    if not above.is_dir():
        raise UsageError(f"{above} is a file", wanted="a folder for the run", fix="choose another --out")
    if above != folder.path or not any(folder.path.iterdir()):
        return
    if all(each.name in ("ledger.json", "plan.json") or each.name.endswith(".part") for each in folder.path.iterdir()):
        return  # a run that was killed before it had written what it is
    if not folder.begun or (overwrite and folder.strangers()):
        held = f": {', '.join(folder.strangers()[:3])}" if folder.strangers() else ""
        raise UsageError(f"{folder.path} holds other files{held}", wanted="a new or empty folder", fix="choose another --out")
    if not overwrite:
        state = "a finished run" if folder.complete else "a run that has not ended"
        fix = "choose another --out, or give --overwrite" + ("" if folder.complete else f"; go on with it: {folder.going_on}")
        raise UsageError(f"{folder.path} already holds {state}", wanted="a new or empty folder", fix=fix)


@contextmanager
def replacing(folder: RunFolder, base: Path | None, watch: Watch, *, overwrite: bool) -> Iterator[Watch]:
    """The watch of a run; what it replaces is put aside until it has learned. UsageError where it starts from what that holds."""
    if overwrite and folder.begun:
        if base and base.is_relative_to(folder.path.resolve()):
            raise UsageError(f"{folder.path} holds the base of this very run", wanted="another folder", fix="choose another --out")
        aside.put(folder.path)
    with aside.kept(folder.path, watch) as heard:
        yield heard


def again(recipe_path: Path, changes: Mapping[str, Any]) -> Recipe:
    """The recipe of one run from its file with some keys (section.key) set to other values."""
    return Recipe.build(changed(read_recipe(recipe_path).plain(), changes), "").anchored(Path.cwd())


def again_any(recipe_path: Path, changes: Mapping[str, Any]) -> Recipe | StagedRecipe:
    """The same for a recipe that may list stages; those go by their number: stages.2.training.epochs."""
    return built(changed(read_any(recipe_path).plain(), changes)).anchored(Path.cwd())


def rehearse(recipe: Recipe, watch: Watch) -> dict[str, Any]:
    """Everything up to one real step on the longest batch, writing nothing; returns what it predicts."""
    prepared = admitted(recipe, watch)
    with tempfile.TemporaryDirectory() as folder:
        return dry_run(prepared, RunFolder(Path(folder)), watch)


def beside(recipe_path: Path) -> Path:
    """Where a run of this recipe goes when nothing is said: next to the run that the recipe lies in, or runs/<its name>."""
    inside = RunFolder(recipe_path.parent).begun
    return free_folder(recipe_path.resolve().parent if inside else Path("runs") / recipe_path.stem)


def free_folder(wanted: Path) -> Path:
    """The wanted folder, or the first of wanted-2, wanted-3 … that is not there."""
    number, found = 1, wanted
    while found.exists() and not (found.is_dir() and not any(found.iterdir())):
        number += 1
        found = wanted.with_name(f"{wanted.name}-{number}")
    return found


def name_for(recipe: Recipe) -> str:
    """A run's name from its data: reviews.csv.gz gives reviews, hf:glue:sst2:train gives glue. One on several tasks is called by these."""
    if not recipe.data.train:
        return "-".join(recipe.task.get("parts", ())) or "run"
    reference = recipe.data.train if isinstance(recipe.data.train, str) else recipe.data.train[0]
    path = reference.removeprefix(PREFIX).split(":")[0] if reference.startswith(PREFIX) else reference
    return Path(path).name.split(".")[0] or "run"


def _section(kind: Any, chosen: Any) -> dict[str, Any]:
    return {"name": chosen} if isinstance(chosen, str) else {"name": catalog.name_of(kind, type(chosen)), **chosen.plain()}
