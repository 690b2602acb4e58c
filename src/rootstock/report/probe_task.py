"""A user's own task in each layer, in words and as a curve, with the blocks that are proposed to stay as they are."""

import shlex
from collections.abc import Iterator, Sequence

from rootstock.report import charts, words
from rootstock.report.charts import FIRST, MUTED, SECOND, THIRD, Chart, Table
from rootstock.report.facts import Facts, dig
from rootstock.report.words import aligned, share

_COLOURS = {"score": FIRST, "control": MUTED, "selectivity": THIRD}


def called(held: Facts) -> dict[str, str]:
    """What the figures of a layer are called."""
    return {"score": words.figure_name(held["figure"]), "control": "control task", "selectivity": "selectivity"}


def table(held: Facts) -> list[tuple[str, ...]]:
    """A row for each layer, under a head; * is best on the rows that chose."""
    names, random = called(held), dig(held, "random", "layers", default=[])
    found = [("layer", *names.values(), "below the best", *(["random weights"] if random else []))]
    for i, row in enumerate(held["layers"]):
        figures = (share(row[name]) for name in names)
        below = "" if i == held["best"] else share(row["below"])
        found.append((f"{i}{'*' if i == held['best'] else ''}", *figures, below, *([share(random[i]["score"])] if random else [])))
    return found


def proposal(held: Facts) -> Iterator[str]:
    """Which blocks to freeze, and why; or why these rows do not tell."""
    freeze = held["freeze"]
    if not freeze["decided"]:
        yield f"freeze: {freeze['reason']}"
        return
    which = f"freeze the embeddings and blocks {stretch(freeze['frozen'])}, train {stretch(freeze['trained'])}, counted from 0"
    yield f"{which}: {freeze['reason']}"


def command(held: Facts, base: str, data: str) -> str:
    """How the proposal is carried out."""
    blocks = ",".join(map(str, held["freeze"]["trained"]))
    return f"rootstock adapt {shlex.quote(data)} --base {shlex.quote(base)} --method full --set 'method.layers=[{blocks}]'"


def stretch(numbers: Sequence[int]) -> str:
    """0 to 3, or 5, or 1, 4, 5: numbers in order."""
    if len(numbers) > 1 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def about(held: Facts) -> str:
    """What was asked of which rows."""
    what = "R² of a ridge regression" if not held["classes"] else f"a linear probe for {held['classes']} classes"
    said = f"{held['task']}: {what} on the mean of each layer's vectors, {held['rows']:,} rows in {held['folds']} folds. "
    said += (
        f"The simplest answer gives {share(held['simplest'])}. The control task gives each of {held['first_words']:,} first words a random "
    )
    said += "answer: what the probe gets right there it learned by heart. Layer 0 is the embeddings, layer n what block n - 1 leaves."
    lost = {"dropped": "without a label", "not_drawn": "not drawn"}
    said += "".join(f" {count:,} rows {lost[name]}." for name, count in held["left_out"].items())
    said += f" {words.several(held['truncated'], 'row')} cut at the length that the base takes." if held["truncated"] else ""
    if held["trained_on"]:
        said += f" The model was trained on {held['trained_on']:,} of these rows: the figures flatter it."
    return said


def as_text(held: Facts) -> Iterator[str]:
    """About, the table, the gain over random weights, and the proposal."""
    yield about(held)
    yield from aligned(table(held))
    if "gain" in held:
        yield f"best layer over the best of random weights: {share(held['gain'])}"
    yield from proposal(held)


def verdict(held: Facts) -> str:
    """One sentence of the curve, and the proposal."""
    best = held["layers"][held["best"]]
    gain = f", {share(held['gain'])} above random weights" if "gain" in held else ""
    first = f"Your own task: best in layer {held['best']} with {called(held)['score'].lower()} {share(best['score'])}{gain}."
    said = " ".join(proposal(held))
    return f"{first} {said[:1].upper()}{said[1:]}."


def curve(held: Facts) -> Chart:
    """Figures over layers with their intervals, random weights, the simplest answer, and where the proposal ends."""
    names, random = called(held), dig(held, "random", "layers", default=[])
    data = [charts.between(held["layers"], name, said, _COLOURS[name]) for name, said in names.items()]
    data += [charts.between(random, "score", "random weights", SECOND)] if random else []
    level = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": held["simplest"]["value"], "y1": held["simplest"]["value"]}
    shapes = [{**level, "line": {"color": MUTED, "dash": "dot", "width": 1}}]
    freeze = held["freeze"]
    if freeze["decided"]:
        place = len(freeze["frozen"]) + 0.5
        border = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": place, "x1": place}
        shapes.append({**border, "line": {"color": FIRST, "dash": "dash", "width": 1}})
    said = f"Layer {held['best']} is best on the rows that chose. Bars are 95 % intervals, the dotted line the simplest answer."
    said += " Left of the dashed line what the proposal freezes gives its vectors." if freeze["decided"] else ""
    axes = {"x": charts.axis("layer, 0 is the embeddings", dtick=1), "y": charts.axis(names["score"])}
    head, *rows = table(held)
    figure = charts.figure(data, **axes, height=380, shapes=shapes)
    return Chart(key="task", title="Your own task", sentence=said, figure=figure, table=Table(head, rows))
