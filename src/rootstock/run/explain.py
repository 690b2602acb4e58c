"""Which tokens an answer rests on: integrated gradients (Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365).

The word embeddings go on a straight line from a text that says nothing (each token but the special ones is the mask token; without one
padding) to the text itself. A token's share is its embedding's way times the mean gradient along the line, so that the shares add up to the
difference of the two scores. How far they miss it is `gap`, which is told: the mean is taken at Gauss-Legendre points, twice as many until
the gap is below 1 % of the difference.

Computed in fp32, also where answers are computed in bf16. Shape letters: K points, T tokens, W words, H width, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from rootstock.core.errors import UnknownName, UsageError
from rootstock.core.rows import PAIR, TEXT, column
from rootstock.core.task import Batch, Scored
from rootstock.run.prepared import device_name
from rootstock.run.use import Run

KINDS = ("class", "classes", "number", "tags")
"""Kinds of answers that have one score to explain."""
POINTS = (16, 32, 64, 128, 256)
CLOSE = 0.01
"""Of the difference: how large a gap may be before more points are taken."""
_BESIDE = 32
"""Points in memory at once."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """target: whose score is explained; the log-odds of a label or tag against all others, or the predicted number.

    tokens, values: each token with its share; special: whether it is one of the tokenizer's own. places: of each which text it is of, its
    first letter and the one behind its last; None for a special token, or where the tokenizer tells none.
    score, baseline: of the text and of the one that says nothing. gap: score - baseline - the sum of values. points: on the line.
    """

    target: str
    tokens: list[str]
    values: list[float]
    special: list[bool]
    places: list[tuple[int, int, int] | None]
    score: float
    baseline: float
    gap: float
    points: int


class Explainer:
    """The model of a run in fp32, and what its answers rest on. Raises UsageError for a run whose answers have no one score."""

    def __init__(self, run: Run) -> None:
        if not isinstance(run.task, Scored) or run.task.kind not in KINDS or run.task.reads != "texts":
            raise UsageError(
                f"{run.path} answers with a {run.task.kind}", wanted="a run that gives labels, a number, or a tag for each word"
            )
        self.run, self.task = run, run.task

    @cached_property
    def model(self) -> nn.Module:
        """In fp32, without gradients of its own."""
        return self.run.load().float().to(device_name()).eval().requires_grad_(False)

    def explain(self, text: str | tuple[str, str], *, target: str | None = None, word: int = 0) -> Explanation:
        """The shares of one text's (or pair's) tokens. target: a label [the likeliest]. word: of a tagger, the one whose tag it is."""
        rows = self.run.rows_of([text])
        encoded = self.task.encode(rows, self.run.tokenizer, self.run.contract["length"])
        made = next(iter(self.run.feed(encoded).micro_batches(np.zeros(1, np.int64))))
        batch = {name: value.to(device_name()) for name, value in made.items()}
        score, chosen = self._score(batch, target, word)
        ids_T = batch["input_ids"][0]
        special = [bool(each) for each in self.run.tokenizer.get_special_tokens_mask(ids_T.tolist(), already_has_special_tokens=True)]
        line = _Line(self.model, batch, self._silent(ids_T, special))
        values_T, ends, points = line.shares(score)
        return Explanation(
            target=chosen,
            tokens=self.run.tokenizer.convert_ids_to_tokens(ids_T.tolist()),
            values=values_T.tolist(),
            special=special,
            places=self._places(self._texts(rows), ids_T.tolist()),
            score=ends[1],
            baseline=ends[0],
            gap=ends[1] - ends[0] - float(values_T.sum()),
            points=points,
        )

    def _score(self, batch: Batch, target: str | None, word: int) -> tuple[Callable[[Batch], Tensor], str]:
        """What is explained as a function of a batch, [K], and what it is called."""
        task: Any = self.task
        with torch.no_grad():
            found = task.scores(self.model, batch)
        if task.kind == "number":
            return lambda many: task.scores(self.model, many)[:, 0], "the number"
        if task.kind == "tags":
            if not 0 <= word < found.shape[1] or found[0, word].isnan().any():
                raise UsageError(f"there is no word {word}", wanted=f"a word from 0 to {found.shape[1] - 1} that was not cut off")
            found = found[:, word]
        if target is not None and target not in task.labels:
            raise UnknownName("label", target, task.labels)
        place = int(found[0].argmax()) if target is None else task.labels.index(target)

        def score(many: Batch) -> Tensor:
            scores_KC: Tensor = task.scores(self.model, many)
            scores_KC = scores_KC[:, word] if task.kind == "tags" else scores_KC
            chosen_K = scores_KC[:, place]
            if task.kind == "classes":
                return chosen_K
            others_C = [each for each in range(scores_KC.shape[1]) if each != place]
            return chosen_K - scores_KC[:, others_C].logsumexp(1)

        return score, str(task.labels[place])

    def _silent(self, ids_T: Tensor, special: list[bool]) -> Tensor:
        """The ids of a text that says nothing: as long, with the same special tokens."""
        tokens = self.run.tokenizer
        nothing = tokens.mask_token_id if tokens.mask_token_id is not None else tokens.pad_token_id
        return torch.where(torch.tensor(special, device=ids_T.device), ids_T, nothing)

    def _texts(self, rows: pa.Table) -> list[str]:
        """What the tokenizer reads: the texts, or a tagger's words with a blank between."""
        if self.task.kind == "tags":
            return [" ".join(self.run.predictions(rows).table["words"][0])]
        return [column(rows, name)[0] for name in (TEXT, PAIR) if name in rows.column_names]

    def _places(self, texts: list[str], ids: list[int]) -> list[tuple[int, int, int] | None]:
        """Where each token stands; nowhere, where the tokenizer reads the texts otherwise than the task."""
        made = self.run.tokenizer(*texts, return_offsets_mapping=True, verbose=False)
        found = [None if text is None else (text, *span) for text, span in zip(made.sequence_ids(), made["offset_mapping"], strict=True)]
        return found[: len(ids)] if list(made["input_ids"])[: len(ids) - 1] == ids[:-1] else [None] * len(ids)


class _Line:
    """The straight line between two texts in the space of word embeddings. Raises UsageError where the model does not read them once."""

    def __init__(self, model: nn.Module, batch: Batch, silent_T: Tensor) -> None:
        self.batch, self.layer = batch, model.get_input_embeddings()  # type: ignore[operator]  # transformers is untyped here
        with torch.no_grad():
            self.ends = [self.layer(ids_T).float() for ids_T in (silent_T, batch["input_ids"][0])]

    def shares(self, score: Callable[[Batch], Tensor]) -> tuple[np.ndarray, tuple[float, float], int]:
        """Each token's share [T], the scores at both ends, and how many points were taken."""
        with torch.no_grad():
            ends = [float(self._at(score, torch.tensor([at]))[0][0]) for at in (0.0, 1.0)]
        for points in POINTS:
            nodes, weights = np.polynomial.legendre.leggauss(points)
            mean_TH = self._mean(score, torch.tensor((nodes + 1) / 2), torch.tensor(weights / 2))
            values_T = (mean_TH * (self.ends[1] - self.ends[0]).double()).sum(1).cpu().numpy()
            if abs(ends[1] - ends[0] - values_T.sum()) <= max(CLOSE * abs(ends[1] - ends[0]), 1e-4):
                break
        return values_T, (ends[0], ends[1]), points

    def _mean(self, score: Callable[[Batch], Tensor], at_K: Tensor, weights_K: Tensor) -> Tensor:
        """The mean gradient along the line, [T, H]."""
        total_TH = torch.zeros_like(self.ends[0], dtype=torch.float64)
        for at, weights in zip(torch.split(at_K, _BESIDE), torch.split(weights_K, _BESIDE), strict=True):
            with torch.enable_grad():
                scores_K, path_KTH = self._at(score, at)
                slopes_KTH = torch.autograd.grad(scores_K.sum(), path_KTH)[0]
            total_TH += (slopes_KTH.double() * weights.to(total_TH.device)[:, None, None]).sum(0)
        return total_TH

    def _at(self, score: Callable[[Batch], Tensor], at_K: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of points on the line, [K], and the embeddings that they are of."""
        start_TH, end_TH = self.ends
        path_KTH: Tensor = (start_TH + at_K.to(start_TH)[:, None, None] * (end_TH - start_TH)).requires_grad_(torch.is_grad_enabled())
        many = {name: value.expand(len(at_K), *value.shape[1:]) for name, value in self.batch.items()}
        read = []

        def instead(*_: Any) -> Tensor:
            read.append(1)
            return path_KTH

        hook = self.layer.register_forward_hook(instead)
        try:
            scores_K = score(many)
        finally:
            hook.remove()
        if len(read) != 1:
            raise UsageError(f"the model reads its word embeddings {len(read)} times", wanted="once", fix="explain a run on another base")
        return scores_K, path_KTH
