"""Texts and files labelled by a run, in the form they came in."""

import csv
import io
import itertools
import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from rootstock.core import artifact
from rootstock.core.errors import UsageError
from rootstock.core.rows import CHOICES, PAIR, ROW, TEXT, column
from rootstock.core.watch import Say
from rootstock.data.looks import shorten
from rootstock.report.words import several
from rootstock.run.ending import parquet
from rootstock.run.use import Predictions, Reading, Run

Table = dict[str, Any]
"""Columns by name: those of a file as they came (pa.ChunkedArray), answers as lists."""


@dataclass(frozen=True)
class Labelled:
    """A labelled file. seconds: of tokenising and predicting, the model being loaded."""

    table: Table
    rows: int
    seconds: float
    warning: str


def label_texts(run: Run, texts: Sequence[str], *, pairs: bool = False) -> tuple[Table, str]:
    """Each text (or two in turn, for pairs) with its answer; raises UsageError where there is none.

    Where the run chooses, they are one question, its passage for pairs, and what there is to choose from.
    pairs: two texts in turn belong together, though the run answers single texts as well; UsageError where it does not.
    """
    pair = pairs if run.task.singly else run.recipe.task.get("text_pair") is not None
    if pairs and not pair:
        raise UsageError("found --pairs", wanted="a run on pairs, or one that learned vectors", fix="leave --pairs out")
    if CHOICES in run.task.further:
        return _chosen(run, texts, pair=pair)
    if not texts or (pair and len(texts) % 2):
        raise UsageError(
            f"found {several(len(texts), 'text')}",
            wanted=f"texts two by two{'' if pairs else ': this run learned from pairs'}" if pair else "at least one text, or --file",
            fix=f'rootstock predict {run.path} "a text"' + (' "and its partner"' if pair else "") + (" --pairs" if pairs else ""),
        )
    chosen: list[Any] = list(zip(texts[::2], texts[1::2], strict=True)) if pair else list(texts)
    rows = run.rows_of(chosen)
    made = run.predictions(rows)
    return _texts(rows) | made.table, _warning(made, run)


def _chosen(run: Run, texts: Sequence[str], *, pair: bool) -> tuple[Table, str]:
    if len(texts) < 3 + pair:
        raise UsageError(
            f"found {several(len(texts), 'text')}",
            wanted=f"a question,{' its passage,' if pair else ''} and two or more to choose from, or --file",
            fix=f'rootstock predict {run.path} "a question" {"PASSAGE " * pair}"one answer" "another"',
        )
    rows = run.rows_of([(*texts[: 1 + pair], list(texts[1 + pair :]))])
    made = run.predictions(rows)
    return _texts(rows) | made.table, _warning(made, run)


def label_file(run: Run, path: str, *, reading: Reading | None = None, say: Say = lambda text: None) -> Labelled:
    """Every row of a file with all its columns and its answer, in the file's order.

    An answer's column that the file has already gets a number.
    """
    table, rows, _ = run.read(path, labelled=False, reading=reading, say=say)
    run.model, run.tokenizer  # noqa: B018 - loading is not labelling
    started = time.perf_counter()
    made = run.predictions(rows)
    seconds = time.perf_counter() - started
    held = {name: table.column(name) for name in table.column_names if name != ROW}
    answers = {_free(name, held): values for name, values in made.table.items()}
    return Labelled(held | answers, len(rows), seconds, _warning(made, run))


def label_by_each(paths: Sequence[Path], path: str, *, reading: Reading | None = None, say: Say = lambda text: None) -> Labelled:
    """Every row of a file with its columns and the answer of each run, in columns that begin with the run's name.

    One model is in memory at a time. Raises UsageError where two runs have one name.
    """
    names = [each.resolve().name for each in paths]
    if len(set(names)) < len(names):
        raise UsageError(f"two runs are called {max(names, key=names.count)}", wanted="runs with names of their own", fix="rename a folder")
    table: Table = {}
    made = []
    for name, each in zip(names, paths, strict=True):
        made.append(label_file(Run(each), path, reading=reading, say=say))
        held = {key: values for key, values in made[-1].table.items() if isinstance(values, pa.ChunkedArray)}
        answers = {key: values for key, values in made[-1].table.items() if key not in held}
        table |= held
        table |= {_free(f"{name}.{key}", table): values for key, values in answers.items()}
    return Labelled(table, made[0].rows, sum(each.seconds for each in made), "".join(dict.fromkeys(each.warning for each in made)))


def check_name(out: Path) -> None:
    """Raise UsageError for a file name that tells no format, before anything is computed."""
    if out.suffix.lower() not in _WRITERS or out.is_dir():
        raise UsageError(f"can't write {out}", wanted=f"the name of a file that ends in {', '.join(_WRITERS)}", fix="choose another --out")


def write(table: Table, out: Path) -> None:
    """The table as the file's name says."""
    artifact.write_bytes(out, _WRITERS[out.suffix.lower()](table))


def as_rows(table: Table) -> list[dict[str, Any]]:
    """The table as one object a row."""
    columns = [column.to_pylist() if isinstance(column, pa.ChunkedArray) else column for column in table.values()]
    return [dict(zip(table, values, strict=True)) for values in zip(*columns, strict=True)]


def as_lines(table: Table) -> str:
    """Each answer with its confidence and what was asked, for a person; of a second text its beginning, as it may be a long passage."""
    return "\n".join(
        f"{_plain(row['predicted'])}"
        + (f"\t{row['confidence']:.3f}" if "confidence" in row else "")
        + f"\t{row[TEXT]}"
        + (f"\t{shorten(row[PAIR])}" if PAIR in row else "")
        for row in as_rows(table)
    )


def as_csv(table: Table) -> str:
    """The table as CSV."""
    return _delimited(table, ",").decode().rstrip("\n")


def _free(name: str, taken: Collection[str]) -> str:
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in taken)


def _texts(rows: pa.Table) -> Table:
    return {name: column(rows, name) for name in (TEXT, PAIR) if name in rows.column_names}


def _warning(made: Predictions, run: Run) -> str:
    return f"; {run.spoken_cut(made.cut)}" if made.cut else ""


def _plain(value: Any) -> str:
    """An answer in a cell: names joined, numbers in six digits."""
    return "|".join(map(_plain, value)) if isinstance(value, list) else f"{value:.6g}" if isinstance(value, float) else str(value)


def _as_it_came(value: Any) -> str:
    """A value of the file in a cell, whole; nothing where there is none."""
    return "" if value is None else "|".join(map(str, value)) if isinstance(value, list) else str(value)


def _delimited(table: Table, mark: str) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=mark, lineterminator="\n")
    writer.writerow(table)
    spoken = (
        map(_as_it_came, column.to_pylist()) if isinstance(column, pa.ChunkedArray) else map(_plain, column) for column in table.values()
    )
    writer.writerows(zip(*spoken, strict=True))
    return stream.getvalue().encode()


_WRITERS = {
    ".csv": lambda table: _delimited(table, ","),
    ".tsv": lambda table: _delimited(table, "\t"),
    ".jsonl": lambda table: "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in as_rows(table)).encode(),
    ".parquet": parquet,
}
