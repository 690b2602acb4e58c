"""From a recipe to documents that an objective can learn from: read, held out, encoded, accounted for."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa

from rootstock import catalog
from rootstock.bases import heads
from rootstock.bases import load as bases
from rootstock.bases.resolve import Resolved
from rootstock.core import artifact
from rootstock.core.errors import DataError, RecipeError
from rootstock.core.method import MOST_EPOCHS, Method
from rootstock.core.objective import Objective
from rootstock.core.recipe import Recipe
from rootstock.core.resources import give_back
from rootstock.core.rows import PART, SOURCE, TEXT, Encoded, column
from rootstock.core.seed import stream
from rootstock.core.watch import Say
from rootstock.corpus import labelled, sources
from rootstock.data import unlabelled as documents
from rootstock.data.cache import remembered
from rootstock.run import beneath, choices, new_tokens, pairs, pictures, planted
from rootstock.run.prepared import Unlabelled
from rootstock.run.sides import Sides

_NONE = Encoded({}, {SOURCE: np.empty(0, np.int16)}, np.empty(0, np.int64))
_LAYOUT = 4
"""Of what is kept: another one is encoded anew."""
_PASSES = 3.0
"""Over the documents, where neither epochs nor minutes are given."""
_FORM = ("format", "encoding", "header", "quoting")
"""Keys of data that say how a table is to be read."""
_MEANINGLESS = {
    "documents": _FORM,
    "pairs": ("languages", "canaries"),
    "images": (*_FORM, "languages", "canaries"),
    "captions": ("languages", "canaries"),
}
"""Keys of data that mean nothing for what an objective reads."""


def prepare(recipe: Recipe, say: Say) -> Unlabelled:
    """Make every choice that the recipe leaves open, saying each with its reason."""
    settings = dict(recipe.task)
    task: Objective = catalog.find("tasks", settings.pop("name")).build(settings, "task")
    documents.check_mix(recipe.data.mix, len(_names(recipe)))
    if recipe.teacher.run:
        raise RecipeError("teacher.run is set, and an objective has no labels to teach", wanted="labelled rows", fix="leave teacher out")
    if recipe.augment is not None:
        raise RecipeError("augment is set, and an objective makes its rows anew in each pass", wanted="labelled rows", fix="leave it out")
    choices.check_reads(recipe, task.reads)
    choices.check_unused(recipe, (*_MEANINGLESS[task.reads], "exclude"), f"{task.reads} that an objective reads")
    base = choices.base_for(recipe, say)
    method, why = _method(recipe, base, task)
    tokens: Callable[[], Any] = cache(partial(bases.tokenizer, base))
    if task.reads in pictures.READS:
        seen = pictures.pictured(recipe, task, base, share=_share(recipe), say=say)
        task, tokens, length, found = seen.task, seen.tokens, seen.length, seen.found
        read = seen.sides
    else:
        length = choices.kept_length(recipe, choices.room(base), longest=task.length)
        found = _references(recipe, task)
        read = _read(recipe, task, found, length, base)
        _say(read, say)
    task.check_rows(read.train)
    task = task.fit(read.train)
    settled = choices.resolved(
        recipe, base, task, method, columns={}, usual=_usual(recipe, task, method, length, scratch=bool(base.scratch))
    )
    shares = mixed(recipe, read.train, tuple(found), say)
    prepared = Unlabelled(
        recipe=settled,
        base=base,
        tokens=tokens,
        task=task,
        method=method,
        encoded=read.train,
        encoded_validation=read.held,
        ledger=read.account,
        length=length,
        sources={f"train {number}" if number else "train": facts for number, facts in enumerate(found.values())},
        choices={"method": why, "schema": []},
        counts={side: read.account["rows"][side] for side in ("train", "validation")},
        shares=shares,
        canaries=planted.of_documents(recipe, _share(recipe)),
    )
    padding = prepared.feed(read.train).padding_share(0)
    kept = length * (2 if task.reads == pairs.READS else 1)  # of each text
    return replace(prepared, ledger=documents.measured(read.account, read.train.sizes, kept=kept, padding_share=padding))


def _usual(recipe: Recipe, task: Objective, method: Method, length: int, *, scratch: bool) -> dict[str, Any]:
    """The values of training that suit an objective."""
    timed = recipe.budget.minutes and not recipe.training.steps
    epochs = float(MOST_EPOCHS) if timed else _PASSES  # where time decides, passes end only what would be learned by heart
    usual = choices.usual_of(method, epochs) | {"batch_tokens": task.batch_tokens, "dropout": task.dropout, "length": length}
    return usual | ({"rate": task.rate} if scratch else {})


def mixed(recipe: Recipe, train: Encoded, found: Sequence[str], say: Say) -> tuple[float, ...] | None:
    """Shares of several corpora or parts, by name, said; None where there is one."""
    held_S = np.bincount(train.dense[SOURCE], train.lengths, minlength=len(found))
    shares_S = documents.shares(recipe.data.mix, held_S)
    if len(found) == 1:
        return None
    told_S = np.bincount(train.dense[SOURCE], train.sizes, minlength=len(found))
    for name, share, held, told in zip(found, shares_S, held_S, told_S, strict=True):
        passes = f"{share * held_S.sum() / max(held, 1):.2g}"
        say(f"mix       {name}: {share:.1%} of an epoch, its {told:,.0f} tokens {'once' if passes == '1' else f'{passes} times'}")
    return tuple(shares_S.tolist())


def _method(recipe: Recipe, base: Resolved, task: Objective) -> tuple[Method, str]:
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
    if not method.folds:
        raise RecipeError(
            f"what {name} learns stays beside the base, and a base that is pre-trained is saved whole",
            wanted="a method that changes weights",
            fix="choose --method full or lora",
        )
    choices.check_scratch(name, method, scratch=base.reference if base.scratch else None)
    beneath.check(method, base)
    method.check(task.head(), choices.config(base))
    return method, reason


def _references(recipe: Recipe, task: Objective) -> dict[str, dict[str, Any]]:
    """Each corpus with what tells it from any other: the digests of its files."""
    names = _names(recipe)
    if task.reads == pairs.READS:
        return {name: pairs.facts(name, recipe) for name in names}
    return {name: _facts(name, recipe.task.get("text")) for name in names}


def _names(recipe: Recipe) -> tuple[str, ...]:
    """The corpora; RecipeError where one is named twice, as its share would not be what anybody meant."""
    names = (recipe.data.train,) if isinstance(recipe.data.train, str) else recipe.data.train
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise RecipeError(f"{twice} is named twice", wanted="each corpus once", fix="name it once, and raise its share with --mix")
    return names


def _facts(name: str, text: str | None) -> dict[str, Any]:
    if built := labelled.corpus_digest(name):
        return {"name": name, "format": "corpus", "sha256": built}
    return {"name": name, "format": "documents", "sha256": sources.describe(name, text).digest}


def _read(recipe: Recipe, task: Objective, found: dict[str, dict[str, Any]], length: int, base: Resolved) -> Sides:
    """Read, hold out and encode; kept by the digests of corpora, tokenizer and task, and all that decides how they are read: done once."""
    share, tokenizer = _share(recipe), bases.tokenizer(base)
    key = {
        "corpora": [facts["sha256"] for facts in found.values()],
        "read": [recipe.data.plain()[name] for name in (*_FORM, "rows", "languages")],
        "tokenizer": artifact.digest_bytes(tokenizer.backend_tokenizer.to_str().encode()),
        "task": [recipe.task["name"], task.plain(), length],
        "held": [share, recipe.seed, recipe.data.canaries],
        "versions": [version("tokenizers"), version("rootstock"), _LAYOUT],
    }

    def make() -> dict[str, np.ndarray]:
        _check_model(recipe, task, base)
        broken = labelled.Lost()
        paired = task.reads == pairs.READS
        every = pairs.read(tuple(found), recipe, broken) if paired else _documents(recipe, found, broken)
        drawn = _some(every, recipe)
        rows = drawn if paired else planted.in_documents(recipe, drawn, share)
        digest_N = documents.digests(rows)
        held_N = documents.held_out(digest_N, share, recipe.seed)
        own_N = pairs.digests(rows) if paired else digest_N
        account = documents.of_drawn(documents.account(rows, held_N, own_N, broken), len(every) - len(drawn))
        if paired:
            account["findings"]["truncation"] = pairs.cut_short(rows, tokenizer, length)
        train, idle = _encode(task, rows, ~held_N, tokenizer=tokenizer, length=length)
        held, unused = _encode(task, rows, held_N, tokenizer=tokenizer, length=length)
        account |= new_tokens.counted(base, tokenizer, rows.filter(pa.array(~held_N)), train) if base.added else {}
        account |= {"broken_examples": broken.examples}
        account = documents.without(account, {"train": idle, "validation": unused}, tuple(found))
        return Sides(_unnumbered(train), _unnumbered(held) if paired else held, account).arrays()

    read = Sides.of_arrays(remembered("documents", key, make)[0])
    if not len(read.train) or not len(read.held):
        lost = ", ".join(f"{count:,} left out as {rule}" for rule, count in read.account["broken"].items())
        raise DataError(
            f"{', '.join(found)}: {len(read.train)} rows to learn from and {len(read.held)} held out{f'; {lost}' if lost else ''}",
            wanted="text for both",
            fix="add documents, or hold out another share with --validation",
        )
    return read


def _check_model(recipe: Recipe, task: Objective, base: Resolved) -> None:
    """Refuse a base that can't carry the objective: loading it takes seconds, and the texts that would be read for it may take hours."""
    dropout = task.dropout if recipe.training.dropout is None else recipe.training.dropout
    model = heads.load(base, task.head(), seed=recipe.seed, dropout=dropout).model
    heads.fit(bases.tokenizer(base), model)
    task.check(model)


def _documents(recipe: Recipe, names: Iterable[str], broken: labelled.Lost) -> pa.Table:
    text, only = recipe.task.get("text"), recipe.data.languages
    read = documents.read([(each for _, each in labelled.labelled(name, text, broken, only=only)) for name in names])
    give_back()  # reading leaves as much free memory in pieces as the texts take
    return read


def texts(recipe: Recipe) -> tuple[list[str], list[str]]:
    """The documents that a run learned from and those that it held out, canaries aside."""
    rows = _some(_documents(recipe, _names(recipe), labelled.Lost()), recipe)
    held_N = documents.held_out(documents.digests(rows), _share(recipe), recipe.seed)
    learned, held = (column(rows.filter(pa.array(side_N)), TEXT) for side_N in (~held_N, held_N))
    return learned, held


def _some(rows: pa.Table, recipe: Recipe) -> pa.Table:
    """As many of the rows as the recipe asks for, in their order."""
    count = recipe.data.rows
    if count is None or count >= len(rows):
        return rows
    return rows.take(pa.array(np.sort(stream(recipe.seed, "rows").choice(len(rows), count, replace=False))))


def _encode(task: Objective, rows: pa.Table, chosen_N: np.ndarray, *, tokenizer: Any, length: int) -> tuple[Encoded, pa.Table]:
    """The chosen texts as the objective reads them, corpus by corpus, with the number of each row's text; and those that gave no row."""
    spent = [rows.slice(0, 0)]

    def made() -> Iterator[Encoded]:
        begun = 0
        for number, some in documents.chosen(rows, chosen_N):
            encoded = task.encode(some, tokenizer, length)
            part_N = encoded.dense.get(PART, np.arange(len(some)))
            spent.append(some.filter(pa.array(np.bincount(part_N, minlength=len(some)) == 0)))
            yield _marked(encoded, number, begun)
            begun += len(some)

    return (Encoded.gathered(made()) if chosen_N.any() else _NONE), pa.concat_tables(spent)


def _marked(encoded: Encoded, source: int, begun: int) -> Encoded:
    """Rows with the number of their corpus, their texts counted on from those before."""
    part = {PART: encoded.dense[PART] + np.int32(begun)} if PART in encoded.dense else {}
    return replace(encoded, dense={**encoded.dense, SOURCE: np.full(len(encoded), source, np.int16), **part})


def _unnumbered(encoded: Encoded) -> Encoded:
    """Rows without the numbers of their texts."""
    return replace(encoded, dense={name: array for name, array in encoded.dense.items() if name != PART})


def _share(recipe: Recipe) -> float:
    if isinstance(recipe.data.validation, str):
        raise RecipeError(
            "data.validation is a file", wanted="for an objective: the share of the documents to hold out", fix="give a share"
        )
    return recipe.data.validation


def _say(read: Sides, say: Say) -> None:
    rows, lost = read.account["rows"], read.account["broken"]
    left_out = "; left out: " + ", ".join(f"{count:,} {rule}" for rule, count in lost.items()) if lost else ""
    tokens = int(read.train.sizes.sum())
    learned = f"{rows['train']:,} texts ({tokens:,} tokens in {len(read.train):,} rows) to learn from"
    say(f"corpus    {learned}, {rows['validation']:,} held out{documents.undrawn(rows)}{left_out}")
    if "vocabulary" in read.account:
        say(new_tokens.spoken(read.account["vocabulary"]))
    for example in read.account["broken_examples"]:
        say(f"corpus    left out: {example['file']}: {example['reason']}: {example['text']!r}")
