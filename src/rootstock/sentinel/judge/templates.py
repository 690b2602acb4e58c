"""Chat templates: which texts are some, and what is found in them. jinja2 is imported when there is one."""

import re
from collections.abc import Iterator

from rootstock.sentinel.findings import Finding, LimitReached, finding
from rootstock.sentinel.source import Source

MAX_CHARACTERS = 1 << 20
_TEMPLATE = re.compile(r"\{%.{0,4000}?%\}|\{\{.{0,4000}?\}\}", re.DOTALL)


def is_template(text: str) -> bool:
    """Whether a text holds template statements or expressions."""
    return "{" in text and bool(_TEMPLATE.search(text))


def judge(template: str, source: Source, *, where: str, offset: int | None = None) -> Iterator[Finding]:
    """Findings on one template; `where` names it."""
    if len(template) > MAX_CHARACTERS:
        raise LimitReached(f"{where} has {len(template):,} characters and was not scanned", offset=offset)
    from rootstock.sentinel.judge import _trees

    try:
        found = list(_trees.findings(template))
    except RecursionError as error:
        raise LimitReached(f"{where} has expressions too deep in one another", rule_id="nesting", offset=offset) from error
    for rule, what, severity in found:
        yield finding(rule, source, f"{where} {what}", offset=offset, severity=severity)
