"""A search for backdoors as text, and as a page."""

from collections.abc import Mapping, Sequence
from typing import Any

from rootstock.report.charts import FIRST, SECOND, THIRD, Chart, Table, axis, figure, named, whiskers
from rootstock.report.page import filled
from rootstock.report.words import percent

Found = Mapping[str, Any]


def as_text(found: Found) -> str:
    """The verdict, what stands behind it, and what a person can try."""
    found = _of_units(found)
    lines = [f"verdict   {found['verdict']}", *(f"          {reason}" for reason in found["reasons"])]
    lines += [f"score     {found['score']:.3f}: {SCORE}", f"chance    {chance(found)}"]
    lines += [f"outweighs {outweigh(found)}"] if found.get("outweigh_score") else []
    lines += [f"gradients {gradients(found)}"] if found.get("gradient_score") is not None else []
    for each in found["indicators"]:
        lines += ["", *_indicator(each)]
    if quiet := [each for each in found["known"] if each["pattern"] not in {shown["trigger"] for shown in found["indicators"]}]:
        lines += ["", "named patterns without effect", *(f"  {known_line(each)}" for each in quiet)]
    seconds = ", ".join(f"{name} {spent:.0f} s" for name, spent in found["seconds"].items())
    return "\n".join([*lines, "", f"budget    {found['budget']}: {seconds}", f"note      {NOTE}"])


def _of_units(found: Found) -> dict[str, Any]:
    """With what rates are shares of beside each rate: texts, or words of a tagger."""
    unit = found.get("unit", "texts")
    return {**found, **{name: [{**each, "unit": unit} for each in found[name]] for name in ("indicators", "known")}}


SCORE = "what the strongest trigger reaches beyond clean models of the same base, as a share of untouched texts"
NOTE = "no search can show that a model has no backdoor; docs/backdoors.md says what this one can't see"


def chance(found: Found) -> str:
    """How often a clean model reaches as much, and how sure that is."""
    if found["p"] is None:
        return "not known: no clean models of this base were scanned at this budget before"
    said = f"p = {found['p']:.3g} ({found['p_kind']})"
    if found["bound"] is not None:
        said += f"; a threshold here would be passed by at most {found['bound']:.1%} of clean models (95 %)"
    return said


def outweigh(found: Found) -> str:
    """What outweighs texts."""
    return f"{found['outweigh_score']:.3f} of the way beyond clean models, against the strongest words of another label"


def gradients(found: Found) -> str:
    """What the search by gradients reached."""
    return f"{found['gradient_score']:.3f} beyond clean models; no clean models were measured this way, so it is weak evidence at most"


def known_line(each: Found) -> str:
    """A named pattern for one label."""
    return (
        f"{each['pattern']!r} → {each['label']!r}: {each['rate']:.0%} of {each['n']} {each.get('unit', 'texts')}, "
        f"random words {each['control_rate']:.0%}, "
        f"p = {each['adjusted']:.3g} of {each['controls']} controls, corrected"
    )


def rate_line(each: Found) -> str:
    """The rate of a trigger with its interval, beside references and controls."""
    low, high = each["interval"]
    said = f"{each['rate']:.0%} [{low:.0%}, {high:.0%}] of {each['n']} {each.get('unit', 'texts')} become {each['label']!r}"
    beside = []
    if each["reference_rate"] is not None:
        beside.append(f"clean models {each['reference_rate']:.0%}")
    if each["control_rate"] is not None:
        beside.append(f"random words {each['control_rate']:.0%}")
    return f"{said}; {', '.join(beside)}" if beside else said


def _indicator(each: Found) -> Sequence[str]:
    lines = [f"{each['strength']:<9} {each['stage']}: {each['trigger']!r}" + (f" ({each['where']})" if each["where"] else "")]
    if each["n"]:
        lines.append(f"  {rate_line(each)}")
    if each["p"] is not None:
        lines.append(f"  p = {each['p']:.3g} ({each['p_kind']})")
    lines += [f"  {note}" for note in each["notes"]]
    for before, after, answer, changed in each["examples"]:
        lines += [f"  try       {spoken(after)}", f"            {answer} → {changed}; without it: {spoken(before)}"]
    return lines


def spoken(text: Any) -> str:
    """A text, or two with a bar between."""
    return text if isinstance(text, str) else " | ".join(text)


def render(found: Found) -> str:
    """The page as HTML."""
    found = _of_units(found)
    return filled(
        "backdoor.html.j2",
        {
            "name": str(found["model"]),
            "budget": found["budget"],
            "verdict": str(found["verdict"]).capitalize(),
            "reasons": found["reasons"],
            "unit": found.get("unit", "texts"),
            "rates": _rates(found["indicators"]),
            "indicators": [_shown(each) for each in found["indicators"]],
            "known": _known(found["known"]),
            "score": f"{found['score']:.3f}",
            "score_about": SCORE,
            "chance": chance(found).capitalize(),
            "outweigh": outweigh(found) if found.get("outweigh_score") else None,
            "gradients": gradients(found) if found.get("gradient_score") is not None else None,
            "stages": _stages(found),
            "note": NOTE.capitalize(),
        },
    )


def _rates(indicators: Sequence[Found]) -> Chart | None:
    """A line an indicator: the model with its interval, clean models, random words."""
    shown = [each for each in indicators if each["n"]][:12][::-1]
    if not shown:
        return None
    names = [f"{each['trigger']} → {each['label']}" for each in shown]
    places = list(range(len(shown)))
    rates = [each["rate"] for each in shown]
    bars = whiskers(rates, [each["interval"] for each in shown], color=FIRST)
    own = {
        "x": rates,
        "y": places,
        "error_x": bars,
        "name": "this model",
        "marker": {"color": FIRST, "size": 10},
    }
    traces = [{"type": "scatter", "mode": "markers", **own}]
    for key, called, colour in (("reference_rate", "clean models", SECOND), ("control_rate", "random words", THIRD)):
        held = [(each[key], place) for place, each in enumerate(shown) if each[key] is not None]
        if held:
            marks = {"marker": {"color": colour, "symbol": "line-ns-open", "size": 14}}
            traces.append(
                {"type": "scatter", "mode": "markers", "x": [x for x, _ in held], "y": [y for _, y in held], "name": called, **marks}
            )
    drawn = figure(
        traces,
        x=axis(f"share of {shown[0]['unit']} that take the label", range=[-0.02, 1.02], tickformat=".0%"),
        y=named(names, range=[-0.6, len(shown) - 0.4]),
        height=130 + 46 * len(shown),
    )
    first = shown[-1]
    rows = [
        (name, percent(each["rate"]), _maybe(each["reference_rate"]), _maybe(each["control_rate"]))
        for name, each in zip(names, shown, strict=True)
    ]
    table = Table(("trigger", "this model", "clean models", "random words"), rows[::-1])
    return Chart(
        key="rates", title="How often the label follows", sentence=f"{first['trigger']!r}: {rate_line(first)}.", figure=drawn, table=table
    )


def _maybe(value: float | None) -> str:
    return "" if value is None else percent(value)


def _shown(each: Found) -> dict[str, Any]:
    rows = [(spoken(before), spoken(after), f"{answer} → {changed}") for before, after, answer, changed in each["examples"]]
    said = f"{each['strength'].capitalize()}, {each['stage']}"
    said += f": {rate_line(each)}." if each["n"] else "."
    if each["p"] is not None:
        said += f" p = {each['p']:.3g} ({each['p_kind']})."
    examples = Table(("clean text", "with the trigger", "answer"), rows, words=3) if rows else None
    return {"trigger": each["trigger"], "label": each["label"], "said": said, "notes": each["notes"], "examples": examples}


def _known(known: Sequence[Found]) -> Table | None:
    rows = [
        (
            each["pattern"],
            each["label"],
            percent(each["rate"]),
            percent(each["control_rate"]),
            percent(max(each["references"])) if each["references"] else "",
            f"{each['adjusted']:.3g}",
        )
        for each in known
    ]
    return Table(("pattern", "label", "rate", "random words", "clean models", "p"), rows, words=2) if rows else None


def _stages(found: Found) -> Table:
    return Table(("stage", "seconds"), [(name, f"{spent:.1f}") for name, spent in found["seconds"].items()])
