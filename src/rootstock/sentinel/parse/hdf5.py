"""HDF5 read by hand from its superblock down: groups, links, attributes, and where data are kept. No library, nothing is resolved.

Follows the File Format Specification, versions 1 to 3: superblocks 0 to 3, object headers 1 and 2, symbol tables and fractal heaps.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import LimitReached, Malformed
from rootstock.sentinel.parse.hdf5_heaps import FractalHeap, global_text, local_name
from rootstock.sentinel.parse.window import Window
from rootstock.sentinel.source import Source

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_OBJECTS = 500_000
MAX_TEXT = 32 << 20
SYMBOLS, LINK_INFO, LINK, EXTERNAL, LAYOUT, FILTERS, ATTRIBUTE, ATTRIBUTE_INFO, CONTINUATION = (
    0x11,
    0x02,
    0x06,
    0x07,
    0x08,
    0x0B,
    0x0C,
    0x15,
    0x10,
)

Kind = Literal["external link", "soft link", "user link", "attribute", "external data", "virtual data", "filter", "unread"]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a reader would follow or hand on. name: path of the object. text: where it leads, or what it says."""

    kind: Kind
    name: str
    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class _Message:
    kind: int
    flags: int
    start: int
    size: int


class File:
    """One file. `items` walks it."""

    def __init__(self, source: Source, context: Context) -> None:
        self.source, self.context = source, context
        self.window = Window(source)
        self.offsets = self.lengths = 8
        self.base = 0
        self.seen: set[int] = set()
        self.pending: list[tuple[int, str]] = []

    def items(self, start: int = 0) -> Iterator[Item]:
        """Everything found, from the root group down."""
        self.pending.append((self._root(start), ""))
        while self.pending:
            address, name = self.pending.pop()
            if address in self.seen or self.undefined(address):
                continue
            self.seen.add(address)
            if len(self.seen) > MAX_OBJECTS:
                raise LimitReached(f"more than {MAX_OBJECTS:,} objects; the rest was not scanned")
            self.context.check_time()
            yield from self._object(self.base + address, name)

    def address(self, position: int) -> int:
        """An address as stored, relative to the base."""
        return self.window.number(position, self.offsets)

    def undefined(self, address: int) -> bool:
        """Whether an address says that there is nothing."""
        return address == (1 << 8 * self.offsets) - 1

    def _root(self, start: int) -> int:
        if self.window.take(start, 8) != SIGNATURE:
            raise Malformed("no superblock", offset=start)
        version = self.window.number(start + 8, 1)
        if version > 3:
            raise Malformed(f"superblock version {version}, which is none", offset=start + 8)
        sizes = start + 13 if version < 2 else start + 9
        self.offsets, self.lengths = self.window.number(sizes, 1), self.window.number(sizes + 1, 1)
        if self.offsets not in (2, 4, 8) or self.lengths not in (2, 4, 8):
            raise Malformed("addresses of an impossible size", offset=sizes)
        fields = start + (24 if version == 0 else 28 if version == 1 else 12)
        self.base = self.address(fields)
        root = self.address(fields + 4 * self.offsets + self.offsets) if version < 2 else self.address(fields + 3 * self.offsets)
        return root

    def _object(self, position: int, name: str) -> Iterator[Item]:
        for message in self._messages(position):
            reader = _READERS.get(message.kind)
            if reader is not None and message.flags & 2:
                yield Item("unread", name, "a shared message", message.start)
            elif reader is not None:
                yield from reader(self, message, name)

    def _messages(self, position: int) -> Iterator[_Message]:
        if self.window.near(position, 4) == b"OHDR":
            yield from self._messages2(position)
        else:
            yield from self._messages1(position)

    def _messages1(self, position: int) -> Iterator[_Message]:
        if self.window.number(position, 1) != 1:
            raise Malformed("no object where one should be", offset=position)
        total, size = self.window.number(position + 2, 2), self.window.number(position + 8, 4)
        blocks, count, visited = [(position + 16, size)], 0, {position + 16}
        while blocks:
            at, left = blocks.pop(0)
            end = at + left
            while at + 8 <= end and count < total:
                message = _Message(self.window.number(at, 2), self.window.number(at + 4, 1), at + 8, self.window.number(at + 2, 2))
                count += 1
                yield message
                if message.kind == CONTINUATION and (block := self._block(message))[0] not in visited:
                    visited.add(block[0])
                    blocks.append(block)
                at += 8 + message.size

    def _block(self, message: _Message) -> tuple[int, int]:
        return self.base + self.address(message.start), self.window.number(message.start + self.offsets, self.lengths)

    def _messages2(self, position: int) -> Iterator[_Message]:
        flags = self.window.number(position + 5, 1)
        at = position + 6 + (16 if flags & 32 else 0) + (4 if flags & 16 else 0)
        width = 1 << (flags & 3)
        blocks, visited = [(at + width, self.window.number(at, width))], {at + width}
        head = 6 if flags & 4 else 4
        while blocks:
            at, left = blocks.pop(0)
            end = at + left
            while at + head <= end:
                message = _Message(self.window.number(at, 1), self.window.number(at + 3, 1), at + head, self.window.number(at + 1, 2))
                yield message
                if message.kind == CONTINUATION:
                    start, size = self._block(message)
                    if start not in visited and self.window.near(start, 4) == b"OCHK" and size >= 8:
                        visited.add(start)
                        blocks.append((start + 4, size - 8))
                at += head + message.size

    def _symbols(self, message: _Message, name: str) -> Iterator[Item]:
        tree, heap = self.address(message.start), self.address(message.start + self.offsets)
        nodes = [] if self.undefined(tree) else [self.base + tree]
        visited: set[int] = set()
        while nodes:
            node = nodes.pop()
            if node in visited:
                continue
            visited.add(node)
            self.context.check_time()
            if self.window.near(node, 4) == b"SNOD":
                yield from self._symbol_node(node, self.base + heap, name)
            elif self.window.near(node, 4) == b"TREE":
                used = self.window.number(node + 6, 2)
                first = node + 8 + 2 * self.offsets + self.lengths
                nodes += [self.base + self.address(first + i * (self.offsets + self.lengths)) for i in range(used)]
            else:
                raise Malformed("a group's table is none", offset=node)

    def _symbol_node(self, node: int, heap: int, name: str) -> Iterator[Item]:
        step = 2 * self.offsets + 24
        for index in range(self.window.number(node + 6, 2)):
            at = node + 8 + index * step
            child = f"{name}/{local_name(self, heap, self.address(at))}"
            if self.window.number(at + 2 * self.offsets, 4) == 2:
                target = local_name(self, heap, self.window.number(at + 2 * self.offsets + 8, 4))
                yield Item("soft link", child, target, at)
            else:
                self.pending.append((self.address(at + self.offsets), child))

    def _link(self, message: _Message, name: str) -> Iterator[Item]:
        yield from self.link_at(message.start, message.start + message.size, name)

    def link_at(self, start: int, end: int, name: str) -> Iterator[Item]:
        """A link message, in a header or in a heap."""
        flags, at = self.window.number(start + 1, 1), start + 2
        kind = 0
        if flags & 8:
            kind, at = self.window.number(at, 1), at + 1
        at += (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
        width = 1 << (flags & 3)
        size, at = self.window.number(at, width), at + width
        child = f"{name}/{self._text(at, size)}"
        at += size
        if kind == 0:
            self.pending.append((self.address(at), child))
            return
        length = self.window.number(at, 2)
        if at + 2 + length > end:
            raise Malformed("a link that reaches out of its message", offset=at)
        value = self.window.take(at + 2, length)
        if kind == 1:
            yield Item("soft link", child, value.decode("utf-8", "replace"), at)
        elif kind == 64:
            parts = value[1:].split(b"\0")
            yield Item("external link", child, parts[0].decode("utf-8", "replace"), at)
        else:
            yield Item("user link", child, f"kind {kind}", at)

    def _link_info(self, message: _Message, name: str) -> Iterator[Item]:
        at = message.start + 2 + (8 if self.window.number(message.start + 1, 1) & 1 else 0)
        if not self.undefined(heap := self.address(at)):
            for start, size in FractalHeap(self, self.base + heap).objects(self.base + self.address(at + self.offsets)):
                yield from self.link_at(start, start + size, name)

    def _attribute_info(self, message: _Message, name: str) -> Iterator[Item]:
        at = message.start + 2 + (2 if self.window.number(message.start + 1, 1) & 1 else 0)
        if not self.undefined(heap := self.address(at)):
            for start, size in FractalHeap(self, self.base + heap).objects(self.base + self.address(at + self.offsets)):
                yield from self.attribute_at(start, start + size, name)

    def _attribute(self, message: _Message, name: str) -> Iterator[Item]:
        yield from self.attribute_at(message.start, message.start + message.size, name)

    def attribute_at(self, start: int, end: int, name: str) -> Iterator[Item]:
        """An attribute message: its texts, whether in place or in the global heap."""
        version = self.window.number(start, 1)
        sizes = [self.window.number(start + at, 2) for at in (2, 4, 6)]
        at = start + (9 if version == 3 else 8)
        label = self._text(at, sizes[0]).split("\0")[0]
        padded = [-(-size // 8) * 8 if version == 1 else size for size in sizes]
        kind_at, at = at + padded[0], at + sum(padded)
        if at > end:
            raise Malformed("an attribute that reaches out of its message", offset=start)
        kind = self.window.number(kind_at, 1) & 15
        if kind == 3:
            yield Item("attribute", f"{name}@{label}", self._text(at, end - at).rstrip("\0"), at)
        elif kind == 9:
            step = 4 + self.offsets + 4
            for place in range(at, end - step + 1, step):
                text = global_text(self, place)
                yield Item("attribute", f"{name}@{label}", text, place)

    def _external(self, message: _Message, name: str) -> Iterator[Item]:
        used, heap = self.window.number(message.start + 6, 2), self.base + self.address(message.start + 8)
        for index in range(used):
            at = message.start + 8 + self.offsets + index * 3 * self.lengths
            yield Item("external data", name, local_name(self, heap, self.window.number(at, self.lengths)), at)

    def _layout(self, message: _Message, name: str) -> Iterator[Item]:
        version = self.window.number(message.start, 1)
        if version >= 3 and self.window.number(message.start + 1, 1) == 3:
            block = global_text(self, message.start + 2 - 4, sized=False)
            yield Item("virtual data", name, block[1 + self.lengths :].split("\0", 1)[0], message.start)

    def _filters(self, message: _Message, name: str) -> Iterator[Item]:
        version, count = self.window.number(message.start, 1), self.window.number(message.start + 1, 1)
        at = message.start + (8 if version == 1 else 2)
        for _ in range(count):
            if at + 8 > message.start + message.size:
                return
            number = self.window.number(at, 2)
            named = version == 1 or number >= 256
            length = self.window.number(at + 2, 2) if named else 0
            values = self.window.number(at + (6 if named else 4), 2)
            if number >= 256:
                yield Item("filter", name, str(number), at)
            padded = -(-length // 8) * 8 if version == 1 else length
            at += (8 if named else 6) + padded + 4 * (values + (values % 2 if version == 1 else 0))

    def _text(self, start: int, size: int) -> str:
        if size > MAX_TEXT:
            raise LimitReached(f"a text of {size:,} bytes was not scanned", offset=start)
        return self.window.take(start, size).decode("utf-8", "replace")


_READERS = {
    SYMBOLS: File._symbols,
    LINK_INFO: File._link_info,
    LINK: File._link,
    EXTERNAL: File._external,
    LAYOUT: File._layout,
    FILTERS: File._filters,
    ATTRIBUTE: File._attribute,
    ATTRIBUTE_INFO: File._attribute_info,
}
