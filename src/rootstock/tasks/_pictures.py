"""Shared by tasks on images: what a picture becomes before a model reads it, and what the model gives back.

Shape letters: N rows, B rows in a batch, C = 3 colours, H height, W width, T places, D width of the model.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field
from torch import Tensor, nn

from rootstock.core.errors import BaseError
from rootstock.core.objective import Contrastive
from rootstock.core.rows import PIXELS
from rootstock.core.settings import Settings

Colour = tuple[float, float, float]


class Seen(Settings):
    """How images become what a model reads. What is None here is the base's own, filled in when the run is prepared."""

    size: int | None = Field(default=None, ge=4)
    """Height and width in pixels. None: what the base reads."""
    mean: Colour | None = None
    """Of red, green and blue in [0, 1], taken off the pixels. None: the base's own, 0.5 each for random weights."""
    std: Colour | None = None
    """What the pixels are then divided by. None: the base's own, 0.5 each for random weights."""
    cost: int | None = Field(default=None, ge=1)
    """Tokens that an image counts as in `batch_tokens` and `micro_tokens`. None: the base's patches and one more."""

    def pixels(self, rows: pa.Table) -> np.ndarray:
        """The images of a table, uint8 [N, H, W, C]."""
        held: np.ndarray = rows.column(PIXELS).combine_chunks().to_numpy_ndarray()
        return held

    def normal(self, pictures: Tensor) -> Tensor:
        """Pictures in [0, 1], [..., C, H, W], as the model reads them."""
        mean_C11, std_C11 = (torch.tensor(held or (0.5, 0.5, 0.5))[:, None, None] for held in (self.mean, self.std))
        return (pictures - mean_C11) / std_C11


class OnPictures(Seen, Contrastive):
    """An objective whose rows are images."""


def pooled(model: nn.Module, pictures_BCHW: Tensor) -> Tensor:
    """One vector a picture [B, D] from an image model: the mean over its places, be they tokens [B, T, D] or a map [B, D, H, W]."""
    hidden = model(pixel_values=pictures_BCHW.to(next(model.parameters()).dtype)).last_hidden_state
    mean_BD: Tensor = hidden.mean(1) if hidden.dim() == 3 else hidden.mean((2, 3))
    return mean_BD


def width(config: Any) -> int:
    """D of an image model: of its last stage where stages differ."""
    return int(getattr(config, "hidden_size", None) or config.hidden_sizes[-1])


def check_reads_images(plain: Any) -> None:
    """Refuse a model that does not read images, and one whose weights are not all that it learns."""
    if plain.main_input_name != "pixel_values":
        raise BaseError(
            f"{type(plain).__name__} does not read images",
            wanted="an architecture whose input is pixels",
            fix="choose --base scratch:vit-tiny, or another model of images",
        )
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in plain.modules()):
        # Parts of an update on several cores would write them at once, and a checkpoint holds what has a gradient.
        raise BaseError(
            f"{type(plain).__name__} keeps running statistics of its batches (batch normalisation)",
            wanted="an architecture with layer or group normalisation",
            fix="choose --base scratch:vit-tiny, or scratch:config.json with a model_type such as vit, convnext or bit",
        )


def name_embeddings(model: Any) -> None:
    """Let a model answer which its input embeddings are, as the loop asks it: transformers leaves that open for CLIP and convolutions."""
    texts = getattr(model, "text_model", None)
    try:
        model.get_input_embeddings()
    except NotImplementedError:
        model.get_input_embeddings = texts.get_input_embeddings if texts is not None else _none


def forget_embeddings(model: Any) -> None:
    """Take back what `name_embeddings` added."""
    vars(model).pop("get_input_embeddings", None)


def _none() -> None:
    """A model of images alone looks nothing up."""
