"""A scan's report for people."""

from rootstock.sentinel.scanner import Report

HEADS = {"refuse": "REFUSED", "warn": "warned"}


def verdict(report: Report) -> str:
    """What may be said: that something was found, or that nothing was within the limits; never that a file is safe."""
    return "evidence found" if report.refused else "none found at this budget"


def as_text(report: Report) -> str:
    """The findings that count, each with why and fix once a rule, and one line about the whole."""
    lines: list[str] = []
    told: set[str] = set()
    for action, head in HEADS.items():
        for each in report.by_action(action):
            lines += [f"{head:<9}{each.severity:<11}{each.rule:<24}{each.where}", f"{'':9}{each.what}"]
            if each.rule not in told:
                lines += [f"{'':9}why  {each.why}", f"{'':9}fix  {each.fix}"]
            told.add(each.rule)
    counts = {action: len(report.by_action(action)) for action in ("refuse", "warn", "ignore")}
    lines += [
        *([""] if lines else []),
        f"{report.files:,} files, {report.bytes:,} bytes, {report.seconds:.2f} s",
        f"{counts['refuse']:,} refused, {counts['warn']:,} warned about, {counts['ignore']:,} ignored by the policy: {verdict(report)}",
    ]
    return "\n".join(line.encode("utf-8", "backslashreplace").decode() for line in lines)
