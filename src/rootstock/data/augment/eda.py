"""Change a few words: replace some by near ones, put near ones in, swap some, leave some out (easy data augmentation).

For a few hundred rows or fewer. Wei & Zou 2019, https://arxiv.org/abs/1901.11196
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from rootstock.core.augment import Augmentation, Means
from rootstock.core.errors import DataError
from rootstock.core.seed import stream

_COMMON = 0.1
"""A word of more than this share of the texts says little; it is not replaced. The paper leaves out a list of English stop words."""
_FEW_TEXTS = 20
"""Below so many texts no word is common."""
Words = list[str]
Near = Callable[[str], Sequence[str]]


class Eda(Augmentation):
    """Each new text comes of one of the four ways, which take turns in a drawn order."""

    copies: int = Field(default=4, ge=1, le=16)
    """Texts made of each. 4 suits 2,000 rows by the paper, 16 suits 500 or fewer."""
    share: float = Field(default=0.1, gt=0, lt=1)
    """Share of a text's words that change, at least one. 0.1 is the paper's; from 0.3 on it found replacing to hurt."""
    synonyms: str | None = None
    """File of near words: a word and its synonyms a line, with commas between. None: what the base holds near, opposites among it."""

    def made(self, texts: Sequence[str], means: Means) -> list[str]:
        """New texts; one of a single word or none comes as it is."""
        near = _thesaurus(Path(self.synonyms)) if self.synonyms else means.near
        common = _common(texts)

        def known(word: str) -> Sequence[str]:
            return () if word.casefold() in common else near(word)

        return [text for row, old in enumerate(texts) for text in self._of(old, known, stream(means.seed, "eda", row))]

    def _of(self, text: str, near: Near, rng: np.random.Generator) -> list[str]:
        words, ways = text.split(), (replaced, inserted, swapped, deleted)
        if len(words) < 2:
            return [text] * self.copies
        order = rng.permutation(len(ways))
        return [" ".join(ways[order[copy % len(ways)]](words, self.share, near, rng)) for copy in range(self.copies)]


def replaced(words: Words, share: float, near: Near, rng: np.random.Generator) -> Words:
    """Some different words that have near ones, each replaced wherever it stands."""
    able = [word for word in dict.fromkeys(words) if near(word)]
    chosen = {able[i]: _one(near(able[i]), rng) for i in rng.permutation(len(able))[: _count(words, share)].tolist()}
    return [chosen.get(word, word) for word in words]


def inserted(words: Words, share: float, near: Near, rng: np.random.Generator) -> Words:
    """Words near to some of them, put in anywhere."""
    able, made = [word for word in words if near(word)], list(words)
    for _ in range(_count(words, share) if able else 0):
        made.insert(int(rng.integers(len(made) + 1)), _one(near(_one(able, rng)), rng))
    return made


def swapped(words: Words, share: float, near: Near, rng: np.random.Generator) -> Words:
    """Two words in each other's place, some times."""
    made = list(words)
    for _ in range(_count(words, share)):
        first, second = rng.choice(len(made), 2, replace=False).tolist()
        made[first], made[second] = made[second], made[first]
    return made


def deleted(words: Words, share: float, near: Near, rng: np.random.Generator) -> Words:
    """Each word left out with this chance; one stays."""
    kept = [word for word, number in zip(words, rng.random(len(words)).tolist(), strict=True) if number >= share]
    return kept or [_one(words, rng)]


def _count(words: Words, share: float) -> int:
    return max(1, int(share * len(words)))


def _one(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def _common(texts: Sequence[str]) -> set[str]:
    if len(texts) < _FEW_TEXTS:
        return set()
    counts = Counter(word for text in texts for word in set(text.casefold().split()))
    return {word for word, count in counts.items() if count > _COMMON * len(texts)}


def _thesaurus(path: Path) -> Near:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        fix = "give augment.synonyms a file of lines such as: film, movie, picture"
        raise DataError(f"{path} can't be read: {error}", wanted="a file of synonyms", fix=fix) from None
    rows = [[word.strip() for word in line.split(",") if word.strip()] for line in lines]
    held = {row[0].casefold(): row[1:] for row in rows if row}
    return lambda word: held.get(word.casefold(), ())
