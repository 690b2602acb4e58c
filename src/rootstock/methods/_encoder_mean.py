"""Mean pooling for encoder-decoders inside plain transformers: a decoder of one layer that gives the mean of the encoder's states.

A T5 or BART classifier reads what the decoder makes of the last end token. A decoder that only ever wrote spans has little to say there,
while the encoder's mean is a good frozen feature. Cross-attention with zero queries and keys is uniform, so with identities as value and
output matrices one layer holds the mean, and the saved model needs nothing but transformers to load, and no longer runs a whole decoder.

Shape letters: B rows, T tokens, H hidden size.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rootstock.methods._pooling import LOUD, mean

_T5 = ("t5", "mt5")
"""Model types whose layers norm what they read; the residual, the token before the end, stays and is drowned by a loud mean."""


def possible(model: Any) -> bool:
    """Whether one layer of this decoder can hold the mean."""
    config = model.config
    if not hasattr(model, "classification_head"):
        return False
    return config.model_type == "bart" or (config.model_type in _T5 and config.num_heads * config.d_kv >= config.d_model)


class EncoderMean(nn.Module):
    """What the classifier's head will read once the decoder is replaced, in closed form: [B, H]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder, self.shared = model.base_model.encoder, model.base_model.shared
        self.end: int = model.config.eos_token_id
        self.epsilon = model.config.layer_norm_epsilon if model.config.model_type in _T5 else None

    def forward(self, **batch: Tensor) -> Tensor:
        """Mean over the real tokens, normalised as the new layer does it."""
        ids_BT = batch["input_ids"]
        mean_BH = mean(self.encoder(input_ids=ids_BT, attention_mask=batch["attention_mask"]).last_hidden_state, batch["attention_mask"])
        if self.epsilon is None:
            return _norm(_norm(mean_BH))
        places_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
        last_B = torch.where(ids_BT == self.end, places_T, 0).amax(1)
        before_B = ids_BT.gather(1, (last_B - 1).clamp(min=0)[:, None])[:, 0]
        return F.rms_norm(LOUD * mean_BH + self.shared(before_B).float(), mean_BH.shape[-1:], eps=self.epsilon)


def _norm(x_BH: Tensor) -> Tensor:
    return F.layer_norm(x_BH, x_BH.shape[-1:])


@torch.no_grad()
def replace_decoder(model: Any) -> None:
    """Put the one layer in the decoder's place."""
    decoder, config = model.base_model.decoder, model.config
    t5 = config.model_type in _T5
    layers = decoder.block if t5 else decoder.layers
    layer = copy.deepcopy(layers[0])
    for parameter in layer.parameters():
        parameter.zero_()
    if t5:
        attention = layer.layer[1].EncDecAttention
        attention.v.weight.fill_diagonal_(1)
        attention.o.weight.fill_diagonal_(LOUD)
        decoder.final_layer_norm.weight.fill_(1)
        config.num_decoder_layers = decoder.config.num_layers = 1
        decoder.block = nn.ModuleList([layer])
        return
    for module in (layer.encoder_attn.v_proj, layer.encoder_attn.out_proj):
        module.weight.fill_diagonal_(1)
    for norm in (layer.encoder_attn_layer_norm, layer.final_layer_norm):
        norm.weight.fill_(1)
    config.decoder_layers = 1
    decoder.layers = nn.ModuleList([layer])
