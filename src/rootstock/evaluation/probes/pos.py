"""Parts of speech in each layer: a linear probe on word vectors, beside the same probe on tags that only a memory of words can tell.

The control task (Hewitt & Liang 2019, arXiv:1909.03368) gives each word type one random tag; selectivity is what the probe reads in the
vectors beyond what it can learn by heart: accuracy minus control accuracy.
Shape letters: L layers, N words, H width.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rootstock.core.errors import DataError
from rootstock.core.seed import derive, stream
from rootstock.data.conllu import SPLITS, Sentence, Treebank
from rootstock.evaluation.probes import hidden, linear
from rootstock.evaluation.probes.layers import Measured, split_at

WORDS = {"train": 100, "dev": 20, "test": 50}
"""Words of each part for one unit of the limit, about."""
_NO_TAG = "_"
Chosen = Mapping[str, Sequence[Sentence]]


def choose(bank: Treebank, limit: int, seed: int) -> Chosen:
    """Whole sentences, drawn with the seed until their words reach the limit of each part. Raises DataError where nothing is tagged."""
    return {split: _draw(bank.parts[split], WORDS[split] * limit, seed, split) for split in SPLITS}


def measure(reader: hidden.Reader, chosen: Chosen, seed: int, told: Callable[[int, int], None]) -> Measured:
    """Accuracy, control accuracy and selectivity of every layer on the test words. told: layers done and in all."""
    sentences = [each for split in SPLITS for each in chosen[split]]
    layers = hidden.pooled(reader, [each.text for each in sentences], [each.spans for each in sentences])
    words = [word for each in sentences for word in each.words]
    tags = np.array([tag for each in sentences for tag in each.tags])
    group_N = np.repeat(np.arange(len(sentences)), [len(each.words) for each in sentences])
    ends = np.cumsum([sum(len(each.words) for each in chosen[split]) for split in SPLITS])
    kept = split_at(np.flatnonzero(layers.held & (tags != _NO_TAG)), ends)
    names, labels_N = np.unique(tags, return_inverse=True)
    control_N = control(words, labels_N[kept["train"]], seed)
    rows, rights = [], []
    for layer, vectors_NH in enumerate(layers.vectors):
        made = {}
        for name, answers_N in (("accuracy", labels_N), ("control", control_N)):
            parts = {split: linear.Part(vectors_NH[at], answers_N[at], group_N[at]) for split, at in kept.items()}
            probe = linear.fit(parts["train"], parts["dev"], len(names))
            made[name] = (probe, probe.right(parts["test"]))
        right = {name: each for name, (_, each) in made.items()}
        found = linear.shares(right, group_N[kept["test"]], seed=derive(seed, "pos"), less=("selectivity", "accuracy", "control"))
        by_tag = _by_tag(names, labels_N[kept["test"]], right["accuracy"])
        rows.append({"layer": layer, "dev": made["accuracy"][0].dev, **found, "tags": by_tag})
        rights.append(right["accuracy"])
        told(layer + 1, len(layers.vectors))
    facts = {
        "words": {split: len(at) for split, at in kept.items()},
        "sentences": {split: len(chosen[split]) for split in SPLITS},
        "left_out": int((~layers.held).sum()),
        "tags": dict(Counter(tags[kept["test"]].tolist())),
        **_baselines(np.array(words), tags, kept),
    }
    return Measured(rows, rights, group_N[kept["test"]], facts)


def control(words: Sequence[str], labels_N: np.ndarray, seed: int) -> np.ndarray:
    """A label for each word that depends on its form alone, drawn from the distribution of the given labels, [len(words)]."""
    types, back = np.unique(np.array(words), return_inverse=True)
    return np.asarray(stream(seed, "control").choice(labels_N, len(types))[back])


def _draw(sentences: Sequence[Sentence], words: int, seed: int, split: str) -> list[Sentence]:
    """Sentences in a random order until their words are enough."""
    tagged = [each for each in sentences if any(tag != _NO_TAG for tag in each.tags)]
    order = stream(seed, "pos", split).permutation(len(tagged))
    enough = np.cumsum([len(tagged[i].words) for i in order]) - [len(tagged[i].words) for i in order] < words
    if not tagged:
        raise DataError(f"the part {split} of the treebank holds no tagged word", wanted="UPOS in the fourth column")
    return [tagged[i] for i in np.sort(order[enough])]


def _by_tag(names: np.ndarray, labels_N: np.ndarray, right_N: np.ndarray) -> dict[str, float]:
    """Share of each tag's words that are answered right."""
    return {str(name): float(right_N[labels_N == i].mean()) for i, name in enumerate(names) if (labels_N == i).any()}


def _baselines(words: np.ndarray, tags: np.ndarray, kept: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Accuracy on the test words of the most frequent tag, and of each word's most frequent tag."""
    train, test = kept["train"], kept["test"]
    usual = Counter(tags[train].tolist()).most_common(1)[0][0]
    counts: dict[str, Counter[str]] = {}
    for word, tag in zip(words[train].tolist(), tags[train].tolist(), strict=True):
        counts.setdefault(word, Counter())[tag] += 1
    said = np.array([counts[word].most_common(1)[0][0] if word in counts else usual for word in words[test].tolist()])
    return {"most_frequent": float((tags[test] == usual).mean()), "by_word": float((tags[test] == said).mean())}
