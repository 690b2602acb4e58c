"""The start of a run: what it is is written first, so that a place that can't be written is met first; and gone where it never learns."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from rootstock.core import artifact
from rootstock.core.errors import Interrupted, RootstockError
from rootstock.core.runfolder import RunFolder, recipe_text
from rootstock.core.watch import Watch
from rootstock.run import found as found_settings
from rootstock.run.build import Built, build
from rootstock.run.prepared import Prepared
from rootstock.run.setback import Setbacks

Done = TypeVar("Done")


def begun(prepared: Prepared, folder: RunFolder, watch: Watch, *, found: dict[str, Any], resume: bool) -> Built:
    """Write what the run is, then build its model. Where that fails, or is interrupted, the next try finds the place as it was."""
    artifact.write_json(folder.path / "ledger.json", prepared.ledger)
    found_settings.keep(folder, prepared.recipe, found)
    artifact.write_text(folder.recipe, recipe_text(prepared.recipe))
    try:
        return build(prepared, folder, watch)
    except RootstockError:
        _take_back(folder, resume=resume)
        raise


def taken_back(attempt: Callable[[Setbacks], Done], folder: RunFolder, *, resume: bool) -> Callable[[Setbacks], Done]:
    """The attempt, after which nothing is left where something is wrong before the first update: memory, a setting, room on the disk.

    What was begun would stand in the way of the next try. Who interrupts it may go on with it.
    """

    def tried(back: Setbacks) -> Done:
        try:
            return attempt(back)
        except Interrupted:
            raise
        except RootstockError:
            _take_back(folder, resume=resume or back.learned)
            raise

    return tried


def _take_back(folder: RunFolder, *, resume: bool) -> None:
    """Remove what was written of a run that has not learned anything, neither before this call nor in it."""
    if resume or folder.checkpoints.exists():
        return
    with suppress(OSError):  # where nothing can be removed, nothing could be written, and that is what is told
        for name in "ledger.json", "recipe.yaml", "plan.json", "history.jsonl", "warm-up.jsonl":
            (folder.path / name).unlink(missing_ok=True)
        shutil.rmtree(folder.path / "track", ignore_errors=True)
        if not any(folder.path.iterdir()):
            folder.path.rmdir()
