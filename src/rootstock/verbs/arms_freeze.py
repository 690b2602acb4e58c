"""A comparison of what the probe proposes to freeze: its arms, settled on the training rows alone, and what became of it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rootstock.core.errors import UsageError
from rootstock.core.watch import Watch
from rootstock.evaluation.paired import Drawn
from rootstock.verbs import freeze
from rootstock.verbs.arms import Arm, Crossed


def check(given: Mapping[str, Any]) -> bool:
    """Whether the probe's freeze is to be compared. Raises UsageError for another value, and for options that would cross with it."""
    if given.get("freeze") is None:
        return False
    if given["freeze"] != "probe":
        raise UsageError(f"--freeze is {given['freeze']}", wanted="probe", fix="give --freeze probe, or leave it out")
    for option in ("methods", "sweep"):
        if given[option]:
            raise UsageError(f"--freeze and --{option} are given", wanted="one of them", fix="the arms of --freeze are freezes under full")
    return True


def frozen(crossed: Crossed, state: dict[str, Any], train: Path, columns: Mapping[str, Any], watch: Watch) -> Crossed:
    """The arms of a freeze in place of full on its one base. state: keeps the proposal, so that who goes on finds the same.

    columns: keys of the recipe by which `train` is read. Raises UsageError for several bases, and where the probe decides nothing.
    """
    if len(crossed.arms) != 1:
        raise UsageError(f"--freeze has {len(crossed.arms)} bases", wanted="one base", fix="name one with --bases")
    (start,) = crossed.arms
    if not state.get("freeze"):
        state["freeze"] = freeze.propose(start.base, str(train), watch, changes=columns)
    arms = [_arm(start, name, changes) for name, changes in freeze.freeze_arms(state["freeze"], seed=0)]
    watch.say(f"freeze    {state['freeze']['reason']}")
    return replace(crossed, arms=tuple(arms))


def _arm(start: Arm, name: str, changes: Mapping[str, Any]) -> Arm:
    return replace(start, name=name, changes={**start.changes, **changes})


def judged(drawn: Mapping[str, Drawn], *, less: bool) -> tuple[dict[str, Any] | None, str]:
    """What became of the proposal as JSON, and in a sentence; None where it was not measured."""
    try:
        found = freeze.judged(drawn, less=less)
    except UsageError as error:
        return None, f"freeze: {error.found}"
    return found, found["verdict"]
