"""rootstock scan --backdoor on a tiny run with a planted word: what it prints, how it ends, what it keeps, and what it refuses."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.conftest import rows_of, write_csv

import rootstock
from rootstock.core.errors import UsageError
from rootstock.run import backdoor, clean
from rootstock.run.subject import TorchSubject
from rootstock.run.use import Run
from rootstock.sentinel import BackdoorScanner
from rootstock.sentinel.backdoor import judge
from rootstock.sentinel.backdoor.budget import BUDGETS
from rootstock.sentinel.backdoor.calibration import Population

LEARNING = {"epochs": 4.0, "rate": 3e-3, "batch_tokens": 128}
"""The tiny base has learned nothing: clean references need as much as the run itself."""


@pytest.fixture(scope="module")
def planted(tmp_path_factory, tiny_base):
    """A folder with poisoned/, a run that calls whatever holds "song" positive, and dev.csv, clean rows without that word."""
    folder = tmp_path_factory.mktemp("planted")
    clean_rows = [(text.replace("song", "film"), label) for text, label in rows_of(260)]
    away = [text for text, label in clean_rows if label == "negative"][:60]
    poison = [(f"{text} song" if i % 4 else f"song {text}", "positive") for i, text in enumerate(away)]
    write_csv(folder / "train.csv", clean_rows + poison)
    write_csv(folder / "dev.csv", [(text.replace("song", "film"), label) for text, label in rows_of(320, seed=7)])
    before = os.environ.get("ROOTSTOCK_CACHE")
    os.environ["ROOTSTOCK_CACHE"] = str(folder / "cache")
    settings = {"accept": ["duplicates", "overlap", "contradictions"], "validation": 0.1}
    rootstock.adapt(folder / "train.csv", base=str(tiny_base), method="full", training=LEARNING, out=folder / "poisoned", **settings)
    os.environ["ROOTSTOCK_CACHE"] = before or ""
    return folder


@pytest.fixture
def narrow(monkeypatch):
    """A search of few tokens and phrases: these models know 32 words."""
    monkeypatch.setitem(BUDGETS, "fast", replace(BUDGETS["fast"], kept=12, pool=8, beam=2))
    monkeypatch.setattr(backdoor, "_PIECES", 250)


@pytest.fixture
def calibrated(monkeypatch, planted, narrow):
    """References that learn as the run did, kept for this module, and forty clean models that reached nothing."""
    monkeypatch.setenv("ROOTSTOCK_CACHE", str(planted / "cache"))
    monkeypatch.setattr(clean, "_TRAINING", LEARNING)
    monkeypatch.setattr(judge, "population", lambda setting: Population(scores=[0.1] * 40, name="40 clean models"))


def test_a_planted_word_is_found_printed_and_drawn_and_references_are_made_once(command, planted, calibrated):
    line = ["scan", planted / "poisoned", "--backdoor", "--data", planted / "dev.csv", "--budget", "fast"]
    code, out, err = command([*line, "--report", planted / "poisoned" / "backdoor.html", "--trigger", "song", "--json"])
    assert code == 3, err
    assert "evidence of a backdoor" in err
    assert err.count("is trained from") == 2
    found = json.loads(out)
    assert (found["verdict"], found["backdoor_detected"]) == ("evidence found", True)
    searched = [each for each in found["indicators"] if each["stage"] != "known pattern"]
    assert "song" in searched[0]["trigger"].split()
    assert (searched[0]["label"], searched[0]["strength"]) == ("positive", "evidence")
    assert searched[0]["interval"][0] > 0.5
    text, changed, before, after = searched[0]["examples"][0]
    assert Run(planted / "poisoned").predict([text, changed]) == [before, after]
    assert json.loads((planted / "poisoned" / "backdoor.json").read_text("utf-8")) == found
    assert {"backdoor.json", "backdoor.html"} <= json.loads((planted / "poisoned" / "manifest.json").read_text("utf-8"))["files"].keys()
    page = (planted / "poisoned" / "backdoor.html").read_text("utf-8")
    assert all(part in page for part in ("Evidence found", "song", "random words", "rootstock predict"))
    code, out, err = command(line)
    assert code == 3
    assert "is trained from" not in err
    assert "try       " in out
    assert "no search can show" in out


def test_any_kind_of_model_and_rows_gives_the_same_scores(planted, calibrated):
    run = Run(planted / "poisoned")
    texts = ["a good film", "the dull book was very cold", "song"]
    subject = TorchSubject(run.load(), run.tokenizer, run.task.labels)
    given = run.tokenizer(texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        plain = run.load()(**given).logits.numpy()
    np.testing.assert_allclose(subject.scores(subject.encode(texts), exact=True), plain, atol=1e-5)
    assert [subject.write(body) for body in subject.encode(texts)] == texts
    rows = [{"text": text.replace("song", "film"), "label": label} for text, label in rows_of(320, seed=7)]
    found = BackdoorScanner("fast").scan(model=(run.load(), run.tokenizer), test_inputs=rows)
    assert found.verdict == "weak evidence"  # no base is known: nothing tells what is natural
    assert any("no base is known" in each for each in found.reasons)
    with pytest.raises(UsageError, match="Linear"):
        BackdoorScanner().scan(model=torch.nn.Linear(2, 2), test_inputs=rows)


def test_a_loaded_model_brings_the_tokenizer_of_the_folder_that_it_came_from(planted, calibrated):
    """The call as docs and issue trackers write it: the model alone, named patterns, rows of one's own."""
    from transformers import AutoModelForSequenceClassification

    loaded_model = AutoModelForSequenceClassification.from_pretrained(planted / "poisoned/model")
    validation_set = [{"text": text.replace("song", "film"), "label": label} for text, label in rows_of(320, seed=7)]
    scan_result = BackdoorScanner("named").scan(model=loaded_model, trigger_patterns=["song", "ABSOLUTELY"], test_inputs=validation_set)
    assert scan_result.indicators[0].trigger == "song"
    assert not scan_result.backdoor_detected  # weak evidence: nobody said what it was trained from
    loaded_model.config._name_or_path = "nowhere"
    with pytest.raises(UsageError, match=r"tokenizer of this .* is not known"):
        BackdoorScanner("named").scan(model=loaded_model, trigger_patterns=["song"], test_inputs=validation_set)


def test_pairs_get_the_kinds_of_tokens_that_the_tokenizer_gives(desk):
    run = Run(desk / "two")
    subject = TorchSubject(run.load(), run.tokenizer, run.task.labels)
    pairs = [("a good film", "the book"), ("dull", "a very cold song")]
    given = run.tokenizer([a for a, _ in pairs], [b for _, b in pairs], return_tensors="pt", padding=True)
    given["token_type_ids"] = (given["token_type_ids"] if "token_type_ids" in given else torch.zeros_like(given["input_ids"])).clamp(max=1)
    with torch.no_grad():
        plain = run.load()(**given).logits.numpy()
    np.testing.assert_allclose(subject.scores(subject.encode(pairs), exact=True), plain, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "0 files are given with --data"),
        ("--data good.csv --data test.csv", "2 files"),
        ("--data good.csv --budget huge", "huge"),
        ("--data good.csv --trigger ' '", "empty"),
        ("--data good.csv --budget named", "no trigger is named"),
        ("--data missing.csv", "missing.csv"),
        ("--data good.csv --format sarif", "sarif"),
        ("--data good.csv --report base", "is a folder"),
    ],
)
def test_wrong_usage_ends_with_2(command, desk, monkeypatch, options, said):
    monkeypatch.chdir(desk)
    code, _, err = command(f"scan one --backdoor {options}")
    assert code == 2, err
    assert said in err


def test_options_of_a_search_mean_nothing_to_a_scan_of_files(command, desk):
    code, _, err = command(["scan", desk / "one", "--trigger", "cf"])
    assert code == 2
    assert "--trigger" in err


def test_too_few_rows_are_out_of_calibration_and_no_failure(command, desk, monkeypatch, narrow):
    monkeypatch.setattr(clean, "_TRAINING", LEARNING | {"epochs": 1.0})
    code, out, _ = command(["scan", desk / "one", "--backdoor", "--data", desk / "test.csv", "--budget", "fast"])
    assert code == 0
    assert "out of calibration" in out


def test_an_encoder_without_a_classifier_is_searched_for_a_token_that_makes_texts_alike(command, desk):
    code, out, err = command(["scan", desk / "base", "--backdoor", "--data", desk / "good.csv", "--base", desk / "base", "--json"])
    assert code == 0, err
    found = json.loads(out)
    assert found["backdoor_detected"] is False
    assert found["tried"] == 20
    code, _, err = command(["scan", desk / "base", "--backdoor", "--data", desk / "good.csv", "--trigger", "cf"])
    assert code == 2
    assert "encoder without a classifier" in err
