"""Probes as a person reads them in a terminal."""

from collections.abc import Iterator, Sequence
from typing import Any

from rootstock.report import probe_task
from rootstock.report.facts import Facts, dig
from rootstock.report.words import aligned, share

WORDS = {
    "blimp": "minimal pairs",
    "pos": "parts of speech",
    "order": "sentence order",
    "images": "classes of images",
    "task": "your own task",
}


def as_text(found: Facts) -> str:
    """Every suite as a table, and why one is missing."""
    parts = ["\n".join(_PARTS[suite](held)) for suite, held in found["suites"].items()]
    if dig(found, "suites", "task", "freeze", "decided"):
        parts.append(probe_task.command(found["suites"]["task"], found["base"]["reference"], found["data"]["task"]))
    parts += [f"{suite}: left out: {reason}" for suite, reason in found["skipped"].items()]
    return "\n\n".join(parts)


def accuracy(row: Facts) -> dict[str, Any]:
    """A row of minimal pairs as a figure."""
    return {"value": row["accuracy"], "interval": row["interval"]}


def _blimp(held: Facts) -> Iterator[str]:
    random = held.get("random")
    yield f"minimal pairs: {held['pairs']:,}, {held['score']}; chance {held['chance']:g}, intervals at 95 %"
    levels = [("all", held, random), *_beside(held, random, "fields"), *_beside(held, random, "terms")]
    rows = [(name, str(row["pairs"]), share(accuracy(row)), f"{other['accuracy']:.3f}" if other else "") for name, row, other in levels]
    yield from aligned([("", "pairs", "accuracy", "random" if random else ""), *rows])
    if held["left_out"]:
        yield f"left out: {held['left_out']:,} pairs with a sentence longer than the model takes"
    if held["ties"]:
        yield f"ties, which count half: {held['ties']:,}"
    if held["unknown"] > 0.01:
        yield f"{held['unknown']:.1%} of the tokens are unknown to the tokenizer: these figures say little"


def _beside(held: Facts, random: Facts | None, level: str) -> list[tuple[str, Facts, Facts | None]]:
    others = {row["name"]: row for row in random[level]} if random else {}
    return [(row["name"], row, others.get(row["name"])) for row in held[level]]


def _pos(held: Facts) -> Iterator[str]:
    words = held["words"]
    yield f"parts of speech: linear probe on {words['train']:,} words, measured on {words['test']:,}; intervals at 95 %"
    yield f"always the most frequent tag {held['most_frequent']:.3f}, each word's most frequent tag {held['by_word']:.3f}"
    yield from _by_layer(held, ("accuracy", "control", "selectivity"))


def _order(held: Facts) -> Iterator[str]:
    pairs = held["pairs"]
    yield f"sentence order: linear probe on {pairs['train']:,} pairs, measured on {pairs['test']:,}; chance {held['chance']:g}"
    yield from _by_layer(held, ("accuracy",))


def _images(held: Facts) -> Iterator[str]:
    rows = held["images"]
    yield f"classes of images: {held['classes']}, linear probe on {rows['train']:,} images, measured on {rows['test']:,}; intervals at 95 %"
    if held["may_be_trained_on"]:
        yield "whether the model was trained on any of these images is not known"
    yield from aligned([("", "accuracy"), *images(held)])
    if held.get("zero_shot", {}).get("cut"):
        yield f"captions that are longer than the model takes: {held['zero_shot']['cut']}"


def images(held: Facts) -> list[tuple[str, str]]:
    """What was measured on images, and its figure."""
    named = {"accuracy": "linear probe", "random": "linear probe, random weights", "gain": "gain over random weights"}
    found = [(name, share(held[key])) for key, name in named.items() if key in held]
    if "zero_shot" in held:
        found.append((f'zero-shot, "{held["zero_shot"]["template"]}"', share(held["zero_shot"])))
    return [*found, ("always the most frequent class", f"{held['most_frequent']:.3f}")]


def _by_layer(held: Facts, figures: Sequence[str]) -> Iterator[str]:
    random = held.get("random", {}).get("layers")
    rows = [("layer", *figures, "random" if random else "")]
    for i, row in enumerate(held["layers"]):
        mark = "*" if i == held["best"] else ""
        rows.append((f"{i}{mark}", *(share(row[name]) for name in figures), f"{random[i]['accuracy']['value']:.3f}" if random else ""))
    yield from aligned(rows)
    yield "layer 0 is the embeddings; * is best on the dev rows"
    if "gain" in held:
        yield f"best layer over the best of random weights: {share(held['gain'])}"


_PARTS = {"blimp": _blimp, "pos": _pos, "order": _order, "images": _images, "task": probe_task.as_text}
