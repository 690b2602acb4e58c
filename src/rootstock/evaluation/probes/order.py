"""Sentence order in each layer: were these two neighbours written in this order? A linear probe on their mean vectors side by side.

The model reads both as one text. Read apart, a linear probe could tell what kind of sentence comes first, and nothing of how two of them
hang together; layer 0 still shows that. Even then it is hard: DiscoEval (Chen et al. 2019, arXiv:1909.00142) has the same question.
Shape letters: L layers, N pairs, H width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rootstock.core.errors import DataError
from rootstock.core.seed import derive, stream
from rootstock.data.conllu import SPLITS, Sentence, Treebank
from rootstock.evaluation.probes import hidden, linear
from rootstock.evaluation.probes.layers import Measured, split_at

PAIRS = {"train": 50, "dev": 15, "test": 15}
"""Pairs of each part for one unit of the limit."""
CHANCE = 0.5


@dataclass(frozen=True)
class Couple:
    """Two neighbours as they are shown. in_order: whether the first of them was written first."""

    first: str
    second: str
    in_order: bool
    document: str


Chosen = Mapping[str, Sequence[Couple]]


def choose(bank: Treebank, limit: int, seed: int) -> Chosen:
    """Neighbours within a document, drawn with the seed, every second one (by a coin) swapped. Raises DataError without documents."""
    return {split: _draw(bank.parts[split], PAIRS[split] * limit, seed, split) for split in SPLITS}


def measure(reader: hidden.Reader, chosen: Chosen, seed: int, told: Callable[[int, int], None]) -> Measured:
    """Accuracy of every layer on the test pairs. told: layers done and in all."""
    couples = [each for split in SPLITS for each in chosen[split]]
    layers = hidden.pooled(reader, [f"{each.first} {each.second}" for each in couples], [_spans(each) for each in couples])
    vectors_LN2H = layers.vectors.unflatten(1, (len(couples), 2))  # type: ignore[no-untyped-call]
    labels_N = np.array([int(each.in_order) for each in couples])
    group_N = np.unique([each.document for each in couples], return_inverse=True)[1]
    ends = np.cumsum([len(chosen[split]) for split in SPLITS])
    kept = split_at(np.flatnonzero(layers.held.reshape(-1, 2).all(1)), ends)
    rows, rights = [], []
    for layer, both_NH in enumerate(vectors_LN2H.flatten(2)):
        parts = {split: linear.Part(both_NH[at], labels_N[at], group_N[at]) for split, at in kept.items()}
        probe = linear.fit(parts["train"], parts["dev"], 2)
        right = probe.right(parts["test"])
        found = linear.shares({"accuracy": right}, parts["test"].groups, seed=derive(seed, "order"))
        rows.append({"layer": layer, "dev": probe.dev, **found})
        rights.append(right)
        told(layer + 1, len(vectors_LN2H))
    documents = {split: len({each.document for each in chosen[split]}) for split in SPLITS}
    facts = {"pairs": {split: len(at) for split, at in kept.items()}, "documents": documents, "chance": CHANCE}
    return Measured(rows, rights, group_N[kept["test"]], facts)


def _spans(couple: Couple) -> list[hidden.Span]:
    """Where both lie in the text that joins them with a space."""
    middle = len(couple.first)
    return [(0, middle), (middle + 1, middle + 1 + len(couple.second))]


def _draw(sentences: Sequence[Sentence], most: int, seed: int, split: str) -> list[Couple]:
    neighbours = [(a, b) for a, b in pairwise(sentences) if a.document and a.document == b.document and a.text != b.text]
    if not neighbours:
        raise DataError(f"no two sentences of the part {split} share a document", wanted="comments such as # newdoc id = …")
    draws = stream(seed, "order", split)
    chosen = np.sort(draws.permutation(len(neighbours))[:most])
    swapped = draws.permutation(len(chosen)) % 2 == 1
    return [
        Couple(b.text, a.text, False, a.document) if swap else Couple(a.text, b.text, True, a.document)
        for (a, b), swap in zip((neighbours[i] for i in chosen), swapped, strict=True)
    ]
