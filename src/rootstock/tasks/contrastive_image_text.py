"""Tell the caption of an image from all other captions, and the other way round (CLIP).

Prefer it where images have captions, or classes that can be said in words; prefer contrastive-image where they have neither. Needs a
table of image files and captions, or class folders of images. Radford et al. 2021, https://arxiv.org/abs/2103.00020

Shape letters: B rows, T tokens of a caption, V = 2 (image, caption), K numbers of the shared space, C colours, H height, W width.
"""

import math
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from rootstock.core.errors import BaseError
from rootstock.core.loaded import Head, Loaded
from rootstock.core.rows import PIXELS, TEXT, Encoded, Ragged, column
from rootstock.core.seed import HELD_OUT, Draw
from rootstock.core.task import Batch, Loss
from rootstock.core.tokens import tokenised
from rootstock.tasks import _pictures, _views, _vocabulary
from rootstock.tasks._pictures import OnPictures

_SHARPEST = math.log(100)
"""Radford et al. keep the scale of the cosines below 100, as training becomes unstable above."""


class ContrastiveImageText(OnPictures):
    """Cross-entropy of an image's own caption among those of the update, and of the caption's image: half of each.

    The temperature is learned. What is measured is neither cropped nor mirrored, and told from some thirty others.
    """

    rate: ClassVar[float] = 1e-3
    batch_tokens: ClassVar[int] = 32768
    reads: ClassVar[Literal["captions"]] = "captions"

    image: str | None = None
    """Column of the image's file, from the folder of the table. None: found by name and content."""
    text: str | None = None
    """Column of the caption. None: found by name and content."""
    caption: str = "a photo of a {}"
    """What is said of an image that lies in a class folder: {} is the folder's name. Unused where there is a table of captions."""
    area: float = Field(default=0.6, gt=0, le=1)
    """Smallest share of an image that a random crop keeps. Crops are all that the paper changes; 1 leaves images as they are."""
    flip: float = Field(default=0.0, ge=0, le=1)
    """How often an image is mirrored. None, as captions speak of left and right; 0.5 suits captions that do not."""

    @field_validator("caption")
    @classmethod
    def _has_a_place(cls, value: str) -> str:
        if "{}" not in value:
            raise ValueError('a caption with {} in it, such as "a photo of a {}"')
        return value

    def head(self) -> Head:
        """A model of images and texts with a space that they share."""
        return Head(auto="AutoModel")

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Pixels, and captions of at most `length` tokens; a row costs what both do."""
        ids = tokenised(tokenizer, column(rows, TEXT), length=length)["input_ids"]
        held = Ragged.of(ids)
        return Encoded({"input_ids": held}, {PIXELS: self.pixels(rows)}, held.lengths + (self.cost or 1))

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Ids and mask [B, T], and images [B, C, H, W]: in training a random crop of each."""
        ids_BT, mask_BT = encoded.tokens["input_ids"].masked(rows, tokenizer.pad_token_id)
        pictures_BCHW = self._pictures(encoded.dense[PIXELS][rows], rows, draw)
        tokens = {"input_ids": torch.from_numpy(ids_BT), "attention_mask": torch.from_numpy(mask_BT)}
        return {**tokens, "pixel_values": self.normal(pictures_BCHW)}

    def embed(self, model: nn.Module, batch: Batch) -> Tensor:
        """Image and caption of each row in the space that they share, of length 1, [B, V, K]."""
        found: Any = model(**batch)
        return torch.stack([found.image_embeds, found.text_embeds], 1)

    def couple(self, model: nn.Module, vectors_BVH: Tensor, labels: Tensor | None = None) -> Loss:
        """Symmetric cross-entropy in nats, summed over the rows."""
        losses_B, _ = _contrast(model, vectors_BVH)
        return Loss(losses_B.sum(), len(losses_B))

    def told(self, model: nn.Module, vectors_GVH: Tensor) -> dict[str, Tensor]:
        """Loss, count and hits of each row; a hit is an image whose own caption suits it best, or one that is the same."""
        losses_G, hits_G = _contrast(model, vectors_GVH)
        return {"loss": losses_G, "count": torch.ones_like(losses_G), "hits": hits_G.float()}

    def check(self, model: nn.Module) -> None:
        """Refuse a model without a space that images and texts share."""
        plain = _vocabulary.plain_model(model)
        if not all(hasattr(plain, name) for name in ("vision_model", "text_model", "logit_scale")):
            raise BaseError(
                f"{type(plain).__name__} does not bring images and texts together",
                wanted="an architecture such as CLIP's",
                fix="choose --base scratch:clip-tiny",
            )

    def outfit(self, loaded: Loaded) -> Loaded:
        """The model as it is; the loop only has to find its embeddings."""
        _pictures.name_embeddings(loaded.model)
        return loaded

    def bare(self, model: nn.Module) -> nn.Module:
        """The model with its scale inside the bound, so that plain transformers gives the same scores."""
        plain = _vocabulary.plain_model(model)
        _pictures.forget_embeddings(plain)
        with torch.no_grad():
            plain.logit_scale.clamp_(max=_SHARPEST)
        return model

    def _pictures(self, pixels_BHWC: np.ndarray, rows: np.ndarray, draw: Draw) -> Tensor:
        if draw.epoch == HELD_OUT or (self.area == 1 and not self.flip):
            return _views.scaled(pixels_BHWC)
        numbers_BK = draw.uniform("view", rows, _views.width(1))
        return _views.views(pixels_BHWC, numbers_BK, _views.Ways(area=self.area, flip=self.flip))[:, 0]


def _contrast(model: nn.Module, vectors_BVK: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of each row, half by its image and half by its caption, and whether the image's best caption is its own, both [B]."""
    image_BK, text_BK = vectors_BVK.float().unbind(1)
    scores_BB = _scale(model) * (image_BK @ text_BK.T)
    own_B = torch.arange(len(scores_BB), device=scores_BB.device)
    by_image_B, by_text_B = (functional.cross_entropy(each, own_B, reduction="none") for each in (scores_BB, scores_BB.T))
    hits_B = scores_BB.diagonal() >= scores_BB.amax(1) - 1e-3
    return (by_image_B + by_text_B) / 2, hits_B


def _scale(model: nn.Module) -> Tensor:
    """What the cosines are multiplied by. Above the bound it is the bound, and its gradient flows on, so that it can come down again."""
    log: Tensor = _vocabulary.plain_model(model).logit_scale.float()
    return (log + (log.clamp(max=_SHARPEST) - log).detach()).exp()
