"""Losses and figures against sentence-transformers and scikit-learn, files of every form, and the same vectors in other libraries."""

import csv
import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import ndcg_score
from tests import cards
from tests.conftest import WORDS, make_tokenizer, rows_of

import rootstock as rs
from rootstock.core.errors import BaseError, DataError, RecipeError
from rootstock.core.rows import LABEL, NEGATIVE, PAIR, ROW, TEXT
from rootstock.data import schema
from rootstock.run.labelled import task_for, wanted
from rootstock.tasks import _retrieval
from rootstock.tasks.embedding import Embedding
from rootstock.verbs import labelling

TOKENIZER = make_tokenizer()
TEXTS = [text for text, _ in rows_of(12)]
OTHERS = [" ".join(reversed(text.split())) for text in TEXTS]


def table(**columns):
    return pa.table({TEXT: TEXTS, **columns, ROW: list(range(1, 13))})


PAIRS = table(label=OTHERS)
TRIPLETS = table(label=OTHERS, negative=[*TEXTS[1:], "cold"])
SCORED = table(text_pair=OTHERS, label=[float(i % 6) for i in range(12)])


def fitted(rows, **settings):
    return Embedding(**settings).fit(rows, rows)


def units(rows, views, seed=0, width=8):
    made = torch.randn(rows, views, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(made, dim=-1)


IDS = torch.arange(15).reshape(5, 3)


@pytest.mark.parametrize("views", [2, 3])
def test_ranking_is_the_papers_cross_entropy_over_positives_and_negatives(views):
    vectors = units(5, views)
    loss = Embedding(temperature=0.05).couple(torch.nn.Identity(), 3 * vectors, IDS[:, :views])
    assert loss.count == 5
    scores = 20 * vectors[:, 0] @ torch.cat(list(vectors.unbind(1)[1:])).T
    assert loss.total.item() == pytest.approx((scores.logsumexp(1) - scores.diagonal()).sum().item(), rel=1e-5)


def test_the_symmetric_loss_is_the_mean_of_both_ways():
    vectors = units(5, 2)
    ways = [Embedding().couple(torch.nn.Identity(), vectors[:, order], IDS[:, order]).total for order in ([0, 1], [1, 0])]
    loss = Embedding(symmetric="yes").couple(torch.nn.Identity(), vectors, IDS[:, :2])
    assert loss.total.item() == pytest.approx(sum(ways).item() / 2, rel=1e-5)


def test_cosent_counts_each_two_pairs_whose_cosines_stand_the_wrong_way():
    vectors, scores = units(6, 2), [0.0, 1.0, 5.0, 5.0, 2.0, 0.5]
    cosines = (vectors[:, 0] * vectors[:, 1]).sum(1).tolist()
    pairs = [math.exp(20 * (cosines[i] - cosines[j])) for i in range(6) for j in range(6) if scores[i] < scores[j]]
    loss = fitted(SCORED).couple(torch.nn.Identity(), vectors, torch.tensor(scores))
    assert (loss.total.item() / loss.count, loss.count) == (pytest.approx(math.log1p(sum(pairs)), rel=1e-5), 6)


def test_cosine_is_the_squared_error_of_scores_brought_to_one():
    vectors, scores = units(4, 2), torch.tensor([0.0, 5.0, 2.5, 1.0])
    loss = fitted(SCORED, criterion="cosine").couple(torch.nn.Identity(), vectors, scores)
    assert loss.total.item() == pytest.approx(((vectors[:, 0] * vectors[:, 1]).sum(1) - scores / 5).square().sum().item(), rel=1e-5)


def test_shorter_vectors_add_their_own_loss():
    vectors, plain = units(5, 2), Embedding()
    parts = [plain.couple(torch.nn.Identity(), vectors[..., :size], IDS[:, :2]).total for size in (8, 4, 2)]
    whole = Embedding(dimensions=(4, 2)).couple(torch.nn.Identity(), vectors, IDS[:, :2])
    assert whole.total.item() == pytest.approx(sum(parts).item(), rel=1e-5)


def test_texts_that_are_right_as_well_are_no_negatives():
    vectors = units(3, 2)
    ids = torch.tensor([[0, 7], [1, 7], [2, 9]])  # two rows have one positive
    both = Embedding().couple(torch.nn.Identity(), vectors, ids).total
    third = Embedding().couple(torch.nn.Identity(), vectors, torch.tensor([[0, 7], [1, 8], [2, 9]])).total
    assert both.item() < third.item()
    scores = (vectors[:, 0] @ vectors[:, 1].T) / 0.05
    scores[0, 1] = scores[1, 0] = -torch.inf
    assert both.item() == pytest.approx((scores.logsumexp(1) - scores.diagonal()).sum().item(), rel=1e-5)
    ids[1] = torch.tensor([0, 8])  # two rows have one anchor, and so each the other's positive
    assert Embedding().couple(torch.nn.Identity(), vectors, ids).total.item() == pytest.approx(both.item(), rel=1e-5)


def test_a_negative_that_is_right_for_an_equal_anchor_is_none_of_it():
    vectors = units(3, 3)
    ids = torch.tensor([[0, 7, 20], [0, 8, 21], [2, 9, 8]])  # the third row's negative is the second's positive
    scores = 20 * vectors[:, 0] @ torch.cat(list(vectors.unbind(1)[1:])).T
    scores[0, [1, 5]] = scores[1, [0]] = -torch.inf
    scores[1, 5] = -torch.inf  # and it is the second's own positive once more
    loss = Embedding().couple(torch.nn.Identity(), vectors, ids).total
    assert loss.item() == pytest.approx((scores.logsumexp(1) - scores.diagonal()).sum().item(), rel=1e-5)


def test_figures_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 3, 6)).astype(np.float32)
    vectors[:, 1] += vectors[:, 0]
    ids = np.arange(120).reshape(40, 3)
    searched = _retrieval.pool(ids)
    rank = _retrieval.by_cosine(vectors, searched).rank
    normal = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    scores = normal[:, 0] @ normal[:, 1:].reshape(-1, 6).T
    truth = np.zeros_like(scores)
    truth[np.arange(40), 2 * np.arange(40)] = 1
    assert _retrieval.FIGURES["ndcg@10"](rank).mean() == pytest.approx(ndcg_score(truth, scores, k=10), rel=1e-6)
    place = (-scores).argsort(1).argsort(1)[np.arange(40), 2 * np.arange(40)]
    assert (rank == place + 1).all()
    assert _retrieval.FIGURES["mrr@10"](rank).mean() == pytest.approx(np.where(place < 10, 1 / (place + 1), 0).mean())
    assert _retrieval.FIGURES["recall@5"](rank).mean() == (place < 5).mean()
    short = _retrieval.by_cosine(vectors, searched, 2).rank
    assert (short == _retrieval.by_cosine(vectors[..., :2], searched).rank).all()
    assert (short != rank).any()


def test_a_model_that_tells_nothing_apart_finds_nothing():
    rank = _retrieval.by_cosine(np.ones((9, 2, 4), np.float32), _retrieval.pool(np.arange(18).reshape(9, 2))).rank
    assert (rank == 9).all()


def test_a_text_is_searched_once_and_never_by_itself():
    ids = np.array([[0, 10], [0, 11], [1, 10], [10, 0]])  # equal anchors, an equal positive, a positive that is an anchor
    searched = _retrieval.pool(ids)
    assert len(searched.places) == 3
    known = ids[:, 1][searched.places]
    assert [sorted(known[left].tolist()) for left in searched.left_out] == [[0, 11], [0, 10], [], [10]]


def test_equal_texts_have_equal_numbers_after_a_cut_as_well():
    encoded = fitted(PAIRS).encode(pa.table({TEXT: ["good film", "a book"], LABEL: ["a book", "good film"], ROW: [1, 2]}), TOKENIZER, None)
    labels = encoded.dense["labels"]
    assert labels[0, 0] == labels[1, 1] != labels[0, 1] == labels[1, 0]


def test_forms_are_told_by_the_columns():
    assert (fitted(PAIRS).form, fitted(TRIPLETS).form, fitted(SCORED).form) == ("pairs", "triplets", "scores")
    assert fitted(SCORED).kind == "similarity"
    assert fitted(PAIRS).kind == fitted(TRIPLETS).kind == "retrieval"
    encoded = fitted(TRIPLETS).encode(TRIPLETS, TOKENIZER, 5)
    assert list(encoded.tokens) == ["input_ids", "pair_ids", "negative_ids"]
    assert encoded.lengths.max() == 15
    assert fitted(TRIPLETS).spans(encoded).max() == 5


@pytest.mark.parametrize(
    ("columns", "task", "found"),
    [
        (("anchor", "positive"), "embedding", ("anchor", None, "positive")),
        (("anchor", "positive", "negative"), "embedding", ("anchor", None, "positive")),
        (("sentence1", "sentence2", "score"), "auto", ("sentence1", "sentence2", "score")),
        (("question", "answer"), "auto", ("question", None, "answer")),
        (("sentence1", "sentence2"), "auto", ("sentence1", None, "sentence2")),
    ],
)
def test_columns_tell_the_task_only_where_they_are_for_no_other(columns, task, found):
    values = {name: [0.5, 1.0, 2.5] if name == "score" else [f"{name} {i}" for i in range(3)] for name in columns}
    held = pa.table({**values, ROW: [1, 2, 3]})
    assert task_for(held)[0] == task
    known = schema.infer(held, **wanted({"name": "embedding"}))
    assert (known.text, known.text_pair, known.label) == found
    assert known.further == ({NEGATIVE: "negative"} if "negative" in columns else {})


@pytest.mark.parametrize(
    ("rows", "settings", "error", "match"),
    [
        (table(label=[1.0] * 12), {}, DataError, "positives are numbers"),
        (table(label=["", *OTHERS[1:]]), {}, DataError, "row 1 has no positive"),
        (table(label=OTHERS, negative=["a", *[None] * 11]), {}, DataError, "row 2 has 0 of 1 negatives"),
        (table(text_pair=OTHERS, label=["x"] * 12), {}, DataError, "row 1: the score 'x'"),
        (table(text_pair=OTHERS, label=[1.0] * 12), {}, DataError, "every score is 1"),
        (PAIRS, {"form": "scores"}, DataError, "the rows are pairs"),
        (PAIRS, {"criterion": "cosine"}, RecipeError, "criterion is cosine"),
        (SCORED, {"criterion": "ranking"}, RecipeError, "criterion is ranking"),
    ],
)
def test_rows_that_lack_a_part_are_refused(rows, settings, error, match):
    with pytest.raises(error, match=match):
        fitted(rows, **settings)


def test_other_rows_that_lack_a_negative_are_refused_by_their_number():
    lacking = table(label=OTHERS, negative=[["a", "b"], ["a"], *[["a", "b"]] * 10])
    for task in (fitted(TRIPLETS), fitted(PAIRS)):
        with pytest.raises(DataError, match="row 2 has 1 of 2 negatives"):
            task.encode(lacking, TOKENIZER, None)
    assert len(fitted(TRIPLETS).encode(PAIRS, TOKENIZER, None).tokens) == 2


def test_a_frozen_base_and_wrong_dimensions_are_refused(tiny_base, tmp_path):
    path = tmp_path / "pairs.csv"
    write(path, ("anchor", "positive"), zip(TEXTS, OTHERS, strict=True))
    with pytest.raises(RecipeError, match="brings none: it learns the base's own vectors"):
        rs.adapt(path, base=str(tiny_base), method="feature-extraction", task="embedding", out=tmp_path / "no")
    with pytest.raises(BaseError, match="dimensions"):
        rs.adapt(path, base=str(tiny_base), method="full", task=Embedding(dimensions=(64,)), out=tmp_path / "no")


def write(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def pairs_of(count):
    """A text and the same words in another order: what the tiny base can learn to find."""
    rng = np.random.default_rng(3)
    texts = [rng.choice(WORDS, 5, replace=False) for _ in range(count)]
    return [(" ".join(words), " ".join(rng.permutation(words))) for words in texts]


@pytest.mark.parametrize(("method", "negatives"), [pytest.param("full", 0, marks=pytest.mark.slow), ("lora", 2)])
def test_from_a_file_to_vectors_that_other_libraries_give_as_well(tiny_base, tmp_path, method, negatives):
    header = ("anchor", "positive", *(f"negative_{i}" for i in range(1, negatives + 1)))
    rows = [(*pair, *(pairs_of(9)[i][0] for i in range(negatives))) for pair in pairs_of(40)]
    path = write(tmp_path / "pairs.csv", header, rows)
    settings = {"epochs": 4, "rate": 2e-3, "batch_tokens": 256, "micro_tokens": 64, "precision": "fp32"}
    task = Embedding(dimensions=(8,))
    run = rs.adapt(path, base=str(tiny_base), method=method, task=task, out=tmp_path / "run", training=settings, merge=method == "lora")
    figures = run.metrics["metrics"]
    assert run.recipe.task["form"] == ("triplets" if negatives else "pairs")
    assert set(run.metrics["intervals"]) >= {"ndcg@10", "mrr@10", "accuracy@1", "recall@10", "dim8_ndcg@10"}
    assert ("triplet_accuracy" in figures) == bool(negatives)
    assert set(run.metrics["baselines"]) == {"base", "tfidf"}
    assert run.evaluate(str(path))["metrics"]["ndcg@10"] > 0.1
    vectors = np.array(run.predict(["good film", "a film that was very good"]))
    assert vectors.shape == (2, 32)
    assert run.predict([("good film", "a film that was very good")])[0] == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)
    other = pytest.importorskip("sentence_transformers")
    place = run.path / ("merged" if negatives else "model")
    found = other.SentenceTransformer(str(place), device="cpu").encode(["good film", "a film that was very good"])
    np.testing.assert_allclose(found, vectors, atol=1e-5)
    if method == "full":
        assert -1 <= float(cards.said(run)) <= 1


def test_scores_are_learned_and_told_of_pairs(tiny_base, tmp_path):
    rows = [(*pair, 5 - 0.1 * (i % 7)) for i, pair in enumerate(pairs_of(24))]
    rows += [(pairs_of(30)[i][0], pairs_of(40)[i + 5][1], 0.1 * (i % 7)) for i in range(24)]
    path = write(tmp_path / "scored.csv", ("sentence1", "sentence2", "score"), rows)
    run = rs.adapt(path, base=str(tiny_base), method="full", task="embedding", out=tmp_path / "run", training={"epochs": 3, "rate": 1e-3})
    assert run.recipe.task["form"] == "scores"
    assert set(run.metrics["intervals"]) == {"spearman", "pearson"}
    assert set(run.metrics["baselines"]) == {"base", "tfidf"}
    told = labelling.label_file(run, str(path)).table["predicted"]
    assert len(told) == 48
    assert all(-1.001 <= value <= 1.001 for value in told)
    one, _ = labelling.label_texts(run, ["good film", "a book"])
    assert len(one["predicted"][0]) == 32
    two, _ = labelling.label_texts(run, ["good film", "a book"], pairs=True)
    assert isinstance(two["predicted"][0], float)
    texts = write(tmp_path / "texts.csv", ("sentence1",), [("good",), ("a",)])
    assert len(labelling.label_file(run, str(texts)).table["predicted"][0]) == 32
    assert PAIR not in run.read(str(texts), labelled=False).rows.column_names
