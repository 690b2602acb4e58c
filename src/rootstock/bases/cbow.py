"""word2vec's continuous bag of words as models that transformers can save and load: one vector a token, and no order.

`import rootstock.bases.cbow` registers them, so that AutoModel and AutoModelForSequenceClassification know a saved folder.
Mikolov et al. 2013, https://arxiv.org/abs/1301.3781 and https://arxiv.org/abs/1310.4546

Shape letters: B rows, T tokens, H width, V vocabulary, N predicted tokens, K candidates for each.
"""

from dataclasses import dataclass
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import ModelOutput

from rootstock.bases import _sums
from rootstock.bases._classifier import MeanClassifier


@strict
class CbowConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers is untyped here
    """window: tokens on each side that a token is predicted from, at most. negatives: of the objective, for each predicted token."""

    model_type = "rootstock-cbow"

    vocab_size: int = 30522
    hidden_size: int = 300
    window: int = 5
    negatives: int = 5
    classifier_dropout: float | int = 0.0
    pad_token_id: int | None = 0
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    tie_word_embeddings: bool = False


@dataclass
class CbowOutput(ModelOutput):  # type: ignore[misc]
    """context: mean input vector of the tokens around each token, in fp32, [B, T, H]. around: how many they are, [B, T].

    Where `around` is 0 there is nothing to predict from, and context is zero.
    """

    context: Tensor | None = None
    around: Tensor | None = None


class _Cbow(PreTrainedModel):  # type: ignore[misc]
    """What the models share: names, and the starts of word2vec's own program."""

    config_class = CbowConfig
    base_model_prefix = "cbow"
    _input_embed_layer = "embeddings"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Input vectors uniform within 0.5 / H, output vectors zero, as word2vec.c has them."""
        if isinstance(module, OutputVectors):
            init.zeros_(module.weight)
        elif isinstance(module, nn.Embedding):
            reach = 0.5 / self.config.hidden_size
            init.uniform_(module.weight, -reach, reach)
        else:
            super()._init_weights(module)


class OutputVectors(nn.Embedding):
    """What contexts are compared with; thrown away after pre-training."""


class CbowModel(_Cbow):
    """The input vectors alone."""

    def __init__(self, config: CbowConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> BaseModelOutput:
        """last_hidden_state [B, T, H]: each token's vector, whatever stands beside it."""
        return BaseModelOutput(last_hidden_state=self.embeddings(input_ids))


class CbowForPreTraining(_Cbow):
    """Contexts, and a second table of vectors that they are compared with. The objective chooses what to predict and the negatives::

    out = model(input_ids, attention_mask, window_BT=radii)
    at_BT = chosen & (out.around > 0)                                   # tokens to predict
    candidates_NK = cat([input_ids[at_BT][:, None], negatives_NK], 1)   # the first of each row is the true one
    scores_NK = model.scores(out.context[at_BT], candidates_NK)         # logits of "this token stood here"
    """

    def __init__(self, config: CbowConfig) -> None:
        super().__init__(config)
        self.cbow = CbowModel(config)
        self.output = OutputVectors(config.vocab_size, config.hidden_size)
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, *, window_BT: Tensor | None = None, **_: Any) -> CbowOutput:
        """Mean vector around each token. A token with mask 0 is no context; it has one itself, which the objective leaves aside.

        window_BT: how far each token looks to either side (word2vec draws it from 1 .. config.window); None: config.window.
        """
        mask_BT = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        radius_BT = torch.full_like(input_ids, self.config.window) if window_BT is None else window_BT
        vectors_BTH = self.cbow(input_ids).last_hidden_state.float()
        near_M, around_BT = _neighbours(mask_BT.bool(), radius_BT)
        starts = nn.functional.pad(around_BT.flatten().cumsum(0), (1, 0))
        context_BTH = _sums.sums(vectors_BTH.flatten(0, 1), near_M, starts).view_as(vectors_BTH)
        return CbowOutput(context=context_BTH / around_BT.clamp(min=1)[..., None], around=around_BT)

    def scores(self, context_NH: Tensor, candidates_NK: Tensor) -> Tensor:
        """Products of contexts with the output vectors of token ids, in fp32, [N, K]."""
        return _sums.products(context_NH.float(), self.output.weight.float(), candidates_NK)

    def get_output_embeddings(self) -> nn.Module:
        """The second table, [V, H]; it is never tied to the first."""
        return self.output


def _neighbours(mask_BT: Tensor, radius_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Places (among B x T) of the tokens within each token's radius, one after the other, and how many they are, [B, T]."""
    tokens, reach = mask_BT.shape[1], int(radius_BT.max()) if radius_BT.numel() else 0
    steps_W = torch.tensor([step for step in range(-reach, reach + 1) if step], device=mask_BT.device, dtype=torch.long)
    at_BTW = torch.arange(tokens, device=mask_BT.device)[None, :, None] + steps_W
    inside_BTW = (at_BTW >= 0) & (at_BTW < tokens) & (steps_W.abs() <= radius_BT[..., None])
    at_BTW = at_BTW.clamp(0, tokens - 1) + tokens * torch.arange(len(mask_BT), device=mask_BT.device)[:, None, None]
    inside_BTW &= mask_BT.flatten()[at_BTW]
    return at_BTW[inside_BTW], inside_BTW.sum(2)


class CbowForSequenceClassification(MeanClassifier, _Cbow):
    """The mean vector of a text under a linear layer."""

    def __init__(self, config: CbowConfig) -> None:
        super().__init__(config)
        self.cbow = CbowModel(config)
        self.add_head()
        self.post_init()


AutoConfig.register(CbowConfig.model_type, CbowConfig)
AutoModel.register(CbowConfig, CbowModel)
AutoModelForPreTraining.register(CbowConfig, CbowForPreTraining)
AutoModelForSequenceClassification.register(CbowConfig, CbowForSequenceClassification)
