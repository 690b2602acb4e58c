"""What models write for training rows: as predict writes it, once, drawn alike for one seed, and only what is new."""

import json

import numpy as np
import pytest
from tests.conftest import WORDS, make_tokenizer, rows_of, write_csv
from tests.tiny_models import causal_model, masked_model, saved, seq2seq_model, with_bos

import rootstock
from rootstock.core.augment import Writing
from rootstock.core.errors import RecipeError
from rootstock.run import writing
from rootstock.run.writing import write

TEXTS = ["the film was good", "", "a very cold song", "the film was good"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("writers")
    saved(seq2seq_model(), make_tokenizer(), folder / "seq2seq")
    saved(causal_model(), with_bos(), folder / "causal")
    saved(masked_model(), make_tokenizer(), folder / "masked")
    return folder


def said(place, name, texts=TEXTS, seed=0, **more):
    how = {"model": str(place / name), "key": "augment.model", "max_tokens": 6, **more}
    return write(Writing(**how), texts, seed=seed, say=lambda text: None)


def test_a_base_writes_as_transformers_does(place):
    tokens, model = make_tokenizer(), seq2seq_model()
    ids = tokens("good the film", return_tensors="pt", return_token_type_ids=False)
    wanted = tokens.decode(model.generate(**ids, max_new_tokens=6, do_sample=False)[0], skip_special_tokens=True)
    found = said(place, "seq2seq", ["the film", ""], ask="good {text}")
    assert found == [wanted.strip(), ""]


def test_a_run_writes_what_predict_writes(place, tmp_path):
    rows = [(text, " ".join(reversed(text.split()))) for text, _ in rows_of(40)]
    pairs = write_csv(tmp_path / "pairs.csv", rows, header=("source", "target"))
    run = rootstock.adapt(
        pairs, base=str(place / "seq2seq"), method="lora", task="text-to-text", out=tmp_path / "run", training={"steps": 2},
        accept=["contradictions"],
    )  # fmt: skip
    made = write(Writing(model=str(run.path), key="augment.there"), TEXTS, seed=0, say=lambda text: None)
    assert made[0] == made[3] == run.predict([TEXTS[0]])[0]
    assert made[2] == run.predict([TEXTS[2]])[0]


def test_another_tokenizer_writes_anew(place, tmp_path):
    """The same weights under another order of words: what the first wrote is not what the second writes."""
    for name, words in (("a", WORDS), ("b", WORDS[::-1])):
        saved(seq2seq_model(), make_tokenizer(words), tmp_path / name)
    found = [said(tmp_path, name) for name in ("a", "b")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROOTSTOCK_CACHE", str(tmp_path / "cache"))
        alone = said(tmp_path, "b")
    assert found[1] == alone != found[0]


def test_a_model_that_writes_on_takes_one_beginning(place):
    with pytest.raises(RecipeError, match=r"augment.beams is 3, and .*causal writes on") as met:
        said(place, "causal", beams=3)
    assert "leave augment.beams out" in str(met.value)
    assert said(place, "seq2seq", beams=3)


def test_what_is_drawn_follows_from_texts_and_seed(place):
    first = said(place, "seq2seq", temperature=30.0)
    assert said(place, "seq2seq", seed=1, temperature=30.0) != first
    assert said(place, "seq2seq", temperature=0.0) != first
    assert first[0] != first[3], "each copy is drawn for itself"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROOTSTOCK_CACHE", str(place / "another-cache"))
        assert said(place, "seq2seq", temperature=30.0) == first


def test_what_was_written_is_not_written_again(place, monkeypatch):
    first = said(place, "causal")
    with monkeypatch.context() as patch:
        patch.setattr(writing._Writer, "write", lambda *_: pytest.fail("it was written before"))
        assert said(place, "causal") == first
    parts = []
    monkeypatch.setattr(writing, "_PART", 2)
    monkeypatch.setattr(writing._Writer, "write", lambda self, texts, seed: parts.append(texts) or [f"new {text}" for text in texts])
    assert said(place, "causal", max_tokens=7) == ["new the film was good", "", "new a very cold song", "new the film was good"]
    assert parts == [["the film was good"], ["a very cold song", "the film was good"]]


def test_a_causal_model_gives_its_first_line():
    assert writing._first_line("\n  otherwise said\nand on") == "otherwise said"
    assert writing._first_line(" \n") == ""


def test_what_writes_nothing_is_refused(place, adapt, tmp_path):
    with pytest.raises(RecipeError, match="BertForMaskedLM"):
        said(place, "masked")
    run = adapt("classes", training={"steps": 1})
    with pytest.raises(RecipeError, match="a run of text-classification"):
        write(Writing(model=str(run.path), key="augment.back"), TEXTS, seed=0, say=lambda text: None)


def test_training_rows_grow_by_what_is_new_and_the_rest_is_counted(place, adapt, monkeypatch):
    def half(self, texts, seed):
        return [text.upper() + "  " if number % 2 else f"very {text}" for number, text in enumerate(texts)]

    monkeypatch.setattr(writing._Writer, "write", half)
    run = adapt("more", augment={"name": "paraphrase", "model": str(place / "seq2seq")}, training={"epochs": 1, "rate": 1e-3})
    told = run.folder.json("ledger.json")["rows"]
    assert told["made"] + told["nothing_new"] == told["train"] == 108
    assert told["made"] == 54
    steps = [event["rows"] for event in map(json.loads, run.folder.history.read_text().splitlines()) if event["event"] == "step"]
    assert sum(steps) == 108 + 54
    assert "54 made of these" in (run.path / "README.md").read_text("utf-8")
    assert np.isfinite(run.metrics["metrics"]["accuracy"])
