"""Where HDF5 keeps names, long texts and the links and attributes of big objects: local, global and fractal heaps."""

from collections.abc import Iterator
from typing import Protocol

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import LimitReached, Malformed
from rootstock.sentinel.parse.window import Window

MAX_TEXT = 32 << 20
MAX_NAME = 1 << 16
MAX_RECORDS = 1_000_000


class Reader(Protocol):
    """What the heaps need of the file that they lie in."""

    window: Window
    context: Context
    offsets: int
    lengths: int
    base: int

    def address(self, position: int) -> int: ...

    def undefined(self, address: int) -> bool: ...


def local_name(file: Reader, heap: int, offset: int) -> str:
    """A name in a group's own heap."""
    if file.window.near(heap, 4) != b"HEAP":
        raise Malformed("a group's heap of names is none", offset=heap)
    size = file.window.number(heap + 8, file.lengths)
    data = file.base + file.address(heap + 8 + 2 * file.lengths)
    if offset >= size:
        raise Malformed("a name that lies out of its heap", offset=heap)
    raw = file.window.near(data + offset, min(MAX_NAME, size - offset))
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def global_text(file: Reader, place: int, *, sized: bool = True) -> str:
    """The text behind a reference into the global heap: length, address of a collection, index. `sized`: the length counts."""
    wanted = file.window.number(place, 4) if sized else MAX_TEXT
    collection, index = file.address(place + 4), file.window.number(place + 4 + file.offsets, 4)
    if not index or file.undefined(collection) or (sized and not wanted):
        return ""
    at = file.base + collection
    if file.window.near(at, 4) != b"GCOL":
        raise Malformed("a reference to a heap that is none", offset=place)
    end = at + file.window.number(at + 8, file.lengths)
    at += 8 + file.lengths
    while at + 8 + file.lengths <= end:
        number, size = file.window.number(at, 2), file.window.number(at + 8, file.lengths)
        start = at + 8 + file.lengths
        if number == index:
            if (length := min(size, wanted)) > MAX_TEXT:
                raise LimitReached(f"a text of {length:,} bytes was not scanned", offset=start)
            return file.window.take(start, length).decode("utf-8", "replace")
        if number == 0:
            break
        at = start + -(-size // 8) * 8
    raise Malformed("a reference to a text that is not there", offset=place)


class FractalHeap:
    """Small objects in blocks that double in size; which there are is told by a B-tree beside it."""

    def __init__(self, file: Reader, at: int) -> None:
        self.file, window = file, file.window
        if window.near(at, 4) != b"FRHP":
            raise Malformed("a heap of links or attributes that is none", offset=at)
        self.at, self.id_size, self.filters = at, window.number(at + 5, 2), window.number(at + 7, 2)
        self.checked = bool(window.number(at + 9, 1) & 2)
        offsets, lengths = file.offsets, file.lengths
        table = at + 14 + lengths + offsets + lengths + offsets + 8 * lengths
        self.width = window.number(table, 2)
        self.first, self.largest = window.number(table + 2, lengths), window.number(table + 2 + lengths, lengths)
        after = table + 2 + 2 * lengths
        self.bits = window.number(after, 2)
        self.root, self.rows = file.address(after + 4), window.number(after + 4 + offsets, 2)
        if not self.width or not self.first or self.first > self.largest or self.width > 4096 or self.bits > 64:
            raise Malformed("a heap with blocks of an impossible size", offset=at)
        self.offset_bytes = -(-self.bits // 8)
        most = min(window.number(at + 10, 4), self.largest)
        self.length_bytes = max(1, -(-most.bit_length() // 8))
        self.blocks: list[tuple[int, int, int]] = []

    def objects(self, tree: int) -> Iterator[tuple[int, int]]:
        """Start and size of every object. Raises LimitReached for those kept in ways that are not read here."""
        if self.filters:
            raise LimitReached("links or attributes in a compressed heap, which is not read", offset=self.at)
        self._map_blocks()
        for record in self._records(tree):
            kind = self.file.window.number(record, 1) >> 4 & 3
            if kind == 2:
                size = (self.file.window.number(record, 1) & 15) + 1
                yield record + 1, size
            elif kind == 0:
                offset = self.file.window.number(record + 1, self.offset_bytes)
                size = self.file.window.number(record + 1 + self.offset_bytes, self.length_bytes)
                yield self._place(offset, size), size
            else:
                raise LimitReached("a huge link or attribute, which is not read", offset=record)

    def _place(self, offset: int, size: int) -> int:
        for start, end, at in self.blocks:
            if start <= offset and offset + size <= end:
                return at + offset - start
        raise Malformed("an object out of its heap", offset=self.at)

    def _map_blocks(self) -> None:
        """Heap offset, end and file position of every direct block."""
        if self.file.undefined(self.root):
            return
        if not self.rows:
            self.blocks.append((0, self.first, self.file.base + self.root))
            return
        pending = [(self.file.base + self.root, self.rows)]
        visited: set[int] = set()
        while pending:
            at, rows = pending.pop()
            if at in visited or len(visited) > MAX_RECORDS:
                continue
            visited.add(at)
            pending += self._indirect(at, rows)

    def _indirect(self, at: int, rows: int) -> list[tuple[int, int]]:
        if self.file.window.near(at, 4) != b"FHIB":
            raise Malformed("a block of a heap that is none", offset=at)
        self.file.context.check_time()
        head = 5 + self.file.offsets
        offset = self.file.window.number(at + head, self.offset_bytes)
        entry, deeper = at + head + self.offset_bytes, []
        for row in range(min(rows, 128)):
            size = self.first << max(0, row - 1)
            for _ in range(self.width):
                address = self.file.address(entry)
                entry += self.file.offsets
                if not self.file.undefined(address) and size <= self.largest:
                    self.blocks.append((offset, offset + size, self.file.base + address))
                elif not self.file.undefined(address):
                    inner = (size // (self.first * self.width)).bit_length()
                    deeper.append((self.file.base + address, inner))
                offset += size
        return deeper

    def _records(self, tree: int) -> Iterator[int]:
        """Where each record of the B-tree has the id of its object."""
        window, file = self.file.window, self.file
        if window.near(tree, 4) != b"BTHD":
            raise Malformed("an index of links or attributes that is none", offset=tree)
        kind, node_size, record_size = window.number(tree + 5, 1), window.number(tree + 6, 4), window.number(tree + 10, 2)
        depth, root = window.number(tree + 12, 2), file.address(tree + 16)
        records = window.number(tree + 16 + file.offsets, 2)
        # Type 5 has the hash of a link's name before the id, type 6 its order; type 8 and 9 begin with an attribute's id.
        lead = {5: 4, 6: 8, 8: 0, 9: 0}.get(kind)
        if lead is None or record_size < lead + self.id_size - (0 if kind in (5, 6) else self.id_size - 1):
            raise Malformed(f"an index of kind {kind}, which has no links or attributes", offset=tree)
        if not file.undefined(root):
            yield from _Tree(file, node_size, record_size).walk(file.base + root, records, depth, lead)


class _Tree:
    """A version 2 B-tree."""

    def __init__(self, file: Reader, node_size: int, record_size: int) -> None:
        self.file, self.node_size, self.record_size = file, node_size, record_size
        if not record_size or node_size < 16:
            raise Malformed("an index with nodes of an impossible size")
        self.count = 0
        most = (node_size - 10) // record_size
        self.count_bytes = [max(1, -(-most.bit_length() // 8))]
        self.total_bytes = [0]
        total = most
        for _ in range(16):
            pointer = file.offsets + self.count_bytes[-1] + self.total_bytes[-1]
            inner = max(0, (node_size - 10 - pointer) // (record_size + pointer))
            total = (inner + 1) * total + inner
            self.count_bytes.append(self.count_bytes[0])
            self.total_bytes.append(max(1, -(-total.bit_length() // 8)))

    def walk(self, at: int, records: int, depth: int, lead: int) -> Iterator[int]:
        """The records of a node and of all below it."""
        if depth > 15:
            raise LimitReached("an index more than 15 deep", offset=at)
        self.file.context.check_time()
        if self.file.window.near(at, 4) != (b"BTLF" if depth == 0 else b"BTIN"):
            raise Malformed("a node of an index that is none", offset=at)
        first = at + 6
        for index in range(records):
            self.count += 1
            if self.count > MAX_RECORDS:
                raise LimitReached(f"more than {MAX_RECORDS:,} links or attributes of one object", offset=at)
            yield first + index * self.record_size + lead
        if depth:
            width = self.file.offsets + self.count_bytes[0] + (self.total_bytes[depth - 1] if depth > 1 else 0)
            pointers = first + records * self.record_size
            for index in range(records + 1):
                entry = pointers + index * width
                child = self.file.base + self.file.address(entry)
                yield from self.walk(child, self.file.window.number(entry + self.file.offsets, self.count_bytes[0]), depth - 1, lead)
