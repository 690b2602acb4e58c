"""What the run took and what it was made with."""

from dataclasses import dataclass
from typing import Any

from rootstock.report import facts as read
from rootstock.report import words
from rootstock.report.charts import Table
from rootstock.report.facts import Facts, dig, events

_ROWS = (("seconds", "Time to the end of training", words.span), ("peak_bytes", "Peak memory", words.size), ("steps", "Steps", words.count))


@dataclass(frozen=True)
class Section:
    """Settings under one heading."""

    name: str
    values: list[tuple[str, str]]


def costs(facts: Facts) -> Table | None:
    """Predicted against measured."""
    rows = []
    for key, called, shown in _ROWS:
        predicted, measured = (dig(facts, "plan", side, key) for side in ("predicted", "measured"))
        if predicted is None and measured is None:
            continue
        ratio = f"{measured / predicted:.2f} ×" if words.is_number(predicted) and words.is_number(measured) and predicted else "–"
        rows.append((called, shown(predicted), shown(measured), ratio))
    return Table(("", "predicted", "measured", "measured / predicted"), rows) if rows else None


def pace(facts: Facts) -> str:
    """Rows and tokens a second in training, and the machine."""
    steps = [event for event in events(facts, "step") if words.is_number(event.get("seconds"))]
    seconds, rows, tokens = (sum(event.get(name) or 0 for event in steps) for name in ("seconds", "rows", "tokens"))
    per_token = (
        f" and {tokens / seconds:,.0f} tokens" if seconds and tokens > rows else ""
    )  # rows that come as vectors count as one token each
    said = [f"{rows / seconds:,.0f} rows{per_token} a second within the steps"] if seconds else []
    machine = dig(facts, "manifest", "hardware", default={})
    if machine:
        parts = [machine.get("gpu"), machine.get("processor"), words.several(machine["cores"], "core") if machine.get("cores") else None]
        parts += [machine.get("instructions"), f"{words.size(machine['memory_bytes'])} of memory" if machine.get("memory_bytes") else None]
        said.append(f"on {', '.join(str(part) for part in parts if part)}")
    text = " ".join(said)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def sections(facts: Facts) -> list[Section]:
    """The recipe, section by section; keys without one come first."""
    grouped: dict[str, list[tuple[str, str]]] = {}
    for path, value in read.settings(facts):
        section, _, key = path.rpartition(".")
        grouped.setdefault(section, []).append((key, value))
    return [Section(name, values) for name, values in grouped.items()]


def choices(facts: Facts) -> list[tuple[str, str]]:
    """What was decided for the user, and why."""
    tried = {name: each["reason"] for name, each in dig(facts, "plan", "found", default={}).items()}
    found = dig(facts, "choices", default={}) | tried
    return [(str(name), line) for name, said in found.items() for line in (map(str, said) if isinstance(said, list) else [str(said)])]


def lineage(facts: Facts) -> list[tuple[str, str]]:
    """Digests of all that went in."""
    base, contract = dig(facts, "manifest", "base", default={}), dig(facts, "contract", default={})
    found = [("base weights", base.get("sha256")), ("tokenizer", contract.get("tokenizer_sha256"))]
    found += [("teacher", dig(facts, "manifest", "teacher", "sha256"))]
    found += [(f"{side} rows ({name})", digest) for side, name, _, digest in read.sources(facts)]
    for run, made in read.ancestors(facts):
        found.append((f"base weights of {run}", dig(made, "manifest", "base", "sha256")))
        found += [(f"{side} rows of {run} ({name})", digest) for side, name, _, digest in read.sources(made)]
    return [(name, str(digest)) for name, digest in found if digest]


def base(facts: Facts) -> list[tuple[str, str]]:
    """The base in a few facts."""
    found = dig(facts, "manifest", "base", default={})
    size = found.get("parameters")
    before = [f"{dig(made, 'manifest', 'task')} ({run})" for run, made in read.ancestors(facts)]
    rows = [
        ("base", read.base_name(str(found["name"])) if found.get("name") else None),
        ("hub id", found.get("hub_id")),
        ("revision", found.get("revision")),
        ("parameters", words.count(size) if size else None),
        ("trained before with", ", then ".join(reversed(before)) if before else None),
        ("licence of the base", found.get("licence") or "unknown: check before you share"),
        ("licence of the data", "unknown: check before you share"),
    ]
    return [(name, str(value)) for name, value in rows if value]


def versions(facts: Facts) -> list[tuple[str, str]]:
    """Python and the libraries."""
    return [(str(name), str(value)) for name, value in dig(facts, "manifest", "versions", default={}).items()]


def making(facts: Facts) -> dict[str, Any]:
    """All that a page tells of how a run was made."""
    return {
        "costs": costs(facts),
        "pace": pace(facts),
        "settings": sections(facts),
        "choices": choices(facts),
        "lineage": lineage(facts),
        "base_facts": base(facts),
        "versions": versions(facts),
    }
