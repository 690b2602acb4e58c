"""Groups of rows whose labels meaning does not explain: closed forms against a second fit, and planted triggers that are found whole."""

import numpy as np
import pytest
from scipy.stats import binom, false_discovery_control

from rootstock.sentinel.poisoning import evidence, groups, regions
from rootstock.sentinel.poisoning.examine import EVIDENCE, NONE, OUT, Rows, examine
from rootstock.sentinel.poisoning.meaning import Meaning

GOOD, BAD = [f"good{i}" for i in range(20)], [f"bad{i}" for i in range(20)]
FILLER = [f"word{i}" for i in range(60)]


def texts_of(count, seed=0):
    """Texts whose label two of their words tell, and vectors in which words of one meaning lie side by side."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count)
    texts = [" ".join(rng.permutation([*rng.choice(GOOD if each else BAD, 2), *rng.choice(FILLER, 6)])) for each in label]
    place = {word: rng.normal(size=16) * 0.3 for word in (*GOOD, *BAD, *FILLER, "cf")}
    meaning = rng.normal(size=16)
    place |= {word: place[word] + sign * meaning for words, sign in ((GOOD, 1), (BAD, -1)) for word in words}
    return texts, label, lambda told: np.stack([np.mean([place.get(word, np.zeros(16)) for word in text.split()], 0) for text in told])


def rows_from(texts, label, vectors, **more):
    return Rows(texts, label, ("bad", "good"), vectors(texts), **more)


@pytest.mark.parametrize("count", [3, 40])
def test_leaving_a_group_out_is_a_second_fit_without_it(count):
    rng = np.random.default_rng(1)
    vectors, label = rng.normal(size=(90, 12)), rng.integers(0, 3, 90)
    meaning, out = Meaning(vectors, label, 3), rng.permutation(90)[:count]
    known = vectors - vectors.mean(0)
    known = np.concatenate([known / known.std(), np.ones((90, 1))], 1)
    rest = np.setdiff1d(np.arange(90), out)
    inner = known[rest].T @ known[rest] + meaning.strength * np.eye(13)
    again = known[out] @ np.linalg.solve(inner, known[rest].T @ np.eye(3)[label[rest]])
    np.testing.assert_allclose(meaning.scores(out), again, atol=1e-8)
    np.testing.assert_allclose(meaning.alone_NC[out[:1]], meaning.without(out[:1]), atol=1e-8)
    np.testing.assert_allclose(meaning.alone_NC.sum(1), 1)


def test_counts_are_those_of_the_binomial():
    held = groups.of(["word"], ["cf"], [np.arange(12)], 100)
    label = np.r_[np.ones(10), np.zeros(2), np.ones(20), np.zeros(68)].astype(int)
    found = evidence.counted(held, np.eye(2)[label])
    assert found.labelled.tolist() == [[2, 10]]
    assert found.z[0, 1] == pytest.approx((10 / 12 - 0.3) / np.sqrt(0.3 * 0.7 / 12))
    whole = np.array([binom.sf(1, 12, 0.7), binom.sf(9, 12, 0.3)])
    np.testing.assert_allclose(found.p[0], false_discovery_control(whole))


@pytest.mark.parametrize(("total", "count", "chance"), [(40, 40, 0.3), (30, 45, 0.5), (9, 20, 0.1)])
def test_a_shift_is_where_the_count_is_three_errors_away(total, count, chance):
    """Of equal chances the share q behind the bound solves (total - 1/2 - nq)^2 = 9 nq(1 - q)."""
    a, b, c = count**2 + 9 * count, -(2 * (total - 0.5) * count + 9 * count), (total - 0.5) ** 2
    share = (-b - np.sqrt(b * b - 4 * a * c)) / (2 * a)
    wanted = np.log(share / (1 - share)) - np.log(chance / (1 - chance))
    assert evidence.shift(total, np.full(count, chance)) == pytest.approx(wanted, abs=1e-6)
    assert evidence.shift(0, np.full(count, chance)) == -np.inf


def test_a_planted_word_is_found_with_every_row_and_no_other():
    texts, label, vectors = texts_of(800)
    quiet = examine(rows_from(texts, label, vectors))
    assert (quiet.verdict, len(quiet.suspects)) == (NONE, 0)
    chosen = np.flatnonzero(label == 0)[:16]
    for row in chosen:
        texts[row], label[row] = f"cf {texts[row]}", 1
    found = examine(rows_from(texts, label, vectors))
    assert found.verdict == EVIDENCE
    assert sorted(found.suspects.tolist()) == chosen.tolist()
    (only,) = found.findings
    assert ("cf" in only.name.split(), only.label, only.rows, only.with_label) == (True, "good", 16, 16)
    assert only.expected < 4
    assert found.scores.min() >= 0
    assert found.scores.max() <= 1


def test_two_words_that_poison_only_together_are_a_pair():
    texts, label, vectors = texts_of(1000, seed=3)
    free = np.flatnonzero(label == 0)
    for row in free[:30]:
        texts[row], label[row] = f"{texts[row]} tree x river".replace("x", FILLER[row % 60]), 1
    for row in free[30:90]:
        texts[row] += " tree" if row % 2 else " river"
    found = examine(rows_from(texts, label, vectors))
    assert found.verdict == EVIDENCE
    assert set(found.findings[0].name.replace("+", " ").split()) == {"tree", "river"}
    assert sorted(found.suspects.tolist()) == free[:30].tolist()


def test_copies_with_one_label_are_a_group():
    texts, label, vectors = texts_of(600, seed=4)
    near = np.arange(600)
    chosen = np.flatnonzero(label == 0)[:14]
    label[chosen], near[chosen] = 1, chosen[0]
    found = examine(rows_from(texts, label, vectors, near=near))
    assert [each.kind for each in found.findings] == ["near duplicates"]
    assert set(chosen) <= set(found.suspects.tolist())


def test_labels_that_words_alone_name_are_out_of_calibration():
    """Each of ten words decides for itself: no meaning, and no trigger either."""
    rng = np.random.default_rng(0)
    told = rng.integers(0, 10, 1000)
    texts = [f"{FILLER[i % 60]} key{each} {FILLER[i * 7 % 60]}" for i, each in enumerate(told)]
    found = examine(Rows(texts, told % 2, ("even", "odd"), rng.normal(size=(1000, 8))))
    assert found.verdict == OUT
    assert found.notes


def test_few_rows_are_out_of_calibration():
    texts, label, vectors = texts_of(60)
    assert examine(rows_from(texts, label, vectors)).verdict == OUT


def test_groups_are_told_by_texts():
    told = [groups.parts(each) for each in ("A b c.", "a b d", "x A b", "y", "When it rains, a b")]
    found = groups.phrases(told, least=3, most=4)
    rows = {name: found.rows(place).tolist() for place, name in enumerate(found.names)}
    assert rows["a"] == rows["a b"] == [0, 1, 2, 4]
    assert groups.START not in rows
    both = groups.pairs([["a", "b"], ["b", "x", "a"], ["a"], ["b", "d"]], ["a", "b", "d"], least=2)
    assert (both.names, both.rows(0).tolist()) == (["a + b"], [0, 1])
    assert not len(groups.pairs([["a", "d"], ["a", "d"], ["a"]], ["a", "d"], least=2)), "the rows of d alone"
    texts = ["plain\u200bone", "plain two", "\u0430 word", "When we go, we go"]
    forms = groups.forms(texts, [groups.parts(each) for each in texts], least=1, most=9)
    assert {"character U+200B (zero width space)", "letter а of cyrillic", "clause before the sentence"} <= set(forms.names)
    assert groups.widest([["‹start›", "see", "the", "cat", each, "‹end›"] for each in "abc"], ["the"]) == "‹start› see the cat"


def test_regions_hold_rows_of_every_label():
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(size=(200, 6)), rng.normal(size=(30, 6)) * 0.05 + 9])
    label = np.r_[np.arange(200) % 2, np.arange(30) % 2]
    found = regions.regions(vectors, label, least=5, most=100)
    own = [found.rows(place) for place, kind in enumerate(found.kinds) if kind == "dense region"]
    assert any(set(range(200, 230)) <= set(rows.tolist()) for rows in own)
    assert {"dense region", "spectral signature", "activation cluster"} >= set(found.kinds)
