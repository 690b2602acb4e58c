"""How a file separates and quotes its fields, judged by its first lines or, for quotes, by all of them."""

import csv
import re
from io import StringIO
from itertools import islice

SPOKEN = {"\t": "tabs", "": "no delimiter", ",": "commas", ";": "semicolons", "|": "bars"}
_CANDIDATES = {"csv": ",;\t|", "tsv": "\t", "txt": "\t,;|"}
_LETTERS, _LINES = 200_000, 200
_WHOLE_CELL = re.compile(r'(?<![^\t\n])"(?:[^"\t\n]|"")*+"(?![^\t\n])')


def find_delimiter(text: str, kind: str) -> str:
    """The first candidate that gives every sampled record the same number of fields, more than one; "" for plain lines.

    `kind` is csv, tsv, or txt for a file whose name tells nothing.
    """
    whole = len(text) <= _LETTERS
    sample = newlines(text[:_LETTERS].lstrip("\r\n"))
    for mark in _CANDIDATES[kind]:
        widths = _widths(sample, mark, whole=whole)
        if len(widths) == 1 and max(widths) > 1 and not (kind == "txt" and _prose(sample, mark)):
            return mark
    first = sample.split("\n", 1)[0]
    if kind == "txt":
        return "\t" if "\t" in first else ""
    return next((mark for mark in _CANDIDATES[kind] if mark in first), _CANDIDATES[kind][0])


def _widths(sample: str, mark: str, *, whole: bool) -> set[int]:
    """Different numbers of fields in the first records; where the sample is not the whole text its last record may be cut."""
    end = None if whole else -1
    if mark == "\t":  # unpaired quotes are common in TSV and would swallow lines
        lines = {line.count(mark) + 1 for line in sample.split("\n")[:end][:_LINES] if line}
        if len(lines) == 1:
            return lines
    try:
        records = [record for record in islice(csv.reader(StringIO(sample, newline=""), delimiter=mark), _LINES) if record]
    except csv.Error:
        return set()
    return set(map(len, records if len(records) == _LINES else records[:end]))


def _prose(sample: str, mark: str) -> bool:
    """In sentences a blank follows the comma; in a table hardly ever."""
    return mark in ",;" and sample.count(mark + " ") * 2 >= sample.count(mark)


def find_quoting(text: str, delimiter: str, *, setting: str) -> bool:
    """Whether " quotes fields: as set; else yes between commas, and between tabs only where every quote is paired."""
    if setting != "auto" or '"' not in text or delimiter == "":
        return setting == "yes" and delimiter != ""
    if delimiter != "\t":
        return True
    whole = newlines(text)
    if len({line.count("\t") for line in whole.split("\n") if line}) == 1:
        return '"' not in _WHOLE_CELL.sub("", whole)
    try:
        return len({len(record) for record in csv.reader(StringIO(text, newline=""), delimiter="\t", strict=True) if record}) == 1
    except csv.Error:
        return False


def newlines(text: str) -> str:
    """The text with \\n at the end of each line; lone \\r count only where there is no \\n at all."""
    text = text.replace("\r\n", "\n")
    return text if "\n" in text else text.replace("\r", "\n")
