"""What happens to documents on their way into a corpus: one step a file in steps/, each with an account of what it changed and dropped.

A step sees documents in batches, in the order of the sources. What it needs to know of all of them (digests of texts that came before) it
keeps itself, and gives away as arrays so that a build that was killed goes on where it was.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from rootstock.core.settings import Settings

ID, TEXT, LANGUAGE, SOURCE = "id", "text", "language", "source"
"""Columns of documents: id is where in its source a text came from (dump.jsonl.gz:17); language is an ISO 639-1 code, "" while it is not
known; source is the place in the list of sources."""

SCHEMA = pa.schema([(ID, pa.string()), (TEXT, pa.large_string()), (LANGUAGE, pa.string()), (SOURCE, pa.int32())])


@dataclass(frozen=True)
class Applied:
    """What a step did to a batch of N documents.

    texts: all N, changed or not. reasons: N times the rule that drops the document (more about it after ": "), or None where it stays.
    changed: how many changes were made, by kind. languages: all N, where the step found them out.
    """

    texts: Sequence[str]
    reasons: Sequence[str | None]
    changed: Mapping[str, int] = field(default_factory=dict)
    languages: Sequence[str] | None = None


class Step(Settings, ABC):
    """A step of a build. Subclasses are final and live in one file each; their settings are the constructor."""

    rules: ClassVar[tuple[str, ...]] = ()
    """The rules that each document is asked for, where there are several: the record names those that dropped and changed nothing, too."""

    @abstractmethod
    def apply(self, documents: pa.Table) -> Applied:
        """What becomes of a batch of documents (SCHEMA)."""


@runtime_checkable
class Remembering(Protocol):
    """A step that knows something of the documents that came before, and gives it away so that a killed build goes on with it."""

    def new(self) -> np.ndarray:
        """What was learned since this was last asked for."""
        ...

    def load(self, held: np.ndarray, /) -> None:
        """Know this again."""
        ...


@runtime_checkable
class InOrder(Remembering, Protocol):
    """A step whose verdict on a text depends on those before it. Marks are made anywhere; they are settled in the order of the sources."""

    def marks(self, documents: pa.Table) -> np.ndarray:
        """What it needs to know of N documents, [N]."""
        ...

    def settle(self, marks: np.ndarray, /) -> Sequence[str | None]:
        """N times the rule that drops a document, or None where it stays."""
        ...


@runtime_checkable
class Counting(Protocol):
    """A step that counts what it met of files beside the sources."""

    def covers(self) -> dict[str, dict[str, int]]:
        """By file: its rows, those looked for, those found so far."""
        ...


class TextStep(Step):
    """A step that looks at one text at a time."""

    @abstractmethod
    def judge(self, text: str) -> "Judged":
        """What becomes of one text."""

    def apply(self, documents: pa.Table) -> Applied:
        """Each text in turn."""
        before = documents.column(TEXT).to_pylist()
        judged = [self.judge(text) for text in before]
        changed: Counter[str] = Counter()
        for each in judged:
            changed.update(each.changed)
        return Applied([each.text for each in judged], [each.reason for each in judged], dict(changed))


@dataclass(frozen=True)
class Judged:
    """What becomes of one text. reason: the rule that drops it. changed: the kinds of change made to it, each once or with a count."""

    text: str
    reason: str | None = None
    changed: Mapping[str, int] = field(default_factory=dict)
