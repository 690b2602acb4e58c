"""What is learned: rows in, labelled batches, a summed loss, and predictions that metrics are made of.

Shape letters: N rows, B rows in a batch, T tokens in a row, C classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from torch import Tensor, nn

from rootstock.core.figures import ERRORS, WORST
from rootstock.core.loaded import Head
from rootstock.core.rows import ALONE, TEACHER, TEACHER_HIDDEN, Columns, Encoded, boxed, spell
from rootstock.core.seed import Draw
from rootstock.core.settings import Settings
from rootstock.core.tally import Tally

Batch = Mapping[str, Tensor]
Kind = Literal["class", "classes", "number", "tags", "span", "choice", "text", "completion", "preference", "similarity", "retrieval"]


@dataclass(frozen=True)
class Loss:
    """A loss that adds up: the loop divides once, after the last micro-batch.

    total: sum over the counted items, shape (). count: how many items were summed.
    """

    total: Tensor
    count: int


class Task(Settings, ABC):
    """What one training learns: what the loop and the methods ask of it. Subclasses of these are final and live in one file each.

    collate and loss run on several cores at once: they keep nothing from one call to the next and ask no global generator.
    """

    @property
    @abstractmethod
    def headline(self) -> tuple[str, ...]:
        """Figures that get an interval; the first is the one that a person quotes."""

    @property
    @abstractmethod
    def chosen_by(self) -> tuple[str, ...]:
        """Figures that decide which state is the best: the first, and where it ties the next."""

    @abstractmethod
    def merit(self, figures: Mapping[str, float]) -> tuple[float, ...]:
        """How good a state with these metrics is by `chosen_by`: larger is better. The best state is kept."""

    @abstractmethod
    def head(self) -> Head:
        """The model class and config that the task needs; called after fit."""

    @abstractmethod
    def collate(self, encoded: Encoded, rows: np.ndarray, tokenizer: Any, draw: Draw) -> Batch:
        """The chosen rows as padded tensors; labels are under "labels". What is random comes from `draw` and the rows' own numbers."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Summed loss of a batch."""

    @property
    def packs(self) -> bool:
        """Whether `collate` lays rows one after the other into lines, as `packing.lines` parts them at the longest row's tokens."""
        return False

    def check(self, model: nn.Module) -> None:
        """Refuse a model that can't carry this task, before anything is spent."""


class Uniform(Task):
    """A task whose rows are all encoded, answered and measured alike: an Objective or a Labelled. decode too runs on several cores."""

    @abstractmethod
    def encode(self, rows: pa.Table, tokenizer: Any, length: int | None) -> Encoded:
        """What a model reads, at most `length` tokens a row unless None."""

    @abstractmethod
    def decode(self, model: nn.Module, batch: Batch) -> Columns:
        """Per-row results of a batch as arrays: what `metrics` is made of."""

    @abstractmethod
    def metrics(self, columns: Columns, names: Collection[str] | None = None) -> dict[str, float]:
        """Figures of columns by their usual names: all, or only `names`. The one path to every number.

        A figure that these rows do not define is left out, never NaN.
        """

    def judged(self, columns: Columns) -> Columns:
        """What `metrics` adds up, a row each, from results with answers. Worked out once, as intervals draw the rows a thousand times."""
        return columns


class Labelled(Uniform):
    """A task whose labels are read from the data. Rows have "scores" and "answers"; decode gives scores [B, C] unless `told` makes them."""

    further: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Columns beyond text, pair and label, each also a setting of its name, and the names by which they are found in a file."""
    called: ClassVar[Mapping[str, tuple[str | frozenset[str], ...]]] = {}
    """Names that text, text_pair and label have in files for this task, without case and punctuation; tried before all others.

    Of a set the one that stands first in the file is meant. No column is taken for two parts.
    """
    parted: ClassVar[bool] = False
    """Whether a row that is too long becomes several pieces instead of being cut."""

    reads: ClassVar[Literal["texts", "images"]] = "texts"
    """What its rows are: of images they have PIXELS, and the file's name as text."""
    together: ClassVar[str | None] = None
    """Column whose equal values stay on one side when rows are held out: two questions on a passage are no two rows."""
    writes: ClassVar[bool] = False
    """Whether its head is the base's own output layer over the vocabulary: then nothing is fresh, and no one vector stands for a text."""

    headless: ClassVar[bool] = False
    """Whether it adds no head: what it learns are the base's own vectors, so that a frozen base has nothing to learn."""
    singly: ClassVar[bool] = False
    """Whether it answers single texts and pairs of texts alike, whatever its rows were."""

    encodes_alike: ClassVar[bool] = False
    """Whether `encode` and `collate` read none of the settings where rows have no labels: rows for many models are encoded in one call."""

    asks_base: ClassVar[bool] = False
    """Whether `reference` of every row is wanted from the untouched base before anything learns."""

    text: str | None = None
    """Column of the text. None: found by name and content."""
    text_pair: str | None = None
    """Column of the second text of a pair. None: found by name, or the task has one text."""
    label: str | None = None
    """Column of the answer. None: found by name and content."""

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """What a row's answer is: a class, several classes, a number, a tag for each word, a span of the text, a choice, a text, how a text
        goes on, which of two is better, how alike two texts are, or which text belongs to one.

        Baselines and charts go by it.
        """

    @classmethod
    @abstractmethod
    def claims(cls, rows: pa.Table) -> float:
        """How well these rows and their labels suit the task, from 0 (not at all) to 1; the best claim wins when the task is auto."""

    @classmethod
    def suits(cls, names: Collection[str]) -> bool:
        """Whether a file with columns of these names (without case and punctuation) is plainly for this task, whatever they hold."""
        return False

    @classmethod
    def arranged(cls, table: pa.Table) -> pa.Table | None:
        """A file's table in columns of this task, where the file's own tell that it is meant for no other; None elsewhere.

        For tasks that put what they read into a form of their own, where `suits` knows a file by its names alone.
        """
        return None

    @property
    def batch_tokens(self) -> int | None:
        """Padded tokens of one update that suit it where the base learns, if those that suit the method do not."""
        return None

    @abstractmethod
    def fit(self, train: pa.Table, validation: pa.Table) -> Self:
        """The same task knowing its label names; raises DataError where the labels can't be learned."""

    def merit(self, figures: Mapping[str, float]) -> tuple[float, ...]:
        """The figures that decide, one after the other; of an error less is better. On few rows many evaluations tie in the first.

        A state that lacks one, as a correlation where all answers are alike, is below all that have it.
        """
        signs = ((name, -1.0 if name in ERRORS else 1.0) for name in self.chosen_by)
        return tuple(sign * figures[name] if name in figures else WORST for name, sign in signs)

    def tally(self, columns: Columns, names: Collection[str]) -> Tally | None:
        """What makes these figures of judged columns by counting rows, where they go by no more: many resamples are then soon measured."""
        return None

    def names(self, label: Any) -> list[str]:
        """The classes that a row's label names; one, unless rows hold several."""
        return [spell(label)]

    def ready(self, tokenizer: Any) -> Any:
        """The tokenizer with what the task needs beside its tokens, such as a chat template: it is saved with the model."""
        return tokenizer

    @abstractmethod
    def answers(self, rows: pa.Table) -> np.ndarray:
        """The true answers in the form that `judged` compares with: class index [N], 0/1 [N, C], number [N], tags [N, W] …."""

    @abstractmethod
    def truth(self, rows: pa.Table) -> list[Any]:
        """The true answers as predictions are written: label names, lists of them, numbers, texts."""

    def agrees(self, said: Any, true: Any) -> bool:
        """Whether an answer, as predictions are written, is the true one."""
        return bool(said == true)

    def spans(self, encoded: Encoded) -> np.ndarray:
        """Tokens of each row's longest sequence, [N], of rows that were not cut: more than a model keeps are cut off."""
        return encoded.lengths

    def told(self, columns: Columns, encoded: Encoded, rows: pa.Table, tokenizer: Any) -> Columns:
        """Results of rows from those of what they were encoded as, where these differ: pieces of a text, tokens of words."""
        return columns

    def compared(self, model: nn.Module, batch: Batch) -> np.ndarray:
        """What a merge must keep of each row, [B] of arrays: raw answers, in which a change shows that no figure would."""
        return boxed(list(model(**inputs(batch)).logits.float().cpu().numpy()))

    def glance(self, model: nn.Module, batch: Batch) -> Columns:
        """As much of `decode` as `chosen_by` needs, for measurements while it learns. decode itself, unless that is dear."""
        return self.decode(model, batch)

    @abstractmethod
    def details(self, columns: Columns) -> dict[str, Any]:
        """What a report draws: per-class table, confusion, calibration …, as JSON."""

    @abstractmethod
    def readable(self, columns: Columns) -> dict[str, list[Any]]:
        """Predictions as a person reads them: label names and their probabilities, one list a column."""

    def rivals(self, train: Encoded, validation: Encoded) -> Mapping[str, Columns]:
        """Baselines that only the task can fit, as it alone knows its tokens: what `judged` takes of the validation rows, by name."""
        return {}

    def reference(self, model: nn.Module, batch: Batch) -> Columns:
        """What the untouched base says of rows, [B] each: computed once, kept, and put beside the rows as dense columns."""
        return {}

    def companions(self, config: Any, length: int) -> dict[str, Any]:
        """JSON files beside the model, by their path in its folder, by which other libraries know what to make of its outputs."""
        return {}

    @property
    def signatures(self) -> dict[str, str]:
        """Of figures that are counted in more than one way: how, as their library says it."""
        return {}

    def settle(self, model: nn.Module, fresh: Collection[str]) -> Self:
        """Put what training kept outside the weights (such as a label's unit) into them; returns the task to go on with."""
        return self


class Scored(Labelled):
    """A task whose loss follows from scores of a row alone: it can be learned from a teacher, and from mixtures of rows."""

    by_token: ClassVar[bool] = False
    """Whether scores are of tokens, so that a teacher must read the very tokens that its student reads."""

    @abstractmethod
    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Raw answers in fp32, [B, ...], of rows with labels or without. Where they are of named labels, these are the last dimension."""

    @abstractmethod
    def losses(self, scores: Tensor, batch: Batch) -> Tensor:
        """Loss of each row by its label, summed over what it counts, [B]."""

    @abstractmethod
    def items(self, batch: Batch) -> Tensor:
        """What the loss counts of each row, [B]."""

    @abstractmethod
    def taught(self, scores: Tensor, wanted: Tensor, temperature: float) -> Tensor:
        """How far scores lie from a teacher's, summed over what the loss counts of each row, [B]; nan in `wanted` is not asked for."""

    def parted_alike(self, theirs: Encoded, own: Encoded) -> bool:
        """Whether each row of one holds what the same row of the other holds: a teacher and its student may part long texts elsewhere."""
        return len(theirs) == len(own)

    def aligned(self, said: np.ndarray, theirs: Encoded, own: Encoded) -> np.ndarray:
        """A teacher's scores of rows as it reads them, `theirs`, put beside the same rows as the student reads them, `own`."""
        return said

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Summed loss of the rows."""
        return Loss(self.losses(self.scores(model, batch), batch).sum(), int(self.items(batch).sum()))


class ByToken(Labelled):
    """A task that writes: its loss is of tokens, so that it can be learned from a teacher over the same vocabulary."""

    @abstractmethod
    def said(self, model: nn.Module, batch: Batch, *, top: int, temperature: float) -> Columns:
        """What a teacher holds likely at each place that is asked: TEACHER, ids and log-probabilities of `top` tokens, [B] of arrays."""

    @abstractmethod
    def heard(self, model: nn.Module, batch: Batch, *, weight: float, temperature: float) -> Loss:
        """Summed loss by the labels and by what the teacher said, at these shares."""


def inputs(batch: Batch) -> dict[str, Tensor]:
    """The batch without its labels and a teacher's answers: what the model's forward takes."""
    return {name: value for name, value in batch.items() if name not in ("labels", TEACHER, TEACHER_HIDDEN, ALONE)}
