"""What metrics.json says of predictions whose truth is known by construction."""

import json

import numpy as np
import pytest

from rootstock.evaluation.baselines import Baselines
from rootstock.evaluation.intervals import draws, interval, limits, quantile, wilson
from rootstock.evaluation.score import details, score
from rootstock.tasks.text_classification import TextClassification


def _answered(right_N, classes=2):
    """Columns of a model that is right exactly where `right_N` says so."""
    answers_N = np.arange(len(right_N)) % classes
    given_N = np.where(right_N, answers_N, (answers_N + 1) % classes)
    return {"scores": np.eye(classes)[given_N] * 0.8 + 0.1, "answers": answers_N}


def _share(rows, share, seed=0):
    return np.random.default_rng(seed).permutation(rows) < rows * share


def _scored(model, task, **others):
    return json.loads(json.dumps(score(model, task, seed=0, **others), allow_nan=False))


def test_a_model_that_beats_the_words(fake_task):
    model, words = _answered(_share(400, 0.9)), _answered(_share(400, 0.7, seed=1))
    found = _scored(model, fake_task(), baselines=Baselines({"tfidf": words}, {}))
    assert found["rows"] == 400
    assert found["metrics"]["accuracy"] == pytest.approx(0.9)
    assert set(found["intervals"]) == set(found["metrics"]) > {"accuracy", "macro_f1"}
    assert set(found["baseline_intervals"]["tfidf"]) == set(found["baselines"]["tfidf"])
    assert found["headline"] == list(found["metrics"])[:2] == ["accuracy", "macro_f1"]
    assert found["baselines"]["tfidf"]["accuracy"] == pytest.approx(0.7)
    low, high = found["differences"]["tfidf"]["difference"]
    assert 0 < low < 0.2 < high
    assert found["differences"]["tfidf"]["separable"]
    assert found["beats"] == {"tfidf": True}
    low, high = found["intervals"]["accuracy"]
    assert found["verdict"] == f"accuracy 0.900 [{low:.3f}, {high:.3f}] beats TF-IDF + logistic regression (0.700)"


def test_a_model_below_the_words_adds_nothing(fake_task):
    model, words = _answered(_share(400, 0.7)), _answered(_share(400, 0.9, seed=1))
    found = _scored(model, fake_task(), baselines=Baselines({"tfidf": words}, {}))
    assert found["beats"] == {"tfidf": False}
    assert found["differences"]["tfidf"]["separable"]
    assert "does not beat TF-IDF + logistic regression (0.900): this model adds nothing over it" in found["verdict"]


def test_close_models_are_not_separable(fake_task):
    model, words = _answered(_share(60, 0.8)), _answered(_share(60, 0.75, seed=1))
    found = _scored(model, fake_task(), baselines=Baselines({"tfidf": words}, {}))
    assert found["beats"] == {"tfidf": False}
    assert not found["differences"]["tfidf"]["separable"]
    assert "not separable from TF-IDF + logistic regression (0.750) with this test set of 60 rows" in found["verdict"]


def test_pairing_separates_what_two_intervals_would_not(fake_task):
    """The model is right wherever the baseline is, and on ten rows more."""
    right_N = np.arange(200) < 160
    found = _scored(_answered(right_N), fake_task(), baselines=Baselines({"tfidf": _answered(right_N & (np.arange(200) >= 10))}, {}))
    assert found["intervals"]["accuracy"][0] < found["baselines"]["tfidf"]["accuracy"] == 0.75
    assert found["beats"]["tfidf"]


def test_the_verdict_is_about_the_strongest_baseline(fake_task):
    weak, strong = _answered(_share(400, 0.5, seed=1)), _answered(_share(400, 0.95, seed=2))
    found = _scored(_answered(_share(400, 0.8)), fake_task(), baselines=Baselines({"majority": strong, "tfidf": weak}, {}))
    assert found["beats"] == {"majority": False, "tfidf": True}
    assert "does not beat always answering the most frequent class" in found["verdict"]


@pytest.mark.parametrize(("rows", "beats"), [(1, False), (19, False), (20, True)])
def test_a_handful_of_rows_proves_nothing(fake_task, rows, beats):
    right_N = np.ones(rows, bool)
    found = _scored(_answered(right_N), fake_task(), baselines=Baselines({"tfidf": _answered(~right_N)}, {}))
    assert found["beats"] == {"tfidf": beats}


def test_a_constant_guess_counts_as_no_correlation(fake_task):
    answers_N = np.arange(50.0)
    model = {"scores": (answers_N + np.sin(answers_N))[:, None], "answers": answers_N}
    mean = {"scores": np.full((50, 1), 24.5), "answers": answers_N}
    found = _scored(model, fake_task(of="number", classes=1), baselines=Baselines({"majority": mean}, {}))
    assert found["beats"] == {"majority": True}
    assert "spearman" not in found["baselines"]["majority"]
    assert found["differences"]["majority"]["difference"] == pytest.approx([1.0, 1.0])
    assert found["intervals"]["spearman"][0] < 0.9, "fifty rows do not prove a correlation of 1"


def test_a_model_of_one_answer_has_no_verdict_on_correlation(fake_task):
    model = {"scores": np.ones((20, 1)), "answers": np.arange(20.0)}
    found = _scored(model, fake_task(of="number", classes=1), baselines=Baselines({"tfidf": model}, {}))
    assert set(found["intervals"]) == set(found["metrics"]) == {"mean_absolute_error", "root_mean_squared_error", "r2"}
    assert found["beats"] == {}
    assert found["verdict"] == "spearman is not defined here: the answers or the predictions are all the same"


def test_rows_seen_in_training_are_scored_apart(fake_task):
    overlap_N = np.arange(100) < 40
    found = _scored(_answered(overlap_N | (np.arange(100) >= 70)), fake_task(), overlap_N=overlap_N)["leakage"]
    assert found["overlap_rows"] == 40
    assert [found[part]["accuracy"] for part in ("with", "without", "overlap_only")] == pytest.approx([0.7, 0.5, 1.0])
    ends = {part: found["intervals"][part]["accuracy"] for part in ("with", "without", "overlap_only")}
    assert ends["overlap_only"] == pytest.approx(wilson(40, 40, quantile(40))), "a share of forty rows, not of all"
    assert np.diff(ends["without"]) == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 60), rel=0.1)


def test_no_overlap_leaves_its_part_empty(fake_task):
    found = _scored(_answered(_share(10, 0.5)), fake_task(), overlap_N=np.zeros(10, bool))["leakage"]
    assert found["overlap_rows"] == 0
    assert found["overlap_only"] == {}
    assert found["with"] == found["without"]


def test_alone(fake_task):
    found = _scored(_answered(_share(10, 0.5)), fake_task())
    assert found["leakage"] is None
    assert found["baselines"] == {}
    assert found["verdict"].endswith("on 10 rows, with no baseline beside it")


def test_a_left_out_baseline_is_said(fake_task):
    found = _scored(_answered(_share(10, 0.5)), fake_task(), baselines=Baselines({}, {"tfidf": "the training texts hold no words"}))
    assert found["left_out"] == {"tfidf": "the training texts hold no words"}


@pytest.mark.parametrize("of", ["class", "classes", "number"])
def test_no_rows(fake_task, of):
    empty = {"scores": np.empty((0, 2)), "answers": np.empty((0, 2) if of == "classes" else 0)}
    found = _scored(empty, fake_task(of=of), overlap_N=np.empty(0, bool), baselines=Baselines({"tfidf": empty}, {}))
    assert found["rows"] == 0
    assert found["metrics"] == {}
    assert "there are no rows" in found["verdict"]


def test_a_seed_repeats(fake_task):
    model = _answered(_share(50, 0.6))
    assert _scored(model, fake_task()) == _scored(model, fake_task())


def test_label_sets(fake_task):
    answers_NC = np.random.default_rng(0).integers(0, 2, (80, 3))
    model, words = {"scores": answers_NC * 0.8 + 0.1, "answers": answers_NC}, {"scores": np.ones((80, 3)), "answers": answers_NC}
    found = _scored(model, fake_task(of="classes", classes=3), baselines=Baselines({"majority": words}, {}))
    assert found["beats"] == {"majority": True}
    assert found["verdict"].startswith("micro f1 1.000 [0.953, 1.000] beats")


# -- figures of classes and of confidence ----------------------------------------------------------------------------------


def _three(rows=300):
    """Three classes, the third of three rows that are all found and never wrongly said; the second is never predicted."""
    answers_N = np.array([2] * 3 + [1] * 40 + [0] * (rows - 43))
    given_N = np.where(answers_N == 2, 2, 0)
    return {"scores": np.eye(3)[given_N] * 0.7 + 0.1, "answers": answers_N}


def test_figures_of_a_class_go_by_its_own_rows():
    task = TextClassification(labels=("a", "b", "c"))
    first, second, third = json.loads(json.dumps(details(_three(), task, seed=0)))["per_class"]
    for name in ("precision", "recall", "f1"):
        assert third["intervals"][name] == pytest.approx(wilson(3, 3, quantile(3))), "three rows prove little"
    assert second["intervals"]["recall"] == pytest.approx(wilson(0, 40, quantile(40)))
    assert "precision" not in second["intervals"], "it was never said"
    share = 257 / 297
    assert np.diff(first["intervals"]["precision"]) == pytest.approx(2 * 1.97 * np.sqrt(share * (1 - share) / 297), rel=0.1)


def test_the_bins_of_confidence_have_intervals():
    draw = np.random.default_rng(0)
    columns = {"scores": draw.dirichlet(np.ones(3), 200), "answers": draw.integers(0, 3, 200)}
    found = details(columns, TextClassification(labels=("a", "b", "c")), seed=0)["calibration"]
    assert sum(each["count"] for each in found) == 200
    for each in found:
        low, high = each["intervals"]["accuracy"]
        assert 0 <= low <= each["accuracy"] <= high <= 1
        wanted = wilson(each["accuracy"] * each["count"], each["count"], quantile(each["count"])) if each["count"] > 1 else (low, high)
        assert (low, high) == pytest.approx(wanted, abs=0.06)
        low, high = each["intervals"].get("confidence", (each["confidence"],) * 2)
        assert low <= each["confidence"] <= high


@pytest.mark.parametrize("several", ["no", "yes"])
def test_one_path(several):
    """The ends of a figure are those of its own resamples, whatever else is measured with it."""
    draw = np.random.default_rng(1)
    answers = draw.integers(0, 3, 80) if several == "no" else draw.integers(0, 2, (80, 3))
    columns = {"scores": draw.dirichlet(np.ones(3), 80), "answers": answers}
    task = TextClassification(labels=("a", "b", "c"), several=several)
    whole = score(columns, task, seed=5)
    for name, value in whole["metrics"].items():
        drawn_R = draws(columns, task.tally(columns, (name,)), names=(name,), seed=5)[:, 0]
        rows = np.bincount(answers).min() if (name, several) == ("roc_auc", "no") else 80  # a perfect order of few says little
        low, high = interval(drawn_R, value, rows, within=limits(name))
        assert whole["intervals"][name][1] == pytest.approx(high, rel=1e-6, abs=1e-9), name
        if name != "calibration_error":  # which lies above the truth on few rows
            assert whole["intervals"][name][0] == pytest.approx(low, rel=1e-6, abs=1e-9), name


def test_the_interval_of_a_calibration_error_holds_nought_where_the_model_is_calibrated():
    """Chance alone gives 300 rows an error of 0.05; a model that is far too sure is told all the same."""
    draw = np.random.default_rng(3)
    task = TextClassification(labels=("a", "b"))
    for wrong, holds in ((1.0, True), (4.0, False)):
        yes = draw.random(300)
        sharp = yes**wrong / (yes**wrong + (1 - yes) ** wrong)
        found = score({"scores": np.stack([1 - sharp, sharp], 1), "answers": (draw.random(300) < yes).astype(int)}, task, seed=0)
        low, high = found["intervals"]["calibration_error"]
        assert (low == 0) == holds
        assert low <= found["metrics"]["calibration_error"] <= high
