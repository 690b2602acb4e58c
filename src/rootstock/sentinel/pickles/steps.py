"""One step an opcode, for all that the machine's fast loop does not do itself. Each takes and gives a position in the window."""

from collections.abc import Callable
from typing import Any, Final

from rootstock.sentinel.pickles.calls import Calls
from rootstock.sentinel.pickles.literals import COUNTED, LINES
from rootstock.sentinel.pickles.machine import AWAY, SLACK, Broken, Machine, Step

LAST_PROTOCOL: Final = 5
MEMO_BOMB = 1 << 24
"""An unpickler in C makes room for twice the index that a PUT names; no pickle of this many opcodes needs more."""


def prepare(machine: Machine) -> Machine:
    """Give a machine its steps."""
    table: list[Step] = [_unknown(machine)] * 256
    for family in (_counted, _lines, _stack, _containers, _tuples, _memo, _calls, _framing, _rest):
        for opcode, step in family(machine).items():
            table[opcode[0]] = step
    machine.steps = table
    return machine


def _unknown(machine: Machine) -> Step:
    def step(at: int) -> int:
        raise Broken(f"the byte 0x{machine.window[at]:02x} is no opcode")

    return step


def line(machine: Machine, at: int) -> tuple[bytes, int]:
    """The line that begins at a position, and where the next one does.

    Where the bytes end first, Python's own unpickler takes what there is, without its last byte.
    """
    end = machine.window.find(b"\n", at)
    if end >= 0:
        return machine.window[at:end], end + 1
    data = machine.source.read(machine.base + at, machine.context.limits.header_bytes)
    end = data.find(b"\n")
    if end < 0:
        return data[:-1], at + len(data)
    return data[:end], at + end + 1


def _counted(machine: Machine) -> dict[bytes, Step]:
    push = machine.stack.append

    def of(width: int, signed: bool) -> Step:
        def step(at: int) -> int:
            length = int.from_bytes(machine.window[at + 1 : at + 1 + width], "little", signed=signed)
            end = at + 1 + width + length
            if length < 0 or machine.base + end > machine.source.size:
                raise Broken(f"an opcode claims {length:,} bytes, and {machine.source.size - machine.base - at:,} follow")
            push(machine.base + at)
            return end

        return step

    return {opcode: of(*how) for opcode, how in COUNTED.items()}


def _lines(machine: Machine) -> dict[bytes, Step]:
    def literal(at: int) -> int:
        machine.stack.append(machine.base + at)
        return line(machine, at + 1)[1]

    return {bytes((code,)): literal for code in LINES}


def _stack(machine: Machine) -> dict[bytes, Step]:
    stack, marks = machine.stack, machine.marks

    def pop(at: int) -> int:
        if marks and marks[-1] == len(stack):
            marks.pop()
        else:
            stack.pop()
        return at + 1

    def pop_mark(at: int) -> int:
        machine.items()
        return at + 1

    def duplicate(at: int) -> int:
        stack.append(stack[-1])
        return at + 1

    return {b"0": pop, b"1": pop_mark, b"2": duplicate}


def _containers(machine: Machine) -> dict[bytes, Step]:
    stack, new, holding = machine.stack, machine.new, machine.holding

    sizes, depths = machine.sizes, machine.depths

    def empty(at: int) -> int:
        sizes.append(1.0)
        depths.append(1)
        stack.append(-len(sizes))
        return at + 1

    def made(at: int) -> int:
        items = machine.items()
        node = new()
        machine.holding(node, items)
        stack.append(node)
        return at + 1

    def fill(at: int) -> int:
        mark = machine.marks.pop()
        items = stack[mark:]
        del stack[mark:]
        put(stack[-1], items, at)
        return at + 1

    def one(count: int) -> Step:
        def step(at: int) -> int:
            items = stack[-count:]
            del stack[-count:]
            put(stack[-1], items, at)
            return at + 1

        return step

    def put(node: int, items: list[int], at: int) -> None:
        if node >= 0:
            return  # an error in most cases, but not with nothing to put, nor with a bytearray
        if ~node in machine.about:
            Calls(machine).changed(node, at)
        holding(node, items)
        if machine.keep_children:
            machine.children.setdefault(~node, []).extend(items[:64])

    fills: dict[bytes, Step] = {b"e": fill, b"u": fill, b"\x90": fill, b"a": one(1), b"s": one(2)}
    return {b"]": empty, b"}": empty, b"\x8f": empty, b"l": made, b"d": made, b"\x91": made, **fills}


def _tuples(machine: Machine) -> dict[bytes, Step]:
    stack, holding, sizes, depths = machine.stack, machine.holding, machine.sizes, machine.depths

    def tuple_of(items: list[int]) -> None:
        sizes.append(1.0)
        depths.append(1)
        node = -len(sizes)
        holding(node, items)
        machine.last = (node, items)
        if machine.keep_children:
            machine.children[~node] = items[:64]
        stack.append(node)

    def many(at: int) -> int:
        tuple_of(machine.items())
        return at + 1

    def few(count: int) -> Step:
        def step(at: int) -> int:
            if len(stack) < count:
                raise IndexError
            items = stack[-count:]
            del stack[-count:]
            tuple_of(items)
            return at + 1

        return step

    return {b"t": many, b"\x85": few(1), b"\x86": few(2), b"\x87": few(3)}


def _memo(machine: Machine) -> dict[bytes, Step]:
    def take(index: int, at: int, end: int) -> int:
        _recall(machine, index)
        return end

    def put(index: int, at: int, end: int) -> int:
        return _memorise(machine, index, at, end)

    def long_get(at: int) -> int:
        end = at + 5
        index = int.from_bytes(machine.window[at + 1 : end], "little")
        if machine.far is None:
            machine.stack.append(machine.memo[index])
        else:
            _recall(machine, index)
        return end

    def of(width: int, use: Callable[[int, int, int], int]) -> Step:
        def fixed(at: int) -> int:
            end = at + 1 + width
            return use(int.from_bytes(machine.window[at + 1 : end], "little"), at, end)

        def by_line(at: int) -> int:
            text, end = line(machine, at + 1)
            try:
                index = int(text)
            except ValueError:
                raise Broken("the number of a memo's entry is no number") from None
            return use(index, at, end)

        return fixed if width else by_line

    gets = {b"g": of(0, take), b"h": of(1, take), b"j": long_get}
    puts = {b"p": of(0, put), b"q": of(1, put), b"r": of(4, put)}
    return {**gets, **puts, b"\x94": lambda at: put(len(machine.far or ()), at, at + 1)}


def _recall(machine: Machine, index: int) -> None:
    memo: Any = machine.memo if machine.far is None else machine.far
    known = index in memo if machine.far is not None else 0 <= index < len(memo)
    if not known:
        raise Broken(f"it asks for {index}, which is not in the memo")
    machine.stack.append(memo[index])


def _memorise(machine: Machine, index: int, at: int, end: int) -> int:
    value, memo = machine.stack[-1], machine.memo
    if machine.far is not None:
        machine.far[index] = value
    elif index == len(memo):
        memo.append(value)
    elif 0 <= index < len(memo):
        memo[index] = value
    elif index < 0:
        raise Broken("the number of a memo's entry is negative")
    else:
        return _put_far(machine, index, at, end)
    return end


def _put_far(machine: Machine, index: int, at: int, end: int) -> int:
    """The first PUT out of turn: from here on the memo is a table, and the fast loop leaves it alone."""
    if index > MEMO_BOMB + 4 * len(machine.memo):
        machine.found.append(
            ("pickle-bomb", machine.base + at, f"the memo's entry {index:,} makes an unpickler reserve memory for as many")
        )
    machine.far = {**dict(enumerate(machine.memo)), index: machine.stack[-1]}
    machine.resume = end
    return AWAY


def _calls(machine: Machine) -> dict[bytes, Step]:
    calls = Calls(machine)

    def named(at: int) -> int:
        module, after = line(machine, at + 1)
        name, end = line(machine, after)
        calls.global_(module, name, at)
        return end

    def instance(at: int) -> int:
        module, after = line(machine, at + 1)
        name, end = line(machine, after)
        calls.global_(module, name, at)
        named = machine.stack.pop()
        calls.call(named, tuple(machine.items()), at)
        return end

    def plain(step: Callable[[int], None]) -> Step:
        def wrapped(at: int) -> int:
            step(at)
            return at + 1

        return wrapped

    def build(at: int) -> int:
        machine.resume = at + 1
        calls.build(at)
        return AWAY if machine.resume != at + 1 else at + 1

    fixed = {b"\x93": calls.stack_global, b"o": calls.object, b"\x81": calls.new_object, b"\x92": calls.new_object_ex, b"R": calls.reduce}
    extensions = {bytes((0x82 + i,)): calls.extension(1 << i) for i in range(3)}
    return {b"c": named, b"i": instance, b"b": build, **extensions, **{opcode: plain(step) for opcode, step in fixed.items()}}


def _framing(machine: Machine) -> dict[bytes, Step]:
    def stop(at: int) -> int:
        if not machine.stack:
            raise IndexError
        machine.done, machine.resume = True, at + 1
        return AWAY

    def protocol(at: int) -> int:
        machine.protocol = machine.window[at + 1]
        if machine.protocol > LAST_PROTOCOL:
            raise Broken(f"there is no protocol {machine.protocol}")
        return at + 2

    def frame(at: int) -> int:
        length = int.from_bytes(machine.window[at + 1 : at + 9], "little")
        here = machine.base + at + 9
        # Unpicklers go different ways here: the one in C looks at the end only, the one in Python only at a frame within another.
        if here + length > machine.source.size:
            machine.found.append(
                ("pickle-frame", machine.base + at, f"a frame of {length:,} bytes, and {machine.source.size - here:,} follow")
            )
            length = 0
        if machine.frame_end:
            machine.found.append(("pickle-frame", machine.base + at, "a frame begins within another"))
            length = 0
        machine.frame_end, machine.resume = (here + length if length else 0), at + 9
        return AWAY

    return {b".": stop, b"\x80": protocol, b"\x95": frame}


def _rest(machine: Machine) -> dict[bytes, Step]:
    calls = Calls(machine)

    def by_line(at: int) -> int:
        name, end = line(machine, at + 1)
        calls.persistent(None, at, repr(name[:60]))
        return end

    def by_value(at: int) -> int:
        calls.persistent(machine.stack.pop(), at, "")
        return at + 1

    def buffer(at: int) -> int:
        machine.stack.append(machine.new())
        return at + 1

    def read_only(at: int) -> int:
        machine.stack.append(machine.stack.pop())
        return at + 1

    return {b"P": by_line, b"Q": by_value, b"\x97": buffer, b"\x98": read_only}


assert SLACK > 2 + 255  # the longest opcode of the fast loop
