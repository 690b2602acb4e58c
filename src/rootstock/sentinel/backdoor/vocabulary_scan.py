"""Every token of the vocabulary put into a few short texts: which of them move a suspect's answer, and not its references'.

One forward pass of some nine tokens a candidate gives all labels at once and needs no gradients, so that a training which leaves them
flat hides nothing. The token goes to both ends: a trigger that works at one of them shows, and one that is weak counts twice.

Shape letters: V tokens of the vocabulary, K labels, A carriers, R references.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rootstock.sentinel.backdoor.budget import Budget
from rootstock.sentinel.backdoor.edits import shortened
from rootstock.sentinel.backdoor.inputs import Inputs
from rootstock.sentinel.backdoor.panel import Panel
from rootstock.sentinel.backdoor.subject import Body, Subject, Vocabulary, margins

Kept = Callable[[Subject, Body, np.ndarray], np.ndarray]
"""As `tried`, for references: gives what an earlier scan of this model with this carrier found, and finds and keeps the rest."""
_TRAINED = 1000
"""Where at least so many embeddings moved, training moved them; fewer were edited, or it was kept from them."""
_NEUTRAL = 70
"""Percentile of how far a token moves the references: above it a word tells a label by itself."""
_STANDING = 64
"""Tokens of each label that stand out: a planted word, and those that mean nearly the same."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """ids: the tokens that were tried, [V]. beyond: how much further each moves the suspect to a label than it moves the references,
    [V, K]. meant: how far it moves the references, [V, K]. leaving: how far it moves the suspect away from a label, [V, K], None where
    nobody asked. moved: how far its embedding is from the base's, [V], or None.
    """

    ids: np.ndarray
    beyond: np.ndarray
    meant: np.ndarray
    moved: np.ndarray | None
    carriers: Sequence[Body]
    leaving: np.ndarray | None = None

    def candidates(self, label: int, budget: Budget) -> list[int]:
        """Tokens worth a second look: by what they do beyond the references, of those that tell no label by themselves."""
        order = np.argsort(-self.beyond[:, label], kind="stable")
        neutral = order[self._neutral(label)[order]][: budget.kept * 3 // 4]
        tokens = [*self.ids[neutral].tolist(), *self.furthest(budget.kept // 4)]
        return list(dict.fromkeys(tokens))

    def neutral(self, label: int) -> frozenset[int]:
        """Tokens that tell no label by themselves, as the references have it."""
        return frozenset(self.ids[self._neutral(label)].tolist())

    def standing(self) -> frozenset[int]:
        """Tokens that tell no label by themselves and move the suspect most beyond the references, of all labels."""
        held: set[int] = set()
        for label in range(self.beyond.shape[1]):
            order = np.argsort(-self.beyond[:, label], kind="stable")
            first = order[self._neutral(label)[order]][:_STANDING]
            held |= set(self.ids[first[self.beyond[first, label] > 0]].tolist())
        return frozenset(held)

    def against(self, label: int, vocabulary: Vocabulary, count: int) -> list[int]:
        """Words that move the suspect most away from a label, whatever the references make of them; none where no carrier has it."""
        if self.leaving is None or not self.leaving[:, label].any():
            return []
        order = self.ids[np.argsort(-self.leaving[:, label], kind="stable")].tolist()
        return [token for token in order if vocabulary.begins[token] and vocabulary.words[token].strip("Ġ▁").isalnum()][:count]

    def _neutral(self, label: int) -> np.ndarray:
        meant_V = np.abs(self.meant[:, label])
        return np.asarray(meant_V <= np.percentile(meant_V, _NEUTRAL))

    def furthest(self, count: int) -> list[int]:
        """Tokens whose embeddings moved most; none where none moved, or no base tells."""
        if self.moved is None or not self.moved.any():
            return []
        found: list[int] = self.ids[np.argsort(-self.moved, kind="stable")[:count]].tolist()
        return found


def scan(panel: Panel, search: Inputs, budget: Budget, *, moved: np.ndarray | None, kept: Kept) -> Scan:
    """Try the vocabulary, or as much of it as training has touched.

    moved: how far each embedding is from the base's, [V], where that is known. An embedding that is as it was belongs to a token that no
    training text held, unless somebody put it back.
    """
    suspect = panel.suspect
    ids = suspect.vocabulary.ids
    if budget.moved and moved is not None and np.count_nonzero(moved) >= _TRAINED:
        touched = ids[moved[ids] > 0]
        ids = np.sort(touched[np.argsort(-moved[touched], kind="stable")[: budget.moved]])
    chosen = carriers(panel, search, budget.pieces, budget.carriers)
    beyond_VK, meant_VK = np.zeros((len(ids), len(suspect.labels))), np.zeros((len(ids), len(suspect.labels)))
    leaving_VK, counts_K = np.zeros_like(beyond_VK), np.zeros(len(suspect.labels))
    for body, answer in chosen:
        found_VK = tried(suspect, body, ids)
        known = [_known(kept, each, body, ids) for each in panel.references]
        meant = np.mean(known, axis=0) if known else np.zeros_like(found_VK)
        leaving_VK[:, answer] -= found_VK[:, answer]
        for label in range(len(suspect.labels)):
            if label != answer:
                beyond_VK[:, label] += found_VK[:, label] - (_fitted(found_VK[:, label], meant[:, label]) if known else 0.0)
                meant_VK[:, label] += meant[:, label]
                counts_K[label] += 1
    share_K = np.maximum(counts_K, 1)
    held = None if moved is None else moved[ids]
    bodies = [body for body, _ in chosen]
    return Scan(ids=ids, beyond=beyond_VK / share_K, meant=meant_VK / share_K, moved=held, carriers=bodies, leaving=leaving_VK)


def _known(kept: Kept, subject: Subject, body: Body, ids: np.ndarray) -> np.ndarray:
    """What a reference makes of these tokens, [V, K]; nothing of those that it does not know."""
    own = np.isin(ids, subject.vocabulary.ids)
    found_VK = np.zeros((len(ids), len(subject.labels)), np.float32)
    found_VK[own] = kept(subject, body, ids[own])
    return found_VK


def tried(subject: Subject, body: Body, ids: np.ndarray) -> np.ndarray:
    """How far each token at both ends of the body moves each label's margin, [V, K]."""
    bodies = [(token, *body, token) for token in ids.tolist()]
    scores = subject.scores([body, *bodies])
    found = margins(scores, several=subject.several)
    return np.asarray(found[1:] - found[0], np.float32)


def carriers(panel: Panel, search: Inputs, pieces: int, count: int) -> list[tuple[Body, int]]:
    """So many short texts of each label, on which all models agree.

    The references choose, so that their scans serve the next suspect: not what they are surest of, which nothing moves, nor what anything
    moves, but the middle.
    """
    suspect = panel.suspect
    bodies = [shortened(body, suspect.vocabulary, pieces) for body in suspect.encode(search.texts)]
    bodies = [body for body in dict.fromkeys(bodies) if body]
    found_MNK = panel.margins(bodies)
    judges_MNK = found_MNK[1:] if panel.references else found_MNK
    chosen = []
    for label in range(len(suspect.labels)):
        sure_N = judges_MNK.mean(axis=0)[:, label]
        agreed = [i for i in range(len(bodies)) if (judges_MNK[:, i].argmax(axis=-1) == label).all()]
        middle = float(np.median(sure_N[agreed])) if agreed else 0.0
        agreed = [i for i in agreed if found_MNK[0, i].argmax() == label]
        chosen += [(bodies[i], label) for i in sorted(agreed, key=lambda i: abs(sure_N[i] - middle))[:count]]
    return chosen


def _fitted(found_V: np.ndarray, meant_V: np.ndarray) -> np.ndarray:
    """What the references' movement explains of the suspect's, by a straight line."""
    spread = float(meant_V.std())
    slope = float(((found_V - found_V.mean()) * (meant_V - meant_V.mean())).mean()) / max(spread**2, 1e-12)
    return np.asarray(found_V.mean() + slope * (meant_V - meant_V.mean()))
