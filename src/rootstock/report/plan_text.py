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
    "evaluation": "an evaluation beyond these",
    "ending": "libraries of the end, beyond these",
    "products": "products of bf16, their code",
    "rows": "the rows",
    "process": "Python and libraries",
}

_TIMES = {
    "start": "until the first update",
    "passing": "a frozen base, once a row",
    "learning": "updates",
    "evaluating": "evaluations",
    "ending": "figures, files, report",
}


def as_text(plan: Facts) -> str:
    """Parameters, memory by part and what it costs, the methods side by side; then what would make the first one fit, and advice."""
    beside = [*prices(plan), *_left_out(plan), *_here_before(plan)]
    return "\n".join([*_head(plan), "", *_table(plan), *beside, *_change(plan), *_advice(plan)])


def ledger_text(found: Facts) -> str:
    """How far forecasts were off so far, a line for each base and method, and what is left out."""
    if found["ledger"] is None:
        return "no ledger: ROOTSTOCK_LEDGER is off"
    if not found["errors"]:
        return f"no runs in {found['ledger']} yet"
    rows = [["base", "method", "runs", *(f"{word}: {part}" for word in _FIGURES for part in ("median", "worst", "of"))]]
    for each in found["errors"]:
        rows.append([each["base"], each["method"], str(each["runs"]), *(cell for word in _FIGURES for cell in _error(each[word]))])
    lines = [
        f"ledger    {found['ledger']}: {words.several(found['runs'], 'run')}; planned / measured - 1",
        "",
        *words.aligned(rows, left=(0, 1)),
    ]
    for each in found["errors"]:
        for word, reasons in each["left_out"].items():
            told = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
            lines.append(f"left out  {word} of {each['base']} × {each['method']}: {told}")
    if found["broken"]:
        lines.append(f"skipped   {words.several(found['broken'], 'line')} that can't be read")
    return "\n".join(lines)


_FIGURES = ("memory", "time")


def _error(found: Facts | None) -> list[str]:
    if found is None:
        return ["–", "–", "0"]
    between = f" [{found['low']:+.0%}, {found['high']:+.0%}] {found['level']:.0%}" if found["level"] else ""
    return [f"{found['median']:+.0%}{between}", f"{found['worst']:+.0%}", str(found["count"])]


def _here_before(plan: Facts) -> Iterator[str]:
    for method, found in plan["here_before"].items():
        off = ", ".join(f"{word} {value:+.0%}" for word, value in found["off"].items())
        low, high = map(words.size, found["bytes"])
        held = low if low == high else f"{low} to {high}"
        yield f"measured  {words.several(found['runs'], 'run')} of {method} on this base here held {held}" + (
            f"; forecast, median error: {off}" if off else ""
        )


def _head(plan: Facts) -> Iterator[str]:
    first, device, work = plan["methods"][0], plan["device"], plan["work"]
    counts = first["counts"]
    size = words.size(4 * counts["base"])
    parts = f"{counts['base']:,} parameters, {counts['embeddings']:,} of them in embeddings"
    yield f"base      {plan['base']} for {plan['task']}: {parts}; {size} in fp32"
    speed = plan["speed"]
    reach = f"{speed['measured'] / 1e9:,.0f} GFLOP/s measured" if speed["measured"] else f"{speed['assumed_share']:.0%} of its peak assumed"
    yield f"device    {device['name']}: {words.size(device['memory_bytes'])}, {reach}"
    rows = f"images of {work['size']} x {work['size']} pixels, each" if work["size"] else "rows of"
    yield f"work      {work['rows']:,} {rows} {work['length']:,} tokens, {work['micro_tokens']:,} tokens at once"


def _table(plan: Facts) -> list[str]:
    methods = plan["methods"]
    rows = [["", *(each["method"] for each in methods)]]
    rows.append(["products in", *(each["precision"] for each in methods)])
    rows.append(["parameters that learn", *(f"{each['counts']['learning']:,}" for each in methods)])
    rows.append(["  of all", *(f"{each['share']:.3%}" for each in methods)])
    if any(each["counts"]["matrices"] for each in methods):
        rows.append(["  of the matrices beside", *(_beside(each) for each in methods)])
    held = [part for part in _PARTS if any(each["memory"][part] for each in methods)]
    rows += [[_PARTS[part], *(words.size(each["memory"][part]) for each in methods)] for part in held]
    rows.append(["memory in all", *(words.size(each["total_bytes"]) for each in methods)])
    rows.append(["fits", *("yes" if each["fits"] else "NO" for each in methods)])
    rows.append(["time", *(words.span(each["seconds"]) for each in methods)])
    spent = [part for part in _TIMES if any(each["times"][part] for each in methods)]
    rows += [[f"  {_TIMES[part]}", *(words.span(each["times"][part]) for each in methods)] for part in spent]
    if any(each["dollars"] is not None for each in methods):
        rows.append(["cost", *(f"${each['dollars']:,.2f}" for each in methods)])
    rows.append(["saved", *(words.size(each["saved_bytes"]) for each in methods)])
    return list(words.aligned(rows, left=(0,)))


def prices(plan: Facts) -> Iterator[str]:
    """Where the price of an hour comes from, unless a person named it."""
    if plan["prices"]:
        yield f"prices    {plan['prices']}"


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
    yield f"{first['method']} does not fit: {words.size(first['total_bytes'])} of {words.size(plan['device']['memory_bytes'])}"
    if change["change"]:
        yield f"least change   {change['change']['what']} ({words.size(change['change']['bytes'])})"
    if change["device"]:
        yield f"or a device    {change['device']} is the smallest known that holds it"
    elif change["devices"]:
        yield f"or devices     no single one known holds it; sharded, it needs {change['devices']} of these at least"


def _advice(plan: Facts) -> Iterator[str]:
    for each in plan.get("advice", ()):
        yield f"\n{each['about']:<14}{each['choice']}\n{'':<14}{each['reason']}\n{'':<14}[{each['source']}]"
