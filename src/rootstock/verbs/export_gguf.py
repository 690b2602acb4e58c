"""Runs as GGUF: written, read back with the package's own reader, and the weights that were read back asked on real rows."""

import copy
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from rootstock.bases import gguf as form
from rootstock.core.errors import MergeRefused, UsageError
from rootstock.core.watch import Say
from rootstock.report import graph_card
from rootstock.run import merge as gate
from rootstock.run.use import Run
from rootstock.verbs import exporting, merging
from rootstock.verbs.exporting import Exported, Options

ANSWERS = {"f32": 1e-4, "f16": 0.02, "q8_0": 0.2}
"""Largest move of an answer beside the spread of all: bounds that were chosen, as nobody has measured what these roundings give."""
WEIGHTS = {"f32": 0.0, "f16": 2.0**-11, "q8_0": 1 / 254 + 2.0**-10}
"""Largest difference of a weight beside the largest of its tensor: half a step of the format, of 8 bits with its scale's in 16."""
NAME = "model.gguf"


def gguf(runs: Sequence[Run], options: Options, place: Path, say: Say) -> Exported:
    """One file for llama.cpp. Raises MergeRefused where what it holds is not the run's weights, or gives other answers."""
    run = exporting.alone(runs, options, "gguf")
    precision = options.precision or "f16"
    if precision not in form.PRECISIONS:
        raise UsageError(f"--precision {precision}", wanted=f"one of {', '.join(form.PRECISIONS)}", fix="choose one of these")
    rows = exporting.rows_wanted(run, options.rows, say)
    feed = run.feed(run.task.encode(rows, run.tokenizer, run.contract["length"]))
    model = run.load().cpu().eval()
    if run.contract["saves"] == "adapter":
        exporting.check_folds(run)
    plain = run.method.merge(copy.deepcopy(model)) if run.contract["saves"] == "adapter" else copy.deepcopy(model)
    form.layout(plain)
    form.write(
        plain,
        run.tokenizer,
        place / NAME,
        precision=precision,
        pool=getattr(run.task, "pool", None),
        labels=tuple(run.contract["labels"]),
    )
    held, apart = form.read(place / NAME, plain)
    if not apart <= WEIGHTS[precision]:
        raise MergeRefused(f"a weight of the file is off by {apart:.2g}", wanted=f"at most {WEIGHTS[precision]:.2g}", fix="use f32")
    plain.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in held.items()}, strict=False)
    moved = gate.largest_move(*(gate.answers(run.task, feed, each) for each in (model, plain)))
    allowed = ANSWERS[precision] if options.tolerance is None else options.tolerance
    if not moved <= allowed:
        fix = "use --precision f32, or allow more with --tolerance"
        raise MergeRefused(f"{precision} moves an answer by {moved:.2g} of their spread", wanted=f"at most {allowed:g}", fix=fix)
    compared = {"tensors": len(held), "largest_difference": apart, "rows": len(rows), "largest_move": moved, "tolerance": allowed}
    facts = {
        "to": "gguf",
        "precision": precision,
        "architecture": form.layout(plain).arch,
        "sources": [merging.source(run)],
        "compared": compared,
        "labels": run.contract["labels"],
        "bytes": (place / NAME).stat().st_size,
        "versions": {"gguf": version("gguf")},
    }
    told = exporting.told(run)
    return Exported(facts=facts, card=lambda name: graph_card.render(facts | told | {"name": name}))
