"""From a recipe to labelled rows that can be learned from: everything that is decided before a model is built, and printed."""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rootstock import catalog
from rootstock.bases import load as bases
from rootstock.bases.resolve import Resolved
from rootstock.core.artifact import digest_json
from rootstock.core.errors import DataError, RecipeError
from rootstock.core.recipe import Recipe
from rootstock.core.rows import LABEL, PAIR, ROW, WORDS, Encoded, column, spell
from rootstock.core.task import Labelled, Uniform
from rootstock.core.watch import Say
from rootstock.data import batches, exclude, ledger, schema, source, split
from rootstock.data.cache import remembered
from rootstock.data.canaries import Canary
from rootstock.data.looks import plain
from rootstock.run import augmented, choices, excluded, labelled_pictures, new_tokens, planted
from rootstock.run.prepared import LabelledRows, Others, Teacher

_ALONE = Others()
_ALIKE = 5
"""Most groups of labels that are told as alike."""


@dataclass(frozen=True)
class Rows:
    """Labelled rows of both sides, before anything is known of the task."""

    train: pa.Table
    validation: pa.Table
    schema: schema.Schema
    dropped: tuple[tuple[str, int], ...]
    not_drawn: int
    unlabelled: pa.Table | None
    """Training rows without a label, where they are kept for a teacher."""
    sources: dict[str, Any]
    task: str
    """Its name: as the recipe names it, by the columns' names, or auto."""
    excluded: int = 0
    canaries: tuple[Canary, ...] = ()


def prepare(recipe: Recipe, say: Say, base: Resolved | None = None, others: Others = _ALONE) -> LabelledRows:
    """Make every choice that is open (also of the base, unless given) and say why; names and keys are checked before a row is read.

    others: models that the recipe names, opened.
    """
    choices.check(recipe)
    choices.check_unused(recipe, ("mix", "languages"), "labelled rows")
    base = base or choices.base_for(recipe, say)
    if labelled_pictures.meant(recipe):
        choices.check_reads(recipe, "images")
        return labelled_pictures.prepare(recipe, base, say, others.teacher)
    rows = rows_of(recipe, say)
    task = _task(recipe, rows, say)
    if others.teacher:
        others.teacher.check(task, pair=PAIR in rows.train.column_names)
    tokens = cache(lambda: task.ready(bases.tokenizer(base)))
    own, raw_validation = (encode(task, part, base, tokens) for part in (rows.train, rows.validation))
    grown = augmented.more_rows(recipe, rows.train, augmented.neighbours(base, tokens), others.write or augmented.nobody, say)
    alone = _named_by(others.teacher, rows, task, say)
    added = [each for each in (grown.rows, alone) if each is not None]
    raw = Encoded.joined([own, *(encode(task, each, base, tokens) for each in added)])
    learned = pa.concat_tables([rows.train, *added])
    classes = len(getattr(task, "labels", ())) or 2
    method, why = choices.method_for(recipe, base, raw, say, task=task, classes=classes)
    room = choices.room_beside(method, base)
    spans, spans_validation = task.spans(raw), task.spans(raw_validation)
    length = choices.kept_length(recipe, room, longest=int(max(spans.max(), spans_validation.max())))
    passes = recipe.training.epochs or choices.epochs(
        recipe, method, raw.lengths if task.parted else np.minimum(raw.lengths, length), classes, say, choices.batch_tokens(method, task)
    )
    known = rows.schema
    columns = {"text": known.text, "text_pair": known.text_pair, "label": known.label, **known.further}
    usual = choices.usual_of(method, passes, task) | {"rate": choices.rate(recipe, base, method, task, say)}
    settled = choices.resolved(recipe, base, task, method, columns=columns, usual=usual)
    encoded, encoded_validation = (
        made if spans_N.max() <= length else task.encode(part, tokens(), length)
        for made, spans_N, part in ((raw, spans, learned), (raw_validation, spans_validation, rows.validation))
    )
    prepared = LabelledRows(
        recipe=settled,
        base=base,
        tokens=tokens,
        task=task,
        method=method,
        train=rows.train,
        validation=rows.validation,
        learned=learned,
        alone=len(alone) if alone is not None else 0,
        teacher=others.teacher,
        encoded=encoded,
        encoded_validation=encoded_validation,
        ledger={},
        length=recipe.training.length or room,
        sources=rows.sources,
        canaries=rows.canaries,
        choices={"method": why, "schema": list(rows.schema.reasons)},
    )
    account = _account(prepared, rows, (task.spans(own), spans_validation), length)
    account = planted.counted(account, rows.canaries)
    return replace(prepared, ledger=augmented.counted(account | _new_tokens(prepared, own, say), grown, alone))


def _new_tokens(prepared: LabelledRows, own: Encoded, say: Say) -> dict[str, Any]:
    """What tokens that were added are good for, said and for the ledger. own: the user's own training rows."""
    if not prepared.base.added:
        return {}
    read = prepared.train if prepared.task.writes else prepared.train.drop_columns([LABEL])
    found = new_tokens.counted(prepared.base, prepared.tokenizer, read, own)
    say(new_tokens.spoken(found["vocabulary"]))
    return found


def _account(prepared: LabelledRows, rows: Rows, spans: tuple[np.ndarray, np.ndarray], length: int) -> dict[str, Any]:
    """The ledger of the user's own rows. spans: tokens of each before any cut. length: tokens kept."""
    training = prepared.recipe.training
    assert training.batch_tokens is not None
    # without a tokenizer, which a second run on kept features never reads: how rows share batches is told by their lengths
    planned = batches.Feed(prepared.encoded, prepared.task, None, training.batch_tokens, training.micro, prepared.recipe.seed)
    facts = ledger.Facts(
        train_lengths=spans[0],
        validation_lengths=spans[1],
        parted=prepared.task.parted,
        length=length,
        kind=prepared.task.kind,
        dropped=rows.dropped,
        not_drawn=rows.not_drawn,
        excluded=rows.excluded,
        padding_share=planned.padding_share(0),
        names=prepared.task.names,
    )
    return ledger.account(rows.train, rows.validation, facts)


def _named_by(teacher: Teacher | None, rows: Rows, task: Labelled, say: Say) -> pa.Table | None:
    """Rows without a label under the name that the teacher gives them: its answers are all that is learned from them."""
    if rows.unlabelled is None or teacher is None:
        return None
    if task.kind not in augmented.WHOLE:
        raise DataError(
            f"{len(rows.unlabelled)} training rows have no label",
            wanted="one in every row: a teacher can stand in for classes and numbers of whole texts only",
            fix="fill or remove these rows, or leave them out with --accept unlabelled",
        )
    answers = teacher.answers(rows.unlabelled)
    say(f"teacher   {len(answers):,} rows have no label and are learned from the teacher alone")
    table = rows.unlabelled.append_column(LABEL, _as_labels(answers, rows.train.schema.field(LABEL).type))
    return table.select(rows.train.column_names)


def _as_labels(answers: list[Any], kind: pa.DataType) -> pa.Array:
    """Answers in the form of a label column; a number may be rounded, as nothing is learned from it."""
    if pa.types.is_integer(kind):
        return pa.array([round(float(each)) for each in answers], kind)
    if pa.types.is_string(kind):
        return pa.array([("|".join(each) or "|") if isinstance(each, list) else spell(each) for each in answers], kind)
    return pa.array([float(each) for each in answers] if pa.types.is_floating(kind) else answers, kind)


def encode(task: Uniform, rows: pa.Table, base: Resolved, tokens: Callable[[], Any]) -> Encoded:
    """Uncut token ids and labels, kept by the digests of rows, tokenizer and task: tokenised once."""
    if base.admission is None:
        return task.encode(rows, tokens(), None)
    columns = {name: column(rows, name) for name in rows.column_names if name != ROW}
    files = {name: digest for name, digest in base.admission.files.items() if not name.endswith(".safetensors")}
    key = {
        "rows": digest_json(columns),
        "files": files,
        "task": [catalog.name_of("tasks", type(task)), task.plain()],
        **({"added": list(base.added)} if base.added else {}),
        "tokenizers": version("tokenizers"),
    }
    arrays, _ = remembered("tokens", key, lambda: task.encode(rows, tokens(), None).arrays())
    return Encoded.of_arrays(arrays)


def rows_of(recipe: Recipe, say: Say) -> Rows:
    """What a recipe names, without what it leaves out and with the canaries that it plants."""
    return planted.in_rows(recipe, _without_excluded(recipe, read_rows(recipe, say), say), say)


def read_rows(recipe: Recipe, say: Say) -> Rows:
    """Read, recognise, split; every decision is said."""
    data, task = recipe.data, recipe.task
    if not isinstance(data.train, str):
        raise RecipeError(
            f"data.train names {len(data.train)} places", wanted="one file or folder of labelled rows", fix="join them to one file"
        )
    found = source.read(data.train, data)
    for note in found.notes:
        say(f"data      {note}")
    name = task.get("name", "auto")
    if name == "auto" and not any(task.get(part) for part in ("text", "text_pair", "label")):
        name, table = task_for(found.table)
        found = replace(found, table=table)
        if name != "auto":
            say(f"columns   they are meant for {name}; --task names another")
    else:
        found = arranged(found, name)
    known = schema.recognise(found, **wanted({**task, "name": name}))
    for reason in known.reasons:
        say(f"columns   {reason}")
    unlabelled = "unlabelled" in recipe.accept
    taught = bool(recipe.teacher.run) and not unlabelled
    train = schema.canonical(found, known, unlabelled=unlabelled or taught)
    rows, dropped = train.rows, [("train", row) for row in train.dropped if not taught]
    not_drawn = max(0, len(rows) - data.rows) if data.rows else 0
    if data.rows and not_drawn:
        say(f"data      {data.rows:,} of {len(rows):,} rows are drawn, as data.rows asks")
        rows = split.draw(rows, data.rows, recipe.seed)
    sources = {"train": {"name": found.name, "format": found.format, "sha256": found.digest}}
    if isinstance(data.validation, str):
        held = arranged(source.read(data.validation, data), name)
        validation = schema.canonical(held, known, unlabelled=unlabelled)
        dropped += [("validation", row) for row in validation.dropped]
        sources["validation"] = {"name": held.name, "format": held.format, "sha256": held.digest}
        parts = rows, validation.rows
    else:
        together = None if name == "auto" else catalog.find("tasks", name).together
        stratify = not together and stratifies(rows)
        with schema.naming(found.name):
            parts = split.split(rows, data.validation, recipe.seed, stratify=stratify, together=together)
        kept = f"each {known.text_pair if together == PAIR else together} on one side" if together else "duplicates kept together"
        say(
            f"split     {len(parts[0]):,} rows to train, {len(parts[1]):,} to validate "
            f"({100 * data.validation:.3g} %{', stratified' if stratify else ''}, {kept})"
        )
    if not len(parts[0]) or not len(parts[1]):
        raise DataError(f"{len(parts[0])} training rows and {len(parts[1])} validation rows", wanted="at least one of each", fix="add rows")
    alone = _unlabelled(found, known, train.dropped) if taught and train.dropped else None
    return Rows(*parts, known, tuple(dropped), not_drawn, alone, sources, name)


def _unlabelled(found: source.Source, known: schema.Schema, places: Sequence[int]) -> pa.Table:
    """Rows at these places of a file, without their label."""
    chosen = pc.is_in(found.table.column(ROW), value_set=pa.array(places, found.table.schema.field(ROW).type))
    return schema.canonical(replace(found, table=found.table.filter(chosen)), replace(known, label=None)).rows


def _without_excluded(recipe: Recipe, rows: Rows, say: Say) -> Rows:
    """Without the training rows that a list names."""
    data = recipe.data
    if data.exclude is None:
        return rows
    listed = exclude.read(data.exclude)
    validation = None if isinstance(data.validation, str) else rows.validation
    lost = {place for side, place in rows.dropped if side == "train"} | {*(column(rows.unlabelled, ROW) if rows.unlabelled else ())}
    elsewhere, file = None if rows.not_drawn else lost, str(rows.sources["train"]["name"])
    made = excluded.left(listed, rows.train, validation=validation, file=file, elsewhere=elsewhere, say=say)
    alone = None if rows.unlabelled is None else exclude.without(rows.unlabelled, listed)
    return replace(rows, train=made.train, unlabelled=alone, excluded=made.excluded, sources={**rows.sources, "exclude": made.source})


def wanted(task: Mapping[str, Any]) -> dict[str, Any]:
    """What a task's settings say of columns: given by name, else found; further ones only where the task is named."""
    name = task.get("name", "auto")
    found = None if name == "auto" else catalog.find("tasks", name)
    given = {part: task.get(part) for part in ("text", "text_pair", "label")}
    further = {part: task.get(part) or names for part, names in found.further.items()} if found else {}
    return {**given, "further": further, "called": found.called if found else {}}


def arranged(found: source.Source, task: str) -> source.Source:
    """A file with the columns that the task reads, where it has a form of its own for them."""
    table = catalog.find("tasks", task).arranged(found.table) if task != "auto" else None
    return found if table is None else replace(found, table=table)


def task_for(table: pa.Table) -> tuple[str, pa.Table]:
    """The name of the task that these columns are plainly for, and the table in its columns; auto where they may be for several.

    Beside a label only names of columns tell.
    """
    names = {plain(name) for name in table.column_names}
    for name, each in _labelled():
        if each.suits(names):
            return name, table
        if LABEL not in table.column_names and (made := each.arranged(table)) is not None:
            return name, made
    return "auto", table


def stratifies(rows: pa.Table) -> bool:
    """Whether each label can give its share to the other side: where most values occur once they are amounts, of which none can.

    Nor can the tags of words: each row holds most of them.
    """
    return WORDS not in rows.column_names and len(set(map(str, column(rows, LABEL)))) <= max(2, len(rows) // 2)


def task_of(rows: pa.Table) -> str:
    """The name of the task that these rows suit best."""
    claims = {name: each.claims(rows) for name, each in _labelled()}
    return max(claims, key=lambda name: claims[name])


def _labelled() -> list[tuple[str, type[Labelled]]]:
    """The tasks that read labels; what is known to be an objective is not even imported."""
    found = [(name, catalog.find("tasks", name)) for name in catalog.names("tasks") if catalog.reads_labels(name) is not False]
    return [(name, each) for name, each in found if issubclass(each, Labelled)]


def _task(recipe: Recipe, rows: Rows, say: Say) -> Labelled:
    settings = dict(recipe.task)
    settings.pop("name", None)
    name = rows.task
    if name == "auto":
        name = task_of(rows.train)
    files = " with ".join(dict.fromkeys(str(each["name"]) for each in rows.sources.values()))
    with schema.naming(files):
        task: Labelled = catalog.find("tasks", name).build(settings, "task").fit(rows.train, rows.validation)
    augmented.check(recipe, task)
    labels_found = getattr(task, "labels", ())
    shown = ", ".join(labels_found[:8]) + (" …" if len(labels_found) > 8 else "")
    many = "; a row can have several (task.several=no reads each cell as one)" if task.kind == "classes" else ""
    say(f"task      {name}" + (f", {len(labels_found)} labels: {shown}" if labels_found else "") + many)
    for alike in _alike(labels_found):
        say(f"task      {' and '.join(map(repr, alike))} are labels of their own, and differ in case or blanks alone: is one meant?")
    return task


def _alike(names: Sequence[str]) -> list[list[str]]:
    """Names of labels that a person may take for one another: by case, blanks, or forms of the same letters."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault("".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    return [group for group in groups.values() if len(group) > 1][:_ALIKE]
