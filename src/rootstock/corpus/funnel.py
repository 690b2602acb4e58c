"""The record of a build: what each step saw, changed and dropped, rule by rule, with examples. It is JSON from the start, so that parts of
a build add up."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rootstock.data.looks import shorten

EXAMPLES = 3
"""Dropped documents that are shown for each rule."""
_LETTERS = 200

Line = dict[str, Any]
"""One step: name, documents and characters that came in, dropped (rule to count), changed (kind to count), examples (rule to documents)."""


def line(name: str) -> Line:
    """A step that has seen nothing yet."""
    return {"name": name, "documents": 0, "characters": 0, "dropped": {}, "changed": {}, "examples": {}}


def see(found: Line, texts: Sequence[str]) -> None:
    """Count what comes in."""
    found["documents"] += len(texts)
    found["characters"] += sum(map(len, texts))


def drop(found: Line, rule: str, identity: str, text: str, *, more: str = "") -> None:
    """Count a dropped document under its rule, and keep it as an example while there are few. more: of the reason, beside the rule."""
    found["dropped"][rule] = found["dropped"].get(rule, 0) + 1
    shown = found["examples"].setdefault(rule, [])
    if len(shown) < EXAMPLES:
        shown.append({"id": identity, "text": shorten(text, _LETTERS), **({"why": more} if more else {})})


def change(found: Line, kinds: Mapping[str, int]) -> None:
    """Count changes to texts."""
    for kind, count in kinds.items():
        found["changed"][kind] = found["changed"].get(kind, 0) + count


def added(parts: Iterable[Sequence[Line]]) -> list[Line]:
    """The lines of several parts of a build as one record, in the order of the parts."""
    total: dict[str, Line] = {}
    for part in parts:
        for each in part:
            into = total.setdefault(each["name"], line(each["name"]))
            for key in ("documents", "characters"):
                into[key] += each[key]
            for key in ("dropped", "changed"):
                for rule, count in each[key].items():
                    into[key][rule] = into[key].get(rule, 0) + count
            for rule, shown in each["examples"].items():
                into["examples"][rule] = [*into["examples"].get(rule, []), *shown][:EXAMPLES]
    return list(total.values())


def asked(lines: Sequence[Line], rules: Mapping[str, Sequence[str]]) -> list[Line]:
    """The lines, each with all rules of its step, those that nothing broke among them."""
    return [each | {"rules": list(rules[each["name"]])} if rules.get(each["name"]) else each for each in lines]


def with_shares(lines: Sequence[Line]) -> list[Line]:
    """The lines with the share that each rule dropped of the documents that came in to its step ("shares"), and all rules ("share")."""
    found = []
    for each in lines:
        shares = {rule: _share(count, each) for rule, count in each["dropped"].items()}
        found.append({**each, "share": _share(sum(each["dropped"].values()), each), "shares": shares})
    return found


def _share(count: int, of: Line) -> float:
    return count / of["documents"] if of["documents"] else 0.0


def as_text(record: Mapping[str, Any]) -> str:
    """The funnel for a person."""
    lines = [f"{'skipped':<20}{count:>12,} files of {source} that are no text" for source, count in record["skipped"].items()]
    for each in record["steps"]:
        lost = sum(each["dropped"].values())
        lines.append(f"{each['name']:<20}{each['documents']:>12,} in {lost:>11,} dropped {_share(lost, each):>7.1%}")
        lines += [f"    changed  {kind:<34}{count:>11,}" for kind, count in sorted(each["changed"].items())]
        for rule, count in sorted(each["dropped"].items(), key=lambda item: (-item[1], item[0])):
            lines.append(f"    dropped  {rule:<34}{count:>11,} {_share(count, each):>15.1%}")
            lines += [f"        {_example(shown)}" for shown in each["examples"].get(rule, [])]
        lines += _unbroken(each)
    kept = record["kept"]
    lines.append(f"{'kept':<20}{kept['documents']:>12,} documents, {kept['characters']:,} characters, {shards(kept)}")
    spoken = (f"{language or 'unknown'} {count:,}" for language, count in kept["languages"].items())
    lines.append(f"{'languages':<20}{', '.join(spoken)}")
    for file, counts in record["covered"].items():
        lines.append(
            f"{'evaluation rows':<20}{counts['found']:,} of {counts['checked']:,} of {file} were met in documents that came so far"
        )
    return "\n".join(lines)


def _unbroken(each: Line) -> list[str]:
    """The rules of a step that neither dropped nor changed anything, as lines of the record."""
    idle = [rule for rule in each.get("rules", ()) if rule not in each["dropped"] and rule not in each["changed"]]
    return textwrap.wrap(", ".join(idle), 130, initial_indent="    nothing by  ", subsequent_indent=" " * 16)


def plan_as_text(plan: Mapping[str, Any]) -> str:
    """What a build would do, for a person."""
    lines = []
    for each in plan["sources"]:
        size = f"{each['files']:,} files, {each['bytes'] / 1e6:,.1f} MB" if each["files"] else "size not known before it is read"
        left = f", {each['skipped']:,} other files left out" if each["skipped"] else ""
        lines.append(f"{'source':<20}{each['reference']}  {each['format']}, {size}{left}")
    lines.append(f"{'steps':<20}{', '.join(plan['steps'])}")
    lines += [f"{'setting':<20}{key} = {value}" for key, value in plan["settings"].items() if key not in ("sources", "licences")]
    return "\n".join([*lines, f"{'would write':<20}{plan['out']}"])


def shards(kept: Mapping[str, Any]) -> str:
    """How many shards there are."""
    return f"{kept['shards']:,} shard{'s' if kept['shards'] > 1 else ''}"


def _example(shown: Mapping[str, Any]) -> str:
    return f"{shown['id']}{' (' + shown['why'] + ')' if 'why' in shown else ''}: {shown['text'][:90]}"
