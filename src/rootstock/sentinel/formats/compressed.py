"""Compressed streams around one file: gzip, bzip2, xz, lzma, zlib; lz4, zstd, snappy and compress are told as not unpacked."""

from collections.abc import Iterator

from rootstock.sentinel.archives.unpack import Unpacking, unpacking
from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, Malformed, finding
from rootstock.sentinel.source import Probe, Source

MAGICS = {b"\x1f\x8b\x08": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
FOREIGN = {
    b"\x04\x22\x4d\x18": "lz4",
    b"\x02\x21\x4c\x18": "lz4 (old frames)",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xff\x06\x00\x00sNaPpY": "snappy",
    b"\x1f\x9d": "compress (.Z)",
    b"Rar!\x1a\x07": "rar",
    b"\x89LZO\x00": "lzo",
}
OLD_JOBLIB = b"ZF"


def recognises(probe: Probe) -> bool:
    """By magic; zlib and lzma, which have next to none, by whether they begin to unpack."""
    return _kind(probe.head) != "" or probe.head.startswith(tuple(FOREIGN))


def _kind(head: bytes) -> str:
    if found := next((kind for magic, kind in MAGICS.items() if head.startswith(magic)), ""):
        return found if found != "bzip2" or head[4:10] in (b"1AY&SY", b"\x17rE8P\x90") else ""
    if head[:1] == b"x" and int.from_bytes(head[:2], "big") % 31 == 0 and _begins(head, "zlib"):
        return "zlib"
    if head[:1] == b"\x5d" and head[1:3] == b"\0\0" and _begins(head, "lzma"):
        return "lzma"
    if head.startswith(OLD_JOBLIB) and _begins(head[_old_header(head) :], "zlib"):
        return "joblib before 0.10"
    return ""


def _old_header(head: bytes) -> int:
    """joblib before 0.10 wrote ZF, the unpacked length as hexadecimal digits in a field of 19 or 21 bytes, then zlib."""
    return next((at for at in (21, 23) if head[at : at + 1] == b"x"), len(head))


def _begins(head: bytes, kind: str) -> bool:
    from rootstock.sentinel.source import of_bytes

    stream = unpacking(kind, of_bytes(head, path=""))
    return any(True for _ in stream) or stream.end


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """What is inside, and where the stream breaks."""
    kind = _kind(source.probe.head)
    if not kind:
        name = next(name for magic, name in FOREIGN.items() if source.probe.head.startswith(magic))
        yield finding("not-unpacked", source, f"it is packed by {name}, which is not unpacked here", offset=0)
        return
    inner, stream, old = _unpacked(source, context, kind)
    yield from context.nested(inner)
    if stream.problem:
        yield finding("malformed", source, stream.problem, offset=stream.used)
    elif (end := old + stream.used) < source.size:
        padding = source.read(end, 1 << 16)
        end += len(padding) - len(padding.lstrip(b"\0")) if kind in ("gzip", "xz") else 0  # readers skip zeros between streams
        yield from context.nested(source.part(end, source.size, member=f"behind the {kind} stream"))


def _unpacked(source: Source, context: Context, kind: str) -> tuple[Source, Unpacking, int]:
    """What is inside, the stream that it came from, and where that begins."""
    old = _old_header(source.probe.head) if kind.startswith("joblib") else 0
    stream = unpacking("zlib" if old else kind, source.part(old, source.size - old))
    context.member(kind)
    return context.unpacked(stream, packed=source.size, like=source, member=kind), stream, old


def inside(source: Source, context: Context) -> Source:
    """What a stream unpacks to. Raises Malformed where it breaks, or is of a kind that is not unpacked here."""
    kind = _kind(source.probe.head)
    if not kind:
        raise Malformed("it is packed in a way that is not unpacked here", offset=0)
    inner, stream, _ = _unpacked(source, context, kind)
    if stream.problem:
        raise Malformed(stream.problem, offset=stream.used)
    return inner
