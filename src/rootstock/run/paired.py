"""A run's line in the ledger of plans: what its forecast said beside what was measured, and why a figure is left out."""

import itertools
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from rootstock.core.errors import WriteFailed
from rootstock.core.modules import installed
from rootstock.core.recipe import EMBEDDED
from rootstock.core.resources import hardware, peak_memory
from rootstock.core.watch import Watch
from rootstock.loop import precision
from rootstock.planning import ledger
from rootstock.run.build import Built
from rootstock.run.prepared import Prepared

_CARRIED = itertools.count()
"""Runs of this process: what an earlier one has left in memory would be counted to the next."""
_VERSIONS = ("rootstock", "torch", "transformers")


@dataclass(kw_only=True)
class Pair:
    """Filled in as the run goes on. left_out: by figure, why it has no pair."""

    prepared: Prepared
    watch: Watch
    left_out: dict[str, str] = field(default_factory=dict)
    planned: dict[str, float] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    done: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if next(_CARRIED):
            self.leave_out("not the first run of its process", "bytes")
        if self.prepared.recipe.budget.minutes:
            self.leave_out("ended by its budget", "seconds")

    def leave_out(self, reason: str, *names: str) -> None:
        """No pair of these figures, or of any where none is named; the first reason counts."""
        for name in names or ledger.FIGURES:
            self.left_out.setdefault(name, reason)

    def built(self, built: Built) -> None:
        """What was made before the first update."""
        if built.cached:
            self.leave_out("features from the cache")
        self.measured["passing"] = built.passed
        self.done["tokens_passed"] = float(self.prepared.encoded.lengths.sum() + self.prepared.encoded_validation.lengths.sum())

    def forecast(self, predicted: dict[str, Any]) -> None:
        """What the first step's trial predicts."""
        self.planned = {"bytes": predicted["peak_bytes"], "seconds": predicted["seconds"]}

    def trained(self, measured: dict[str, Any], built: Built, events: list[dict[str, Any]]) -> None:
        """What the training took. events: of its history."""
        evaluations = [event for event in events if event["event"] == "evaluation"]
        feed = built.feed_validation
        each = sum(feed.padded(rows) for rows in feed.in_order(1))
        self.measured |= {
            "seconds": measured["seconds"],
            "learning": sum(event["seconds"] for event in events if event["event"] == "step"),
            "evaluating": sum(event["seconds"] for event in evaluations),
        }
        self.measured["start"] = measured["start_seconds"] - built.passed
        self.done |= {"tokens": measured["tokens"], "updates": measured["steps"], "tokens_answered": each * len(evaluations)}
        if self.planned and measured["steps"] < measured["planned_steps"]:
            self.leave_out("stopped early", "seconds")

    def fitted(self, seconds: float, fit: float) -> None:
        """The same where a head was fitted to all rows at once, without a step."""
        self.measured |= {"seconds": seconds, "learning": fit, "start": seconds - fit - self.measured["passing"]}
        self.done["updates"] = 1

    def write(self) -> None:
        """Add the line, where the user has not turned that off. A ledger that can't be written is no reason to fail."""
        path = ledger.place(self.prepared.recipe.budget.ledger)
        if path is None:
            return
        if not self.planned:
            self.leave_out("no forecast")
        try:
            ledger.append(path, self._line())
        except (OSError, WriteFailed) as error:
            self.watch.say(f"warning   the ledger of plans could not be written: {error}")

    def _line(self) -> dict[str, Any]:
        recipe, lengths = self.prepared.recipe, self.prepared.encoded.lengths
        spent = {**self.measured, "bytes": peak_memory()}
        if "seconds" in spent:
            spent["ending"] = time.monotonic() - self.watch.started - spent["seconds"]
        return {
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "base": base_name(self.prepared.base.reference),
            "task": recipe.task["name"],
            "method": recipe.method["name"],
            "precision": str(precision.choose(recipe.training.precision, self.prepared.device)).removeprefix("torch."),
            "device": device(),
            "versions": {name: installed(name) for name in _VERSIONS},
            "work": {
                "rows": len(lengths),
                "length": float(np.mean(lengths)),
                "batch_tokens": recipe.training.batch_tokens,
                "micro_tokens": recipe.training.micro,
                "epochs": recipe.training.epochs,
                **self.done,
            },
            "planned": self.planned,
            "measured": {name: round(value, 4) for name, value in spent.items() if value > 0 or name not in ledger.FIGURES},
            "left_out": self.left_out,
        }


def base_name(reference: str) -> str:
    """How the ledger calls a base: without its commit, and a folder by its whole path."""
    place = Path(reference).expanduser()
    return str(place.resolve()) if reference not in EMBEDDED and place.is_dir() else reference.split("@", maxsplit=1)[0]


def device() -> dict[str, Any]:
    """What tells one machine from another."""
    machine = hardware()
    return {name: machine[name] for name in ("processor", "gpu", "cores", "threads", "memory_bytes")}
