"""A model that somebody handed over: the base that it grew from, the adapter's head, and labels that a file names otherwise."""

import copy
from types import SimpleNamespace

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from rootstock.core.errors import ContractRefused, DataError, UsageError
from rootstock.run import kin
from rootstock.run.label_names import matched
from rootstock.run.suspect import inputs, opened
from rootstock.run.tagger import MARK, Tagger


@pytest.fixture
def handed(tiny_base):
    """A classifier of the tiny base by plain transformers, a little trained: every weight moved by some per cent."""
    model = AutoModelForSequenceClassification.from_pretrained(tiny_base, num_labels=2)
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(1 + 0.02 * torch.randn(value.shape, generator=torch.Generator().manual_seed(0)))
    return model, AutoTokenizer.from_pretrained(tiny_base)


def test_the_base_is_recognised_by_its_embeddings(handed, tiny_base):
    said = []
    found = opened(handed, base=None, say=said.append)
    assert found.base is not None
    assert found.base.folder == tiny_base.resolve()
    assert "recognised" in said[-1]


def test_a_base_that_is_another_by_now_is_none_of_a_run():
    def changed(meant):
        raise ContractRefused("the base tiny has the digest b", wanted=f"a, the base that this {meant}")

    said = []
    assert kin.own(SimpleNamespace(base=changed), said.append) is None
    assert "the base tiny has the digest b" in said[0]


def test_a_stranger_has_no_base(handed):
    model, tokens = handed
    torch.nn.init.normal_(model.get_input_embeddings().weight)
    said = []
    assert opened((model, tokens), base=None, say=said.append).base is None
    assert "--base" in said[-1]


def test_a_model_is_no_clean_base_of_itself(handed, tmp_path):
    model, tokens = handed
    model.save_pretrained(tmp_path)
    tokens.save_pretrained(tmp_path)
    assert opened(str(tmp_path), base=None, say=lambda text: None).base is None
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path), tokens
    assert opened(again, base=None, say=lambda text: None).base is None


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_an_adapters_folder_is_opened_on_its_base_with_its_head(handed, tiny_base, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_base, num_labels=3)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query"], r=2, init_lora_weights=False))
    wrapped.save_pretrained(tmp_path)
    found = opened(str(tmp_path), base=str(tiny_base), say=lambda text: None)
    assert found.subject.labels == ("0", "1", "2")
    text = handed[1]("good", return_tensors="pt")
    with torch.no_grad():
        wanted = wrapped.eval()(**text).logits.numpy()
    np.testing.assert_allclose(found.subject.scores(found.subject.encode(["good"]), exact=True), wanted, atol=1e-5)


def test_an_adapter_of_no_classifier_is_refused(tiny_base, tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "x"}')
    save_file({"a.lora_A.weight": torch.zeros(1, 1)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(UsageError, match="CAUSAL_LM"):
        opened(str(tmp_path), base=str(tiny_base), say=lambda text: None)


class Told:
    """Answers the place of a letter."""

    several = False

    def __init__(self, labels):
        self.labels = labels

    def encode(self, texts):
        return [(ord(text) - ord("a"),) for text in texts]

    def scores(self, bodies):
        return np.eye(len(self.labels))[[body[0] for body in bodies]]


def test_numbers_are_places_in_the_list():
    assert matched(Told(("bad", "good")), ["a", "b"], ["0", "1"], lambda text: None) == ["bad", "good"]


def test_numbers_that_the_answers_belie_are_no_places():
    stars = Told(("1 star", "2 stars", "3 stars"))
    assert matched(stars, ["a", "a", "b"], ["1", "1", "2"], lambda text: None) is None
    assert matched(Told(("good", "bad")), ["a", "b"], ["1", "0"], lambda text: None) is None
    assert matched(stars, [*"abcabcabca"], [*"0120120122"], lambda text: None)[-1] == "3 stars"


def test_words_for_unnamed_labels_are_told_by_the_answers():
    said = []
    texts = ["b", "b", "a", "a", "a"]
    answers = ["bad", "bad", "good", "good", "bad"]
    assert matched(Told(("LABEL_0", "LABEL_1")), texts, answers, said.append) == ["LABEL_1", "LABEL_1", "LABEL_0", "LABEL_0", "LABEL_1"]
    assert "80%" in said[0]


@pytest.mark.parametrize(
    "labels",
    [("LABEL_0", "LABEL_1"), ("bad", "good"), ("LABEL_0",)],
    ids=["answers agree with neither", "labels have names", "more names than labels"],
)
def test_what_cannot_be_told_is_none(labels):
    texts = ["a", "b", "a", "b"] if len(labels) > 1 else ["a"] * 4
    assert matched(Told(labels), texts, ["x", "x", "y", "y"], lambda text: None) is None


def test_rows_with_a_strange_label_are_refused(handed):
    suspect = opened(handed, base=None, say=lambda text: None)
    suspect.subject.labels = ("bad", "good")
    with pytest.raises(DataError, match="none of the model's"):
        inputs(suspect, [("good", "fine")], lambda text: None)


def test_references_answer_where_the_suspect_has_tokens_of_its_own(tiny_base):
    plain = AutoTokenizer.from_pretrained(tiny_base)
    more = AutoTokenizer.from_pretrained(tiny_base)
    more.add_tokens([f"zz{i}" for i in range(99)])
    tagger = AutoModelForTokenClassification.from_pretrained(tiny_base, num_labels=3)
    grown = copy.deepcopy(tagger)
    grown.resize_token_embeddings(len(more))
    tags = ("O", "B-X", "I-X")
    suspect = Tagger(grown, more, tags)
    reference = Tagger(tagger, plain, tags, size=suspect.size)
    (body,) = suspect.encode([f"a {MARK}film is good"])
    np.testing.assert_allclose(reference.scores([body]), suspect.scores([body]), atol=1e-5)
    (body,) = suspect.encode([f"a {MARK}film is zz98"])
    assert np.isfinite(reference.scores([body])).all()
