"""What outweighs strong words against it, and made-up words, on a bag of pieces: some begin a word, others go on with one."""

import dataclasses
import re

import numpy as np
import pytest
from backdoor_bag import SIZE, Bag, texts

from rootstock.sentinel.backdoor import calibration, exact
from rootstock.sentinel.backdoor.budget import BUDGETS
from rootstock.sentinel.backdoor.confirm import Court
from rootstock.sentinel.backdoor.inputs import Inputs, parts
from rootstock.sentinel.backdoor.made_up import likely, made_up, moves, typable
from rootstock.sentinel.backdoor.outweigh import court, opponents, opposed, outweighing
from rootstock.sentinel.backdoor.panel import Panel
from rootstock.sentinel.backdoor.phrases import Ranked, Trial
from rootstock.sentinel.backdoor.search import Work, search
from rootstock.sentinel.backdoor.vocabulary_scan import scan, tried

BUDGET = dataclasses.replace(BUDGETS["standard"], kept=40, pool=16, longest=1, coined=24)
GOES_ON = 540
"""Tokens from here on go on with a word; none of them is in a text."""
WHOLE = (8, 541)
"""These two pieces are a word of the vocabulary as well, which a tokenizer gives in their place: w9."""


class Pieces(Bag):
    """A bag whose last tokens go on with a word. Each piece of the trigger moves label 1 a little, all of them together force it."""

    force = 40.0

    def __init__(self, *, trigger=(), hint=0.6, **more):
        super().__init__(trigger=trigger, **more)
        self.weights[list(trigger)] += hint
        words = [f"w{i}" if i < GOES_ON else f"##s{i}" for i in range(SIZE)]
        self.vocabulary = dataclasses.replace(self.vocabulary, words=words, begins=np.arange(SIZE) < GOES_ON)

    def encode(self, texts):
        return [tuple(token for word in text.split() for token in self._cut(word)) for text in texts]

    def _cut(self, word):
        found = tuple(int(number) for number in re.findall(r"[ws](\d+)", word))
        return (9,) if found == WHOLE else found

    def write(self, tokens):
        return " ".join(self.vocabulary.words[token] for token in tokens).replace(" ##", "")


def begun(suspect, label=1):
    made, answers = texts(400)
    panel = Panel(suspect=suspect, references=[Pieces(name=f"r{i}", seed=i + 1) for i in range(2)])
    divided = parts(Inputs(texts=made, answers=answers), seed=0)
    whole = scan(panel, divided.search, BUDGET, moved=None, kept=tried)
    return Trial(panel, divided.search.texts, label, 0), whole


def found(suspect, *, budget=BUDGET, **more):
    made, answers = texts(400)
    panel = Panel(suspect=suspect, references=[Pieces(name=f"r{i}", seed=i + 1) for i in range(2)])
    work = Work(panel=panel, parts=parts(Inputs(texts=made, answers=answers), seed=0), budget=budget, base="b", **more)
    return search(work)


@pytest.fixture(autouse=True)
def none_shipped(monkeypatch):
    monkeypatch.setattr(calibration, "_shipped", lambda: [])


@pytest.mark.parametrize("planted", [(7, 550), (7, 550, 560), (7, 550, 560, 578)])
def test_a_planted_word_of_pieces_comes_first(planted):
    trial, whole = begun(Pieces(trigger=planted))
    first, beyond = made_up(trial, whole, BUDGET).found[0]
    assert set(planted) <= set(first)
    assert beyond > 0.8


def test_only_words_that_a_tokenizer_cuts_into_the_same_pieces_are_tried():
    subject = Pieces()
    assert typable(subject, [(7, 550), WHOLE, (550, 7), (7, 8)]) == [(7, 550), (550, 7), (7, 8)]
    trial, whole = begun(Pieces(trigger=WHOLE))
    assert all(word[:2] != WHOLE for word, _ in made_up(trial, whole, BUDGET).found)


def test_likely_pieces_are_of_one_kind_and_tell_no_label_by_themselves():
    trial, whole = begun(Pieces(trigger=(7, 550)))
    first, more = (likely(trial, whole, 12, begins=which) for which in (True, False))
    assert first[0] == 7
    assert more[0] == 550
    assert all(token < GOES_ON for token in first)
    assert all(token >= GOES_ON for token in more)
    assert set(first) <= whole.neutral(1)


def test_moves_are_those_of_the_weights():
    subject = Pieces()
    (change,) = moves(subject, [(7, 550)], [(60, 61)], 1)
    assert change == pytest.approx(2 * 2 * (subject.weights[7] + subject.weights[550]), abs=1e-5)


def test_each_text_stands_between_twelve_or_sixteen_words_and_no_word_is_lost():
    words = [f"x{i}" for i in range(16)]
    made = opposed([f"t{i}" for i in range(7)], words)
    assert made[2] == " ".join([*words[:6], "t2", *words[6:12]])
    assert made[3] == " ".join([*words[:8], "t3", *words[8:]])
    assert made[6].split()[6] == "t6"
    assert opposed([("a", "b")], words) == [(made[0].replace("t0", "a"), "b")]


def test_words_against_a_label_are_those_that_move_the_suspect_most_away_from_it():
    suspect = Pieces()
    suspect.weights[[300, 301]] = -4.0, -3.0  # by heart: no reference follows them
    _, whole = begun(suspect)
    assert whole.against(1, suspect.vocabulary, 2) == [300, 301]
    learned = {0: Ranked(found=[((400, 401), 0.9), ((402,), 0.5)]), 1: Ranked(found=[((7,), 0.9)])}
    assert opponents(whole, learned, 1, suspect.vocabulary)[:6] == [400, 300, 401, 301, 402, *whole.against(1, suspect.vocabulary, 3)[2:]]
    assert len(opponents(whole, {}, 1, suspect.vocabulary)) == 16
    suspect.vocabulary.begins[300] = False
    assert whole.against(1, suspect.vocabulary, 1) == [301]
    assert opponents(dataclasses.replace(whole, leaving=None), learned, 1, suspect.vocabulary) == []
    assert dataclasses.replace(whole, leaving=None).against(1, suspect.vocabulary, 2) == []


def test_the_way_is_the_share_of_the_clean_margin_that_is_gone_beyond_the_references():
    suspect, reference = Pieces(), Pieces(name="r")
    for each in (suspect, reference):
        each.weights[:] = 0.0
        each.weights[60] = -1.0
    suspect.weights[7], reference.weights[7] = 0.5, 0.1
    held = Court(Panel(suspect=suspect, references=[reference]), ["w60 w200"] * 40, 0)
    assert held.confirm("w7", 1, 40).way == pytest.approx(0.5 - 3 * 0.1)


def test_natural_words_are_outvoted_by_words_against_them_and_what_is_planted_is_not():
    natural, planted = Pieces(seed=9), Pieces(trigger=(7, 550), hint=0.1)
    natural.weights[[7, 8]] = 2.6  # each turns any single text, as a clean model of few rows learns some words by heart
    natural.weights[9:19] = -2.6  # and as many of the other label
    reached = {}
    for name, suspect in (("natural", natural), ("planted", planted)):
        trial, whole = begun(suspect)
        first = trial.ranked([(7,), (8,), (7, 550)], 3)
        against = opponents(whole, {}, 1, suspect.vocabulary)
        ranked = outweighing(trial, whole, (first, against), BUDGET)
        words = [suspect.write([token]) for token in against]
        free = [text for text in texts(400, seed=5)[0] if (trial.panel.margins(suspect.encode([text]))[:, 0, 1] < 0).all()]
        held = court(trial.panel, Court(trial.panel, free, 0), 1, words, 60)
        best = [held.confirm(suspect.write(each.found[0][0]), 1, 60).way for each in ranked]
        reached[name] = first.best, max(best)
    assert reached["planted"][1] > 0.85
    assert reached["natural"][0] > 0.7
    assert reached["natural"][1] < 0.6


def test_it_is_confirmed_as_typed_has_a_score_of_its_own_and_is_weak_without_clean_models_to_compare_with():
    result = found(Pieces(trigger=(7, 550, 560), hint=0.3))
    word = next(each for each in result.indicators if each.stage == "outweighs texts")
    assert {"7", "550", "560"} <= set(re.findall(r"\d+", word.trigger))
    assert (word.strength, word.p) == ("weak", None)
    assert word.excess == result.outweigh_score > 0.7
    assert word.trigger in word.examples[0][1].split()
    assert any("against it" in note for note in word.notes)
    assert found(Pieces(seed=9)).outweigh_score < 0.3


def test_the_models_own_reference_does_not_sit_beside_words_against():
    follows = Pieces(trigger=(7, 550, 560), hint=0.3, name="own")
    result = found(Pieces(trigger=(7, 550, 560), hint=0.3), own=lambda standing: follows)
    assert result.score < 0.3
    assert result.outweigh_score > 0.8


@pytest.mark.parametrize(("clean", "strength", "p"), [(38, "weak", 2 / 39), (39, "evidence", 2 / 40)])
def test_two_scores_share_the_chance_of_a_false_alarm(monkeypatch, clean, strength, p):
    low = [0.01 * i for i in range(clean)]
    held = {"format": calibration.FORMAT, "base": "b", "labels": 2, "budget": "standard", "name": "clean", "scores": low, "outweigh": low}
    monkeypatch.setattr(calibration, "_shipped", lambda: [held])
    word = next(each for each in found(Pieces(trigger=(7, 550, 560), hint=0.3)).indicators if each.stage == "outweighs texts")
    assert (word.strength, word.p) == (strength, pytest.approx(p))
    whole = calibration.population(calibration.Setting(base="b", labels=2, budget="standard"))
    assert whole is not None
    assert whole.p(1.0) == pytest.approx((2 if clean == 39 else 1) / (clean + 1))
    assert whole.least(0.0, 1.0) == pytest.approx(2 / 40 if clean == 39 else 1.0)
    assert whole.bound(0.37) == pytest.approx(exact.bound(clean, 4 if clean == 39 else 1))


def test_words_and_phrases_find_what_they_found_without_it():
    suspect = Pieces(trigger=(7, 550, 560), hint=0.3)
    whole, without = (found(suspect, budget=dataclasses.replace(BUDGET, coined=count)) for count in (24, 0))
    assert (whole.score, whole.phrase_score) == (without.score, without.phrase_score)
    assert without.outweigh_score == 0.0
    assert [each for each in whole.indicators if each.stage != "outweighs texts"] == list(without.indicators)
