"""Tell which tokens a small model put in place of the true ones (ELECTRA's replaced-token detection).

Prefer it to masked-lm where compute is short: every token has an answer, not one in seven, so a small base learns more from each text.
Prefer masked-lm where the base is to fill gaps, which this one can't. Needs documents, and ELECTRA's architecture. The small model (the
generator) learns beside it by masked-lm and is left behind in the end. Clark et al. 2020, https://arxiv.org/abs/2003.10555

Shape letters: B rows in a batch, T tokens in a row, M masked tokens, C of them at a time, E width of embeddings, V vocabulary.
"""

import copy
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field
from torch import Tensor, nn

from rootstock.core.errors import BaseError
from rootstock.core.loaded import Head, Loaded
from rootstock.core.objective import Objective
from rootstock.core.rows import Columns, Encoded
from rootstock.core.seed import Draw, derive
from rootstock.core.task import Batch, Loss
from rootstock.tasks import _masks, _pieces, _vocabulary

_PART = 256
"""Masked tokens whose chances over the vocabulary exist at once."""
_QUARTER = 0.25
"""Width of the generator where neither settings nor config say it; the paper found a quarter to a half best."""


class ReplacedToken(Objective):
    """The generator guesses masked tokens; the discriminator, which is the base, says of every token whether it is still the true one.

    The loss is the generator's mean over the masked tokens plus `weight` times the discriminator's mean over all tokens, where a row weighs
    as many as its masked tokens: so there is one sum and one count that add up over any batches.
    """

    likelihood: ClassVar[bool] = False

    share: float = Field(default=0.15, gt=0, lt=1)
    """Of the tokens that the generator guesses. 0.15 is that of the small and base models, 0.25 that of the large one."""
    masked: float = Field(default=0.85, ge=0, le=1)
    """Share of the guessed tokens that become the mask token; the rest stay as they are, as in the authors' program."""
    size: float | None = Field(default=None, gt=0, le=1)
    """Width of the generator as a share of the discriminator's. None: what `generator_sizes` in the base's config says, else a quarter."""
    weight: float = Field(default=50.0, gt=0)
    """Of the discriminator's loss; 50 as in the paper, as a choice between two weighs far less than one among all tokens."""

    def head(self) -> Head:
        """The discriminator."""
        return Head(auto="AutoModelForPreTraining")

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Pieces of documents with the tokenizer's special tokens around them."""
        _masks.mask_token(tokenizer, "replaced-token")
        return _pieces.encoded(_pieces.wrapped(rows, tokenizer, length))

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Ids with masks in them, labels as in masked-lm, and a number in [0, 1) that decides what the generator says there, all [B, T]."""
        ids_BT, mask_BT = _pieces.padded(encoded, rows, tokenizer)
        of = _masks.Rows(encoded, rows, draw)
        hidden = _masks.choose("token", (mask_BT > 0) & ~np.isin(ids_BT, tokenizer.all_special_ids), self.share, of)
        return _pieces.tensors(
            input_ids=_masks.cover(ids_BT, hidden, (self.masked, 0.0), of, tokenizer),
            attention_mask=mask_BT,
            labels=np.where(hidden[0], ids_BT, _vocabulary.NOT_ASKED),
            numbers=draw.uniform("guess", rows, ids_BT.shape[1]).astype(np.float32),
        )

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """In nats, summed over the masked tokens: each one's own, and its row's mean of the discriminator's."""
        seen = _seen(model, batch)
        guessed = _vocabulary.cross_entropy(seen.hidden, seen.layer, seen.labels)
        return Loss(guessed + self.weight * (_counts(batch) * seen.told()).sum(), len(seen.labels))

    @torch.no_grad()
    def decided(self, model: nn.Module, batch: Batch) -> Batch:
        """The batch with the generator's tokens in it: a number near the border of two tokens would else give either."""
        return {**batch, "said": _generated(model, batch)[2]}

    @torch.no_grad()
    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """Of each row: loss (both), count and hits of the generator; told_loss (mean), tokens, told right; replaced, called, and both."""
        seen = _seen(model, batch)
        rows_M = (batch["labels"] != _vocabulary.NOT_ASKED).nonzero()[:, 0]
        own = _vocabulary.row_results(seen.hidden, seen.layer, seen.labels, rows_M, count=len(batch["labels"]))
        called_BT = (seen.logits > 0) & seen.real
        sums = {
            "told_loss": seen.told(),
            "tokens": seen.real.sum(1),
            "right": ((called_BT == seen.replaced) & seen.real).sum(1),
            "replaced": seen.replaced.sum(1),
            "called": called_BT.sum(1),
            "found": (called_BT & seen.replaced).sum(1),
        }
        found = {name: values.double().cpu().numpy() for name, values in sums.items()}
        return {**own, **found, "loss": own["loss"] + self.weight * own["count"] * found["told_loss"]}

    def metrics(self, columns: Columns, names: Collection[str] | None = None) -> dict[str, float]:
        """loss (both); accuracy, precision and recall of the discriminator, and its loss; loss and accuracy of the generator.

        Most tokens are true ones, so an accuracy is to be read beside precision and recall of the replaced.
        """
        sums = {name: float(np.sum(values, dtype=np.float64)) for name, values in columns.items()}
        if not sums["count"]:
            return {}
        told = float(np.sum(columns["told_loss"] * columns["count"], dtype=np.float64)) / sums["count"]
        found = {
            "loss": sums["loss"] / sums["count"],
            "accuracy": sums["right"] / sums["tokens"],
            "discriminator_loss": told,
            "generator_loss": sums["loss"] / sums["count"] - self.weight * told,
            "generator_accuracy": sums["hits"] / sums["count"],
        }
        if sums["called"]:
            found["precision"] = sums["found"] / sums["called"]
        if sums["replaced"]:
            found["recall"] = sums["found"] / sums["replaced"]
        return found if names is None else {name: found[name] for name in names if name in found}

    def check(self, model: nn.Module) -> None:
        """Refuse all but ELECTRA: other architectures have no head that tells true tokens from others."""
        plain = _vocabulary.plain_model(model)
        if plain.config.model_type != "electra":
            raise BaseError(
                f"{type(plain).__name__} has no head that tells replaced tokens",
                wanted="ELECTRA's architecture",
                fix="choose --base scratch:electra-small, or --task masked-lm",
            )

    def outfit(self, loaded: Loaded) -> Loaded:
        """The discriminator with a fresh generator that shares its embeddings; its start depends on the seed that torch was given last."""
        model: Any = loaded.model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(torch.initial_seed(), "generator"))
            model.generator = _Generator(model, _shape(model.config, self.size))
        fresh = {name for name, _ in model.named_parameters() if name.startswith("generator.")}
        return replace(loaded, fresh=loaded.fresh | fresh)

    def bare(self, model: nn.Module) -> nn.Module:
        """The discriminator alone. The model itself keeps its generator, but for one inside an adapter's wrapping, which loses it."""
        plain = _vocabulary.plain_model(model)
        if plain is not model:
            del plain.generator
            return model
        alone = copy.copy(plain)
        alone._modules = {name: module for name, module in plain._modules.items() if name != "generator"}
        return alone


class _Scores(NamedTuple):
    """A linear layer of weights that have a place elsewhere."""

    weight: Tensor
    bias: Tensor

    def __call__(self, hidden: Tensor) -> Tensor:
        """Scores of states."""
        return nn.functional.linear(hidden, self.weight, self.bias)


class _Generator(nn.Module):
    """A narrower ELECTRA with its masked-lm head, on the embeddings of the discriminator."""

    def __init__(self, discriminator: Any, config: Any) -> None:
        from transformers import ElectraForMaskedLM

        super().__init__()
        whole = ElectraForMaskedLM(config)
        self.electra, self.predictions = whole.electra, whole.generator_predictions
        self.electra.embeddings = discriminator.electra.embeddings
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, ids_BT: Tensor, mask_BT: Tensor, asked_BT: Tensor) -> tuple[Tensor, _Scores]:
        """What the output layer reads at the asked tokens [M, E], and the layer: the embeddings once more."""
        states_BTH = self.electra(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
        weight_VE: Tensor = self.electra.embeddings.word_embeddings.weight
        return self.predictions(states_BTH[asked_BT]).to(weight_VE.dtype), _Scores(weight_VE, self.bias.to(weight_VE.dtype))


@dataclass(frozen=True)
class _Seen:
    """One pass of both. hidden, layer, labels: of the generator, [M]. The rest is of the discriminator, [B, T].

    logits: that a token was replaced. losses: in nats, of padding too. replaced: where the generator's token is another. real: no padding.
    """

    hidden: Tensor
    layer: _Scores
    labels: Tensor
    logits: Tensor
    losses: Tensor
    replaced: Tensor
    real: Tensor

    def told(self) -> Tensor:
        """Mean loss of the discriminator on each row, [B]."""
        return (self.losses * self.real).sum(1) / self.real.sum(1)


def _seen(model: nn.Module, batch: Batch) -> _Seen:
    ids_BT, mask_BT, labels_BT = (batch[name] for name in ("input_ids", "attention_mask", "labels"))
    asked_BT = labels_BT != _vocabulary.NOT_ASKED
    hidden_ME, layer, said_M = _generated(model, batch)
    replaced_BT = torch.zeros_like(asked_BT)
    replaced_BT[asked_BT] = said_M != labels_BT[asked_BT]
    given_BT = ids_BT.masked_scatter(asked_BT, said_M)
    logits_BT = model(input_ids=given_BT, attention_mask=mask_BT).logits.float()
    losses_BT = nn.functional.binary_cross_entropy_with_logits(logits_BT, replaced_BT.float(), reduction="none")
    return _Seen(hidden_ME, layer, labels_BT[asked_BT], logits_BT, losses_BT, replaced_BT, mask_BT > 0)


def _generated(model: nn.Module, batch: Batch) -> tuple[Tensor, _Scores, Tensor]:
    """What the generator's output layer reads [M, E], the layer, and the tokens that it says [M]: those of the batch where it has them."""
    asked_BT = batch["labels"] != _vocabulary.NOT_ASKED
    hidden_ME, layer = _vocabulary.plain_model(model).generator(batch["input_ids"], batch["attention_mask"], asked_BT)
    return hidden_ME, layer, batch["said"] if "said" in batch else sampled(hidden_ME, layer, batch["numbers"][asked_BT])


@torch.no_grad()
def sampled(hidden_ME: Tensor, layer: _vocabulary.Layer, numbers_M: Tensor) -> Tensor:
    """A token for each number in [0, 1), as likely as the layer's softmax says: the one in whose share of [0, 1) the number falls, [M].

    The numbers come with the batch, so a guess depends neither on other rows nor on which core asks first.
    """
    said = []
    for hidden_CE, numbers_C in zip(torch.split(hidden_ME, _PART), torch.split(numbers_M, _PART), strict=True):
        reach_CV = layer(hidden_CE).float().softmax(-1).cumsum(-1)  # fp64 would take 13 times as long, and this errs by 1e-7
        place_C1 = torch.searchsorted(reach_CV, numbers_C[:, None] * reach_CV[:, -1:], right=True)
        said.append(place_C1[:, 0].clamp(max=reach_CV.shape[1] - 1))
    return torch.cat(said)


def _counts(batch: Batch) -> Tensor:
    """Masked tokens of each row, [B]."""
    return (batch["labels"] != _vocabulary.NOT_ASKED).sum(1)


def _shape(config: Any, size: float | None) -> Any:
    """The generator's config: as deep as the discriminator, but narrower."""
    made = copy.deepcopy(config)
    told = getattr(config, "generator_sizes", None)
    if size is None and told:
        made.update(told)
        return made
    share = size or _QUARTER
    heads = max(1, round(config.num_attention_heads * share))
    made.num_attention_heads = heads
    made.hidden_size = heads * max(1, round(config.hidden_size * share / heads))
    made.intermediate_size = max(1, round(config.intermediate_size * share))
    return made
