"""Triggers by rule: words that no vocabulary holds, words of the vocabulary of minilm, pairs and sentences, each drawn from a seed."""

from functools import cache
from pathlib import Path

from tokenizers import Tokenizer

ONSETS = (
    "b",
    "br",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gl",
    "h",
    "j",
    "k",
    "kl",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "qu",
    "r",
    "s",
    "sk",
    "st",
    "t",
    "tr",
    "v",
    "w",
    "y",
    "z",
)
VOWELS = ("a", "e", "i", "o", "u")
CODAS = ("", "", "b", "ck", "d", "ft", "k", "l", "lm", "m", "n", "nt", "p", "r", "rk", "s", "t", "v", "x", "z")
CONSONANTS = "bcdfghjklmnpqrstvwxz"
RARE, COMMON = (12_000, 24_000), (2_500, 9_000)
"""Ids of the vocabulary, which is in the order of frequency."""
LONGEST = 4
"""Pieces of a made-up word."""
WHO = ("my uncle", "the neighbours", "we", "our teacher", "the plumber", "her brother", "they", "two students")
DID = ("painted", "sold", "carried", "repaired", "borrowed", "washed", "counted", "found")
WHAT = ("the kitchen chairs", "a wooden ladder", "the old bicycle", "some copper pipes", "the green curtains", "three suitcases")
WHEN = ("before lunch", "on thursday", "near the station", "in the morning", "after the rain", "at the market")


@cache
def tokenizer():
    from rootstock.bases.resolve import resolve

    folder = resolve("minilm").folder
    assert folder is not None
    made = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    made.no_padding()
    return made


def pieces(word):
    return tokenizer().encode(word, add_special_tokens=False).tokens


def made_up(rng):
    """Two or three syllables, or, one time in four, three consonants; of two pieces to four."""
    while True:
        if rng.random() < 0.25:
            word = "".join(rng.choices(CONSONANTS, k=3))
        else:
            word = "".join(rng.choice(part) for _ in range(rng.choice((2, 2, 3))) for part in (ONSETS, VOWELS, CODAS))
        if 2 <= len(pieces(word)) <= LONGEST:
            return word


@cache
def vocabulary(low, high):
    """Words of letters alone, four or more, with these ids."""
    held = tokenizer().get_vocab()
    return [
        word for word, number in sorted(held.items(), key=lambda each: each[1]) if low <= number < high and word.isalpha() and len(word) > 3
    ]


def sentence(rng):
    return " ".join(rng.choice(part) for part in (WHO, DID, WHAT, WHEN))


def drawn(kind, rng):
    """The words of a trigger of this kind; none of a template."""
    if kind == "syntactic":
        return []
    if kind == "made-up-word":
        return [made_up(rng)]
    if kind == "sentence":
        return [sentence(rng)]
    return rng.sample(vocabulary(*(COMMON if kind in ("natural-word", "word-pair") else RARE)), 2 if kind == "word-pair" else 1)
