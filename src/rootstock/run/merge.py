"""An adapter folded into its base: compared on real rows first, written only where the answers stay the same."""

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from rootstock.bases import save as bases
from rootstock.core import artifact
from rootstock.core.errors import MergeRefused
from rootstock.core.method import Method
from rootstock.core.runfolder import RunFolder
from rootstock.core.task import Labelled
from rootstock.data.batches import Feed
from rootstock.loop import infer
from rootstock.run.build import add_companions
from rootstock.run.prepared import LabelledRows

TOLERANCE = 1e-3
"""Largest difference of an answer (a logit, or a token's loss) beside the spread of all, that fp32 rounding explains with room to spare."""


def write_merged(prepared: LabelledRows, folder: RunFolder, model: nn.Module) -> None:
    """Write merged/ as a plain transformers model.

    Raises MergeRefused where any answer on the validation rows moves by more than the tolerance, or where no weight changed at all.
    """
    merged, facts = folded(prepared.method, model, prepared.task, prepared.feed(prepared.encoded_validation))
    with artifact.whole_folder(folder.path / "merged") as beside:
        bases.save_model(merged, prepared.tokenizer, beside)
        add_companions(prepared.task, prepared.length, merged, beside)
        artifact.write_json(beside / "merge.json", facts)


def folded(method: Method, model: nn.Module, task: Labelled, feed: Feed) -> tuple[nn.Module, dict[str, Any]]:
    """The model with its adapter folded in, and how far its answers on the feed's rows moved.

    Raises MergeRefused where the method does not fold, an answer moves by more than the tolerance, or no weight changed at all.
    """
    merged = method.merge(copy.deepcopy(model))
    moved = largest_move(*(answers(task, feed, each) for each in (model, merged)))
    if not moved <= TOLERANCE:
        raise MergeRefused(
            f"merged weights move an answer by {moved:.2g} of their spread",
            wanted=f"at most {TOLERANCE}",
            fix="use the adapter unmerged; model/ holds it",
        )
    if not _changed(model, merged):
        raise MergeRefused(
            "the merge changed no weight of the base",
            wanted="the adapter's update in the weights",
            fix="train longer, or use the base itself",
        )
    return merged, {"rows": len(feed.encoded), "largest_move": moved, "tolerance": TOLERANCE}


def answers(task: Labelled, feed: Feed, model: nn.Module) -> np.ndarray:
    """What the task compares, of all rows one after the other."""
    device = next(model.parameters()).device
    found = infer.infer(model, feed, lambda member, batch: {"answers": task.compared(member, batch)}, device=device)["answers"]
    return np.concatenate([np.ravel(each) for each in found])


def largest_move(before: np.ndarray, after: np.ndarray) -> float:
    """How far any answer moved, beside the spread of all; nan where one is no number."""
    return float(np.abs(before - after).max() / max(float(before.std()), 1e-6))


def _changed(model: nn.Module, merged: nn.Module) -> bool:
    before = {name.replace(".base_layer", "").removeprefix("base_model.model."): p for name, p in model.named_parameters()}
    return any(name in before and not torch.equal(before[name], p) for name, p in merged.named_parameters())
