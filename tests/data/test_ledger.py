import json

import numpy as np
import pyarrow as pa
import pytest

from rootstock.core.errors import LedgerRefused, UnknownName
from rootstock.data.ledger import LIMITS, Facts, account, refuse


def table(texts, labels, start=1, **more):
    return pa.table({"text": texts, "label": labels, "row": range(start, start + len(texts)), **more})


def clean(count, start=0):
    return [f"text {i}" for i in range(start, start + count)]


def ledger(texts, labels, validation=(["unseen"], ["a"]), **facts):
    train, held = table(texts, labels), table(*validation, start=1000)
    defaults = {
        "train_lengths": np.full(len(texts), 5),
        "validation_lengths": np.full(len(validation[0]), 5),
        "length": 16,
        "kind": "class",
        "names": lambda label: [str(label)],
    }
    return account(train, held, Facts(**defaults | facts))


def test_clean_rows_have_no_findings_and_pass():
    book = ledger(clean(100), ["a", "b"] * 50, (clean(10, 100), ["a"] * 10), padding_share=0.125)
    assert set(book["findings"]) == set(LIMITS)
    assert {each["count"] for each in book["findings"].values()} == {0}
    assert book["rows"] == {"read": 110, "dropped": 0, "train": 100, "validation": 10}
    assert book["labels"] == {"a": 50, "b": 50}
    assert book["validation_labels"] == {"a": 10}
    assert book["padding_share"] == 0.125
    refuse(book, [])
    assert json.loads(json.dumps(book, allow_nan=False)) == book


def test_every_planted_fault_is_found():
    texts = [*clean(90), "Twice", "twice ", "torn", "Torn", "", "seen", *clean(4, 90)]
    labels = [*["a"] * 92, "a", "b", *["a"] * 6]
    lengths = np.full(100, 5)
    lengths[[3, 99]] = 40
    book = ledger(
        texts,
        labels,
        (["SEEN", "new"], ["a", "b"]),
        train_lengths=lengths,
        validation_lengths=np.array([5, 40]),
        dropped=(("train", 7), ("validation", 8)),
    )
    found = {name: (each["count"], each["share"]) for name, each in book["findings"].items()}
    assert found == {
        "truncation": (3, 3 / 102),
        "empty": (1, 1 / 102),
        "contradictions": (2, 0.02),
        "overlap": (1, 0.5),
        "duplicates": (2, 0.02),
        "unlabelled": (2, 2 / 104),
    }
    examples = {name: each["examples"][0] for name, each in book["findings"].items()}
    assert examples["truncation"] == {"row": 4, "in": "train", "text": "text 3", "tokens": 40}
    assert examples["contradictions"] == {"row": 93, "in": "train", "text": "torn", "label": "a", "labels": ["a", "b"]}
    assert examples["overlap"] == {"row": 1000, "in": "validation", "text": "SEEN", "train_row": 96}
    assert examples["duplicates"] == {"row": 92, "in": "train", "text": "twice", "first_row": 91}
    assert examples["unlabelled"]["row"] == 7
    assert book["rows"] == {"read": 104, "dropped": 2, "train": 100, "validation": 2}


def test_findings_above_their_limits_refuse_until_accepted():
    book = ledger(clean(10), ["a"] * 10, (["TEXT 3"], ["a"]), train_lengths=np.array([99] * 5 + [5] * 5))
    with pytest.raises(LedgerRefused) as caught:
        refuse(book, ["truncation"])
    message = str(caught.value)
    assert "overlap: validation rows also occur in training: 1 (100.0%, limit 10%), such as row 1000 of validation 'TEXT 3'" in message
    assert "--accept overlap" in message
    assert "truncation" not in message
    assert caught.value.exit_code == 3
    refuse(book, ["truncation", "overlap"])


def test_a_finding_at_its_limit_passes():
    lengths = np.full(99, 5)
    lengths[0] = 99
    assert ledger(clean(99), ["a"] * 99, train_lengths=lengths)["findings"]["truncation"]["share"] == LIMITS["truncation"]
    refuse(ledger(clean(99), ["a"] * 99, train_lengths=lengths), [])


def test_accepting_what_is_no_finding_is_an_error():
    with pytest.raises(UnknownName, match="did you mean 'truncation'"):
        refuse(ledger(clean(2), ["a", "b"]), ["truncatoin"])


def test_numbers_are_summarised_and_contradict_only_when_far_apart():
    texts, labels = ["near", "Near", "far", "far", *clean(4)], ["1.0", "1.2", "0.0", "5.0", "1", "2", "3", "4"]
    book = ledger(texts, labels, (["x"], ["3"]), kind="number")
    assert book["findings"]["contradictions"]["count"] == 2
    assert book["labels"]["count"] == 8
    assert book["labels"]["mean"] == pytest.approx(17.2 / 8)
    assert (book["labels"]["smallest"], book["labels"]["largest"]) == (0.0, 5.0)


def test_label_lists_are_counted_one_by_one_and_compared_as_sets():
    book = ledger(["x", "x", "y", "y"], [["a", "b"], ["b", "a"], ["a"], []], (["z"], [["b"]]), kind="classes", names=list)
    assert book["labels"] == {"a": 3, "b": 2}
    assert [each["row"] for each in book["findings"]["contradictions"]["examples"]] == [3, 4]


def test_a_pair_is_empty_if_either_text_is_and_equal_if_both_are():
    train = table(["a", "a", "a", ""], ["x"] * 4, text_pair=["b", "b", "c", "d"])
    facts = Facts(train_lengths=np.full(4, 5), validation_lengths=np.full(1, 5), length=16, kind="class", names=list)
    book = account(train, table(["b"], ["x"], text_pair=["a"]), facts)
    assert {name: each["count"] for name, each in book["findings"].items() if each["count"]} == {"empty": 1, "duplicates": 1}


def test_lengths_and_what_each_cut_would_cost():
    lengths = np.array([10, 40, 100, 600])
    book = ledger(clean(4), ["a", "b"] * 2, train_lengths=lengths, validation_lengths=np.array([50]), length=512)
    assert sum(book["lengths"]["counts"]) == 5
    assert len(book["lengths"]["bins"]) == len(book["lengths"]["counts"]) + 1
    assert (book["lengths"]["longest"], book["lengths"]["tokens"], book["lengths"]["kept"]) == (600, 800, 512)
    assert book["lengths"]["percentiles"]["50"] == 50
    cuts = {each["length"]: each for each in book["truncation"]}
    assert cuts[64] == {"length": 64, "rows": 2, "share": 0.4, "tokens_lost": 36 + 536, "tokens_share": 572 / 800}
    assert cuts[512]["rows"] == 1
