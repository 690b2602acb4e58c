"""A scan's report as SARIF 2.1.0, which code hosts show beside a change."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from rootstock.sentinel.findings import Finding
from rootstock.sentinel.output.text import verdict
from rootstock.sentinel.policy import Action
from rootstock.sentinel.rules import rule
from rootstock.sentinel.scanner import Report

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS: dict[Action, str] = {"refuse": "error", "warn": "warning", "ignore": "note"}
BY_SEVERITY = {"malicious": "error", "suspicious": "error", "unscanned": "warning", "note": "note"}


def as_sarif(report: Report, version: str) -> dict[str, Any]:
    """One run, its rules, and a result for each finding."""
    rules = sorted({each.rule for each in report.findings})
    driver = {"name": "Rootstock", "version": version, "semanticVersion": version, "rules": [_rule(each) for each in rules]}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "invocations": [{"executionSuccessful": True}],
                "results": [_result(each, rules.index(each.rule), report.policy.action(each)) for each in report.findings],
                "properties": {"verdict": verdict(report), "files": report.files, "bytes": report.bytes},
            }
        ],
    }


def _rule(rule_id: str) -> dict[str, Any]:
    page = rule(rule_id)
    return {
        "id": rule_id,
        "shortDescription": {"text": page.title},
        "fullDescription": {"text": page.why},
        "help": {"text": f"{page.text}\n\n{page.fix}"},
        "defaultConfiguration": {"level": BY_SEVERITY[page.severity]},
    }


def _result(each: Finding, index: int, action: Action) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(each.path)}}
    if each.offset is not None and not each.members:
        place["region"] = {"byteOffset": each.offset, "byteLength": 0}
    location: dict[str, Any] = {"physicalLocation": place}
    if each.members:
        location["logicalLocations"] = [{"fullyQualifiedName": _clean("!".join(each.members)), "kind": "member"}]
    return {
        "ruleId": each.rule,
        "ruleIndex": index,
        "level": LEVELS[action],
        "message": {"text": _clean(f"{each.where}: {each.what}")},
        "locations": [location],
        "properties": {"severity": each.severity, "action": action, "offset": each.offset},
    }


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _uri(path: str) -> str:
    """A relative path stays relative; an absolute one becomes a file address."""
    text = Path(path).as_posix()
    return ("file://" if text.startswith("/") else "") + quote(text.encode("utf-8", "surrogateescape"))
