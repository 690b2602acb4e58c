"""What a run's figures stand beside on other rows: the baselines that its own training showed, learned again from the very same rows.

Where these are gone or changed, what needs none of them is left, and the reason is said.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from rootstock.core.artifact import digest_file
from rootstock.core.errors import BaseError, ContractRefused, RootstockError, UnknownName
from rootstock.core.recipe import Recipe
from rootstock.core.rows import Columns, Encoded
from rootstock.core.watch import Say
from rootstock.evaluation.baselines import Baselines, untrained
from rootstock.loop import precision
from rootstock.run import finish, labelled, labelled_pictures
from rootstock.run.prepared import device_name

if TYPE_CHECKING:
    from rootstock.run.use import Run

_LEARNED = {"tags": ("dictionary",), "choice": ("majority",), "preference": ("length",), "completion": ("unigram",), "span": ()}
"""What is learned from rows, by the kind of answers; of all others a linear model."""
_CONSTANT = ("class", "classes", "number", "tags")
"""Kinds of answers of which one is always the constant one."""
_ASKED = "baselines were not asked for"


def beside(run: "Run", rows: pa.Table, say: Say, *, learned: bool = True) -> Baselines:
    """The run's baselines on labelled rows with canonical columns, and why one of them is missing.

    learned: False leaves out what would have to be learned again, or answered by the base.
    """
    task = run.task
    if task.kind == "text":
        return Baselines(untrained({}, rows, task), {})
    if not learned:
        return Baselines({}, {"base": _ASKED}) if task.headless else _without(run, rows, _ASKED)
    if task.headless:  # words are weighed by the rows at hand alone
        encoded, (found, left_out) = _encoded(run, rows), _untouched(run, rows)
        return Baselines({**found, **task.rivals(encoded, encoded)}, left_out)
    try:
        train = _learned_from(run)
    except RootstockError as error:
        return _without(run, rows, error.found)
    say(f"baselines learned again from the {len(train):,} rows that the run learned from")
    if own := task.rivals(_encoded(run, train), _encoded(run, rows)) if task.writes else {}:
        return Baselines(dict(own), {})
    return finish.fitted(task, train, rows)


def _encoded(run: "Run", rows: pa.Table) -> Encoded:
    return run.task.encode(rows, run.tokenizer, run.contract["length"])


def _learned_from(run: "Run") -> pa.Table:
    """The rows that a run learned from; RootstockError, whose `found` is the reason, where they are not what they were."""
    if run.folder.alone:
        raise ContractRefused("the model came without its run")
    made, recipe = run.folder.json("manifest.json"), run.recipe
    if run.task.reads == "images":
        train, digest = labelled_pictures.learned_from(recipe, run.task)
        digests = {"train": digest} | ({"exclude": digest_file(Path(recipe.data.exclude))} if recipe.data.exclude else {})
    else:
        found = labelled.rows_of(_one_sided(recipe), lambda text: None)
        train, digests = found.train, {side: str(each["sha256"]) for side, each in found.sources.items() if side != "validation"}
    for side, digest in digests.items():
        if made["data"].get(side, {}).get("sha256") != digest:
            name = made["data"].get(side, {}).get("name", side)
            raise ContractRefused(f"{name} is not what it was when the run learned from it")
    if len(train) != made["rows"]["train"]:
        raise ContractRefused(f"{len(train):,} training rows are read, and the run learned from {made['rows']['train']:,}")
    return train


def _one_sided(recipe: Recipe) -> Recipe:
    """The same with the training file in the place of one of validation rows, which need not be there any more."""
    if not isinstance(recipe.data.validation, str):
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"validation": recipe.data.train})})


def _without(run: "Run", rows: pa.Table, why: str) -> Baselines:
    """What needs no training row; of the others the reason."""
    task, path = run.task, run.folder.path / "ledger.json"
    found = untrained(run.folder.json("ledger.json").get("labels", {}) if path.is_file() else {}, rows, task)
    learned = _LEARNED.get(task.kind, ("pixels" if task.reads == "images" else "tfidf",))
    lacking = {name: f"it is learned from the run's training rows: {why}" for name in learned}
    if task.kind in _CONSTANT and "majority" not in found:
        lacking["majority"] = f"the most frequent answer in training is not kept: {why}"
    return Baselines(found, lacking)


def _untouched(run: "Run", rows: pa.Table) -> tuple[dict[str, Columns], dict[str, str]]:
    """What the base answers that the run began with, or why it can't be asked; nothing of one that had learned nothing."""
    try:
        base = run.base("run was trained from")
    except (BaseError, ContractRefused, UnknownName) as error:
        return {}, {"base": error.found}
    if base.scratch:
        return {}, {}
    model = run.on(base).to(device_name()).eval()
    with precision.computing(model, run.dtype):
        made = run.predictions(rows, model).columns
    return {"base": {**made, "answers": run.task.answers(rows)}}, {}
