"""contrastive-image: two views an image, NT-Xent over an update, a head that comes and goes."""

import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import make_base
from transformers import AutoModel, BitConfig, BitModel, ResNetConfig, ResNetModel, ViTConfig, ViTModel

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import BaseError
from rootstock.core.loaded import Loaded
from rootstock.core.objective import in_groups
from rootstock.core.rows import Encoded
from rootstock.core.seed import HELD_OUT, Draw
from rootstock.loop.coupled import coupled_gradients
from rootstock.loop.crew import Crew
from rootstock.methods.lora import LoRA
from rootstock.tasks import _vocabulary
from rootstock.tasks.contrastive_image import ContrastiveImage

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 2, 2, 3)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
"""Four patches of colour each, so that a part of an image tells which it is."""
TASK = ContrastiveImage(size=16, cost=5, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), projection=8)


def rows(pixels=PIXELS):
    return pa.table({"pixels": pa.FixedShapeTensorArray.from_numpy_ndarray(pixels)})


def config(**changes):
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return ViTConfig(**shape, image_size=16, patch_size=8, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **changes)


@pytest.fixture
def outfitted():
    torch.manual_seed(0)
    return TASK.outfit(Loaded(ViTModel(config()), TASK.head(), frozenset()))


@pytest.fixture
def encoded():
    return TASK.encode(rows(), None, None)


def test_a_row_is_two_views_of_its_image(encoded):
    assert encoded.tokens == {}
    np.testing.assert_array_equal(encoded.dense["pixels"], PIXELS)
    assert encoded.lengths.tolist() == [10] * 24, "both views pass through the model"
    again = Encoded.of_arrays(encoded.arrays())
    np.testing.assert_array_equal(again.dense["pixels"], PIXELS)
    batch = TASK.collate(encoded, np.array([3, 7]), None, Draw(1, 0))
    assert batch["pixel_values"].shape == (2, 2, 3, 16, 16)
    still = ContrastiveImage(**TASK.plain() | {"area": 1.0, "jitter": 0, "grey": 0, "flip": 0})
    views = still.collate(Encoded({}, {"pixels": np.full((1, 16, 16, 3), 51, np.uint8)}, np.ones(1)), np.array([0]), None, Draw(1, 0))
    wanted = torch.tensor([(0.2 - 0.4) / 0.2, (0.2 - 0.5) / 0.25, (0.2 - 0.6) / 0.3])
    torch.testing.assert_close(views["pixel_values"], wanted[:, None, None].expand(1, 2, 3, 16, 16))


def test_views_are_new_in_each_epoch_and_the_same_for_what_is_measured(encoded):
    def made(chosen, epoch):
        return TASK.collate(encoded, np.array(chosen), None, Draw(1, epoch))["pixel_values"]

    whole = made(range(24), 0)
    assert torch.equal(made(range(24), 0), whole)
    torch.testing.assert_close(made([5, 20], 0), whole[[5, 20]], atol=1e-5, rtol=0)
    assert (made(range(24), 1) - whole).abs().amax((2, 3, 4)).min() > 0.02
    assert torch.equal(made([2], HELD_OUT), made([2], HELD_OUT))


def naive(vectors, temperature):
    """NT-Xent as the paper writes it: one pair after the other, in plain numbers."""
    flat = [vectors[row, view] / np.linalg.norm(vectors[row, view]) for row in range(len(vectors)) for view in (0, 1)]
    losses = []
    for i, one in enumerate(flat):
        other = i + 1 if i % 2 == 0 else i - 1
        below = sum(math.exp(one @ each / temperature) for k, each in enumerate(flat) if k != i)
        losses.append(-math.log(math.exp(one @ flat[other] / temperature) / below))
    return losses


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_loss_is_the_papers(temperature):
    vectors = np.random.default_rng(3).normal(size=(5, 2, 8))
    task = ContrastiveImage(temperature=temperature)
    loss = task.couple(torch.nn.Identity(), torch.from_numpy(vectors))
    assert loss.count == 10
    assert loss.total.item() == pytest.approx(sum(naive(vectors, temperature)), rel=1e-5)


def test_results_of_rows_add_up_to_the_loss(outfitted, encoded):
    batch = TASK.collate(encoded, np.arange(24), None, Draw(1))
    outfitted.model.eval()
    found = in_groups(TASK, outfitted.model, TASK.decode(outfitted.model, batch)["vectors"])
    vectors = TASK.embed(outfitted.model, batch).detach().double().numpy()
    np.testing.assert_allclose(found["loss"], np.array(naive(vectors, 0.5)).reshape(24, 2).sum(1), rtol=1e-4)
    assert in_groups(TASK, outfitted.model, vectors[:1])["count"].tolist() == [0], "a picture without others is always found"
    figures = TASK.metrics(found)
    assert figures["loss"] == pytest.approx(TASK.loss(outfitted.model, batch).total.item() / 48, rel=1e-5)
    assert set(figures) == {"loss", "accuracy"}
    same = ContrastiveImage()._contrast(torch.eye(3).repeat_interleave(2, 0).reshape(3, 2, 3))
    assert same[1].all(), "each view's other view is the nearest"


def test_parts_of_an_update_give_the_gradients_of_the_whole(outfitted, encoded):
    model = outfitted.model.train()
    rows_N = np.arange(12)

    def parts(sizes):
        def cut(chosen):
            for part in np.split(chosen, np.cumsum(sizes)[:-1]):
                yield TASK.collate(encoded, part, None, Draw(1, 0))

        model.zero_grad()
        passed = coupled_gradients(Crew(model, 1), TASK, [rows_N], cut)
        return passed.loss, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    whole, cut = parts([12]), parts([3, 4, 5])
    assert whole[0] == pytest.approx(cut[0], rel=1e-5)
    assert set(whole[1]) == set(cut[1])
    for name, gradient in whole[1].items():
        torch.testing.assert_close(cut[1][name], gradient, rtol=1e-3, atol=1e-5)


def test_the_loss_falls(outfitted, encoded):
    model = outfitted.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(20):
        loss = TASK.loss(model, TASK.collate(encoded, np.arange(24), None, Draw(1, 0)))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(loss.total.item() / loss.count)
    assert losses[0] == pytest.approx(math.log(47), abs=0.4), "at first all other pictures are alike"
    assert losses[-1] < losses[0] - 0.3


def test_the_head_is_fresh_and_not_saved(outfitted, tmp_path):
    assert {name for name in outfitted.fresh if name.startswith("contrast_head.")} == outfitted.fresh
    assert len(outfitted.fresh) == 4
    before = outfitted.model.layernorm.weight.detach().clone()
    TASK.bare(outfitted.model).save_pretrained(tmp_path)
    loaded, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.equal(loaded.layernorm.weight, before)


def test_an_adapter_learns_with_the_head_beside_it_and_is_saved_without(outfitted, encoded, tmp_path):
    method = LoRA(targets=("q_proj", "v_proj"))
    model = method.apply(outfitted)
    loss = TASK.loss(model, TASK.collate(encoded, np.arange(8), None, Draw(1, 0)))
    loss.total.backward()
    learned = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert any("contrast_head" in name for name in learned)
    assert any("lora_B" in name for name in learned)
    assert not any("layernorm" in name or "patch" in name for name in learned)
    TASK.bare(method.keep(model)).save_pretrained(tmp_path)
    held = set(load_file(tmp_path / "adapter_model.safetensors"))
    assert held
    assert not any("contrast_head" in name for name in held)
    restored = method.restore(Loaded(ViTModel(config()), TASK.head(), frozenset()), tmp_path)
    assert not any("contrast_head" in name for name, _ in restored.named_parameters())


def test_maps_of_convolutions_do_as_well(encoded):
    torch.manual_seed(0)
    shape = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "preactivation", "num_groups": 2}
    model = BitModel(BitConfig(**shape))
    TASK.check(model)
    loaded = TASK.outfit(Loaded(model, TASK.head(), frozenset()))
    vectors = TASK.embed(loaded.model, TASK.collate(encoded, np.arange(4), None, Draw(1, 0)))
    assert vectors.shape == (4, 2, 8)
    assert loaded.model.get_input_embeddings() is None, "asked by the loop, and left open by transformers"
    assert "get_input_embeddings" not in vars(TASK.bare(loaded.model))


def test_running_statistics_are_refused():
    shape = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    with pytest.raises(BaseError, match="ResNetModel keeps running statistics"):
        TASK.check(ResNetModel(ResNetConfig(**shape)))


def test_a_size_is_the_models_where_its_weights_are_random(tmp_path):
    (tmp_path / "config.json").write_text(config(architectures=["ViTModel"]).to_json_string())
    base = resolve(f"scratch:{tmp_path / 'config.json'}")
    task = ContrastiveImage(size=24)
    model = bases.load(base, task.head(), seed=1).model
    assert model.config.image_size == 24
    assert model(pixel_values=torch.zeros(1, 3, 24, 24)).last_hidden_state.shape == (1, 10, 32)


def test_a_model_of_texts_is_refused(tmp_path):
    base = resolve(str(make_base(tmp_path / "base")))
    model = bases.load(base, TASK.head(), seed=1).model
    with pytest.raises(BaseError, match="BertModel does not read images") as refused:
        TASK.check(model)
    assert "vit-tiny" in refused.value.fix
    assert _vocabulary.plain_model(model) is model
