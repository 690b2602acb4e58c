"""Shared by tasks on prompts and what follows them: messages of any file, a chat template, and which tokens are asked for.

Shape letters: N rows, T tokens.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from rootstock.core import tokens
from rootstock.core.errors import DataError
from rootstock.core.rows import Ragged

Message = dict[str, str]
PLAIN = (
    "{{ bos_token or cls_token or '' }}"
    "{% for message in messages %}"
    "{{ '### ' + message['role'] + '\\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token or sep_token or '' }}{% endif %}"
    "{{ '\\n\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant\\n' }}{% endif %}"
)
"""For tokenizers without a chat template: "### user", the message on the next lines, a blank line; an answer ends with the end token."""
_ROLES = {"human": "user", "gpt": "assistant", "function_call": "assistant", "observation": "tool", "function_response": "tool"}
"""What sharegpt calls them."""
_FIELDS = (("role", "content"), ("from", "value"))


class Part(NamedTuple):
    """A piece of a row's text, and whether the model is to learn to write it."""

    text: str
    asked: bool


def messages(value: Any) -> list[Message]:
    """The messages of a cell: a list of {role, content} or {from, value}, one such object, or either of them as JSON; none for others.

    None as well where a single one is no text, such as a call of a tool: a chat without it would be another.
    """
    found = [_message(each) for each in _objects(value)]
    return [each for each in found if each] if all(found) else []


def _objects(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        try:
            value = json.loads(value)
        except ValueError:
            return []
    held = [value] if isinstance(value, dict) else value
    return held if isinstance(held, list) and all(isinstance(each, dict) for each in held) else []


def joined(*cells: Any) -> list[Message]:
    """The messages of several cells after each other; none where one of them holds something else."""
    found = [messages(each) for each in cells]
    return [] if any(cell and not held for cell, held in zip(cells, found, strict=True)) else [each for held in found for each in held]


def _message(held: dict[str, Any]) -> Message | None:
    for role, content in _FIELDS:
        text = _text(held.get(content))
        if isinstance(held.get(role), str) and text is not None:
            return {"role": _ROLES.get(held[role], held[role]), "content": text}
    return None


def _text(content: Any) -> str | None:
    """A content as it is, or its parts put together where all of them are texts."""
    if isinstance(content, list) and all(isinstance(each, dict) and isinstance(each.get("text"), str) for each in content):
        return "".join(each["text"] for each in content)
    return content if isinstance(content, str) else None


def holds_messages(column: Any) -> bool:
    """Whether a column's first cell that is not empty holds messages, be they readable or not."""
    held = _objects(next((each for each in column[:100].to_pylist() if each), None))
    return bool(held) and all(any(isinstance(each.get(role), str) and content in each for role, content in _FIELDS) for each in held)


def shown(held: Sequence[Message]) -> str:
    """Messages as a person reads them, and as rows are told apart by."""
    return held[0]["content"] if [each["role"] for each in held] == ["user"] else "\n".join(f"{m['role']}: {m['content']}" for m in held)


def kept(held: Sequence[Message]) -> str:
    """Messages as a cell of a table."""
    return json.dumps(list(held), ensure_ascii=False)


def with_template(tokenizer: Any) -> Any:
    """The tokenizer with a chat template: its own, or the plain one."""
    if not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN
    return tokenizer


def opened(held: Sequence[Message], tokenizer: Any) -> str:
    """A conversation up to where the next answer begins."""
    return _rendered(held, tokenizer, opens=True)


def parts(held: Sequence[Message], tokenizer: Any, *, last: bool = False) -> list[Part]:
    """A conversation in pieces, of which the answers are asked: all of them, or the last alone.

    An answer is what the template puts between the place where it begins and the next message. Where a template writes earlier answers
    otherwise once others follow (some drop thoughts), only the last one is asked.
    """
    whole, found, at = _rendered(held, tokenizer), list[Part](), 0
    for number, message in enumerate(held):
        if message["role"] != "assistant" or (last and number < len(held) - 1):
            continue
        before, after = opened(held[:number], tokenizer), _rendered(held[: number + 1], tokenizer)
        if not whole.startswith(after) or not after.startswith(before) or len(before) < at:
            if number < len(held) - 1:
                continue
            raise DataError(
                "the chat template does not write an answer where its prompt ends",
                wanted="a template whose text with an answer begins with the text that asks for it",
                fix="use the template of another base",
            )
        found += [Part(whole[at : len(before)], False), Part(whole[len(before) : len(after)], True)]
        at = len(after)
    return [each for each in (*found, Part(whole[at:], False)) if each.text]


def _rendered(held: Sequence[Message], tokenizer: Any, *, opens: bool = False) -> str:
    from jinja2 import TemplateError

    try:
        made: str = tokenizer.apply_chat_template(list(held), tokenize=False, add_generation_prompt=opens)
    except TemplateError as error:
        roles = ", ".join(each["role"] for each in held)
        raise DataError(
            f"the chat template refuses these messages ({roles}): {error}",
            wanted="roles and an order that it knows",
            fix="correct the rows",
        ) from None
    return made


def encoded(rows: Sequence[Sequence[Part]], tokenizer: Any, length: int | None, *, wrapped: bool) -> tuple[Ragged, Ragged]:
    """Ids of each row, and which of them are asked (1), at most `length` of a row.

    A token is asked where it begins in a part that is. wrapped: the template's text brings beginning and end; else they are put around it,
    and the end is asked.
    """
    texts = ["".join(part.text for part in row) for row in rows]
    made = tokens.tokenised(tokenizer, texts, add_special_tokens=False, return_offsets_mapping=True)
    first, last = (None, None) if wrapped else (tokens.begin(tokenizer), tokens.end(tokenizer))
    ids, asked = list[np.ndarray](), list[np.ndarray]()
    for row, own, offsets in zip(rows, made["input_ids"], made.get("offset_mapping", ()), strict=True):
        marks_T = _marks(row, np.array([start for start, _ in offsets], dtype=np.int64))
        begins = [] if first is None else [first]
        ends = [last] if last is not None and row and row[-1].asked else []
        around = np.array([*begins, *own, *ends], dtype=np.int32)
        marks_T = np.concatenate([np.zeros(len(begins)), marks_T, np.ones(len(ends))]).astype(np.int8)
        held = cut(marks_T, length, begun=first is not None)
        ids.append(around[held])
        asked.append(marks_T[held])
    return Ragged.of(ids), Ragged.of(asked, np.int8)


def _marks(row: Sequence[Part], starts_T: np.ndarray) -> np.ndarray:
    """Whether each token, by where it begins, is asked: int8 [T]."""
    borders = np.cumsum([len(part.text) for part in row])
    of_T = np.searchsorted(borders, starts_T, side="right").clip(max=max(len(row) - 1, 0))
    return np.array([part.asked for part in row], dtype=np.int8)[of_T] if row else np.zeros(0, np.int8)


def cut(asked_T: np.ndarray, length: int | None, *, begun: bool) -> np.ndarray:
    """Places that are kept of a row: what comes before the first answer loses its beginning, after its first token; then the end goes."""
    places_T = np.arange(len(asked_T))
    if length is None or len(asked_T) <= length:
        return places_T
    head = int(begun)
    answer = int(asked_T.argmax()) if asked_T.any() else len(asked_T)
    drop = min(len(asked_T) - length, max(answer - 1 - head, 0))
    return np.concatenate([places_T[:head], places_T[head + drop :]])[:length]


def arranged(table: pa.Table, **columns: Sequence[str | None]) -> pa.Table:
    """The table with these columns of texts, in the place of any of their names."""
    table = table.drop_columns([name for name in columns if name in table.column_names])
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values, pa.string()))
    return table
