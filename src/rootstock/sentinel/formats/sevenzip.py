"""7z archives, as some uploads to hubs are packed; their members are scanned like those of zip files."""

from collections.abc import Iterator
from functools import partial

from rootstock.sentinel.archives import seven_zip, unpack
from rootstock.sentinel.archives.members import ArchiveTree, check_link, check_names
from rootstock.sentinel.archives.seven_zip import ENCODED, FILES, HEADER, STREAMS, Folder, Reader, Tables
from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, LimitReached, Malformed, finding
from rootstock.sentinel.source import Probe, Source

MAGIC = b"7z\xbc\xaf\x27\x1c"
START = 32


def recognises(probe: Probe) -> bool:
    """By magic."""
    return probe.head.startswith(MAGIC)


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """The tables, then every file."""
    tables = _tables(source, context)
    members: dict[str, Source] = {}
    names = [name for name, empty in zip(tables.names, tables.empty, strict=False) if not empty]
    modes = [mode for mode, empty in zip(tables.attributes, tables.empty, strict=False) if not empty]
    yield from check_names([(name, 0) for name in tables.names], source)
    at, packed = START + tables.start, iter(tables.packed)
    listed = iter(zip(names, modes, strict=False))
    for folder in tables.folders:
        size = next(packed, 0)
        try:
            inner, problem = _unpacked(source.part(at, size), folder, source, context)
        except LimitReached as limit:
            yield finding(limit.rule_id, source, limit.what, offset=at)
            inner, problem = source.part(0, 0), ""
        if problem:
            yield finding("malformed", source, problem, offset=at)
        begin, at = 0, at + size
        for part in folder.parts:
            name, mode = next(listed, (f"part {len(members)}", 0))
            context.member(name)
            member = Source(source.path, min(part, max(inner.size - begin, 0)), partial(_at, inner, begin), (*source.members, name))
            begin += part
            if mode >> 28 == 0o12 and mode & 0x8000:
                yield from check_link(name, member.read(0, 4096).decode("utf-8", "replace"), source, 0)
            else:
                members.setdefault(name, member)
                yield from context.nested(member)
    yield from context.nested_tree(ArchiveTree({name: partial(_same, member) for name, member in members.items()}), source)


def _at(inner: Source, begin: int, offset: int, count: int) -> bytes:
    return inner.read(begin + offset, count)


def _same(member: Source) -> Source:
    return member


def _tables(source: Source, context: Context) -> Tables:
    """The header's tables; a header that is packed itself is unpacked first."""
    offset, size = (int.from_bytes(source.read(at, 8), "little") for at in (12, 20))
    if START + offset + size > source.size or size > context.limits.header_bytes:
        raise Malformed(f"its header claims {size:,} bytes at {START + offset:,}", offset=12)
    reader = Reader(source.read(START + offset, size))
    for _ in range(4):
        kind, tables = reader.number() if reader.data else HEADER, Tables()
        if kind == HEADER:
            return _header(reader, tables)
        if kind != ENCODED:
            break
        seven_zip.streams(reader, tables)
        if not tables.folders or tables.folders[0].size > context.limits.header_bytes:
            break
        packed = source.part(START + tables.start, tables.packed[0])
        inner, _ = _unpacked(packed, tables.folders[0], source, context)
        reader = Reader(inner.read(0, inner.size))
    raise Malformed("its header is none", offset=START + offset)


def _header(reader: Reader, tables: Tables) -> Tables:
    while reader.at < len(reader.data) and (kind := reader.number()):
        if kind == STREAMS:
            seven_zip.streams(reader, tables)
        elif kind == FILES:
            seven_zip.files(reader, tables)
        else:
            raise LimitReached(f"a part {kind} of its header is not read here; what it names was not scanned", rule_id="not-unpacked")
    return tables


def _unpacked(packed: Source, folder: Folder, source: Source, context: Context) -> tuple[Source, str]:
    """A folder's bytes, and what went wrong. LZMA has no mark of its end here: the size says where it is."""
    how = seven_zip.decompressor(folder)
    if how == "copy":
        return packed, ""
    stream = unpack.unpacking(how, packed) if isinstance(how, str) else unpack.Unpacking(packed, how)
    inner = context.unpacked(_cut(stream, folder.size), packed=packed.size, like=source, member="7z")
    return inner, "" if inner.size == folder.size else stream.problem or "a packed part ends too early"


def _cut(chunks: unpack.Unpacking, size: int) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk[:size]
        size -= len(chunk)
        if size <= 0:
            return
