"""A ranking of bases in words."""

from collections.abc import Iterator

from rootstock.report import words
from rootstock.report.facts import Facts
from rootstock.report.words import aligned, share

_CALLED = {"probe": "the linear probe", "neighbours": "the vote of neighbours", "logme": "LogME"}


def as_text(found: Facts) -> str:
    """The table, best first; which figures agree; whether the first is apart from the second; costs; and what a low figure means."""
    return "\n".join([*_head(found), "", *aligned(_table(found)), "", *_said(found), "", *aligned(_costs(found)), "", *_meaning(found)])


def verdict(found: Facts) -> str:
    """One sentence: who is first, and whether these rows tell it from the second."""
    first, second = (each["base"] for each in found["bases"][:2])
    apart = found["first_over_second"]["probe"]
    by = f"{apart['difference']:+.3f} ({words.between(apart['interval'])})"
    if apart["separable"]:
        return f"{first} is first: its probe is {by} over {second}'s"
    return f"{first} and {second} are not told apart by these rows: {by}; take the cheaper one, or compare both by training"


def _head(found: Facts) -> Iterator[str]:
    kinds = f", {found['classes']} classes" if found["classes"] else ""
    lost = f"; {found['dropped']:,} without a label left out" if found["dropped"] else ""
    lost += f"; {found['not_drawn']:,} not drawn" if found["not_drawn"] else ""
    yield f"{found['task']} on {found['rows']:,} rows{kinds}{lost}; nothing was fine-tuned; intervals at 95 %"
    figure = words.figure_name(found["figure"])
    yield f"{figure} by {found['folds']} folds; {found['neighbours']} neighbours; LogME is a log evidence, only its differences count"


def _table(found: Facts) -> Iterator[tuple[str, ...]]:
    numbers = not found["classes"]
    more = ("probe R²",) if numbers else ()
    yield ("", "linear probe", *more, "neighbours", "LogME", "parameters", "features")
    for each in found["bases"]:
        second = (share(each["probe"]["r2"]),) if numbers else ()
        figures = (share(each["probe"]), *second, share(each["neighbours"]), share(each["logme"]))
        yield (each["base"], *figures, words.amount(each["parameters"]), str(each["width"]))
    for name, each in found["baselines"].items():
        second = (share(each["r2"]),) if numbers else ()
        yield (words.baseline_name(name, "number" if numbers else "class"), share(each), *second, "", "", "", "")


def _said(found: Facts) -> Iterator[str]:
    yield verdict(found)
    first = found["bases"][0]["base"]
    for score, order in found["orders"].items():
        if score == "probe":
            continue
        tau, apart = found["agreement"][score], found["first_over_second"][score]
        both = "apart" if apart["separable"] else "not apart"
        agrees = "agrees on the first" if order[0] == first else f"puts {order[0]} first"
        along = f"Kendall's tau with the probe's order {tau:.2f}" if tau is not None else "it does not tell the bases apart"
        by = f"{apart['difference']:+.3f} ({words.between(apart['interval'])}), {both}"
        yield f"{_CALLED[score]} {agrees}; {along}; first over second {by}"
    for each in found["bases"]:
        if each["trained_on"]:
            rows = words.several(each["trained_on"], "row")
            yield f"{each['base']} was trained on {rows} of these: its figures flatter it and can't be compared with the others'"
        if each["truncated"]:
            yield f"{each['base']} takes only the beginning of {words.several(each['truncated'], 'row')}"


def _costs(found: Facts) -> Iterator[tuple[str, ...]]:
    yield ("cost", "features", "rows/s", "peak memory", "probe", "neighbours", "LogME")
    for each in found["bases"]:
        cost = each["cost"]
        scores = (words.span(cost["scores"][name]) for name in _CALLED)
        if cost["cached"]:
            yield (each["base"], "from the cache", "–", "–", *scores)
        else:
            yield (each["base"], words.span(cost["seconds"]), f"{cost['rows_per_second']:,.0f}", words.size(cost["peak_bytes"]), *scores)


def _meaning(found: Facts) -> Iterator[str]:
    low = [each["base"] for each in found["bases"] if not _above(each, "majority")]
    if low:
        yield f"{', '.join(low)}: not separably above the simplest answer: these rows show nothing in it that a line can read"
    under = [each["base"] for each in found["bases"] if _above(each, "majority") and "tfidf" in each["above"] and not _above(each, "tfidf")]
    if under:
        yield f"{', '.join(under)}: not separably above counted words: frozen vectors add nothing to them here"
    yield "A low figure says that a frozen base holds little of these labels, not that fine-tuning can't teach them; nor need the order of"
    yield "frozen bases be that of fine-tuned ones: to be sure, compare the first few by training."


def _above(base: Facts, name: str) -> bool:
    told = base["above"].get(name)
    return told is None or (told["separable"] and told["interval"][0] > 0)
