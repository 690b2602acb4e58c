"""What a model that the user names writes for each of many texts, kept on disk by the digest of all that decides it.

The texts go the way that rows of text-to-text and text-generation go in `predict`. Models are slow: what was written before a run was
stopped is not written again.
"""

import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rootstock import catalog
from rootstock.bases import load as bases
from rootstock.bases.resolve import Resolved, resolve
from rootstock.core import seed as seeds
from rootstock.core.artifact import digest_json
from rootstock.core.augment import TEXT, Writing
from rootstock.core.errors import BaseError, RecipeError, fitting
from rootstock.core.mode import in_mode
from rootstock.core.runfolder import RunFolder
from rootstock.core.task import Labelled
from rootstock.core.watch import Say
from rootstock.data import batches, cache
from rootstock.loop import infer, precision
from rootstock.run import choices
from rootstock.run.asked import table_of
from rootstock.run.opened import kind_of
from rootstock.run.prepared import device_name
from rootstock.run.use import Run

_PART = 64
"""Texts that are kept together: so many are lost at most where a run is stopped."""
_TOKENS = 4096
"""Padded tokens that are written for at once."""
_TASKS = {"seq2seq": "text-to-text", "causal": "text-generation"}
_KINDS = ("text", "completion")
"""Kinds of answers that are written for one text."""


def write(writing: Writing, texts: Sequence[str], *, seed: int, say: Say) -> list[str]:
    """A text for each; blank ones stay as they are. The same for the same texts, model and seed, on one kind of machine."""
    writer, made, told = _checked(_writer(writing)), list[str](), False
    for number, start in enumerate(range(0, len(texts), _PART)):
        part, started = list(texts[start : start + _PART]), time.monotonic()
        drawn = {"number": number, "seed": seed} if writing.temperature else {}
        how = [writing.ask, writing.max_tokens, writing.beams, writing.temperature]
        key = {"texts": digest_json(part), "writer": writer.digest, "how": how, **drawn, "version": 1}
        arrays, known = cache.remembered("written", key, partial(writer.kept, part, seeds.derive(seed, "write", number)))
        made += json.loads(np.asarray(arrays["texts"]).tobytes())
        if not (known or told) and len(texts) > _PART:
            told = True
            say(
                f"augment   {writing.model} writes {len(texts):,} texts, in about {(time.monotonic() - started) * len(texts) / _PART:.0f} s"
            )
    return made


@dataclass(frozen=True, kw_only=True)
class _Writer:
    """A model with the task that it writes by. run: None where it is a base."""

    writing: Writing
    run: Run | None
    base: Resolved | None

    @cached_property
    def task(self) -> Labelled:
        """Told how to write."""
        found = self.run.task if self.run else self._own_task()
        how = {"max_tokens": self.writing.max_tokens, "temperature": self.writing.temperature, "beams": self.writing.beams}
        return found.model_copy(update={name: value for name, value in how.items() if name in type(found).model_fields})

    def _own_task(self) -> Labelled:
        assert self.base is not None
        kind = next(each for each in map(kind_of, _architectures(self.base)) if each in _TASKS)
        chat = kind == "causal" and bool(bases.tokenizer(self.base).chat_template)
        task: Labelled = catalog.find("tasks", _TASKS[kind]).build(
            {"form": "chat" if chat else "plain"} if kind == "causal" else {}, "task"
        )
        return task

    @property
    def digest(self) -> str:
        """Of its weights and its tokenizer, and of the task of a run."""
        tokens = [bases.tokenizer_digest(self.tokenizer), self.tokenizer.chat_template]
        if self.run:
            return digest_json([self.run.weights, tokens, self.run.recipe.task, str(self.run.dtype), device_name()])
        assert self.base is not None
        return digest_json([self.base.digest, tokens, device_name()])

    @cached_property
    def tokenizer(self) -> Any:
        """As the task reads with it."""
        if self.run:
            return self.run.tokenizer
        assert self.base is not None
        return self.task.ready(bases.tokenizer(self.base))

    @cached_property
    def model(self) -> nn.Module:
        """In the format that it computes in; a run's in its own."""
        if self.run:
            return self.run.model
        assert self.base is not None
        loaded = bases.load(self.base, self.task.head(), seed=0)
        if loaded.fresh:
            raise BaseError(f"{self.writing.model} lacks its output layer: {min(loaded.fresh)}", wanted="a model that writes")
        bases.fit(self.tokenizer, loaded.model)
        self.task.check(loaded.model)
        return loaded.model.to(device_name()).requires_grad_(False)

    def kept(self, texts: list[str], seed: int) -> dict[str, np.ndarray]:
        """What it writes, as bytes."""
        full = [place for place, text in enumerate(texts) if text.strip()]
        made = dict(zip(full, self.write([texts[place] for place in full], seed) if full else [], strict=True))
        told = [made.get(place, text) for place, text in enumerate(texts)]
        return {"texts": np.frombuffer(json.dumps(told, ensure_ascii=False).encode(), np.uint8)}

    def write(self, texts: list[str], seed: int) -> list[str]:
        """A text for each."""
        task, room = self.task, self.run.contract["length"] if self.run else choices.room(self.base)  # type: ignore[arg-type]
        rows = table_of([self.writing.ask.replace(TEXT, text) for text in texts], pair=False)
        encoded = task.encode(rows, self.tokenizer, room)
        feed = batches.Feed(encoded, task, self.tokenizer, _TOKENS, _TOKENS, 0)
        device, found = torch.device(device_name()), []
        form = nullcontext() if self.run else precision.computing(self.model, precision.choose("auto", device.type))
        devices = [device] if device.type == "cuda" else []
        with bases.quiet(), form, in_mode(self.model, training=False), torch.random.fork_rng(devices=devices), torch.inference_mode():
            torch.manual_seed(seed)
            order = feed.in_order()
            for chosen in order:
                with fitting(f"writing for {len(chosen)} texts", fix="lower augment.max_tokens"):
                    found += [task.decode(self.model, infer.to_device(batch, device))["written"] for batch in feed.micro_batches(chosen)]
        back = np.argsort(np.concatenate(order), kind="stable")
        told = task.told({"written": np.concatenate(found)[back]}, encoded, rows, self.tokenizer)["scores"].tolist()
        return [_first_line(text) for text in told] if task.kind == "completion" else told


def _writer(writing: Writing) -> _Writer:
    """The model that is named; RecipeError where it writes nothing."""
    fix, wanted = f"choose another {writing.key}", "a model that writes a text for a text, or writes on"
    if RunFolder(place := Path(writing.model).expanduser()).complete:
        run = Run(place)
        if run.task.kind not in _KINDS:
            raise RecipeError(f"{writing.key} is {writing.model}, a run of {run.recipe.task['name']}", wanted=wanted, fix=fix)
        return _Writer(writing=writing, run=run, base=None)
    base = resolve(writing.model)
    if not any(kind_of(each) in _TASKS for each in _architectures(base)):
        held = ", ".join(_architectures(base)) or "no architecture with a head"
        raise RecipeError(f"{writing.key} is {writing.model} ({held})", wanted=wanted, fix=fix)
    return _Writer(writing=writing, run=None, base=base)


def _checked(writer: _Writer) -> _Writer:
    """The writer; RecipeError where it is to seek among several beginnings, and keeps one only."""
    if writer.writing.beams > 1 and "beams" not in type(writer.task).model_fields:
        key = f"{writer.writing.key.split('.')[0]}.beams"
        raise RecipeError(
            f"{key} is {writer.writing.beams}, and {writer.writing.model} writes on: it keeps one beginning",
            wanted="a text-to-text model for more",
            fix=f"leave {key} out",
        )
    return writer


def _architectures(base: Resolved) -> list[str]:
    return [str(each) for each in choices.config_file(base, "config.json").get("architectures") or ()]


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
