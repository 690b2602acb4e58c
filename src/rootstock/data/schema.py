"""Which column is the text, which the label: by override, by name, then by content; and rows in canonical columns."""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from rootstock.core import rows
from rootstock.core.errors import DataError, nearest
from rootstock.data.columns import Look, is_list, labels, look, texts
from rootstock.data.looks import LABELS, PAIRS, TEXTS, WORDS, plain
from rootstock.data.source import Source

_DIVIDES = {"split", "set", "subset", "partition", "fold"}
_DIVISIONS = {"train", "training", "test", "testing", "dev", "development", "val", "valid", "validation", "eval"}
"""Names of columns, and what they hold, that part a file's rows."""
_FEW = 20
"""So many different values may be labels in a file of any size."""


Named = str | frozenset[str]
"""A name by which a column is found, or several of which the one that stands first in the file is meant."""


@dataclass(frozen=True)
class Schema:
    """Column names by their part, and one sentence for each decision."""

    text: str
    text_pair: str | None
    label: str | None
    reasons: tuple[str, ...]
    further: Mapping[str, str] = field(default_factory=dict)
    """Columns that only some tasks read, by their part."""


@dataclass(frozen=True)
class Canonical:
    """Rows under canonical names, and where in the file the rows stood that were left out for want of a label."""

    rows: pa.Table
    dropped: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be found. A given `text` without `text_pair` means one text. Not `labelled`: a label is used only where given.

    further: parts that only some tasks read, each with a given column, or the names by which it is found.
    called: names of text and label that go before the usual ones.
    """

    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    labelled: bool = True
    further: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    called: Mapping[str, tuple[Named, ...]] = field(default_factory=dict)
    """Names of text, text_pair and label that are tried before all others."""


def infer(table: pa.Table, **given: Any) -> Schema:
    """Find the columns; given: fields of Wanted. Raises DataError for an unknown column, a column in two parts, no text, or no label."""
    wanted = Wanted(**given)
    names = [name for name in table.column_names if name != rows.ROW]
    text, text_pair, label, labelled = wanted.text, wanted.text_pair, wanted.label, wanted.labelled
    own = [name for each in wanted.further.values() if isinstance(each, str) for name in several(each, names)]
    _check_given([each for each in (text, text_pair, label, *own) if each is not None], names)
    further = {part: found for part, each in wanted.further.items() if (found := each if isinstance(each, str) else _further(each, names))}
    taken = {name for each in further.values() for name in several(each, names)}
    names = [name for name in names if name not in taken]
    looks = {name: look(table.column(name), name) for name in names}
    known = _called(wanted, names)
    named_label = label or known.get("label") or _by_name(LABELS, [name for name in names if name not in (text, text_pair)])
    free = [name for name in names if name not in (text, text_pair, named_label)]
    if text is None and known.get("text") in free:
        text, text_pair = known["text"], text_pair or (known.get("text_pair") if known.get("text_pair") in free else None)
        reason = f"text: {_spoken(text, text_pair)} (by their names)" if text_pair else f"text: {_spoken(text, None)} (by its name)"
    else:
        text, text_pair, reason = _texts(looks, free, given=(text, text_pair), need_more=labelled and named_label is None)
    reasons = [reason]
    if not labelled:
        chosen = label
    elif named_label is not None:
        chosen = named_label
        reasons.append(f"label: column {chosen!r} ({'as given' if label else 'by its name'}; {looks[chosen].values})")
    else:
        chosen = _label_by_content(looks, text, text_pair)
        reasons.append(f"label: column {chosen!r} (by its content: {looks[chosen].values})")
    unused = [name for name in names if name not in (text, text_pair, chosen)]
    if unused:
        reasons.append(f"not used: {', '.join(map(repr, unused))}")
        reasons += [
            f"{name!r} seems to part the rows ({', '.join(parts)}) and is not followed: give each part as a file, with --validation"
            for name in unused
            if (parts := _parts_of(name, table))
        ]
    reasons += [f"{part}: column {name!r}" for part, name in further.items()]
    return Schema(text, text_pair, chosen, tuple(reasons), further)


def _parts_of(name: str, table: pa.Table) -> list[str]:
    """The values of a column that tells which rows are to train and which to test; none of any other column."""
    if plain(name) not in _DIVIDES or not pa.types.is_string(table.schema.field(name).type):
        return []
    values = sorted({str(each) for each in table.column(name).unique().to_pylist()[: len(_DIVISIONS) + 1]})
    return values if len(values) > 1 and {value.strip().casefold() for value in values} <= _DIVISIONS else []


def _called(wanted: Wanted, names: Collection[str]) -> dict[str, str]:
    """Columns of parts that are not given, by the names that the task has for them: each column is of one part.

    The text comes first; a file without an answer has nothing to learn, so the answer comes before a second text.
    """
    given = {"text": wanted.text, "label": wanted.label, "text_pair": wanted.text_pair or wanted.text}
    found = dict[str, str]()
    for part in (part for part, column in given.items() if column is None):
        free = [name for name in names if name not in (*given.values(), *found.values())]
        if name := _by_name(wanted.called.get(part, ()), free):
            found[part] = name
    return found


def several(column: str, names: Collection[str]) -> list[str]:
    """The columns that are meant: one, or several with commas between, which together hold a list."""
    return [column] if column in names or "," not in column else [each.strip() for each in column.split(",")]


def series(wanted: Collection[str], names: Collection[str]) -> list[str]:
    """Columns that are numbered or lettered under a wanted name, in order: ending0, ending1 … for endings; none where there is only one."""
    plain_names = {plain(name): name for name in names}
    for each, marks in itertools.product(wanted, ("0123456789", "123456789", "abcdefghij")):
        run = itertools.takewhile(lambda name: name in plain_names, (each.removesuffix("s") + mark for mark in marks))
        if len(found := [plain_names[name] for name in run]) > 1:
            return found
    return []


def _further(wanted: Collection[str], names: Collection[str]) -> str | None:
    """A column of one of these names, or several that are numbered under it."""
    return _by_name(wanted, names) or ", ".join(series(wanted, names)) or None


def recognise(source: Source, **given: Any) -> Schema:
    """The columns of a file, as `infer` finds them; a DataError names the file."""
    with naming(source.name):
        return infer(source.table, **given)


@contextmanager
def naming(files: str) -> Iterator[None]:
    """A DataError from inside begins with the files that it is about."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{files}: {error.found}", wanted=error.wanted, fix=error.fix) from None


def canonical(source: Source, schema: Schema, *, unlabelled: bool = False) -> Canonical:
    """Rows as the tasks take them: rows.TEXT, rows.PAIR and rows.LABEL where there is one, rows.ROW, and further columns as they came.

    A text that comes as a list of words gives rows.WORDS as well.
    Missing texts become "" (the ledger counts them). Rows without a label raise DataError, or are left out and listed if `unlabelled`.
    """
    known = source.table.column_names
    further = {part: several(name, known) for part, name in schema.further.items()}
    for name in (schema.text, schema.text_pair, schema.label, *(name for each in further.values() for name in each)):
        if name is not None and name not in source.table.column_names:
            raise _unknown(name, [each for each in source.table.column_names if each != rows.ROW], source.name)
    parts = texts_of(source.table.column(schema.text), f"{source.name}, column {schema.text!r}")
    if schema.text_pair is not None:
        parts[rows.PAIR] = texts(source.table.column(schema.text_pair), f"{source.name}, column {schema.text_pair!r}")
    parts |= {part: _joined([source.table.column(name) for name in each]) for part, each in further.items()}
    places = source.table.column(rows.ROW)
    if schema.label is None:
        return Canonical(pa.table({**parts, rows.ROW: places}), ())
    values, missing = labels(source.table.column(schema.label), f"{source.name}, column {schema.label!r}")
    table = pa.table({**parts, rows.LABEL: values, rows.ROW: places})
    if not missing.any():
        return Canonical(table, ())
    dropped = tuple(places.to_numpy()[missing].tolist())
    if not unlabelled:
        raise _unlabelled(source, schema.label, dropped)
    if len(dropped) == table.num_rows:
        raise DataError(f"{source.name}: no row has a label in column {schema.label!r}", fix="name the right column with --label NAME")
    return Canonical(table.filter(pa.array(~missing)), dropped)


def _joined(columns: list[Any]) -> Any:
    """One column as it came, but of objects with a list of texts that list; of several a list of their texts that are there."""
    if len(columns) == 1:
        kind = columns[0].type
        if pa.types.is_struct(kind) and any(each.name == "text" and is_list(each.type) for each in kind):
            return pa.array([each and each["text"] for each in columns[0].to_pylist()], pa.list_(pa.string()))
        return columns[0]
    cells = zip(*(each.cast(pa.string()).to_pylist() for each in columns), strict=True)
    return pa.array([[cell for cell in row if cell is not None and cell.strip()] for row in cells], pa.list_(pa.string()))


def texts_of(column: Any, where: str) -> dict[str, Any]:
    """A column as texts, and as words where each of its rows is a list of them."""
    if not is_list(column.type) or pa.types.is_nested(column.type.value_type):
        return {rows.TEXT: texts(column, where)}
    words = column.cast(pa.list_(pa.string()))
    held = [[word or "" for word in each or []] for each in words.to_pylist()]
    return {rows.TEXT: pa.array([" ".join(each) for each in held], pa.string()), rows.WORDS: pa.array(held, pa.list_(pa.string()))}


def _unlabelled(source: Source, label: str, dropped: tuple[int, ...]) -> DataError:
    first = ", ".join(map(str, dropped[:5])) + (", …" if len(dropped) > 5 else "")
    unit = f"{source.unit}{'s' if len(dropped) > 1 else ''}"
    return DataError(
        f"{source.name}: {len(dropped)} of {source.table.num_rows} rows have no label ({unit} {first})",
        wanted=f"a value in column {label!r} of every row",
        fix="fill or remove these rows, or leave them out with --accept unlabelled",
    )


def _check_given(given: list[str], names: list[str]) -> None:
    for name in given:
        if name not in names:
            raise _unknown(name, names, "")
        if given.count(name) > 1:
            raise DataError(f"column {name!r} is given two parts", wanted="different columns for text, text_pair and label")


def _unknown(name: str, names: list[str], where: str) -> DataError:
    near, as_first = nearest(name, names), "rename it: each file needs the columns of the one that is learned from"
    return DataError(
        f"{where}{': ' if where else ''}there is no column {name!r}",
        wanted=f"one of {', '.join(map(repr, names))}",
        fix=f"did you mean {near!r}?" if near else as_first if where else "",
    )


def _by_name(wanted: Iterable[Named], names: Iterable[str]) -> str | None:
    plain_names = {plain(name): name for name in reversed(list(names))}
    for each in wanted:
        held = [name for key, name in plain_names.items() if key == each or (isinstance(each, frozenset) and key in each)]
        if held:
            return held[-1]  # the first in the file
    return None


def _texts(
    looks: dict[str, Look], free: list[str], *, given: tuple[str | None, str | None], need_more: bool
) -> tuple[str, str | None, str]:
    """Text, its pair or None, and why. `need_more`: one free column must be left over for the label."""
    text, pair = given
    if text is not None:
        return text, pair, f"text: {_spoken(text, pair)} (as given)"
    if words := _by_name(WORDS, [name for name in free if looks[name].kind == "list"]):
        return words, None, f"text: column {words!r} (lists of words, by its name)"
    able = [name for name in free if looks[name].kind in ("text", "number")]
    found = None if pair else _pair_by_name(able)
    if found and not (need_more and not _label_candidates(looks, *found)):
        return *found, f"text: {_spoken(*found)} (a pair, by their names)"
    text = _by_name(TEXTS, able)
    if text is not None:
        return text, pair, f"text: {_spoken(text, pair)} (by its name)"
    readable = [name for name in able if looks[name].kind == "text" and not looks[name].numbers_rows] or [
        name for name in able if looks[name].kind == "text"
    ]
    if not readable:
        raise DataError(f"no column holds texts; {_listing(looks)}", wanted="a column of texts", fix="name it with --text NAME")
    # weighed by how many differ: long boilerplate that repeats is not what a row is about
    text = max(readable, key=lambda name: looks[name].length * looks[name].distinct / looks[name].count)
    return text, pair, f"text: {_spoken(text, pair)} (the longest texts: {looks[text].length:.0f} letters on average)"


def _pair_by_name(names: list[str]) -> tuple[str, str] | None:
    plain_names = {plain(name): name for name in reversed(names)}
    return next(((plain_names[a], plain_names[b]) for a, b in PAIRS if a in plain_names and b in plain_names), None)


def _spoken(text: str, pair: str | None) -> str:
    return f"column {text!r}" if pair is None else f"columns {text!r} and {pair!r}"


def _label_candidates(looks: dict[str, Look], text: str, pair: str | None) -> list[Look]:
    """Columns that may be labels, the likeliest first: few values before many, later columns before earlier."""
    free = [each for name, each in looks.items() if name not in (text, pair) and not each.numbers_rows]
    fit = [each for each in free if each.kind in ("number", "list") or 0 < each.distinct <= max(_FEW, each.count // 2)]
    return sorted(reversed(fit), key=lambda each: (each.distinct < 2, each.distinct))


def _label_by_content(looks: dict[str, Look], text: str, pair: str | None) -> str:
    fit = _label_candidates(looks, text, pair)
    if not fit:
        raise DataError(f"no column looks like a label; {_listing(looks)}", wanted="a column of labels", fix="name it with --label NAME")
    return fit[0].name


def _listing(looks: dict[str, Look]) -> str:
    return "the columns are:" + "".join(f"\n  {each.name}: {each.spoken}" for each in looks.values())
