"""A finished run as the teacher of another: what it answers to the training rows, in the student's order of labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from rootstock import catalog
from rootstock.bases import load as bases
from rootstock.core import artifact, layers, seed
from rootstock.core.errors import ContractRefused, RecipeError
from rootstock.core.recipe import TeacherSettings
from rootstock.core.rows import ALONE, LABEL, TEACHER, TEACHER_HIDDEN, Columns, Encoded, boxed
from rootstock.core.task import Batch, ByToken, Labelled, Scored
from rootstock.core.watch import Say, Watch
from rootstock.data.batches import Feed
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
        if isinstance(task, ByToken) and self.settings.hidden:
            raise RecipeError(
                f"teacher.hidden is set, and from a teacher {names[0]} learns answers alone",
                wanted="answers",
                fix="leave teacher.hidden out",
            )
        if not isinstance(task, Scored | ByToken):
            raise RecipeError(
                f"teacher.run is set, and {names[0]} has no scores that a teacher could teach",
                wanted="classes, tags, spans, choices, numbers or tokens that are written",
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
        if isinstance(prepared.task, ByToken):
            return self._heard(prepared, prepared.task, place, watch, dry=dry)
        assert isinstance(prepared.task, Scored)
        pairs = self._pairs(model) if model is not None else []
        encoded, feed = self._reads(prepared, watch.say)
        if pairs and not prepared.task.parted_alike(encoded, prepared.encoded):
            wanted = f"the student's {len(prepared.encoded):,} with the same words, to compare their hidden states"
            raise self._other(f"parts these rows into {len(encoded):,} windows", wanted)
        who = self._who(prepared.task, [pair[1] for pair in pairs], place.device)
        if dry:
            said = reference.blank(who, feed(encoded), len(prepared.encoded))
        else:
            progress = Progress(watch, int(encoded.lengths.sum()), what="teacher   the teacher passes every row once")
            said = reference.known(who, encoded, feed, progress)
            said = {**said, TEACHER: prepared.task.aligned(said[TEACHER], encoded, prepared.encoded)}
            watch.say(f"teacher   {self.run.path}: {len(encoded):,} rows {'answered once' if progress.rows else 'from the cache'}")
        self.run.forget()
        if model is not None:
            width: int = getattr(model, "config").hidden_size  # noqa: B009
            seed.seed_everything(seed.derive(prepared.recipe.seed, "teacher"))  # whatever the teacher's own pass has drawn
            model.add_module(loop.MAPS, loop.Maps([pair[0] for pair in pairs], width, said[TEACHER_HIDDEN].shape[-1]).to(place.device))
        alone = {ALONE: np.arange(len(encoded)) >= len(encoded) - prepared.alone} if prepared.alone else {}
        return replace(prepared, encoded=reference.beside(prepared.encoded, {**said, **alone}))

    def _reads(self, prepared: LabelledRows, say: Say) -> tuple[Encoded, Callable[[Encoded], Feed]]:
        """The training rows as it reads them: tokens of its own, or where answers are of tokens the very ones that the student reads."""
        if isinstance(prepared.task, Scored) and prepared.task.by_token:
            self._check_tokens(prepared, int(prepared.encoded.lengths.max(initial=0)))
            return prepared.encoded, prepared.feed
        rows, length = prepared.learned.drop_columns([LABEL]), self.run.contract["length"]
        encoded = self.run.task.encode(rows, self.run.tokenizer, None)
        longer = int((self.run.task.spans(encoded) > length).sum()) if length else 0
        if longer and not self.run.task.parted:
            say(f"teacher   {self.run.spoken_cut(longer)} for the teacher")
        return (self.run.task.encode(rows, self.run.tokenizer, length) if longer else encoded), self.run.feed

    def _check_tokens(self, prepared: LabelledRows, longest: int) -> None:
        """Refuse a student whose tokens are others than the teacher's, or whose rows are longer than it reads."""
        held, wanted = self.run.contract["tokenizer_sha256"], bases.tokenizer_digest(prepared.tokenizer)
        if held != wanted:
            raise ContractRefused(
                f"the teacher {self.run.path} reads with the tokenizer {held}",
                wanted=f"{wanted}, the tokenizer of {prepared.base.name}: tokens of two vocabularies can't be compared",
                fix="choose a student of the teacher's family; or label rows with the teacher: rootstock predict",
            )
        if longest > self.run.contract["length"]:
            raise self._other(f"takes {self.run.contract['length']} tokens of a row", f"{longest}, as these rows have")

    def _heard(self, prepared: LabelledRows, task: ByToken, place: Place, watch: Watch, *, dry: bool) -> Prepared:
        """The training rows with the tokens that the teacher holds likely beside them. It reads the very ids that the student reads."""
        encoded, top = prepared.encoded, self.settings.top
        longest = int(task.spans(encoded).max(initial=0))
        self._check_tokens(prepared, longest)
        if dry:
            empty = np.broadcast_to(np.zeros((1, longest, top, 2), np.float32), (len(encoded), longest, top, 2))
            return replace(prepared, encoded=reference.beside(encoded, {TEACHER: empty}))
        alone = task.model_copy(update={"packing": False}) if task.packs else task  # a row's tokens come together
        key = {"teacher": self.digest, "computes": str(self.run.dtype), "top": top, "temperature": self.settings.temperature}
        who = reference.Asked(
            kind="teacher",
            model=lambda: self.run.model,
            says=partial(alone.said, top=top, temperature=self.settings.temperature),
            key=key | {"task": catalog.name_of("tasks", type(task))},
            place=Place(device=place.device, dtype=torch.float32),
        )
        progress = Progress(watch, int(encoded.lengths.sum()), what="teacher   the teacher passes every row once")
        told = reference.known(who, encoded, lambda part: replace(prepared.feed(part), task=alone), progress)
        watch.say(f"teacher   {self.run.path}: {len(encoded):,} rows {'answered once' if progress.rows else 'from the cache'}")
        self.run.forget()
        return replace(prepared, encoded=reference.beside(encoded, told))

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
