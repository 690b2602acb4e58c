"""Every figure against scikit-learn or scipy, on rows with ties and with classes that do not occur."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from rootstock.tasks import _classes as classes_of
from rootstock.tasks import _ranked
from rootstock.tasks import _scores as scores

EXACT = {"rel": 1e-12, "abs": 1e-12}


def _rows(*, classes: int, seen: int, rows: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Coarse probabilities, so that many are equal, and answers among the first `seen` classes."""
    draw = np.random.default_rng(seed)
    raw_NC = draw.integers(1, 6, (rows, classes)).astype(np.float64)
    return raw_NC / raw_NC.sum(axis=1, keepdims=True), draw.integers(0, seen, rows)


SHAPES = {"binary": (2, 2), "many": (7, 7), "absent": (7, 5), "one class": (3, 1)}


@pytest.fixture(params=SHAPES.values(), ids=SHAPES.keys())
def class_rows(request):
    classes, seen = request.param
    return _rows(classes=classes, seen=seen)


def test_class_figures_are_scikit_learns(class_rows):
    scores_NC, answers_N = class_rows
    predicted_N = scores_NC.argmax(axis=1)
    classes = range(scores_NC.shape[1])
    found = scores.class_metrics(scores_NC, answers_N)
    macro = {"average": "macro", "zero_division": 0}
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(answers_N, predicted_N), **EXACT)
    assert found["macro_f1"] == pytest.approx(reference.f1_score(answers_N, predicted_N, **macro), **EXACT)
    assert found["macro_precision"] == pytest.approx(reference.precision_score(answers_N, predicted_N, **macro), **EXACT)
    assert found["macro_recall"] == pytest.approx(reference.recall_score(answers_N, predicted_N, **macro), **EXACT)
    assert found["weighted_f1"] == pytest.approx(reference.f1_score(answers_N, predicted_N, average="weighted"), **EXACT)
    assert found["matthews"] == pytest.approx(reference.matthews_corrcoef(answers_N, predicted_N), **EXACT)
    assert found["log_loss"] == pytest.approx(reference.log_loss(answers_N, scores_NC, labels=classes), **EXACT)


def test_confusion_and_table_are_scikit_learns(class_rows):
    scores_NC, answers_N = class_rows
    predicted_N, classes = scores_NC.argmax(axis=1), scores_NC.shape[1]
    counts = scores.confusion(answers_N, predicted_N, classes=classes)
    assert (counts == reference.confusion_matrix(answers_N, predicted_N, labels=range(classes))).all()
    expected = reference.precision_recall_fscore_support(answers_N, predicted_N, labels=range(classes), zero_division=0)
    table = classes_of.Counts(np.diagonal(counts), counts.sum(0), counts.sum(1)).table
    for mine, theirs in zip(table, expected, strict=False):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)


@pytest.mark.parametrize(("classes", "seen"), [(2, 2), (7, 7)])
def test_roc_auc_is_scikit_learns_with_ties(classes, seen):
    scores_NC, answers_N = _rows(classes=classes, seen=seen)
    theirs = reference.roc_auc_score(answers_N, scores_NC[:, 1] if classes == 2 else scores_NC, multi_class="ovr")
    assert scores.class_metrics(scores_NC, answers_N)["roc_auc"] == pytest.approx(theirs, **EXACT)


def test_roc_auc_averages_the_classes_that_occur():
    scores_NC, answers_N = _rows(classes=7, seen=5)
    theirs = np.mean([reference.roc_auc_score(answers_N == c, scores_NC[:, c]) for c in range(5)])
    assert scores.class_metrics(scores_NC, answers_N)["roc_auc"] == pytest.approx(theirs, **EXACT)


def test_roc_auc_of_one_class_is_left_out():
    assert "roc_auc" not in scores.class_metrics(*_rows(classes=3, seen=1))
    assert "roc_auc" not in scores.class_metrics(*_rows(classes=2, seen=1))


def test_a_certain_and_wrong_row_costs_what_scikit_learn_says():
    scores_NC, answers_N = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1, 1])
    assert scores.log_losses(scores_NC, answers_N).mean() == pytest.approx(reference.log_loss(answers_N, scores_NC, labels=[0, 1]), **EXACT)


def test_calibration_error_is_the_definition():
    scores_NC, answers_N = _rows(classes=3, seen=3)
    confidence_N, right_N = scores_NC.max(axis=1), scores_NC.argmax(axis=1) == answers_N
    expected = 0.0
    for low in range(15):
        inside = (confidence_N > low / 15) & (confidence_N <= (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence_N[inside].mean() - right_N[inside].mean())
    assert scores.class_metrics(scores_NC, answers_N)["calibration_error"] == pytest.approx(expected, **EXACT)


def test_a_closed_form_of_calibration():
    """Ten rows answered with 0.8, of which six are right: off by 0.2."""
    found = scores.class_metrics(np.tile([0.2, 0.8], (10, 1)), np.array([1] * 6 + [0] * 4))
    assert found["calibration_error"] == pytest.approx(0.2)


@pytest.mark.parametrize("seen", [5, 4], ids=["all labels", "one label neither answered nor predicted"])
def test_label_set_figures_are_scikit_learns(seen):
    draw = np.random.default_rng(1)
    scores_NC, answers_NC = draw.integers(0, 11, (150, 5)) / 10, draw.integers(0, 2, (150, 5))
    scores_NC[:, seen:], answers_NC[:, seen:] = 0.1, 0
    predicted_NC = (scores_NC >= 0.5).astype(int)
    found = scores.label_set_metrics(scores_NC, answers_NC)
    assert found["micro_f1"] == pytest.approx(reference.f1_score(answers_NC, predicted_NC, average="micro"), **EXACT)
    theirs = reference.f1_score(answers_NC, predicted_NC, average="macro", zero_division=np.nan)
    assert found["macro_f1"] == pytest.approx(theirs, **EXACT)
    assert found["subset_accuracy"] == pytest.approx(reference.accuracy_score(answers_NC, predicted_NC), **EXACT)
    theirs = reference.roc_auc_score(answers_NC[:, :seen], scores_NC[:, :seen], average="macro")
    assert found["roc_auc"] == pytest.approx(theirs, **EXACT)
    yes = scores_NC.reshape(-1)
    assert found["log_loss"] == pytest.approx(reference.log_loss(answers_NC.reshape(-1), np.stack([1 - yes, yes], 1)), **EXACT)
    sure, right = np.maximum(yes, 1 - yes), (yes > 0.5) == answers_NC.reshape(-1)
    bins = np.ceil(sure * 15)
    gaps = [abs(sure[bins == each].mean() - right[bins == each].mean()) * (bins == each).mean() for each in np.unique(bins)]
    assert found["calibration_error"] == pytest.approx(sum(gaps), **EXACT)


def test_number_figures_are_scipys_with_ties():
    draw = np.random.default_rng(2)
    answers_N = draw.integers(0, 6, 120).astype(float)
    predicted_N = np.round(answers_N + draw.normal(0, 1, 120))
    found = scores.number_metrics(predicted_N[:, None].astype(np.float32), answers_N)
    assert found["pearson"] == pytest.approx(stats.pearsonr(answers_N, predicted_N).statistic, **EXACT)
    assert found["spearman"] == pytest.approx(stats.spearmanr(answers_N, predicted_N).statistic, **EXACT)
    assert found["mean_absolute_error"] == pytest.approx(reference.mean_absolute_error(answers_N, predicted_N), **EXACT)
    assert found["root_mean_squared_error"] == pytest.approx(reference.root_mean_squared_error(answers_N, predicted_N), **EXACT)
    assert found["r2"] == pytest.approx(reference.r2_score(answers_N, predicted_N), **EXACT)


def test_ranks_are_scipys():
    values_N = np.array([3.0, 1.0, 3.0, -2.0, 1.0, 1.0])
    assert _ranked.ranks(values_N).tolist() == stats.rankdata(values_N).tolist()


@pytest.mark.parametrize("constant", ["answers", "predicted"])
def test_a_constant_has_no_correlation(constant):
    varied, same = np.arange(5.0), np.full(5, 0.1)
    found = scores.number_metrics(*((varied[:, None], same) if constant == "answers" else (same[:, None], varied)))
    assert "pearson" not in found
    assert "spearman" not in found
    assert ("r2" in found) is (constant == "predicted")


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_rows_give_only_finite_figures(rows):
    found = [
        scores.class_metrics(np.full((rows, 3), 1 / 3), np.zeros(rows, int)),
        scores.label_set_metrics(np.zeros((rows, 3)), np.zeros((rows, 3), int)),
        scores.number_metrics(np.zeros((rows, 1)), np.zeros(rows)),
    ]
    assert all(math.isfinite(value) for figures in found for value in figures.values())
    assert all(bool(figures) is (rows > 0) for figures in found)


def test_names_limit_the_figures():
    rows = _rows(classes=3, seen=3)
    everything = scores.class_metrics(*rows)
    assert scores.class_metrics(*rows, names=("macro_f1", "accuracy")) == {k: everything[k] for k in ("macro_f1", "accuracy")}


def test_class_details_are_json_and_add_up():
    scores_NC, answers_N = _rows(classes=3, seen=2)
    found = json.loads(json.dumps(scores.class_details(scores_NC, answers_N, labels=["a", "b", "c"]), allow_nan=False))
    assert [row["label"] for row in found["per_class"]] == ["a", "b", "c"]
    assert [row["support"] for row in found["per_class"]] == [sum(row) for row in found["confusion"]]
    assert sum(point["count"] for point in found["calibration"]) == 200
    assert sum(p["accuracy"] * p["count"] for p in found["calibration"]) / 200 == pytest.approx(
        scores.class_metrics(scores_NC, answers_N)["accuracy"]
    )


def test_label_set_details_count_every_decision():
    scores_NC = np.array([[0.9, 0.2], [0.4, 0.7]])
    found = json.loads(json.dumps(scores.label_set_details(scores_NC, np.array([[1, 0], [1, 1]]), labels=["a", "b"]), allow_nan=False))
    assert found["per_class"][0] == {"label": "a", "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
    assert sum(point["count"] for point in found["calibration"]) == 4
    assert sum(point["accuracy"] * point["count"] for point in found["calibration"]) == pytest.approx(3)


@pytest.mark.parametrize("rows", [0, 1, 1200])
def test_number_details_are_bounded(rows):
    answers_N = np.arange(rows, dtype=float)
    found = json.loads(json.dumps(scores.number_details(answers_N[:, None] + 1, answers_N), allow_nan=False))
    assert len(found["scatter"]) == min(rows, 500)
    assert all(predicted == answer + 1 for answer, predicted in found["scatter"])
    assert sum(found["residuals"]["counts"]) == rows


def test_nothing_slow_is_imported():
    code = "import sys, rootstock.tasks._scores; sys.exit(bool({'scipy', 'sklearn', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_f1_is_that_of_the_second_of_two_classes_and_given_only_where_it_is_named():
    scores_NC, answers_N = _rows(classes=2, seen=2)
    theirs = reference.f1_score(answers_N, scores_NC.argmax(1))
    assert scores.class_metrics(scores_NC, answers_N, ("f1",)) == {"f1": pytest.approx(theirs)}
    assert "f1" not in scores.class_metrics(scores_NC, answers_N)
    assert scores.class_metrics(*_rows(classes=3, seen=3), ("f1",)) == {}


def test_how_far_a_calibration_error_may_lie_above_the_truth_is_the_mean_of_a_folded_normal():
    """One bin, 300 of 400 rows right at a confidence of 0.75: the distance is 0, so the mean is the error times the root of 2 / pi."""
    right = np.arange(400) < 300
    found = classes_of.sure(np.full((400, 1), 0.75), right[:, None])
    assert found.error(np.ones((1, 400)))[0] == pytest.approx(0, abs=1e-12)
    assert found.above() == pytest.approx(math.sqrt(0.75 * 0.25 / 399) * math.sqrt(2 / math.pi))
    far = classes_of.sure(np.full((400, 1), 0.99), right[:, None])
    assert far.above() < 1e-4, "where the distance is many errors wide, chance adds next to nothing"
