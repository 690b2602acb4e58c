"""From a recipe to documents that an objective can learn from: read, held out, encoded, accounted for."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rootstock import catalog
from rootstock.bases import load as bases
from rootstock.core import artifact
from rootstock.core.errors import DataError, RecipeError
from rootstock.core.method import MOST_EPOCHS, Method
from rootstock.core.objective import Objective
from rootstock.core.recipe import Recipe
from rootstock.core.rows import Encoded
from rootstock.core.watch import Say
from rootstock.corpus import labelled, sources
from rootstock.data import batches
from rootstock.data import unlabelled as documents
from rootstock.data.cache import remembered
from rootstock.run import choices, pairs, pictures
from rootstock.run.prepared import Unlabelled

_PASSES = 3.0
"""Over the documents, where neither epochs nor minutes are given."""


@dataclass(frozen=True)
class _Read:
    """Both sides encoded, with the number of each row's corpus, and the account of the documents."""

    train: Encoded
    validation: Encoded
    account: dict[str, Any]


def prepare(recipe: Recipe, say: Say) -> Unlabelled:
    """Make every choice that the recipe leaves open, saying each with its reason."""
    settings = dict(recipe.task)
    task: Objective = catalog.find("tasks", settings.pop("name")).build(settings, "task")
    base = choices.base_for(recipe, say)
    method, why = _method(recipe, scratch=bool(base.scratch))
    tokens: Callable[[], Any] = cache(partial(bases.tokenizer, base))
    if task.reads in pictures.READS:
        seen = pictures.pictured(recipe, task, base, share=_share(recipe), say=say)
        task, tokens, length, found = seen.task, seen.tokens, seen.length, seen.found
        read = _Read(seen.train, seen.validation, seen.account)
    else:
        length = choices.kept_length(recipe, choices.room(base), longest=task.length)
        found = _references(recipe, task)
        read = _read(recipe, task, found, length, tokens)
        say(_told(read))
    settled = choices.resolved(
        recipe, base, task, method, columns={}, usual=_usual(recipe, task, method, length, scratch=bool(base.scratch))
    )
    shares = _shares(recipe, read.train, found, say)
    prepared = Unlabelled(
        recipe=settled,
        base=base,
        tokens=tokens,
        task=task,
        method=method,
        encoded=read.train,
        encoded_validation=read.validation,
        ledger=read.account,
        length=length,
        sources={f"train {number}" if number else "train": facts for number, facts in enumerate(found.values())},
        choices={"method": why, "schema": []},
        counts={side: read.account["rows"][side] for side in ("train", "validation")},
        shares=shares,
    )
    padding = batches.padding_share(read.train.lengths, prepared.feed(read.train).epoch(0))
    return replace(prepared, ledger=documents.measured(read.account, read.train.lengths, kept=length, padding_share=padding))


def _usual(recipe: Recipe, task: Objective, method: Method, length: int, *, scratch: bool) -> dict[str, Any]:
    """The values of training that suit an objective."""
    timed = recipe.budget.minutes and not recipe.training.steps
    epochs = float(MOST_EPOCHS) if timed else _PASSES  # where time decides, passes end only what would be learned by heart
    usual = choices.usual_of(method, epochs) | {"batch_tokens": task.batch_tokens, "dropout": task.dropout, "length": length}
    return usual | ({"rate": task.rate} if scratch else {})


def _shares(recipe: Recipe, train: Encoded, found: dict[str, dict[str, Any]], say: Say) -> tuple[float, ...] | None:
    """Shares of several corpora, said; None where there is one."""
    held_S = np.bincount(train.dense["source"], train.lengths, minlength=len(found))
    shares_S = documents.shares(recipe.data.mix, held_S)
    if len(found) == 1:
        return None
    for name, share, held in zip(found, shares_S, held_S, strict=True):
        passes = share * held_S.sum() / max(held, 1)
        say(f"mix       {name}: {share:.1%} of an epoch, its {held:,.0f} tokens {passes:.2g} times")
    return tuple(shares_S.tolist())


def _method(recipe: Recipe, *, scratch: bool) -> tuple[Method, str]:
    settings = dict(recipe.method)
    name = settings.pop("name", "auto")
    reason = "asked for"
    if name == "auto":
        name, reason = "full", "what is learned without labels concerns all weights"
    method: Method = catalog.find("methods", name).build(settings, "method")
    if method.frozen:
        raise RecipeError(
            f"{name} learns a head on a frozen base", wanted="a method that changes the base", fix="choose --method full or lora"
        )
    if scratch and method.trained < 1:
        raise RecipeError(
            f"{name} keeps the base's weights, which are random", wanted="a method that trains them all", fix="choose --method full"
        )
    return method, reason


def _references(recipe: Recipe, task: Objective) -> dict[str, dict[str, Any]]:
    """Each corpus with what tells it from any other: the digests of its files."""
    train = recipe.data.train
    names = (train,) if isinstance(train, str) else train
    if task.reads == pairs.READS:
        return {name: pairs.facts(name, recipe) for name in names}
    return {name: _facts(name, recipe.task.get("text")) for name in names}


def _facts(name: str, text: str | None) -> dict[str, Any]:
    if built := labelled.corpus_digest(name):
        return {"name": name, "format": "corpus", "sha256": built}
    return {"name": name, "format": "documents", "sha256": sources.describe(name, text).digest}


def _read(recipe: Recipe, task: Objective, found: dict[str, dict[str, Any]], length: int, tokens: Callable[[], Any]) -> _Read:
    """Read, hold out and encode; kept by the digests of corpora, tokenizer and task, so that it is done once."""
    share = _share(recipe)
    broken: Counter[str] = Counter()
    tokenizer = tokens()

    def make() -> dict[str, np.ndarray]:
        paired = task.reads == pairs.READS
        rows = pairs.read(tuple(found), recipe, broken) if paired else _documents(recipe, found, broken)
        digest_N = documents.digests(rows)
        held_N = documents.held_out(digest_N, share, recipe.seed)
        account = documents.account(rows, held_N, pairs.digests(rows) if paired else digest_N, broken)
        sides = {
            side: _encode(task, rows.filter(pa.array(chosen_N)), tokenizer, length)
            for side, chosen_N in (("train", ~held_N), ("held", held_N))
        }
        arrays = {f"{side}:{name}": array for side, encoded in sides.items() for name, array in encoded.arrays().items()}
        return arrays | {"account": np.frombuffer(json.dumps(account).encode(), np.uint8)}

    key = {
        "corpora": [facts["sha256"] for facts in found.values()],
        "tokenizer": artifact.digest_bytes(tokenizer.backend_tokenizer.to_str().encode()),
        "task": [recipe.task["name"], task.plain(), length],
        "held": [share, recipe.seed],
        "versions": [version("tokenizers"), version("rootstock")],
    }
    arrays, _ = remembered("documents", key, make)
    train, held = (
        Encoded.of_arrays({name.removeprefix(f"{side}:"): array for name, array in arrays.items() if name.startswith(f"{side}:")})
        for side in ("train", "held")
    )
    account = json.loads(arrays["account"].tobytes())
    if not len(train) or not len(held):
        lost = ", ".join(f"{count:,} left out as {rule}" for rule, count in account["broken"].items())
        raise DataError(
            f"{', '.join(found)}: {len(train)} rows to learn from and {len(held)} held out{f'; {lost}' if lost else ''}",
            wanted="text for both",
            fix="add documents, or hold out another share with --validation",
        )
    return _Read(train, held, account)


def _documents(recipe: Recipe, names: Iterable[str], broken: Counter[str]) -> pa.Table:
    return documents.read([(text for _, text in labelled.labelled(name, recipe.task.get("text"), broken)) for name in names])


def _encode(task: Objective, rows: pa.Table, tokenizer: Any, length: int) -> Encoded:
    """All rows as the objective reads them, corpus by corpus."""
    made = []
    for number in sorted(set(rows.column(documents.SOURCE).to_pylist())):
        own = rows.filter(pc.equal(rows.column(documents.SOURCE), number))
        for part in documents.slices(own):
            encoded = task.encode(part, tokenizer, length)
            made.append(replace(encoded, dense={**encoded.dense, "source": np.full(len(encoded), number, np.int16)}))
    return Encoded.joined(made) if made else Encoded({}, {"source": np.empty(0, np.int16)}, np.empty(0, np.int64))


def _share(recipe: Recipe) -> float:
    if isinstance(recipe.data.validation, str):
        raise RecipeError(
            "data.validation is a file", wanted="for an objective: the share of the documents to hold out", fix="give a share"
        )
    return recipe.data.validation


def _told(read: _Read) -> str:
    rows, lost = read.account["rows"], read.account["broken"]
    left_out = "; left out: " + ", ".join(f"{count:,} {rule}" for rule, count in lost.items()) if lost else ""
    tokens = int(read.train.lengths.sum())
    learned = f"{rows['train']:,} texts ({tokens:,} tokens in {len(read.train):,} rows) to learn from"
    return f"corpus    {learned}, {rows['validation']:,} held out{left_out}"
