"""Give texts vectors whose cosines say how alike the texts are (sentence embeddings).

Prefer regression or text-classification where two texts are only ever judged together: they read both at once and go further. This one
suits search, clustering and looking for duplicates, where each text is read once. Needs pairs (anchor, positive), triplets (a column
negative as well, or several), or two texts and a number that says how alike they are. Contrastive-text learns it without labels.
Negatives are the other rows' texts: Henderson et al. 2017, https://arxiv.org/abs/1705.00652; scores: https://kexue.fm/archives/8847
(CoSENT); nested dimensions: Kusupati et al. 2022, https://arxiv.org/abs/2205.13147

Shape letters: N rows, B rows in a batch, V texts of a row, T tokens, H width, C candidates.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field, PrivateAttr
from torch import Tensor, nn

from rootstock.core.coupled import Coupled
from rootstock.core.errors import BaseError, DataError, RecipeError
from rootstock.core.loaded import Head
from rootstock.core.rows import LABEL, NEGATIVE, PAIR, ROW, TEXT, Columns, Encoded, Ragged, boxed, column, raw, spell
from rootstock.core.seed import Draw
from rootstock.core.tally import Tally, mean, tally
from rootstock.core.task import Batch, Kind, Labelled, Loss
from rootstock.tasks import _retrieval, _scores, _text, _vectors, _vocabulary

_SCORED = ("spearman", "pearson")
_NUMBERS = ("score", "similarity", "similarityscore", "relatedness", "relevance", "label", "rating", "quality")
_SECOND = ("sentence2", "text2", "question2", "2string", "s2")
_IDS = ("input_ids", "pair_ids", "negative_ids")


class Embedding(Coupled, Labelled):
    """A row's positive is to be nearer to its anchor than all other texts of the update; or cosines are to go with scores."""

    further: ClassVar[Mapping[str, tuple[str, ...]]] = {NEGATIVE: (NEGATIVE, "negatives", "hardnegative", "hardnegatives")}
    called: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text": ("anchor", "query", "question", "sentence1", "text1", "question1", "1string", "premise", "s1", "sentence", "text"),
        "text_pair": (*_SECOND, "hypothesis", "passage", "document", "answer", "textpair"),
        "label": ("positive", *_NUMBERS, "answer", "passage", "document", "response", "paraphrase", *_SECOND),
    }
    headless: ClassVar[bool] = True
    singly: ClassVar[bool] = True

    form: Literal["auto", "pairs", "triplets", "scores"] = "auto"
    """What rows are. auto: scores where there are two texts and a number; else triplets where there is a column of negatives."""
    negative: str | None = None
    """Column of texts that look right and are wrong, or several columns with commas between. None: found by name."""
    criterion: Literal["auto", "ranking", "cosent", "cosine"] = "auto"
    """ranking: cross-entropy of the positive among all texts of the update (multiple negatives). Scores: cosent asks for the right order of
    the cosines, cosine for the scores themselves, brought to 0 … 1 (squared error). auto: ranking, and cosent for scores."""
    temperature: float = Field(default=0.05, gt=0)
    """What cosines are divided by; 0.05 is a scale of 20. Smaller looks at the nearest negatives only."""
    symmetric: Literal["yes", "no"] = "no"
    """Whether a positive's anchor is looked for among all anchors as well; for pairs whose texts are of one kind, such as paraphrases."""
    pool: _vectors.Pool = "mean"
    """Which vector stands for a text: the mean over its tokens, or the first or last token's, as the base was trained (bge: cls)."""
    dimensions: tuple[int, ...] = ()
    """Shorter vectors that are learned as well (Matryoshka): the first numbers alone, such as [256, 128, 64]. The losses are summed."""

    _range: tuple[float, float] = PrivateAttr((0.0, 1.0))

    @property
    def kind(self) -> Kind:
        """How alike two texts are, or which text belongs to one."""
        return "similarity" if self.form == "scores" else "retrieval"

    @property
    def headline(self) -> tuple[str, ...]:
        """Rank agreement with scores; else nDCG first. Of each shorter vector its first figure."""
        if self.form == "scores":
            figures: tuple[str, ...] = _SCORED
        else:
            figures = ("ndcg@10", "mrr@10", "accuracy@1", "recall@10", *(["triplet_accuracy"] if self.form == "triplets" else []))
        return (*figures, *(f"dim{size}_{figures[0]}" for size in self.dimensions))

    @property
    def chosen_by(self) -> tuple[str, ...]:
        """The first two headline figures."""
        return self.headline[:2]

    @property
    def batch_tokens(self) -> int | None:
        """A row's negatives are the others of its update: some hundred of them. Scores want none."""
        return None if self.form == "scores" else 4096

    @classmethod
    def claims(cls, rows: pa.Table) -> float:
        """Nothing: two texts and a number may be for regression as well."""
        return 0.0

    @classmethod
    def suits(cls, names: Collection[str]) -> bool:
        """Columns anchor and positive are for nothing else."""
        return {"anchor", "positive"} <= set(names)

    def fit(self, train: pa.Table, validation: pa.Table) -> Self:
        """Settle form, loss and the scores' range; DataError for rows that lack a part, RecipeError for a loss of another form."""
        if not len(train):
            raise DataError("there is no training row", wanted="an anchor and its positive, or two texts and a score")
        found = "scores" if PAIR in train.column_names else "triplets" if NEGATIVE in train.column_names else "pairs"
        if self.form not in ("auto", found):
            wanted = {"scores": "two texts and a score", "triplets": "a column of negatives", "pairs": "two texts and nothing else"}
            raise DataError(f"task.form is {self.form}, and the rows are {found}", wanted=wanted[self.form], fix=_NAME)
        usual = "cosent" if found == "scores" else "ranking"
        if (self.criterion == "ranking") != (usual == "ranking") and self.criterion != "auto":
            fits = "cosent or cosine" if found == "scores" else "ranking"
            raise RecipeError(f"task.criterion is {self.criterion}, and the rows are {found}", wanted=fits, fix="leave task.criterion out")
        made = self.model_copy(update={"form": found, "criterion": usual if self.criterion == "auto" else self.criterion})
        for rows in (train, validation):
            made._check(rows)
        if found == "scores":
            values = made.answers(train)
            made._range = float(values.min()), float(values.max())
            if made._range[0] == made._range[1]:
                raise DataError(f"every score is {values[0]:g}", wanted="scores that differ", fix=f"{_NAME}; or keep the right pairs only")
        return made

    def _check(self, rows: pa.Table) -> None:
        """Raise DataError for the first row that lacks a part."""
        if self.form == "scores":
            self.answers(rows)
            return
        if len(rows) and _text.numbers([value for value in column(rows, LABEL) if value != ""]) is not None:
            raise DataError(
                f"the positives are numbers, such as {column(rows, LABEL)[0]!r}", wanted="texts that belong to the anchors", fix=_NAME
            )
        wanted = max(map(len, _negatives(rows)), default=0) if NEGATIVE in rows.column_names else 0
        for text, negatives, row in zip(self.truth(rows), _negatives(rows), column(rows, ROW), strict=True):
            if not text.strip() or len(negatives) < max(wanted, self.form == "triplets" and NEGATIVE in rows.column_names):
                lack = "no positive" if not text.strip() else f"{len(negatives)} of {max(wanted, 1)} negatives"
                raise DataError(f"row {row} has {lack}", wanted="all parts in every row", fix="fill or remove the row")

    def head(self) -> Head:
        """The base alone."""
        return Head(auto="AutoModel")

    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """Ids of every text of a row, each on its own. Labels: scores [N], or for rows with positives a number for each text [N, V]."""
        held = dict(self._tokens(rows, tokenizer, length))
        longest_N = np.max([each.lengths for each in held.values()], axis=0)
        dense = {}
        if LABEL in rows.column_names:
            dense["labels"] = self.answers(rows) if self.form == "scores" else _numbered(held)
        return Encoded(held, dense, len(held) * longest_N)

    def _tokens(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Iterator[tuple[str, Ragged]]:
        texts = [column(rows, TEXT)]
        if self.form == "scores" or LABEL not in rows.column_names:
            texts += [column(rows, PAIR)] if PAIR in rows.column_names else []
        else:
            self._check(rows)  # of rows that were not trained on as well
            texts += [self.truth(rows), *(list(each) for each in zip(*_negatives(rows), strict=True))]
        blank = tokenizer("")["input_ids"] or [tokenizer.pad_token_id]
        for number, each in enumerate(texts):
            name = _IDS[min(number, 2)] + (f"_{number - 1}" if number > 2 else "")
            yield name, Ragged.of([ids or blank for ids in _vectors.cut(each, tokenizer, length)])

    def spans(self, encoded: Encoded) -> np.ndarray:
        """Of the longest of a row's texts."""
        found: np.ndarray = encoded.lengths // len(encoded.tokens)
        return found

    def answers(self, rows: pa.Table) -> np.ndarray:
        """Scores [N] as float32; or the positives, [N] of texts."""
        if self.form != "scores":
            return boxed(self.truth(rows))
        for value, row in zip(column(rows, LABEL), column(rows, ROW), strict=True):
            if _text.numbers([value]) is None:
                raise DataError(f"row {row}: the score {value!r} is no finite number", wanted="a number in every row", fix=_NAME)
        return np.array(_text.numbers(column(rows, LABEL)), np.float32)

    def truth(self, rows: pa.Table) -> list[Any]:
        """Scores, or positives, as they came."""
        return [float(value) if self.form == "scores" else spell(value) for value in column(rows, LABEL)]

    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """Ids and mask of every text, [B, V, T]."""
        ids_BVT, mask_BVT = _vectors.side_by_side(encoded, list(encoded.tokens), rows, tokenizer.pad_token_id)
        made = {"input_ids": torch.from_numpy(ids_BVT), "attention_mask": torch.from_numpy(mask_BVT.astype(np.int64))}
        return made | {name: torch.from_numpy(values[rows]) for name, values in encoded.dense.items()}

    def embed(self, model: nn.Module, batch: Batch) -> Tensor:
        """Vectors of every text, [B, V, H]."""
        return _vectors.embedded(model, batch, self.pool)

    def couple(self, model: nn.Module, vectors_BVH: Tensor, labels: Tensor | None = None) -> Loss:
        """The loss of the whole vectors and of each shorter one, summed over these and over rows."""
        assert labels is not None, "rows without labels teach nothing"
        sizes = (vectors_BVH.shape[-1], *self.dimensions)
        losses = [self._lost(_vectors.unit(vectors_BVH[..., :size]), labels) for size in sizes]
        return Loss(torch.stack(losses).sum(), len(vectors_BVH))

    def _lost(self, units_NVH: Tensor, labels: Tensor) -> Tensor:
        if self.criterion == "ranking" or (self.criterion == "auto" and self.form != "scores"):
            return self._ranked(units_NVH, labels)
        cosines_N = (units_NVH[:, 0] * units_NVH[:, 1]).sum(-1)
        if self.criterion == "cosine":
            low, high = self._range
            return (cosines_N - (labels - low) / (high - low)).square().sum()
        wrong_NN = (cosines_N[:, None] - cosines_N[None]) / self.temperature
        asked_NN = wrong_NN[labels[:, None] < labels[None]]
        return len(cosines_N) * torch.cat([asked_NN.new_zeros(1), asked_NN]).logsumexp(0)

    def _ranked(self, units_NVH: Tensor, ids_NV: Tensor) -> Tensor:
        """Cross-entropy of each row's positive among all of them and all negatives, without its anchor and what equal anchors have."""
        candidates_CH, known_C = units_NVH[:, 1:].transpose(0, 1).flatten(0, 1), ids_NV[:, 1:].T.flatten()
        anchors_N, own_N = ids_NV[:, 0], ids_NV[:, 1]
        right_NC = (anchors_N == anchors_N[:, None]).float() @ (known_C == own_N[:, None]).float() > 0
        alike_NC = right_NC | (known_C == anchors_N[:, None])
        losses_N, _ = _vectors.told_apart(units_NVH[:, 0] @ candidates_CH.T / self.temperature, alike_NC)
        if self.symmetric == "no":
            return losses_N.sum()
        back_NN = units_NVH[:, 1] @ units_NVH[:, 0].T / self.temperature
        others_N, _ = _vectors.told_apart(back_NN, alike_NC[:, : len(ids_NV)].T)
        return (losses_N + others_N).sum() / 2

    @torch.no_grad()
    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """Vectors of length 1 of every text, [B, V, H]: which is the nearest shows beside all others only."""
        return {"vectors": _vectors.unit(self.embed(model, batch)).cpu().numpy()}

    def told(self, columns: Columns, encoded: Encoded, rows: pa.Table, tokenizer: Any) -> Columns:
        """Cosines of two texts; of rows with positives their ranks among all of these; of texts alone their vectors."""
        vectors_NVH = columns["vectors"]
        if self.form != "scores" and LABEL in rows.column_names:
            return self._ranks(vectors_NVH, encoded.dense["labels"], rows)
        if vectors_NVH.shape[1] == 1:
            return {"vectors": vectors_NVH[:, 0]}
        units = {_name("scores", size): _retrieval.unit(vectors_NVH[..., :size]) for size in (None, *self.dimensions)}
        return {name: (each[:, 0] * each[:, 1]).sum(-1, keepdims=True) for name, each in units.items()}

    def _ranks(self, vectors_NVH: np.ndarray, ids_NV: np.ndarray, rows: pa.Table) -> dict[str, np.ndarray]:
        searched = _retrieval.pool(ids_NV)
        whole = _retrieval.by_cosine(vectors_NVH, searched)
        texts = [self.truth(rows), *(list(each) for each in zip(*_negatives(rows), strict=True))]
        nearest = [texts[place % len(texts)][place // len(texts)] for place in whole.nearest.tolist()]
        found = {"rank": whole.rank, "nearest": boxed(nearest), "similarity": whole.similarity}
        found |= {_name("rank", size): _retrieval.by_cosine(vectors_NVH, searched, size).rank for size in self.dimensions}
        if len(texts) > 1:
            near_NV = (vectors_NVH[:, :1] * vectors_NVH[:, 1:]).sum(-1)
            found["closer"] = (near_NV[:, 0] > near_NV[:, 1:].max(1)).astype(np.float64)
        return found

    def judged(self, columns: Columns) -> Columns:
        """Cosines and scores, or ranks: of the whole vectors and of each shorter one."""
        start = ("scores", "answers") if self.form == "scores" else ("rank", "closer")
        return {name: values for name, values in columns.items() if name.startswith(start)}

    def metrics(self, columns: Columns, names: Collection[str] | None = None) -> dict[str, float]:
        """Spearman and Pearson of cosines and scores; or nDCG, MRR, accuracy and recall at ranks, and of triplets the positive's lead."""
        held = self._figures(columns)
        made = self._tally(columns, held, [name for name in held if names is None or name in names])
        return made.whole() if made else {}

    def tally(self, columns: Columns, names: Collection[str]) -> Tally | None:
        """All of them."""
        return self._tally(columns, self._figures(columns), names)

    def _tally(self, columns: Columns, figures: _scores.OfCounts, names: Collection[str]) -> Tally | None:
        return tally(names, figures, lambda counts_RN: counts_RN, rows=len(next(iter(columns.values()), ())))

    def _figures(self, columns: Columns) -> _scores.OfCounts:
        """Of the whole vectors, of each shorter one, and of triplets."""
        found: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
        for size in (None, *self.dimensions):
            start = f"dim{size}_" if size else ""
            made: _scores.OfCounts = {}
            if (scores := columns.get(_name("scores", size))) is not None:
                made = _scores.number_figures(scores, columns["answers"], _SCORED)
            elif (rank_N := columns.get(_name("rank", size))) is not None:
                made = {name: partial(mean, values_N=gained(rank_N)) for name, gained in _retrieval.FIGURES.items()}
            found |= {f"{start}{name}": each for name, each in made.items()}
        if len(closer_N := columns.get("closer", ())):
            found["triplet_accuracy"] = partial(mean, values_N=np.asarray(closer_N))
        return found

    def rivals(self, train: Encoded, validation: Encoded) -> Mapping[str, Columns]:
        """What counting words gives: cosines of TF-IDF, weighed by the validation texts alone."""
        tokens = list(validation.tokens.values())
        if self.form != "scores":
            return {"tfidf": {"rank": _retrieval.by_words(tokens, _retrieval.pool(validation.dense["labels"]))}}
        first, second = _retrieval.weighed_words(tokens)
        scores_N1 = np.asarray(first.multiply(second).sum(1), np.float32)
        return {"tfidf": {"scores": scores_N1, "answers": validation.dense["labels"]}}

    def details(self, columns: Columns) -> dict[str, Any]:
        """Nothing to draw."""
        return {}

    def readable(self, columns: Columns) -> dict[str, list[Any]]:
        """A text's vector; the cosine of two; where a positive is known, the nearest text, its cosine, and the rank of the right one."""
        if "vectors" in columns:
            return {"predicted": columns["vectors"].tolist()}
        if "rank" in columns:
            held = {"predicted": "nearest", "confidence": "similarity", "rank": "rank"}
            return {name: columns[each].tolist() for name, each in held.items()}
        return {"similarity" if "answers" in columns else "predicted": columns["scores"][:, 0].tolist()}

    def compared(self, model: nn.Module, batch: Batch) -> np.ndarray:
        """The vectors of each row, of length 1."""
        return boxed(list(self.decode(model, batch)["vectors"].reshape(len(batch["input_ids"]), -1)))

    def companions(self, config: Any, length: int) -> dict[str, Any]:
        """What sentence-transformers wants beside the model to give the same vectors."""
        return _vectors.companions(int(config.hidden_size), length, self.pool)

    def check(self, model: nn.Module) -> None:
        """Refuse a model that gives no vectors of tokens, a pool that sees one token, and dimensions that it has not."""
        _vectors.check(model, self.pool)
        width = int(_vocabulary.plain_model(model).config.hidden_size)
        if any(not 0 < size < width for size in self.dimensions):
            sizes = ", ".join(map(str, self.dimensions))
            raise BaseError(f"task.dimensions is {sizes}", wanted=f"numbers from 1 to {width - 1}", fix="correct task.dimensions")


_NAME = "name the columns: --text, --label for the positive; or --text, --text-pair, and --label for the score"


def _name(column: str, size: int | None) -> str:
    """A column of results of the whole vectors, or of their first numbers."""
    return f"{column}_{size}" if size else column


def _negatives(rows: pa.Table) -> list[list[str]]:
    """The negatives of each row."""
    if NEGATIVE not in rows.column_names:
        return [[] for _ in range(len(rows))]
    held = [each if isinstance(each, list) else [each] for each in column(rows, NEGATIVE)]
    return [[str(text) for text in each if text is not None and str(text).strip()] for each in held]


def _numbered(tokens: Mapping[str, Ragged]) -> np.ndarray:
    """A number for each text, the same for equal ones, int64 [N, V]."""
    columns = [[_digest(each.flat[start:end]) for start, end in pairwise(each.offsets)] for each in tokens.values()]
    return np.stack([np.frombuffer(b"".join(digests), np.int64) for digests in columns], axis=1)


def _digest(ids_T: np.ndarray) -> bytes:
    return hashlib.blake2b(raw(ids_T), digest_size=8).digest()
