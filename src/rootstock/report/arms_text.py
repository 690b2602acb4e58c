"""A comparison of methods in plain text, and the sentences that its page shares."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rootstock.report import words
from rootstock.report.facts import Facts

HEAD = ("arm", "seeds", "figure", "95 % interval", "against the winner", "p (Holm)", "time", "memory", "learns", "size", "rows/s", "")
FRONT = "front"


def as_text(facts: Facts) -> str:
    """Everything that compare.json says of results."""
    told = notes(facts)
    return "\n".join([about(facts), *(line for point in facts["points"] for line in _point(facts, point)), *([""] if told else []), *told])


def about(facts: Facts) -> str:
    """What was measured, on which rows."""
    rows, seeds = facts["rows"], words.several(facts["seeds"], "seed")
    figure = facts["figure"].replace("_", " ")
    apart = f"; {facts['apart']:,} whose text is among the validation rows were left out" if facts["apart"] else ""
    return (
        f"{facts['task']}: {figure} on {rows['test']:,} test rows that nothing was learned from or chosen by{apart}; "
        f"{rows['validation']:,} validation rows, {seeds}"
    )


def notes(facts: Facts) -> list[str]:
    """What has to be known to read the figures rightly."""
    found = [*facts["notes"], *(f"{name} was left out: {why}" for name, why in facts["skipped"].items()), *_left(facts)]
    if facts["kept"]:
        kept = facts["kept"]
        found.append(
            f"{kept['arm']} (seed {kept['seed']}) is kept in {kept['run']}; it was chosen by validation rows, which flatter it: "
            "the figures above are of test rows"
        )
    return found


def _left(facts: Facts) -> Iterator[str]:
    for why in dict.fromkeys(each["why"] for each in facts["left"]):
        names = [f"{each['arm']} on {_rows(each['rows'])} with seed {each['seed']}" for each in facts["left"] if each["why"] == why]
        yield f"not run, as {why}: {'; '.join(names)}"


def _rows(count: int | None) -> str:
    return "all rows" if count is None else f"{count:,} rows"


def rows_of(point: Facts) -> str:
    """The number of rows, said to be all where it is."""
    return f"all {point['rows']:,} rows" if point["all"] else f"{point['rows']:,} rows"


def cells(facts: Facts, point: Facts, each: Facts) -> tuple[str, ...]:
    """One arm on one number of rows, as HEAD."""
    arm = next(one for one in facts["arms"] if one["name"] == each["arm"])
    if not each["test"]:
        return (each["arm"], "0", *("–" for _ in HEAD[2:-1]), state(facts, each))
    share = arm["learning"] / arm["parameters"]
    return (
        each["arm"],
        f"{each['seeds']}",
        words.figure(each["test"]["value"]),
        words.between(each["test"]["interval"]),
        *_against(each, winner=each["arm"] == point["winner"]),
        words.span(each["seconds"]),
        words.size(each["peak_bytes"]),
        words.percent(share, 1 if share > 0.1 else 3),
        size(each["artifact_bytes"]),
        words.count(each["rows_per_second"]),
        ", ".join(filter(None, [FRONT if each["front"] else "", state(facts, each)])),
    )


def size(held: float) -> str:
    """Bytes of what is left behind: an adapter has a thousandth of a model's."""
    return f"{held / 1e3:,.0f} kB" if held < 1e6 else f"{held / 1e6:.1f} MB" if held < 1e7 else words.size(held)


def _against(each: Facts, *, winner: bool) -> tuple[str, str]:
    if winner:
        return "the winner", ""
    apart = each["against"]
    if apart is None:
        return "–", "–"
    low, high = apart["interval"]
    return f"{apart['difference']:+.3f} ({low:+.3f} to {high:+.3f})", f"{apart['holm']:.3f}" if apart["holm"] >= 0.001 else "< 0.001"


def in_part(each: Mapping[str, Any]) -> bool:
    """Whether an arm was ended while it learned, so that what it took is not what it takes."""
    return each["state"] == "stopped" and "share" in each["why"]


def whole(each: Mapping[str, Any]) -> bool:
    """Whether an arm may be on a front: it was neither ended while it learned, nor has a training of it failed."""
    return each["state"] != "failed" and not in_part(each)


def state(facts: Facts, each: Facts) -> str:
    """Why an arm has not all of its seeds; nothing where it has."""
    why = each["why"]
    if each["state"] == "failed":
        return f"failed: {why}"
    if in_part(each):
        hoped = why["value"] + (-why["credit"] if facts["less_is_better"] else why["credit"])
        return (
            f"ended at {why['share']:.0%} of its first training: {why['value']:.3f} on validation rows, {hoped:.3f} with all credit, "
            f"{why['leader']} {why['leader_value']:.3f}"
        )
    if each["state"] == "stopped":
        low, high = why["interval"]
        apart = f"{why['difference']:+.3f} ({low:+.3f} to {high:+.3f}) against {why['leader']} on validation rows"
        return f"stopped after {words.several(why['after'], 'seed')}: {apart}{_unlikely(why)}"
    return "" if each["state"] == "finished" else f"{each['seeds']} of {facts['seeds']} seeds"


def _unlikely(why: Facts) -> str:
    """Of an arm that was stopped though the rows do not put it below the leader, what its other seeds might have brought."""
    if why.get("reason") != "unlikely":
        return ""
    return (
        f"; not told apart, but the chance that it comes first with {words.several(why['seeds'], 'seed')} is {why['chance']:.0%} and worth "
        f"{why['worth']:.4f} on average"
    )


def verdict(facts: Facts, point: Facts) -> str:
    """One sentence or two: who wins, and which others the test rows tell from it."""
    where, winner = f"with {rows_of(point)}", point["winner"]
    if winner is None:
        return f"{where}: nothing came to its end"
    held = {each["arm"]: each for each in point["arms"]}
    figure, others = facts["figure"].replace("_", " "), [each for each in point["arms"] if each["against"]]
    reached = f"{figure} {held[winner]['test']['value']:.3f} on the test rows"
    chosen = f"{where}: {winner} is the best on the validation rows{_shared(facts, point)}, and reaches {reached}"
    better = -1 if facts["less_is_better"] else 1
    apart = [each for each in others if each["against"]["separable"]]
    ahead = [each["arm"] for each in apart if better * each["against"]["difference"] > 0]
    behind = [each["arm"] for each in apart if better * each["against"]["difference"] < 0]
    same = [each["arm"] for each in others if not each["against"]["separable"]]
    told = [
        f"better than {_and(behind)}" if behind else "",
        f"not separable from {_and(same)} with this test set" if same else "",
        f"but {_and(ahead)} did better on the test rows, which the validation rows did not show" if ahead else "",
    ]
    rivals = {name: value for name, value in point["baselines"].items() if better * value > better * held[winner]["test"]["value"]}
    called = [f"{words.baseline_plain(name)} ({value:.3f})" for name, value in rivals.items()]
    beaten = f"; {_and(called)} {'is' if len(rivals) == 1 else 'are'} above it" if rivals else ""
    return "; ".join([chosen, *filter(None, told)]) + beaten


def _shared(facts: Facts, point: Facts) -> str:
    """Which seeds chose the winner, where they are not all that were asked for."""
    if (seeds := point["chosen_by"]) == facts["seeds"]:
        return ""
    return f" over the first {'seed' if seeds == 1 else f'{seeds} seeds'}, as not every arm in the race has more"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def baselines(point: Facts) -> str:
    """What needs no model reaches on the same rows."""
    ends = point.get("baseline_intervals", {})
    return ", ".join(f"{words.baseline_plain(name)} {words.within(value, ends.get(name))}" for name, value in point["baselines"].items())


def _point(facts: Facts, point: Facts) -> Iterator[str]:
    rows = [cells(facts, point, each) for each in point["arms"]]
    head = ("arm", "seeds", words.figure_name(facts["figure"]), *HEAD[3:])
    yield ""
    yield f"{rows_of(point)} to learn from"
    yield from words.aligned([head, *rows], left=(0, -1))
    if point["baselines"]:
        yield f"beside them: {baselines(point)}"
    yield verdict(facts, point)
