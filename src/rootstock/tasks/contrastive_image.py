"""Tell two views of an image from all other images (SimCLR).

Prefer it where images have no captions; prefer contrastive-image-text where they have. Needs images: folders of them, or a .tar of such.
Chen et al. 2020, https://arxiv.org/abs/2002.05709

Shape letters: B rows, V = 2 views, P = B * V pictures, K numbers of the projection, C colours, H height, W width.
"""

from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rootstock.core.loaded import Head, Loaded
from rootstock.core.rows import PIXELS, Encoded
from rootstock.core.seed import Draw
from rootstock.core.task import Batch, Loss
from rootstock.tasks import _pictures, _views, _vocabulary
from rootstock.tasks._pictures import OnPictures

_VIEWS = 2


class ContrastiveImage(OnPictures):
    """NT-Xent: cross-entropy of a view's other view among all pictures of the update, by cosine of what a small head makes of them.

    Views are drawn anew in each epoch; those of images that are measured stay the same, and they are told from some thirty others.
    """

    rate: ClassVar[float] = 1e-3
    batch_tokens: ClassVar[int] = 32768
    reads: ClassVar[Literal["images"]] = "images"

    temperature: float = Field(default=0.5, gt=0)
    """What cosines are divided by. 0.5 is the paper's best on CIFAR-10; 0.1 on ImageNet with batches of thousands."""
    projection: int = Field(default=128, ge=2)
    """Numbers that the head gives, which only training needs. From 32 to 2048 the paper found no difference."""
    area: float = Field(default=0.08, gt=0, le=1)
    """Smallest share of an image that a crop keeps. The paper's; 0.2 and more learn quicker where time is short."""
    jitter: float = Field(default=0.8, ge=0, le=1)
    """How often colours are changed. Without it views are matched by their colours alone."""
    strength: float = Field(default=0.5, ge=0, le=1)
    """How much they are: 0.5 is the paper's for CIFAR-10, 1 for ImageNet."""
    grey: float = Field(default=0.2, ge=0, le=1)
    """How often a view has no colours at all."""
    flip: float = Field(default=0.5, ge=0, le=1)
    """How often a view is mirrored; 0 where left and right mean something, as in writing."""
    blur: float = Field(default=0.0, ge=0, le=1)
    """How often a view is blurred. 0 is the paper's for small images, 0.5 for those of 224 pixels."""

    def head(self) -> Head:
        """An image model; one with random weights is built for this size."""
        return Head(auto="AutoModel", options={"image_size": self.size} if self.size else {})

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """The pixels; a row costs what its two views do."""
        return Encoded({}, {PIXELS: self.pixels(rows)}, np.full(len(rows), _VIEWS * (self.cost or 1), dtype=np.int64))

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Two random views of each image [B, V, C, H, W]."""
        ways = _views.Ways(area=self.area, flip=self.flip, jitter=self.jitter, strength=self.strength, grey=self.grey, blur=self.blur)
        numbers_BK = draw.uniform("view", rows, _views.width(_VIEWS))
        return {"pixel_values": self.normal(_views.views(encoded.dense[PIXELS][rows], numbers_BK, ways))}

    def embed(self, model: nn.Module, batch: Batch) -> Tensor:
        """What the head makes of each view, [B, V, K]."""
        pictures_BVCHW = batch["pixel_values"]
        plain = _vocabulary.plain_model(model)
        vectors_PK: Tensor = plain.contrast_head(_pictures.pooled(model, pictures_BVCHW.flatten(0, 1)))
        return vectors_PK.reshape(*pictures_BVCHW.shape[:2], -1)

    def couple(self, model: nn.Module, vectors_BVH: Tensor, labels: Tensor | None = None) -> Loss:
        """NT-Xent in nats, summed over the views."""
        losses_BV, _ = self._contrast(vectors_BVH)
        return Loss(losses_BV.sum(), losses_BV.numel())

    def told(self, model: nn.Module, vectors_GVH: Tensor) -> dict[str, Tensor]:
        """Loss, count and hits of each row, over its views."""
        losses_GV, hits_GV = self._contrast(vectors_GVH)
        loss_G = losses_GV.sum(1)
        return {"loss": loss_G, "count": torch.full_like(loss_G, _VIEWS), "hits": hits_GV.float().sum(1)}

    def check(self, model: nn.Module) -> None:
        """Refuse a model that does not read images."""
        _pictures.check_reads_images(_vocabulary.plain_model(model))

    def outfit(self, loaded: Loaded) -> Loaded:
        """The model with a head of one hidden layer."""
        model: Any = loaded.model
        _pictures.name_embeddings(model)
        wide = _pictures.width(model.config)
        model.contrast_head = nn.Sequential(nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, self.projection))
        added = {f"contrast_head.{name}" for name, _ in model.contrast_head.named_parameters()}
        return replace(loaded, fresh=loaded.fresh | added)

    def bare(self, model: nn.Module) -> nn.Module:
        """The model without the head: what lies below it is the better representation."""
        plain = _vocabulary.plain_model(model)
        _pictures.forget_embeddings(plain)
        del plain.contrast_head
        return model

    def _contrast(self, vectors_BVK: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each view, and whether its other view is the nearest, both [B, V]."""
        rows = len(vectors_BVK)
        unit_PK = functional.normalize(vectors_BVK.float().transpose(0, 1).flatten(0, 1), dim=1)
        scores_PP = (unit_PK @ unit_PK.T / self.temperature).fill_diagonal_(-torch.inf)
        other_P = torch.arange(2 * rows, device=unit_PK.device).roll(rows)
        losses_P = functional.cross_entropy(scores_PP, other_P, reduction="none")
        return losses_P.reshape(_VIEWS, rows).T, (scores_PP.argmax(1) == other_P).reshape(_VIEWS, rows).T
