"""SQuAD's nesting made flat, answers as objects made columns, and what is no question named by its place."""

import gzip
import json

import pyarrow as pa
import pytest

from rootstock.core.errors import DataError
from rootstock.core.recipe import DataSettings
from rootstock.data import source, squad

ASKED = {"id": "q1", "question": "who?", "answers": [{"text": "Ann", "answer_start": 0}, {"text": "Ann Lee", "answer_start": 0}]}


def nested(*qas, context="Ann Lee"):
    return {"data": [{"title": "people", "paragraphs": [{"context": context, "qas": list(qas)}]}]}


def read(value, tmp_path):
    path = tmp_path / "people.json.gz"
    path.write_bytes(gzip.compress(json.dumps(value).encode()))
    return source.read(str(path), DataSettings(train=str(path)))


def test_a_question_is_a_row_with_all_of_its_answers(tmp_path):
    impossible = {"id": "q2", "question": "when?", "is_impossible": True, "answers": [], "plausible_answers": ASKED["answers"]}
    found = read(nested(ASKED, impossible), tmp_path)
    said = {"title": "people", "context": "Ann Lee"}
    assert found.table.to_pylist() == [
        {"id": "q1", **said, "question": "who?", "answers": ["Ann", "Ann Lee"], "answer_starts": [0, 0], "row": 1},
        {"id": "q2", **said, "question": "when?", "answers": [], "answer_starts": [], "row": 2},
    ]
    assert found.format == "json"


def test_a_question_that_nobody_answered_yet_has_a_missing_answer(tmp_path):
    found = read(nested({"question": "who?"}, ASKED), tmp_path)
    assert found.table.column("answers").to_pylist()[0] is None


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (nested({"id": "q1", "answers": []}), "article 1, paragraph 1, question 1: 'question' is missing"),
        (nested({**ASKED, "answers": [{"text": "Ann"}]}), "question 1: 'answer_start' is missing"),
        (nested({**ASKED, "answers": ["Ann"]}), "question 1: 'answers' holds what is no object"),
        (nested(ASKED, context=None), "paragraph 1: 'context' is missing"),
        ({"data": [{"paragraphs": "none"}]}, "article 1: 'paragraphs' is 'none'"),
    ],
)
def test_what_is_no_question_is_named_by_its_place(value, place, tmp_path):
    with pytest.raises(DataError, match=place):
        read(value, tmp_path)


def test_answers_as_objects_become_two_columns():
    together = pa.table({"answers": [{"text": ["a", "b"], "answer_start": [3, 5]}, {"text": [], "answer_start": []}, None]})
    listed = pa.table({"answers": [[{"text": "a", "answer_start": 3}, {"text": "b", "answer_start": 5}], [], None]})
    for table in (together, listed):
        found = squad.unfolded(table, "a")
        assert found.column("answers").to_pylist() == [["a", "b"], [], None]
        assert found.column("answer_starts").to_pylist() == [[3, 5], [], None]


def test_one_answer_as_an_object_is_an_answer():
    found = squad.unfolded(pa.table({"answers": [{"text": "ab", "answer_start": 3.0}, {"text": None, "answer_start": None}]}), "a")
    assert found.column("answers").to_pylist() == [["ab"], []]
    assert found.column("answer_starts").to_pylist() == [[3], []]


@pytest.mark.parametrize(
    "value",
    [
        [{"text": "a", "answer_start": 0}, None],
        [{"text": "a", "answer_start": "0"}],
        [{"text": None, "answer_start": 0}],
        {"text": ["a", "b"], "answer_start": [0]},
    ],
)
def test_an_answer_without_its_start_is_named_by_its_row(value):
    with pytest.raises(DataError, match=r"a, row 2, column 'answers'"):
        squad.unfolded(pa.table({"answers": [type(value)(), value] if isinstance(value, list) else [None, value]}), "a")


def test_other_objects_and_lists_stay_as_they_are():
    table = pa.table({"answers": [["a"], ["b"]], "other": [{"text": "a"}, {"text": "b"}]})
    assert squad.unfolded(table, "a") is table
    assert not squad.is_nested([{"text": "a"}])
    assert not squad.is_nested([])
