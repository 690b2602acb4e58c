"""A causal model handed to lm-evaluation-harness: the same figures as by hand, and what is refused."""

import json

import pytest
import torch
import yaml
from tests.conftest import make_tokenizer
from tests.tiny_models import WORDS, causal_model, masked_model, saved, with_bos

from rootstock.core.errors import BaseError, UsageError
from rootstock.evaluation.intervals import around, quantile
from rootstock.report import benchmark as page
from rootstock.verbs import harness

ROWS = [
    {"start": f"the {a} was", "one": f"{b}", "other": f"{c}", "right": i % 2}
    for i, (a, b, c) in enumerate(zip(WORDS, WORDS[3:] + WORDS[:3], WORDS[5:] + WORDS[:5], strict=True))
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(causal_model(), with_bos(), tmp_path / "causal")
    saved(masked_model(), make_tokenizer(), tmp_path / "masked")
    (tmp_path / "rows.json").write_text("\n".join(map(json.dumps, ROWS)))
    task = {
        "task": "which_word",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.json")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{start}}",
        "doc_to_choice": "{{[one, other]}}",
        "doc_to_target": "{{right}}",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (tmp_path / "which_word.yaml").write_text(yaml.safe_dump(task))
    return tmp_path


def likelihood(model, tokens, start, word):
    """Log-probability of a word behind a start, by hand."""
    before, after = (tokens(text, add_special_tokens=False)["input_ids"] for text in (start, word))
    with torch.no_grad():
        logits = model(torch.tensor([before + after])).logits[0].log_softmax(-1)
    return sum(float(logits[len(before) - 1 + i, token]) for i, token in enumerate(after))


@pytest.mark.filterwarnings("ignore")
def test_a_local_task_gives_the_figure_that_the_model_gives_by_hand(place):
    pytest.importorskip("lm_eval")
    found = harness.evaluate("causal", ["which_word.yaml"], limit=None, batch=4, say=lambda text: None)
    model, tokens = causal_model(), with_bos()
    said = [max((0, 1), key=lambda i, row=row: likelihood(model, tokens, row["start"], row[("one", "other")[i]])) for row in ROWS]
    right = sum(answer == row["right"] for answer, row in zip(said, ROWS, strict=True)) / len(ROWS)
    acc = found["tasks"]["which_word"]["figures"]["acc"]
    assert acc["value"] == pytest.approx(right)
    assert acc["error"] == pytest.approx((right * (1 - right) / (len(ROWS) - 1)) ** 0.5)
    between = around(right, acc["error"] ** 2, place=quantile(len(ROWS)), rows=len(ROWS), within=(0.0, 1.0))
    assert acc["interval"] == pytest.approx(between)
    assert found["tasks"]["which_word"]["rows"] == len(ROWS)
    assert "which_word" in page.of_harness(found)
    from lm_eval.utils import make_table

    assert "which_word" in make_table(found["harness"])


@pytest.mark.filterwarnings("ignore")
def test_what_the_harness_does_not_know_is_said(place):
    pytest.importorskip("lm_eval")
    with pytest.raises(UsageError, match="no task 'helaswag'") as told:
        harness.evaluate("causal", ["helaswag"], limit=None, batch=4, say=lambda text: None)
    assert "hellaswag" in told.value.fix


def test_an_encoder_is_refused(place, monkeypatch):
    monkeypatch.setattr(harness, "needed", lambda *_, **__: None)
    with pytest.raises(BaseError, match="does not go on from a text"):
        harness.evaluate("masked", ["hellaswag"], limit=None, batch=4, say=lambda text: None)


def test_without_the_extra_it_is_named(place, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(UsageError, match="--lm-eval needs the package lm_eval") as told:
        harness.evaluate("causal", ["hellaswag"], limit=None, batch=4, say=lambda text: None)
    assert told.value.fix == "pip install 'rootstock[lm-eval]'"


def test_a_file_that_is_no_task_is_refused(place):
    for text, said in (("[1, 2]", "has no key task"), ("a: [", "expected")):
        (place / "bad.yaml").write_text(text)
        with pytest.raises(UsageError, match=said):
            harness._names(["bad.yaml"])
    with pytest.raises(UsageError, match=r"there is no file gone\.yaml"):
        harness._names(["gone.yaml"])


def test_a_share_that_a_task_gives_in_percent_gets_an_interval_around_itself():
    low, high = harness._between("f1", 70.0, 1.0, 50)["interval"]
    assert (low + high) / 2 == pytest.approx(70.0)
    assert high - low == pytest.approx(2 * quantile(50))
