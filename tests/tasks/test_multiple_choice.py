"""Choices against each text scored alone, answers however they are written, files however they hold choices."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from tests import cards
from tests.conftest import WORDS, rows_of
from transformers import AutoModelForMultipleChoice, AutoTokenizer

import rootstock as rs
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import DataError, UsageError
from rootstock.core.rows import CHOICES, LABEL, PAIR, ROW, TEXT
from rootstock.core.seed import Draw
from rootstock.data import schema, split
from rootstock.evaluation.baselines import baselines
from rootstock.tasks.multiple_choice import MultipleChoice


def table(labels, choices=(["a film", "the very dull book", "cold"], ["warm", "a song"]), **more):
    count = len(labels)
    held = pa.array([list(choices[i % len(choices)]) for i in range(count)], pa.list_(pa.string()))
    return pa.table({TEXT: ["the film was"] * count, CHOICES: held, LABEL: labels, ROW: list(range(1, count + 1)), **more})


@pytest.fixture
def tokenizer(tiny_base):
    return bases.tokenizer(resolve(str(tiny_base)))


@pytest.mark.parametrize(
    ("labels", "places"),
    [
        ([2, 0], [2, 0]),
        ([3, 1], [2, 0]),  # as many as there are, and no 0: they are counted from 1
        (["C", "a"], [2, 0]),
        (["cold", "a song"], [2, 1]),
        (["C", "1"], [2, 0]),  # beside letters, numbers begin at 1
        ([1, 1], [1, 1]),
    ],
)
def test_answers_are_numbers_letters_or_texts(labels, places):
    rows = table(labels)
    task = MultipleChoice().fit(rows, rows)
    assert task.answers(rows).tolist() == places
    assert task.truth(rows) == [rows.column(CHOICES)[i].as_py()[place] for i, place in enumerate(places)]


def test_a_number_that_is_a_text_of_the_choices_is_no_place():
    sums = table(["3", "0"], [["1", "2", "3", "4"], ["0", "9"]])
    assert MultipleChoice().fit(sums, sums).answers(sums).tolist() == [2, 0]
    places = table([1, 0], [["1", "2"], ["0", "9"]])
    assert MultipleChoice().fit(places, places).answers(places).tolist() == [1, 0], "numbers in the file count places"


def test_what_is_no_choice_is_refused():
    with pytest.raises(DataError, match="row 2 has the answer '2' and 2 choices"):
        MultipleChoice().fit(table([0, 2]), table([0]))
    with pytest.raises(DataError, match="row 1 has the answer '-1'"):
        MultipleChoice().fit(table([-1, 0]), table([0]))
    with pytest.raises(DataError, match=r"row 1 has the choices \['x'\]"):
        MultipleChoice().fit(table([0], [["x"]]), table([0]))
    with pytest.raises(DataError, match="no column of choices"):
        MultipleChoice().fit(table([0]).drop_columns([CHOICES]), table([0]))


@pytest.mark.parametrize("passage", [False, True])
def test_each_choice_is_read_as_transformers_reads_the_pair(tokenizer, tiny_base, passage):
    rows = table([0, 1], **({PAIR: ["a good book", "a bad song"]} if passage else {}))
    task = MultipleChoice().fit(rows, rows)
    encoded = task.encode(rows, tokenizer, None)
    model = bases.load(resolve(str(tiny_base)), task.head(), seed=0).model
    batch = task.collate(encoded, np.arange(2), tokenizer, Draw(0))
    found = task.decode(model, batch)["shares"]
    for row in range(2):
        choices = rows.column(CHOICES)[row].as_py()
        first = [rows.column(PAIR)[row].as_py() if passage else "the film was"] * len(choices)
        second = [f"the film was {choice}" if passage else choice for choice in choices]
        with torch.no_grad():
            made = tokenizer(first, second, padding=True, return_tensors="pt")
            logits = model(**{name: values[None] for name, values in made.items()}).logits[0]
        np.testing.assert_allclose(found[row], logits.softmax(-1).numpy(), rtol=1e-5)
    with torch.no_grad():
        loss = task.loss(model, batch)
    assert loss.count == 2
    assert loss.total.item() == pytest.approx(-math.log(found[0][0]) - math.log(found[1][1]), rel=1e-5)


def test_a_choice_that_a_row_lacks_gets_no_share_and_no_gradient(tokenizer):
    class Said(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = torch.nn.Parameter(torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 9.0]]))

        def forward(self, **_):
            return self

    rows, model = table([0, 1]), Said()
    task = MultipleChoice().fit(rows, rows)
    encoded = task.encode(rows, tokenizer, None)
    batch = task.collate(encoded, np.arange(2), tokenizer, Draw(0))
    task.loss(model, batch).total.backward()
    assert model.logits.grad[1, 2] == 0
    columns = task.told(task.decode(model, batch), encoded, rows, tokenizer)
    np.testing.assert_allclose(columns["scores"][1], [*F.softmax(torch.tensor([1.0, 2.0]), -1).tolist(), 0], rtol=1e-6)
    assert task.readable(columns)["predicted"] == ["cold", "a song"]


def test_a_row_is_as_long_as_its_longest_choice_and_costs_all_of_them(tokenizer):
    rows = table([0, 1])
    task = MultipleChoice().fit(rows, rows)
    encoded = task.encode(rows, tokenizer, None)
    assert task.spans(encoded).tolist() == [3 + 3 + 4, 3 + 3 + 2]
    assert encoded.lengths.tolist() == [3 * 10, 2 * 8]
    assert task.spans(task.encode(rows, tokenizer, 7)).tolist() == [7, 7]


def test_one_question_with_other_choices_is_another_row():
    assert len(set(split.keys(table([0, 1])))) == 2
    assert len(set(split.keys(table([0, 1], [["a", "b"]])))) == 1


def test_baselines_are_the_likest_choice_and_the_commonest_place():
    rows = table([1, 1, 0], [["cold song", "the film"]])
    found = baselines(rows, rows, MultipleChoice().fit(rows, rows))
    assert found.columns["words"]["scores"].argmax(1).tolist() == [1, 1, 1]
    assert found.columns["majority"]["scores"].argmax(1).tolist() == [1, 1, 1]


def test_numbered_columns_are_one_list():
    columns = ["startphrase", "ending0", "ending1", "ending3", "label"]
    assert schema.series(MultipleChoice.further[CHOICES], columns) == ["ending0", "ending1"]
    assert schema.series(("options",), ["Option A", "Option B", "optionc"]) == ["Option A", "Option B", "optionc"]
    assert schema.series(("options",), ["option1", "text"]) == []
    assert MultipleChoice.suits({"startphrase", "ending0", "ending1", "label"})
    assert not MultipleChoice.suits({"question", "context", "answers", "answerstart"})
    assert not MultipleChoice.suits({"text", "choice1", "label"})


def made(count=60):
    """The right choice is the one with a word of the first ten."""
    rows = []
    for i, (text, _) in enumerate(rows_of(count)):
        right, wrong = f"{WORDS[i % 10]} {WORDS[10 + i % 7]}", f"{WORDS[10 + i % 9]} {WORDS[12 + i % 6]}"
        rows.append(
            {"question": f"{text} {WORDS[10 + i // 10]}", "choices": [right, wrong] if i % 2 else [wrong, right], "answer": "BA"[i % 2]}
        )
    return rows


def columns(rows, *, styled):
    if styled == "list":
        return [json.dumps(row) for row in rows]
    if styled == "objects":
        return [json.dumps({**row, "choices": {"text": row["choices"], "label": ["A", "B"]}}) for row in rows]
    return [
        json.dumps({"question": row["question"], "choice1": row["choices"][0], "choice2": row["choices"][1], "answer": row["answer"]})
        for row in rows
    ]


@pytest.mark.parametrize("styled", ["list", "objects", "columns"])
def test_however_a_file_holds_its_choices_it_is_the_same_data(tmp_path, styled, tiny_base):
    path = tmp_path / f"{styled}.jsonl"
    path.write_text("\n".join(columns(made(), styled=styled)))
    found = rs.inspect(path, base=str(tiny_base))
    assert found["kind"] == "choice"
    assert set(found["labels"]) == {"A", "B"}
    assert found["lengths"]["longest"] == max(len(row["question"].split()) for row in made()) + 2 + 3


def test_from_a_file_to_choices_and_plain_transformers(tiny_base, tmp_path):
    path = tmp_path / "made.jsonl"
    path.write_text("\n".join(columns(made(), styled="columns")))
    settings = {"epochs": 10, "rate": 5e-3, "batch_tokens": 512}
    run = rs.adapt(path, base=str(tiny_base), method="full", out=tmp_path / "run", training=settings)
    assert run.recipe.task["name"] == "multiple-choice"
    assert run.recipe.task["choices"] == "choice1, choice2"
    assert run.metrics["metrics"]["accuracy"] > 0.9
    assert set(run.metrics["baselines"]) == {"words", "majority"}
    question = ("the book is", ["the quite a", f"a {WORDS[1]}"])
    assert run.predict([question]) == [f"a {WORDS[1]}"]
    assert run.evaluate(str(path))["metrics"]["accuracy"] > 0.9
    with pytest.raises(UsageError, match="without choices"):
        run.predict(["the book is"])
    tokens, model = (each.from_pretrained(run.path / "model") for each in (AutoTokenizer, AutoModelForMultipleChoice))
    inputs = tokens([question[0]] * 2, question[1], padding=True, return_tensors="pt")
    assert int(model.eval()(**{name: values[None] for name, values in inputs.items()}).logits.argmax()) == 1
    card = (run.path / "README.md").read_text()
    assert "pipeline_tag: multiple-choice" in card
    assert "AutoModelForMultipleChoice" in card
    assert cards.said(run) in ("one answer", "another")
