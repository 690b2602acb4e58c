"""A pickle machine that builds nothing: it follows the opcodes, and knows of every value what it is and where it came from.

A value is one integer. From 0 on: a literal, by the position of its opcode. Below 0: a node, ~value its number: a container, a global, an
object. Of a node only size and depth are kept, in arrays, and for what is no plain container an entry in `about`: 10 bytes a node instead
of a hundred, so that a pickle of millions of objects is scanned in little memory.
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import LimitReached
from rootstock.sentinel.pickles.literals import FIXED_WIDTHS
from rootstock.sentinel.source import Source

WINDOW, SLACK = 1 << 20, 1 << 9
"""Bytes held at a time, and those of the longest opcode that is read without asking whether it is complete."""

AWAY = 1 << 62
"""What an opcode's step returns to leave the fast loop; the machine's `resume` says where it goes on."""

MEMOIZE, SHORT_TEXT, GET, MARK = 0x94, 0x8C, 0x68, 0x28
FIXED = bytes(FIXED_WIDTHS.get(bytes((code,)), 0) for code in range(256))
MAX_STACK = 3_000_000

Step = Callable[[int], int]


class Broken(Exception):
    """The stream goes against the rules here: an unpickler stops, after having carried out all that stands before."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(frozen=True, slots=True)
class Global:
    """An imported name, and whether it is refused."""

    module: str
    name: str
    refused: bool

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True)
class Made:
    """An object that was made by calling something. arguments: of that call, as far as they are known. state: set by BUILD."""

    by: str
    refused: bool
    arguments: tuple[int, ...] = ()
    state: int = 0


@dataclass
class Machine:
    """State of one run. found: (rule, offset, what)."""

    source: Source
    context: Context
    start: int = 0
    stack: list[int] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    about: dict[int, Any] = field(default_factory=dict)
    found: list[tuple[str, int, str]] = field(default_factory=list)
    nested: list[Source] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.memo: Any = array("i" if self.source.size < 1 << 31 else "q")
        self.far: dict[int, int] | None = None
        self.sizes, self.depths = array("f"), array("H")
        self.children: dict[int, list[int]] = {}
        self.keep_children = False
        self.last: tuple[int, list[int]] = (AWAY, [])
        self.window, self.base, self.stop = b"", self.start, 0
        self.position, self.resume, self.frame_end, self.protocol = 0, 0, 0, 0
        self.done = False
        self.calls = self.globals = 0
        self.watched: set[int] = set()
        self.steps: list[Step] = []
        self.spawn: Step = lambda offset: offset

    def run(self) -> int:
        """Follow the stream to its STOP; the offset behind it. Raises Broken, LimitReached."""
        while not self.done:
            self._refill()
            if self.position >= self.stop:
                raise Broken("its bytes can't be read further")
            try:
                self._burst()
            except IndexError:
                raise Broken("it takes from an empty stack, or a mark, or its bytes end within an opcode") from None
            if self.position >= AWAY:
                self.position = self.resume
        return self.base + self.position

    def _burst(self) -> None:
        """The fast loop: literals, short texts and the memo here, all else in a step of its own."""
        window, base, stop, position = self.window, self.base, self.stop, self.position
        stack, steps, fixed = self.stack, self.steps, FIXED
        push, memo, mark = stack.append, self.memo, self.marks.append
        remember = memo.append
        memoize, get = (MEMOIZE, GET) if self.far is None else (256, 256)
        try:
            while position < stop:
                code = window[position]
                if width := fixed[code]:
                    push(base + position)
                    position += width
                elif code == memoize:
                    remember(stack[-1])
                    position += 1
                elif code == SHORT_TEXT:
                    push(base + position)
                    position += 2 + window[position + 1]
                elif code == get:
                    push(memo[window[position + 1]])
                    position += 2
                elif code == MARK:
                    mark(len(stack))
                    position += 1
                else:
                    position = steps[code](position)
        finally:
            self.position = position

    def _refill(self) -> None:
        """Move the window on where less than an opcode is left in it, and stop where a frame ends."""
        at = self.base + self.position
        self._check(at)
        if self.position + SLACK >= len(self.window):
            self.base, self.position = at, 0
            self.window = self.source.read(at, WINDOW)
        left = self.source.size - self.base
        self.stop = len(self.window) if left <= len(self.window) else len(self.window) - SLACK
        if self.frame_end:
            self.stop = min(self.stop, self.frame_end - self.base)

    def _check(self, at: int) -> None:
        if at >= self.source.size:
            raise Broken("its bytes end before its STOP" if at == self.source.size else "an opcode promises more bytes than there are")
        if self.frame_end and at >= self.frame_end:
            if at > self.frame_end:
                self.found.append(("pickle-frame", at, "a frame ends within an opcode: unpicklers disagree about what follows"))
            self.frame_end = 0
        self.context.check_time()
        limit = self.context.limits.memo
        if len(self.sizes) > limit or len(self.memo) > limit or len(self.stack) > MAX_STACK:
            raise LimitReached(f"more than {limit:,} objects at once; the rest of the pickle was not scanned", offset=at)

    def new(self, about: Any = None) -> int:
        """A fresh node."""
        sizes = self.sizes
        sizes.append(1.0)
        self.depths.append(1)
        if about is not None:
            self.about[len(sizes) - 1] = about
        return -len(sizes)

    def holding(self, node: int, items: list[int]) -> None:
        """Let a node hold items: its size is that of the whole tree below it, however often parts are shared."""
        number, sizes, depths = ~node, self.sizes, self.depths
        if not items:
            return
        if self.watched and not self.watched.isdisjoint(items):
            self.handed_on(items)
        size, deepest = sizes[number] + len(items), 1
        if min(items) < 0:
            for item in items:
                if item < 0:
                    size += sizes[~item] - 1.0
                    if depths[~item] > deepest:  # noqa: PLR1730  (max costs a call, in the innermost loop)
                        deepest = depths[~item]
        sizes[number] = size if size < 1e30 else 1e30
        if deepest >= depths[number]:
            depths[number] = deepest + 1 if deepest < 65_000 else 65_000

    def handed_on(self, items: list[int]) -> None:
        """A loader of files that is put into a value and not called here: an object that is harmless alone may call it."""
        told = self.watched.intersection(items)
        self.watched -= told
        for node in told:
            what = f"hands {self.about[~node]} on as a value, so that what it is called with can't be told"
            self.found.append(("pickle-computed-bytes", self.base + self.position, what))

    def what(self, value: int) -> Any:
        """What is known of a node that is no plain container."""
        return self.about.get(~value) if value < 0 else None

    def inside(self, node: int) -> tuple[int, ...] | None:
        """The items of a tuple, where they were kept."""
        if node == self.last[0]:
            return tuple(self.last[1])
        kept = self.children.get(~node) if node < 0 else None
        return None if kept is None else tuple(kept)

    def items(self) -> list[int]:
        """What lies above the last mark; both go."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items
