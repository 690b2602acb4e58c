"""Which one? Methods and bases measured on the same rows: those that are beaten stop early, and the differences are tested.

What has ended in the folder of a comparison is not done again: the same command goes on where it stopped.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from rootstock.core import artifact, aside
from rootstock.core.errors import RunFailed
from rootstock.core.lock import alone
from rootstock.core.runfolder import RunFolder
from rootstock.core.watch import Watch
from rootstock.report import arms as page
from rootstock.verbs import api, arms_results, arms_unit, compare_place
from rootstock.verbs.arms_plan import Plan
from rootstock.verbs.arms_race import Race
from rootstock.verbs.arms_settle import BEST, FILES, Settled, check_place, settle
from rootstock.verbs.arms_unit import Unit


def compare(plan: Plan, out: Path, watch: Watch, *, overwrite: bool = False) -> dict[str, Any]:
    """Carry a comparison out, or on, and write compare.json, .csv and .html; returns the content of the first.

    One that is to be replaced stays until the first arm of the new one has made an update.
    """
    with alone(out):
        compare_place.mend(out)
        with compare_place.settling(out, goes_on=check_place(out, plan) and not overwrite) as folder:
            settled = settle(plan, folder, watch)
        settled = replace(settled, folder=out)
        with aside.kept(out, watch) as heard:
            race = Race(settled, heard)
            race.run()
            facts = arms_results.found(race)
            if plan.keep:
                facts["kept"] = _kept(race, watch)
            shutil.rmtree(out / "runs", ignore_errors=True)
            for name, text in zip(FILES[1:], (arms_results.table(facts), page.render(facts)), strict=True):
                artifact.write_text(out / name, text)
            artifact.write_json(out / FILES[0], facts)
            _check_any(race, out)
        return facts


def _check_any(race: Race, out: Path) -> None:
    """Raises RunFailed where no arm came to the end of one training: what became of each is written by then, unless it lacks an update."""
    if any(race.winner(rows) for rows in race.settled.points):
        return
    names = {arm.key: arm.name for arm in race.settled.arms}
    whys = [f"{names[key]}: {why}" for (key, _), why in race.failed.items()] + [f"{unit.arm.name}: {why}" for unit, why in race.left]
    told = "what lay there before is back" if aside.waits(out) else f"{out / FILES[2]} says more"
    fix = f"{told}; give other settings with --set, or more --minutes"
    raise RunFailed(f"nothing came to its end; {'; '.join(dict.fromkeys(whys))}", fix=fix)


def rehearse(plan: Plan, out: Path, watch: Watch, *, overwrite: bool = False) -> dict[str, Any]:
    """What would be compared and how long each training would take, with nothing left behind."""
    goes_on = check_place(out, plan) and not overwrite
    with compare_place.rehearsing(out, ("data",), goes_on=goes_on) as folder:
        return _rehearsed(settle(plan, folder, watch))


def _rehearsed(settled: Settled) -> dict[str, Any]:
    seconds = {arm.name: round(settled.expected(arm, settled.points[0]), 1) for arm in settled.arms}
    every = [settled.expected(arm, rows) for arm in settled.arms for rows in settled.points]
    return {
        "task": settled.parts.task,
        "rows": {part: settled.parts.sizes[part] for part in ("train", "validation", "test")},
        "points": [rows or settled.parts.train_rows for rows in settled.points],
        "seeds": settled.plan.seeds,
        "seconds_of_a_training": seconds,
        "seconds_of_all": round(settled.plan.seeds * sum(every)),
        "limit_seconds": settled.state["limit"],
        "notes": list(settled.notes),
        "skipped": dict(settled.skipped),
    }


def _kept(race: Race, watch: Watch) -> dict[str, Any] | None:
    """The winner's best run on the validation rows, in a folder of its own; learned again where it is not there any more."""
    rows = race.settled.points[0]
    winner, folder = race.winner(rows), race.settled.folder
    if winner is None:
        return None
    unit, place, state = race.best(winner, rows), folder / BEST, race.settled.state
    named = f"{winner.key}/{unit.cell}"
    if state.get("best") != named or not RunFolder(place).complete:
        if not RunFolder(unit.run).complete:
            watch.say(f"compare   {unit.spoken} is learned again to be kept")
            _again(unit, watch)
        artifact.remove(place)
        unit.run.rename(place)
        state["best"] = named
        race.settled.save()
    return {"run": str(place), "arm": winner.name, "seed": unit.seed, "chosen_by": "validation rows"}


def _again(unit: Unit, watch: Watch) -> None:
    """Learn what was learned before. What is known of it stays where it breaks this time, and RunFailed says so."""
    before = unit.facts
    found = arms_unit.carried_out(unit, watch)
    if "failed" in found:
        artifact.write_json(unit.stem.with_suffix(".json"), before)
        raise RunFailed(f"{unit.spoken} could not be learned again to be kept: {found['failed']}", fix=api.AGAIN)
