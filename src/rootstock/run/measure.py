"""What a model answers on the rows that are held out: the one way to every figure of a run."""

from contextlib import nullcontext

import numpy as np

from rootstock.bases.load import quiet
from rootstock.core.errors import Diverged
from rootstock.core.resources import give_back
from rootstock.core.rows import Columns
from rootstock.core.task import Labelled, Uniform
from rootstock.loop import infer
from rootstock.run.build import Built
from rootstock.run.prepared import LabelledRows, Prepared


def measure(prepared: Prepared, built: Built, task: Uniform, *, glance: bool = False) -> Columns:
    """Per-row results on the validation rows, with the true answers where rows have them; Diverged where one is no number.

    glance: only as much as decides which state is the best.
    """
    give_back()  # what an update freed is in pieces that a measurement has little use for
    # transformers takes the padding behind a text that has ended for a forgotten mask, and says so
    with quiet() if isinstance(task, Labelled) and task.writes else nullcontext():
        where = {"device": built.accelerator.device, "world": built.world}
        found = infer.predict(built.learner, built.feed_validation, task, glance=glance, **where)
    if not all(np.isfinite(values).all() for values in found.values() if values.dtype.kind == "f"):
        raise Diverged("the model's answers are no numbers any more", fix="lower training.rate, or set training.precision to fp32")
    if not isinstance(prepared, LabelledRows):
        return found
    rows = prepared.validation
    told = prepared.task.told(found, prepared.encoded_validation, rows, built.feed_validation.tokenizer)
    return {**told, "answers": prepared.task.answers(rows)}
