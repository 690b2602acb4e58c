"""Texts with their languages, from a built corpus or straight from a source: what tokenizers and bases are learned from."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain, repeat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rootstock.core import artifact
from rootstock.core.errors import DataError
from rootstock.corpus.built import shards
from rootstock.corpus.record import Record
from rootstock.corpus.sources import records
from rootstock.corpus.step import LANGUAGE, TEXT

_TABLES = {".jsonl", ".ndjson", ".csv", ".tsv", ".tab", ".parquet", ".arrow", ".feather"}
"""Files whose records can have a field beside the text."""
_EXAMPLES = 3


class Lost(Counter[str]):
    """Records that were left out, by rule. examples: the first of them, with where each stood and how it begins."""

    def __init__(self) -> None:
        super().__init__()
        self.examples: list[dict[str, str]] = []

    def show(self, record: Record) -> None:
        """Keep a record among the examples, where there is room."""
        if len(self.examples) < _EXAMPLES:
            self.examples.append({"file": record.id, "reason": str(record.broken), "text": record.beginning})


def labelled(
    reference: str,
    text: str | None = None,
    broken: Counter[str] | None = None,
    *,
    languages: bool = False,
    only: Collection[str] = (),
) -> Iterator[tuple[str, str]]:
    """(language, text) of every record with a text; the language is "" where none is named.

    text: the field or column. broken: counts the records left out, by rule. languages: whether to look in files for a field `language`,
    which reads them twice; a built corpus names it anyway. only: the languages to give, the others count as left out.
    Raises DataError where the source or a shard can't be read, is not what was built, or holds nothing in these languages.
    """
    built = shards(reference)
    read = _built(reference, built) if built is not None else _raw(reference, text, broken, languages=languages or bool(only))
    yield from _in(read, only, reference, broken) if only else read


def corpus_digest(reference: str) -> str | None:
    """What tells a built corpus from any other: the digest of its shards, which are compared with its manifest. None where it is none.

    Raises DataError where a shard is not the one that was built, or not there.
    """
    built = shards(reference)
    return None if built is None else artifact.digest_json({shard: _intact(reference, shard, digest) for shard, digest in built.items()})


def _intact(reference: str, shard: str, digest: str) -> str:
    """The digest of a shard; DataError where it is another than the build's."""
    found = artifact.digest_file(Path(reference) / shard)
    if found != digest:
        raise DataError(
            f"{reference}/{shard} is not the shard that was built", wanted="the digest in manifest.json", fix="build the corpus again"
        )
    return found


def _built(reference: str, told: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for shard, digest in told.items():
        _intact(reference, shard, digest)
        yield from _rows(Path(reference) / shard)


def _raw(reference: str, text: str | None, broken: Counter[str] | None, *, languages: bool) -> Iterator[tuple[str, str]]:
    named = _languages(reference) if languages and _TABLES.intersection(Path(reference).suffixes) else iter(())
    for record, language in zip(records(reference, text), chain(named, repeat(""))):  # noqa: B905 - repeat() has no end
        if record.text:
            yield language, record.text
        elif broken is not None and record.broken:
            broken[record.broken.partition(":")[0]] += 1
            if isinstance(broken, Lost):
                broken.show(record)


def _in(read: Iterable[tuple[str, str]], only: Collection[str], reference: str, broken: Counter[str] | None) -> Iterator[tuple[str, str]]:
    """What is in these languages. Raises DataError where nothing is."""
    others: Counter[str] = Counter()
    found = False
    for language, text in read:
        if language in only:
            found = True
            yield language, text
        else:
            others[language] += 1
    if broken is not None and others:
        broken["in another language"] += others.total()
    if not found:
        there = ", ".join(name or "none named" for name, _ in others.most_common(8))
        raise DataError(
            f"{reference} holds no text in {', '.join(only)}; its languages: {there or 'none'}",
            wanted="languages that it names",
            fix="name others, or build a corpus first: `rootstock corpus build` tells the language of each document",
        )


def _languages(reference: str) -> Iterator[str]:
    try:
        yield from (record.text or "" for record in records(reference, LANGUAGE))
    except DataError:
        return  # no such column: the text's own reader says whatever else is wrong


def _rows(shard: Path) -> Iterator[tuple[str, str]]:
    try:
        file = pq.ParquetFile(shard)
        names = [name for name in (TEXT, LANGUAGE) if name in file.schema_arrow.names]
        for batch in file.iter_batches(columns=names, batch_size=1024):
            texts = batch.column(TEXT).to_pylist()
            languages = batch.column(LANGUAGE).to_pylist() if LANGUAGE in names else [""] * len(texts)
            yield from ((language or "", text) for language, text in zip(languages, texts, strict=True) if text)
    except (pa.ArrowInvalid, KeyError) as error:
        raise DataError(f"{shard} can't be read: {error}", wanted=f"a shard with the column {TEXT}", fix="build the corpus again") from None
