"""What every kind of archive is asked: names that lead out, names that occur twice, links, and the archive as a tree."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from posixpath import normpath

from rootstock.sentinel.findings import Finding, finding
from rootstock.sentinel.source import Source


@dataclass(frozen=True)
class ArchiveTree:
    """The members of an archive as a tree. Where a name occurs twice, the first one is opened."""

    openers: dict[str, Callable[[], Source]]

    @property
    def names(self) -> tuple[str, ...]:
        """Every member, in order."""
        return tuple(self.openers)

    def open(self, name: str) -> Source:
        """The bytes of one member. Raises KeyError where there is none."""
        return self.openers[name]().within(self, name)


def leads_out(name: str) -> bool:
    """Whether a path leaves the folder that it is unpacked in."""
    name = name.replace("\\", "/")
    return name.startswith("/") or name[1:3] == ":/" or "\0" in name or normpath(name).split("/")[0] == ".."


def check_names(names: list[tuple[str, int]], source: Source) -> Iterator[Finding]:
    """Names with the offsets at which they stand: those that lead out, and those that occur more than once."""
    seen: dict[str, str] = {}
    for name, offset in names:
        if leads_out(name):
            yield finding("archive-traversal", source, f"the member {name[:120]!r} is written outside of the folder", offset=offset)
        key = normpath(name.replace("\\", "/")).lower()
        if key in seen and not name.endswith("/"):
            how = "occurs twice" if seen[key] == name else f"differs from {seen[key][:60]!r} in case or form only"
            yield finding(
                "archive-duplicate", source, f"the member {name[:120]!r} {how}: readers disagree about which counts", offset=offset
            )
        seen[key] = name


def check_link(name: str, target: str, source: Source, offset: int) -> Iterator[Finding]:
    """A link within an archive."""
    out = leads_out(target) or leads_out(f"{name.rpartition('/')[0]}/{target}")
    what = f"the member {name[:80]!r} is a link to {target[:80]!r}"
    yield finding("archive-link", source, what, offset=offset, severity="malicious" if out else None)
