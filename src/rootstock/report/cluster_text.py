"""A plan for many devices in words: the strategies side by side, what their figures come from, and which to take."""

from collections.abc import Callable, Iterator
from functools import partial

from rootstock.report import words
from rootstock.report.facts import Facts
from rootstock.report.plan_text import prices

_PARTS = {
    "parameters": "parameters",
    "gradients": "gradients",
    "optimizer": "AdamW's moments",
    "best": "best values so far",
    "gathered": "gathered layers",
    "scores": "scores over the vocabulary",
    "activations": "activations",
}
_SECONDS = {
    "compute": "computing",
    "data": "data groups' traffic",
    "tensor": "tensor groups' traffic",
    "host": "to and from the machine",
    "optimizer": "AdamW in the machine",
    "exposed": "not hidden",
}
_SENT = {"data": "sent in data groups", "tensor": "sent in tensor groups", "host": "sent to and from the machine"}


def as_text(plan: Facts) -> str:
    """Model, place and update; the table; formulas; the quickest; notes."""
    table = [*_table(plan["strategies"]), *prices(plan)]
    return "\n".join([*_head(plan), "", *table, "", *_formulas(plan), "", *_choice(plan), *_notes(plan)])


def _head(plan: Facts) -> Iterator[str]:
    model, device, links, work = plan["model"], plan["device"], plan["links"], plan["work"]
    yield f"model     {model['name']}: {model['parameters']:,} parameters, {model['blocks']} blocks of width {model['width']:,}"
    yield (
        f"place     {work['workers']:,} {device['name']}, {links['per_node']} a machine; {links['within'] / 1e9:,.0f} GB/s between them, "
        f"{links['between'] / 1e9:,.1f} GB/s between machines, of which {links['reached']:.0%} count"
    )
    yield f"          [{device['source']}; {links['source']}]"
    yield f"update    {work['batch_tokens']:,} tokens in rows of {work['length']:,}, products in {work['precision']}"
    tokens, best = plan["tokens"]["planned"], plan["tokens"]["compute_optimal"]
    optimal = "as is compute-optimal" if tokens == best else f"compute-optimal are {best:.3g}"
    yield f"training  {tokens:.3g} tokens ({optimal}), {tokens * plan['utilisation']['tokens_flops']:.3g} useful operations"
    yield f"speed     {plan['utilisation']['assumed']:.0%} of the peak is assumed to be reached, recomputation counted"


def _table(ways: list[Facts]) -> list[str]:
    def row(name: str, cell: Callable[[Facts], str]) -> list[str]:
        return [name, *(cell(each) for each in ways)]

    rows = [row("", lambda each: each["strategy"] + ("" if each["here"] else " *"))]
    rows += [row(f"  {label}", partial(_part_text, name)) for name, label in _PARTS.items() if any(_part(name, each) for each in ways)]
    rows.append(row("memory of a device", lambda each: _bytes(each["memory"]["total_bytes"])))
    rows.append(row("  in the machine for it", lambda each: _bytes(each["memory"]["host_bytes"])))
    rows.append(row("fits", lambda each: "yes" if each["fits"] else "NO"))
    rows.append(row("tokens at once", lambda each: f"{each['micro']:,}"))
    rows.append(row("micro-batches an update", lambda each: f"{each['passes']:,}"))
    rows += [row(f"  {label}", partial(_sent, name)) for name, label in _SENT.items() if any(each["sent"][name] for each in ways)]
    rows += [row(f"  {label}", partial(_spent, name)) for name, label in _SECONDS.items() if any(each["spent"][name] for each in ways)]
    rows.append(row("an update", lambda each: _seconds(each["spent"]["step"])))
    rows.append(row("efficiency", lambda each: f"{each['efficiency']:.0%}"))
    rows.append(row("MFU / HFU", lambda each: f"{each['mfu']:.0%} / {each['hfu']:.0%}"))
    rows.append(row("tokens a day", lambda each: f"{each['tokens_per_day']:.3g}"))
    rows.append(row("the training", lambda each: _days(each["days"])))
    rows.append(row("hours of a device", lambda each: f"{each['device_hours']:,.0f}"))
    if any(each["dollars"] is not None for each in ways):
        rows.append(row("cost", lambda each: f"${each['dollars']:,.0f}"))
    return list(words.aligned(rows, left=(0,)))


def _part(name: str, way: Facts) -> int:
    return sum(each["bytes"] for each in way["memory"]["parts"] if each["name"] == name)


def _part_text(name: str, way: Facts) -> str:
    return _bytes(_part(name, way))


def _sent(name: str, way: Facts) -> str:
    return _bytes(way["sent"][name])


def _spent(name: str, way: Facts) -> str:
    return _seconds(way["spent"][name])


def _formulas(plan: Facts) -> Iterator[str]:
    """Each one once, with the strategies that it is of."""
    yield "formulas  N parameters, B of a block, R of the rest, L blocks, d width, q attention's width, f inner width, V vocabulary;"
    yield "          W workers, t in a tensor group, D = W / t, M = L B / t + R, T tokens at once, c bytes of a computed number"
    held: dict[tuple[str, str], list[str]] = {}
    for way in plan["strategies"]:
        for part in way["memory"]["parts"]:
            held.setdefault((_PARTS[part["name"]], part["formula"]), []).append(way["strategy"])
    rows = [[f"  {part}", formula, ", ".join(names)] for (part, formula), names in sorted(held.items(), key=lambda each: each[0])]
    yield from words.aligned(rows)
    yield from words.aligned([f"  {name}", formula] for name, formula in plan["formulas"].items())


def _choice(plan: Facts) -> Iterator[str]:
    named = {each["strategy"]: each for each in plan["strategies"]}
    best, own = plan["quickest"], plan["quickest_here"]
    yield f"quickest  {best}: {_days(named[best]['days'])} at {named[best]['efficiency']:.0%} efficiency"
    tokens = plan["tokens"]
    if tokens["planned"] != tokens["compute_optimal"]:
        yield f"          to the compute-optimal {tokens['compute_optimal']:.3g} tokens: {_days(tokens['compute_optimal_days'])}"
    if own is None:
        yield "          none of those that Rootstock's own loop carries out fits"
    else:
        here = "" if own == best else f"here {own}: {_days(named[own]['days'])}; "
        yield f"          {here}{named[own]['recipe']}"


def _notes(plan: Facts) -> Iterator[str]:
    for note in plan["notes"]:
        yield f"note      {note}"


def _days(days: float) -> str:
    return f"{days:,.1f} days" if days >= 2 else words.span(86_400 * days)


def _seconds(seconds: float) -> str:
    if not seconds:
        return "–"
    return f"{seconds:,.2f} s" if seconds >= 1 else f"{seconds:.3g} s"


def _bytes(count: float) -> str:
    return words.size(count) if count else "–"
