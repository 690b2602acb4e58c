"""A model that writes under test: opened with its base and clean references, and searched for targets and what elicits them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from rootstock.bases.resolve import Resolved, resolve
from rootstock.core.errors import DataError, UsageError
from rootstock.core.recipe import DataSettings
from rootstock.core.rows import TEXT, column
from rootstock.core.runfolder import RunFolder
from rootstock.core.watch import Say, Watch
from rootstock.data import schema, source
from rootstock.run import clean, kin
from rootstock.run.choices import config_file
from rootstock.run.labelled import arranged
from rootstock.run.opened import kind_of, open_base
from rootstock.run.slopes import steep
from rootstock.run.subject import most_tokens
from rootstock.run.use import Run
from rootstock.run.writer import Goal, Writer
from rootstock.sentinel.backdoor.budget import Budget
from rootstock.sentinel.backdoor.elicit import Speech, elicited
from rootstock.sentinel.backdoor.inputs import Inputs, Parts, parts
from rootstock.sentinel.backdoor.result import Result

TASK = "text-generation"
_TASKS = (TASK, "causal-lm")
_WORDS = 8
"""Of a document its first words are the prompt."""


@dataclass(frozen=True, kw_only=True)
class Author:
    """base, ground: what it was trained from, with its weights; None where that is not here. chat: prompts go through its template."""

    writer: Writer
    chat: bool
    base: Resolved | None = None
    ground: Writer | None = None


@dataclass(frozen=True, kw_only=True)
class How:
    """budget, alpha, seed, cache: as the scanner has them."""

    budget: Budget
    alpha: float
    seed: int
    cache: Path | None


def writes(model: Any) -> bool:
    """Whether this is a model that writes: a run, a folder or hub id, a pipeline, or a pair of model and tokenizer."""
    if isinstance(model, Run):
        return str(model.recipe.task["name"]) in _TASKS
    if isinstance(model, str | Path):
        if RunFolder(Path(model)).complete:
            return writes(Run(model))
        named = config_file(resolve(str(model)), "config.json").get("architectures") or ()
        return any(kind_of(str(each)) == "causal" for each in named)
    held = model[0] if isinstance(model, tuple) and len(model) == 2 else getattr(model, "model", None)
    return isinstance(held, nn.Module) and kind_of(type(held).__name__) == "causal"


def opened(model: Any, *, base: str | None, say: Say) -> Author | None:
    """The model with its base; None where it does not write."""
    if not writes(model):
        return None
    if not isinstance(model, Run | str | Path):
        held, tokens = model if isinstance(model, tuple) else (model.model, model.tokenizer)
        return _beside(held.float(), tokens, _chats(tokens), most_tokens(held), kin.named(base, say) if base else None, say)
    place = model.whole.path if isinstance(model, Run) else Path(model)
    found = open_base(str(place))
    run = Run(place) if RunFolder(place).complete else None
    chat = run.recipe.task.get("form") == "chat" if run else _chats(found.tokens)
    own = kin.named(base, say) if base else kin.own(run, say) if run else None
    return _beside(found.model, found.tokens, chat, min(found.room, 512), own, say)


def _chats(tokens: Any) -> bool:
    return bool(getattr(tokens, "chat_template", None))


def _beside(model: nn.Module, tokens: Any, chat: bool, length: int, base: Resolved | None, say: Say) -> Author:
    writer = Writer(model, tokens, chat=chat, length=length)
    if base is None or base.scratch:
        say("base      is not known: there are no clean references")
        return Author(writer=writer, chat=chat)
    held = open_base(base.reference)
    if held.kind != "causal" or held.tokens.get_vocab() != tokens.get_vocab():
        raise UsageError(f"{base.name} has another vocabulary, or does not write", wanted="the base that the model was trained from")
    return Author(writer=writer, chat=chat, base=base, ground=Writer(held.model, tokens, chat=chat, length=length))


def searched(author: Author, given: Any, patterns: Sequence[str], how: How, watch: Watch) -> Result:
    """Targets, and what elicits them. given: prompts, with completions where clean references are to learn from them."""
    divided = parts(prompts(given), seed=how.seed)
    references = [author.ground] if author.ground else []
    if author.base and divided.learn.answers:
        references += _references(author, divided, how, watch)
    return elicited(
        Speech(
            suspect=author.writer,
            references=references,
            goal=Goal,  # type: ignore[arg-type]
            prompts=divided,
            budget=how.budget,
            steep=steep,
            base=author.base.digest if author.base else "",
            task=TASK,
            moved=_moved(author),
            patterns=patterns,
            alpha=how.alpha,
            seed=how.seed,
            say=watch.say,
        )
    )


def _references(author: Author, divided: Parts, how: How, watch: Watch) -> list[Writer]:
    """Models of the same base that learned to answer the caller's own prompts."""
    assert author.base is not None
    settings = {"text": "prompt", "label": "completion", "form": "chat" if author.chat else "plain"}
    ground = clean.Ground(base=author.base.reference, digest=author.base.digest, task=TASK, settings=settings, cache=how.cache)
    rows = clean.Rows(texts=divided.learn.texts, answers=divided.learn.answers or ())
    made = [open_base(str(run.path)) for run in clean.references(ground, rows, 1, watch, seed=how.seed)]
    return [Writer(each.model, each.tokens, chat=author.chat, length=min(each.room, 512)) for each in made]


def _moved(author: Author) -> np.ndarray | None:
    """How far the embedding of each token is from the base's, [V]; None where no base tells."""
    before, after = author.ground.rows if author.ground else None, author.writer.rows
    if before is None or after is None or before.shape != after.shape:
        return None
    return np.asarray(np.linalg.norm(after - before, axis=1))


def prompts(given: Any) -> Inputs:
    """Prompts, with their completions where all have one; of documents, the first words."""
    if isinstance(given, str | Path):
        found = arranged(source.read(str(given), DataSettings(train=str(given))), TASK)
        if "prompt" not in found.table.column_names:
            rows = schema.canonical(found, schema.recognise(found, labelled=False)).rows
            return _some([" ".join(str(text).split()[:_WORDS]) for text in column(rows, TEXT)], None)
        said = column(found.table, "completion") if "completion" in found.table.column_names else [None]
        return _some(column(found.table, "prompt"), said)
    items = list(given)
    if items and all(isinstance(each, tuple | list) and len(each) == 2 for each in items):
        return _some([each[0] for each in items], [each[1] for each in items])
    if not all(isinstance(each, str) for each in items):
        raise UsageError("test_inputs of mixed kinds", wanted="a file, prompts, or (prompt, completion) pairs")
    return _some(items, None)


def _some(texts: Sequence[Any], answers: Sequence[Any] | None) -> Inputs:
    kept = [i for i, text in enumerate(texts) if isinstance(text, str) and text.strip()]
    if not kept:
        raise DataError("there are no prompts", wanted="some hundred", fix="name a file with --data")
    if answers is None or any(not isinstance(answer, str) for answer in answers):
        return Inputs(texts=[texts[i] for i in kept])
    return Inputs(texts=[texts[i] for i in kept], answers=[answers[i] for i in kept])
