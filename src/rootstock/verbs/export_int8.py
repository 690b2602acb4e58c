"""Whether weights in 8 bits answer as the run does: by the share of equal answers and a paired test on real rows, not by logits alone."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from torch import nn

from rootstock.core.errors import MergeRefused
from rootstock.core.figures import ERRORS
from rootstock.evaluation import paired
from rootstock.evaluation.intervals import wilson
from rootstock.run.use import Predictions, Run

TOLERANCE = 0.02
"""Share of answers that may be others: a bound that was chosen, as nobody has measured what 8 bits change in models of use."""
NEAR = 0.1
"""A number is the same answer within this share of the spread of all answers."""


def compared(run: Run, rows: pa.Table, model: nn.Module, other: nn.Module) -> dict[str, Any]:
    """Agreement on rows, and the first headline figure of both with a paired interval of the drop."""
    made = [run.predictions(rows, each) for each in (model, other)]
    said = [list(_flat(each.table["predicted"])) for each in made]
    figure = run.task.headline[0]
    drawn = [paired.draw([_answered(run, each, rows)], figure, seed=run.recipe.seed) for each in made]
    apart = paired.difference(*(drawn if figure not in ERRORS else drawn[::-1]))
    return {
        "rows": len(rows),
        "answers": len(said[0]),
        "agreement": (agreement := _agreement(*said)),
        "agreement_interval": list(wilson(round(agreement * len(said[0])), len(said[0]))),
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


def _flat(answers: list[Any]) -> Iterator[Any]:
    """Each answer, of a row with several (tags, vectors) each of them."""
    for each in answers:
        yield from (each if isinstance(each, list) and not (each and isinstance(each[0], float)) else [each])


def _agreement(before: list[Any], after: list[Any]) -> float:
    """Share of equal answers; of numbers those that moved by less than NEAR of their spread."""
    if before and isinstance(before[0], float):
        spread = max(float(np.std(before)), 1e-9)
        return float(np.mean(np.abs(np.subtract(before, after)) <= NEAR * spread))
    return float(np.mean([one == other for one, other in zip(before, after, strict=True)]))
