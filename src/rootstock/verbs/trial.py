"""A short run on some of the rows, in a process of its own: what a run takes here, from the start of its libraries to its last file."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rootstock.core.artifact import write_text
from rootstock.core.errors import RunFailed
from rootstock.core.recipe import Recipe
from rootstock.core.runfolder import recipe_text
from rootstock.planning import ledger

UPDATES = 12
"""Of the trial. Each meets lengths of its own, as in a run, and the making of their products counts."""
ROWS = 1_000
"""At most: what is read, encoded, scored and written grows with them."""


def carried_out(recipe: Recipe) -> dict[str, Any]:
    """What the ledger says of the run, which leaves no other trace. RunFailed where it does not end."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_text(folder / "recipe.yaml", recipe_text(recipe))
        command = [sys.executable, "-m", "rootstock", "run", str(folder / "recipe.yaml"), "--out", str(folder / "run")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **_own(folder)})
        found = ledger.read(folder / "ledger.jsonl").entries
        if done.returncode or not found:
            said = (done.stderr.strip().splitlines() or ["it left no figures"])[-1].removeprefix("rootstock: ").strip()
            raise RunFailed(f"the short run that measures this machine did not end: {said}", fix="leave --this-machine out")
        return found[-1]


def _own(folder: Path) -> Mapping[str, str]:
    """Its own cache and ledger: nothing is met that another run kept, and nothing is left."""
    return {"ROOTSTOCK_CACHE": str(folder / "cache"), ledger.VARIABLE: str(folder / "ledger.jsonl")}
