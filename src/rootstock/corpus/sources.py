"""One door for raw text: any reference becomes a stream of records in a fixed order, each a document or the reason why it is none.

A reference is a file, a folder, hf:NAME or stdlib-docs. What a file holds is told by its name (notes.md, dump.jsonl.gz), whether and how it
is packed by its first bytes. Order and numbers are the same each time, so that a build that was killed goes on with `start`.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from rootstock.core.artifact import digest_file, digest_folder, digest_json
from rootstock.core.errors import DataError, UnknownName
from rootstock.core.modules import needed
from rootstock.corpus import built, texts, warc
from rootstock.corpus.record import Raw, Record
from rootstock.corpus.texts import Broken, Fields, Unit, broken
from rootstock.data import stdlib_docs
from rootstock.data.files import missing
from rootstock.data.hub import FORM, PREFIX, digest_table, open_set, parts_of

FIELDS = ("text", "content", "body", "document")
"""Names that a field or column of texts is found by, the likeliest first."""
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zstd")
READERS: dict[str, Callable[[Path, Fields], Iterator[Unit]]] = {
    "text": lambda path, fields: texts.pieces(path, texts.plain),
    "markdown": lambda path, fields: texts.pieces(path, warc.markdown),
    "html": warc.pages,
    "jsonl": texts.jsonl,
    "csv": partial(texts.delimited, kind="csv"),
    "tsv": partial(texts.delimited, kind="tsv"),
    "parquet": lambda path, fields: _cells(_parquet(path, fields), f"{path} can't be read as Parquet"),
    "arrow": lambda path, fields: _cells(_arrow(path, fields), f"{path} can't be read as Arrow"),
    "warc": warc.warc,
}
SUFFIXES = {
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".warc": "warc",
    ".wet": "warc",
}
_ARCHIVES = {".zip", ".tar", ".tgz", ".7z", ".rar"}
"""Many files in one, which are not read in place."""
_WANTED = f"a folder, or a file that ends in {' '.join(SUFFIXES)}, packed ({' '.join(PACKED)}) or not; {PREFIX}NAME or {stdlib_docs.NAME}"
_PROBE, _EXAMPLES, _ROWS = 100, 3, 256


@dataclass(frozen=True)
class FileFacts:
    """A file that is read: its name in the source, bytes on disk, format, and sha256 of the bytes as they lie there."""

    name: str
    bytes: int
    format: str
    sha256: str


@dataclass(frozen=True)
class SourceFacts:
    """What a source consists of. skipped: files of a folder that no reader knows, with examples. digest: changes where a text may have."""

    reference: str
    format: str
    digest: str
    files: tuple[FileFacts, ...] = ()
    skipped: int = 0
    skipped_examples: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class _File:
    name: str
    path: Path
    format: str


def records(reference: str, text: str | None = None, *, start: int = 0) -> Iterator[Record]:
    """The records of a source from number `start` on; those before it are not parsed. text: the field or column, found by name if None.

    Raises DataError for a path where there is nothing, a source without records, and a file named by itself that is not what its name says;
    in a folder such a file is a broken record. UsageError where a package is missing.
    """
    return (each.read() for each in raw(reference, text, start=start))


def raw(reference: str, text: str | None = None, *, start: int = 0) -> Iterator[Raw]:
    """What `records` reads, before it is read."""
    units = islice(_units(reference, (text,) if text else FIELDS), start, None)
    return (Raw(identity + unit.mark, place, unit) for place, (identity, unit) in enumerate(units, start))


def describe(reference: str, text: str | None = None) -> SourceFacts:
    """A source's format, files and digests; raises what `records` would raise on its first record."""
    _probe(reference, text)
    if reference == stdlib_docs.NAME:
        return SourceFacts(reference, reference, digest_table(stdlib_docs.rows()))
    if reference.startswith(PREFIX):
        return SourceFacts(reference, "hf", _hub_digest(reference))
    files, skipped = _listed(reference)
    facts = tuple(map(_facts, files))
    digest = digest_json([[each.name, each.sha256] for each in facts])
    kind = "folder" if Path(reference).is_dir() else facts[0].format
    return SourceFacts(reference, kind, digest, facts, len(skipped), tuple(skipped[:_EXAMPLES]))


def check_unchanged(facts: SourceFacts) -> None:
    """Raises DataError where a file is no longer what it was when it was described: a stream may have met some of either.

    One that has come since is such a file too: whether the stream met it depends on when it came.
    """
    if told := _changed(facts):
        raise DataError(
            f"{told} while {facts.reference} was read",
            wanted="files that stay as they are until all is read",
            fix="give the same command again when nobody writes to them",
        )


def _changed(facts: SourceFacts) -> str:
    """Which file of a source is another by now, in words; "" where none is."""
    if facts.format == "hf":
        folder = parts_of(facts.reference)[0]
        return f"{folder} has changed" if Path(folder).is_dir() and _hub_digest(facts.reference) != facts.digest else ""
    now = {file.name: file for file in _listed(facts.reference)[0]} if facts.files else {}
    before = {file.name: file for file in facts.files}
    for name in dict.fromkeys([*before, *now]):
        if name not in now or name not in before:
            return f"{name} has {'gone' if name not in now else 'come'}"
        if _facts(now[name]) != before[name]:
            return f"{name} has changed"
    return ""


def _facts(file: _File) -> FileFacts:
    try:
        return FileFacts(file.name, file.path.stat().st_size, file.format, digest_file(file.path))
    except OSError as error:
        raise _unreadable(error) from None


def _probe(reference: str, text: str | None) -> None:
    """Fail before the first hour where the text stands in a field of another name."""
    reason = ""
    for record in islice(records(reference, text), _PROBE):
        reason = record.broken or ""
        if not reason.startswith("no text field"):
            return
    if reason:
        raise DataError(f"{reference}: {reason}", wanted=text or " or ".join(FIELDS), fix="name the field with --text NAME")


def _units(reference: str, fields: Fields) -> Iterator[tuple[str, Unit]]:
    if reference == stdlib_docs.NAME:
        for number, text in enumerate(stdlib_docs.rows().column("text").to_pylist(), 1):
            yield reference, Unit(f":{number}", partial(texts.whole, text))
    elif reference.startswith(PREFIX):
        yield from ((reference, unit) for unit in _hub(reference, fields))
    else:
        alone = not Path(reference).is_dir()
        for file in _listed(reference)[0]:
            yield from ((file.name, unit) for unit in _of_file(file, fields, alone=alone))


def _of_file(file: _File, fields: Fields, *, alone: bool) -> Iterator[Unit]:
    """A file's units; at least one, so that no file of a folder goes unseen."""
    unit: Unit | None = None
    try:
        for unit in READERS[file.format](file.path, fields):
            yield unit
    except DataError as error:
        if alone:
            raise
        yield broken("", Broken(f"unreadable file: {error.found}"))
        return
    if unit is None and alone:
        raise DataError(f"{file.name} is empty", wanted="a source with text in it", fix="write or fetch it again")
    if unit is None:
        yield broken("", Broken("empty file"))


def _listed(reference: str) -> tuple[list[_File], list[str]]:
    """The files of a source in order, and names of those that no reader knows."""
    path = Path(reference)
    if not path.exists():
        error = missing(path, reference)
        raise DataError(error.found, wanted=_WANTED, fix=error.fix)
    if path.is_dir():
        told, name = built.shards(reference), reference.rstrip("/") or "/"
        return ([_File(f"{name}/{each}", path / each, "parquet") for each in told], []) if told else _below(path, name)
    kind = _format(path)
    if not kind:
        fix = "unpack it into a folder" if _ARCHIVES.intersection(each.lower() for each in path.suffixes) else "rename it, or convert it"
        raise DataError(f"{reference}: no format is known by this name", wanted=_WANTED, fix=fix)
    try:
        path.open("rb").close()
    except OSError as error:
        raise _unreadable(error) from None
    return [_File(_spelled(reference), path, kind)], []


def _below(folder: Path, name: str) -> tuple[list[_File], list[str]]:
    found = [(f"{name}/{path.relative_to(folder).as_posix()}", path) for path in sorted(_walk(folder))]
    files = [_File(_spelled(full), path, _format(path)) for full, path in found if _format(path) and _is_open(path)]
    known = {each.path for each in files}
    skipped = [_spelled(full) for full, path in found if path not in known]
    if not files:
        held = f" among {len(skipped):,} others, such as {', '.join(skipped[:_EXAMPLES])}" if skipped else ""
        raise DataError(f"{name} holds no file with text{held}", wanted=_WANTED, fix="name another folder, or convert its files")
    return files, skipped


def _is_open(path: Path) -> bool:
    """Whether a file is one of data: not hidden, no pipe, no link to nowhere."""
    return not path.name.startswith(".") and path.is_file()


def _walk(folder: Path) -> Iterator[Path]:
    """Files below a folder; of a hidden folder, or of one that is a link, only its own name."""
    for root, folders, names in os.walk(folder, onerror=_stop):
        yield from (Path(root, each) for each in names)
        closed = [each for each in folders if each.startswith(".") or Path(root, each).is_symlink()]
        yield from (Path(root, each) for each in closed)
        folders[:] = [each for each in folders if each not in closed]


def _stop(error: OSError) -> None:
    raise _unreadable(error) from None


def _unreadable(error: OSError) -> DataError:
    return DataError(f"{error.filename} can't be read: {error.strerror}", fix="check the permissions, or take it out of the folder")


def _format(path: Path) -> str:
    """The format that a file's name tells, or ""."""
    suffixes = [each.lower() for each in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return SUFFIXES.get(suffixes[-1], "") if suffixes else ""


def _spelled(name: str) -> str:
    """A file's name as text; bytes that are no UTF-8 are legal in names."""
    return os.fsencode(name).decode("utf-8", "replace")


def _cells(columns: Iterator[Any], failed: str) -> Iterator[Unit]:
    """The cells of a column that comes in chunks; where it breaks off, a broken record. Raises DataError where nothing can be read."""
    number = 0
    while True:
        try:
            column = next(columns, None)
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            reason = str(error).split("\n")[0]
            if not number:
                raise DataError(f"{failed}: {reason}", wanted="a whole file", fix="write or fetch it again") from None
            yield broken(f":{number + 1}", Broken(f"damaged: the rest of the file is left out: {reason}"))
            return
        if column is None:
            return
        yield from (Unit(f":{place}", partial(_cell, cell)) for place, cell in enumerate(column.to_pylist(), number + 1))
        number += len(column)


def _cell(cell: bytes | None) -> str:
    if cell is None:
        raise Broken("null")
    return texts.utf8(cell)


def _parquet(path: Path, fields: Fields) -> Iterator[Any]:
    from pyarrow.parquet import ParquetFile

    # pre_buffer would hold whole row groups, which can be larger than memory
    with _seekable(path) as source, ParquetFile(source, pre_buffer=False, buffer_size=2**20) as file:
        names = file.schema_arrow.names
        name = names[texts.column_of(names, fields, str(path))]
        for batch in file.iter_batches(_ROWS, columns=[name]):
            yield _binary(batch.column(0), f"{path}: column {name!r}")


def _arrow(path: Path, fields: Fields) -> Iterator[Any]:
    with _seekable(path) as source, pa.OSFile(source) if isinstance(source, str) else pa.PythonFile(source) as file:
        streamed = file.read(6) != b"ARROW1"
        file.seek(0)
        with (pa.ipc.open_stream if streamed else pa.ipc.open_file)(file) as reader:
            place = texts.column_of(reader.schema.names, fields, str(path))
            for batch in reader if streamed else map(reader.get_batch, range(reader.num_record_batches)):
                column = _binary(batch.column(place), f"{path}: column {reader.schema.names[place]!r}")
                yield from (column.slice(start, _ROWS) for start in range(0, len(column), _ROWS))


def _binary(column: Any, where: str) -> Any:
    """A column of texts as bytes, as they may be no UTF-8 for all that the file says. Raises DataError for anything but text."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not any(kind in str(column.type) for kind in ("string", "binary", "null")) or pa.types.is_nested(column.type):
        raise DataError(f"{where} holds {column.type}", wanted="texts", fix="choose another column with --text NAME")
    column = column.cast(pa.large_binary())
    column.validate(full=True)  # a damaged file may open and still point outside its own buffers
    return column


@contextmanager
def _seekable(path: Path) -> Iterator[Any]:
    """A file to jump about in: where it is packed, unpacked into a temporary file."""
    if texts.unpacker(path) is None:
        yield str(path)
        return
    stream = texts.Stream(path, text=False)
    with tempfile.TemporaryFile() as beside:
        shutil.copyfileobj(stream.buffered(), beside)
        if stream.damage:
            raise OSError(stream.damage)
        beside.seek(0)
        yield beside


def _hub(reference: str, fields: Fields) -> Iterator[Unit]:
    """Rows of a data set of the hub, or of a folder in its form, as they come over the net."""
    name, configuration, split = parts_of(reference)
    number = 0
    with _hub_errors(reference):
        found = open_set(name, configuration, streaming=True)
        splits = dict(found) if isinstance(found, dict) else {"train": found}
        split = split or ("train" if "train" in splits else next(iter(splits)))
        if split not in splits:
            raise UnknownName("split", split, splits)
        rows = splits[split]
        if rows.column_names:
            fields = (rows.column_names[texts.column_of(rows.column_names, fields, reference)],)
            rows = rows.select_columns(list(fields))
        for number, row in enumerate(rows, 1):
            yield Unit(f":{number}", partial(texts.field_of, row, fields))
    if not number:
        raise DataError(f"{reference} holds no rows", wanted="a source with text in it")


@contextmanager
def _hub_errors(reference: str) -> Iterator[None]:
    """What goes wrong between here and the hub, as one DataError."""
    kinds = needed("datasets", PREFIX, extra="hub").exceptions.DatasetsError
    try:
        yield
    except (OSError, ValueError, RuntimeError, kinds) as error:
        reason = str(error).strip().split("\n")[0]
        fix = f"check the name; offline, give a file, a folder, {PREFIX}FOLDER with the data set's files, or {stdlib_docs.NAME}"
        raise DataError(f"{reference} could not be read: {reason}", wanted=FORM, fix=fix) from None


def _hub_digest(reference: str) -> str:
    """sha256 over the files of a data set's folder, or over the commit that the hub gives."""
    name, configuration, split = parts_of(reference)
    if Path(name).is_dir():
        return digest_json([configuration, split, digest_folder(Path(name))])
    with _hub_errors(reference):
        files = needed("datasets", PREFIX, extra="hub").load_dataset_builder(name, configuration or None).config.data_files or {}
        return digest_json([reference, {str(key): [list(each) for each in value.origin_metadata] for key, value in files.items()}])
