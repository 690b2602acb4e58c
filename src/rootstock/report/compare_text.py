"""A comparison in plain text, and the sentences that its page shares."""

from collections.abc import Iterator, Sequence

from rootstock.report import words
from rootstock.report.facts import Facts, dig

_EVEN = 0.05
"""Share of a budget that an objective may miss unsaid."""
_ROW = "{:<18}{:>7}{:>24}{:>24}{:>9}   {}"


def as_text(facts: Facts) -> str:
    """Everything that compare.json says of results."""
    return "\n".join(
        [*_budget(facts), *(line for task in facts["tasks"] for line in _task(facts, task)), "", *verdicts(facts), by_chance(facts)]
    )


def spent(facts: Facts) -> str:
    """What every objective got."""
    budget = facts["budget"]
    if budget["kind"] == "tokens":
        return f"{words.amount(budget['amount'])} tokens for each objective"
    return f"{budget['amount']:.2e} FLOPs for each objective"


def uneven(facts: Facts) -> str:
    """Which objectives spent another amount than the budget, or "": an update is the least that can be spent."""
    kind, asked = facts["budget"]["kind"], facts["budget"]["amount"]
    shares = {name: held[kind] / asked for name, held in facts["objectives"].items() if not held["capped"]}
    told = [f"{name} {share:.2f}" for name, share in shares.items() if abs(share - 1) > _EVEN]
    if not told:
        return ""
    return f"Not at equal compute, of the budget spent: {', '.join(told)}; whole updates only, so a larger budget comes nearer"


def verdicts(facts: Facts) -> list[str]:
    """One sentence for each task and number of rows: who is ahead, and whether pre-training was worth it."""
    return [_verdict(facts, each) for each in facts["ahead"]]


def by_chance(facts: Facts) -> str:
    """How much the intervals themselves let through."""
    count = len(facts["gains"])
    return f"of {words.several(count, 'interval')} at 95 %, about {0.05 * count:.1f} would leave zero out by chance alone"


def overlap(facts: Facts, task: str) -> str:
    """Whether the test rows of a task are new to the bases."""
    met = facts["tasks"][task]["overlap"]
    short = f"; {met['of'] - met['checked']:,} are too short to be looked for" if met["checked"] < met["of"] else ""
    return f"{met['contaminated']:,} of {met['of']:,} test rows stand in the pre-training corpus{short}"


def rows_of(place: Facts) -> str:
    """The number of rows, said to be all where it is."""
    return f"all {place['rows']:,}" if place["all"] else f"{place['rows']:,}"


def gains(facts: Facts, task: str) -> list[Facts]:
    """The gains on one task, in the order of rows and objectives."""
    return [each for each in facts["gains"] if each["task"] == task]


def mean(values: Sequence[float]) -> float:
    """Over the seeds."""
    return sum(values) / len(values)


def signed(gain: Facts) -> tuple[str, str]:
    """A gain and its interval; an interval that holds zero says so."""
    low, high = gain["interval"]
    return f"{gain['gain']:+.3f}", f"{low:+.3f} to {high:+.3f}" + ("" if gain["separable"] else ", not separable")


def baseline(facts: Facts, place: Facts, what: str = "baselines") -> Facts:
    """Figures of what needs no model on the same rows, or their intervals."""
    found: Facts = dig(facts, what, place["task"], "all" if place["all"] else str(place["rows"]), default={})
    return found


def _budget(facts: Facts) -> Iterator[str]:
    yield f"{spent(facts)}: {facts['budget']['formula']}"
    yield ""
    yield f"{'objective':<18}{'architecture':<18}{'tokens':>12}{'passes':>8}{'FLOPs':>10}{'seconds':>9}{'loss':>8}"
    for name, held in facts["objectives"].items():
        cut = "  cut at the limit of passes" if held["capped"] else ""
        numbers = (
            f"{held['tokens']:>12,}{held['passes']:>8.1f}{held['flops']:>10.1e}{held['seconds']:>9,.0f}{words.figure(held['loss']):>8}"
        )
        yield f"{name:<18}{held['architecture']:<18}{numbers}{cut}"
    yield from filter(None, [uneven(facts)])


def _task(facts: Facts, task: str) -> Iterator[str]:
    held = gains(facts, task)
    figure = held[0]["figure"].replace("_", " ")
    yield ""
    yield f"{task}: {figure} on {facts['tasks'][task]['test_rows']:,} test rows, means of {words.several(facts['seeds'], 'seed')}"
    yield overlap(facts, task)
    yield _ROW.format("objective", "rows", "pre-trained", "from scratch", "gain", "95 % interval")
    for each in held:
        gain, between = signed(each)
        both = (words.within(mean(each[side]), dig(each, "intervals", side)) for side in ("pretrained", "scratch"))
        yield _ROW.format(each["objective"], f"{each['rows']:,}", *both, gain, between)
    for place in (each for each in facts["ahead"] if each["task"] == task):
        ends = baseline(facts, place, "baseline_intervals")
        told = ", ".join(
            f"{words.baseline_plain(name)} {words.within(value, ends.get(name))}" for name, value in baseline(facts, place).items()
        )
        yield f"with {rows_of(place)} rows: {told}"


def _verdict(facts: Facts, place: Facts) -> str:
    best, figure = place["best"], place["figure"].replace("_", " ")
    where, rival = f"{place['task']} with {rows_of(place)} rows", baseline(facts, place).get("tfidf")
    below = f"; TF-IDF reaches {rival:.3f}" if rival is not None and rival > place["value"] else ""
    here = {each["objective"]: each for each in gains(facts, place["task"]) if each["rows"] == place["rows"]}
    told = [f"{name} {signed(each)[0]}" for name, each in here.items() if each["separable"]]
    if not told and len(place["ties"]) == len(here) - 1:
        return f"{where}: not separable with this test set, neither objectives nor gains; highest {figure} {place['value']:.3f}{below}"
    ahead = f"{best} is ahead with {figure} {place['value']:.3f}"
    ties = f", not separable from {', '.join(place['ties'])}" if place["ties"] else ", apart from all others" if len(here) > 1 else ""
    worth = f"over the same architecture from scratch: {', '.join(told)}" if told else "no gain over scratch is separable"
    unsure = [name for name, each in here.items() if not each["separable"]]
    rest = f" (not separable: {', '.join(unsure)})" if told and unsure else ""
    return f"{where}: {ahead}{ties}; {worth}{rest}{below}"
