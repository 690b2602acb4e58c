"""ELMo as models that transformers can save and load: characters, highways, and a language model from either side.

Token vectors come from the letters of the tokenizer's own tokens, so all else (rows, batches, labels) stays as for any model.
`import rootstock.bases.elmo` registers the models, so that AutoModel and AutoModelForSequenceClassification know a saved folder.
Peters et al. 2018, https://arxiv.org/abs/1802.05365; starts of the weights as in the authors' program (allenai/bilm-tf).

Shape letters: B rows, T tokens, L = T - 1 places between tokens, P width of one direction, V vocabulary, N different tokens, X letters.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
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

from rootstock.bases._classifier import MeanClassifier

with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
    # torch says once a process that oneDNN has no LSTM with a projection; nothing a user could do about it.
    warnings.simplefilter("ignore", UserWarning)
    nn.LSTM(1, 2, proj_size=1)(torch.zeros(1, 1, 1))

BEGIN, END, NONE, LETTERS = 256, 257, 258, 259
"""Marks beside the 256 bytes: a token begins, it ends, nothing is there; and how many there are in all."""


@strict
class ElmoConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers is untyped here
    """filters: width and number of the convolutions over letters. max_letters: of a token, begin and end included; more are cut.

    hidden_size: 2 P, where P is what an LSTM of `cells` hands on: both directions together.
    """

    model_type = "rootstock-elmo"

    vocab_size: int = 30522
    max_letters: int = 50
    letter_size: int = 16
    filters: list[list[int]] = field(default_factory=lambda: [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]])
    highways: int = 1
    cells: int = 1024
    hidden_size: int = 256
    num_hidden_layers: int = 2
    dropout: float | int = 0.1
    classifier_dropout: float | int = 0.0
    pad_token_id: int | None = 0
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    tie_word_embeddings: bool = False

    @property
    def projection(self) -> int:
        """P: width of one direction."""
        return self.hidden_size // 2

    def validate_architecture(self) -> None:
        """Raises ValueError where nothing could be built."""
        if self.hidden_size % 2 or self.projection >= self.cells:
            raise ValueError(f"hidden_size is {self.hidden_size}: it must be even, and its half smaller than cells ({self.cells})")
        if not self.filters or any(len(each) != 2 or min(each) < 1 or each[0] > self.max_letters for each in self.filters):
            raise ValueError("filters must be pairs of a width, at most max_letters, and a number of convolutions")


@dataclass
class ElmoOutput(ModelOutput):  # type: ignore[misc]
    """hidden [2, B, L, P] and targets [2, B, L]: forward first, then backward; a target of -100 is none.

    At place i the forward half has read tokens 0 .. i and predicts token i + 1; the backward half has read i + 1 .. and predicts i.
    """

    hidden: Tensor | None = None
    targets: Tensor | None = None


def spell(vocabulary: Mapping[str, int], size: int, most: int) -> Tensor:
    """Bytes of each token as the vocabulary writes it ("##ing", "▁the"), between marks, [V, X] of int16; an id without a token has none."""
    letters_VX = np.full((size, most), NONE, dtype=np.int16)
    for token, number in vocabulary.items():
        if number < size:
            found = [BEGIN, *token.encode()[: most - 2], END]
            letters_VX[number, : len(found)] = found
    return torch.from_numpy(letters_VX)


class Spelling(nn.Module):
    """Which letters each token has. It stands where other models have their table of vectors, and has a row for each token as they do."""

    char_ids: Tensor
    """[V, X]."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__()
        self.register_buffer("char_ids", torch.full((size, most), NONE, dtype=torch.int16))

    @property
    def weight(self) -> Tensor:
        """The table itself: one row a token."""
        return self.char_ids

    def forward(self, ids_N: Tensor) -> Tensor:
        """Letters of tokens, [N, X]."""
        return self.char_ids[ids_N].long()


class Letters(nn.Module):
    """Letters to a token's vector: convolutions, their largest answers, highways, a projection."""

    def __init__(self, config: ElmoConfig) -> None:
        super().__init__()
        filters = config.filters
        width = sum(number for _, number in filters)
        self.characters = nn.Embedding(LETTERS, config.letter_size)
        self.convolutions = nn.ModuleList(nn.Conv1d(config.letter_size, number, reach) for reach, number in filters)
        self.highways = nn.ModuleList(Highway(width) for _ in range(config.highways))
        self.projection = nn.Linear(width, config.projection)

    def forward(self, letters_NX: Tensor) -> Tensor:
        """Vectors of tokens, [N, P]."""
        vectors_NEX = self.characters(letters_NX).transpose(1, 2)
        found = torch.cat([F.relu(convolve(vectors_NEX).amax(-1)) for convolve in self.convolutions], dim=-1)
        for highway in self.highways:
            found = highway(found)
        vectors_NP: Tensor = self.projection(found)
        return vectors_NP


class Gated(nn.Linear):
    """What a highway computes: changed values and their gates. A name of its own, because it starts otherwise than other layers."""


class Highway(nn.Module):
    """Each value passes as it is or changed, as a gate says (Srivastava et al. 2015, arXiv:1505.00387)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.both = Gated(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        """As wide as x."""
        changed, gate = self.both(x).chunk(2, dim=-1)
        gate = torch.sigmoid(gate)
        return gate * F.relu(changed) + (1 - gate) * x


class _Elmo(PreTrainedModel):  # type: ignore[misc]
    """What the models share: names and starts."""

    config_class = ElmoConfig
    base_model_prefix = "elmo"
    _input_embed_layer = "spelling"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As in the authors' program: highways begin as mere passages (gate bias -2), LSTMs remember (forget bias 1)."""
        if isinstance(module, nn.Embedding):
            init.uniform_(module.weight, -1.0, 1.0)
        elif isinstance(module, nn.Conv1d):
            init.uniform_(module.weight, -0.05, 0.05)
            init.zeros_(module.bias)
        elif isinstance(module, nn.LSTM):
            super()._init_weights(module)
            bias: Any = module.bias_ih_l0
            init.copy_(bias, _one_part(bias, parts=4, part=1, value=1.0))
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, std=1 / math.sqrt(module.in_features))
            closed = -2.0 if isinstance(module, Gated) else 0.0
            init.copy_(module.bias, _one_part(module.bias, parts=2 if closed else 1, part=-1, value=closed))
        elif isinstance(module, ElmoModel):
            init.zeros_(module.mix)
            init.ones_(module.gamma)
        elif isinstance(module, Spelling):
            init.constant_(module.char_ids, NONE)


def _one_part(like: Tensor, *, parts: int, part: int, value: float) -> Tensor:
    """Zeros but for one of equal parts."""
    made = torch.zeros_like(like).view(parts, -1)
    made[part] = value
    return made.flatten()


class ElmoModel(_Elmo):
    """Two stacks of LSTMs over token vectors, and the learned mixture of their layers.

    mix: weights of the layers before their softmax; gamma: scale of the mixture. Equal and 1 until a task teaches them.
    """

    def __init__(self, config: ElmoConfig) -> None:
        super().__init__(config)
        self.spelling = Spelling(config.vocab_size, config.max_letters)
        self.letters = Letters(config)
        self.forwards, self.backwards = (
            nn.ModuleList(
                nn.LSTM(config.projection, config.cells, proj_size=config.projection, batch_first=True)
                for _ in range(config.num_hidden_layers)
            )
            for _ in range(2)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.mix = nn.Parameter(torch.zeros(config.num_hidden_layers + 1))
        self.gamma = nn.Parameter(torch.ones(1))
        self.post_init()

    def spell(self, vocabulary: Mapping[str, int]) -> None:
        """Take the letters of a tokenizer's tokens; needed once, for random weights: they are saved with them."""
        self.spelling.char_ids.copy_(spell(vocabulary, *self.spelling.char_ids.shape))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> BaseModelOutput:
        """last_hidden_state [B, T, 2P]: the mixture. hidden_states: token vectors twice, then each layer, [B, T, 2P] each."""
        states = [torch.cat(pair, dim=-1) for pair in zip(*self.sides(input_ids, attention_mask), strict=True)]
        shares = torch.softmax(self.mix.float(), 0).to(states[0].dtype)
        mixed = self.gamma * sum(share * state for share, state in zip(shares, states, strict=True))
        return BaseModelOutput(last_hidden_state=mixed, hidden_states=tuple(states))

    def sides(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """Token vectors and each layer's output, [B, T, P] each, zero at padding: of the forward and of the backward half."""
        mask_BT = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        vectors_BTP = self.dropout(self._vectors(input_ids)) * mask_BT[..., None]
        at_T = torch.arange(input_ids.shape[1], device=input_ids.device)
        past = 2 * input_ids.shape[1] * (1 - mask_BT.long())  # padding comes last, whichever side it is on and whoever reads
        forward = self._read(self.forwards, vectors_BTP, (at_T + past).argsort(1), mask_BT)
        return forward, self._read(self.backwards, vectors_BTP, (past - at_T).argsort(1), mask_BT)

    def _vectors(self, ids_BT: Tensor) -> Tensor:
        """A batch has many tokens and few different ones: each is spelled once, [B, T, P]."""
        if ids_BT.is_meta:  # how many are different is unknown there
            return self.letters(self.spelling(ids_BT.flatten())).view(*ids_BT.shape, -1)  # type: ignore[no-any-return]
        ids_N, place_BT = torch.unique(ids_BT, return_inverse=True)
        return F.embedding(place_BT, self.letters(self.spelling(ids_N)))

    def _read(self, layers: nn.ModuleList, vectors_BTP: Tensor, order_BT: Tensor, mask_BT: Tensor) -> list[Tensor]:
        """Run a stack in an order of reading and put its outputs back to their tokens."""
        back_BTP = order_BT.argsort(1)[..., None].expand_as(vectors_BTP)
        state_BTP, states = vectors_BTP.gather(1, order_BT[..., None].expand_as(vectors_BTP)), [vectors_BTP]
        for depth, layer in enumerate(layers):
            out_BTP = self.dropout(layer(state_BTP)[0])
            state_BTP = out_BTP + state_BTP if depth else out_BTP
            states.append(state_BTP.gather(1, back_BTP) * mask_BT[..., None])
        return states


class ElmoForPreTraining(_Elmo):
    """Both directions' last layers, one place apart from what they predict, and the softmax layer that both share::

        out = model(input_ids, attention_mask)                              # rows in the tokenizer's order, padding on either side
        there = out.targets >= 0                                            # [2, B, L]; index 0 is forward, 1 backward
        logits = model.get_output_embeddings()(out.hidden[there])           # [items, V], only where there is something to predict
        loss = cross_entropy(logits, out.targets[there])

    The rows' first and last token ([CLS], [SEP] and their like) are predicted too, as the paper's sentence marks are.
    """

    def __init__(self, config: ElmoConfig) -> None:
        super().__init__(config)
        self.elmo = ElmoModel(config)
        self.output = nn.Linear(config.projection, config.vocab_size)
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> ElmoOutput:
        """States and targets of both directions; a place beside padding has no target."""
        mask_BT = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        forward, backward = self.elmo.sides(input_ids, mask_BT)
        there_BL = (mask_BT[:, 1:] * mask_BT[:, :-1]).bool()
        targets_2BL = torch.stack([input_ids[:, 1:], input_ids[:, :-1]]).masked_fill(~there_BL, -100)
        return ElmoOutput(hidden=torch.stack([forward[-1][:, :-1], backward[-1][:, 1:]]), targets=targets_2BL)

    def get_output_embeddings(self) -> nn.Module:
        """The softmax layer, P to V."""
        return self.output


class ElmoForSequenceClassification(MeanClassifier, _Elmo):
    """The mean of the mixture over a text under a linear layer."""

    def __init__(self, config: ElmoConfig) -> None:
        super().__init__(config)
        self.elmo = ElmoModel(config)
        self.add_head()
        self.post_init()


AutoConfig.register(ElmoConfig.model_type, ElmoConfig)
AutoModel.register(ElmoConfig, ElmoModel)
AutoModelForPreTraining.register(ElmoConfig, ElmoForPreTraining)
AutoModelForSequenceClassification.register(ElmoConfig, ElmoForSequenceClassification)
