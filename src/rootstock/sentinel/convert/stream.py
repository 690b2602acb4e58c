"""An unpickler that makes no object: containers and literals are real, imports and calls are values.py's inert ones."""

from collections.abc import Callable
from typing import Any

from rootstock.sentinel.convert import rebuild
from rootstock.sentinel.convert.values import Inert, Name, Span, Storage
from rootstock.sentinel.findings import Malformed
from rootstock.sentinel.pickles.literals import BYTES, COUNTED, FIXED_WIDTHS, LINES, LONGEST, Unreadable, span, value
from rootstock.sentinel.source import Source

RAW = frozenset(bytes((code,)) for code in BYTES)
"""Opcodes of bytes, which stay in the file."""

MARK = object()
WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
ENDS = (IndexError, TypeError, ValueError, KeyError, AttributeError, Unreadable)


def _key(key: Any, number: int) -> Any:
    """A key that can be one: bytes as text, and what is none by its number."""
    if isinstance(key, Span):
        return key.read(0, 1000).decode("latin-1")
    return key if isinstance(key, str | int | float) else f"<{number}>"


class Stream:
    """One pickle. position: where it goes on, and after read() where it ended."""

    def __init__(self, source: Source, position: int = 0) -> None:
        self.source, self.position = source, position
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: list[Storage] = []
        self.window, self.base = b"", position
        self.steps: dict[bytes, Callable[[], None]] = {**self._pushes(), **self._fills(), **self._calls(), **self._makes()}

    def read(self) -> Any:
        """The value at the STOP. Raises Malformed where the stream breaks."""
        start = self.position
        try:
            while (opcode := self.take(1)) != b".":
                self._step(opcode)
            return self.stack.pop()
        except ENDS as error:
            raise Malformed(f"the pickle that begins at {start:,} breaks", offset=self.position) from error

    def _step(self, opcode: bytes) -> None:
        if opcode in FIXED_WIDTHS:
            self.take(FIXED_WIDTHS[opcode] - 1)
            self.stack.append(value(self.source, self.position - FIXED_WIDTHS[opcode]))
        elif opcode in COUNTED:
            self._counted(opcode)
        elif opcode[0] in LINES if opcode else False:
            at = self.position - 1
            length = len(self.line()) + 1
            self.stack.append(value(self.source, at, max(length, 1)))
        else:
            self.steps[opcode]()

    def take(self, count: int) -> bytes:
        """The next bytes."""
        at = self.position - self.base
        if at + count > len(self.window):
            self.base, self.window, at = self.position, self.source.read(self.position, max(count, 1 << 16)), 0
        if at + count > len(self.window):
            raise IndexError
        self.position += count
        return self.window[at : at + count]

    def line(self) -> bytes:
        """The rest of the line."""
        found = bytearray()
        while (byte := self.take(1)) != b"\n":
            found += byte
        return bytes(found)

    def number(self, width: int) -> int:
        """An unsigned number."""
        return int.from_bytes(self.take(width), "little")

    def _counted(self, opcode: bytes) -> None:
        at = self.position - 1
        offset, length = span(self.source, at)
        if length < 0 or offset + length > self.source.size:
            raise IndexError
        if opcode in RAW:
            self.stack.append(Span(self.source, offset, length))
        elif length > LONGEST:
            self.stack.append(self.source.read(offset, length).decode("utf-8", "surrogatepass"))
        else:
            self.stack.append(value(self.source, at))
        self.position = offset + length

    def above(self) -> list[Any]:
        """What lies above the last mark; both go."""
        at = len(self.stack) - 1
        while self.stack[at] is not MARK:
            at -= 1
            if at < 0:
                raise IndexError
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def _pushes(self) -> dict[bytes, Callable[[], None]]:
        push, stack = self.stack.append, self.stack

        def put(index: int) -> None:
            self.memo[index] = stack[-1]

        return {
            b"(": lambda: push(MARK),
            b"0": lambda: (stack.pop(), None)[1],
            b"1": lambda: (self.above(), None)[1],
            b"2": lambda: push(stack[-1]),
            b"]": lambda: push([]),
            b"}": lambda: push({}),
            b"\x8f": lambda: push([]),
            b"h": lambda: push(self.memo[self.number(1)]),
            b"j": lambda: push(self.memo[self.number(4)]),
            b"g": lambda: push(self.memo[int(self.line())]),
            b"q": lambda: put(self.number(1)),
            b"r": lambda: put(self.number(4)),
            b"p": lambda: put(int(self.line())),
            b"\x94": lambda: put(len(self.memo)),
            b"\x80": lambda: (self.take(1), None)[1],
            b"\x95": lambda: (self.take(8), None)[1],
        }

    def _fills(self) -> dict[bytes, Callable[[], None]]:
        stack = self.stack

        def extend(items: list[Any]) -> None:
            if isinstance(stack[-1], list):
                stack[-1].extend(items)

        def update(items: list[Any]) -> None:
            held = stack[-1].items if isinstance(stack[-1], Inert) else stack[-1]
            for key, item in zip(items[::2], items[1::2], strict=True):
                held[_key(key, len(held))] = item

        def mapping() -> None:
            items = self.above()
            stack.append({})
            update(items)

        def last(count: int) -> list[Any]:
            items = stack[-count:]
            del stack[-count:]
            return items

        return {
            b"e": lambda: extend(self.above()),
            b"a": lambda: extend(last(1)),
            b"\x90": lambda: extend(self.above()),
            b"u": lambda: update(self.above()),
            b"s": lambda: update(last(2)),
            b"t": lambda: stack.append(tuple(self.above())),
            b"l": lambda: stack.append(self.above()),
            b"\x91": lambda: stack.append(self.above()),
            b"d": mapping,
            b"\x85": lambda: stack.append(tuple(last(1))),
            b"\x86": lambda: stack.append(tuple(last(2))),
            b"\x87": lambda: stack.append(tuple(last(3))),
        }

    def _calls(self) -> dict[bytes, Callable[[], None]]:
        stack = self.stack

        def called(extra: int = 0) -> None:
            del stack[len(stack) - extra :]
            arguments = stack.pop()
            stack.append(rebuild.call(stack.pop(), arguments))

        def of_class() -> None:
            items = self.above()
            stack.append(rebuild.call(items[0], tuple(items[1:])))

        return {b"R": called, b"\x81": called, b"\x92": lambda: called(1), b"o": of_class}

    def _makes(self) -> dict[bytes, Callable[[], None]]:
        stack = self.stack

        def named() -> None:
            module, name = self.line().decode(), self.line().decode()
            stack.append(Name(module, name))

        def by_stack() -> None:
            name, module = stack.pop(), stack.pop()
            stack.append(Name(module, name) if isinstance(name, str) and isinstance(module, str) else Inert("a computed import"))

        def instance() -> None:
            name = Name(self.line().decode(), self.line().decode())
            stack.append(rebuild.call(name, tuple(self.above())))

        def by_identity() -> None:
            made = rebuild.storage(stack.pop())
            stack.append(made)
            if isinstance(made, Storage):
                self.storages.append(made)

        extensions = {bytes((0x82 + i,)): lambda i=i: stack.append(Inert(f"extension {self.number(1 << i)}")) for i in range(3)}
        return {
            **extensions,
            b"c": named,
            b"\x93": by_stack,
            b"i": instance,
            b"b": self._build,
            b"Q": by_identity,
            b"P": lambda: stack.append(Inert(f"the persistent id {self.line()[:40]!r}")),
        }

    def _build(self) -> None:
        state = self.stack.pop()
        held = self.stack[-1]
        made = rebuild.build(held, state)
        if isinstance(held, Inert) and held.by == WRAPPER:
            made, self.position = rebuild.behind(self.source, self.position, state)
            if made is None:
                objects = Stream(self.source, self.position)
                objects.read()
                made, self.position = Inert("an array of objects"), objects.position
        if made is not held:
            self._replace(held, made)

    def _replace(self, old: Any, new: Any) -> None:
        """An array is complete after its BUILD only, when the memo holds it already."""
        self.stack[-1] = new
        for index, held in self.memo.items():
            if held is old:
                self.memo[index] = new
