"""Protocol buffers on the wire: fields by number, without a schema and without reading what is passed over."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rootstock.sentinel.findings import LimitReached, Malformed
from rootstock.sentinel.parse.window import Window
from rootstock.sentinel.source import Source, of_bytes

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_DEPTH = 48
MAX_TEXT = 1 << 20


@dataclass(frozen=True, slots=True)
class Field:
    """One field. value: of a number. start, end: where the content of a bytes field lies in the source."""

    number: int
    wire: int
    value: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Message:
    """A stretch of a source that holds fields."""

    window: Window
    start: int
    end: int
    depth: int = 0

    def fields(self) -> Iterator[Field]:
        """Every field in order. Raises Malformed where the bytes are none."""
        position = self.start
        while position < self.end:
            key, after = self._varint(position)
            number, wire = key >> 3, key & 7
            if not 0 < number < 1 << 29:
                raise Malformed(f"a field with the impossible number {number}", offset=position)
            yield (field := self._field(number, wire, after))
            position = field.end

    def of(self, *numbers: int) -> Iterator["Message"]:
        """The messages under these field numbers."""
        for field in self.fields():
            if field.wire == BYTES and field.number in numbers:
                yield self.inner(field)

    def inner(self, field: Field) -> "Message":
        """A bytes field read as a message. Raises LimitReached where messages lie too deep in one another."""
        if self.depth >= MAX_DEPTH:
            raise LimitReached(
                f"messages more than {MAX_DEPTH} deep in one another; what lies further in was not scanned", offset=field.start
            )
        return Message(self.window, field.start, field.end, self.depth + 1)

    def text(self, number: int) -> str:
        """The last text under a field number, as readers take it, empty where there is none."""
        last = None
        for field in self.fields():
            if field.number == number and field.wire == BYTES:
                last = field
        return self.text_of(last) if last else ""

    def text_of(self, field: Field) -> str:
        """A bytes field as text. Raises LimitReached for one above 1 MiB."""
        return self.bytes_of(field).decode("utf-8", "replace")

    def bytes_of(self, field: Field) -> bytes:
        """The content of a bytes field. Raises LimitReached for one above 1 MiB."""
        if field.end - field.start > MAX_TEXT:
            raise LimitReached(f"a text of {field.end - field.start:,} bytes was not scanned", offset=field.start)
        return self.window.take(field.start, field.end - field.start)

    def numbers(self, number: int) -> Iterator[int]:
        """Varints under a field number, packed or not."""
        for field in self.fields():
            if field.number == number and field.wire == VARINT:
                yield field.value
            elif field.number == number and field.wire == BYTES:
                position = field.start
                while position < field.end:
                    value, position = self._varint(position)
                    yield value

    def _field(self, number: int, wire: int, after: int) -> Field:
        if wire == VARINT:
            value, end = self._varint(after)
            return Field(number, wire, value, after, end)
        if wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
            self._check(after, size)
            return Field(number, wire, self.window.number(after, size), after, after + size)
        if wire != BYTES:
            raise Malformed(f"field {number} has the wire type {wire}, which is none", offset=after)
        size, start = self._varint(after)
        self._check(start, size)
        return Field(number, wire, 0, start, start + size)

    def _check(self, start: int, size: int) -> None:
        if size > self.end - start:
            raise Malformed(f"a field of {size:,} bytes where {max(0, self.end - start):,} are left", offset=start)

    def _varint(self, position: int) -> tuple[int, int]:
        raw = self.window.near(position, min(10, self.end - position))
        value = 0
        for index, byte in enumerate(raw):
            value |= (byte & 127) << 7 * index
            if byte < 128:
                return value & (1 << 64) - 1, position + index + 1
        raise Malformed("a number that does not end", offset=position)


def message(source: Source) -> Message:
    """A whole source as a message."""
    return Message(Window(source), 0, source.size)


def signed(value: int) -> int:
    """A varint as the signed number that int32 and int64 fields hold."""
    return value - (1 << 64) if value >= 1 << 63 else value


def fits(head: bytes, size: int, schema: Mapping[int, int], *, needed: frozenset[int]) -> bool:
    """Whether first bytes can be a message with these field numbers and wire types, among them one of `needed`.

    Fields in any order; the walk ends where a field reaches beyond the bytes at hand.
    """
    seen: set[int] = set()
    bounded = Message(Window(of_bytes(head, path="")), 0, len(head))
    try:
        position = 0
        while position < len(head):
            key, after = bounded._varint(position)
            if schema.get(key >> 3) != key & 7:
                return False
            seen.add(key >> 3)
            if key & 7 == BYTES:
                length, start = bounded._varint(after)
                if start + length > size:
                    return False
                position = start + length
            else:
                position = bounded._field(key >> 3, key & 7, after).end
    except Malformed:
        return len(head) < size and bool(seen & needed)
    return bool(seen & needed)
