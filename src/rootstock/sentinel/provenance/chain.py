"""The chain that led to a model: what each link is declared to be, and what its bytes say."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["verified", "changed", "missing", "unchecked"]
"""verified: the bytes at hand have the digest that is declared. changed: another. missing: not where it was. unchecked: no bytes here,
or no digest declared."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """One thing that a model grew from, and what that grew from.

    role: what it is to the one above. declared: its digest, as the one above wrote it. measured: of the bytes, None where there are none.
    files: name to sha256, as measured. facts: more that is declared, such as the task, or the hub id.
    """

    role: str
    name: str
    state: State
    why: str = ""
    declared: str | None = None
    measured: str | None = None
    licence: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    grew_from: tuple["Link", ...] = ()

    def every(self) -> Iterator["Link"]:
        """This and all below, the nearest first."""
        yield self
        for each in self.grew_from:
            yield from each.every()

    def as_json(self) -> dict[str, Any]:
        """Declared and verified kept apart."""
        return {
            "role": self.role,
            "name": self.name,
            "declared": {"sha256": self.declared, "licence": self.licence, **self.facts},
            "verified": {"state": self.state, "sha256": self.measured, "why": self.why},
            "grew_from": [each.as_json() for each in self.grew_from],
        }


def as_tree(root: Link) -> str:
    """The chain for people."""
    return "\n".join(_lines(root, "", ""))


def _lines(link: Link, first: str, rest: str) -> Iterator[str]:
    digest = f"  {(link.declared or link.measured or '')[:12]}" if link.declared or link.measured else ""
    licence = f"  licence {link.licence}" if link.licence else ""
    task = f"  ({', '.join(str(link.facts[key]) for key in ('task', 'method') if link.facts.get(key))})" if link.facts.get("task") else ""
    why = f": {link.why}" if link.why else ""
    yield f"{first}{link.role} {link.name}{task}{digest}{licence}  [{link.state}{why}]"
    for number, each in enumerate(link.grew_from):
        last = number == len(link.grew_from) - 1
        yield from _lines(each, f"{rest}{'└── ' if last else '├── '}", f"{rest}{'    ' if last else '│   '}")
