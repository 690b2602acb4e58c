"""Heads beside a frozen base, which no transformers class holds: a mix of its layers, a hidden layer, the nearest training rows.

They read one vector a row: `SCALE` times the layer-normalised mean over the tokens of the hidden states (or of each layer's, for a mix);
of an image over its places.
What is saved is the head's tensors by name and a JSON file; docs/adapters.md has the lines that load them without Rootstock.

Shape letters: B rows, T tokens, H hidden size, L layers with the embeddings, C classes, N training rows, K neighbours.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rootstock.core import artifact
from rootstock.core.errors import ContractRefused
from rootstock.core.method import Answer, zeroed
from rootstock.methods._inserted import CONFIG, WEIGHTS
from rootstock.methods._pooling import mean
from rootstock.methods._taps import as_read

SCALE = 0.1
"""Of the normalised vectors: that of the features which a grafted mean gives, so that one rate suits both."""
_AT_ONCE = 256
"""Rows whose distances to all training rows are in memory at once."""


class Pooled(nn.Module):
    """A body's hidden states as one vector a row, [B, H]; of every layer, embeddings first, [B, L * H], where they are to be mixed."""

    def __init__(self, model: Any, *, every: bool, first: bool) -> None:
        super().__init__()
        body = model.base_model
        self.body = body.encoder if getattr(model.config, "is_encoder_decoder", False) else body
        self.every, self.first, self.last = every, first, hasattr(model, "score")  # a decoder's text is known at its end

    def forward(self, **batch: Tensor) -> Tensor:
        """Normalised over its H numbers and scaled; of several layers each by itself. Of an image the places stand for tokens."""
        if "pixel_values" in batch:
            return self._of_image(self.body(**as_read(self.body, batch)).last_hidden_state)
        found = self.body(**batch, output_hidden_states=self.every)
        states = found.hidden_states if self.every else (found.last_hidden_state,)
        return torch.cat([self._vector(hidden_BTH, batch["attention_mask"]) for hidden_BTH in states], dim=1)

    def _of_image(self, hidden: Tensor) -> Tensor:
        """The mean over places, be they tokens [B, T, H] or a map [B, H, H', W']; or the first."""
        hidden_BTH = hidden.flatten(2).transpose(1, 2) if hidden.dim() == 4 else hidden
        return self._vector(hidden_BTH, hidden_BTH.new_ones(hidden_BTH.shape[:2]))

    def _vector(self, hidden_BTH: Tensor, mask_BT: Tensor) -> Tensor:
        if not self.first:
            vector_BH = mean(hidden_BTH, mask_BT)
        elif self.last:
            vector_BH = hidden_BTH[torch.arange(len(hidden_BTH), device=hidden_BTH.device), mask_BT.sum(1) - 1].float()
        else:
            vector_BH = hidden_BTH[:, 0].float()
        return SCALE * F.layer_norm(vector_BH, vector_BH.shape[-1:])


class Mix(nn.Module):
    """gamma · Σ softmax(weights)_l · vector_l; it starts as the mean of all layers.

    Peters et al. 2018, https://arxiv.org/abs/1802.05365
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.weights, self.gamma = nn.Parameter(torch.zeros(count)), nn.Parameter(torch.ones(1))

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, L * H] to [B, H]."""
        each_BLH = vectors.view(len(vectors), len(self.weights), -1)
        return self.gamma * torch.einsum("l,blh->bh", self.weights.softmax(0), each_BLH)


def linear(width: int, outputs: int) -> nn.Module:
    """A linear layer that starts at zero."""
    return zeroed(nn.Linear(width, outputs))


def mlp(width: int, outputs: int, *, hidden: int, dropout: float) -> nn.Module:
    """One hidden layer with GELU, and dropout before the last."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, outputs))


class Neighbours(nn.Module):
    """The k nearest training rows vote. Answers are logarithms of shares, with one more vote that is spread over all classes alike.

    several: each class has a vote of its own, and answers are logits of its share.
    """

    def __init__(self, width: int, outputs: int, *, k: int, cosine: bool, several: bool) -> None:
        super().__init__()
        self.k, self.cosine, self.several = k, cosine, several
        # parameters and not buffers: a buffer would be rounded to the number format of the base's products
        self.vectors = nn.Parameter(torch.empty(0, width), requires_grad=False)
        self.classes = nn.Parameter(torch.empty(0, outputs), requires_grad=False)

    def keep(self, vectors_NH: Tensor, classes_NC: Tensor) -> None:
        """Take training rows: vectors, and 1 for each class that a row has."""
        self.vectors.data = (F.normalize(vectors_NH) if self.cosine else vectors_NH).to(self.vectors.device)
        self.classes.data = classes_NC.float().to(self.vectors.device)

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, H] to [B, C]."""
        return torch.cat([self._answers(part_BH) for part_BH in torch.split(vectors, _AT_ONCE)])

    def _answers(self, given_BH: Tensor) -> Tensor:
        if self.cosine:
            near_BN = F.normalize(given_BH) @ self.vectors.T
        else:
            near_BN = 2 * given_BH @ self.vectors.T - self.vectors.square().sum(1)  # the row's own length moves all alike
        k = min(self.k, len(self.vectors))
        chosen_BK = near_BN.sort(dim=1, descending=True, stable=True).indices[:, :k]  # of equals the earlier row, on every machine
        votes_BC = self.classes[chosen_BK].sum(1)
        if not self.several:
            return ((votes_BC + 1 / votes_BC.shape[1]) / (k + 1)).log()
        share_BC = (votes_BC + 0.5) / (k + 1)
        return share_BC.logit()


class OnVectors(nn.Module):
    """A head on cached vectors."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Answer:
        """Answers of cached vectors."""
        return Answer(self.head(features))


class OnFeatures(nn.Module):
    """A frozen base and a head on its features: the whole model. Only the head is saved."""

    def __init__(self, model: Any, body: Pooled, head: nn.Module, facts: Mapping[str, Any]) -> None:
        super().__init__()
        self.body, self.head, self.config, self.facts = body, head, model.config, dict(facts)

    def forward(self, **batch: Tensor) -> Answer:
        """As a classifier of transformers answers."""
        return Answer(self.head(self.body(**batch)))

    def save_pretrained(self, folder: Path) -> None:
        """Write the head's tensors under their names, and the settings that say what they mean."""
        tensors = {f"head.{name}": value.detach().cpu().contiguous() for name, value in self.head.state_dict().items()}
        save_file(tensors, Path(folder) / WEIGHTS, metadata={"format": "pt"})
        artifact.write_json(Path(folder) / CONFIG, self.facts)


def restored(model: OnFeatures, folder: Path) -> OnFeatures:
    """The model with the head that was saved; ContractRefused where the tensors are not just those of such a head."""
    saved, wanted = load_file(folder / WEIGHTS), {f"head.{name}": value for name, value in model.head.named_parameters()}
    free = isinstance(model.head, Neighbours)  # as many training rows as there are
    wrong = sorted(
        name
        for name in {*saved, *wanted}
        if name not in saved or name not in wanted or saved[name].shape[int(free) :] != wanted[name].shape[int(free) :]
    )
    if wrong:
        raise ContractRefused(
            f"{len(wrong)} tensors of the head in {folder} did not find their place, such as {wrong[0]}",
            wanted="the base and the settings that it was trained with",
        )
    for name, parameter in wanted.items():
        parameter.data = saved[name].to(parameter.device)
    return model
