"""What a comparison of methods found, as JSON: each arm with its figures, costs and its difference from the winner, by number of rows."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rootstock.core.figures import ERRORS
from rootstock.evaluation.intervals import limits
from rootstock.evaluation.paired import LEVEL, Answered, Difference, Drawn, difference, draw, estimate, estimates, holm
from rootstock.report import arms_text
from rootstock.verbs import arms_freeze, kept_answers
from rootstock.verbs.arms import Arm
from rootstock.verbs.arms_race import Race
from rootstock.verbs.arms_unit import Unit, cell
from rootstock.verbs.compare_transfer import together

COSTS = ("seconds", "peak_bytes", "artifact_bytes")
_OF_CLASS = ("precision", "recall", "f1")


def found(race: Race) -> dict[str, Any]:
    """The content of compare.json."""
    settled, plan = race.settled, race.settled.plan
    figure = _figure(race)
    freeze, said = _freeze(race, figure) if plan.freeze else (None, [])
    return {
        "format": 1,
        "way": "methods",
        "file": str(plan.recipe.data.train),
        "task": settled.parts.task,
        "rows": {part: settled.parts.sizes[part] for part in ("train", "validation", "test")},
        "apart": settled.parts.apart,
        "figure": figure,
        "less_is_better": figure in ERRORS,
        "seeds": plan.seeds,
        "halving": plan.halving,
        "minutes": plan.minutes,
        "limit_seconds": settled.state["limit"],
        "seconds": round(settled.state["spent"], 1),
        "arms": [_arm(race, arm) for arm in settled.arms],
        "points": [_point(race, rows, figure) for rows in settled.points],
        "notes": [*settled.notes, *said],
        "freeze": freeze,
        "skipped": dict(settled.skipped),
        "left": [{"arm": unit.arm.name, "rows": unit.rows, "seed": unit.seed, "why": why} for unit, why in race.left],
        "kept": None,
    }


def table(facts: Mapping[str, Any]) -> str:
    """The same as CSV, a line for each arm and number of rows."""
    out = io.StringIO()
    lines = list(_lines(facts))
    writer = csv.DictWriter(out, list(lines[0]) if lines else ["arm"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _lines(facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    known = {arm["name"]: arm for arm in facts["arms"]}
    for point in facts["points"]:
        for each in point["arms"]:
            arm, test, apart = known[each["arm"]], each["test"] or {}, each["against"] or {}
            low, high = test.get("interval", (None, None))
            yield {
                **{"arm": each["arm"], "method": arm["method"], "base": arm["base"], "rows": point["rows"], "seeds": each["seeds"]},
                **{"state": each["state"], "winner": each["arm"] == point["winner"], "figure": facts["figure"]},
                **{"validation": (each["validation"] or {}).get("value"), "test": test.get("value"), "low": low, "high": high},
                **{"difference": apart.get("difference"), "p": apart.get("p"), "p_holm": apart.get("holm")},
                **{key: each[key] for key in (*COSTS, "rows_per_second")},
                **{"learning": arm["learning"], "parameters": arm["parameters"], "front": each["front"]},
            }


def _freeze(race: Race, figure: str) -> tuple[dict[str, Any] | None, list[str]]:
    """Whether the probe's freeze was better, on all rows; and what to say of it."""
    rows = race.settled.points[0]
    drawn = {arm.name: _drawn(race, arm, rows, figure) for arm in race.settled.arms if race.done(arm, rows)}
    found, said = arms_freeze.judged(drawn, less=figure in ERRORS)
    proposal = race.settled.state["freeze"]
    return {"proposal": proposal, "judged": found}, [f"the probe's proposal: {proposal['reason']}", said]


def _figure(race: Race) -> str:
    for unit in _units(race):
        return unit.figure
    parts = race.settled.parts
    return str(kept_answers.task_of({"name": parts.task, **parts.classes}).headline[0])


def _units(race: Race) -> Iterator[Unit]:
    return (unit for rows in race.settled.points for arm in race.settled.arms for unit in race.done(arm, rows))


def _arm(race: Race, arm: Arm) -> dict[str, Any]:
    """What an arm is, whatever it learns from."""
    first = next((unit.facts for rows in race.settled.points for unit in race.done(arm, rows)), None) or {}
    own = {key: value for key, value in arm.changes.items() if key not in ("base", "tokenizer", "method.name")}
    counts = {key: first.get(key) for key in ("learning", "parameters")}
    return {"name": arm.name, "method": arm.method, "base": arm.base, "changes": own, **counts, "settings": first.get("settings")}


def _point(race: Race, rows: int | None, figure: str) -> dict[str, Any]:
    """All arms on one number of rows."""
    drawn = {arm.name: _drawn(race, arm, rows, figure) for arm in race.settled.arms if race.done(arm, rows)}
    winner = race.winner(rows)
    apart = _apart(drawn, winner.name) if winner else {}
    lines = [_line(race, arm, rows, drawn.get(arm.name), figure) | {"against": apart.get(arm.name)} for arm in race.settled.arms]
    sign = -1.0 if figure in ERRORS else 1.0
    lines.sort(key=lambda each: -sign * each["test"]["value"] if each["test"] else np.inf)
    for each, on in zip(lines, front(lines, sign), strict=True):
        each["front"] = on
    return {
        "rows": rows or race.settled.parts.train_rows,
        "all": rows is None,
        "winner": winner.name if winner else None,
        "chosen_by": race.shared(rows),
        "arms": lines,
        **_baselines(race, rows, figure),
    }


def _drawn(race: Race, arm: Arm, rows: int | None, figure: str) -> Drawn:
    return draw([unit.answers("test") for unit in race.done(arm, rows)], figure, seed=0)


def _apart(drawn: Mapping[str, Drawn], winner: str) -> dict[str, dict[str, Any]]:
    """Each arm minus the winner on the test rows, over the seeds that both have; chances corrected for how many there are."""
    others = [name for name in drawn if name != winner]
    each = [_difference(drawn[name], drawn[winner]) for name in others]
    corrected = holm([one.p for one, _ in each])
    return {
        name: {
            "difference": one.value,
            "interval": list(one.interval),
            "seeds": seeds,
            "p": one.p,
            "by": one.by,
            "holm": fair,
            "separable": fair < LEVEL,
        }
        for name, (one, seeds), fair in zip(others, each, corrected, strict=True)
    }


def _difference(one: Drawn, other: Drawn) -> tuple[Difference, int]:
    seeds = min(len(one.whole), len(other.whole))
    return difference(one.first(seeds), other.first(seeds)), seeds


def _line(race: Race, arm: Arm, rows: int | None, told: Drawn | None, figure: str) -> dict[str, Any]:
    """One arm on one number of rows; told: its figure on the test rows."""
    held = [facts for unit in race.done(arm, rows) if (facts := unit.facts)]
    key, stop = (arm.key, rows), race.stops.get((arm.key, rows))
    state = "failed" if key in race.failed else "stopped" if stop else "finished" if len(held) == race.settled.plan.seeds else "not run"
    state = "incomplete" if state == "not run" and held else state
    return {
        "arm": arm.name,
        "seeds": len(held),
        "state": state,
        "why": race.failed.get(key) or stop,
        "validation": _told(race.drawn(arm, rows), figure) if held else None,
        "test": _told(told, figure) if told else None,
        "seconds": _mean(held, "seconds"),
        "peak_bytes": max((facts["peak_bytes"] for facts in held), default=None),
        "artifact_bytes": _mean(held, "artifact_bytes"),
        "rows_per_second": _mean(held, "rows_per_second"),
        "steps": [facts["steps"] for facts in held],
        "per_class": _per_class([facts["per_class"] for facts in held], [unit.answers("test") for unit in race.done(arm, rows)]),
        "trajectory": held[0]["trajectory"] if held else [],
    }


def _told(drawn: Drawn, figure: str) -> dict[str, Any]:
    """The mean over seeds, with the interval that other rows and other seeds would move it in."""
    told = estimate(drawn, within=limits(figure))
    return {"value": told.value, "interval": list(told.interval), "each": drawn.whole.tolist()}


def _mean(held: Sequence[Mapping[str, Any]], key: str) -> float | None:
    return float(np.mean([facts[key] for facts in held])) if held else None


def _per_class(tables: Sequence[Sequence[Mapping[str, Any]]], answers: Sequence[Answered]) -> list[dict[str, Any]]:
    """Figures of each class, means over the seeds, with their intervals."""
    first = tables[0] if tables else []
    told = estimates(answers, [f"per_class/{place}/{key}" for place in range(len(first)) for key in _OF_CLASS], seed=0) if first else {}
    found = []
    for place, row in enumerate(first):
        same = [other for table in tables for other in table if other["label"] == row["label"]]
        figures = {key: float(np.mean([each[key] for each in same])) for key in _OF_CLASS if key in row}
        between = {key: list(told[name].interval) for key in _OF_CLASS if (name := f"per_class/{place}/{key}") in told}
        found.append({"label": row["label"], **figures, "support": row.get("support"), "intervals": between})
    return found


def _baselines(race: Race, rows: int | None, figure: str) -> dict[str, Any]:
    """The leading figure of what needs no model, means over the seeds' rows, and intervals."""
    held, spreads = race.settled.state["baselines"], race.settled.state.get("spreads", {})
    keys = [key for seed in range(race.settled.plan.seeds if rows else 1) if (key := cell(rows, seed)) in held]
    cells = [held[key] for key in keys]
    return {
        "baselines": {name: float(np.mean([figures[name] for figures in cells])) for name in cells[0]},
        "baseline_intervals": together(cells, [spreads.get(key, {}) for key in keys], figure),
    }


def front(lines: Sequence[Mapping[str, Any]], sign: float) -> list[bool]:
    """Whether each arm is on the front: no other is at least as good in quality, time, memory and size, and better in one of them.

    An arm whose training was ended before its time is on none: what it took is not what it takes. Nor is one that failed with any seed.
    """
    able = [each["test"] is not None and arms_text.whole(each) for each in lines]
    places = [
        (-sign * each["test"]["value"], *(each[cost] for cost in COSTS)) if ok else None for each, ok in zip(lines, able, strict=True)
    ]
    return [own is not None and not any(_beats(other, own) for other in places if other is not None) for own in places]


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))
