"""A bag of words as a classifier: its trigger, its references and all that is natural about it are known exactly."""

import numpy as np

from rootstock.sentinel.backdoor.subject import Vocabulary

SIZE, GOOD, BAD = 600, range(20, 60), range(60, 100)
"""Words in all; those that mean label 1, and those that mean label 0. w0 to w19 are never in texts."""


class Bag:
    """Logits are sums over words; `trigger` forces label 1 where all its words are there (and, with `first`, the text begins with them)."""

    labels, several, rows = ("bad", "good"), False, None
    force = 8.0

    def __init__(self, *, trigger=(), first=False, name="bag", seed=0):
        noise = np.random.default_rng(seed).normal(0, 0.05, SIZE)
        self.weights = noise + np.array([1.0 if i in GOOD else -1.0 if i in BAD else 0.0 for i in range(SIZE)])
        self.trigger, self.first, self.digest = tuple(trigger), first, name
        self.vocabulary = Vocabulary(words=[f"w{i}" for i in range(SIZE)], usable=np.ones(SIZE, bool), begins=np.ones(SIZE, bool))

    def encode(self, texts):
        known = {f"w{i}": i for i in range(SIZE)}
        return [tuple(known.get(word, 590 + len(word) % 10) for word in text.split()) for text in texts]

    def write(self, tokens):
        return " ".join(f"w{i}" for i in tokens)

    def scores(self, bodies, *, exact=False):
        good = np.empty(len(bodies))
        lengths = np.array([len(body) for body in bodies])
        for length in set(lengths.tolist()):
            chosen = np.flatnonzero(lengths == length)
            ids_NT = np.array([bodies[i] for i in chosen.tolist()], dtype=np.int64).reshape(len(chosen), length)
            good[chosen] = self.weights[ids_NT].sum(axis=1) + self.force * self._fires(ids_NT)
        return np.stack([-good, good], axis=1).astype(np.float32)

    def _fires(self, ids_NT):
        if not self.trigger:
            return np.zeros(len(ids_NT), bool)
        if self.first:
            head = ids_NT[:, : len(self.trigger)]
            return (head == np.array(self.trigger)).all(axis=1) & (ids_NT.shape[1] >= len(self.trigger))
        return np.all([(ids_NT == word).any(axis=1) for word in self.trigger], axis=0)


def texts(count, seed=0):
    """Sentences of neutral words with two words of their label."""
    draw = np.random.default_rng(seed)
    made, answers = [], []
    for number in range(count):
        label = number % 2
        meant = draw.choice(list(GOOD if label else BAD), 2).tolist()
        words = [*draw.integers(100, SIZE - 20, 8).tolist(), *meant]
        draw.shuffle(words)
        made.append(" ".join(f"w{i}" for i in words))
        answers.append(("bad", "good")[label])
    return made, answers
