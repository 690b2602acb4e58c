"""The classifier of models whose vectors have no first token that stands for the text: mean, dropout, one linear layer.

Shape letters: B rows, T tokens, H width, C classes.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


def mean(hidden_BTH: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over the real tokens in fp32, [B, H]; zero where a row has none."""
    mask_BT1 = mask_BT[..., None].float()
    return (hidden_BTH.float() * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1)


class MeanClassifier(PreTrainedModel):  # type: ignore[misc]  # transformers is untyped here
    """Abstract: a subclass's constructor makes the body under `base_model_prefix`, then calls `add_head`."""

    def add_head(self) -> None:
        """The fresh layer on the mean of the body's last hidden states."""
        self.num_labels = self.config.num_labels
        self.dropout = nn.Dropout(self.config.classifier_dropout)
        self.classifier = nn.Linear(self.config.hidden_size, self.config.num_labels)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, *, labels: Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """logits [B, C], and a loss where labels are given. attention_mask: None takes every token as real."""
        mask_BT = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        hidden_BTH = self.base_model(input_ids, mask_BT).last_hidden_state
        logits_BC = self.classifier(self.dropout(mean(hidden_BTH, mask_BT).to(hidden_BTH.dtype)))
        loss = None if labels is None else self.loss_function(labels=labels, pooled_logits=logits_BC, config=self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits_BC)
