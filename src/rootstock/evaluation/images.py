"""What an image model's frozen vectors are good for: a linear probe, and classes told by their captions alone.

Shape letters: N images, B of them at once, H height, W width, T places, D width of the model, K numbers of a space shared with texts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rootstock.core.errors import BaseError, DataError
from rootstock.core.mode import in_mode
from rootstock.evaluation.probes import linear

_AT_ONCE = 256
_DEV = 0.1
"""Share of the probe's training images that chooses how strongly it is held back."""
_FEWEST = 2


@dataclass(frozen=True)
class Images:
    """pixels: uint8 [N, H, W, 3]. labels: number of the class of each, [N]."""

    pixels: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Colours:
    """What is taken off the colours in [0, 1], and what they are divided by: the model's own."""

    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    def read(self, pixels_BHWC: np.ndarray) -> Tensor:
        """Images as the model reads them, [B, 3, H, W]."""
        scaled = torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).float() / 255
        return (scaled - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]


def features(model: Any, pixels: np.ndarray, colours: Colours) -> Tensor:
    """One vector an image [N, D]: the mean over the places of the last layer. Of a model of images and texts, its eye's."""
    eye = getattr(model, "vision_model", model)

    def mean(pictures: Tensor) -> Tensor:
        hidden: Tensor = eye(pixel_values=pictures).last_hidden_state
        return hidden.mean(1) if hidden.dim() == 3 else hidden.mean((2, 3))

    return _each(model, pixels, colours, mean)


def linear_probe(
    models: Mapping[str, nn.Module], train: Images, test: Images, *, colours: Colours, seed: int, gain: tuple[str, str] | None = None
) -> dict[str, Any]:
    """Accuracy on the test images of a logistic regression on each model's vectors, with its 95 % interval.

    gain: (a, b) adds the difference a - b, taken on the same images. Raises DataError where there is nothing to tell apart.
    """
    classes = np.unique(train.labels)
    if len(classes) < _FEWEST or len(train.labels) < _FEWEST * len(classes) or not len(test.labels):
        raise DataError(
            f"{len(train.labels)} images of {len(classes)} classes, and {len(test.labels)} to test on",
            wanted="at least two classes, two images of each, and one to test on",
        )
    order = np.random.default_rng(seed).permutation(len(train.labels))
    held = max(1, int(_DEV * len(order)))
    right = {name: _right(model, train, test, order=(order[held:], order[:held]), colours=colours) for name, model in models.items()}
    return linear.shares(right, np.arange(len(test.labels)), seed=seed, less=("gain", *gain) if gain else None)


def has_captions(model: Any) -> bool:
    """Whether a model brings images and texts into one space, as CLIP does."""
    return all(hasattr(model, name) for name in ("vision_model", "text_model", "visual_projection", "text_projection"))


def zero_shot(model: Any, captions: Mapping[str, Tensor], test: Images, *, colours: Colours, seed: int) -> dict[str, Any]:
    """Accuracy on the test images, with its 95 % interval, of taking the class whose caption is nearest.

    captions: input_ids and attention_mask as the model's tokenizer gives them, a row for each class in the order of the labels.
    Raises BaseError for a model that has no space in common for images and texts.
    """
    if not has_captions(model):
        raise BaseError(f"{type(model).__name__} has no space for images and texts", wanted="a model such as CLIP")
    device = next(model.parameters()).device
    with torch.no_grad():
        told = model.text_model(**{name: captions[name].to(device) for name in ("input_ids", "attention_mask")}).pooler_output
        captions_CK = functional.normalize(model.text_projection(told), dim=1).float().cpu()

    def project(pictures: Tensor) -> Tensor:
        shared: Tensor = model.visual_projection(model.vision_model(pixel_values=pictures).pooler_output)
        return shared

    seen_NK = functional.normalize(_each(model, test.pixels, colours, project), dim=1)
    right = {"zero_shot": np.asarray((seen_NK @ captions_CK.T).argmax(1).numpy() == test.labels)}
    return linear.shares(right, np.arange(len(test.labels)), seed=seed)


def _right(model: nn.Module, train: Images, test: Images, *, order: tuple[np.ndarray, np.ndarray], colours: Colours) -> np.ndarray:
    """Whether a probe answers each test image right, [N]. order: the images to learn from, and those that choose."""
    vectors_ND = features(model, train.pixels, colours)
    learn, choose = (linear.Part(vectors_ND[torch.from_numpy(chosen)], train.labels[chosen], chosen) for chosen in order)
    probe = linear.fit(learn, choose, int(train.labels.max()) + 1)
    return probe.right(linear.Part(features(model, test.pixels, colours), test.labels, np.arange(len(test.labels))))


@torch.no_grad()
def _each(model: Any, pixels: np.ndarray, colours: Colours, look: Callable[[Tensor], Tensor]) -> Tensor:
    """What `look` gives for all images, some at once on the model's device; on the processor, and the model in the mode that it was in."""
    weight = next(model.parameters())
    parts = (colours.read(pixels[start : start + _AT_ONCE]).to(weight) for start in range(0, len(pixels), _AT_ONCE))
    with in_mode(model, training=False):
        return torch.cat([look(part).float().cpu() for part in parts])
