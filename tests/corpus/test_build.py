"""A build end to end on planted documents: everything dropped is in the funnel, and a killed build ends as if it had not been."""

import json

import pyarrow.parquet as pq
import pytest

from rootstock.core.artifact import digest_folder
from rootstock.core.errors import ContractRefused, DataError, Interrupted, UnknownName, UsageError
from rootstock.core.watch import Watch
from rootstock.corpus import build, funnel, parts, pipeline
from rootstock.corpus.pipeline import CorpusSettings

WORDS = ["river", "stone", "morning", "letter", "window", "market", "garden", "engine", "paper", "silver", "winter", "corner", "music"]


def sentence(seed, length=40):
    """A text of its own: no two seeds share five words in a row."""
    return " ".join(f"{WORDS[(seed * 7 + i * i) % len(WORDS)]}{(seed * 31 + i) % 997}" for i in range(length))


@pytest.fixture
def raw(tmp_path):
    """Two sources: a JSONL with a broken line, copies and near copies, and a folder."""
    lines = [json.dumps({"text": sentence(i)}) for i in range(30)]
    lines[5] = "{broken"
    lines[11] = json.dumps({"text": sentence(10)})
    lines[21] = json.dumps({"text": sentence(20, 39) + " otherwise"})
    lines[25] = json.dumps({"text": f"write to jane.roe@example.org about {sentence(25)}"})
    (tmp_path / "dump.jsonl").write_text("\n".join(lines))
    notes = tmp_path / "notes"
    notes.mkdir()
    for i in range(100, 106):
        (notes / f"{i}.txt").write_text(sentence(i))
    (notes / "copy.txt").write_text(sentence(3).upper())
    return [str(tmp_path / "dump.jsonl"), str(notes)]


def built(raw, out, *, watch=None, **more):
    return build.build(CorpusSettings(sources=tuple(raw), **more), out, watch or Watch())


def step(record, name):
    return next(line for line in record["steps"] if line["name"] == name)


def test_every_removal_is_counted_shown_and_named(raw, tmp_path):
    record = built(raw, tmp_path / "corpus")
    assert step(record, "read")["documents"] == 37
    assert sum(step(record, "read")["dropped"].values()) == 1
    assert step(record, "exact-duplicates")["dropped"] == {"exact duplicate": 2}
    near = step(record, "near-duplicates")
    assert near["dropped"] == {"near duplicate": 1}
    assert near["examples"]["near duplicate"][0]["why"].endswith(":21")
    assert sum(step(record, "personal-data")["changed"].values()) == 1
    assert record["kept"]["documents"] == 37 - 1 - 2 - 1
    for before, after in zip(record["steps"], record["steps"][1:], strict=False):
        if after["name"] not in ("c4", "gopher", "fineweb"):  # for web pages only
            previous = before if before["name"] not in ("c4", "gopher", "fineweb") else step(record, "language")
            assert after["documents"] == previous["documents"] - sum(previous["dropped"].values()), after["name"]
    text = funnel.as_text(record)
    assert "near duplicate" in text
    assert "{broken" in text


def test_what_is_written_is_whole_and_told(raw, tmp_path):
    record = built(raw, tmp_path / "corpus", licences={raw[0]: "CC0-1.0"})
    manifest = json.loads((tmp_path / "corpus" / "manifest.json").read_text())
    assert manifest["files"] == {name: digest for name, digest in digest_folder(tmp_path / "corpus").items() if name != "manifest.json"}
    table = pq.read_table(tmp_path / "corpus" / "shard-00000.parquet").to_pydict()
    assert len(table["id"]) == len(set(table["id"])) == record["kept"]["documents"]
    assert any("<EMAIL>" in text for text in table["text"])
    assert not any("jane.roe" in text for text in table["text"])
    assert set(table["source"]) == {0, 1}
    assert "CC0-1.0" in (tmp_path / "corpus" / "README.md").read_text()
    assert not (tmp_path / "corpus" / "parts").exists()
    assert build.read_funnel(tmp_path / "corpus") == record


@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interrupted_build_goes_on_and_ends_the_same(raw, tmp_path, monkeypatch, after):
    monkeypatch.setattr(build, "PART_DOCUMENTS", 7)
    built(raw, tmp_path / "straight")
    asked = []
    with pytest.raises(Interrupted, match="same command"):
        built(raw, tmp_path / "stopped", watch=Watch(stop=lambda: asked.append(1) or len(asked) == after))
    assert len(list((tmp_path / "stopped" / "parts").iterdir())) == after
    (tmp_path / "stopped" / "parts" / ".part-000009.part").mkdir()  # what a kill in the middle of a part leaves
    said = []
    built(raw, tmp_path / "stopped", watch=Watch(say=said.append))
    assert any(f"after {after} part" in line for line in said)
    assert digest_folder(tmp_path / "stopped") == digest_folder(tmp_path / "straight")


def test_the_size_of_a_part_decides_nothing(raw, tmp_path, monkeypatch):
    built(raw, tmp_path / "one")
    monkeypatch.setattr(build, "PART_DOCUMENTS", 3)
    built(raw, tmp_path / "many")
    names = ("shard-00000.parquet", "funnel.json")
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes() for name in names[1:])
    assert pq.read_table(tmp_path / "one" / names[0]).equals(pq.read_table(tmp_path / "many" / names[0]))


def test_a_folder_of_another_build_is_not_touched(raw, tmp_path, monkeypatch):
    out = tmp_path / "corpus"
    built(raw, out)
    before = digest_folder(out)
    said = []
    built(raw, out, watch=Watch(say=said.append))
    assert "already" in said[0]
    with pytest.raises(UsageError, match="built otherwise"):
        built(raw, out, personal_data="keep")
    assert digest_folder(out) == before
    (out / "mine.txt").write_text("my own")
    with pytest.raises(UsageError, match=r"mine\.txt"):
        build.build(CorpusSettings(sources=(raw[0],)), out, Watch(), overwrite=True)
    assert (out / "mine.txt").exists()
    monkeypatch.setattr(build, "PART_DOCUMENTS", 7)
    with pytest.raises(Interrupted):
        built(raw, tmp_path / "begun", watch=Watch(stop=lambda: True))
    with pytest.raises(ContractRefused, match="another build"):
        built(raw, tmp_path / "begun", near_duplicates=0)
    assert parts.written(tmp_path / "begun" / "parts", json.loads((tmp_path / "begun/parts/part-000000/account.json").read_text())["key"])


@pytest.mark.parametrize("killed", [False, True])
def test_evaluation_rows_are_kept_out_and_counted(raw, tmp_path, monkeypatch, killed):
    evaluation = tmp_path / "test.csv"
    evaluation.write_text(f"text,label\n{sentence(2)},a\n{sentence(102)},b\n{sentence(900)},a\n")
    monkeypatch.setattr(build, "PART_DOCUMENTS", 7)
    more = {"decontaminate": (str(evaluation),)}
    if killed:
        with pytest.raises(Interrupted):
            built(raw, tmp_path / "corpus", watch=Watch(stop=lambda: True), **more)
    record = built(raw, tmp_path / "corpus", **more)
    assert sum(step(record, "decontamination")["dropped"].values()) == 2
    assert record["covered"] == {str(evaluation): {"rows": 3, "checked": 3, "found": 2}}
    assert "2 of 3" in funnel.as_text(record)
    evaluation.write_text(f"text,label\n{sentence(4)},a\n{sentence(5)},b\n")
    with pytest.raises(UsageError, match="built otherwise"):
        built(raw, tmp_path / "corpus", **more)


def test_rules_of_web_corpora_are_for_web_pages(raw, tmp_path):
    assert step(built(raw, tmp_path / "a"), "gopher")["documents"] == 0
    with pytest.raises(DataError) as told:  # they are no prose
        built(raw, tmp_path / "b", quality="web")
    assert "c4: too few sentences" in told.value.fix
    names = [line["name"] for line in built(raw, tmp_path / "c", quality="none", personal_data="keep", near_duplicates=0)["steps"]]
    assert names == ["read", "repair", "exact-duplicates", "language"]


def test_nothing_left_is_an_error_that_says_which_rule_took_it(tmp_path):
    (tmp_path / "blank.txt").write_text("   \n")
    with pytest.raises(DataError, match="no document is left") as told:
        built([str(tmp_path / "blank.txt")], tmp_path / "corpus")
    assert "most went by" in told.value.fix


def test_a_step_that_does_not_exist_is_named(raw, tmp_path):
    with pytest.raises(UnknownName, match="gofer") as told:
        built(raw, tmp_path / "corpus", steps={"gofer": {}})
    assert "gopher" in str(told.value)


def test_every_step_file_holds_one_step():
    for name in pipeline.ORDER:
        assert pipeline.find(name).__doc__
