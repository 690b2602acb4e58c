"""Decompressors as streams: chunk after chunk, and where the stream breaks, what came before it."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rootstock.sentinel.findings import Malformed
from rootstock.sentinel.source import Source

CHUNK = 1 << 18
MEMORY = 256 << 20
"""Of a decompressor of LZMA: a dictionary larger than this is refused."""

FAILURES = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, MemoryError)


class _Zlib:
    """zlib's decompressor in the manner of bz2's and lzma's."""

    def __init__(self, window_bits: int) -> None:
        self._inner = zlib.decompressobj(window_bits)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


MAKERS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: _Zlib(31),
    "zlib": lambda: _Zlib(15),
    "deflate": lambda: _Zlib(-15),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY),
    "lzma": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MEMORY),
}
CONCATENATED = {"gzip": b"\x1f\x8b", "bzip2": b"BZh", "xz": b"\xfd7zXZ\0"}
"""Kinds whose readers go on with a further stream behind the first, and how that begins."""


@dataclass
class Unpacking:
    """Iterate for the chunks. problem: why it ended early. used: packed bytes that were read. end: whether the stream's end was met."""

    source: Source
    make: Callable[[], Any]
    again: bytes = b""
    problem: str = ""
    used: int = 0
    end: bool = False

    def __iter__(self) -> Iterator[bytes]:
        waiting = b""
        try:
            machine = self.make()
            while True:
                if not waiting and machine.needs_input:
                    waiting = self.source.read(self.used, CHUNK)
                    if not waiting:
                        self.problem = "" if self.end else "the compressed stream ends too early"
                        return
                    self.used += len(waiting)
                chunk, waiting = machine.decompress(waiting, CHUNK * 4), b""
                if chunk:
                    yield chunk
                self.end = machine.eof
                if machine.eof:
                    waiting = machine.unused_data
                    self.used -= len(waiting)
                    if not self.again or self.source.read(self.used, len(self.again)) != self.again:
                        return
                    machine, waiting = self.make(), b""
        except FAILURES as error:
            self.problem = f"the compressed stream breaks: {str(error)[:100] or type(error).__name__}"


def unpacking(kind: str, source: Source) -> Unpacking:
    """The stream of a kind of MAKERS."""
    return Unpacking(source, MAKERS[kind], CONCATENATED.get(kind, b""))


def of_zip_lzma(source: Source) -> Unpacking:
    """LZMA as zip members have it: two bytes of version, two of length, the properties, then the raw stream."""
    head = source.read(0, 9)
    filters = [lzma_filter(lzma.FILTER_LZMA1, head[4:9])]
    return Unpacking(source.part(9, source.size - 9), lambda: lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters))


def lzma_filter(kind: int, properties: bytes) -> dict[str, Any]:
    """A filter by its properties as archives write them. Raises Malformed where they are none."""
    try:
        return {"id": kind, **lzma._decode_filter_properties(kind, properties)}  # type: ignore[attr-defined]
    except lzma.LZMAError as error:
        raise Malformed("the properties of its packing are none") from error
