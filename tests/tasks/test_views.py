"""Views of images: crops, colours and blur against closed forms and Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from torch.nn import functional

from rootstock.core.seed import Draw
from rootstock.tasks import _views
from rootstock.tasks._views import Ways

SHAPE = 2 * _views._TRIES
"""Where the numbers of place and mirror begin; those of the colours come three later."""
COLOUR = SHAPE + 3


def picture(size=16, low=70, high=150, seed=0):
    return np.random.default_rng(seed).integers(low, high, (1, size, size, 3)).astype(np.uint8)


def numbers(**changed):
    """Numbers of one view that change nothing; colours from COLOUR on: four swings, whether jitter, whether grey."""
    made = np.full((1, _views.width(1)), 0.5)
    made[0, SHAPE + 2] = 0.9
    for way, value in changed.items():
        made[0, COLOUR + ("brightness", "contrast", "saturation", "hue").index(way)] = value
    return made


def test_the_whole_picture_comes_back_and_its_mirror_image():
    pixels = picture()
    whole = numbers()
    torch.testing.assert_close(_views.views(pixels, whole, Ways(area=1, narrow=1))[:, 0], _views.scaled(pixels), atol=1e-6, rtol=0)
    mirrored = _views.views(pixels, whole, Ways(area=1, narrow=1, flip=1.0))[:, 0]
    torch.testing.assert_close(mirrored, _views.scaled(pixels).flip(3), atol=1e-6, rtol=0)


def test_a_crop_is_the_part_resized():
    pixels = picture()
    made = numbers()
    made[0, 0:SHAPE:2] = 0.0  # the smallest area: a quarter, so half of each side
    made[0, SHAPE : SHAPE + 2] = 0.0, 1.0  # from the left edge, down to the lower one
    found = _views.views(pixels, made, Ways(area=0.25, narrow=1))[0, 0]
    part = _views.scaled(pixels)[:, :, 8:, :8]
    wanted = functional.interpolate(part, size=(16, 16), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(found[:, 1:, :-1], wanted[:, 1:, :-1], atol=1e-5, rtol=0)


def test_crops_have_the_area_and_the_ratio_that_were_asked_for():
    drawn = torch.from_numpy(Draw(1, 0).uniform("view", np.arange(20_000), 2 * _views._TRIES)).float()
    sizes = _views._crop_sizes(drawn, 1.0, Ways(area=0.08))
    area, ratio = sizes.prod(1), sizes[:, 0] / sizes[:, 1]
    assert sizes.max() <= 1
    assert area.min() >= 0.08 - 1e-6
    assert 3 / 4 - 1e-5 <= ratio.min() < 0.76
    assert 1.32 < ratio.max() <= 4 / 3 + 1e-5
    # The accepted tries of a uniform area and a log-uniform ratio, by a million of them drawn apart.
    rng = np.random.default_rng(0)
    areas, ratios = rng.uniform(0.08, 1, 1_000_000), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), 1_000_000))
    accepted = areas[(areas * ratios <= 1) & (areas / ratios <= 1)]
    assert area.mean().item() == pytest.approx(accepted.mean(), abs=0.006)
    assert area.std().item() == pytest.approx(accepted.std(), abs=0.006)


@pytest.mark.parametrize(("way", "enhance"), [("brightness", "Brightness"), ("contrast", "Contrast"), ("saturation", "Color")])
@pytest.mark.parametrize("number", [0.0, 0.3, 1.0])
def test_each_change_of_colours_is_pillows(way, enhance, number):
    pixels = picture()
    found = _views.views(pixels, numbers(**{way: number}), Ways(area=1, narrow=1, jitter=1.0, strength=0.5))[0, 0]
    factor = 1 + (2 * number - 1) * 0.4
    wanted = np.asarray(getattr(ImageEnhance, enhance)(Image.fromarray(pixels[0])).enhance(factor))
    np.testing.assert_allclose(found.permute(1, 2, 0).numpy() * 255, wanted, atol=1.6)


def test_changes_of_colours_add_up():
    pixels = picture(low=90, high=120)
    given = numbers(brightness=0.8, contrast=0.1, saturation=0.95)
    found = _views.views(pixels, given, Ways(area=1, narrow=1, jitter=1.0, strength=0.5))[0, 0]
    image = Image.fromarray(pixels[0])
    for enhance, number in (("Color", 0.95), ("Contrast", 0.1), ("Brightness", 0.8)):
        image = getattr(ImageEnhance, enhance)(image).enhance(1 + (2 * number - 1) * 0.4)
    np.testing.assert_allclose(found.permute(1, 2, 0).numpy() * 255, np.asarray(image), atol=3)


def test_hue_turns_and_keeps_brightness():
    pixels = picture()
    ways = Ways(area=1, narrow=1, jitter=1.0, strength=0.5)
    plain, turned = (_views.views(pixels, numbers(hue=number), ways)[0, 0] for number in (0.5, 1.0))
    torch.testing.assert_close(plain, _views.scaled(pixels)[0], atol=1e-5, rtol=0)
    yiq = [torch.einsum("ij,jhw->ihw", _views._YIQ, each) for each in (plain, turned)]
    torch.testing.assert_close(yiq[0][0], yiq[1][0], atol=1e-4, rtol=0)
    torch.testing.assert_close(yiq[0][1:].norm(dim=0), yiq[1][1:].norm(dim=0), atol=1e-4, rtol=0)
    angle = torch.atan2(yiq[1][2], yiq[1][1]) - torch.atan2(yiq[0][2], yiq[0][1])
    assert torch.cos(angle).mean().item() == pytest.approx(np.cos(2 * np.pi * 0.1), abs=1e-3)


def test_colours_change_and_go_as_often_as_asked():
    pixels = np.repeat(picture(4), 2000, 0)
    drawn = Draw(5, 0).uniform("view", np.arange(2000), _views.width(1))
    grey = _views.views(pixels, drawn, Ways(area=1, narrow=1, flip=0, grey=0.2))[:, 0]
    told = (grey - grey[:, :1]).abs().amax((1, 2, 3)) < 1e-6
    assert told.float().mean().item() == pytest.approx(0.2, abs=0.03)
    jittered = _views.views(pixels, drawn, Ways(area=1, narrow=1, flip=0, jitter=0.8, strength=0.5))[:, 0]
    kept = (jittered - _views.scaled(pixels)).abs().amax((1, 2, 3)) < 1e-5
    assert kept.float().mean().item() == pytest.approx(0.2, abs=0.03)


def test_blur_smooths_and_keeps_what_is_even():
    drawn = Draw(5, 0).uniform("view", np.arange(64), _views.width(1))
    even = np.full((64, 40, 40, 3), 99, np.uint8)
    ways = Ways(area=1, narrow=1, flip=0, blur=1.0)
    torch.testing.assert_close(_views.views(even, drawn, ways)[:, 0], _views.scaled(even), atol=1e-5, rtol=0)
    noisy = np.repeat(picture(40), 64, 0)
    some = _views.views(noisy, drawn, Ways(area=1, narrow=1, flip=0, blur=0.5))[:, 0]
    spread = some.flatten(1).std(1) / _views.scaled(noisy).flatten(1).std(1)
    untouched = (spread > 0.999).float().mean().item()
    assert 0.3 < untouched < 0.75
    assert spread.min() < 0.45


def test_views_differ_between_epochs_and_do_not_depend_on_how_batches_are_cut():
    pixels, rows = np.concatenate([picture(seed=i) for i in range(6)]), np.array([4, 9, 2, 7, 1, 3])
    ways = Ways(area=0.08, jitter=0.8, strength=0.5, grey=0.2, blur=0.5)

    def made(chosen, epoch=0):
        numbers = Draw(7, epoch).uniform("view", rows[chosen], _views.width(2))
        return _views.views(pixels[chosen], numbers, ways)

    whole = made(np.arange(6))
    assert whole.shape == (6, 2, 3, 16, 16)
    torch.testing.assert_close(made(np.array([5, 1])), whole[[5, 1]], atol=1e-6, rtol=0)
    assert torch.equal(made(np.arange(6)), whole)
    assert (made(np.arange(6), 1) - whole).abs().amax((2, 3, 4)).min() > 0.02
    assert (whole[:, 0] - whole[:, 1]).abs().amax((1, 2, 3)).min() > 0.02
    assert whole.min() >= 0
    assert whole.max() <= 1
