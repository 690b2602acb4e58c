"""The vocabulary's output layer, computed only where there is a label and never for all of them at once.

On a small model it is most of the work: at 15 % of the positions it costs 15 %, and in parts its memory does not grow with the vocabulary.
Shape letters: B rows, T positions, M labelled positions, H width, V vocabulary, C positions of a part, R some of these.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rootstock.core.errors import BaseError
from rootstock.core.mode import in_mode
from rootstock.core.rows import Columns
from rootstock.core.task import Batch, Loss
from rootstock.tasks._pieces import summed

_PART = 512
"""Positions whose scores over the vocabulary exist at once: as many as keep the products quick (in bf16 256 take 1.15 times as long)."""
_MEASURED = 128
"""The same where nothing learns: an evaluation comes beside what a training holds."""
_ROWS = 16
"""Positions whose scores go through the softmax together: in fp32 they stay in a core's cache between steps. A GPU takes all."""
NOT_ASKED = -100
_WITHOUT_CACHE = {"use_cache": False}
"""Keys and values are kept for writing on; a pass over whole texts would only copy them."""
_ADDED = "final_logits_bias"
"""A number for each token that BART's kind adds behind the layer; all zeros in what was published, and never learned."""


class Layer(Protocol):
    """A linear layer over the vocabulary; nn.Linear is one."""

    @property
    def weight(self) -> Any:
        """[V, H]."""
        ...

    @property
    def bias(self) -> Any:
        """[V], or None."""
        ...

    def __call__(self, hidden: Tensor) -> Any:
        """Scores of states."""
        ...


class Asked(NamedTuple):
    """What the output layer reads at the labelled positions [M, H], their labels [M], the layer, and the model's output, scores aside."""

    hidden: Tensor
    labels: Tensor
    layer: Layer
    output: Any


def language_loss(model: nn.Module, inputs: Batch, labels_BT: Tensor) -> Loss:
    """Cross-entropy in nats summed over the positions with a label (others hold -100)."""
    found = asked(model, inputs, labels_BT)
    return Loss(cross_entropy(found.hidden, found.layer, found.labels), len(found.labels))


def token_losses(model: nn.Module, inputs: Batch, labels_BT: Tensor) -> Tensor:
    """Cross-entropy in nats of each position with a label, [M]. The scores exist for a part at a time, and again for its gradients."""
    hidden_MH, labels_M, layer, _ = asked(model, inputs, labels_BT)
    hidden_MH, weight_VH, bias_V = _alike(hidden_MH, layer)

    def losses(hidden_CH: Tensor, labels_C: Tensor) -> Tensor:
        return nn.functional.cross_entropy(nn.functional.linear(hidden_CH, weight_VH, bias_V).float(), labels_C, reduction="none")

    parts = zip(torch.split(hidden_MH, _PART), torch.split(labels_M, _PART), strict=True)
    return torch.cat([checkpoint(losses, *part, use_reentrant=False) for part in parts])


@torch.no_grad()
def language_results(model: nn.Module, inputs: Batch, labels_BT: Tensor, rows_BT: Tensor | None = None) -> Columns:
    """Of each row: loss in nats, count and hits over its labelled positions, [B]. rows_BT: as `rows_asked` takes them."""
    hidden_MH, labels_M, layer, _ = asked(model, inputs, labels_BT)
    rows_M, count = rows_asked(labels_BT, rows_BT)
    return row_results(hidden_MH, layer, labels_M, rows_M, count=count)


def rows_asked(labels_BT: Tensor, rows_BT: Tensor | None = None) -> tuple[Tensor, int]:
    """The row of each labelled position [M], and how many rows there are. rows_BT: the row that a position is of, if not its line's."""
    asked_BT = labels_BT != NOT_ASKED
    return (asked_BT.nonzero()[:, 0], len(labels_BT)) if rows_BT is None else (rows_BT[asked_BT], int(rows_BT.max()) + 1)


@torch.no_grad()
def row_results(hidden_MH: Tensor, layer: Layer, labels_M: Tensor, rows_M: Tensor, *, count: int) -> Columns:
    """Of each of `count` rows: loss in nats, count and hits over the positions that are its own, [count]."""
    losses, hits = [], []
    for hidden_CH, labels_C in zip(torch.split(hidden_MH, _MEASURED), torch.split(labels_M, _MEASURED), strict=True):
        scores_CV, rows = nn.functional.linear(*_alike(hidden_CH, layer)), _together(hidden_CH)
        for scores_RV, labels_R in zip(torch.split(scores_CV, rows), torch.split(labels_C, rows), strict=True):
            exact_RV = scores_RV.float()
            losses.append(nn.functional.cross_entropy(exact_RV, labels_R, reduction="none"))
            hits.append(_likeliest(exact_RV, labels_R))
    found = {"loss": torch.cat(losses), "count": torch.ones_like(labels_M), "hits": torch.cat(hits)}
    return {name: summed(values_M, rows_M, count) for name, values_M in found.items()}


def _likeliest(scores_RV: Tensor, labels_R: Tensor) -> Tensor:
    """Whether the label has the highest score, of equal ones the first.

    On a processor the place is asked for only where it may be the label's: it takes ten times as long as the highest score itself. A GPU
    has it at once, and would be waited for at each part to count those rows.
    """
    if scores_RV.device.type != "cpu":
        return scores_RV.argmax(-1) == labels_R
    hit_R = scores_RV.gather(1, labels_R[:, None])[:, 0] == scores_RV.amax(-1)
    hit_R[hit_R.clone()] = scores_RV[hit_R].argmax(-1) == labels_R[hit_R]
    return hit_R


def _together(hidden: Tensor) -> int:
    return _ROWS if hidden.device.type == "cpu" else _PART


def cross_entropy(hidden_MH: Tensor, layer: Layer, labels_M: Tensor) -> Tensor:
    """Summed cross-entropy of a linear layer's scores, shape (); the scores exist for a part of the positions at a time."""
    total: Tensor = _LinearCrossEntropy.apply(*_alike(hidden_MH, layer), labels_M)  # type: ignore[no-untyped-call]
    return total


def exact_scores(hidden_MH: Tensor, layer: Layer) -> Tensor:
    """A layer's scores of states in fp32, [M, V]."""
    return nn.functional.linear(*_alike(hidden_MH, layer)).float()


def _alike(hidden_MH: Tensor, layer: Layer) -> tuple[Tensor, Tensor, Tensor | None]:
    """States, weight and bias in the weight's number format: it may be a bf16 embedding, and the rest of a fresh head in fp32."""
    weight_VH, bias_V = layer.weight, layer.bias
    return hidden_MH.to(weight_VH.dtype), weight_VH, None if bias_V is None else bias_V.to(weight_VH.dtype)


class _LinearCrossEntropy(torch.autograd.Function):
    """Loss and all its gradients in one go through the parts: what a backward pass would need is never stored."""

    @staticmethod
    def forward(ctx: Any, hidden_MH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, labels_M: Tensor) -> Tensor:
        learned = [bool(needed) for needed in ctx.needs_input_grad[:3]]
        given = (hidden_MH, weight_VH, bias_V)
        grads = [torch.zeros_like(each) if needed and each is not None else None for each, needed in zip(given, learned, strict=True)]
        total = torch.zeros((), dtype=torch.float32, device=hidden_MH.device)
        # One room for all parts: fresh memory costs as much as a product.
        room_CV = hidden_MH.new_empty((min(_PART, len(labels_M)), len(weight_VH)))
        for start in range(0, len(labels_M), _PART):
            part = slice(start, start + _PART)
            total += _part(given, labels_M[part], part, grads, room_CV)
        ctx.save_for_backward(*[each for each in grads if each is not None])
        ctx.held = [each is not None for each in grads]
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        saved = iter(ctx.saved_tensors)
        scale = gradients[0]
        plain = bool(scale == 1)
        return (
            *[
                (each if plain else each * scale.to(each.dtype)) if held and (each := next(saved)) is not None else None
                for held in ctx.held
            ],
            None,
        )


def _part(
    given: tuple[Tensor, Tensor, Tensor | None], labels_C: Tensor, part: slice, grads: list[Tensor | None], room_CV: Tensor
) -> Tensor:
    """Summed loss of one part; its gradients are added to `grads`. Scores are written into the room."""
    hidden_MH, weight_VH, bias_V = given
    hidden_CH = hidden_MH[part]
    scores_CV = torch.mm(hidden_CH, weight_VH.T, out=room_CV[: len(labels_C)])
    to_hidden, to_weight, to_bias = grads
    exact_V = None if bias_V is None else bias_V.float()
    loss = torch.zeros((), dtype=torch.float32, device=hidden_MH.device)
    together = _together(hidden_CH)
    for start in range(0, len(labels_C), together):
        rows = slice(start, start + together)
        loss += _errors(scores_CV[rows], labels_C[rows, None], exact_V, to_bias)
    if to_hidden is not None:
        torch.mm(scores_CV, weight_VH, out=to_hidden[part])
    if to_weight is not None:
        to_weight.addmm_(scores_CV.T, hidden_CH)
    return loss


def _errors(scores_RV: Tensor, labels_R1: Tensor, bias_V: Tensor | None, to_bias: Tensor | None) -> Tensor:
    """Summed loss of a few rows, in fp32. Their scores, still without bias, become their gradients, whose sum is added to `to_bias`."""
    exact_RV = scores_RV.float() if bias_V is None else scores_RV + bias_V
    asked_R1, highest_R = exact_RV.gather(1, labels_R1), exact_RV.amax(-1)
    # The largest probability gives the normaliser, in a tenth of the time that a place of it would take.
    torch.softmax(exact_RV, -1, out=exact_RV)
    loss = (highest_R - exact_RV.amax(-1).log()).sum() - asked_R1.sum()
    exact_RV.scatter_add_(1, labels_R1, torch.full_like(asked_R1, -1))
    if to_bias is not None:
        to_bias += exact_RV.sum(0).to(to_bias.dtype)
    if exact_RV is not scores_RV:
        scores_RV.copy_(exact_RV)
    return loss


def asked(model: nn.Module, inputs: Batch, labels_BT: Tensor) -> Asked:
    """The model's pass up to the output layer."""
    asked_BT = labels_BT != NOT_ASKED
    plain = plain_model(model)
    body, layer = plain.base_model, plain.get_output_embeddings()
    early = body is not plain  # then the head between body and output layer, too, is computed only where it is asked
    with _skipped(plain, layer), _gathered(body, asked_BT if early else None):
        output = model(**inputs, **_WITHOUT_CACHE if plain.can_generate() else {})
    hidden = scores(output)
    return Asked(hidden.reshape(-1, hidden.shape[-1]) if early else hidden[asked_BT], labels_BT[asked_BT], layer, output)


def scores(output: Any) -> Tensor:
    """Scores over the vocabulary; a model with two heads has another name for them."""
    found: Tensor = output.logits if hasattr(output, "logits") else output.prediction_logits
    return found


def plain_model(model: nn.Module) -> Any:
    """The transformers model inside what a method wrapped around it."""
    from transformers import PreTrainedModel

    return next(module for module in model.modules() if isinstance(module, PreTrainedModel))


@contextmanager
def _skipped(plain: Any, layer: nn.Module) -> Iterator[None]:
    """The layer gives back what it gets, and BART adds nothing to it."""
    added = plain._buffers.get(_ADDED)
    layer.forward = _same
    if added is not None:
        plain._buffers[_ADDED] = added.new_zeros(())
    try:
        yield
    finally:
        del layer.forward
        if added is not None:
            plain._buffers[_ADDED] = added


def _same(hidden: Tensor) -> Tensor:
    return hidden


@contextmanager
def _gathered(body: nn.Module, asked_BT: Tensor | None) -> Iterator[None]:
    """The body gives its states at the asked positions only, as one row [1, M, H]."""
    if asked_BT is None:
        yield
        return

    def gather(_: nn.Module, __: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[asked_BT][None]
        return output

    hook = body.register_forward_hook(gather)
    try:
        yield
    finally:
        hook.remove()


@torch.no_grad()
def check_output_layer(model: nn.Module, inputs: Batch) -> None:
    """Prove on a few tokens that the model's scores are its output layer's; BaseError where it does more with them."""
    plain = plain_model(model)
    layer = plain.get_output_embeddings()
    if not isinstance(layer, nn.Linear):
        raise BaseError(f"{type(plain).__name__} has no output layer over the vocabulary", wanted="a language model")
    labels_BT = torch.zeros_like(inputs.get("decoder_input_ids", inputs["input_ids"]))
    with in_mode(model, training=False):
        whole_MV = scores(model(**inputs)).reshape(-1, layer.out_features).float()
        hidden_MH = asked(model, inputs, labels_BT).hidden
        kept = _keeps_large_scores(model, layer, inputs, labels_BT)
    if not (kept and torch.allclose(layer(hidden_MH).float(), whole_MV, rtol=1e-3, atol=1e-3)):
        raise BaseError(
            f"{type(plain).__name__} changes its scores after the output layer",
            wanted="an architecture whose scores are a linear layer's",
            fix="choose another base",
        )


def _keeps_large_scores(model: nn.Module, layer: Any, inputs: Batch, labels_BT: Tensor) -> bool:
    """Whether scores leave the model as the layer made them. A bound on them shows only where they are large, and random ones are not."""
    marks_BTV = 50 * torch.linspace(-1, 1, layer.out_features, device=labels_BT.device).expand(*labels_BT.shape, -1)
    layer.forward = lambda _: marks_BTV.to(layer.weight.dtype)
    try:
        found_BTV = scores(model(**inputs))
    finally:
        del layer.forward
    return torch.equal(found_BTV.float(), marks_BTV.to(layer.weight.dtype).float())


def few_tokens(model: nn.Module) -> dict[str, Tensor]:
    """A row of four tokens for a trial."""
    device = next(model.parameters()).device
    ids_BT = torch.arange(1, 5, device=device)[None]
    return {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT)}


@torch.no_grad()
def sees_ahead(model: Any) -> bool:
    """Whether a token's answer depends on those after it: tried on a few."""
    given = few_tokens(model)
    changed = {**given, "input_ids": given["input_ids"].clone()}
    changed["input_ids"][0, -1] += 1
    with in_mode(model, training=False):
        before, after = (model(**each).logits[0, 0] for each in (given, changed))
    return not torch.allclose(before, after, atol=1e-5)


def check_causal(model: nn.Module) -> None:
    """Refuse a model that sees what comes after, or whose scores are more than its output layer's."""
    plain = plain_model(model)
    if sees_ahead(plain):
        raise BaseError(
            f"{type(plain).__name__} sees the tokens that it would have to guess",
            wanted="an architecture that reads from left to right",
            fix="choose --task masked-lm, or a base such as scratch:gpt2-tiny",
        )
    check_output_layer(model, few_tokens(model))
