"""One training of one arm, seen from outside: the recipe, the process that carries it out, and the answers that it leaves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rootstock.core import artifact
from rootstock.core.errors import Diverged, Interrupted, OutOfMemory, RootstockError, RunFailed, received, retold
from rootstock.core.recipe import Recipe
from rootstock.core.watch import Watch
from rootstock.evaluation.paired import Answered
from rootstock.verbs import api, arms_rows, kept_answers
from rootstock.verbs.arms import Arm
from rootstock.verbs.arms_nursery import Nursery

_NURSERY = Nursery()
"""One for all trainings of this process: what they import is the same, and one learns at a time."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """An arm that learns from some rows (None: all) with a seed. folder: of the comparison."""

    arm: Arm
    rows: int | None
    seed: int
    folder: Path
    recipe: Recipe

    @property
    def cell(self) -> str:
        """What it learns from."""
        return cell(self.rows, self.seed)

    @property
    def spoken(self) -> str:
        """For a person."""
        return f"{self.arm.name}, {f'{self.rows:,} rows' if self.rows else 'all rows'}, seed {self.seed}"

    @property
    def run(self) -> Path:
        """Where it learns."""
        return self.folder / "runs" / self.arm.key / self.cell

    @property
    def stem(self) -> Path:
        """Where its answers go, but for what they end in."""
        return (self.folder / "answers" / self.arm.key / self.cell).resolve()

    @property
    def facts(self) -> dict[str, Any] | None:
        """What it reached and took; None where it has not ended."""
        path = self.stem.with_suffix(".json")
        return artifact.read_json(path, wanted="a comparison's answers", fix="remove it") if path.exists() else None

    def forget_stop(self) -> None:
        """As if a training that a rival ended early had not begun; one that ended by itself stays."""
        if (self.facts or {}).get("stopped"):
            for ending in (".stopped.json", ".json"):
                self.stem.with_suffix(ending).unlink(missing_ok=True)

    @property
    def figure(self) -> str:
        """The leading one of its task, once it has ended."""
        facts = self.facts
        assert facts is not None
        return str(kept_answers.task_of(facts["task"]).headline[0])

    def answers(self, side: str) -> Answered:
        """Its answers on the rows of a side, of which those of equal texts are one."""
        facts = self.facts
        assert facts is not None
        found = kept_answers.read(self.stem.with_suffix(f".{side}.safetensors"), facts["task"])
        return found.grouped(arms_rows.groups(self.recipe, arms_rows.place(self.folder, side)))


def cell(rows: int | None, seed: int) -> str:
    """Some rows and a seed, in a word."""
    return f"{rows or 'all'}-{seed}"


def carried_out(unit: Unit, watch: Watch, rival: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Learn in a process of its own, now or on from where it was stopped; the facts of the run.

    A run that diverges or does not fit in memory has facts as well: `failed`, with the reason. rival: the leader that may end it early.
    """
    return kept(unit, lambda: _told(unit, watch, rival))


def kept(unit: Unit, told: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The facts of a training, or those of one that could not be: what it raises otherwise says which it was."""
    try:
        return told()
    except (Diverged, OutOfMemory) as error:
        found = {"failed": error.found}
        artifact.write_json(unit.stem.with_suffix(".json"), found)
        return found
    except Interrupted as stop:
        raise Interrupted(f"stopped in {unit.spoken}: {stop.found.rpartition(': ')[2]}", fix=api.AGAIN) from None
    except RootstockError as error:
        raise retold(error, unit.spoken) from None


def order(unit: Unit, rival: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the process that learns is asked for, as JSON."""
    places = {"place": str(unit.run), "answers": str(unit.stem), "folder": str(unit.folder)}
    return {"recipe": unit.recipe.plain(), **places, "rival": rival}


def _told(unit: Unit, watch: Watch, rival: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the process that learns says in the end; its events are passed on as they come."""
    errors = unit.run.with_name(f"{unit.cell}.stderr")
    errors.parent.mkdir(parents=True, exist_ok=True)
    last, code = _NURSERY.carried_out(order(unit, rival), errors, watch)
    if "error" in last:
        raise received(last["error"], last["found"], last["wanted"], last["fix"])
    if "done" not in last:
        said = errors.read_text("utf-8").strip().splitlines() if errors.exists() else []
        raise RunFailed(
            f"its process ended with {code}{f': {said[-1]}' if said else ''}",
            fix=f"{f'{errors} holds all that it said; ' if errors.exists() else ''}free memory if the system ended it; {api.AGAIN}",
        )
    errors.unlink(missing_ok=True)
    found: dict[str, Any] = last["done"]
    return found
