"""A plan in words."""

from collections.abc import Iterator

from rootstock.report import words
from rootstock.report.facts import Facts

_PARTS = {
    "weights": "weights in fp32",
    "copy": "their copy in bf16",
    "gradients": "gradients",
    "optimizer": "AdamW's moments",
    "best": "best values so far",
    "activations": "activations",
    "process": "Python and libraries",
}


def as_text(plan: Facts) -> str:
    """Parameters, memory by part and what it costs, the methods side by side; then what would make the first one fit, and advice."""
    return "\n".join([*_head(plan), "", *_table(plan), *_left_out(plan), *_change(plan), *_advice(plan)])


def _head(plan: Facts) -> Iterator[str]:
    first, device, work = plan["methods"][0], plan["device"], plan["work"]
    counts = first["counts"]
    size = _bytes(4 * counts["base"])
    parts = f"{counts['base']:,} parameters, {counts['embeddings']:,} of them in embeddings"
    yield f"base      {plan['base']} for {plan['task']}: {parts}; {size} in fp32"
    speed = plan["speed"]
    reach = f"{speed['measured'] / 1e9:,.0f} GFLOP/s measured" if speed["measured"] else f"{speed['assumed_share']:.0%} of its peak assumed"
    yield f"device    {device['name']}: {_bytes(device['memory_bytes'])}, {reach}"
    yield f"work      {work['rows']:,} rows of {work['length']:,} tokens, {work['micro_tokens']:,} tokens at once"


def _table(plan: Facts) -> list[str]:
    methods = plan["methods"]
    rows = [["", *(each["method"] for each in methods)]]
    rows.append(["products in", *(each["precision"] for each in methods)])
    rows.append(["parameters that learn", *(f"{each['counts']['learning']:,}" for each in methods)])
    rows.append(["  of all", *(f"{each['share']:.3%}" for each in methods)])
    if any(each["counts"]["matrices"] for each in methods):
        rows.append(["  of the matrices beside", *(_beside(each) for each in methods)])
    held = [part for part in _PARTS if any(each["memory"][part] for each in methods)]
    rows += [[_PARTS[part], *(_bytes(each["memory"][part]) for each in methods)] for part in held]
    rows.append(["memory in all", *(_bytes(each["total_bytes"]) for each in methods)])
    rows.append(["fits", *("yes" if each["fits"] else "NO" for each in methods)])
    rows.append(["time", *(words.span(each["seconds"]) for each in methods)])
    if any(each["dollars"] is not None for each in methods):
        rows.append(["cost", *(f"${each['dollars']:,.2f}" for each in methods)])
    rows.append(["saved", *(_bytes(each["saved_bytes"]) for each in methods)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))) for row in rows]


def _beside(method: Facts) -> str:
    counts = method["counts"]
    return f"{counts['added'] / counts['matrices']:.2%}" if counts["matrices"] else "–"


def _left_out(plan: Facts) -> Iterator[str]:
    for name, reason in plan["left_out"].items():
        yield f"left out  {name}: {reason}"


def _change(plan: Facts) -> Iterator[str]:
    change = plan["change"]
    if change is None:
        return
    first = plan["methods"][0]
    yield ""
    yield f"{first['method']} does not fit: {_bytes(first['total_bytes'])} of {_bytes(plan['device']['memory_bytes'])}"
    if change["change"]:
        yield f"least change   {change['change']['what']} ({_bytes(change['change']['bytes'])})"
    if change["device"]:
        yield f"or a device    {change['device']} is the smallest known that holds it"
    elif change["devices"]:
        yield f"or devices     no single one known holds it; sharded, it needs {change['devices']} of these at least"


def _advice(plan: Facts) -> Iterator[str]:
    for each in plan.get("advice", ()):
        yield f"\n{each['about']:<14}{each['choice']}\n{'':<14}{each['reason']}\n{'':<14}[{each['source']}]"


def _bytes(count: float) -> str:
    return words.size(count) if count < 1e12 else f"{count / 1e12:,.2f} TB"
