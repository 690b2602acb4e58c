"""What becomes of documents on their way through the steps, and the engine that does it here, one batch after the other.

An engine decides where the work is done, never what. `look` and `finish` need nothing but a batch: they may run in any process, in any
order. Between them `settle` runs in one process, in the order of the sources, and sees a few bytes of each document.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa

from rootstock.corpus import funnel, pipeline
from rootstock.corpus.minhash import Near, signatures
from rootstock.corpus.pipeline import Stage
from rootstock.corpus.record import Raw, Record
from rootstock.corpus.step import ID, LANGUAGE, SOURCE, TEXT, Applied, InOrder, Remembering, Step

_LIBRARIES = (
    "ftfy",
    "pycld2",
    "trafilatura",
    "markdown-it-py",
    "warcio",
    "phonenumbers",
    "python-stdnum",
    "pyahocorasick",
    "pyarrow",
    "numpy",
)
"""What changes texts or bytes with its version."""

Item = TypeVar("Item", Record, Raw)


@dataclass(frozen=True)
class Batch(Generic[Item]):
    """Records of one source, and where the records after them begin: source and place."""

    source: int
    records: list[Item]
    following: tuple[int, int]


@dataclass(frozen=True)
class Looked:
    """A batch up to the step that needs the order: documents so far, lines of the funnel, and what that step must know of each document."""

    documents: pa.Table
    lines: list[funnel.Line]
    marks: np.ndarray


@dataclass(frozen=True)
class Finished:
    """A batch that passed all steps. arrays: what steps that look across documents need of it, by their names."""

    documents: pa.Table
    lines: list[funnel.Line]
    arrays: dict[str, np.ndarray]


@dataclass(frozen=True)
class Done:
    """A finished batch, and how far the sources were read with it."""

    records: int
    following: tuple[int, int]
    finished: Finished


class Settled(Step):
    """A step whose verdicts are known already."""

    reasons: tuple[str | None, ...]
    """Why each document goes, or None where it stays."""

    def apply(self, documents: pa.Table) -> Applied:
        """As settled."""
        return Applied(documents.column(TEXT).to_pylist(), self.reasons)


@dataclass(frozen=True)
class Steps:
    """All steps of a build, parted at the one that needs the order."""

    before: tuple[Stage, ...]
    ordered: Stage
    after: tuple[Stage, ...]
    near: Near | None

    @classmethod
    def of(cls, stages: Sequence[Stage], near: Near | None) -> "Steps":
        """Part the steps. near: what signatures are made for, if any."""
        place = next(number for number, stage in enumerate(stages) if isinstance(stage.step, InOrder))
        return cls(tuple(stages[:place]), stages[place], tuple(stages[place + 1 :]), near)

    def without_memory(self) -> "Steps":
        """The same for another process: all lists and indexes are made here, so that it needs no file, and it knows no other texts."""
        pipeline.rehearse([*self.before, *self.after])
        for stage in self.after:
            if isinstance(stage.step, Remembering):
                stage.step.apply(pipeline.table({ID: [], TEXT: [], LANGUAGE: [], SOURCE: []}))
        fresh = type(self.ordered.step).build(self.ordered.step.plain(), self.ordered.name)
        return replace(self, ordered=replace(self.ordered, step=fresh))

    def look(self, records: Iterable[Record], source: int) -> Looked:
        """Records through the steps before the one that needs the order."""
        records = list(records)
        whole = [record for record in records if record.text is not None]
        columns: dict[str, list[Any]] = {ID: [record.id for record in whole], TEXT: [record.text for record in whole]}
        columns |= {LANGUAGE: [""] * len(whole), SOURCE: [source] * len(whole)}
        documents, lines = pipeline.through(pipeline.table(columns), self.before)
        return Looked(documents, [_read_line(records), *lines], self._in_order.marks(documents))

    def settle(self, marks: np.ndarray) -> tuple[list[str | None], dict[str, np.ndarray]]:
        """Why each document of a batch goes, and what a build that is resumed must know of the batch."""
        reasons = list(self._in_order.settle(marks))
        return reasons, {self.ordered.name: self._in_order.new()}

    def finish(self, looked: Looked, reasons: Sequence[str | None]) -> Finished:
        """The rest of the way."""
        settled = Stage(self.ordered.name, Settled(reasons=tuple(reasons)))
        documents, lines = pipeline.through(looked.documents, [settled, *self.after])
        arrays = {stage.name: stage.step.new() for stage in self.after if isinstance(stage.step, Remembering)}
        if self.near:
            arrays["signatures"] = signatures(documents.column(TEXT).to_pylist(), self.near)
        return Finished(documents, [*looked.lines, *lines], arrays)

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Know again what an earlier batch left behind."""
        self._in_order.load(arrays[self.ordered.name])
        self.learn(arrays)

    def learn(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Know what a batch that another process finished has found."""
        for stage in self.after:
            if isinstance(stage.step, Remembering):
                stage.step.load(arrays[stage.name])

    @property
    def _in_order(self) -> InOrder:
        if not isinstance(self.ordered.step, InOrder):
            raise TypeError(f"{self.ordered.name} needs no order")
        return self.ordered.step


def local(batches: Iterator[Batch[Record]], steps: Steps) -> Iterator[Done]:
    """Every batch in this process."""
    for batch in batches:
        looked = steps.look(batch.records, batch.source)
        reasons, new = steps.settle(looked.marks)
        finished = steps.finish(looked, reasons)
        yield Done(len(batch.records), batch.following, replace(finished, arrays=finished.arrays | new))


def _read_line(records: Sequence[Record]) -> funnel.Line:
    """What was read, and which records could not be."""
    read = funnel.line("read")
    for record in records:
        funnel.see(read, [record.text or ""])
        if record.broken is not None:
            rule, _, more = record.broken.partition(": ")
            funnel.drop(read, rule, record.id, record.beginning, more=more)
    return read


def libraries() -> dict[str, str]:
    """Versions of this library and of those that do the work: with others the bytes may be others."""
    found = {}
    for name in ("rootstock", *_LIBRARIES):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
