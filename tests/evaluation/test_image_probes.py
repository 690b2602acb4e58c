"""Probes of image models: vectors that tell, vectors that do not, and classes told by their captions."""

import numpy as np
import pytest
import torch
from tests.conftest import make_tokenizer
from torch import nn
from transformers import CLIPConfig, CLIPModel

from rootstock.core.errors import BaseError, DataError
from rootstock.evaluation import images
from rootstock.evaluation.images import Colours, Images


class Eye(nn.Module):
    """Its places are the pixels; `sees` decides whether their colours reach the vector."""

    def __init__(self, sees, device="cpu"):
        super().__init__()
        self.sees = sees
        self.weight = nn.Parameter(torch.ones(1, device=device))

    def forward(self, pixel_values):
        assert pixel_values.device == self.weight.device
        pixel_values = torch.zeros(pixel_values.shape) if pixel_values.is_meta else pixel_values
        hidden = pixel_values if self.sees else torch.ones_like(pixel_values)
        return type("Output", (), {"last_hidden_state": hidden.flatten(2).transpose(1, 2)})


def coloured(count, seed):
    """Images whose colour tells their class of three."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    pixels = rng.integers(60, 120, (count, 4, 4, 3))
    pixels[np.arange(count), :, :, labels] += 60
    return Images(pixels.astype(np.uint8), labels)


def test_features_are_the_mean_over_places():
    some = coloured(300, 0)
    found = images.features(Eye(True).train(), some.pixels, Colours((0.5, 0.4, 0.3), (0.5, 0.25, 0.2)))
    wanted = (some.pixels.mean((1, 2)) / 255 - [0.5, 0.4, 0.3]) / [0.5, 0.25, 0.2]
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)
    assert not found.requires_grad


def test_pixels_move_to_the_models_device():
    assert images.features(Eye(True, "meta"), coloured(3, 0).pixels, Colours()).shape == (3, 3)


def test_a_probe_finds_what_is_there_and_nothing_else():
    models = {"sees": Eye(True), "blind": Eye(False)}
    found = images.linear_probe(models, coloured(300, 0), coloured(200, 1), colours=Colours(), seed=1, gain=("sees", "blind"))
    assert found["sees"]["value"] > 0.97
    assert 0.2 < found["blind"]["value"] < 0.45
    assert found["gain"]["value"] == pytest.approx(found["sees"]["value"] - found["blind"]["value"])
    low, high = found["gain"]["interval"]
    assert 0.4 < low < found["gain"]["value"] < high < 0.8


def test_too_few_images_are_refused():
    one = Images(np.zeros((4, 4, 4, 3), np.uint8), np.zeros(4, int))
    with pytest.raises(DataError, match="4 images of 1 classes"):
        images.linear_probe({"sees": Eye(True)}, one, one, colours=Colours(), seed=1)


def test_the_nearest_caption_is_transformers_own():
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "projection_dim": 16}
    text = {**shape, "vocab_size": 40, "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config={**shape, "image_size": 4, "patch_size": 2}, projection_dim=16)).eval()
    for parameter in model.vision_model.parameters():
        parameter.data.mul_(8)  # or all images would look alike
    some, tokenizer = coloured(40, 3), make_tokenizer()
    captions = tokenizer(["a good film", "the cold book was dull", "song"], padding=True, return_tensors="pt")
    with torch.no_grad():
        best = model(**captions, pixel_values=Colours().read(some.pixels)).logits_per_image.argmax(1).numpy()
    assert len(set(best.tolist())) > 1
    right = images.zero_shot(model, captions, Images(some.pixels, best), colours=Colours(), seed=1)["zero_shot"]
    assert right["value"] == 1.0
    assert right["interval"][0] < 1.0
    wrong = images.zero_shot(model, captions, Images(some.pixels, (best + 1) % 3), colours=Colours(), seed=1)
    assert wrong["zero_shot"]["value"] == 0.0


def test_a_model_without_texts_has_no_zero_shot():
    with pytest.raises(BaseError, match="Eye has no space for images and texts"):
        images.zero_shot(Eye(True), {}, coloured(3, 0), colours=Colours(), seed=1)
