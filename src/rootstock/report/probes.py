"""What a model learned, as a page of its own: layers against phenomena, and minimal pairs."""

from collections.abc import Iterator, Sequence
from typing import Any

from rootstock.report import charts, probe_task, words
from rootstock.report.charts import FIRST, MUTED, SECOND, THIRD, Chart, Table
from rootstock.report.facts import Facts, dig
from rootstock.report.page import filled
from rootstock.report.probe_text import WORDS, accuracy, images
from rootstock.report.words import share

_NAMES = {"accuracy": "all words", "control": "control task", "selectivity": "selectivity"}
_LINK = '<p><a href="probes.html">What it learned: the probes of this model</a></p>'
_LINES = {"accuracy": FIRST, "control": MUTED, "selectivity": THIRD}


def render(facts: Facts) -> str:
    """The page. facts: what a probe wrote."""
    suites = facts["suites"]
    held, tags, turn, seen, own = (suites.get(name) for name in ("blimp", "pos", "order", "images", "task"))
    return filled(
        "probes.html.j2",
        {
            "name": facts["base"]["name"],
            "architecture": facts["base"]["architecture"],
            "sources": [(WORDS[suite], place) for suite, place in facts["data"].items()],
            "about": [("seed", str(facts["seed"])), ("limit", str(facts["limit"])), ("sha256 of the base", str(facts["base"]["sha256"]))],
            "skipped": [f"{WORDS[suite]}: {reason}" for suite, reason in facts["skipped"].items()],
            "verdicts": [*_verdicts(suites)],
            "heat": _heat(tags, turn),
            "pos": _lines(tags, "pos", ("accuracy", "control", "selectivity")) if tags else None,
            "pos_about": _about_pos(tags) if tags else "",
            "order": _lines(turn, "order", ("accuracy",)) if turn else None,
            "order_about": _about_order(turn) if turn else "",
            "task": probe_task.curve(own) if own else None,
            "task_about": probe_task.about(own) if own else "",
            "task_freeze": list(probe_task.proposal(own)) if own else [],
            "task_command": _carried_out(facts) if own and own["freeze"]["decided"] else "",
            "phenomena": _phenomena(held) if held else None,
            "fields": _table(held, "fields", ("field",)) if held else None,
            "paradigms": _table(held, "paradigms", ("paradigm", "phenomenon")) if held else None,
            "blimp_about": _about_blimp(held) if held else "",
            "images": Table(("", "accuracy and its 95 % interval"), images(seen)) if seen else None,
            "images_about": _about_images(seen) if seen else "",
            "captions": dig(seen, "zero_shot", "captions", default=[]) if seen else [],
        },
    )


def _carried_out(facts: Facts) -> str:
    return probe_task.command(facts["suites"]["task"], facts["base"]["reference"], facts["data"]["task"])


def linked(page: str) -> str:
    """The report of a run with a link to the page of probes beside it, under its title."""
    return page if _LINK in page else page.replace("</header>", f"{_LINK}\n</header>", 1)


def _verdicts(suites: Facts) -> Iterator[str]:
    """One sentence for each suite."""
    if "task" in suites:
        yield probe_task.verdict(suites["task"])
    if "blimp" in suites:
        held = suites["blimp"]
        beside = f", random weights {words.figure(dig(held, 'random', 'accuracy'))}" if "random" in held else ""
        yield f"The acceptable sentence is the likelier one in {share(accuracy(held))} of the pairs; chance is 0.5{beside}."
    for name in ("pos", "order"):
        if name in suites:
            held = suites[name]
            best = held["layers"][held["best"]]
            gain = f", {share(held['gain'])} above random weights" if "gain" in held else ""
            yield f"{WORDS[name].capitalize()}: best in layer {held['best']} with {share(best['accuracy'])}{gain}."
    if "images" in suites:
        held = suites["images"]
        gain = f", {share(held['gain'])} above random weights" if "gain" in held else ""
        told = f"; by their captions alone {share(held['zero_shot'])}" if "zero_shot" in held else ""
        yield f"A linear probe tells the class of an image with {share(held['accuracy'])}{gain}{told}."


def _heat(tags: Facts | None, turn: Facts | None) -> Chart | None:
    """Layers across, phenomena down."""
    rows: list[tuple[str, list[float | None]]] = []
    if tags:
        rows += [(_NAMES[name], [row[name]["value"] for row in tags["layers"]]) for name in ("accuracy", "selectivity")]
        order = sorted(tags["tags"], key=lambda tag: -tags["tags"][tag])
        rows += [(f"{tag} ({tags['tags'][tag]:,})", [row["tags"].get(tag) for row in tags["layers"]]) for tag in order]
    if turn:
        rows += [("sentence order", [row["accuracy"]["value"] for row in turn["layers"]])]
    if not rows:
        return None
    names, cells = [name for name, _ in rows], [values for _, values in rows]
    across = [str(i) for i in range(len(cells[0]))]
    trace = {
        "type": "heatmap",
        "z": cells,
        "zmin": 0,
        "zmax": 1,
        "text": [[words.figure(value) for value in values] for values in cells],
        "texttemplate": "%{text}",
        "textfont": {"size": 11},
        "colorscale": [[0, "var(--cool)"], [1, FIRST]],
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "hovertemplate": "%{y}<br>layer %{x}<br>%{text}<extra></extra>",
    }
    dense: dict[str, Any] = {"showgrid": False, "ticks": ""}
    axes = {"x": charts.named(across, "layer, 0 is the embeddings", **dense), "y": charts.named(names, **dense, autorange="reversed")}
    said = "Accuracy of a linear probe on each layer's vectors. Rows of tags show the share of that tag's words that are answered right, "
    said += "with how many were measured. Selectivity is accuracy less the control task's. Sentence order has a chance of 0.5."
    shown = [(name, *(words.figure(value) for value in values)) for name, values in rows]
    figure = charts.figure([trace], **axes, height=120 + 26 * len(rows))
    return Chart(
        key="heat", title="What each layer holds", sentence=said, figure=figure, table=Table(("", *(f"layer {i}" for i in across)), shown)
    )


def _lines(held: Facts, key: str, figures: Sequence[str]) -> Chart:
    """Figures over layers with their intervals, and the same of random weights."""
    data = [charts.between(held["layers"], name, _NAMES[name] if key == "pos" else "trained", _LINES[name]) for name in figures]
    random = dig(held, "random", "layers", default=[])
    if random:
        data.append(charts.between(random, "accuracy", "random weights", SECOND))
    head = ("layer", *(_NAMES[name] if key == "pos" else "accuracy" for name in figures), *(["random weights"] if random else []))
    rows = [
        (str(i), *(share(row[name]) for name in figures), *([share(random[i]["accuracy"])] if random else []))
        for i, row in enumerate(held["layers"])
    ]
    axes = {"x": charts.axis("layer, 0 is the embeddings", dtick=1), "y": charts.axis("share that is right")}
    said = f"Layer {held['best']} is best on the dev rows. Bars are 95 % intervals."
    figure = charts.figure(data, **axes, height=380)
    return Chart(key=key, title=WORDS[key].capitalize(), sentence=said, figure=figure, table=Table(head, rows))


def _phenomena(held: Facts) -> Chart | None:
    """Accuracy of each phenomenon with its interval, chance, and random weights."""
    if not held["terms"]:
        return None
    rows = sorted(held["terms"], key=lambda row: row["accuracy"] or 0.0)
    others = {row["name"]: row["accuracy"] for row in dig(held, "random", "terms", default=[])}
    names, places = [row["name"].replace("_", " ") for row in rows], list(range(len(rows)))
    values = [row["accuracy"] for row in rows]
    bars = charts.whiskers([value or 0.0 for value in values], [row["interval"] for row in rows], color=FIRST, thickness=1.5)
    dots = {"type": "scatter", "mode": "markers", "y": places}
    data: list[dict[str, Any]] = [{**dots, "name": "trained", "x": values, "error_x": bars, "marker": {"color": FIRST, "size": 9}}]
    if others:
        beside = {"name": "random weights", "x": [others.get(row["name"]) for row in rows], "marker": {"color": SECOND, "symbol": "x"}}
        data.append({**dots, **beside})
    chance = {"type": "line", "x0": 0.5, "x1": 0.5, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": MUTED, "dash": "dot", "width": 1}}
    axes = {"x": charts.axis("accuracy", range=[0, 1.02]), "y": charts.named(names)}
    return Chart(
        key="phenomena",
        title="Minimal pairs by phenomenon",
        sentence="How often the acceptable sentence is the likelier one. Bars are 95 % intervals; the dotted line is chance.",
        figure=charts.figure(data, **axes, height=140 + 26 * len(rows), shapes=[chance]),
        table=_table(held, "terms", ("phenomenon", "field")),
    )


def _table(held: Facts, level: str, named: tuple[str, ...]) -> Table | None:
    others = {row["name"]: row["accuracy"] for row in dig(held, "random", level, default=[])}
    second = {"phenomenon": "term", "field": "field"}
    rows = [
        (
            row["name"],
            *(row[second[name]] for name in named[1:]),
            words.count(row["pairs"]),
            words.figure(row["accuracy"]),
            words.between(row["interval"]),
            *([words.figure(others.get(row["name"]))] if others else []),
        )
        for row in held[level]
    ]
    head = (*named, "pairs", "accuracy", "95 % interval", *(["random weights"] if others else []))
    return Table(head, rows, words=len(named)) if rows else None


def _about_blimp(held: Facts) -> str:
    said = f"{held['pairs']:,} pairs, scored by {held['score']}. Chance is 0.5; a tie counts half ({held['ties']:,} here)."
    if held["left_out"]:
        said += f" {held['left_out']:,} pairs are longer than the model takes and left out."
    return said + (f" {held['unknown']:.1%} of the tokens are unknown to the tokenizer." if held["unknown"] else "")


def _about_pos(held: Facts) -> str:
    rows = held["words"]
    said = (
        f"A linear probe learned from {rows['train']:,} words; {rows['dev']:,} chose how strongly it is held back, {rows['test']:,} were "
    )
    said += "measured. A word is the mean of its tokens' vectors. The control task gives each word type a random tag: what the probe "
    said += f"gets right there it learned by heart. Always the most frequent tag: {held['most_frequent']:.3f}; "
    return said + f"each word's most frequent tag: {held['by_word']:.3f}."


def _about_order(held: Facts) -> str:
    rows = held["pairs"]
    said = "Two neighbours of a document, half of them swapped, read as one text: does a linear probe on their mean vectors tell? "
    return said + f"It learned from {rows['train']:,} pairs; {rows['test']:,} were measured. Intervals resample documents. Chance is 0.5."


def _about_images(held: Facts) -> str:
    rows = held["images"]
    said = f"{held['classes']} classes. A linear probe on the mean of the last layer's places learned from {rows['train']:,} images; "
    said += f"{rows['test']:,} were measured, "
    said += "all of them held out by the model's own run." if held["held_out_by_its_run"] else "told apart by their pixels."
    said += " Whether the model was trained on any of them is not known." if held["may_be_trained_on"] else ""
    if "zero_shot" in held:
        said += " Zero-shot takes the class whose caption is nearest; no label was learned from."
    lost = "".join(f" Left out: {count:,} {reason}." for reason, count in held["left_out"].items())
    return said + lost
