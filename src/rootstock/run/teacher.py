"""A finished run as the teacher of another: what it answers to the training rows, in the student's order of labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from rootstock import catalog
from rootstock.core import artifact, layers, seed
from rootstock.core.errors import ContractRefused, RecipeError
from rootstock.core.recipe import TeacherSettings
from rootstock.core.rows import ALONE, LABEL, TEACHER, TEACHER_HIDDEN, Columns, boxed
from rootstock.core.task import Batch, Labelled, Scored
from rootstock.core.watch import Watch
from rootstock.loop import teacher as loop
from rootstock.run import reference
from rootstock.run.features import Progress
from rootstock.run.prepared import LabelledRows, Place, Prepared
from rootstock.run.use import Run


@dataclass(frozen=True, kw_only=True)
class RunTeacher:
    """A run that teaches. settings: how much its answers count."""

    run: Run
    settings: TeacherSettings

    @property
    def digest(self) -> str:
        """Of its weights, and of the base's where it is an adapter."""
        return artifact.digest_json([self.run.weights, self.run.contract["base"]["sha256"] if self.run.method.saves == "adapter" else ""])

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says of it."""
        recipe = self.run.recipe
        named = {"task": recipe.task["name"], "method": recipe.method["name"], "base": recipe.base}
        return {"name": self.run.path.resolve().name, "sha256": self.digest, **named, "figures": self.run.metrics["metrics"]}

    def check(self, task: Labelled, *, pair: bool) -> None:
        """Refuse a student whose rows or answers are others than the teacher's."""
        own = self.run.task
        names = catalog.name_of("tasks", type(task)), catalog.name_of("tasks", type(own))
        if names[0] != names[1] or task.kind != own.kind:
            raise self._other(f"learned {names[1]} ({own.kind})", f"a run of {names[0]} ({task.kind}), as this one is")
        if not isinstance(task, Scored):
            raise RecipeError(
                f"teacher.run is set, and {names[0]} has no scores that a teacher could teach",
                wanted="classes, tags, choices or numbers",
                fix="leave teacher out; to learn what a model writes, label rows with it: rootstock predict",
            )
        if pair != (self.run.recipe.task.get("text_pair") is not None):
            raise self._other(f"reads {'one text' if pair else 'two texts'} a row", f"{'two' if pair else 'one'}, as here")
        if own.reads == "images" and own.plain()["size"] != task.plain()["size"]:
            sizes = [each.plain()["size"] for each in (own, task)]
            raise self._other(f"reads images of {sizes[0]} pixels", f"{sizes[1]}, as this base does")
        labels, taught = (tuple(getattr(each, "labels", ())) for each in (task, own))
        if {*labels} != {*taught}:
            raise ContractRefused(
                f"the teacher {self.run.path} knows the labels {_listed(taught)}",
                wanted=f"those of these rows: {_listed(labels)}",
                fix="train the teacher on the same labels, or name all of them in task.labels",
            )

    def _other(self, found: str, wanted: str) -> RecipeError:
        return RecipeError(f"the teacher {self.run.path} {found}", wanted=wanted, fix="choose another teacher.run")

    def answers(self, rows: pa.Table) -> list[Any]:
        """What it takes rows to be, as labels are written."""
        return self.run.predictions(rows).table["predicted"]

    def asked(self, prepared: Prepared, model: nn.Module | None, place: Place, watch: Watch, *, dry: bool) -> Prepared:
        """The training rows with its answers beside them, and where hidden states are compared with those; zeros in a rehearsal.

        model: the student, which gets the maps to the teacher's width; None where answers alone are compared.
        """
        assert isinstance(prepared, LabelledRows)
        pairs = self._pairs(model) if model is not None else []
        rows = prepared.learned
        encoded = self.run.task.encode(rows.drop_columns([LABEL]), self.run.tokenizer, self.run.contract["length"])
        who = self._who(prepared.task, [pair[1] for pair in pairs], place.device)
        if dry:
            said = reference.blank(who, self.run.feed(encoded), len(encoded))
        else:
            progress = Progress(watch, int(encoded.lengths.sum()), what="teacher   the teacher passes every row once")
            said = reference.known(who, encoded, self.run.feed, progress)
            watch.say(f"teacher   {self.run.path}: {len(encoded):,} rows {'answered once' if progress.rows else 'from the cache'}")
        self.run.forget()
        if model is not None:
            width: int = getattr(model, "config").hidden_size  # noqa: B009
            seed.seed_everything(seed.derive(prepared.recipe.seed, "teacher"))  # whatever the teacher's own pass has drawn
            model.add_module(loop.MAPS, loop.Maps([pair[0] for pair in pairs], width, said[TEACHER_HIDDEN].shape[-1]).to(place.device))
        alone = {ALONE: np.arange(len(encoded)) >= len(encoded) - prepared.alone} if prepared.alone else {}
        return replace(prepared, encoded=reference.beside(prepared.encoded, {**said, **alone}))

    def _pairs(self, model: nn.Module) -> list[tuple[int, int]]:
        own, theirs = (len(layers.blocks(each)) for each in (model, self.run.model))
        if not own or not theirs:
            raise RecipeError("teacher.hidden is set, and a model has no stack of blocks", wanted="transformers", fix="leave it out")
        return loop.matched(own, theirs, self.settings.layers)

    def _who(self, task: Labelled, places: Sequence[int], device: torch.device) -> reference.Asked:
        labels = getattr(self.run.task, "labels", ())
        order = [labels.index(name) for name in getattr(task, "labels", ())]
        asked = {"task": self.run.recipe.task, "order": order, "places": list(places)}
        key = {"teacher": self.digest, "computes": str(self.run.dtype), **asked}
        says = partial(_says, self.run.task, order, places)
        place = Place(device=device, dtype=torch.float32)
        return reference.Asked(kind="teacher", model=lambda: self.run.model, says=says, key=key, place=place)


def _says(task: Labelled, order: list[int], places: Sequence[int], model: nn.Module, batch: Batch) -> Columns:
    """Scores in the student's order of labels, and the means of hidden states [B, L, K]."""
    assert isinstance(task, Scored)
    with loop.pooled(model, places) as states:
        scores = task.scores(model, batch)
    scores = scores[..., order] if order else scores
    said = {TEACHER: boxed(list(scores.float().cpu().numpy()))}
    return said | ({TEACHER_HIDDEN: np.stack([each.float().cpu().numpy() for each in states()], 1)} if places else {})


def opened(settings: TeacherSettings) -> RunTeacher | None:
    """The run that a recipe names as its teacher."""
    return RunTeacher(run=Run(Path(settings.run).expanduser()), settings=settings) if settings.run else None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:20])) + (", …" if len(names) > 20 else "")
