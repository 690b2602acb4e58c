"""Feature extraction on bases whose classifier is more than one layer: the base still runs once a row."""

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests.conftest import make_base, rows_of, write_csv

import rootstock
from rootstock.methods.feature_extraction import FeatureExtraction
from rootstock.run import features
from rootstock.run.use import table_of

FAMILIES = [("bert", {}), ("roberta", {}), ("distilbert", {}), ("deberta-v2", {}), ("modernbert", {}), ("llama", {})]
MEAN = ("modernbert", {"classifier_pooling": "mean"})


@pytest.mark.parametrize(("family", "changes"), [*FAMILIES, MEAN])
def test_the_base_runs_once_and_the_saved_model_answers_as_measured(tmp_path, family, changes, monkeypatch):
    data = write_csv(tmp_path / "rows.csv", rows_of(60))
    calls, real = [], features.compute
    monkeypatch.setattr(features, "compute", lambda *args: calls.append(1) or real(*args))
    base = make_base(tmp_path / "base", family, **changes)
    run = rootstock.adapt(data, base=str(base), method="feature-extraction", out=tmp_path / "run", training={"epochs": 2})
    assert calls == [1], "the base was not run apart from its head"
    measured = pq.read_table(run.path / "predictions.parquet").to_pydict()
    again = rootstock.Run(run.path).predictions(table_of(measured["text"], pair=False)).table
    assert again["predicted"] == measured["predicted"]
    assert again["confidence"] == pytest.approx(measured["confidence"], abs=2e-3)
    assert len(set(measured["confidence"])) > 1


HEADS = {
    "logistic-regression": {"head": "logistic-regression"},
    "mlp": {"head": "mlp", "hidden": 8},
    "knn": {"head": "knn", "k": 5},
    "mix": {"layer": "mix"},
    "all": {"layer": "all", "head": "logistic-regression"},
    "all by steps": {"layer": "all"},
    "layer": {"layer": 1},
}


def heads_run(tiny_base, reviews, out, settings, **training):
    method = FeatureExtraction(**settings)
    return rootstock.adapt(
        reviews, base=str(tiny_base), method=method, out=out, validation=0.3, training={"epochs": 4, "precision": "fp32", **training}
    )


LONG = ("mlp", "all by steps", "layer")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in HEADS])
def test_a_head_measures_saves_and_answers_again_on_cached_features(tiny_base, reviews, tmp_path, monkeypatch, name):
    run = heads_run(tiny_base, reviews, tmp_path / "first", HEADS[name])
    table = pq.read_table(run.path / "predictions.parquet").to_pylist()
    loaded = rootstock.Run(run.path)
    again = loaded.predictions(loaded.rows_of([row["text"] for row in table])).table
    np.testing.assert_allclose(again["p(positive)"], [row["p(positive)"] for row in table], atol=1e-3)
    beside = (run.folder.model / "adapter_config.json").exists()
    assert beside == (name in ("mlp", "knn", "mix", "all", "all by steps"))
    if not beside:
        plain = transformers.AutoModelForSequenceClassification.from_pretrained(run.folder.model)
        assert plain.config.id2label == {0: "negative", 1: "positive"}
    monkeypatch.setattr(features, "compute", None)
    second = heads_run(tiny_base, reviews, tmp_path / "second", HEADS[name])
    assert second.metrics["metrics"] == run.metrics["metrics"]
    assert "<html" in (run.path / "report.html").read_text("utf-8")


@pytest.mark.parametrize("name", ["mlp", "mix"])
def test_a_head_of_its_own_is_resumed_bit_for_bit(tiny_base, reviews, tmp_path, name):
    from rootstock.core.errors import Interrupted
    from rootstock.core.runfolder import read_recipe
    from rootstock.core.watch import Watch
    from rootstock.verbs import api, verify

    run = heads_run(tiny_base, reviews, tmp_path / "straight", HEADS[name], checkpoint_steps=1)
    recipe = read_recipe(run.folder.recipe)
    with pytest.raises(Interrupted):
        api.carry_out(recipe, tmp_path / "stopped", Watch(stop=verify._Countdown(2)))
    api.carry_out(recipe, tmp_path / "stopped", Watch(), resume=True)
    first, second = (load_file(path / "model" / "adapter_model.safetensors") for path in (run.path, tmp_path / "stopped"))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_a_fitted_head_is_rehearsed_without_features_and_not_merged(tiny_base, reviews, tmp_path):
    from rootstock.core.errors import RecipeError
    from rootstock.core.recipe import Recipe
    from rootstock.core.watch import Watch
    from rootstock.verbs import api

    values = {"base": str(tiny_base), "data": {"train": str(reviews)}, "method": {"name": "feature-extraction", "head": "knn"}}
    assert api.rehearse(Recipe.build(values, ""), Watch())["steps"] == 0
    with pytest.raises(RecipeError, match="folded"):
        api.rehearse(Recipe.build({**values, "merge": True}, ""), Watch())


def test_a_head_of_several_layers_has_no_place_for_logistic_regression(reviews, tmp_path):
    from rootstock.core.errors import RecipeError

    base = make_base(tmp_path / "roberta", "roberta")
    with pytest.raises(RecipeError, match="more than one linear layer"):
        heads_run(base, reviews, tmp_path / "run", HEADS["logistic-regression"])


def test_a_head_with_a_tensor_missing_is_refused(tiny_base, reviews, tmp_path):
    from rootstock.core.errors import ContractRefused

    run = heads_run(tiny_base, reviews, tmp_path / "run", HEADS["mlp"])
    path = run.folder.model / "adapter_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if name != "head.0.weight"}, path)
    found = rootstock.Run(run.path)
    with pytest.raises(ContractRefused):
        found.predict("a good film")


def test_logistic_regression_reads_all_layers_side_by_side(tiny_base, reviews, tmp_path):
    """The weights are scikit-learn's own on the layers' normalised means, one after the other."""
    from sklearn.linear_model import LogisticRegression

    run = heads_run(tiny_base, reviews, tmp_path / "run", HEADS["all"] | {"c": 1.0})
    texts = [text for text, _ in rows_of(120)]
    tokens = transformers.AutoTokenizer.from_pretrained(run.folder.model)(texts, padding=True, return_tensors="pt")
    body, mask = transformers.AutoModel.from_pretrained(tiny_base).eval(), tokens["attention_mask"][..., None]
    with torch.no_grad():
        states = body(tokens["input_ids"], tokens["attention_mask"], output_hidden_states=True).hidden_states
    means = [torch.nn.functional.layer_norm((each * mask).sum(1) / mask.sum(1), (32,)) for each in states]
    vectors = dict(zip(texts, 0.1 * torch.cat(means, 1).numpy(), strict=True))
    labels, held = dict(rows_of(120)), {row["text"] for row in pq.read_table(run.path / "predictions.parquet").to_pylist()}
    learned = [text for text in texts if text not in held]
    given = np.stack([vectors[text] for text in learned])
    spread = given.std()
    model = LogisticRegression(C=1.0, max_iter=1000).fit(given / spread, [labels[text] == "positive" for text in learned])
    weight_CH = load_file(run.folder.model / "adapter_model.safetensors")["head.weight"].numpy()
    assert weight_CH.shape == (2, 3 * 32)
    np.testing.assert_allclose(weight_CH[1] - weight_CH[0], model.coef_[0] / spread, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", ["mlp", "knn", "mix", "all"])
def test_the_lines_of_the_page_load_it_without_rootstock(tiny_base, reviews, tmp_path, name):
    page = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text("utf-8")
    (code,) = re.findall(r"<!-- example: head -->\n```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    told = {}
    exec(compile(code, "adapters.md", "exec"), told)
    run = heads_run(tiny_base, reviews, tmp_path / "run", HEADS[name])
    table = pq.read_table(run.path / "predictions.parquet").to_pylist()
    tokens = transformers.AutoTokenizer.from_pretrained(run.folder.model)([row["text"] for row in table], padding=True, return_tensors="pt")
    with torch.no_grad():
        body = transformers.AutoModel.from_pretrained(tiny_base).eval()
        found = told["with_head"](body, run.folder.model)(**tokens)
    found = found if name == "knn" else found.softmax(-1)
    np.testing.assert_allclose(found[:, 1], [row["p(positive)"] for row in table], atol=1e-3)
