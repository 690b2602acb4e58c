"""What a scan finds, and the two ways in which a reader gives up: a limit that was reached, bytes that are no such format."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from rootstock.sentinel.rules import rule
from rootstock.sentinel.source import Source

Severity = Literal["malicious", "suspicious", "unscanned", "note"]
SEVERITIES: tuple[Severity, ...] = ("malicious", "suspicious", "unscanned", "note")
"""malicious: known to run code, to reach out of its folder, or built to deceive. suspicious: unknown and named.
unscanned: a part that was not read. note: known and without effect, or of interest to strict policies only."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found, where, and what to do.

    rule: id of a page in docs/rules/. path: the file. members: the way through archives to the part. offset: byte within that part.
    """

    rule: str
    path: str
    members: tuple[str, ...]
    offset: int | None
    what: str
    why: str
    severity: Severity
    fix: str

    @property
    def where(self) -> str:
        """Path, members and offset as one text."""
        place = "!".join((self.path, *self.members))
        return place if self.offset is None else f"{place} at byte {self.offset:,}"

    def as_json(self) -> dict[str, Any]:
        """All fields, with the members as a list."""
        return {**asdict(self), "members": list(self.members)}


def finding(rule_id: str, source: Source, what: str, *, offset: int | None = None, severity: Severity | None = None) -> Finding:
    """A finding by its rule: why, fix and severity come from the rule's page; `severity` is for a case that differs from it."""
    page = rule(rule_id)
    return Finding(rule_id, source.path, source.members, offset, what, page.why, severity or page.severity, page.fix)


class LimitReached(Exception):
    """A limit of size, depth, members, seconds or output: the scan of this part ends and says so."""

    def __init__(self, what: str, *, rule_id: str = "limit-reached", offset: int | None = None) -> None:
        super().__init__(what)
        self.what, self.rule_id, self.offset = what, rule_id, offset


class Malformed(Exception):
    """The bytes began as a format and went on against its rules: the scan of this part ends and says so."""

    def __init__(self, what: str, *, rule_id: str = "malformed", offset: int | None = None) -> None:
        super().__init__(what)
        self.what, self.rule_id, self.offset = what, rule_id, offset
