"""What a scan for poisoned rows found, in words."""

from collections.abc import Mapping
from typing import Any

from rootstock.report.facts import Facts
from rootstock.report.words import short

_SHOWN = 12
_WIDTH = 90


def reason(found: Mapping[str, Any]) -> str:
    """Why a row is a suspect, in a few words."""
    return f"{_what(found)} decides for {found['label']}"


def sentence(found: Mapping[str, Any]) -> str:
    """A finding with its counts: all rows, those with the label, those that meaning expects."""
    return (
        f"{_what(found)}: {found['with_label']:,} of {found['rows']:,} rows are labelled {found['label']}, "
        f"where the meaning of the texts expects {found['expected']:.1f}"
    )


def as_text(facts: Facts, *, out: Any = None) -> str:
    """For a person: what was found with counts, the first rows, and what the verdict rests on."""
    lines = []
    for number, each in enumerate(facts["findings"], 1):
        share = each["suspects"] / max(each["label_rows"], 1)
        lines += [
            f"{number:<3}{sentence(each)}",
            f"   z {each['z']:.1f}, {each['surprise']:.1f} standard errors above meaning; it decides {each['forced']:.0%} of its labels; "
            f"{each['suspects']:,} suspects ({share:.1%} of {each['label']})",
        ]
    listed = facts["suspects"]
    lines += [""] if lines else []
    lines += [f"row {each['row']:<7} {each['score']:.2f}  {each['label']}: {short(each['text'], _WIDTH)}" for each in listed[:_SHOWN]]
    if len(listed) > _SHOWN:
        lines.append(f"… {len(listed) - _SHOWN:,} more" + (f", all in {out}" if out else "; --out suspects.csv lists all"))
    lines += [f"note  {each}" for each in facts["notes"]]
    lines += [""] if lines else []
    told = f"{facts['rows']:,} rows, {facts['groups']:,} groups of rows, {facts['tested']:,} tested against the meaning of their texts"
    return "\n".join([*lines, told, f"{len(listed):,} suspects: {facts['verdict']}"])


def _what(found: Mapping[str, Any]) -> str:
    name = str(found["name"])
    if found["kind"] in ("word", "words", "pair"):
        return f"{found['kind']} {name!r}"
    return name if name.startswith(found["kind"]) else f"{found['kind']}: {name}"
