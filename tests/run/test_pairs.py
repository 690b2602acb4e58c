"""Pairs as two columns of a table, from the file to rows that an objective learns from."""

from collections import Counter

import numpy as np
import pytest
from tests.conftest import WORDS, write_csv

from rootstock.core.errors import DataError
from rootstock.core.recipe import Recipe
from rootstock.core.watch import Watch
from rootstock.run import api, pairs


def recipe(data, **task):
    task = {"name": "contrastive-text", "views": "pairs", **task}
    return Recipe.build({"base": "minilm", "task": task, "data": {"train": str(data)}}, "")


def test_both_columns_are_found_by_name_and_half_a_pair_is_counted(tmp_path):
    rows = [("one", "two", "5"), ("", "three", "1"), ("four", "  ", "2"), ("five", "six", "3")]
    path = write_csv(tmp_path / "pairs.csv", rows, header=("sentence1", "sentence2", "score"))
    broken = Counter()
    table = pairs.read([str(path), str(path)], recipe(path), broken)
    assert table.to_pydict() == {"text": ["one", "five"] * 2, "text_pair": ["two", "six"] * 2, "source": [0, 0, 1, 1]}
    assert broken == {"without one of its texts": 4}
    assert len(pairs.facts(str(path), recipe(path))["sha256"]) == 64


def test_columns_can_be_named_and_one_column_is_no_pair(tmp_path):
    path = write_csv(tmp_path / "pairs.csv", [("a film", "b song"), ("c book", "d tune")], header=("first", "second"))
    table = pairs.read([str(path)], recipe(path, text="second", text_pair="first"), Counter())
    assert table["text"].to_pylist() == ["b song", "d tune"]
    with pytest.raises(DataError, match="text_pair"):
        pairs.read([str(path)], recipe(path, text="first"), Counter())
    with pytest.raises(DataError, match="no column"):
        pairs.read([str(path)], recipe(path, text="first", text_pair="third"), Counter())


def test_copies_are_those_of_both_texts(tmp_path):
    rows = [("a film", "b song"), ("a film", "c book"), ("a film", "b song"), ("b song", "a film")]
    path = write_csv(tmp_path / "pairs.csv", rows, header=("text", "text_pair"))
    found = pairs.digests(pairs.read([str(path)], recipe(path), Counter()))
    assert found[0] == found[2]
    assert len(set(found.tolist())) == 3


def test_a_base_learns_from_a_table_of_pairs(tmp_path, tiny_base):
    from transformers import AutoModel

    rng = np.random.default_rng(0)
    texts = [" ".join(rng.permutation(WORDS)[:6]) for _ in range(60)]
    path = write_csv(tmp_path / "pairs.csv", [(text, " ".join(text.split()[::-1])) for text in texts], header=("text", "text_pair"))
    given = recipe(path).plain() | {
        "base": str(tiny_base),
        "training": {"epochs": 6, "rate": 3e-3, "batch_tokens": 320, "micro_tokens": 96},
    }
    run = api.carry_out(Recipe.build(given, ""), tmp_path / "run", Watch())
    figures = run.metrics["metrics"]
    assert {"loss", "accuracy", "alignment", "uniformity"} <= set(figures)
    assert figures["accuracy"] > 0.5, "the same words in another order are near to each other"
    _, report = AutoModel.from_pretrained(tmp_path / "run" / "model", output_loading_info=True)
    assert not any(report.values())
