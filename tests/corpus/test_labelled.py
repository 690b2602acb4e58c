"""Texts with their languages: a built corpus is read whole or not at all, anybody else's folder as what it is."""

import hashlib
import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rootstock.core.errors import DataError
from rootstock.corpus import tokenizer
from rootstock.corpus.labelled import Lost, corpus_digest, labelled

SHARDS = ([("en", "one"), ("de", "zwei")], [(None, "drei")])


@pytest.fixture
def corpus(tmp_path):
    """A corpus of two shards, as a build leaves it."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number, rows in enumerate(SHARDS):
        table = pa.table({"text": [text for _, text in rows], "language": pa.array([each for each, _ in rows], pa.string())})
        pq.write_table(table, folder / f"shard-{number:05}.parquet")
    seal(folder)
    return folder


def seal(folder):
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("shard-*.parquet")}
    (folder / "manifest.json").write_text(json.dumps({"key": "k", "sources": [], "files": files}))


def begun(folder):
    """What a kill leaves before the first shard: parts alone, which are no corpus yet."""
    for path in folder.iterdir():
        path.unlink()
    part = folder / "parts" / "part-000000"
    part.mkdir(parents=True)
    (part / "account.json").write_text("{}")
    with pa.OSFile(str(part / "documents.arrow"), "wb") as sink, pa.ipc.new_file(sink, pa.schema([("text", pa.string())])) as writer:
        writer.write_table(pa.table({"text": ["half of a corpus"]}))


def test_languages_come_from_shards_and_from_columns(corpus, tmp_path):
    assert list(labelled(str(corpus))) == [("en", "one"), ("de", "zwei"), ("", "drei")]
    (tmp_path / "rows.csv").write_text("language,text\nen,one\nde,zwei\n,drei\n")
    assert list(labelled(str(tmp_path / "rows.csv"), languages=True)) == [("en", "one"), ("de", "zwei"), ("", "drei")]
    assert list(labelled(str(tmp_path / "rows.csv"))) == [("", "one"), ("", "zwei"), ("", "drei")]
    (tmp_path / "plain.csv").write_text("text\none\n")
    assert list(labelled(str(tmp_path / "plain.csv"), languages=True)) == [("", "one")]
    (tmp_path / "note.txt").write_text("one\n")
    assert [language for language, _ in labelled(str(tmp_path / "note.txt"), languages=True)] == [""]


def test_only_the_languages_asked_for_are_given_and_the_others_counted(corpus, tmp_path):
    broken = Counter()
    assert list(labelled(str(corpus), broken=broken, only=["de", "fr"])) == [("de", "zwei")]
    assert broken == {"in another language": 2}
    (tmp_path / "rows.csv").write_text("language,text\nen,one\nde,zwei\n")
    assert list(tokenizer.reading([str(corpus), str(tmp_path / "rows.csv")], None, ["en"])) == ["one", "one"]
    with pytest.raises(DataError, match="no text in fr; its languages: en, de, none named"):
        list(labelled(str(corpus), only=["fr"]))


def test_broken_records_are_shown(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "one"}\n{"text": \n' * 5)
    lost = Lost()
    assert len(list(labelled(str(tmp_path / "rows.jsonl"), broken=lost))) == 5
    assert lost == {"no JSON": 5}
    assert [each["file"].rpartition(":")[2] for each in lost.examples] == ["2", "4", "6"]
    assert lost.examples[0]["text"] == '{"text":'


DAMAGE = {
    "missing": (lambda folder: (folder / "shard-00001.parquet").unlink(), r"shard-00001\.parquet is missing"),
    "added": (lambda folder: (folder / "shard-00002.parquet").write_bytes(b"PAR1"), r"shard-00002\.parquet is not in its manifest"),
    "changed": (lambda folder: (folder / "shard-00000.parquet").write_bytes(b"PAR1zzzz"), r"shard-00000\.parquet is not the shard"),
    "unfinished": (
        lambda folder: ((folder / "manifest.json").unlink(), (folder / "parts" / "part-000000").mkdir(parents=True)),
        "manifest",
    ),
    "begun": (begun, "without its manifest"),
    "unsealed": (lambda folder: ((folder / "manifest.json").unlink(), (folder / "funnel.json").write_text("{}")), "manifest"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_corpus_that_is_not_what_was_built_is_refused_by_every_reader(corpus, damage):
    assert len(corpus_digest(str(corpus))) == 64
    do, said = DAMAGE[damage]
    do(corpus)
    with pytest.raises(DataError, match=said):
        corpus_digest(str(corpus))
    with pytest.raises(DataError, match=said):
        list(labelled(str(corpus)))
    with pytest.raises(DataError, match=said):
        list(tokenizer.reading([str(corpus)]))


def test_a_shard_without_texts_is_named(corpus):
    pq.write_table(pa.table({"body": ["x"]}), corpus / "shard-00000.parquet")
    seal(corpus)
    with pytest.raises(DataError, match=r"shard-00000\.parquet can't be read"):
        list(labelled(str(corpus)))


@pytest.mark.parametrize("manifest", [None, "[1]", '{"version": 1}', "{"])
def test_shards_of_somebody_else_are_a_folder_like_any_other(tmp_path, manifest):
    for number in range(2):
        pq.write_table(pa.table({"text": [f"text {number}"]}), tmp_path / f"shard-0000{number}-of-00002.parquet")
    if manifest:
        (tmp_path / "manifest.json").write_text(manifest)
    assert corpus_digest(str(tmp_path)) is None
    assert list(labelled(str(tmp_path))) == [("", "text 0"), ("", "text 1")]
