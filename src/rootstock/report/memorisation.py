"""What a run remembers of single rows, in words and as a page of its own."""

from collections.abc import Iterator

from rootstock.report import words
from rootstock.report.charts import Table
from rootstock.report.facts import Facts
from rootstock.report.page import filled

_NAMES = {"loss": "the loss alone", "calibrated": "the loss against what never saw the row"}


def as_text(facts: Facts) -> str:
    """For a person."""
    found, audit = facts["canaries"], facts["membership"]
    lines = [f"canaries    {each}" for each in _canaries(found)]
    lines += [f"membership  {each}" for each in _membership(audit)]
    return "\n".join([*lines, *(f"note        {each}" for each in audit["notes"]), facts["verdict"]])


def render(facts: Facts) -> str:
    """The page."""
    audit = facts["membership"]
    rows = [(_NAMES[name], *_figures(audit[name])) for name in _NAMES if name in audit]
    head = ("attack", "AUC", "95 % interval", "members found at 1 % false alarms", "95 % interval")
    return filled(
        "memorisation.html.j2",
        {
            "run": facts["run"],
            "verdict": facts["verdict"],
            "canaries": list(_canaries(facts["canaries"])),
            "examples": (facts["canaries"] or {}).get("examples", []),
            "membership": list(_membership(audit)),
            "table": Table(head, rows) if rows else None,
            "notes": audit["notes"],
        },
    )


def _canaries(found: Facts | None) -> Iterator[str]:
    if found is None:
        yield "none were planted: adapt and pretrain plant them with --plant-canaries 20"
        return
    bits = found["exposure"]
    yield f"{found['planted']:,} planted, {found['controls']:,} controls; p {found['p']:.2g} (exact, of ranks as low without memory)"
    yield f"exposure {bits['mean']:.2f} bits on average, {bits['largest']:.2f} at most; {bits['without_memory']:.2f} without memory"


def _membership(audit: Facts) -> Iterator[str]:
    yield f"{audit['members']:,} rows that were learned from, {audit['others']:,} that were not; calibrated by {audit['calibrated_by']}"
    for name, called in _NAMES.items():
        if name in audit:
            auc, auc_ends, found, ends = _figures(audit[name])
            yield f"{called}: AUC {auc} [{auc_ends}], {found} [{ends}] found at 1 % false alarms"


def _figures(attack: Facts) -> tuple[str, str, str, str]:
    auc, found = attack["roc_auc"], attack["recall"]
    low, high = (words.percent(end) for end in found["interval"])
    return (
        f"{auc['value']:.3f}",
        f"{auc['interval'][0]:.3f} to {auc['interval'][1]:.3f}",
        words.percent(found["value"]),
        f"{low} to {high}",
    )
