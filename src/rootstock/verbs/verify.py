"""Resume as a contract: the same steps straight and with a restart in the middle, compared tensor by tensor."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rootstock.core.errors import Interrupted, RunFailed
from rootstock.core.recipe import BudgetSettings, Recipe
from rootstock.core.runfolder import RunFolder, read_any, read_recipe
from rootstock.core.stages import StagedRecipe
from rootstock.core.watch import Say, Watch
from rootstock.loop import checkpoint
from rootstock.loop.history import read
from rootstock.run.execute import execute
from rootstock.run.prepare import prepare

Restart = Callable[[Path], None]
"""Goes on with the run in a folder."""


def in_new_process(folder: Path) -> None:
    """Go on with the run in `folder` as a person would: from disk, with nothing left in memory."""
    code = "import sys; from pathlib import Path; from rootstock.verbs import verify; verify.go_on(Path(sys.argv[1]))"
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run([sys.executable, "-c", code, str(folder)], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunFailed(f"the restarted run failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}")


def go_on(folder: Path) -> None:
    """Go on with the run in `folder`, keeping its checkpoints."""
    _train(read_recipe(RunFolder(folder).recipe), RunFolder(folder), lambda: False, resume=True)


def verify(recipe_path: Path, steps: int, say: Say, *, restart: Restart = in_new_process) -> dict[str, Any]:
    """Train `steps` updates straight, and with a restart from disk halfway; compare weights, optimizer, generators and batches."""
    recipe = read_any(recipe_path)
    place = Path(tempfile.mkdtemp(prefix="verify-resume-"))
    try:
        if isinstance(recipe, Recipe):
            return _proven(recipe.model_copy(update={"merge": False}), place, steps, say, restart)
        return _every(recipe, place, steps, say, restart)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _every(recipe: StagedRecipe, place: Path, steps: int, say: Say, restart: Restart) -> dict[str, Any]:
    """The proof for one stage after the other, each on what the straight run of the one before it left."""
    found: dict[str, dict[str, Any]] = {}
    for number in range(1, len(recipe.stages) + 1):
        name, before = recipe.folder(number), place / str(number - 1) / "straight"
        say(f"stage     {name}")
        base = str(before) if number > 1 else recipe.base
        made = recipe.recipe(number, base, minutes=None, merge=number < len(recipe.stages))
        found[name] = _proven(made, place / str(number), steps, say, restart)
    parted = next((name for name, each in found.items() if not each["identical"]), None)
    told = "\n".join(f"{name}: {each['verdict']}" for name, each in found.items())
    first = f"{parted}: {found[parted]['first_difference']}" if parted else None
    return {"identical": parted is None, "steps": steps, "stages": found, "first_difference": first, "verdict": told}


def _proven(recipe: Recipe, place: Path, steps: int, say: Say, restart: Restart) -> dict[str, Any]:
    training = recipe.training.model_copy(update={"steps": steps, "checkpoint_steps": steps, "patience": 0})
    # A clock and an early stop are no part of the proof: both would end the two runs at different steps.
    recipe = recipe.model_copy(update={"training": training, "track": None, "budget": BudgetSettings(memory=recipe.budget.memory)})
    straight, restarted = RunFolder(place / "straight"), RunFolder(place / "restarted")
    _train(recipe, straight, lambda: False)
    say(f"straight  {steps} updates")
    recipe = recipe.model_copy(update={"merge": False})
    try:
        _train(recipe, restarted, _Countdown(steps // 2))
    except Interrupted:
        say(f"stopped   after update {steps // 2}; starting again from disk")
    restart(restarted.path)
    return _verdict(straight, restarted, steps)


class _Countdown:
    """Asks to stop once, at its n-th question."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self) -> bool:
        self.left -= 1
        return self.left == 0


def _train(recipe: Recipe, folder: RunFolder, stop: Callable[[], bool], *, resume: bool = False) -> None:
    execute(prepare(recipe, lambda text: None), folder, Watch(stop=stop), resume=resume)


def _verdict(straight: RunFolder, restarted: RunFolder, steps: int) -> dict[str, Any]:
    first, second = (checkpoint.newest(folder.checkpoints)[0] for folder in (straight, restarted))
    assert first is not None
    assert second is not None
    names = [{f"{part}/{name}" for part, tensors in saved.parts.items() for name in tensors} for saved in (first, second)]
    different = sorted(names[0] ^ names[1]) or [
        f"{part}/{name}"
        for part, tensors in first.parts.items()
        for name, value in tensors.items()
        if not torch.equal(value, second.parts[part][name])
    ]
    events = [[event for event in read(folder.history) if event["event"] == "step"] for folder in (straight, restarted)]
    parted = [a["step"] for a, b in zip(*events, strict=False) if (a["batch"], a["loss"]) != (b["batch"], b["loss"])]
    same = not different and not parted and len(events[0]) == len(events[1])
    tensors = sum(len(part) for part in first.parts.values())
    first_difference = (
        (f"step {parted[0]}: batch or loss" if parted else different[0] if different else "the number of steps") if not same else None
    )
    verdict = (
        f"identical: {tensors} tensors and {steps} batches and losses, bit for bit"
        if same
        else f"not identical; first difference: {first_difference}"
    )
    return {"identical": same, "steps": steps, "tensors": tensors, "first_difference": first_difference, "verdict": verdict}
