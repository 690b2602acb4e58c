"""Scan bytes under a name, and say which rules were found at which severity."""

from rootstock.sentinel.scanner import scan


def found(folder, files, *, notes=False):
    """Rule to severity of everything in files (name to bytes, text or None for what is there already)."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    only = folder / next(iter(files)) if len(files) == 1 else folder
    order = ("note", "unscanned", "suspicious", "malicious")
    result = {}
    for each in sorted(scan(only).findings, key=lambda each: order.index(each.severity)):
        if notes or each.severity != "note":
            result[each.rule] = each.severity
    return result
