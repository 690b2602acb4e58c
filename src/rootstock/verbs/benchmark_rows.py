"""A suite's rows in one form: found in folders or on the hub, labels spelled as the benchmark spells them, kept as Parquet.

What is read: GLUE's own TSV files, CSV, JSON lines, Parquet (also in numbered shards), packed with gzip or not.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rootstock.core import artifact
from rootstock.core.errors import DataError, UnknownName, UsageError
from rootstock.core.recipe import DataSettings
from rootstock.core.rows import LABEL, PAIR, ROW, TEXT, spell
from rootstock.data import source
from rootstock.data.columns import texts
from rootstock.data.hub import PREFIX
from rootstock.data.looks import plain
from rootstock.data.tables import numbered
from rootstock.evaluation.suite import TEST, TRAIN, Member, Suite
from rootstock.run.ending import parquet

INDEX = "index"
"""Column of the number that a benchmark gives a row."""
_SHARD = re.compile(r"-\d+-of-\d+$")
_UNLABELLED = ("", "-", "-1", "none", "null", "nan")
"""Answers of rows that have none: what benchmarks write in splits whose answers are kept back, and where people did not agree."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Rows of one split in canonical columns, as they lie in `file`. unlabelled: rows without an answer among all of them."""

    file: Path
    rows: int
    unlabelled: int
    sources: tuple[Mapping[str, str], ...]
    sha256: str

    @property
    def labelled(self) -> int:
        """Rows with an answer."""
        return self.rows - self.unlabelled

    def told(self, name: str) -> str:
        """How many rows there are, and how many of them have no answer."""
        without = f" ({self.unlabelled:,} without an answer)" if self.unlabelled else ""
        return f"{self.rows:,} {name}{without}"

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {"rows": self.rows, "unlabelled": self.unlabelled, "sources": [dict(each) for each in self.sources], "sha256": self.sha256}

    def table(self, *, labelled: bool) -> pa.Table:
        """The rows, with or without those that have no answer."""
        table, _ = numbered(pq.read_table(self.file))
        return table.filter(table.column(LABEL).is_valid()) if labelled else table


@dataclass(frozen=True)
class Places:
    """Where rows come from: by task, or the folder (or hf:data-set) of the whole suite."""

    whole: str | None
    each: Mapping[str, str]

    @classmethod
    def told(cls, given: Sequence[str], suite: Suite) -> "Places":
        """From what stands behind --data: FOLDER, hf:NAME, or TASK= before one of them."""
        whole, each = f"{PREFIX}{suite.hub}" if suite.hub else None, dict[str, str]()
        for word in given:
            name, sign, place = word.partition("=")
            if not sign or Path(word).exists():
                whole = _placed(word)
            elif name not in suite.tasks:
                raise UnknownName(f"task of {suite.title}", name, suite.tasks)
            else:
                each[name] = _placed(place)
        for place in (*([] if whole is None else [whole]), *each.values()):
            if not place.startswith(PREFIX) and not (place and Path(place).is_dir()):
                raise DataError(f"there is no folder {place}", wanted="a folder of the suite's files, hf:NAME, or TASK=FOLDER")
        return cls(whole, each)

    def of(self, name: str, member: Member) -> str:
        """The place of one task: hf:NAME:CONFIGURATION, or a folder. Raises DataError where there is none."""
        if name in self.each:
            return self.each[name]
        if self.whole is None:
            raise DataError(f"nothing says where the rows of {name} are", fix=f"give --data FOLDER, or --data {name}=FOLDER")
        if self.whole.startswith(PREFIX):
            return f"{self.whole}:{name}"
        known = {plain(each) for each in (name, member.title, *member.folders)}
        found = sorted(each for each in Path(self.whole).iterdir() if each.is_dir() and plain(each.name) in known)
        if not found:
            wanted = f"a folder called {' or '.join(dict.fromkeys((member.title, name, *member.folders)))}"
            raise DataError(f"{self.whole} has no rows of {name}", wanted=wanted, fix=f"name it: --data {name}=FOLDER, or leave {name} out")
        return str(found[0])


def _placed(word: str) -> str:
    return word if word.startswith(PREFIX) or not word else str(Path(word).expanduser())


def gathered(suite: Suite, name: str, place: str, folder: Path) -> dict[str, Split]:
    """The splits of a task that there are, each written into `folder` and read from there if it lies there already.

    Raises DataError where rows can't be read, or what is needed is missing.
    """
    member, found = suite.tasks[name], dict[str, Split]()
    own = () if member.learns_from else (TRAIN,)
    for split in dict.fromkeys((*own, *member.dev, TEST, *member.submission)):
        references = _references(place, member, split, needed=split in own or (place.startswith(PREFIX) and split in member.dev))
        if references:
            found[split] = _kept(suite, member, references, folder / f"{split}.parquet")
    return found


def measured(member: Member, found: Mapping[str, Split]) -> tuple[str, ...]:
    """Splits with answers to measure on: those for development, or where none of them is there, the test rows if they have answers."""
    return tuple(each for each in member.dev if each in found and found[each].labelled) or tuple(
        each for each in dict.fromkeys((TEST, *member.submission)) if each in found and found[each].labelled
    )


def _references(place: str, member: Member, split: str, *, needed: bool) -> list[str]:
    """What the reader of rows is to read for a split."""
    if place.startswith(PREFIX):
        return [f"{place}:{split}"] if needed or split in member.submission else []
    files = [each for each in sorted(Path(place).iterdir()) if each.is_file()]
    for stem in member.stems(split):
        held = [each for each in files if _SHARD.sub("", each.name.partition(".")[0]) == stem]
        if len(held) > 1 and not all(_SHARD.search(each.name.partition(".")[0]) for each in held):
            names = ", ".join(each.name for each in held)
            raise DataError(f"{place} has several files of {split}: {names}", wanted="one", fix="move the others away")
        if held:
            return [str(each) for each in held]
    if needed:
        wanted = f"a file called {' or '.join(f'{stem}.tsv' for stem in member.stems(split))} (or .csv, .jsonl, .parquet, packed or not)"
        raise DataError(f"{place} has no rows of {split}", wanted=wanted)
    return []


def _kept(suite: Suite, member: Member, references: list[str], file: Path) -> Split:
    """A split as it was read before, if its sources are the same, or read now."""
    noted = file.with_suffix(".json")
    found = [source.read(each, _settings(each)) for each in references]
    sources = tuple({"name": each.name, "format": each.format, "sha256": each.digest} for each in found)
    digest = artifact.digest_json([[each["sha256"] for each in sources], member.plain(), 1])
    if not (noted.is_file() and file.is_file() and artifact.read_json(noted, wanted="rows", fix="")["sha256"] == digest):
        table = pa.concat_tables([_canonical(each, member, suite) for each in found])
        artifact.write_bytes(file, parquet({name: table.column(name) for name in table.column_names}))
        facts = {"rows": len(table), "unlabelled": table.column(LABEL).null_count, "sha256": digest}
        artifact.write_json(noted, facts)
    facts = artifact.read_json(noted, wanted="rows", fix="begin again with --overwrite")
    return Split(file=file, rows=facts["rows"], unlabelled=facts["unlabelled"], sources=sources, sha256=digest)


def _settings(reference: str) -> DataSettings:
    """Quotes are letters in the TSV files of benchmarks, though they may stand in pairs."""
    named = reference.removesuffix(".gz")
    return DataSettings(train=reference, quoting="no" if named.endswith((".tsv", ".txt")) else "auto")


def _canonical(found: source.Source, member: Member, suite: Suite) -> pa.Table:
    columns = {plain(name): name for name in reversed(found.table.column_names) if name != ROW}

    def named(wanted: Sequence[str], what: str, *, needed: bool) -> str | None:
        name = next((columns[plain(each)] for each in wanted if plain(each) in columns), None)
        if name is None and needed:
            raise DataError(f"{found.name} has no column of the {what}", wanted=f"one of {', '.join(wanted)}", fix="see what was read")
        return name

    text = named(member.text, "text", needed=True)
    made = {TEXT: texts(found.table.column(text), f"{found.name}, column {text!r}")}
    if pair := named(member.text_pair, "second text", needed=bool(member.text_pair)):
        made[PAIR] = texts(found.table.column(pair), f"{found.name}, column {pair!r}")
    label, index = named(member.label, "answer", needed=False), named(suite.index, "number", needed=False)
    made[LABEL] = _answers(found, label, member) if label else _nothing(len(found.table), member)
    made[INDEX] = found.table.column(index).cast(pa.string()) if index else pa.array([str(row) for row in range(len(found.table))])
    return pa.table(made)


def _nothing(rows: int, member: Member) -> pa.Array:
    return pa.nulls(rows, pa.float64() if member.task == "regression" else pa.string())


def _answers(found: source.Source, column: str, member: Member) -> pa.Array:
    """Labels in the benchmark's spelling, or numbers; null where a row has none."""
    values = [None if each is None else spell(each) for each in found.table.column(column).to_pylist()]
    values = [None if each is None or each.casefold() in _UNLABELLED else each for each in values]
    places = found.table.column(ROW).to_pylist()
    made: list[Any] = []
    for value, place in zip(values, places, strict=True):
        try:
            made.append(None if value is None else float(value) if member.task == "regression" else _class(value, member))
        except ValueError:
            wanted = ", ".join("/".join(names) for names in member.labels) or "a number"
            raise DataError(
                f"{found.name}, {found.unit} {place}: the answer is {value!r}", wanted=wanted, fix="correct the row, or name other rows"
            ) from None
    return pa.array(made, pa.float64() if member.task == "regression" else pa.string())


def _class(value: str, member: Member) -> str:
    found = member.spelled(value)
    if found is None:
        raise ValueError(value)
    return found


def check_trainable(name: str, member: Member, found: Mapping[str, Split]) -> None:
    """Raise unless a task has rows to learn from and to be measured on, or at least to answer."""
    if not member.learns_from and not found[TRAIN].labelled:
        raise DataError(f"no training row of {name} has an answer", wanted="labelled rows")
    if not measured(member, found) and not any(split in found for split in member.submission):
        raise UsageError(f"{name} has no rows to be measured on", wanted=f"a file of {' or '.join(member.dev)}", fix=f"leave {name} out")
