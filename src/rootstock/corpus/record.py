"""A document, or what was to be one, before and after its text is made."""

from dataclasses import dataclass

from rootstock.corpus.texts import Broken, Unit
from rootstock.data.looks import shorten

_LETTERS = 200


@dataclass(frozen=True, slots=True)
class Record:
    """A document, or what was to be one.

    id: where it came from, such as dump.jsonl.gz:17 (line of a text format, row of a table, record of a crawl with its address), unique in
    its source. place: its number in the source, from 0. text: None where it is broken. broken: the rule, and more about this record after a
    colon. beginning: the first letters of a broken record.
    """

    id: str
    place: int
    text: str | None
    broken: str | None = None
    beginning: str = ""

    @property
    def size(self) -> int:
        """Letters of the text."""
        return len(self.text or "")


@dataclass(frozen=True, slots=True)
class Raw:
    """A record before its text is made, which can be done in another process: nothing of its source is needed any more."""

    id: str
    place: int
    unit: Unit

    @property
    def size(self) -> int:
        """Bytes or letters that the text is made of."""
        return self.unit.size

    def read(self) -> Record:
        """The document, or the reason why it is none."""
        try:
            return Record(self.id, self.place, self.unit.make())
        except Broken as error:
            return Record(self.id, self.place, None, error.reason, _beginning(error.raw))


def _beginning(raw: bytes | str) -> str:
    letters = raw[: 8 * _LETTERS].decode("utf-8", "replace") if isinstance(raw, bytes) else raw[: 8 * _LETTERS]
    return "".join(each if each.isprintable() else "\ufffd" for each in shorten(letters, _LETTERS))
