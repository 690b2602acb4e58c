"""Windows against transformers' own, the best span against trying all, figures against SQuAD's rules, answers through every verb."""

import gzip
import itertools
import json
import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from tests import cards
from tests.conftest import WORDS, rows_of
from transformers import AutoModelForQuestionAnswering

import rootstock as rs
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import DataError, RecipeError
from rootstock.core.recipe import Recipe
from rootstock.core.rows import LABEL, PAIR, PART, ROW, TEXT
from rootstock.core.seed import Draw
from rootstock.core.watch import Watch
from rootstock.evaluation.baselines import baselines
from rootstock.tasks import _spans
from rootstock.tasks.question_answering import QuestionAnswering
from rootstock.verbs import api

PASSAGE = "the film was good , the book was very dull and the song is warm"


def table(answers=("good",), starts=None, passage=PASSAGE, question="was the film good"):
    starts = [passage.find(answer) for answer in answers] if starts is None else starts
    columns = {TEXT: [question], PAIR: [passage], LABEL: pa.array([list(answers)], pa.list_(pa.string())), ROW: [7]}
    return pa.table({**columns, "answer_starts": pa.array([list(starts)], pa.list_(pa.int64()))})


@pytest.fixture
def tokenizer(tiny_base):
    return bases.tokenizer(resolve(str(tiny_base)))


@pytest.mark.parametrize("start", ["x", float("nan"), 4.5])
def test_a_start_that_is_no_letter_is_named_by_its_row(start):
    rows = pa.table({TEXT: ["who?"], PAIR: ["The cat sat."], LABEL: ["cat"], "answer_starts": [start], ROW: [7]})
    with pytest.raises(DataError, match="row 7 has the answer start"):
        QuestionAnswering().fit(rows, rows)


def test_windows_are_those_of_transformers(tokenizer):
    task = QuestionAnswering(stride=3).fit(table(), table())
    encoded = task.encode(table(), tokenizer, 16)
    made = tokenizer(
        "was the film good",
        PASSAGE,
        truncation="only_second",
        max_length=16,
        stride=3,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    tokenizer.backend_tokenizer.no_truncation()
    assert len(encoded) == len(made["input_ids"]) > 1
    for window, ids in enumerate(made["input_ids"]):
        assert encoded.tokens["input_ids"].padded(np.array([window]), 0)[0].tolist() == ids
        wanted = [
            begin if part == 1 else -1 for part, (begin, _) in zip(made.sequence_ids(window), made["offset_mapping"][window], strict=True)
        ]
        assert encoded.tokens["begins"].padded(np.array([window]), 0)[0].tolist() == wanted
    assert encoded.dense[PART].tolist() == [0] * len(encoded)


def test_an_answer_is_labelled_in_the_windows_that_hold_it_whole(tokenizer):
    task = QuestionAnswering(stride=3).fit(table(["very dull"]), table())
    encoded = task.encode(table(["very dull"]), tokenizer, 16)
    found = []
    for window, (first, last) in enumerate(encoded.dense["labels"].tolist()):
        letters = [encoded.tokens[name].padded(np.array([window]), 0)[0] for name in ("begins", "ends")]
        if first:
            assert PASSAGE[letters[0][first] : letters[1][last]] == "very dull"
        found.append(first > 0)
    assert 0 < sum(found) < len(found)


def test_a_question_that_leaves_no_room_is_refused(tokenizer):
    with pytest.raises(DataError, match="row 7: the question has 7 tokens with what stands around it, and 12 are read"):
        QuestionAnswering().encode(table(), tokenizer, 12)


def test_the_best_span_is_the_best_of_all():
    torch.manual_seed(0)
    start_BT, end_BT, inside_BT = torch.randn(3, 9), torch.randn(3, 9), torch.rand(3, 9) > 0.3
    found = _spans.best(start_BT, end_BT, inside_BT, null_B=torch.zeros(3, dtype=torch.long), most=4)
    for row in range(3):
        spans = [
            (i, j)
            for i, j in itertools.product(range(9), repeat=2)
            if i <= j < i + 4 and bool(inside_BT[row, i]) and bool(inside_BT[row, j])
        ]
        scores = torch.stack([start_BT[row, i] + end_BT[row, j] for i, j in spans])
        assert (int(found.first[row]), int(found.last[row])) == spans[int(scores.argmax())]
        assert float(found.every[row]) == pytest.approx(float(scores.logsumexp(0)), rel=1e-5)


def test_a_window_without_a_passage_has_no_span_and_no_nan():
    found = _spans.best(torch.zeros(1, 4), torch.zeros(1, 4), torch.zeros(1, 4, dtype=torch.bool), null_B=torch.zeros(1).long(), most=2)
    assert float(found.score) == pytest.approx(_spans.NEVER)
    assert float(found.every) == pytest.approx(_spans.NEVER)


@pytest.mark.parametrize(
    ("said", "golds", "exact", "f1"),
    [
        ("The Broncos!", ["broncos"], 1, 1),  # case, articles, punctuation
        ("in the city of Paris", ["Paris", "the old city of light"], 0, 4 / 8),  # the best of 2 / 5 and of 2 of 4 and 4 words
        ("the city of Paris", ["Paris"], 0, 2 * 1 / (3 + 1)),
        ("", [], 1, 1),
        ("Paris", [], 0, 0),
        ("", ["Paris"], 0, 0),
        ("a", ["the"], 1, 1),  # nothing is left of either: v2 takes both for no answer
        ("to to be", ["to be be"], 0, 2 / 3),  # words count as often as they occur
    ],
)
def test_figures_are_squads(said, golds, exact, f1):
    assert _spans.exact(said, golds) == exact
    assert _spans.overlap(said, golds) == pytest.approx(f1)


def test_loss_is_the_mean_of_two_cross_entropies_over_passage_and_null(tokenizer):
    task = QuestionAnswering().fit(table(), table())
    encoded = task.encode(table(), tokenizer, None)
    batch = task.collate(encoded, np.array([0]), tokenizer, Draw(0))

    class Flat(torch.nn.Module):
        def forward(self, input_ids, **_):
            self.start_logits = self.end_logits = torch.zeros(input_ids.shape)
            return self

    loss = task.loss(Flat(), batch)
    assert loss.count == 1
    assert loss.total.item() == pytest.approx(math.log(len(PASSAGE.split()) + 1))


def told(task, windows, rows, encoded):
    columns = {name: np.array([window[name] for window in windows]) for name in windows[0]}
    return task.told(columns, encoded, rows, None)


def test_windows_of_a_row_are_one_answer(tokenizer):
    task = QuestionAnswering(stride=3).fit(table(), table())
    encoded = task.encode(table(), tokenizer, 16)
    windows = [{"letters": [0, 3], "score": 1.0, "every": 2.0, "null": 9.0} for _ in range(len(encoded))]
    begin = PASSAGE.index("dull")
    windows[1] |= {"letters": [begin, begin + 4], "score": 4.0, "every": 5.0, "null": 3.0}
    found = told(task, windows, table(), encoded)
    assert task.readable(found)["predicted"] == ["dull"]
    assert found["confidence"][0] == pytest.approx(math.exp(4) / (math.exp(5) + (len(windows) - 1) * math.exp(2)))
    may = task.model_copy(update={"no_answer": "yes", "threshold": 0.0})
    assert may.readable(told(may, windows, table(), encoded))["predicted"] == ["dull"], "the least null score, 3, is below 4"
    windows[1] |= {"null": 4.5}
    assert may.readable(told(may, windows, table(), encoded))["predicted"] == [""]
    surer = may.model_copy(update={"threshold": 1.0})
    assert surer.readable(told(surer, windows, table(), encoded))["predicted"] == ["dull"]


def test_misaligned_answers_are_counted_named_and_found_if_asked():
    wrong = table(["good", "dull"], [PASSAGE.index("good"), 3])
    with pytest.raises(DataError, match=r"1 of 2 answers .*\n  row 7: 'dull' at letter 3, where the passage has ' fil'"):
        QuestionAnswering().fit(wrong, table())
    assert QuestionAnswering(misaligned="search")._aligned(wrong) == [[PASSAGE.index("good"), PASSAGE.index("dull")]]
    again = table(["was"], [30])
    assert QuestionAnswering(misaligned="search")._aligned(again) == [[PASSAGE.rindex("was")]], "the nearest of two"
    with pytest.raises(DataError, match="'cold'"):
        QuestionAnswering(misaligned="search").fit(table(["cold"], [3]), table())
    with pytest.raises(DataError, match="does not occur"):
        QuestionAnswering().fit(table(["cold"]).drop_columns(["answer_starts"]), table())
    with pytest.raises(DataError, match="one column of text"):
        QuestionAnswering().fit(table().drop_columns([PAIR]), table())


def test_the_baselines_are_the_likest_sentence_and_no_answer():
    passage = "Rome is old. The film was good, 3.5 stars! Warm songs are dull."
    rows = table(["good"], passage=passage, question="How good was the film?")
    task = QuestionAnswering().fit(rows, rows)
    found = baselines(rows, rows, task)
    begin, end = found.columns["sentence"]["scores"][0]
    assert passage[begin:end].strip() == "The film was good, 3.5 stars!"
    assert "majority" not in found.columns
    none = table([], [])
    found = baselines(none, none, QuestionAnswering().fit(none, none))
    assert task.metrics(task.judged(found.columns["majority"]))["exact_match"] == 1


def nested(count=60, *, impossible=0):
    """SQuAD's JSON: the answer is the one word of the first ten that a passage has."""
    paragraphs = []
    for i, (text, _) in enumerate(rows_of(count)):
        word = next(word for word in text.split() if word in WORDS[:10])
        passage = f"{text} {WORDS[10 + i % 10]} {WORDS[10 + i // 10 % 10]}"
        asked = {"id": str(i), "question": "was the film", "answers": [{"text": word, "answer_start": passage.index(word)}]}
        if i < impossible:
            asked |= {"is_impossible": True, "answers": [], "plausible_answers": asked["answers"]}
        paragraphs.append({"context": passage, "qas": [asked]})
    return {"version": "1.1", "data": [{"title": "films", "paragraphs": paragraphs}]}


SETTINGS = {"epochs": 12, "rate": 5e-3, "batch_tokens": 256}


@pytest.fixture
def squad(tmp_path):
    path = tmp_path / "films.json.gz"
    path.write_bytes(gzip.compress(json.dumps(nested()).encode()))
    return path


def test_from_squads_file_to_answers_of_plain_transformers(squad, tiny_base, tmp_path):
    run = rs.adapt(squad, base=str(tiny_base), method="full", out=tmp_path / "run", training=SETTINGS, validation=0.4)
    assert run.recipe.task["name"] == "question-answering"
    assert run.recipe.task["no_answer"] == "no"
    assert run.metrics["metrics"]["exact_match"] > 0.9
    assert set(run.metrics["intervals"]) == set(run.metrics["metrics"]) > {"f1", "exact_match"}
    assert run.metrics["beats"] == {"sentence": True}
    word, passage = WORDS[0], f"the song was very {WORDS[0]} not a book"
    assert run.predict([("was the film", passage)]) == [word]
    assert run.evaluate(str(squad))["metrics"]["f1"] > 0.9
    tokens, model = bases.tokenizer(resolve(str(run.path / "model"))), AutoModelForQuestionAnswering.from_pretrained(run.path / "model")
    made = tokens("was the film", passage, return_tensors="pt")
    out = model.eval()(**made)
    inside = torch.tensor([part == 1 for part in made.sequence_ids(0)])
    first, last = (int(scores[0].masked_fill(~inside, -1e9).argmax()) for scores in (out.start_logits, out.end_logits))
    assert tokens.decode(made["input_ids"][0, first : last + 1]) == word
    card = (run.path / "README.md").read_text()
    assert "pipeline_tag: question-answering" in card
    assert "AutoModelForQuestionAnswering" in card
    assert cards.said(run) in "a passage that holds its answer"
    assert "It beats the baseline." in (run.path / "report.html").read_text()


def test_long_passages_are_read_in_windows_and_nothing_is_called_cut(squad, tiny_base, tmp_path):
    run = rs.adapt(squad, base=str(tiny_base), method="lora", out=tmp_path / "run", training={"epochs": 1, "length": 15})
    ledger = json.loads((run.path / "ledger.json").read_text())
    assert ledger["findings"]["truncation"]["count"] == 0
    assert ledger["lengths"]["parted"]
    assert ledger["labels"] == {"an answer": ledger["rows"]["train"]}
    assert len(run.predict([("was the film", " ".join(WORDS))])) == 1


def test_rows_without_an_answer_may_get_none(tiny_base, tmp_path):
    path = tmp_path / "films.json"
    path.write_text(json.dumps(nested(impossible=30)))
    run = rs.adapt(path, base=str(tiny_base), method="full", out=tmp_path / "run", training={"epochs": 1})
    assert run.recipe.task["no_answer"] == "yes"
    assert {"no_answer_accuracy", "answerable_f1"} <= set(run.metrics["metrics"])
    assert run.metrics["baselines"]["majority"]["no_answer_accuracy"] == 1


def test_flat_rows_are_recognised(squad, tiny_base, tmp_path):
    flat = tmp_path / "films.jsonl"
    lines = []
    for paragraph in nested()["data"][0]["paragraphs"]:
        (asked,) = paragraph["qas"]
        both = {name: [answer[name] for answer in asked["answers"]] for name in ("text", "answer_start")}
        lines.append(json.dumps({"id": asked["id"], "context": paragraph["context"], "question": asked["question"], "answers": both}))
    flat.write_text("\n".join(lines))
    runs = [rs.inspect(path) for path in (flat, squad)]
    assert runs[0]["lengths"] == runs[1]["lengths"]
    assert runs[0]["labels"] == runs[1]["labels"]


def test_one_passage_is_never_on_both_sides(tiny_base, tmp_path):
    data = nested(20)
    for paragraph in data["data"][0]["paragraphs"]:
        paragraph["qas"] = [{**paragraph["qas"][0], "question": question} for question in ("was the film", "was the book", "is it")]
    path = tmp_path / "films.json"
    path.write_text(json.dumps(data))
    run = rs.adapt(path, base=str(tiny_base), method="full", out=tmp_path / "run", training={"epochs": 1})
    passages = parquet.read_table(run.path / "predictions.parquet").column(PAIR).to_pylist()
    assert passages
    assert all(passages.count(each) % 3 == 0 for each in passages)


def test_auto_never_leaves_the_base_frozen_where_two_texts_must_be_compared(squad, tiny_base, tmp_path):
    said = []
    recipe = Recipe.build({"base": str(tiny_base), "data": {"train": str(squad)}}, "")
    api.rehearse(recipe, Watch(say=said.append))
    assert next(line for line in said if line.startswith("method ")).split()[1] in ("full:", "lora:")


def test_a_teachers_starts_and_ends_are_learned_by_their_divergence(tokenizer):
    task = QuestionAnswering(stride=3).fit(table(), table())
    encoded = task.encode(table(), tokenizer, 16)
    batch = task.collate(encoded, np.arange(len(encoded)), tokenizer, Draw(0, 0))
    rng = torch.Generator().manual_seed(0)
    shut_BT = (batch["begins"] < 0) & (torch.arange(batch["begins"].shape[1]) != batch["null"][:, None])
    said, wanted = (torch.randn(len(encoded), 2, shut_BT.shape[1], generator=rng) for _ in range(2))
    said, wanted = (each.masked_fill(shut_BT[:, None], torch.nan).requires_grad_() for each in (said, wanted))
    padded = torch.nn.functional.pad(wanted, (0, 3), value=torch.nan)
    found_B = task.taught(said, padded, 2.0)
    for row in range(len(encoded)):
        of = [torch.distributions.Categorical(logits=each[row, :, ~shut_BT[row]] / 2) for each in (wanted, said)]
        expected = 4 * torch.distributions.kl_divergence(*of).mean()
        assert found_B[row].item() == pytest.approx(expected.item(), rel=1e-5)
    found_B.sum().backward()
    assert torch.isfinite(said.grad).all()
    assert not said.grad[:, 0][shut_BT].any()
    assert task.taught(wanted, padded, 2.0).abs().max() < 1e-6


def test_a_model_that_has_diverged_has_no_finite_loss(tokenizer):
    task = QuestionAnswering(stride=3).fit(table(), table())
    encoded = task.encode(table(), tokenizer, 16)
    batch = task.collate(encoded, np.arange(len(encoded)), tokenizer, Draw(0, 0))
    assert task.losses(torch.full((len(encoded), 2, batch["begins"].shape[1]), torch.nan), batch).isnan().all()


def test_a_student_reads_the_windows_of_its_teacher(squad, tiny_base, tmp_path):
    common = {"task": "question-answering", "method": "full", "training": {"steps": 2, "rate": 1e-3, "precision": "fp32", "length": 16}}
    big = rs.adapt(squad, base=str(tiny_base), out=tmp_path / "big", **common)
    again = common | {"training": common["training"] | {"steps": 1, "rate": 1e-9}}
    told = {"run": str(big.path), "weight": 1.0}
    same = rs.adapt(squad, base=str(big.path), out=tmp_path / "same", teacher=told, **again)
    first = json.loads(same.folder.history.read_text().splitlines()[0])
    assert first["loss"] < 1e-4, "a copy of the teacher has nothing to learn"
    hidden = rs.adapt(squad, base=str(tiny_base), out=tmp_path / "hidden", teacher=told | {"hidden": 1.0}, **common)
    assert hidden.folder.complete
    with pytest.raises(RecipeError, match="takes 16 tokens of a row"):
        rs.adapt(squad, base=str(tiny_base), out=tmp_path / "long", teacher=told, **common | {"training": {"steps": 1, "length": 24}})
