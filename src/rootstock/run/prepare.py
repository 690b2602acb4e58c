"""From a recipe to rows that can be learned from: everything that is decided before a model is built, and printed."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from rootstock import catalog
from rootstock.bases import load as bases
from rootstock.bases.resolve import KNOWN, Resolved, resolve
from rootstock.bases.scratch import facts
from rootstock.core.artifact import digest_json
from rootstock.core.errors import DataError, RecipeError, nearest
from rootstock.core.method import Method
from rootstock.core.recipe import Recipe
from rootstock.core.resources import total_memory
from rootstock.core.rows import LABEL, PAIR, TEXT, Encoded, column
from rootstock.core.seed import stream
from rootstock.core.task import Task
from rootstock.core.watch import Say
from rootstock.data import batches, ledger, schema, source, split
from rootstock.data.cache import remembered
from rootstock.loop import crew, precision
from rootstock.planning import advise


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A recipe with every choice made, its rows encoded and accounted for. recipe: resolved, enough to run again.

    length: tokens that are kept of a row, in training and later: what was asked for, or all that the base takes.
    """

    recipe: Recipe
    base: Resolved
    tokens: Callable[[], Any]
    task: Task
    method: Method
    train: pa.Table
    validation: pa.Table
    encoded: Encoded
    encoded_validation: Encoded
    ledger: dict[str, Any]
    length: int
    sources: dict[str, Any]
    choices: dict[str, Any]

    def feed(self, encoded: Encoded) -> batches.Feed:
        """Batches of some encoded rows under this recipe's settings."""
        training = self.recipe.training
        assert training.batch_tokens is not None
        tokenizer = self.tokenizer if encoded.tokens else None
        return batches.Feed(encoded, self.task, tokenizer, training.batch_tokens, training.micro_tokens, self.recipe.seed)

    @property
    def tokenizer(self) -> Any:
        """The base's tokenizer, read when it is first needed: rows that were encoded before need none."""
        return self.tokens()

    @cached_property
    def device(self) -> str:
        """cuda where there is a GPU, else cpu."""
        return device_name()


@dataclass(frozen=True)
class Rows:
    """Labelled rows of both sides, before anything is known of the task."""

    train: pa.Table
    validation: pa.Table
    schema: schema.Schema
    dropped: tuple[int, ...]
    sources: dict[str, Any]


def device_name() -> str:
    """Where models run."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def prepare(recipe: Recipe, say: Say) -> Prepared:
    """Make every choice that the recipe leaves open, saying each with its reason.

    Names and keys are checked before the first row is read.
    """
    _check(recipe)
    base = resolve(recipe.base)
    say(
        f"base      {base.name}"
        + (f", {base.parameters / 1e6:.1f}M parameters" if base.parameters else "")
        + f", licence {base.licence or 'unknown'}"
    )
    for note in base.admission.notes if base.admission else ():
        say(f"base      {note}")
    rows = read_rows(recipe, say)
    task = _task(recipe, rows, say)
    tokens = cache(partial(bases.tokenizer, base))
    raw, raw_validation = (encode(task, part, base, tokens) for part in (rows.train, rows.validation))
    room = _room(base)
    length = _length(recipe, room, longest=int(max(raw.lengths.max(), raw_validation.lengths.max())))
    method, why = _method(recipe, base, raw, say)
    epochs = recipe.training.epochs or _epochs(recipe, method, np.minimum(raw.lengths, length), say)
    settled = _resolved(recipe, base, task, method, rows.schema, epochs=epochs)
    encoded, encoded_validation = (
        made if made.lengths.max() <= length else task.encode(part, tokens(), length)
        for made, part in ((raw, rows.train), (raw_validation, rows.validation))
    )
    prepared = Prepared(
        recipe=settled,
        base=base,
        tokens=tokens,
        task=task,
        method=method,
        train=rows.train,
        validation=rows.validation,
        encoded=encoded,
        encoded_validation=encoded_validation,
        ledger={},
        length=recipe.training.length or room,
        sources=rows.sources,
        choices={"method": why, "schema": list(rows.schema.reasons)},
    )
    assert settled.training.batch_tokens is not None
    plan = batches.plan(encoded.lengths, settled.training.batch_tokens, stream(recipe.seed, "order", 0))
    facts = ledger.Facts(
        train_lengths=raw.lengths,
        validation_lengths=raw_validation.lengths,
        length=length,
        kind=task.kind,
        dropped=rows.dropped,
        padding_share=batches.padding_share(encoded.lengths, plan),
        names=task.names,
    )
    return replace(prepared, ledger=ledger.account(rows.train, rows.validation, facts))


def encode(task: Task, rows: pa.Table, base: Resolved, tokens: Callable[[], Any]) -> Encoded:
    """Uncut token ids and labels, kept by the digests of rows, tokenizer and task: tokenised once."""
    if base.admission is None:
        return task.encode(rows, tokens(), None)
    columns = {name: column(rows, name) for name in (TEXT, PAIR, LABEL) if name in rows.column_names}
    files = {name: digest for name, digest in base.admission.files.items() if not name.endswith(".safetensors")}
    key = {
        "rows": digest_json(columns),
        "files": files,
        "task": [catalog.name_of("tasks", type(task)), task.plain()],
        "tokenizers": version("tokenizers"),
    }
    arrays, _ = remembered("tokens", key, lambda: task.encode(rows, tokens(), None).arrays())
    return Encoded.of_arrays(arrays)


def read_rows(recipe: Recipe, say: Say) -> Rows:
    """Read, recognise, split; every decision is said."""
    data, task = recipe.data, recipe.task
    found = source.read(data.train, data)
    for note in found.notes:
        say(f"data      {note}")
    known = schema.infer(found.table, text=task.get("text"), text_pair=task.get("text_pair"), label=task.get("label"))
    for reason in known.reasons:
        say(f"columns   {reason}")
    unlabelled = "unlabelled" in recipe.accept
    train = schema.canonical(found, known, unlabelled=unlabelled)
    rows, dropped = train.rows, train.dropped
    if data.rows and data.rows < len(rows):
        rows = split.draw(rows, data.rows, recipe.seed)
    sources = {"train": {"name": found.name, "format": found.format, "sha256": found.digest}}
    if isinstance(data.validation, str):
        held = source.read(data.validation, data)
        validation = schema.canonical(held, known, unlabelled=unlabelled)
        dropped += validation.dropped
        sources["validation"] = {"name": held.name, "format": held.format, "sha256": held.digest}
        parts = rows, validation.rows
    else:
        different = len(set(map(str, column(rows, LABEL))))
        # Where most values occur once they are amounts, of which none can be held out "by its share".
        stratify = different <= max(2, len(rows) // 2)
        parts = split.split(rows, data.validation, recipe.seed, stratify=stratify)
        say(
            f"split     {len(parts[0]):,} rows to train, {len(parts[1]):,} to validate "
            f"({100 * data.validation:.3g} %{', stratified' if stratify else ''}, duplicates kept together)"
        )
    if not len(parts[0]) or not len(parts[1]):
        raise DataError(f"{len(parts[0])} training rows and {len(parts[1])} validation rows", wanted="at least one of each", fix="add rows")
    return Rows(*parts, known, dropped, sources)


def _check(recipe: Recipe) -> None:
    """Raise for a name or a key that does not exist, so that nobody waits for the data before a misspelling is found."""
    ledger.check_names(recipe.accept)
    if recipe.track and not find_spec(recipe.track):
        raise RecipeError(f"track is {recipe.track}, which is not installed", fix=f"pip install {recipe.track}, or leave track out")
    for section, kind in (("task", "tasks"), ("method", "methods")):
        settings = dict(getattr(recipe, section))
        name = settings.pop("name", "auto")
        if name != "auto":
            catalog.find(kind, name).build(settings, section)  # type: ignore[arg-type]
        elif settings:
            _check_auto(section, settings, {each: catalog.find(kind, each) for each in catalog.names(kind)})  # type: ignore[arg-type]


def _check_auto(section: str, settings: dict[str, Any], choices: dict[str, Any]) -> None:
    """Settings beside the name auto must fit at least one of the choices."""
    for key in settings:
        owners = [name for name, each in choices.items() if key in each.model_fields]
        if not owners:
            known = sorted({key for each in choices.values() for key in each.model_fields})
            near = nearest(key, known)
            fix = f"did you mean {near!r}?" if near else "remove the key"
            raise RecipeError(f"unknown key '{section}.{key}'", wanted=f"one of {', '.join(known)}", fix=fix)
        if section == "method":
            raise RecipeError(
                f"method.{key} is set while method.name is auto", wanted="a method of that setting", fix=f"choose --method {owners[0]}"
            )


def _length(recipe: Recipe, room: int, *, longest: int) -> int:
    """Tokens kept of a row: as set, else all of the longest that fit."""
    if recipe.training.length and recipe.training.length > room:
        raise RecipeError(f"training.length is {recipe.training.length}", wanted=f"at most {room}, all that the base takes")
    return recipe.training.length or min(longest, room)


def _room(base: Resolved) -> int:
    """The most tokens that the base takes, by its own files."""
    config = facts(base.scratch) if base.scratch else _json(base, "config.json")
    said = [config.get(key, 512 if base.scratch else None) for key in ("max_position_embeddings", "n_positions")]
    if "roberta" in str(config.get("model_type")) and said[0]:
        said[0] -= int(config.get("pad_token_id") or 1) + 1  # its positions begin after the padding's
    said.append(_json(base, "tokenizer_config.json").get("model_max_length"))
    return int(min(number for number in (*said, 10**9) if number))


def _json(base: Resolved, name: str) -> dict[str, Any]:
    path = base.folder / name if base.folder else None
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path and path.exists() else {}
    return found


def _task(recipe: Recipe, rows: Rows, say: Say) -> Task:
    settings = dict(recipe.task)
    name = settings.pop("name", "auto")
    if name == "auto":
        labels = column(rows.train, LABEL)
        claims = {name: catalog.find("tasks", name).claims(labels) for name in catalog.names("tasks")}
        name = max(claims, key=lambda key: claims[key])
    files = " with ".join(dict.fromkeys(str(each["name"]) for each in rows.sources.values()))
    try:
        task: Task = catalog.find("tasks", name).build(settings, "task").fit(rows.train, rows.validation)
    except DataError as error:
        raise DataError(f"{files}: {error.found}", wanted=error.wanted, fix=error.fix) from None
    labels_found = getattr(task, "labels", ())
    shown = ", ".join(labels_found[:8]) + (" …" if len(labels_found) > 8 else "")
    many = "; a row can have several (task.several=no reads each cell as one)" if task.kind == "classes" else ""
    say(f"task      {name}" + (f", {len(labels_found)} labels: {shown}" if labels_found else "") + many)
    return task


def _method(recipe: Recipe, base: Resolved, encoded: Encoded, say: Say) -> tuple[Method, str]:
    settings = dict(recipe.method)
    name = settings.pop("name", "auto")
    reason = "asked for"
    if name == "auto":
        name, reason = (
            ("full", "the base's weights are random, so all of them must learn") if base.scratch else _advice(recipe, base, encoded)
        )
        say(f"method    {name}: {reason}")
    method: Method = catalog.find("methods", name).build(settings, "method")
    if base.scratch and method.trained < 1:
        raise RecipeError(
            f"{name} keeps the base's weights, which are random in {recipe.base}",
            wanted="a method that trains them all",
            fix="choose --method full",
        )
    return method, reason


def _advice(recipe: Recipe, base: Resolved, encoded: Encoded) -> tuple[str, str]:
    dtype = precision.choose(recipe.training.precision, device_name())
    config = _json(base, "config.json")
    size = advise.size_of(config, base.parameters or 22_000_000, int(encoded.lengths.sum()), recipe.training.micro_tokens)
    speed = advise.speed(device_name(), dtype)
    costs = {}
    for name in ("full", "lora", "feature-extraction"):
        method = catalog.find("methods", name)
        epochs = recipe.training.epochs or method.passes(_updates(encoded.lengths, recipe.training.batch_tokens or method.batch_tokens))
        twins = crew.most(recipe.training.batch_tokens or method.batch_tokens, device_name())
        costs[name] = advise.estimate(method, size, epochs=epochs, speed=speed, bytes_each=dtype.itemsize, twins=twins)
    seconds = recipe.budget.minutes * 60 if recipe.budget.minutes else None
    memory = torch.cuda.get_device_properties(0).total_memory if device_name() == "cuda" else total_memory()
    name, reason = advise.choose(len(encoded), costs, memory_bytes=memory, seconds=seconds)
    cost = costs[name]
    return name, f"{reason} (about {cost.memory_bytes / 1e9:.1f} GB beside Python's own)"


def _epochs(recipe: Recipe, method: Method, lengths: np.ndarray, say: Say) -> float:
    """Epochs for a recipe that names none; where rows are too few for the usual number, it says so. lengths: tokens kept of each row."""
    updates = _updates(lengths, recipe.training.batch_tokens or method.batch_tokens)
    epochs = method.passes(updates)
    if epochs > method.epochs and not recipe.training.steps:
        say(f"training  {epochs:g} epochs, not {method.epochs:g}: one of these rows is about {updates} update{'s' if updates > 1 else ''}")
    return epochs


def _updates(lengths: np.ndarray, batch_tokens: int) -> int:
    """Updates of an epoch, padding aside."""
    return -(-int(lengths.sum()) // batch_tokens)


def _resolved(recipe: Recipe, base: Resolved, task: Task, method: Method, known: schema.Schema, *, epochs: float) -> Recipe:
    """The recipe with every None filled in, so that it runs the same again."""
    columns = {"text": known.text, "text_pair": known.text_pair, "label": known.label}
    training = recipe.training.model_copy(
        update={
            "epochs": epochs,
            "rate": recipe.training.rate or method.rate,
            "batch_tokens": recipe.training.batch_tokens or method.batch_tokens,
            "weight_decay": _first(recipe.training.weight_decay, method.weight_decay),
            "dropout": _first(recipe.training.dropout, method.base_dropout),
        }
    )
    named_task = {"name": catalog.name_of("tasks", type(task)), **task.plain(), **columns}
    named_method = {"name": catalog.name_of("methods", type(method)), **method.plain()}
    # A hub id moves; the commit that was trained on does not.
    pinned = (
        f"{base.hub_id}@{base.revision}"
        if base.revision and base.reference not in KNOWN and not Path(base.reference).exists()
        else recipe.base
    )
    return recipe.model_copy(update={"base": pinned, "training": training, "task": named_task, "method": named_method}).anchored(Path.cwd())


def _first(given: float | None, usual: float | None) -> float | None:
    return usual if given is None else given
