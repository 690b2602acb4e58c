"""Bases ranked by frozen vectors: who is first, what is said of it, and each thing that can be wrong."""

import json

import numpy as np
import pytest
import torch
import transformers
from tests.conftest import make_base, make_tokenizer, rows_of, write_csv

from rootstock.core.errors import Interrupted, UsageError
from rootstock.core.watch import Watch
from rootstock.evaluation.frozen import Labels
from rootstock.report.rank_text import as_text, verdict
from rootstock.tasks.text_classification import TextClassification
from rootstock.verbs import rank


@pytest.fixture(scope="module")
def knowing(tmp_path_factory):
    """A base whose embeddings hold the label: words that tell one lie far apart from words that tell the other."""
    folder = make_base(tmp_path_factory.mktemp("knowing"))
    model = transformers.BertModel.from_pretrained(folder)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[5:10, :8] += 2
        model.embeddings.word_embeddings.weight[10:15, :8] -= 2
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def blind(tmp_path_factory):
    """One that takes every word for the same."""
    folder = make_base(tmp_path_factory.mktemp("blind"))
    model = transformers.BertModel.from_pretrained(folder)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[:] = model.embeddings.word_embeddings.weight[1]
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def ranked(bases, data, **changes):
    return rank.rank([str(each) for each in bases], str(data), Watch(), changes=changes)


def test_the_base_that_knows_the_labels_is_first_by_every_score(knowing, blind, reviews):
    found = ranked([blind, knowing], reviews)
    assert found["orders"] == {score: [str(knowing), str(blind)] for score in rank.SCORES}
    assert found["agreement"] == {"neighbours": 1.0, "logme": 1.0}
    assert all(each["separable"] and each["difference"] > 0 for each in found["first_over_second"].values())
    first, second = found["bases"]
    assert first["probe"]["value"] > 0.9 > second["probe"]["value"]
    assert first["above"]["majority"]["separable"]
    assert not second["above"]["majority"]["separable"]
    assert {name: found["baselines"][name]["value"] > 0.9 for name in ("majority", "tfidf")} == {"majority": False, "tfidf": True}
    assert first["cost"]["rows_per_second"] > 0
    assert not first["cost"]["cached"]
    said = as_text(found)
    assert f"{knowing} is first: its probe is" in said
    assert f"{blind}: not separably above the simplest answer" in said
    again = ranked([blind, knowing], reviews)
    assert all(each["cost"]["cached"] for each in again["bases"])
    assert [each["logme"] for each in again["bases"]] == [each["logme"] for each in found["bases"]]
    assert "from the cache" in as_text(again)


def test_bases_that_are_alike_are_not_told_apart(knowing, reviews, tmp_path):
    twin = tmp_path / "twin"
    transformers.BertModel.from_pretrained(knowing).save_pretrained(twin)
    make_tokenizer().save_pretrained(twin)
    found = ranked([knowing, twin], reviews)
    assert not any(each["separable"] for each in found["first_over_second"].values())
    assert "not told apart" in verdict(found)


def test_rows_of_equal_texts_tell_as_much_as_one():
    rng = np.random.default_rng(0)
    answers, scores, task = rng.integers(0, 2, 40), rng.dirichlet([1, 1], 40), TextClassification(labels=("no", "yes"))
    single = rank._Rows(None, task, Labels(answers, np.arange(40), 2, 0)).drawn(scores)
    copies = rank._Rows(None, task, Labels(np.repeat(answers, 5), np.repeat(np.arange(40), 5), 2, 0)).drawn(np.repeat(scores, 5, 0))
    assert copies[0]["interval"] == pytest.approx(single[0]["interval"])
    assert copies[1].rows == single[1].rows == 40


def test_numbers_have_r2_beside_the_rank(knowing, blind, tmp_path):
    rows = [(text, 3.5 if label == "positive" else 1.25 + number % 3 / 10) for number, (text, label) in enumerate(rows_of(120))]
    found = ranked([blind, knowing], write_csv(tmp_path / "numbers.csv", rows, header=("text", "score")))
    assert (found["task"], found["figure"], found["classes"]) == ("regression", "spearman", 0)
    first = found["bases"][0]
    assert first["base"] == str(knowing)
    assert first["probe"]["r2"]["value"] > 0.8
    assert "probe R²" in as_text(found)


def test_a_run_that_learned_from_these_rows_is_said_to_be_flattered(adapt, knowing, reviews):
    run = adapt(method="full", base=str(knowing), training={"epochs": 1, "rate": 1e-3})
    found = ranked([run.path, knowing], reviews)
    seen = {each["base"]: each["trained_on"] for each in found["bases"]}
    assert seen[str(run.path)] > 60
    assert seen[str(knowing)] == 0
    assert "its figures flatter it" in as_text(found)


def test_who_stops_it_finds_the_vectors_that_were_computed(knowing, blind, reviews):
    asked = []

    def stop():
        asked.append(True)
        return len(asked) > 1

    with pytest.raises(Interrupted, match="vectors that were computed are kept"):
        rank.rank([str(blind), str(knowing)], str(reviews), Watch(stop=stop), changes={})
    assert [each["cost"]["cached"] for each in ranked([blind, knowing], reviews)["bases"]].count(True) >= 1


def test_the_command_as_it_is_written(command, knowing, blind, reviews):
    code, out, err = command(f"plan --rank-bases {blind} {knowing} --data {reviews} --rows 60 --json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["rows"], found["not_drawn"]) == (60, 60)
    assert found["bases"][0]["base"] == str(knowing)


@pytest.mark.parametrize(
    ("bases", "rows", "changes", "said"),
    [
        (["minilm"], "reviews", {}, "1 base is named"),
        (["tiny", "scratch:bert-tiny"], "reviews", {}, "has random weights"),
        (["tiny", "minilm2"], "reviews", {}, "minilm2"),
        (["blind", "tiny"], None, {}, "no rows are named"),
        (["tiny", "blind"], "few", {}, "labelled rows"),
        (["tiny", "blind"], "reviews", {"method.head": "knn"}, "this command sets method.head itself"),
    ],
)
def test_what_can_not_be_ranked(tiny_base, blind, reviews, tmp_path, bases, rows, changes, said):
    files = {"reviews": str(reviews), "few": str(write_csv(tmp_path / "few.csv", rows_of(12))), None: None}
    folders = {"tiny": str(tiny_base), "blind": str(blind)}
    named = [folders.get(each, each) for each in bases]
    with pytest.raises(UsageError, match=said):
        rank.rank(named, files[rows], Watch(), changes=changes)


def test_a_plan_is_for_one_file():
    assert rank.one_file([], None) is None
    assert rank.one_file(["a.csv"], None) == rank.one_file([], "a.csv") == "a.csv"
    with pytest.raises(UsageError, match="2 files are named"):
        rank.one_file(["a.csv"], "b.csv")


@pytest.mark.parametrize("option", ["labels", "rows", "length"])
def test_what_rows_tell_is_not_asked_for_beside_them(command, reviews, option):
    code, out, err = command(f"plan {reviews} --{option} 64")
    assert (code, out) == (2, "")
    assert f"--{option} is given, and the rows of {reviews} tell it" in err
