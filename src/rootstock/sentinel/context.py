"""What a format's reader is given beside the bytes: limits, time, and the way to hand on what lies within."""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from rootstock.sentinel.findings import Finding, LimitReached
from rootstock.sentinel.limits import Limits
from rootstock.sentinel.source import Source, Tree

IN_MEMORY = 8 << 20


@dataclass
class Spent:
    """What one file has used up of its limits."""

    members: int = 0
    output_bytes: int = 0


@dataclass(frozen=True)
class Context:
    """Passed to every reader.

    inner: scans a source one level deeper, every format that fits. inner_tree: the checks on a folder as a whole, for archives.
    depth: archives around this source. until: the moment at which this file's time is over.
    """

    limits: Limits
    inner: Callable[[Source, "Context"], Iterator[Finding]]
    inner_tree: Callable[[Tree, Source, "Context"], Iterator[Finding]]
    until: float
    depth: int = 0
    spent: Spent = field(default_factory=Spent)

    def nested(self, source: Source) -> Iterator[Finding]:
        """Everything found in a part that lies within the source at hand."""
        yield from self.inner(source, self._deeper())

    def nested_tree(self, tree: Tree, archive: Source) -> Iterator[Finding]:
        """What the checks on whole folders find in an archive seen as one."""
        yield from self.inner_tree(tree, archive, self._deeper())

    def member(self, name: str) -> None:
        """Count one part. Raises LimitReached where there are too many."""
        self.spent.members += 1
        if self.spent.members > self.limits.members:
            raise LimitReached(f"more than {self.limits.members:,} parts; {name[:80]!r} and what follows was not scanned")

    def check_time(self) -> None:
        """Raises LimitReached when this file's time is over; to be called now and then in every loop over content."""
        if time.monotonic() > self.until:
            raise LimitReached(f"its {self.limits.file_seconds:g} seconds are over; the rest was not scanned")

    def unpacked(self, chunks: Iterable[bytes], *, packed: int, like: Source, member: str) -> Source:
        """What a decompressor gives, as a source: in memory while small, then in a temporary file.

        Raises LimitReached where it grows beyond the limits on output, on the ratio to the `packed` bytes, or on time.
        """
        spool = _Spool()
        size = 0
        for chunk in chunks:
            size += len(chunk)
            self._check_growth(size, len(chunk), packed, member)
            spool.file.write(chunk)
            self.check_time()
        return Source(like.path, size, spool.read_at, (*like.members, member))

    def _check_growth(self, size: int, grown: int, packed: int, member: str) -> None:
        self.spent.output_bytes += grown
        if size > self.limits.ratio_from and size > self.limits.ratio * max(packed, 1):
            what = f"{member[:80]!r} unpacks to more than {self.limits.ratio:g} times its {packed:,} bytes"
            raise LimitReached(what, rule_id="archive-bomb")
        if self.spent.output_bytes > self.limits.output_bytes:
            raise LimitReached(f"more than {self.limits.output_bytes:,} bytes unpacked; the rest was not scanned")

    def _deeper(self) -> "Context":
        if self.depth >= self.limits.depth:
            raise LimitReached(f"archives more than {self.limits.depth} deep; what lies further in was not scanned")
        return Context(self.limits, self.inner, self.inner_tree, self.until, self.depth + 1, self.spent)


class _Spool:
    """A temporary file that lives as long as a source refers to it."""

    def __init__(self) -> None:
        self.file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115

    def read_at(self, offset: int, count: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(count)

    def __del__(self) -> None:
        self.file.close()
