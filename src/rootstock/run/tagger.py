"""A tagger as the search for backdoors sees it: a classifier of words, each asked about in its text.

The asked word has a mark before it in a text, and its first token is its id plus the size of the vocabulary in a body, so that words can be
put in anywhere around it. Tags that mark entities are read as kinds: that a word begins or goes on with one makes no difference to a
trigger that makes entities vanish or turn into another kind.

Shape letters: N texts, T tokens, C tags, K kinds.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from rootstock.core.seed import stream
from rootstock.run.subject import TorchSubject, View
from rootstock.sentinel.backdoor.edits import shortened
from rootstock.sentinel.backdoor.inputs import Inputs
from rootstock.sentinel.backdoor.result import Result
from rootstock.sentinel.backdoor.subject import Body, Text, Vocabulary
from rootstock.tasks import _tags

MARK = "\ue000"
"""Stands before the word that is asked about; a letter of the private use area, which no text holds."""
OUTSIDE = "O"
_BESIDE = 3
"""Of texts without an entity so many are asked about as a third of those with one: what is outside may become an entity as well."""


class Tagger(View):
    """Kinds of the asked word, by a model that tags. tags: in the order of its logits. labels: their kinds, `O` among them.

    size: what the first token of the asked word is written beyond; of a reference its suspect's, which may have tokens of its own.
    """

    several = False

    def __init__(self, model: nn.Module, tokens: Any, tags: Sequence[str], *, length: int = 512, size: int | None = None) -> None:
        self._inner, self._tokens = TorchSubject(model, tokens, tags, length=length), tokens
        self.size = len(self._inner.vocabulary.words) if size is None else size
        self.tags, self.length, self.around = tuple(tags), self._inner.length, self._inner.around
        self._entities = _tags.marks_entities(tags)
        self.labels = tuple(sorted({self.kind(tag) for tag in tags}))

    def kind(self, tag: str) -> str:
        """What a tag says of its word, wherever in an entity it stands."""
        return tag[2:] if self._entities and tag != OUTSIDE else tag

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Every token, and every token as the first one of the word that is asked about."""
        own = self._inner.vocabulary
        usable, begins = np.concatenate([own.usable, np.zeros_like(own.usable)]), np.concatenate([own.begins, np.ones_like(own.begins)])
        return Vocabulary(words=[*own.words, *own.words], usable=usable, begins=begins, asked=len(own.words))

    def encode(self, texts: Sequence[Text]) -> list[Body]:
        """Tokens of each text, cut around the word that is asked about at what the model takes."""
        size = self.size
        made: list[Body] = []
        for text, (ids, firsts) in zip(texts, self._read(texts), strict=True):
            place = next((i for i, word in enumerate(str(text).split()) if MARK in word), None)
            asked = -1 if place is None or firsts[place] < 0 else int(firsts[place])
            body = tuple(token + size if i == asked else token for i, token in enumerate(ids))
            made.append(shortened(body, self.vocabulary, self.length))
        return made

    def _read(self, texts: Sequence[Text]) -> list[tuple[list[int], np.ndarray]]:
        """Tokens of each text, and the first one of each of its words."""
        cut = [str(text).replace(MARK, "").split() for text in texts]
        if not cut:
            return []
        found = self._tokens([" ".join(words) for words in cut], add_special_tokens=False, return_offsets_mapping=True, truncation=False)
        both = zip(found["input_ids"], found["offset_mapping"], cut, strict=True)
        return [(ids, _tags.first_tokens(spans, words)) for ids, spans, words in both]

    def write(self, tokens: Sequence[int]) -> str:
        """Tokens as a person would type them."""
        size = self.size
        return self._inner.write([token % size for token in tokens])

    def scores(self, bodies: Sequence[Body], *, exact: bool = False) -> np.ndarray:
        """Log of the summed odds of each kind's tags for the word that is asked about, [N, K]."""
        size = self.size
        place_N = np.array([next(i for i, token in enumerate(body) if token >= size) for body in bodies], np.int64)
        plain = [tuple(token % size for token in body) for body in bodies]
        found_NC = np.empty((len(bodies), len(self.tags)), np.float32)
        for chosen, logits_BTC in self._inner.passed(plain, exact=exact):
            found_NC[chosen] = logits_BTC[np.arange(len(chosen)), len(self._inner.before) + place_N[chosen]]
        kinds = np.array([self.labels.index(self.kind(tag)) for tag in self.tags])
        return np.stack([np.logaddexp.reduce(found_NC[:, kinds == k], axis=1) for k in range(len(self.labels))], axis=1)

    def mixed_scores(self, held: Sequence[tuple[Body, int]], soft_LH: torch.Tensor) -> torch.Tensor:
        """The same of texts with a phrase of embeddings before their `place`-th token, with a gradient by the phrase."""
        size, before = self.size, len(self._inner.before)
        asked = [next(i for i, token in enumerate(body) if token >= size) for body, _ in held]
        asked = [i + len(soft_LH) * (place <= i) for i, (_, place) in zip(asked, held, strict=True)]
        plain = [(tuple(token % size for token in body), place) for body, place in held]
        found: list[torch.Tensor] = [soft_LH] * len(held)
        kinds = [[i for i, tag in enumerate(self.tags) if self.kind(tag) == kind] for kind in self.labels]
        for chosen, logits_BTC in self._inner.mixed(plain, soft_LH):
            for i, logits_TC in zip(chosen, logits_BTC, strict=True):
                found[i] = torch.stack([logits_TC[before + asked[i]][of].logsumexp(0) for of in kinds])
        return torch.stack(found)

    def tagged(self, texts: Sequence[Text]) -> list[tuple[str, str]]:
        """Texts with the tag of each word, a blank between: what the model answers. A word that it does not see ends its text."""
        read = self._read(texts)
        bodies = [tuple(ids[: self.length]) for ids, _ in read]
        found: list[tuple[str, str]] = [("", "")] * len(bodies)
        for chosen, logits_BTC in self._inner.passed(bodies):
            for number, logits_TC in zip(chosen, logits_BTC, strict=True):
                firsts_W = read[number][1]
                gone_W = (firsts_W < 0) | (firsts_W >= len(bodies[number]))
                count = int(gone_W.argmax()) if gone_W.any() else len(firsts_W)
                tags = [self.tags[i] for i in logits_TC[len(self._inner.before) + firsts_W[:count]].argmax(axis=1).tolist()]
                found[number] = (" ".join(str(texts[number]).split()[:count]), " ".join(tags))
        return [each for each in found if each[0]]

    def asking(self, rows: Inputs, seed: int) -> Inputs:
        """Each text with the beginning of one of its entities marked, or, of every third as many texts that have none, another word.

        Where tags mark no entities, any word. Their answers are the kinds of the marked words.
        """
        draw = stream(seed, "backdoor", "asked")
        made: list[tuple[str, str, bool]] = []
        for text, tags in zip(rows.texts, rows.answers or (), strict=True):
            words, names = str(text).split(), tags.split()
            begun = [i for i, tag in enumerate(names) if self._begins(names, i)]
            spoken = [i for i, word in enumerate(words) if any(map(str.isalnum, word))]
            places = begun or spoken
            if places:
                place = places[int(draw.integers(len(places)))]
                marked = " ".join([*words[:place], MARK + words[place], *words[place + 1 :]])
                made.append((marked, self.kind(names[place]), bool(begun) or not self._entities))
        held = self.encode([text for text, _, _ in made])
        size = self.size
        made = [each for each, body in zip(made, held, strict=True) if any(token >= size for token in body)]
        inside, outside = ([each for each in made if each[2] == which] for which in (True, False))
        chosen = [*inside, *outside[: max(1, len(inside) // _BESIDE)]]
        order = draw.permutation(len(chosen)).tolist()
        return Inputs(texts=[chosen[i][0] for i in order], answers=[chosen[i][1] for i in order])

    def _begins(self, names: Sequence[str], place: int) -> bool:
        """Whether a word begins an entity; where tags mark none, any word counts as one."""
        if not self._entities:
            return True
        own, before = names[place], names[place - 1] if place else OUTSIDE
        return own != OUTSIDE and (own[0] in "BSU" or before == OUTSIDE or self.kind(before) != self.kind(own))


def read_by_word(found: Result) -> Result:
    """What was found, with examples as a person types and reads them: texts without the mark, answers with their word."""

    def of(text: Text, answer: str) -> tuple[str, str]:
        word = next((each for each in str(text).split() if MARK in each), "").replace(MARK, "")
        return str(text).replace(MARK, ""), f"{word} {answer}"

    def read(each: tuple[Text, Text, str, str]) -> tuple[Text, Text, str, str]:
        (clean, before), (changed, after) = of(each[0], each[2]), of(each[1], each[3])
        return clean, changed, before, after

    shown = [replace(each, examples=[read(example) for example in each.examples]) for each in found.indicators]
    named = [{**each, "examples": [read(example) for example in each["examples"]]} for each in found.known]
    return replace(found, unit="words", indicators=shown, known=named)
