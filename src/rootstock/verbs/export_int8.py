"""Whether weights in 8 bits answer as the run does: by the share of equal answers and a paired test on real rows, not by logits alone."""

import operator
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from torch import nn

from rootstock.core.errors import MergeRefused
from rootstock.core.figures import ERRORS
from rootstock.core.rows import Columns
from rootstock.evaluation import intervals, paired
from rootstock.run.use import Predictions, Run
from rootstock.run.vectors import groups

TOLERANCE = 0.02
"""Share of answers that may be others: a bound that was chosen, as nobody has measured what 8 bits change in models of use."""
NEAR = 0.1
"""A number is the same answer within this share of the spread of all answers."""


def compared(run: Run, rows: pa.Table, model: nn.Module, other: nn.Module) -> dict[str, Any]:
    """Agreement on rows, and the first headline figure of both with a paired interval of the drop."""
    made, groups_N = [run.predictions(rows, each) for each in (model, other)], groups(rows)
    figure = run.task.headline[0]
    drawn = [paired.draw([_answered(run, each, rows).grouped(groups_N)], figure, seed=run.recipe.seed) for each in made]
    apart = paired.difference(*(drawn if figure not in ERRORS else drawn[::-1]))
    return {
        "rows": len(rows),
        **agreement(_answers(run, made[0]), _answers(run, made[1]), groups_N, seed=run.recipe.seed),
        "figure": figure,
        "run": drawn[0].mean,
        "int8": drawn[1].mean,
        "drop": apart.value,
        "interval": list(apart.interval),
        "separable": apart.separable,
    }


def check(found: dict[str, Any], tolerance: float | None) -> None:
    """Raise MergeRefused where too many answers are others, or, unless a tolerance is named, where the rows tell a loss of quality."""
    least = 1 - (TOLERANCE if tolerance is None else tolerance)
    found["least_agreement"] = least
    if not found["agreement"] >= least:
        raise MergeRefused(
            f"in 8 bits {found['agreement']:.2%} of {found['answers']:,} answers are the run's own",
            wanted=f"at least {least:.2%}",
            fix="use --to onnx, or allow more with --tolerance",
        )
    if tolerance is None and found["separable"] and found["drop"] > 0:
        low, high = found["interval"]
        raise MergeRefused(
            f"in 8 bits {found['figure']} is worse by {found['drop']:.4f} [{low:.4f}, {high:.4f}] on {found['rows']:,} rows",
            wanted="a loss that these rows can't tell from none",
            fix="use --to onnx, or name what you allow with --tolerance",
        )


def _answered(run: Run, made: Predictions, rows: pa.Table) -> paired.Answered:
    return paired.Answered(run.task.judged({**made.columns, "answers": run.task.answers(rows)}), run.task)


def _answers(run: Run, made: Predictions) -> list[list[Any]]:
    """The answers to each row: one, or of tags one for each word."""
    return [each if run.task.kind == "tags" else [each] for each in made.table["predicted"]]


def agreement(before: Sequence[list[Any]], after: Sequence[list[Any]], groups_N: np.ndarray, *, seed: int) -> dict[str, Any]:
    """How many answers there are, and the share of equal ones with its interval: the answers of a row (tags) and equal rows go together."""
    near = _near(before)
    equal = [[near(a, b) for a, b in zip(one, other, strict=True)] for one, other in zip(before, after, strict=True)]
    columns = {"equal": np.array([sum(each) for each in equal]), "answers": np.array([len(each) for each in equal])}
    share = _share(columns)["agreement"]
    drawn_R1 = intervals.draws(columns, _share, names=("agreement",), seed=seed, groups=groups_N)
    interval = intervals.interval(drawn_R1[:, 0], share, len(np.unique(groups_N)), within=(0.0, 1.0))
    return {"answers": int(columns["answers"].sum()), "agreement": share, "agreement_interval": list(interval or (0.0, 1.0))}


def _share(columns: Columns, names: Collection[str] | None = None) -> dict[str, float]:
    return {"agreement": float(columns["equal"].sum() / max(columns["answers"].sum(), 1))}


def _near(answers: Sequence[list[Any]]) -> Callable[[Any, Any], bool]:
    """Whether two answers are equal; of numbers whether one moved by less than NEAR of the spread of these."""
    if not (answers and answers[0] and isinstance(answers[0][0], float)):
        return operator.eq
    most = NEAR * max(float(np.std(answers)), 1e-9)
    return lambda one, other: abs(one - other) <= most
