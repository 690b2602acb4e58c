"""Documents to learn from without labels: which part is held out, how corpora are mixed, and the account of it.

Shape letters: N rows, S corpora, M rows of an epoch, in which one may come several times.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import chain, count, islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rootstock.core import tokens
from rootstock.core.errors import RecipeError
from rootstock.core.rows import DOCUMENT, ENDS, SOURCE, TEXT, column
from rootstock.data.ledger import finding, lengths_of
from rootstock.data.looks import shorten

PART_LETTERS = 8_000
"""A long document is held out by parts of about so many letters at most, or a corpus of few books could not be measured on."""
_FEWEST_PARTS, _LEAST_LETTERS = 40, 200
"""A small corpus is cut into so many parts, unless they would be shorter than this."""
_CHUNK = 4096
_SPENT = "with too few tokens"
"""Why a text is left out of which no row was made."""
_EXAMPLES = 3
_COLUMNS = {TEXT: pa.large_string(), SOURCE: pa.int16(), DOCUMENT: pa.int32(), ENDS: pa.bool_()}
_NOTHING = 1e-9
"""Of a corpus: shares are sums of fractions, and what is proportional must not come out as a row more."""
_BORDER = re.compile(r"\n\s*\n|\n")


def parts(text: str, size: int = PART_LETTERS) -> Iterator[str]:
    """A document in consecutive parts of `size` letters or more that end with a line. Joined they are the document."""
    start = 0
    while len(text) - start > 1.5 * size:
        border = _BORDER.search(text, start + size)
        if border is None:
            break
        yield text[start : border.end()]
        start = border.end()
    yield text[start:]


def read(corpora: Sequence[Iterable[str]]) -> pa.Table:
    """All documents in parts, each [N]: text, the number of the corpus and of the document, and whether the document ends with it."""
    number = count()
    whole = list(_tables((text, source, next(number), True) for source, documents in enumerate(corpora) for text in documents))
    letters = sum(pc.sum(pc.utf8_length(each.column(TEXT))).as_py() for each in whole)
    size = max(_LEAST_LETTERS, min(PART_LETTERS, letters // _FEWEST_PARTS))
    whole.reverse()  # each is let go before the next is read
    read = (row for _ in range(len(whole)) for row in _rows(whole.pop()))
    made = _tables((part, *told, last) for text, *told, _ in read for part, last in _ended(text, size))
    return pa.concat_tables([_table([()] * len(_COLUMNS)), *made])


def _ended(text: str, size: int) -> Iterator[tuple[str, bool]]:
    """The parts of a document that are not blank, and which of them is the last."""
    made = [part for part in parts(text, size) if part.strip()]
    return zip(made, [*[False] * (len(made) - 1), True], strict=False)


def _rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """One row after the other."""
    return zip(*(chain.from_iterable(chunk.to_pylist() for chunk in table.column(name).chunks) for name in _COLUMNS), strict=True)


def _tables(rows: Iterable[tuple[Any, ...]]) -> Iterator[pa.Table]:
    """Rows as tables, with few of them as Python strings at a time."""
    held = iter(rows)
    while some := list(islice(held, _CHUNK)):
        yield _table(list(zip(*some, strict=True)))


def _table(columns: Sequence[Sequence[Any]]) -> pa.Table:
    return pa.table({name: pa.array(values, kind) for (name, kind), values in zip(_COLUMNS.items(), columns, strict=True)})


def digests(rows: pa.Table) -> np.ndarray:
    """64 bits of each row's text, blanks and case aside, [N]."""
    made = bytearray()
    for chunk in rows.column(TEXT).chunks:
        for text in chunk.to_pylist():
            made += blake2b(" ".join(text.casefold().split()).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.frombuffer(bytes(made), dtype=np.uint64)


def held_out(digest_N: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which rows are for measuring, [N] of bool: about `share` and at least one text. The text alone decides, so copies stay together."""
    salt = np.frombuffer(blake2b(str(seed).encode(), digest_size=8).digest(), dtype=np.uint64)[0]
    place_N = ((digest_N ^ salt) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(11)) * 2.0**-53
    chosen_N: np.ndarray = place_N < share
    return chosen_N if chosen_N.any() or not len(place_N) else place_N == place_N.min()


def check_mix(mix: str | float | tuple[float, ...], count: int, of: str = "corpus") -> None:
    """Raises RecipeError where there is not one weight for each of so many. of: what a person calls one."""
    if isinstance(mix, tuple) and len(mix) != count:
        raise RecipeError(f"data.mix gives {len(mix)} weights", wanted=f"{count}, one for each {of}", fix="correct --mix")


def shares(mix: str | float | tuple[float, ...], tokens_S: np.ndarray) -> np.ndarray:
    """Share of each corpus in what is learned from, [S]; they add up to 1. tokens_S: what each of them holds.

    proportional: as large as they are. equal: all alike. A number T: sizes to the power 1/T (1 is proportional, larger is flatter;
    Conneau et al. 2020, arXiv:1911.02116, with alpha = 1/T). Numbers: these weights. Raises RecipeError where they do not fit.
    """
    check_mix(mix, len(tokens_S))
    if isinstance(mix, tuple):
        weights_S = np.asarray(mix, dtype=np.float64) * (tokens_S > 0)
    else:
        power = {"proportional": 1.0, "equal": 0.0}[mix] if isinstance(mix, str) else 1.0 / mix
        weights_S = np.where(tokens_S > 0, np.maximum(tokens_S, 1).astype(np.float64) ** power, 0.0)
    if not weights_S.any():
        raise RecipeError(
            f"data.mix is {mix}, and the corpora with a weight hold no text to learn from",
            wanted="text where there is weight",
            fix="correct --mix",
        )
    return np.asarray(weights_S / weights_S.sum())


def mixed(source_N: np.ndarray, lengths_N: np.ndarray, shares_S: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """The rows of one epoch in random order, round by round: as many tokens as all rows have, each corpus with its share of them.

    A corpus that has less than its share is repeated, the rest drawn without replacement; none is repeated where all are proportional.
    A row comes at most once in a round, and the rows of each corpus are spread over all rounds.
    """
    wanted_S = shares_S * lengths_N.sum()
    turns = [
        turn
        for number, wanted in enumerate(wanted_S)
        for turn in enumerate(_turns(np.flatnonzero(source_N == number), lengths_N, wanted, rng))
    ]
    rows_M = np.concatenate([rows for _, rows in turns])
    turn_M = np.repeat([turn for turn, _ in turns], [len(rows) for _, rows in turns])
    order, rounds = rng.permutation(len(rows_M)), int(turn_M.max(initial=0)) + 1
    first_N = rng.integers(rounds, size=len(source_N)) if rounds > 1 else np.zeros(len(source_N), np.int64)
    round_M = ((first_N[rows_M] + turn_M) % rounds)[order]
    return [rows_M[order][round_M == number] for number in range(rounds)]


def _turns(rows: np.ndarray, lengths_N: np.ndarray, wanted: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows worth `wanted` tokens: all of them as often as they fit, then some."""
    held = float(lengths_N[rows].sum())
    if not held or not wanted:
        return [rows[:0]]
    whole, rest = divmod(wanted / held, 1.0)
    order = rng.permutation(rows)
    if rest < _NOTHING:
        return [rows] * int(whole)
    last = len(order) if rest > 1 - _NOTHING else np.searchsorted(np.cumsum(lengths_N[order]), rest * held + 1e-6 * held, side="right")
    return [*[rows] * int(whole), order[: int(last)]]


def account(rows: pa.Table, held_N: np.ndarray, digest_N: np.ndarray, broken: Counter[str]) -> dict[str, Any]:
    """The ledger's part on documents, as JSON: rows, what was broken and left out, and repeats among what is learned from."""
    _, first_N = np.unique(digest_N, return_index=True)
    repeated_N = np.ones(len(digest_N), bool)
    repeated_N[first_N] = False
    places = np.flatnonzero(repeated_N & ~held_N)
    examples = [{"row": int(place) + 1, "in": "train", "text": shorten(rows.column(TEXT)[int(place)].as_py())} for place in places[:3]]
    train, lost = int((~held_N).sum()), sum(broken.values())
    return {
        "rows": {"read": len(held_N) + lost, "dropped": lost, "train": train, "validation": int(held_N.sum())},
        "broken": dict(broken),
        "findings": {"duplicates": finding("duplicates", len(places), total=train, examples=examples)},
    }


def of_drawn(account: dict[str, Any], not_drawn: int) -> dict[str, Any]:
    """The same account, with the number of those that a smaller number asked for leaves out."""
    if not not_drawn:
        return account
    rows = account["rows"]
    return account | {"rows": {**rows, "read": rows["read"] + not_drawn, "not_drawn": not_drawn}}


def undrawn(rows: Mapping[str, int]) -> str:
    """The number of those that were not drawn, in words."""
    return f"; {rows['not_drawn']:,} not drawn, as data.rows asks" if "not_drawn" in rows else ""


def without(account: dict[str, Any], spent: Mapping[str, pa.Table], names: Sequence[str]) -> dict[str, Any]:
    """The same account, less the texts of which no row was made. spent: these, by side. names: of the corpora."""
    lost = sum(map(len, spent.values()))
    if not lost:
        return account
    rows = {**account["rows"], "dropped": account["rows"]["dropped"] + lost}
    first = [row for table in spent.values() for row in table.select([SOURCE, TEXT]).slice(0, _EXAMPLES).to_pylist()]
    shown = [{"file": names[row[SOURCE]], "reason": _SPENT, "text": shorten(row[TEXT])} for row in first]
    return account | {
        "rows": rows | {side: rows[side] - len(table) for side, table in spent.items()},
        "broken": {**account["broken"], _SPENT: lost},
        "broken_examples": [*account["broken_examples"], *shown][:_EXAMPLES],
    }


def cut_short(columns: Sequence[Sequence[str]], tokenizer: Any, length: int, told: Callable[[int], str]) -> dict[str, Any]:
    """The finding on rows of which a text has more than `length` tokens. columns: the texts [N], or both of pairs. told: a row in words."""
    sizes_N = np.max([_sizes(texts, tokenizer) for texts in columns], axis=0)
    places = np.flatnonzero(sizes_N > length).tolist()
    shown = [{"row": place + 1, "in": "file", "text": told(place), "tokens": int(sizes_N[place])} for place in places[:_EXAMPLES]]
    return finding("truncation", len(places), total=len(sizes_N), examples=shown)


def _sizes(texts: Sequence[str], tokenizer: Any) -> np.ndarray:
    """Tokens of each text with the special ones, [N]; few of them as lists at a time."""
    return np.array([len(ids) for part in tokens.parts(tokenizer, texts) for ids in part["input_ids"]], dtype=np.int64)


def measured(ledger: dict[str, Any], lengths: np.ndarray, *, kept: int, padding_share: float) -> dict[str, Any]:
    """The same account with what became of the documents. lengths: tokens of each row that the model will see."""
    return ledger | {"kind": "tokens", "lengths": {"kept": kept, **lengths_of(lengths)}, "padding_share": padding_share}


def chosen(rows: pa.Table, chosen_N: np.ndarray, count: int = 512) -> Iterator[tuple[int, pa.Table]]:
    """The chosen rows, corpus by corpus, with its number, in parts small enough to be Python strings; no others are copied."""
    source_N = rows.column(SOURCE).to_numpy()
    for number in np.unique(source_N[chosen_N]).tolist():
        place_M = np.flatnonzero(chosen_N & (source_N == number))
        for start in range(0, len(place_M), count):
            some = place_M[start : start + count]
            among = rows.slice(some[0], some[-1] + 1 - some[0])
            yield number, among.filter(pa.array(np.isin(np.arange(some[0], some[-1] + 1), some)))


def texts(rows: pa.Table) -> list[str]:
    """The texts as a list."""
    return column(rows, TEXT)
