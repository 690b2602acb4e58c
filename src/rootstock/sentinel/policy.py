"""What is done about a finding: refuse, warn or ignore, by its rule or by its severity."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from rootstock.core.errors import UnknownName, UsageError
from rootstock.sentinel.findings import SEVERITIES, Finding
from rootstock.sentinel.rules import ids

Action = Literal["refuse", "warn", "ignore"]
BUILT_IN: dict[str, dict[str, Action]] = {
    "strict": {"malicious": "refuse", "suspicious": "refuse", "unscanned": "refuse", "note": "refuse"},
    "standard": {"malicious": "refuse", "suspicious": "refuse", "unscanned": "refuse", "note": "ignore"},
    "permissive": {"malicious": "refuse", "suspicious": "warn", "unscanned": "warn", "note": "ignore"},
}
DEFAULT = "standard"


@dataclass(frozen=True)
class Policy:
    """Actions by severity, and by rule, which go first."""

    severities: Mapping[str, Action]
    rules: Mapping[str, Action]

    def action(self, finding: Finding) -> Action:
        """What to do about one finding."""
        return self.rules.get(finding.rule, self.severities[finding.severity])


def policy(name: str) -> Policy:
    """A built-in policy, or a YAML file. Raises UsageError for a name that is neither, or a file that is no policy."""
    if name in BUILT_IN:
        return Policy(BUILT_IN[name], {})
    if not name.endswith((".yaml", ".yml")):
        raise UnknownName("policy", name, BUILT_IN, fix="give strict, standard, permissive or a file ending in .yaml")
    return _read(Path(name))


def _read(path: Path) -> Policy:
    """`extends: standard`, `severities: {suspicious: warn}`, `rules: {pickle-known: ignore}`; each may be left out."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text("utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid YAML: {error}", wanted="a policy", fix="see docs/scanning.md") from error
    if not isinstance(content, dict) or set(content) - {"extends", "severities", "rules"}:
        raise UsageError(f"{path} is no policy", wanted="the keys extends, severities and rules", fix="see docs/scanning.md")
    start = content.get("extends", DEFAULT)
    if start not in BUILT_IN:
        raise UnknownName("policy", str(start), BUILT_IN)
    severities = _actions(content.get("severities"), "severity", SEVERITIES)
    return Policy({**BUILT_IN[start], **severities}, _actions(content.get("rules"), "rule", ids()))


def _actions(given: Any, kind: str, known: Any) -> dict[str, Action]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise UsageError(f"a policy's {kind} table is {given!r}", wanted=f"{kind}: action, one a line", fix="see docs/scanning.md")
    for name, action in given.items():
        if name not in known:
            raise UnknownName(kind, str(name), known)
        if action not in get_args(Action):
            raise UnknownName("action", str(action), get_args(Action))
    return given
