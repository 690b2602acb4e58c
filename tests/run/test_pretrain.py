"""From documents to a base, end to end: found again bit for bit after a kill, and of use to adapt."""

import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from tests.conftest import make_tokenizer, rows_of, write_csv
from tests.tiny_models import saved

from rootstock.core import artifact
from rootstock.core.errors import BaseError, DataError, Interrupted, MergeRefused, RecipeError, UsageError
from rootstock.core.recipe import Recipe
from rootstock.core.runfolder import RunFolder, read_recipe
from rootstock.core.watch import Watch
from rootstock.methods.lora import LoRA
from rootstock.run import unlabelled
from rootstock.run.prepare import prepare
from rootstock.run.use import Run
from rootstock.verbs import api, verify

TRAINING = {"epochs": 1, "rate": 3e-3, "batch_tokens": 128, "length": 24, "checkpoint_steps": 4}

ELECTRA = {"vocab_size": 32, "embedding_size": 16, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
ELECTRA |= {"intermediate_size": 64, "max_position_embeddings": 66, "pad_token_id": 0}


@pytest.fixture
def corpus(tmp_path):
    """A folder of forty texts."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(40):
        text = ". ".join(text for text, _ in rows_of(12, seed=number))
        (folder / f"{number:02}.txt").write_text(text)
    return folder


@pytest.fixture
def pretrain(corpus, tiny_base, tmp_path):
    """A pre-training on the corpus; keyword arguments override."""

    def run(out="run", *, stop=None, **more):
        values = {"base": str(tiny_base), "task": {"name": "masked-lm"}, "method": {"name": "full"}, "training": TRAINING}
        values |= {"data": {"train": str(corpus), "validation": 0.2}} | more
        return api.carry_out(Recipe.build(values, ""), tmp_path / out, Watch(stop=stop) if stop else Watch())

    return run


def weights(run):
    return load_file(RunFolder(run.path).model / "model.safetensors")


def test_a_base_is_made_that_plain_transformers_loads_and_adapt_takes(pretrain, tmp_path):
    from transformers import AutoModelForMaskedLM

    run = pretrain(training={**TRAINING, "epochs": 2})
    _, report = AutoModelForMaskedLM.from_pretrained(run.path / "model", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    figures = run.metrics
    assert figures["metrics"]["loss"] < 3.3, "below the ln 32 of knowing nothing"
    low, high = figures["intervals"]["loss"]
    assert low < figures["metrics"]["loss"] < high
    assert set(figures["baselines"]) == {"unigram"}
    for name in ("ledger.json", "history.jsonl", "plan.json", "predictions.parquet", "README.md", "report.html", "manifest.json"):
        assert (run.path / name).is_file(), name
    reviews = write_csv(tmp_path / "reviews.csv", rows_of(60))
    adapted = api.adapt(reviews, base=run.path, method="full", out=tmp_path / "adapted", training={"epochs": 1, "batch_tokens": 64})
    assert adapted.predict("a good film")[0] in ("positive", "negative")
    assert json.loads((tmp_path / "adapted" / "manifest.json").read_text())["base"]["name"] == "run"


LONG = [pytest.param(each, marks=pytest.mark.slow) for each in ({}, {"method": {"name": "lora"}})]


@pytest.mark.parametrize("more", [*LONG, {"training": {**TRAINING, "dropout": 0.1}}])
def test_stopped_and_resumed_is_the_same_base(pretrain, tmp_path, more):
    straight = pretrain("straight", **more)
    recipe = read_recipe(straight.folder.recipe)
    with pytest.raises(Interrupted):
        api.carry_out(recipe, tmp_path / "stopped", Watch(stop=verify._Countdown(6)))
    again = api.carry_out(read_recipe(tmp_path / "stopped" / "recipe.yaml"), tmp_path / "stopped", Watch(), resume=True)
    for name in sorted(each.name for each in (straight.path / "model").glob("*.safetensors")):
        one, other = load_file(straight.path / "model" / name), load_file(again.path / "model" / name)
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert straight.metrics["metrics"] == again.metrics["metrics"]


def test_each_epoch_has_masks_of_its_own_and_a_measurement_always_the_same(pretrain):
    run = pretrain(training={**TRAINING, "rate": 1e-12, "batch_tokens": 100_000, "schedule": "constant", "epochs": 3})
    events = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    losses = [event["loss"] for event in events if event["event"] == "step"]
    held = [event["loss"] for event in events if event["event"] == "evaluation"]
    assert len(set(losses)) == 3, "the same weights, other masks"
    assert held == pytest.approx([held[0]] * len(held), rel=1e-6)


def test_several_corpora_are_mixed_and_said(pretrain, corpus, tmp_path):
    (tmp_path / "more.txt").write_text(" ".join(text for text, _ in rows_of(400, seed=5)))
    said = []
    run = pretrain(data={"train": [str(corpus), str(tmp_path / "more.txt")], "mix": [1, 3], "validation": 0.2})
    prepared = prepare(read_recipe(run.folder.recipe), said.append)
    assert [line.split(":")[-1].split(" of ")[0].strip() for line in said if line.startswith("mix")] == ["25.0%", "75.0%"]
    feed, tokens_S = prepared.feed(prepared.encoded), np.zeros(2)
    updates = list(feed.epoch(0))
    steps = [json.loads(line) for line in run.folder.history.read_text().splitlines() if '"event": "step"' in line]
    for event, rows in zip(steps, updates, strict=True):
        assert event["batch"] == feed.digest(rows), "what the update held"
        tokens_S += np.bincount(feed.encoded.dense["source"][rows], feed.encoded.lengths[rows], minlength=2)
    assert tokens_S[1] / tokens_S.sum() == pytest.approx(0.75, abs=0.02)
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest["learned"]["tokens"] == tokens_S.sum()
    assert manifest["learned"]["passes"] == pytest.approx(1, abs=0.05)
    assert manifest["body_parameters"] < manifest["parameters"] - 32 * 32, "without the table of 32 tokens"


def test_the_digest_of_the_corpus_is_in_the_manifest_and_a_changed_text_is_another(pretrain, corpus):
    short = TRAINING | {"steps": 1}
    one = json.loads((pretrain("one", training=short).path / "manifest.json").read_text())["data"]["train"]["sha256"]
    (corpus / "00.txt").write_text("a good film")
    assert json.loads((pretrain("two", training=short).path / "manifest.json").read_text())["data"]["train"]["sha256"] != one


@pytest.mark.parametrize(
    ("more", "kind", "told"),
    [
        ({"training": {**TRAINING, "length": 600}}, RecipeError, "at most 64"),
        ({"method": {"name": "feature-extraction"}}, RecipeError, "frozen base"),
        ({"base": "scratch:gpt2-mini"}, BaseError, "no masked language model"),
        ({"task": {"name": "causal-lm"}}, BaseError, "sees the tokens"),
        ({"task": {"name": "cbow"}}, BaseError, "no contexts"),
        ({"base": "scratch:bert-tiny", "method": {"name": "lora"}}, RecipeError, "random"),
        ({"data": {"train": "nowhere"}}, DataError, "nowhere"),
        ({"data": {"train": "texts", "mix": [1, 2]}}, RecipeError, "2 weights"),
        ({"data": {"train": ["texts", "others"], "mix": [-1, 2]}}, RecipeError, "0 or more, one of them above 0"),
        ({"data": {"train": ["texts", "others"], "mix": [0, 0]}}, RecipeError, "0 or more, one of them above 0"),
    ],
)
def test_what_can_not_be_is_said_before_anything_is_spent(pretrain, monkeypatch, more, kind, told):
    """Before the texts are read and cut, too: a large corpus takes hours."""
    monkeypatch.setattr(unlabelled.documents, "read", lambda parts: pytest.fail("texts were read"))
    with pytest.raises(kind, match=told):
        pretrain(**more)


def test_an_empty_corpus_is_said(pretrain, tmp_path):
    (tmp_path / "empty.txt").write_text("   \n")
    with pytest.raises(DataError, match=r"empty\.txt: 0 rows to learn from and 0 held out"):
        pretrain(data={"train": str(tmp_path / "empty.txt")})


def test_as_many_texts_are_drawn_as_asked_for(pretrain, corpus):
    values = {"base": "scratch:bert-tiny", "task": {"name": "masked-lm"}, "data": {"train": str(corpus), "validation": 0.2}}
    counts, said = [], []
    for rows, seed in ((None, 1), (12, 1), (12, 2)):
        prepared = prepare(Recipe.build({**values, "seed": seed, "data": {**values["data"], "rows": rows}}, ""), said.append)
        counts.append((prepared.ledger["rows"], artifact.digest_json(prepared.encoded.tokens["input_ids"].flat.tolist())))
    (whole, _), *drawn = counts
    assert whole["read"] > 12
    assert "not_drawn" not in whole
    for rows, _ in drawn:
        assert rows["train"] + rows["validation"] == 12, "as many as asked for"
        assert (rows["read"], rows["not_drawn"]) == (whole["read"], whole["read"] - 12), "and the others are counted"
    assert any(f"{whole['read'] - 12} not drawn, as data.rows asks" in text for text in said)
    assert drawn[0][1] != drawn[1][1], "other texts for another seed"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_refused_merge_leaves_a_run_that_has_ended_and_its_adapter(pretrain, tiny_base, tmp_path, monkeypatch):
    from peft import PeftModel
    from transformers import AutoModelForMaskedLM

    merge = LoRA.merge

    def wrongly(self, model):
        plain = merge(self, model)
        with torch.no_grad():
            plain.get_input_embeddings().weight[5:10] *= -1
        return plain

    monkeypatch.setattr(LoRA, "merge", wrongly)
    with pytest.raises(MergeRefused, match="use the adapter, which model/ holds"):
        pretrain(method={"name": "lora"}, training={**TRAINING, "rate": 1e-2})
    run = Run(tmp_path / "run")
    assert run.contract["saves"] == "adapter"
    assert (run.path / "report.html").is_file()
    base = AutoModelForMaskedLM.from_pretrained(tiny_base)
    held = load_file(run.path / "model" / "adapter_model.safetensors")
    assert max(value.abs().max().item() for name, value in held.items() if "lora_B" in name) > 0, "it has learned"
    loaded = PeftModel.from_pretrained(base, run.path / "model").state_dict()
    assert all(torch.equal(loaded[name.replace(".weight", ".default.weight")], value) for name, value in held.items())


def test_a_pretrained_run_gives_no_labels(pretrain):
    with pytest.raises(UsageError, match="pre-trained with masked-lm"):
        Run(pretrain(training=TRAINING | {"steps": 1}).path).predict("a text")


def test_an_adapter_is_folded_in_so_that_the_base_can_be_built_on(pretrain, tiny_base, tmp_path):
    from transformers import AutoModelForMaskedLM

    run = pretrain(method={"name": "lora"}, training={**TRAINING, "rate": 1e-2})
    model, report = AutoModelForMaskedLM.from_pretrained(run.path / "model", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    before, after = load_file(tiny_base / "model.safetensors"), model.bert.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.endswith(("query.weight", "value.weight")) for name in changed)
    assert torch.equal(model.get_output_embeddings().weight, model.get_input_embeddings().weight)
    reviews = write_csv(tmp_path / "reviews.csv", rows_of(40))
    assert api.adapt(reviews, base=run.path, method="full", out=tmp_path / "adapted", training={"epochs": 1}).metrics["rows"]


def test_an_adapter_of_a_discriminator_is_folded_in_and_its_generator_left_behind(pretrain, tmp_path):
    base = saved(transformers.ElectraForPreTraining(transformers.ElectraConfig(**ELECTRA)), make_tokenizer(), tmp_path / "electra")
    run = pretrain(base=str(base), task={"name": "replaced-token"}, method={"name": "lora"})
    _, report = transformers.ElectraForPreTraining.from_pretrained(run.path / "model", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    before, after = (load_file(folder / "model.safetensors") for folder in (base, run.path / "model"))
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {f"electra.encoder.layer.0.attention.self.{name}.weight" for name in ("query", "value")}
