"""The rules, one page a rule: NAME.md beside this file is the rule NAME, and becomes a page in docs/rules/.

A page is a title, then the fields `severity:`, `why:` and `fix:` one a line, then what the rule looks for in prose.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from rootstock.sentinel.findings import Severity

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Rule:
    """A page: id, title, usual severity, why it matters and what to do, each one sentence, and the prose below them."""

    id: str
    title: str
    severity: "Severity"
    why: str
    fix: str
    text: str


def ids() -> list[str]:
    """Every rule, in order."""
    return sorted(path.stem for path in FOLDER.glob("*.md"))


@cache
def rule(rule_id: str) -> Rule:
    """Read one page. Raises FileNotFoundError for an id without one."""
    title, _, rest = (FOLDER / f"{rule_id}.md").read_text("utf-8").partition("\n")
    head, _, text = rest.strip().partition("\n\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    return Rule(rule_id, title.removeprefix("# "), cast("Severity", fields["severity"]), fields["why"], fields["fix"], text.strip())
