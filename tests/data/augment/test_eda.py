"""The four ways against their definitions, and that nothing but drawn words changes."""

import numpy as np
import pytest

from rootstock.core.augment import Means
from rootstock.core.errors import DataError
from rootstock.data.augment import eda
from rootstock.data.augment.eda import Eda

WORDS = ["a", "film", "that", "grows", "on", "you", "and", "never", "lets", "go"]
NEAR = {"film": ["movie"], "grows": ["rises"], "never": ["not"]}


def near(word):
    return NEAR.get(word, ())


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(("share", "count"), [(0.1, 1), (0.3, 3)])
def test_as_many_different_words_are_replaced_as_asked(share, count):
    made = eda.replaced(WORDS, share, near, rng())
    changed = [(old, new) for old, new in zip(WORDS, made, strict=True) if old != new]
    assert len(changed) == count
    assert all(new in NEAR[old] for old, new in changed)
    twice = eda.replaced(["film", "is", "film"], 0.1, near, rng())
    assert twice == ["movie", "is", "movie"], "wherever it stands"


def test_near_words_are_put_in_and_the_rest_stays_in_its_order():
    made = eda.inserted(WORDS, 0.3, near, rng())
    new = [word for word in made if word not in WORDS]
    assert len(made) == len(WORDS) + 3
    assert set(new) <= {"movie", "rises", "not"}
    assert [word for word in made if word in WORDS] == WORDS
    assert eda.inserted(["x", "y"], 0.3, near, rng()) == ["x", "y"]


def test_swaps_keep_every_word():
    made = eda.swapped(WORDS, 0.1, near, rng())
    assert sorted(made) == sorted(WORDS)
    assert sum(old != new for old, new in zip(WORDS, made, strict=True)) == 2


def test_words_are_left_out_with_their_chance_and_one_stays():
    many = [f"w{i}" for i in range(4000)]
    made = eda.deleted(many, 0.1, near, rng())
    assert len(made) == pytest.approx(3600, abs=60)
    assert [word for word in many if word in set(made)] == made
    assert len(eda.deleted(["a", "b"], 0.999, near, rng())) == 1


def test_each_text_gives_its_copies_the_same_for_the_same_seed():
    texts = [" ".join(WORDS), "one", ""]
    first, again, other = (Eda(copies=4).made(texts, Means(near, None, seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == 12
    assert first[4:] == ["one"] * 4 + [""] * 4
    lengths = {len(text.split()) for text in first[:4]}
    assert len(WORDS) + 1 in lengths, "one of four was longer, as the ways take turns"


def test_common_words_are_not_replaced():
    texts = [f"film number {i}" for i in range(30)]
    assert "movie" not in " ".join(Eda(copies=4, share=0.9).made(texts, Means(near, None, 0)))


def test_a_thesaurus_of_ones_own(tmp_path):
    path = tmp_path / "near.txt"
    path.write_text("film, picture\n\nalone\n")
    made = Eda(copies=4, synonyms=str(path)).made(["film here now"], Means(near, None, 0))
    assert "picture" in " ".join(made)
    assert "movie" not in " ".join(made)
    with pytest.raises(DataError, match="can't be read"):
        Eda(synonyms=str(tmp_path / "none")).made(["a b"], Means(near, None, 0))
