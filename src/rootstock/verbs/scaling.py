"""Scaling laws: a fit with its record, the folder that it leaves behind, and plans from one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rootstock.core import artifact, place
from rootstock.core.errors import DataError, UsageError
from rootstock.core.watch import Say
from rootstock.planning.scaling import PUBLISHED, Fit, expected, plan
from rootstock.planning.scaling_fit import FEWEST, RESAMPLES, Points, check, fit
from rootstock.verbs.scaling_points import Gathered, gather

FILES = "scaling.json", "scaling.html"
ABOUT_PUBLISHED = (
    "no --fit: planned with the published refit to Chinchilla's runs (Besiroglu et al. 2024, arXiv:2404.10102), web text and one "
    "tokenizer; it gives no draws, so there are no intervals"
)
_EXAMPLES = 5
_POWERS, _AHEAD, _CURVE, _GRID = range(6, 31), 1000.0, 61, 48


def told_columns(pairs: Sequence[str]) -> dict[str, str]:
    """QUANTITY=COLUMN as a mapping. Raises UsageError where there is no `=`, or a quantity comes twice."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, sign, column = pair.partition("=")
        if not sign or not column or name in found:
            wanted = "QUANTITY=COLUMN, each quantity once, such as --columns loss=val_loss"
            raise UsageError(f"--columns {pair} {'comes twice' if name in found else 'names no column'}", wanted=wanted)
        found[name] = column
    return found


def fit_runs(
    references: Sequence[str], columns: Mapping[str, str], *, leave_out: int = 0, resamples: int = RESAMPLES, say: Say = lambda text: None
) -> dict[str, Any]:
    """The fit to tables and run folders, and all that led to it, as JSON. leave_out: how many of the highest losses do not count.

    Raises DataError for points that can't be read or can't tell the law's five figures apart.
    """
    for name, value in (("--leave-out-highest", leave_out), ("--resamples", resamples)):
        if value < 0:
            raise UsageError(f"{name} is {value}", wanted="0 or more")
    found = gather(references, columns)
    kept, left_out = _apart(found.runs, leave_out)
    if len(kept) < FEWEST:
        raise _too_few(found, len(kept), len(left_out))
    points = Points(*(np.array([run[name] for run in kept]) for name in ("parameters", "tokens", "loss")))
    check(points)
    say(f"{len(kept)} runs: fitting the law, then {resamples} bootstrap samples of them")
    fitted = fit(points, resamples=resamples)
    facts = fitted.facts()
    facts["notes"] += found.notes
    for run in found.runs:
        run["expected"] = float(expected(fitted.law_5, run["parameters"], run["tokens"]))
    return {**facts, "sources": found.sources, "skipped": found.skipped, "left_out": left_out, "runs": kept}


def _apart(runs: list[dict[str, Any]], count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All runs but the `count` of highest loss, and those; both in the order given."""
    order = sorted(range(len(runs)), key=lambda i: runs[i]["loss"])
    left = set(order[max(len(runs) - count, 0) :])
    return [run for i, run in enumerate(runs) if i not in left], [run for i, run in enumerate(runs) if i in left]


def _too_few(found: Gathered, kept: int, left: int) -> DataError:
    shown = "; ".join(f"{each['where']}: {each['reason']}" for each in found.skipped[:_EXAMPLES])
    told = f" ({len(found.skipped)} rows were skipped: {shown})" if found.skipped else ""
    told += f" ({left} were left out)" if left else ""
    return DataError(f"found {kept} usable runs{told}", wanted=f"{FEWEST} or more: the law has five figures", fix="add runs")


# -- the folder of a fit ----------------------------------------------------------------------------------------------------


def check_place(folder: Path, *, overwrite: bool) -> None:
    """Raises UsageError where a fit can't be written: a file, somebody's files, or another fit without overwrite."""
    place.check(folder, "fit", files=FILES, overwrite=overwrite)


def write(facts: Mapping[str, Any], folder: Path) -> None:
    """scaling.json, which `plan_from` reads, and scaling.html."""
    from rootstock.report import scaling

    page = scaling.render({**facts, **_drawn(facts)})
    artifact.write_text(folder / FILES[1], page)
    artifact.write_json(folder / FILES[0], facts)


def plan_from(path: Path | None, **held: float | None) -> dict[str, Any]:
    """A plan from scaling.json, a folder that holds it, or, with None, from the published refit; `fit` says which."""
    if path is None:
        return {"fit": "published", **plan(PUBLISHED, **held)}
    file, fix = path / FILES[0] if path.is_dir() else path, "name the scaling.json that `rootstock scaling fit` wrote, or its folder"
    if not path.exists():
        raise UsageError(f"{path} does not exist", wanted="a fit", fix=fix)
    facts = artifact.read_json(file, wanted="a fit", fix=fix)
    return {"fit": str(file), **plan(Fit.of(facts, str(file)), **held)}


def _drawn(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows beside the record: plans for round budgets, the curve of best plans, and the law over size and tokens."""
    fitted = Fit.of(facts, FILES[0])
    least, most = fitted.flops
    budgets = [10.0**power for power in _POWERS if least <= 10.0**power <= most * _AHEAD]
    curve_K = np.geomspace(least, most * _AHEAD, _CURVE)
    sizes_K, tokens_K = (np.geomspace(*ends, _GRID) for ends in _corners(facts))
    surface_KK = expected(fitted.law_5, sizes_K[None, :], tokens_K[:, None])
    return {
        "budgets": [plan(fitted, flops=flops) for flops in budgets],
        "frontier": [plan(fitted, flops=float(flops)) for flops in curve_K],
        "surface": {"parameters": sizes_K.tolist(), "tokens": tokens_K.tolist(), "loss": surface_KK.tolist()},
    }


def _corners(facts: Mapping[str, Any]) -> list[tuple[float, float]]:
    """A little more than the smallest and largest size and number of tokens."""
    held = [[run[name] for run in (*facts["runs"], *facts["left_out"])] for name in ("parameters", "tokens")]
    return [(min(values) / 1.5, max(values) * 1.5) for values in held]
