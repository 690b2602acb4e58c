"""Bytes to scan: a file, a stretch of one, or what was unpacked from it, read where asked and never as a whole."""

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

HEAD_BYTES = 1 << 16
TAIL_BYTES = (1 << 16) + 22
"""A zip's closing record lies within its last 64 KiB and 22 bytes."""


class Tree(Protocol):
    """A folder, or an archive seen as one: names with forward slashes, relative to its root."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every file, in order."""

    def open(self, name: str) -> "Source":
        """The bytes of one of the names. Raises KeyError where there is none."""


@dataclass(frozen=True, eq=False)
class Source:
    """Random access to `size` bytes.

    path: the file on disk. members: the way through archives. read_at: (offset, count) to bytes, fewer at the end.
    tree and place: what it lies in, and under which name there.
    """

    path: str
    size: int
    read_at: Callable[[int, int], bytes]
    members: tuple[str, ...] = ()
    tree: Tree | None = None
    place: str = ""

    @property
    def name(self) -> str:
        """The last part of the name under which it lies, in lower case."""
        return PurePosixPath(self.members[-1] if self.members else self.path).name.lower()

    def read(self, offset: int, count: int) -> bytes:
        """Bytes from an offset on; fewer, or none, at the end."""
        count = min(count, self.size - offset)
        return self.read_at(offset, count) if offset >= 0 and count > 0 else b""

    def part(self, offset: int, size: int, *, member: str | None = None) -> "Source":
        """A stretch of these bytes, as a member where a name is given."""
        size = max(0, min(size, self.size - offset))
        members = self.members if member is None else (*self.members, member)
        return Source(self.path, size, lambda at, count: self.read_at(offset + at, count), members)

    def within(self, tree: Tree, place: str) -> "Source":
        """The same bytes, lying in a tree."""
        return replace(self, tree=tree, place=place)

    def chunks(self, count: int = 1 << 20) -> Iterator[bytes]:
        """All bytes in turn."""
        for offset in range(0, self.size, count):
            yield self.read(offset, count)

    def stream(self) -> BinaryIO:
        """A seekable stream for libraries that want one."""
        return io.BufferedReader(_Stream(self), 1 << 16)

    @cached_property
    def probe(self) -> "Probe":
        """What formats are recognised by."""
        tail = self.read(max(0, self.size - TAIL_BYTES), TAIL_BYTES)
        return Probe(self.read(0, HEAD_BYTES), tail, self.size, self.name, self.tree, self.place)


@dataclass(frozen=True)
class Probe:
    """First and last bytes, size, and the name in lower case.

    A format is told by its bytes; the name counts only where a loader goes by it and the bytes say nothing, as for Python text.
    tree and place: what it lies in, for raw numbers that only a neighbour describes.
    """

    head: bytes
    tail: bytes
    size: int
    name: str
    tree: Tree | None = None
    place: str = ""


class _Stream(io.RawIOBase):
    def __init__(self, source: Source) -> None:
        self.source, self.position = source, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self.position = max(0, offset + (0, self.position, self.source.size)[whence])
        return self.position

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.source.read(self.position, len(view))
        view[: len(data)] = data
        self.position += len(data)
        return len(data)


def of_file(path: Path) -> Source:
    """A file on disk. Raises OSError where it can't be read."""
    descriptor = _Descriptor(path)
    return Source(str(path), os.fstat(descriptor.number).st_size, descriptor.read_at)


def of_bytes(data: bytes, *, path: str, members: tuple[str, ...] = ()) -> Source:
    """Bytes in memory."""
    return Source(path, len(data), lambda offset, count: data[offset : offset + count], members)


class _Descriptor:
    """Holds a file open as long as a source refers to it."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))

    def read_at(self, offset: int, count: int) -> bytes:
        return os.pread(self.number, count, offset)

    def __del__(self) -> None:
        number = getattr(self, "number", None)
        if number is not None:
            os.close(number)
