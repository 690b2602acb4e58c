"""Pairs as two columns of a table, from the file to rows that an objective learns from."""

from collections import Counter

import numpy as np
import pytest
from tests.conftest import WORDS, make_base, make_tokenizer, write_csv
from tokenizers import normalizers

from rootstock.core.errors import DataError
from rootstock.core.recipe import Recipe
from rootstock.core.watch import Watch
from rootstock.corpus import build
from rootstock.corpus.pipeline import CorpusSettings
from rootstock.run import pairs, unlabelled
from rootstock.run.prepare import prepare
from rootstock.verbs import api


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


def test_a_table_read_another_way_is_not_taken_from_the_cache(tmp_path, tiny_base):
    path = tmp_path / "pairs.csv"
    path.write_text("text,text_pair\n" + "".join(f'"a {word} film","the {word} book"\n' for word in WORDS))
    firsts = []
    for quoting in ("auto", "no"):
        given = recipe(path).plain()
        prepared = prepare(
            Recipe.build({**given, "base": str(tiny_base), "data": {**given["data"], "quoting": quoting}}, ""), lambda text: None
        )
        firsts.append(prepared.encoded.tokens["input_ids"].lengths.max())
    assert firsts == [5, 7], "a quote that is not read as one is a token"


def test_long_pairs_are_a_finding_and_one_without_tokens_is_counted(tmp_path):
    base, tokenizer = make_base(tmp_path / "base"), make_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer()  # takes away what does not show
    tokenizer.save_pretrained(base)
    texts = [" ".join(np.random.default_rng(number).permutation(WORDS)[:4]) for number in range(20)]
    rows = [*((text, text.upper()) for text in texts), ("a " * 30, "b"), ("a song", "\u200b\u200b")]
    given = recipe(write_csv(tmp_path / "pairs.csv", rows, header=("text", "text_pair"))).plain() | {"base": str(base)}
    ledger = unlabelled.prepare(Recipe.build(given | {"training": {"length": 12}}, ""), lambda text: None).ledger
    assert ledger["findings"]["truncation"]["count"] == 1
    assert ledger["findings"]["truncation"]["examples"][0]["tokens"] == 32
    assert ledger["broken"] == {"with too few tokens": 1}
    assert ledger["rows"]["read"] == 22
    assert ledger["rows"]["train"] + ledger["rows"]["validation"] == 21
    assert ledger["lengths"]["kept"] == 24


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


def test_a_built_corpus_holds_no_pairs_and_what_it_is_good_for_is_said(tmp_path):
    (tmp_path / "notes.txt").write_text("a text of its own")
    build.build(CorpusSettings(sources=(str(tmp_path / "notes.txt"),)), tmp_path / "corpus", Watch())
    with pytest.raises(DataError, match=r"is a corpus of documents, and task\.views is pairs") as told:
        pairs.facts(str(tmp_path / "corpus"), recipe(tmp_path / "corpus"))
    assert "dropout" in told.value.fix
