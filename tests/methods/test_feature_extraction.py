"""The mean that stands for a text, in closed form and as the layer that plain transformers runs."""

import numpy as np
import pytest
import torch
import transformers
from tests.conftest import make_base

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import RecipeError
from rootstock.core.loaded import Head
from rootstock.methods import _encoder_mean, _heads, _logistic, _pooling
from rootstock.methods.feature_extraction import FeatureExtraction

HEAD = Head(auto="AutoModelForSequenceClassification", options={"num_labels": 3})


def batch():
    ids = torch.randint(5, 25, (3, 7), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "attention_mask": (torch.arange(7) < torch.tensor([7, 4, 1])[:, None]).long()}


def test_the_mean_is_over_real_tokens_in_fp32():
    hidden = torch.randn(2, 300, 4).bfloat16()
    mask = torch.ones(2, 300, dtype=torch.long)
    mask[1, 257:] = 0
    expected = np.stack([hidden[0].float().mean(0).numpy(), hidden[1, :257].float().mean(0).numpy()])
    np.testing.assert_allclose(_pooling.mean(hidden, mask).numpy(), expected, rtol=1e-5, atol=1e-6)


def loaded(tiny_base):
    return bases.load(resolve(str(tiny_base)), HEAD, seed=1)


def test_the_grafted_layer_gives_the_closed_form(tiny_base):
    found, method, given = loaded(tiny_base), FeatureExtraction(), batch()
    model = method.apply(found)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {"classifier.weight", "classifier.bias"}
    tap = method.tap(model, found)
    assert tap.key == "pool=mean"
    with torch.no_grad():
        hidden = model.bert(**given).last_hidden_state
        features = tap.body(**given)
        tap.head.head.weight.normal_()
        expected = tap.head(features).logits
        kept = method.keep(model).eval()
        np.testing.assert_allclose(kept(**given).logits, expected, atol=2e-3)
    mean = _pooling.mean(hidden, given["attention_mask"])
    direction = torch.nn.functional.layer_norm(mean, (mean.shape[-1],))
    np.testing.assert_allclose(torch.atanh(features) / _pooling.QUIET, direction, atol=0.02)
    assert kept.config.num_hidden_layers == 3


def test_the_first_token_alone(tiny_base):
    found, method, given = loaded(tiny_base), FeatureExtraction(pool="first"), batch()
    model = method.apply(found)
    assert "bert.pooler.dense.weight" not in found.fresh
    tap = method.tap(model, found)
    with torch.no_grad():
        np.testing.assert_allclose(tap.body(**given), model.bert(**given).pooler_output, atol=1e-6)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_a_decoder_gives_way_to_the_encoders_mean(family):
    torch.manual_seed(0)
    if family == "t5":
        shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
        config = transformers.T5Config(vocab_size=40, num_labels=3, **shape, eos_token_id=1, decoder_start_token_id=0, pad_token_id=0)
        model = transformers.T5ForSequenceClassification(config)
    else:
        shape = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
        config = transformers.BartConfig(vocab_size=40, encoder_ffn_dim=32, decoder_ffn_dim=32, num_labels=3, **shape, eos_token_id=1)
        model = transformers.BartForSequenceClassification(config)
    assert _encoder_mean.possible(model)
    model.eval()
    ids = torch.tensor([[5, 6, 7, 8, 1], [9, 10, 1, 0, 0]]) if family == "t5" else torch.tensor([[5, 6, 7, 8, 1], [9, 10, 12, 13, 1]])
    given = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    with torch.no_grad():
        expected = model.classification_head(_encoder_mean.EncoderMean(model)(**given))
        _encoder_mean.replace_decoder(model)
        np.testing.assert_allclose(model(**given).logits, expected, atol=2e-3)


def dressed(tiny_base, **settings):
    """A method on a fresh tiny base: what was loaded, what it applied, and its tap."""
    found, method = loaded(tiny_base), FeatureExtraction(**settings)
    method.check(HEAD, {})
    model = method.apply(found)
    return found, method, model, method.tap(model, found)


def test_a_layer_by_its_number_ends_the_model_there(tiny_base):
    with torch.no_grad():
        states = loaded(tiny_base).model.eval().bert(**batch(), output_hidden_states=True).hidden_states
        _, method, model, tap = dressed(tiny_base, layer=1)
        expected = torch.nn.functional.layer_norm(_pooling.mean(states[1], batch()["attention_mask"]), (32,))
        features = tap.body.eval()(**batch())
        np.testing.assert_allclose(torch.atanh(features) / _pooling.QUIET, expected, atol=0.02)
        tap.head.head.weight.normal_()
        answers = tap.head(features).logits
        np.testing.assert_allclose(method.keep(model).eval()(**batch()).logits, answers, atol=2e-3)
    assert model.config.num_hidden_layers == 2, "one block of the base, and the grafted mean"
    with pytest.raises(ValueError, match="has 2 blocks"):
        dressed(tiny_base, layer=3)


@pytest.mark.parametrize("family", ["llama", "distilbert", "modernbert"])
def test_a_cut_model_loads_in_plain_transformers(tmp_path, family):
    found = loaded(make_base(tmp_path / "base", family))
    FeatureExtraction(layer=1, pool="first").apply(found)
    found.model.save_pretrained(tmp_path / "cut")
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "cut").eval()
    with torch.no_grad():
        np.testing.assert_allclose(again(**batch()).logits, found.model.eval()(**batch()).logits, atol=1e-5)


def test_a_mix_is_softmax_and_gamma_over_every_layer(tiny_base):
    found, _, model, tap = dressed(tiny_base, layer="mix")
    with torch.no_grad():
        mix, linear = tap.head.head
        mix.weights.copy_(torch.tensor([0.5, -1.0, 2.0]))
        mix.gamma.fill_(3.0)
        linear.weight.normal_()
        states = found.model.eval().bert(**batch(), output_hidden_states=True).hidden_states
        pooled = [_heads.SCALE * torch.nn.functional.layer_norm(_pooling.mean(each, batch()["attention_mask"]), (32,)) for each in states]
        shares = np.exp([0.5, -1.0, 2.0]) / np.exp([0.5, -1.0, 2.0]).sum()
        expected = linear(3.0 * sum(float(share) * vector for share, vector in zip(shares, pooled, strict=True)))
        np.testing.assert_allclose(tap.head(tap.body(**batch())).logits, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(model.eval()(**batch()).logits, expected, rtol=1e-4, atol=1e-5)


def blobs(count=60, width=8, classes=3):
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    centres = rng.normal(size=(classes, width))
    return (centres[labels] + rng.normal(size=(count, width))).astype(np.float32), labels


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_regression_is_scikit_learns(classes):
    from sklearn.linear_model import LogisticRegression

    features, labels = blobs(classes=classes)
    head = torch.nn.Linear(8, classes)
    _logistic.fit(head, features, labels, c=0.5)
    spread = features.std()
    expected = LogisticRegression(C=0.5, max_iter=1000).fit(features / spread, labels).predict_proba(features / spread)
    with torch.no_grad():
        np.testing.assert_allclose(head(torch.from_numpy(features)).softmax(-1), expected, atol=1e-4)


def test_several_labels_are_a_regression_each_and_a_label_that_all_have_is_one():
    features, labels = blobs()
    hot = np.stack([labels == 0, labels < 2, np.ones_like(labels, bool)], axis=1).astype(np.float32)
    head = torch.nn.Linear(8, 3)
    assert "cross-validation" in _logistic.fit(head, features, hot, c=None)
    with torch.no_grad():
        answers = head(torch.from_numpy(features)).sigmoid().numpy()
    assert ((answers > 0.5) == hot).mean() > 0.8
    assert (answers[:, 2] > 0.99).all()


def test_c_is_chosen_by_cross_validation():
    rng = np.random.default_rng(1)
    noise, coin = rng.normal(size=(80, 40)).astype(np.float32), rng.integers(0, 2, 80)
    assert "C = 0.001 by" in _logistic.fit(torch.nn.Linear(40, 2), noise, coin, c=None), "nothing to learn: the strongest penalty"
    lonely = np.array([0] * 79 + [1])
    assert "C = 1 (a class has one row only" in _logistic.fit(torch.nn.Linear(40, 2), noise, lonely, c=None)


@pytest.mark.parametrize(("metric", "named"), [("cosine", "cosine"), ("euclid", "euclidean")])
def test_neighbours_are_scikit_learns(metric, named):
    from sklearn.neighbors import KNeighborsClassifier

    features, labels = blobs()
    head = _heads.OnVectors(_heads.Neighbours(8, 3, k=7, cosine=metric == "cosine", several=False))
    FeatureExtraction(head="knn", k=7, metric=metric).fit(head, {"features": features, "labels": labels})
    asked, _ = blobs(count=600)
    expected = KNeighborsClassifier(7, metric=named, algorithm="brute").fit(features, labels).predict_proba(asked)
    with torch.no_grad():
        shares = head(torch.from_numpy(asked)).logits.softmax(-1).numpy()
    np.testing.assert_allclose(shares, (expected * 7 + 1 / 3) / 8, atol=1e-5)


def test_of_several_labels_each_has_its_votes():
    head = _heads.OnVectors(_heads.Neighbours(2, 2, k=3, cosine=False, several=True))
    features = np.eye(2, dtype=np.float32)[[0, 0, 0, 1]]
    hot = np.array([[1, 0], [1, 1], [1, 0], [0, 1]], dtype=np.float32)
    FeatureExtraction(head="knn").fit(head, {"features": features, "labels": hot})
    with torch.no_grad():
        shares = head(torch.tensor([[1.0, 0.0]])).logits.sigmoid().numpy()
    np.testing.assert_allclose(shares, [[3.5 / 4, 1.5 / 4]], atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"layer": "mix", "head": "knn"}, {}),
        ({"layer": "mix", "head": "logistic-regression"}, {}),
        ({"head": "knn"}, {"problem_type": "regression"}),
        ({"head": "logistic-regression"}, {"problem_type": "regression"}),
    ],
)
def test_what_does_not_fit_is_refused_and_says_what_would(settings, options):
    with pytest.raises(RecipeError) as refused:
        FeatureExtraction(**settings).check(Head(auto=HEAD.auto, options=options), {})
    assert refused.value.wanted
    assert "method.head=linear" in refused.value.fix


def test_answers_of_words_have_one_kind_of_head():
    FeatureExtraction().check(Head(auto="AutoModelForTokenClassification"), {})
    with pytest.raises(RecipeError, match="not one a text"):
        FeatureExtraction(head="mlp").check(Head(auto="AutoModelForTokenClassification"), {})
