"""Values that stand in a pickle as they are: a literal is remembered by the byte at which its opcode stands, and read when asked for."""

import ast
from struct import unpack
from typing import Any

from rootstock.sentinel.source import Source

LONGEST = 1 << 16
"""Bytes of a literal that are read; names and numbers are short."""

FIXED_WIDTHS = {b"N": 1, b"\x88": 1, b"\x89": 1, b")": 1, b"K": 2, b"M": 3, b"J": 5, b"G": 9}
"""Opcodes of literals whose arguments have one length, with the bytes of both: None, True, False, (), integers, a float."""

COUNTED = {
    b"\x8a": (1, False),
    b"\x8b": (4, True),
    b"U": (1, False),
    b"T": (4, True),
    b"C": (1, False),
    b"B": (4, False),
    b"\x8e": (8, False),
    b"\x96": (8, False),
    b"\x8c": (1, False),
    b"X": (4, False),
    b"\x8d": (8, False),
}
"""Opcodes of literals that begin with their length: bytes of the length, and whether it is signed."""

LINES = b"FILSV"
"""Opcodes of literals that end with a line."""

TEXT, BYTES = b"\x8cX\x8dUT", b"CB\x8e\x96"
_PLAIN = {b"N": None, b"\x88": True, b"\x89": False, b")": ()}
_PACKED = {b"K": "<B", b"M": "<H", b"J": "<i", b"G": ">d"}


class Unreadable(ValueError):
    """A literal that no unpickler would take either."""


def span(source: Source, position: int) -> tuple[int, int]:
    """Offset and length of the content of a counted literal."""
    head = source.read(position, 9)
    width, signed = COUNTED[head[:1]]
    return position + 1 + width, int.from_bytes(head[1 : 1 + width], "little", signed=signed)


def value(source: Source, position: int, longest: int = LONGEST) -> Any:
    """The literal whose opcode stands at a position: None, bool, int, float, str, bytes or (). Raises Unreadable.

    longest: bytes that are read of it; a name ends long before.
    """
    opcode = source.read(position, 1)
    if opcode in _PLAIN:
        return _PLAIN[opcode]
    if opcode in _PACKED:
        return unpack(_PACKED[opcode], source.read(position + 1, FIXED_WIDTHS[opcode] - 1))[0]
    if opcode in COUNTED:
        offset, length = span(source, position)
        return _counted(opcode, source.read(offset, min(length, max(longest, LONGEST))))
    line, end, _ = source.read(position + 1, longest).partition(b"\n")
    if not end:
        raise Unreadable
    return _line(opcode, line)


def _counted(opcode: bytes, data: bytes) -> Any:
    if opcode in BYTES:
        return data
    if opcode in TEXT:
        return data.decode("utf-8", "surrogatepass" if opcode not in b"UT" else "replace")
    return int.from_bytes(data, "little", signed=True)


def _line(opcode: bytes, line: bytes) -> Any:
    if opcode == b"V":
        return line.decode("raw-unicode-escape")
    if opcode == b"S":
        # The quotes are checked by the unpickler as well; what stands between them are Python's own escapes.
        try:
            return ast.literal_eval("b" + line.decode("ascii").strip()).decode("latin-1")
        except (SyntaxError, ValueError, AttributeError) as error:
            raise Unreadable from error
    if opcode == b"F":
        return float(line)
    if line in (b"00", b"01"):
        return line == b"01"
    return int(line.rstrip(b"L"), 0)
