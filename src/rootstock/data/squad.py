"""Questions with answers that stand in a passage, as SQuAD writes them: articles of paragraphs of questions, or answers as objects.

Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250 (v1.1) and 2018, https://arxiv.org/abs/1806.03822 (v2: some have no answer).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from rootstock.core.errors import DataError

ANSWERS, STARTS = "answers", "answer_starts"
"""Columns of the answers' texts and of the letters of the passage, 0-based, where they begin: a list each row, empty without answer."""
_SHAPE = '{"data": [{"paragraphs": [{"context": "…", "qas": [{"question": "…", "answers": [{"text": "…", "answer_start": 0}]}]}]}]}'

Row = dict[str, Any]


def is_nested(articles: Any) -> bool:
    """Whether the list under "data" holds articles of paragraphs."""
    return isinstance(articles, list) and bool(articles) and all(isinstance(each, dict) and "paragraphs" in each for each in articles)


def rows(articles: list[Row], name: str) -> list[Row]:
    """A row a question: id, title, context, question, answers, answer_starts. Raises DataError with the place of what is no question."""
    return [row for place, article in enumerate(articles, 1) for row in _article(article, f"{name}, article {place}")]


def _article(article: Row, where: str) -> Iterator[Row]:
    for place, paragraph in enumerate(_list(article, "paragraphs", where), 1):
        here = f"{where}, paragraph {place}"
        context = _field(paragraph, "context", here, str)
        for number, asked in enumerate(_list(paragraph, "qas", here), 1):
            yield {
                "id": str(asked.get("id", "")),
                "title": str(article.get("title", "")),
                "context": context,
                "question": _field(asked, "question", f"{here}, question {number}", str),
                **_answers(asked, f"{here}, question {number}"),
            }


def _answers(asked: Row, where: str) -> Row:
    """What v2 calls impossible has no answer, whatever stands beside it; a question without the key answers is not answered yet."""
    if asked.get("is_impossible"):
        return {ANSWERS: [], STARTS: []}
    if asked.get("answers") is None:
        return {ANSWERS: None, STARTS: None}
    told = _list(asked, "answers", where)
    return {
        ANSWERS: [_field(each, "text", where, str) for each in told],
        STARTS: [_field(each, "answer_start", where, int) for each in told],
    }


def _list(held: Row, key: str, where: str) -> list[Row]:
    found = _field(held, key, where, list)
    if not all(isinstance(each, dict) for each in found):
        raise DataError(f"{where}: {key!r} holds what is no object", wanted=_SHAPE)
    return list(found)


def _field(held: Row, key: str, where: str, kind: type) -> Any:
    value = held.get(key)
    if not isinstance(value, kind):
        raise DataError(f"{where}: {key!r} is {'missing' if value is None else repr(value)[:40]}", wanted=_SHAPE, fix="correct the file")
    return value


def unfolded(table: pa.Table, name: str) -> pa.Table:
    """The table with a column of answers as objects, {text: [], answer_start: []} or a list of {text, answer_start}, as two columns."""
    for place, own in enumerate(table.column_names):
        column = table.column(own)
        if not _holds_answers(column.type):
            continue
        told = [_parted(value, f"{name}, row {row}, column {own!r}") for row, value in enumerate(column.to_pylist(), 1)]
        texts, starts = zip(*told, strict=True)
        held = [pa.array(texts, pa.list_(pa.string())), pa.array(starts, pa.list_(pa.int64()))]
        taken = [each for each in table.column_names if each != own]
        names = [each if each not in taken else f"{each}_2" for each in (own, STARTS)]
        table = table.remove_column(place).add_column(place, names[1], held[1]).add_column(place, names[0], held[0])
        return table
    return table


def _holds_answers(kind: Any) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return pa.types.is_struct(kind) and {field.name for field in kind} >= {"text", "answer_start"}


def _parted(value: Any, where: str) -> tuple[list[str] | None, list[int] | None]:
    """Texts and starts of one row's answers; None for both where they are missing. DataError for an answer without either."""
    if value is None:
        return None, None
    if isinstance(value, Mapping):
        both = [each if isinstance(each, list) else [] if each is None else [each] for each in (value["text"], value["answer_start"])]
    else:
        both = [[each and each[key] for each in value] for key in ("text", "answer_start")]
    texts, starts = both
    if len(texts) != len(starts) or not all(isinstance(each, str) for each in texts) or not all(map(_whole, starts)):
        raise DataError(
            f"{where}: answers are {value!r}"[:200], wanted="a text and a letter, counted from 0, for each", fix="correct the row"
        )
    return texts, [int(each) for each in starts]


def _whole(start: Any) -> bool:
    return isinstance(start, int | float) and float(start).is_integer()
