"""contrastive-image-text: captions and images matched both ways, against transformers' own CLIP."""

import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from tests.conftest import make_base, make_tokenizer
from transformers import AutoModel, CLIPConfig, CLIPModel

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import BaseError
from rootstock.core.loaded import Loaded
from rootstock.core.objective import in_groups
from rootstock.core.seed import HELD_OUT, Draw
from rootstock.loop.coupled import coupled_gradients
from rootstock.loop.crew import Crew
from rootstock.tasks.contrastive_image_text import ContrastiveImageText

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3)).astype(np.uint8)
TEXTS = ["a good film", "the cold book is warm", "not a song", "very fine", "a poor dull book", "the film"]
TASK = ContrastiveImageText(size=16, cost=5, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), flip=0.5)


def rows(texts=TEXTS, count=12):
    pixels = pa.FixedShapeTensorArray.from_numpy_ndarray(PIXELS[:count])
    return pa.table({"pixels": pixels, "text": [texts[i % len(texts)] for i in range(count)]})


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture
def model():
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "projection_dim": 16}
    text = {**shape, "vocab_size": 40, "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    torch.manual_seed(0)
    return CLIPModel(CLIPConfig(text_config=text, vision_config={**shape, "image_size": 16, "patch_size": 8}, projection_dim=16))


@pytest.fixture
def encoded(tokenizer):
    return TASK.encode(rows(), tokenizer, 32)


def test_rows_are_captions_and_pixels(tokenizer, encoded):
    ids = encoded.tokens["input_ids"]
    assert ids.flat[: ids.offsets[1]].tolist() == tokenizer(TEXTS[0])["input_ids"]
    assert encoded.lengths.tolist() == [len(tokenizer(TEXTS[i % 6])["input_ids"]) + 5 for i in range(12)]
    short = TASK.encode(rows(), tokenizer, 4).tokens["input_ids"]
    assert short.lengths.max() == 4
    assert short.flat[3] == tokenizer.sep_token_id, "what is cut still ends as a text does"
    batch = TASK.collate(encoded, np.array([3, 1]), tokenizer, Draw(1))
    given = tokenizer([TEXTS[3], TEXTS[1]], padding=True, return_tensors="pt")
    assert torch.equal(batch["input_ids"], given["input_ids"])
    assert torch.equal(batch["attention_mask"], given["attention_mask"])
    wanted = torch.from_numpy(PIXELS[[3, 1]]).permute(0, 3, 1, 2) / 255 * 2 - 1
    torch.testing.assert_close(batch["pixel_values"], wanted.float(), atol=1e-5, rtol=0)


def test_crops_are_new_in_each_epoch_and_what_is_measured_is_whole(tokenizer, encoded):
    def made(chosen, epoch):
        return TASK.collate(encoded, np.array(chosen), tokenizer, Draw(1, epoch))["pixel_values"]

    whole = made(range(12), 0)
    assert torch.equal(whole, made(range(12), 0))
    torch.testing.assert_close(made([9, 4], 0), whole[[9, 4]], atol=1e-5, rtol=0)
    assert (made(range(12), 1) - whole).abs().amax((1, 2, 3)).min() > 0.02
    assert (made(range(12), HELD_OUT) - whole).abs().amax((1, 2, 3)).min() > 0.02


def test_loss_and_gradients_are_transformers_own(tokenizer, encoded, model):
    batch = TASK.collate(encoded, np.arange(6), tokenizer, Draw(1, 0))
    loss = TASK.loss(model, batch)
    assert loss.count == 6
    (loss.total / loss.count).backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    wanted = model(**batch, return_loss=True).loss
    wanted.backward()
    assert loss.total.item() / 6 == pytest.approx(wanted.item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6)
    assert found["logit_scale"].abs() > 0


def test_parts_of_an_update_give_the_gradients_of_the_whole(tokenizer, encoded, model):
    def parts(sizes):
        def cut(chosen):
            for part in np.split(chosen, np.cumsum(sizes)[:-1]):
                yield TASK.collate(encoded, part, tokenizer, Draw(1, 0))

        model.zero_grad()
        passed = coupled_gradients(Crew(model, 1), TASK, [np.arange(12)], cut)
        return passed.loss, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    whole, cut = parts([12]), parts([5, 7])
    assert whole[0] == pytest.approx(cut[0], rel=1e-5)
    for name, gradient in whole[1].items():
        torch.testing.assert_close(cut[1][name], gradient, rtol=1e-3, atol=1e-5)


def test_results_of_rows_add_up_and_equal_captions_are_right_alike(tokenizer, encoded, model):
    model.eval()
    batch = TASK.collate(encoded, np.arange(12), tokenizer, Draw(1))
    found = in_groups(TASK, model, TASK.decode(model, batch)["vectors"])
    assert TASK.metrics(found)["loss"] == pytest.approx(TASK.loss(model, batch).total.item() / 12, rel=1e-5)
    assert found["count"].tolist() == [1.0] * 12
    alike = TASK.encode(rows(texts=["a film"]), tokenizer, 32)
    vectors = TASK.decode(model, TASK.collate(alike, np.arange(12), tokenizer, Draw(1)))["vectors"]
    assert in_groups(TASK, model, vectors)["hits"].all()
    assert in_groups(TASK, model, vectors[:1])["count"].tolist() == [0]


def test_the_loss_falls(tokenizer, encoded, model):
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for epoch in range(20):
        loss = TASK.loss(model, TASK.collate(encoded, np.arange(6), tokenizer, Draw(1, epoch)))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(loss.total.item() / loss.count)
    assert losses[-1] < losses[0] - 0.3


def test_the_scale_is_bounded_and_can_come_down_again(model):
    vectors = torch.nn.functional.normalize(torch.randn(4, 2, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    losses = []
    for log in (math.log(100), math.log(100) + 2):
        model.logit_scale.data.fill_(log)
        loss = TASK.couple(model, vectors)
        losses.append(loss.total.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    loss.total.backward()
    assert model.logit_scale.grad > 0, "random vectors want a smaller scale, and the bound does not hide it"
    TASK.bare(model)
    assert model.logit_scale.item() == pytest.approx(math.log(100), rel=1e-6)


def test_what_is_saved_loads_whole(model, tmp_path):
    loaded = TASK.outfit(Loaded(model, TASK.head(), frozenset()))
    assert loaded.model.get_input_embeddings() is model.text_model.get_input_embeddings()
    TASK.bare(model).save_pretrained(tmp_path)
    _, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_a_model_of_texts_is_refused_and_a_caption_needs_a_place(tmp_path):
    base = resolve(str(make_base(tmp_path / "base")))
    with pytest.raises(BaseError, match="does not bring images and texts together"):
        TASK.check(bases.load(base, TASK.head(), seed=1).model)
    with pytest.raises(ValidationError, match="a photo of a"):
        ContrastiveImageText(caption="a photo")
