"""What no loader of models parses as more: text of no special kind, images, sound, films, fonts, papers, tables of columns."""

from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding
from rootstock.sentinel.source import Probe, Source

MAGICS = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"OggS",
    b"fLaC",
    b"ID3",
    b"\0\1\0\0\0",
    b"OTTO",
    b"wOFF",
    b"wOF2",
    b"PAR1",
    b"ARROW1\0\0",
    b"%PDF-",
    b"\x1aE\xdf\xa3",
    b"\xff\xfb",
    b"\0\0\0\x01Bud1",
)
FILM = b"ftyp"
ASCII = bytes((9, 10, 13, *range(32, 127)))
MANY, FEW = 64, 0.2
"""Text in an encoding of one byte a letter: so many bytes, at most this share of them beyond ASCII, and no control characters."""

RIFF = (b"WEBP", b"WAVE")


def recognises(probe: Probe) -> bool:
    """By magic; text by whether its first 64 KiB and its last are UTF-8 or UTF-16 without control characters."""
    head = probe.head
    return (
        head.startswith(MAGICS)
        or head[4:8] == FILM
        or _is_arrow_stream(probe)
        or (head[:4] == b"RIFF" and head[8:12] in RIFF)
        or (is_text(head) and is_text(probe.tail))
    )


def _is_arrow_stream(probe: Probe) -> bool:
    """Arrow's batches one after the other, as data sets are cached: a mark, the length of a table of eights, and its root within it."""
    head = probe.head
    length, root = int.from_bytes(head[4:8], "little"), int.from_bytes(head[8:12], "little")
    return head[:4] == b"\xff\xff\xff\xff" and not length % 8 and 16 <= length <= probe.size - 8 and 4 <= root < min(length, 64)


def is_text(data: bytes) -> bool:
    """Whether bytes are text; a character that is cut at either end does not count against it."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _decodes(data[: len(data) // 2 * 2], "utf-16")
    if any(code in data for code in (b"\0", b"\x01", b"\x02", b"\x03", b"\x04", b"\x05", b"\x06", b"\x0e", b"\x7f")):
        return False
    if len(data) >= MANY and len(data.translate(None, ASCII)) < FEW * len(data):
        return True  # of one byte a letter, such as Latin-1
    start = next((i for i in range(min(4, len(data))) if data[i] & 0xC0 != 0x80), 0)
    return any(_decodes(data[start : len(data) - cut], "utf-8") for cut in range(4))


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """Nothing: other formats that are there as well have readers of their own."""
    return iter(())
