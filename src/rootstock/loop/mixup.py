"""Rows mixed with one another, two at a time: embedded tokens, and the losses of both labels (mixup).

x = l * x_i + (1 - l) * x_j, loss = l * L(x, y_i) + (1 - l) * L(x, y_j), l drawn from Beta(alpha, alpha) for each row, j from its batch.
Zhang et al. 2018, arXiv:1710.09412; on embedded words: Guo et al. 2019, arXiv:1905.08941. Of images the patches are mixed, which are linear
in the pixels. Shape letters: B rows, T tokens, H width.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rootstock.core.errors import BaseError, RecipeError
from rootstock.core.mode import in_mode
from rootstock.core.recipe import TrainingSettings
from rootstock.core.task import Batch, Labelled
from rootstock.loop.adversary import embeddings, hooked

_WHOLE = ("class", "classes", "number")
"""Kinds of answers that are of a row as a whole."""
_SAME = ("attention_mask",)
"""Of a batch: what both rows of a mixture have together."""


class Mixture(NamedTuple):
    """share: of the row itself, [B]. partner: the row of the batch that it is mixed with, [B]."""

    share: Tensor
    partner: Tensor


def drawn(alpha: float, count: int, device: torch.device) -> Mixture:
    """A partner and a share for each row, from torch's own generator: its state is part of a checkpoint."""
    share_B = torch.distributions.Beta(alpha, alpha).sample((count,))
    return Mixture(share_B.to(device), torch.randperm(count).to(device))


def widened(batch: Batch, mixture: Mixture) -> Batch:
    """The batch, in which a row is as long as the longer of both: beyond its end it holds its padding, mixed with the other's tokens."""
    both = {name: torch.maximum(batch[name], batch[name][mixture.partner]) for name in _SAME if name in batch}
    return {**batch, **both}


@contextmanager
def mixed(model: nn.Module, mixture: Mixture) -> Iterator[None]:
    """Within it the model's embeddings give mixtures."""

    def mix(out_BTH: Tensor) -> Tensor:
        share_B11 = mixture.share.to(out_BTH.dtype)[:, None, None]
        return share_B11 * out_BTH + (1 - share_B11) * out_BTH[mixture.partner]

    with hooked(model, mix):
        yield


def of_both(losses: Callable[[Batch], Tensor], batch: Batch, mixture: Mixture) -> Tensor:
    """The losses of the mixtures by both labels, each by its share, [B]."""
    others = {name: value[mixture.partner] for name, value in batch.items()}
    return mixture.share * losses(batch) + (1 - mixture.share) * losses(others)


def check(model: nn.Module, task: Labelled, settings: TrainingSettings) -> None:
    """Refuse what can't be mixed: RecipeError for answers that are of parts of a row, BaseError for a base that is no encoder."""
    if task.kind not in _WHOLE:
        raise RecipeError(
            "training.mixup mixes whole rows, and the answers of this task are of their parts",
            wanted="a classifier's or a number of each row",
            fix="leave training.mixup out",
        )
    if settings.adversary:
        raise RecipeError(
            "training.mixup and training.adversary both change the embedded tokens", wanted="one of the two", fix="leave one out"
        )
    embeddings(model, "to mix", "training.mixup")
    if task.reads == "texts" and not _is_encoder(model):
        raise BaseError(
            "training.mixup is set, and the base reads a row from left to right or with a decoder: it answers at one row's own end",
            wanted="an encoder such as minilm",
            fix="leave training.mixup out",
        )


@torch.no_grad()
def _is_encoder(model: Any) -> bool:
    """Whether the first token's embedding takes in what the last one says, and there is no decoder."""
    if getattr(model.config, "is_encoder_decoder", False):
        return False
    device = next(model.parameters()).device
    ids_2T = torch.arange(8, 16, device=device).repeat(2, 1) % model.config.vocab_size
    ids_2T[1, -1] = 5 % model.config.vocab_size
    with in_mode(model, training=False):
        out = model(input_ids=ids_2T, attention_mask=torch.ones_like(ids_2T), output_hidden_states=True)
    return out.hidden_states is None or not torch.equal(out.hidden_states[-1][0, 0], out.hidden_states[-1][1, 0])
