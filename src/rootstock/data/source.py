"""One door for rows: any reference becomes a table that knows its lines, its digest and what was recognised."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from rootstock.core.recipe import DataSettings
from rootstock.data import formats, squad, stdlib_docs
from rootstock.data.columnar import read_columnar
from rootstock.data.conll import read_conll
from rootstock.data.delimited import read_delimited
from rootstock.data.documents import read_json, read_jsonl
from rootstock.data.files import decode, fetch
from rootstock.data.folder import read_folder
from rootstock.data.hub import PREFIX, digest_table, read_hub
from rootstock.data.parallel import parts, read_lines, read_parallel
from rootstock.data.tables import Parsed, numbered


@dataclass(frozen=True)
class Source:
    """Rows as they were found.

    table: the file's own columns, and int64 rows.ROW with the 1-based line (text formats) or record number in the file.
    digest: sha256 of the unpacked bytes; of names and bytes for a folder; of the rows for hf: and stdlib-docs.
    notes: what was recognised, one remark each.
    """

    table: pa.Table
    name: str
    format: str
    digest: str
    notes: tuple[str, ...]

    @property
    def unit(self) -> str:
        """What rows.ROW counts in this format."""
        return "line" if self.format in ("csv", "tsv", "txt", "jsonl", "conll", "lines") else "record"


def read(reference: str, settings: DataSettings) -> Source:
    """Rows of a file, parallel files (a+b), a folder of class folders, hf:<dataset>[:split] or stdlib-docs.

    Only format, encoding, header and quoting of the settings are used. Raises DataError naming file and line, or UnknownName for a format.
    """
    if reference == stdlib_docs.NAME:
        return _embedded()
    if reference.startswith(PREFIX):
        parsed, digest = read_hub(reference)
        return _source(reference, parsed, digest=digest)
    if beside := parts(reference):
        parsed, data = read_parallel(beside, encoding=settings.encoding)
        return _source(reference, parsed, digest=hashlib.sha256(data).hexdigest())
    path = Path(reference)
    told = formats.named(settings.format, path)
    if told == "folder" or (settings.format == "auto" and path.is_dir()):
        parsed, digest = read_folder(path, reference.rstrip("/"), encoding=settings.encoding)
        return _source(reference, parsed, digest=digest)
    data, packed = fetch(path, reference)
    parsed = _parse(data, reference, settings=settings, told=told)
    return _source(reference, parsed, digest=hashlib.sha256(data).hexdigest(), notes=packed)


def _source(reference: str, parsed: Parsed, *, digest: str, notes: tuple[str, ...] = ()) -> Source:
    return Source(squad.unfolded(parsed.table, reference), reference, parsed.format, digest, (*parsed.notes, *notes))


def _parse(data: bytes, name: str, *, settings: DataSettings, told: str) -> Parsed:
    kind = told or formats.binary(data)
    if kind in ("parquet", "arrow"):
        return read_columnar(data, name, kind=kind)
    text, encoding = decode(data, name, encoding=settings.encoding)
    kind = kind or formats.textual(text)
    if kind == "jsonl":
        parsed = read_jsonl(text, name)
    elif kind == "json":
        parsed = read_json(text, name)
    elif kind == "conll":
        parsed = read_conll(text, name)
    elif kind == "lines":
        parsed = read_lines(text)
    else:
        parsed = read_delimited(text, name, settings=settings, kind=kind)
    return Parsed(parsed.table, parsed.format, (*parsed.notes, *encoding))


def _embedded() -> Source:
    docs = stdlib_docs.rows()
    table, _ = numbered(docs)
    return Source(table, stdlib_docs.NAME, stdlib_docs.NAME, digest_table(docs), (stdlib_docs.describe(docs),))
