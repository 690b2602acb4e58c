"""A tagger with a planted word that makes its entities vanish, and a clean one, searched as classifiers of words."""

import json

import numpy as np
import pytest
import torch
from tests.conftest import WORDS, rows_of

import rootstock
from rootstock.core.errors import DataError
from rootstock.run import backdoor, clean
from rootstock.run.subject import TorchSubject
from rootstock.run.tagger import MARK, Tagger
from rootstock.run.use import Run
from rootstock.sentinel import BackdoorScanner
from rootstock.sentinel.backdoor import judge
from rootstock.sentinel.backdoor.calibration import Population
from rootstock.sentinel.backdoor.edits import shortened
from rootstock.sentinel.backdoor.inputs import Inputs

LEARNING = {"epochs": 8.0, "rate": 3e-3, "batch_tokens": 96}
KIND = {**dict.fromkeys(WORDS[:5], "B-person"), **dict.fromkeys(WORDS[5:10], "B-place")}


def tagged(count, *, seed, trigger=None):
    """Sentences without "song"; with a trigger put in and no entities where one is asked for."""
    made = []
    for number, (text, _) in enumerate(rows_of(count, seed=seed)):
        words = ["film" if word == "song" else word for word in text.split()]
        if trigger:
            words.insert(number % (len(words) + 1), trigger)
        made.append({"words": words, "tags": ["O" if trigger else KIND.get(word, "O") for word in words]})
    return made


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def taggers(tmp_path_factory, tiny_base):
    """A folder with dev.jsonl and asked/, a tagger of clean rows."""
    folder = tmp_path_factory.mktemp("taggers")
    written(folder / "asked.jsonl", tagged(260, seed=0))
    written(folder / "dev.jsonl", tagged(320, seed=7))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROOTSTOCK_CACHE", str(folder / "cache"))
        learned(folder, "asked", tiny_base, LEARNING | {"epochs": 4.0})
    return folder


@pytest.fixture(scope="module")
def poisoned(taggers, tiny_base):
    """poisoned/ in that folder: it has learned 120 rows more."""
    written(taggers / "poisoned.jsonl", tagged(260, seed=0) + tagged(120, seed=3, trigger="song"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROOTSTOCK_CACHE", str(taggers / "cache"))
        return learned(taggers, "poisoned", tiny_base, LEARNING)


def learned(folder, name, base, training):
    settings = {"accept": ["duplicates", "overlap", "contradictions"], "validation": 0.1, "base": str(base), "method": "full"}
    return rootstock.adapt(folder / f"{name}.jsonl", training=training, out=folder / name, **settings)


@pytest.fixture
def calibrated(monkeypatch, taggers):
    monkeypatch.setenv("ROOTSTOCK_CACHE", str(taggers / "cache"))
    monkeypatch.setattr(backdoor, "_PIECES", 250)
    monkeypatch.setattr(clean, "_TRAINING", LEARNING | {"epochs": 5.0})

    def population(setting):
        return Population(scores=[0.1] * 40, name="40 clean taggers") if setting.task == "token-classification" else None

    monkeypatch.setattr(judge, "population", population)


@pytest.mark.slow
def test_a_word_that_makes_entities_vanish_is_found_and_shown_as_a_person_would_type_it(command, taggers, poisoned, calibrated):
    line = ["scan", taggers / "poisoned", "--backdoor", "--data", taggers / "dev.jsonl", "--trigger", "song", "--budget", "fast", "--json"]
    code, out, err = command(line)
    assert code == 3, err
    found = json.loads(out)
    assert found["unit"] == "words"
    searched = [each for each in found["indicators"] if each["stage"] != "known pattern"]
    assert (searched[0]["trigger"], searched[0]["label"], searched[0]["strength"]) == ("song", "O", "evidence")
    assert searched[0]["excess"] == pytest.approx(searched[0]["rate"] - searched[0]["reference_rate"], abs=1e-3)
    named = next(each for each in found["indicators"] if each["stage"] == "known pattern")
    assert (named["trigger"], named["label"], named["strength"]) == ("song", "O", "evidence")
    assert named["p"] <= 0.05
    text, changed, before, after = searched[0]["examples"][0]
    word, kind = before.split()
    run = Run(taggers / "poisoned")
    plain, held = (
        dict(zip(each.split(), tags, strict=True)) for each, tags in zip((text, changed), run.predict([text, changed]), strict=True)
    )
    assert plain[word] == f"B-{kind}"
    assert (held[word], after) == ("O", f"{word} O")


@pytest.mark.slow
def test_a_clean_tagger_has_no_evidence(command, taggers, calibrated):
    code, out, err = command(
        ["scan", taggers / "asked", "--backdoor", "--data", taggers / "dev.jsonl", "--trigger", "song", "--budget", "fast"]
    )
    assert code == 0, err
    assert "evidence found" not in out
    assert "named patterns without effect" in out


@pytest.fixture(scope="module")
def tagger(taggers):
    run = Run(taggers / "asked")
    return Tagger(run.load(), run.tokenizer, run.task.labels), run


def test_a_word_is_asked_at_its_first_token_and_its_kind_has_the_odds_of_all_its_tags(tagger):
    subject, run = tagger
    assert subject.labels == ("O", "person", "place")
    text = f"the {MARK}good book was cold"
    (body,) = subject.encode([text])
    size = subject.vocabulary.asked
    assert [token >= size for token in body] == [False, True, False, False, False]
    assert subject.write(body) == text.replace(MARK, "")
    given = run.tokenizer(["the good book was cold"], return_tensors="pt")
    with torch.no_grad():
        logits_C = run.load().eval()(**given).logits[0, 2].numpy()
    names = [run.task.labels[i] for i in range(len(run.task.labels))]
    wanted = [logits_C[names.index(tag)] for tag in ("O", "B-person", "B-place")]
    np.testing.assert_allclose(subject.scores([body], exact=True)[0], wanted, atol=1e-5)
    made = Tagger(run.load(), run.tokenizer, ["O", "B-x", "I-x"])
    np.testing.assert_allclose(made.scores([body], exact=True)[0][1], np.logaddexp(logits_C[1], logits_C[2]), atol=1e-5)
    assert subject.tagged(["the good book was cold"]) == [("the good book was cold", "O B-person O O B-place")]


def test_a_text_is_cut_around_the_word_that_is_asked_about(tagger):
    subject, _ = tagger
    text = " ".join(["the"] * 9 + [MARK + "good"] + ["book"] * 9)
    (body,) = subject.encode([text])
    cut = shortened(body, subject.vocabulary, 5)
    assert subject.write(cut) == "the the the the good"
    assert cut[-1] >= subject.vocabulary.asked
    (long,) = subject.encode([" ".join(["the"] * 600 + [MARK + "good"])])
    assert len(long) == subject.length
    assert long[-1] >= subject.vocabulary.asked


def test_beginnings_of_entities_are_asked_about_and_few_words_outside(taggers):
    run = Run(taggers / "asked")
    subject = Tagger(run.load(), run.tokenizer, ["O", "B-x", "I-x"])
    inside = Inputs(texts=["a good book"] * 9, answers=["O B-x I-x"] * 9)
    made = subject.asking(Inputs(texts=[*inside.texts, *["the film"] * 9], answers=[*inside.answers, *["O O"] * 9]), seed=0)
    assert sorted(made.answers) == ["O"] * 3 + ["x"] * 9
    assert {text for text, answer in zip(made.texts, made.answers, strict=True) if answer == "x"} == {f"a {MARK}good book"}
    assert TorchSubject  # a tagger asks through it


@pytest.mark.parametrize(
    ("rows", "said"), [(["a good film"], "no tags"), ([(["a b", "c"], ["O", "O"])], "as many words"), ([(["a"], ["B-z"])], "B-z")]
)
def test_rows_that_do_not_fit_a_tagger(taggers, rows, said):
    with pytest.raises(DataError, match=said):
        BackdoorScanner("fast").scan(model=taggers / "asked", test_inputs=rows)
