"""Texts with their languages, from a built corpus or straight from a source: what tokenizers are learned from and measured on."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rootstock.core import artifact
from rootstock.core.errors import DataError
from rootstock.corpus.sources import records
from rootstock.corpus.step import LANGUAGE, TEXT

_TABLES = {".jsonl", ".ndjson", ".csv", ".tsv", ".tab", ".parquet", ".arrow", ".feather"}
"""Files whose records can have a field beside the text."""


def labelled(
    reference: str, text: str | None = None, broken: Counter[str] | None = None, *, languages: bool = False
) -> Iterator[tuple[str, str]]:
    """(language, text) of every record with a text; the language is "" where none is named.

    text: the field or column. broken: counts the records left out, by rule. languages: whether to look in files for a field `language`,
    which reads them twice; a built corpus names it anyway. Raises DataError where the source or a shard can't be read.
    """
    if shards := sorted(Path(reference).glob("shard-*.parquet")):
        for shard in shards:
            yield from _rows(shard)
        return
    named = _languages(reference) if languages and _TABLES.intersection(Path(reference).suffixes) else iter(())
    for record, language in zip(records(reference, text), chain(named, repeat(""))):  # noqa: B905 - repeat() has no end
        if record.text:
            yield language, record.text
        elif broken is not None and record.broken:
            broken[record.broken.partition(":")[0]] += 1


def corpus_digest(reference: str) -> str | None:
    """What tells a built corpus from any other: the digest of its shards, which are compared with its manifest. None where it is none.

    Raises DataError where a shard is not the one that was built.
    """
    shards = sorted(Path(reference).glob("shard-*.parquet"))
    if not shards:
        return None
    manifest = artifact.read_json(Path(reference) / "manifest.json", wanted="the manifest of a corpus", fix="build the corpus again")
    found = {shard.name: artifact.digest_file(shard) for shard in shards}
    for name, digest in found.items():
        if manifest.get("files", {}).get(name) != digest:
            raise DataError(
                f"{reference}/{name} is not the shard that was built", wanted="the digest in manifest.json", fix="build the corpus again"
            )
    return artifact.digest_json(found)


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
