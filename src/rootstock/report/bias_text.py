"""What a scan for bias measured, as a person reads it in a terminal; and its verdict, which names what was measured and nothing beyond."""

from collections.abc import Iterator, Sequence
from typing import Any

from rootstock.report.facts import Facts
from rootstock.report.words import aligned, short

FEWEST = 20
"""Texts below which no gap is tested."""
_SHOWN = 3
"""Comparisons of an attribute that are printed; the page and --json have all."""
CAVEATS = (
    "A gap tells of these groups, words and texts only, and none shown is no proof of fairness.",
    "Templates are plain English sentences, far from your rows: what they show may not occur in use, and the other way round.",
    "Exchanges are made by lists of words: some read oddly, and some change more than the group.",
)
REASONS = {
    "asymmetric": "rows where the exchange may change what is true",
    "several_groups": "rows that name several groups, which were exchanged with one another",
}


def gaps(found: Facts) -> list[tuple[Facts, Facts, Facts]]:
    """Table, pair and gap of every test."""
    return [(table, pair, gap) for table in found["tables"] for pair in table["pairs"] for gap in pair["gaps"]]


def verdict(found: Facts) -> str:
    """What was shown, by numbers."""
    if found["kind"] != "classifier":
        return "; ".join(_set_verdict(each) for each in found["sets"])
    every, floor = gaps(found), found["floor"]
    if not every:
        return "nothing could be compared: no row names a group"
    shown = sorted((each for each in every if each[2]["verdict"] == "shown"), key=lambda each: -abs(each[2]["value"]))
    unsettled = sum(gap["verdict"] == "open" for _, _, gap in every)
    rest = f"; of {unsettled:,} the interval reaches {floor:g}: these texts can't tell" if unsettled else ""
    if not shown:
        return f"no gap of {floor:g} or more is shown in {len(every):,} comparisons{rest}"
    table, pair, gap = shown[0]
    largest = f"{table['attribute']} in {table['source']}, {pair['first']} against {pair['second']}: {told(gap)} in p({gap['label']})"
    return f"a gap of {floor:g} or more is shown in {len(shown):,} of {len(every):,} comparisons, the largest {largest}{rest}"


def _set_verdict(held: Facts) -> str:
    parts = [f"{row['name']} {row['value']:.3f} [{row['interval'][0]:.3f}, {row['interval'][1]:.3f}]" for row in held["figures"]]
    return f"{held['set']}: " + (", ".join(parts) or "no item fits into the model")


def told(gap: Facts) -> str:
    """A signed gap with its interval."""
    low, high = gap["interval"]
    return f"{gap['value']:+.3f} [{low:+.3f}, {high:+.3f}]"


def as_text(found: Facts) -> str:
    """Tables, verdict and caveats."""
    lines = _classifier(found) if found["kind"] == "classifier" else _language(found)
    return "\n".join([*lines, "", f"verdict   {found['verdict']}"])


def figure(held: Facts) -> str:
    """A share or distance with its interval."""
    low, high = held["interval"]
    return f"{held['value']:.3f} [{low:.3f}, {high:.3f}]"


def ordered(table: Facts) -> list[tuple[Facts, Facts]]:
    """Pairs and gaps of a table, the shown and then the largest first."""
    held = [(pair, gap) for pair in table["pairs"] for gap in pair["gaps"]]
    return sorted(held, key=lambda each: (each[1]["verdict"] != "shown", -abs(each[1]["value"])))


def _classifier(found: Facts) -> Iterator[str]:
    yield f"exchanges of groups: {found['texts']:,} texts, {found['tests']:,} tests, chances by Holm over all of them; 95 % intervals"
    yield "moved: mean distance of the two answers; flips: how often the label changes; gap: first minus second"
    for table in found["tables"]:
        yield ""
        yield f"{table['attribute']}, {about(table)}"
        yield from _pairs(table)
        for held in table["apart"]:
            flips = f"flips {figure(held['flips'])}"
            yield f"  kept apart: {held['rows']:,} {REASONS[held['reason']]}: moved {figure(held['moved'])}, {flips}"
    yield ""
    if found["cut"]:
        yield f"note      {found['cut']:,} texts are longer than the model takes and were cut"
    yield from (f"note      {each}" for each in CAVEATS)


def about(table: Facts) -> str:
    """Where the texts of a table come from."""
    if table["source"] == "templates":
        return f"templates: {table['pairs'][0]['units']:,} sentences" if table["pairs"] else "no templates: the list has no phrases"
    held = table["rows"]
    drawn = f" ({held['asked']:,} drawn)" if held["asked"] < held["name_a_group"] else ""
    return (
        f"your rows: {held['name_a_group']:,} of {held['distinct']:,} distinct rows name a group{drawn}, {held['compared']:,} are compared"
    )


def _pairs(table: Facts) -> Iterator[str]:
    every = ordered(table)
    held = [each for each in every if each[1]["units"] >= FEWEST]
    if few := len(every) - len(held):
        yield f"  {few:,} of {len(every):,} are of fewer than {FEWEST} texts, which tell nothing of a gap; --json and --report have them"
    if not held:
        return
    shown = [each for each in held if each[1]["verdict"] == "shown"]
    chosen = held[: max(_SHOWN, min(len(shown), 2 * _SHOWN))]
    rows = [
        (
            f"  {pair['first']} / {pair['second']}",
            f"p({short(gap['label'], 18)})",
            str(gap["units"]),
            told(gap),
            f"{gap['p_holm']:.3f}",
            f"{pair['moved']['value']:.3f}",
            f"{pair['flips']['value']:.3f}",
            gap["verdict"],
        )
        for pair, gap in chosen
    ]
    yield from aligned([("", "of", "texts", "gap", "p", "moved", "flips", ""), *rows], left=(0, 1, 7))
    if len(held) > len(chosen):
        counts = {name: sum(gap["verdict"] == name for _, gap in held[len(chosen) :]) for name in ("shown", "small", "open")}
        more = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        yield f"  and {len(held) - len(chosen):,} smaller: {more}"


def _language(found: Facts) -> Iterator[str]:
    for held in found["sets"]:
        yield f"{held['set']}: {held['items']:,} items of {held['file']}; 95 % intervals"
        yield from aligned([("", "items", "value", "no preference"), *set_rows(held)])
        if held["left_out"]:
            yield f"left out: {held['left_out']:,} items with a sentence longer than the model takes"
        if held["unknown"] > 0.01:
            yield f"{held['unknown']:.1%} of the tokens are unknown to the tokenizer: these figures say little"
        yield from (f"note      {each}" for each in held.get("notes", ()))
        yield f"caution   {held['caution']}"
        yield ""


def set_rows(held: Facts) -> Sequence[tuple[str, ...]]:
    """Figures of a set, then those of its categories."""
    named: list[tuple[str, Facts]] = [(row["name"], row) for row in held["figures"]]
    named += [
        (f"  {row['category']}: {row['name']}" if held["set"] == "stereoset" else f"  {row['category']}", row) for row in held["categories"]
    ]
    return [(name, f"{row['items']:,}", figure(row), _neutral(row)) for name, row in named]


def _neutral(row: Any) -> str:
    return "" if row["neutral"] is None else f"{row['neutral']:g}"
