"""The loss by its definition, a base that learned, a model for plain transformers, and a run that goes on where it was stopped."""

import json
import math
import time

import numpy as np
import pytest
import torch
import transformers
from tests.conftest import rows_of, write_csv

import rootstock as rs
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import Interrupted, RecipeError, UnknownName
from rootstock.core.loaded import Head
from rootstock.core.runfolder import RunFolder, read_recipe
from rootstock.core.watch import Watch
from rootstock.loop import crew
from rootstock.methods.few_shot import FewShot
from rootstock.run import warm_up
from rootstock.tasks.regression import Regression
from rootstock.tasks.text_classification import TextClassification
from rootstock.tasks.token_classification import TokenClassification
from rootstock.verbs import api, verify

QUICK = FewShot(warm_updates=12, warm_rate=2e-3)


@pytest.fixture
def few(tmp_path):
    """A CSV of ten texts of each of two labels."""
    return write_csv(tmp_path / "few.csv", rows_of(20))


@pytest.fixture
def learned(adapt, few):
    def run(out="run", **more):
        return adapt(out=out, data=few, **{"method": QUICK, "training": {"epochs": 3}} | more)

    return run


def test_the_loss_is_that_of_the_paper():
    vectors = torch.randn(6, 1, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = [0, 1, 0, 2, 1, 0]
    unit = torch.nn.functional.normalize(vectors[:, 0].detach(), dim=1).numpy()
    losses = []
    for i in range(6):
        scores = {j: math.exp(float(unit[i] @ unit[j]) / 0.1) for j in range(6) if j != i}
        same = [j for j in scores if labels[j] == labels[i]]
        if same:
            losses.append(-sum(math.log(scores[j] / sum(scores.values())) for j in same) / len(same))
    loss = FewShot().warm_up().coupled.couple(torch.nn.Identity(), vectors, torch.tensor(labels))
    assert loss.count == len(losses) == 5, "the only row of its class has nothing to be near to"
    assert loss.total.item() == pytest.approx(sum(losses), rel=1e-5)
    loss.total.backward()
    assert torch.isfinite(vectors.grad).all()


def test_an_update_without_two_rows_of_a_class_asks_nothing():
    vectors = torch.randn(3, 1, 5, requires_grad=True)
    loss = FewShot().warm_up().coupled.couple(torch.nn.Identity(), vectors, torch.arange(3))
    loss.total.backward()
    assert (loss.total.item(), loss.count) == (0, 0)
    assert torch.isfinite(vectors.grad).all()


@pytest.mark.parametrize(
    "head",
    [
        Regression().head(),
        TokenClassification(labels=("O", "B-x")).head(),
        TextClassification(labels=("a", "b"), several="yes").head(),
        Head(auto="AutoModelForCausalLM"),
    ],
)
def test_what_has_no_one_class_a_row_is_refused(head):
    with pytest.raises(RecipeError, match="one class") as refused:
        FewShot().check(head, {})
    assert "choose --method" in refused.value.fix
    FewShot().check(TextClassification(labels=("a", "b"), several="no").head(), {})


@pytest.mark.parametrize("aid", ["adversary", "mixup"])
def test_what_its_head_can_not_do_is_refused_before_the_base_learns(learned, tmp_path, aid):
    with pytest.raises(RecipeError, match=f"training.{aid} changes embedded tokens"):
        learned("no", training={"epochs": 1, aid: 0.2})


def test_dropout_inside_attention_is_known_to_draw():
    """Else twins on several cores, and the second pass of each micro-batch, would drop other things than the first."""
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 32}
    bodies = (transformers.LlamaModel(transformers.LlamaConfig(**shape, attention_dropout=share)) for share in (0.1, 0.0))
    assert [crew.draws_at_random(warm_up._Learner(body)) for body in bodies] == [True, False]


def test_it_is_found_by_the_fields_name(few, tiny_base):
    with pytest.raises(UnknownName, match="few-shot"):
        rs.adapt(few, base=str(tiny_base), method="setfit")


def test_the_base_learns_and_the_model_is_a_plain_classifier(learned, few, tiny_base):
    run = learned()
    losses = [json.loads(line)["loss"] for line in (run.path / "warm-up.jsonl").read_text().splitlines()]
    assert len(losses) == 12
    assert losses[-1] < losses[0] - 0.1
    assert not (run.path / "checkpoints").exists()
    model = transformers.AutoModelForSequenceClassification.from_pretrained(run.path / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(run.path / "model")
    before = bases.load(resolve(str(tiny_base)), Head(auto="AutoModel"), seed=0).model
    name = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(model.bert.get_parameter(name), before.get_parameter(name))
    texts = [text for text, _ in rows_of(20)]
    with torch.no_grad():
        said = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.argmax(1)
    assert [model.config.id2label[i] for i in said.tolist()] == run.predict(texts)
    assert run.evaluate(str(few))["metrics"]["accuracy"] > 0.8


def test_features_of_another_warm_up_are_not_taken_for_its_own(learned):
    first, other, again = learned(), learned(out="other", seed=7), learned(out="again")
    assert first.predict(["good film"]) == again.predict(["good film"])
    held = [np.fromfile(run.path / "model" / "model.safetensors", np.uint8) for run in (first, other, again)]
    assert np.array_equal(held[0], held[2])
    assert held[0].shape == held[1].shape
    assert not np.array_equal(held[0], held[1])


@pytest.mark.parametrize("questions", [5, 14])
def test_stopped_in_the_warm_up_or_after_it_goes_on_to_the_same_weights(learned, tmp_path, questions):
    run, out, said = learned(), tmp_path / "stopped", []
    recipe = read_recipe(run.folder.recipe)
    with pytest.raises(Interrupted, match="warm-up" if questions < 12 else "after step") as stopped:
        api.carry_out(recipe, out, Watch(stop=verify._Countdown(questions)))
    assert "--resume" in stopped.value.fix
    assert RunFolder(out).begun
    api.carry_out(recipe, out, Watch(say=said.append), resume=True)
    assert f"warm-up   goes on from update {min(questions, 12)} of 12" in said
    for name in ("model/model.safetensors",):
        assert (out / name).read_bytes() == (run.path / name).read_bytes()
    steps = [json.loads(line)["step"] for line in (out / "warm-up.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 13))


def test_time_of_a_warm_up_before_an_interruption_counts(learned, tmp_path):
    run, out = learned(), tmp_path / "stopped"
    recipe = read_recipe(run.folder.recipe)
    begun = Watch(stop=verify._Countdown(5), started=time.monotonic() - 1000)
    with pytest.raises(Interrupted, match="warm-up"):
        api.carry_out(recipe, out, begun)
    api.carry_out(recipe, out, Watch(), resume=True)
    assert 1000 < json.loads((out / "plan.json").read_text())["measured"]["seconds"] < 1500


def test_a_rehearsal_learns_nothing(learned, tmp_path):
    run = learned()
    predicted = api.rehearse(read_recipe(run.folder.recipe), Watch())
    assert predicted["steps"] == run.metrics["steps"]
    assert not (tmp_path / "warm-up.jsonl").exists()
