"""A build end to end on planted documents: everything dropped is in the funnel, and a killed build ends as if it had not been."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.sentences import sentence

from rootstock.core.artifact import digest_folder
from rootstock.core.errors import ContractRefused, DataError, Interrupted, RootstockError, UnknownName, UsageError
from rootstock.core.watch import Watch
from rootstock.corpus import build, funnel, parts, pipeline
from rootstock.corpus.pipeline import CorpusSettings
from rootstock.corpus.steps.c4 import C4
from rootstock.corpus.steps.fineweb import FineWeb
from rootstock.corpus.steps.gopher import Gopher


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
    exact = step(record, "exact-duplicates")
    assert exact["shares"] == {"exact duplicate": 2 / exact["documents"]}
    assert exact["share"] == 2 / exact["documents"]
    text = funnel.as_text(record)
    assert re.search(r"near duplicate +1 +2\.9%", text)
    assert "{broken" in text


def test_rules_that_nothing_broke_are_named_too(tmp_path):
    (tmp_path / "page.html").write_text(f"<html><body><article><p>{sentence(1)} {{</p></article></body></html>")
    (tmp_path / "notes.txt").write_text(sentence(2))
    record = built([str(tmp_path / "page.html"), str(tmp_path / "notes.txt")], tmp_path / "corpus")
    assert step(record, "c4")["dropped"] == {"curly bracket": 1}
    for name, made in (("c4", C4()), ("gopher", Gopher()), ("fineweb", FineWeb())):
        assert step(record, name)["rules"] == list(made.rules)
    text = " ".join(funnel.as_text(record).split())
    assert "nothing by lorem ipsum, citation mark" in text
    assert all(rule in text for rule in (*C4.rules, *Gopher.rules, *FineWeb.rules))


def test_a_rehearsal_says_what_would_be_read_and_writes_nothing(raw, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    plan = build.rehearse(CorpusSettings(sources=tuple(raw), near_duplicates=0), tmp_path / "corpus")
    assert [(each["reference"], each["bytes"]) for each in plan["sources"]] == [
        (each, sum(file.stat().st_size for file in Path(each).rglob("*")) or Path(each).stat().st_size) for each in raw
    ]
    assert plan["steps"][0] == "repair"
    assert "near-duplicates" not in plan["steps"]
    assert all(each in funnel.plan_as_text(plan) for each in raw)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("fault", ["changed", "gone", "come"])
def test_a_source_that_changes_while_it_is_read_is_told(raw, tmp_path, monkeypatch, fault):
    """What was read is of two files: neither a corpus nor something to go on with."""
    monkeypatch.setattr(build, "PART_DOCUMENTS", 5)
    file, new, met = Path(raw[1]) / "105.txt", Path(raw[1]) / "000.txt", []
    whole = file.read_bytes()

    def cut(event):
        if not met:
            met.append(True)
            if fault == "come":
                new.write_bytes(whole)
            else:
                file.unlink() if fault == "gone" else file.write_bytes(whole[:20])

    with pytest.raises(DataError, match=rf"(105|000)\.txt has {fault} while .* was read"):
        built(raw, tmp_path / "corpus", watch=Watch(event=cut))
    assert not (tmp_path / "corpus" / "manifest.json").exists()
    file.write_bytes(whole)
    new.unlink(missing_ok=True)
    assert built(raw, tmp_path / "corpus") == built(raw, tmp_path / "other")
    assert digest_folder(tmp_path / "corpus") == digest_folder(tmp_path / "other")


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
    monkeypatch.setattr(build, "SHARD_BYTES", 2000)
    built(raw, tmp_path / "one")
    monkeypatch.setattr(build, "PART_DOCUMENTS", 3)
    built(raw, tmp_path / "many")
    assert len(list((tmp_path / "one").glob("shard-*"))) > 3
    assert digest_folder(tmp_path / "one") == digest_folder(tmp_path / "many")
    assert all(pq.read_metadata(path).num_rows for path in (tmp_path / "one").glob("shard-*"))


@pytest.mark.parametrize("name", ["README.md", ".git/HEAD", "parts/thesis.txt", "shard-mine.parquet"])
def test_nobodys_files_are_written_over(raw, tmp_path, name):
    out = tmp_path / "corpus"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("my own")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="other files"):
            build.build(CorpusSettings(sources=tuple(raw)), out, Watch(), overwrite=overwrite)
    assert (out / name).read_text() == "my own"


def test_a_folder_put_beside_a_finished_corpus_is_nobodys_to_remove(raw, tmp_path):
    built(raw, tmp_path / "corpus")
    (tmp_path / "corpus" / "parts").mkdir()
    (tmp_path / "corpus" / "parts" / "thesis.txt").write_text("my own")
    with pytest.raises(UsageError, match="other files: parts"):
        built(raw, tmp_path / "corpus")
    assert (tmp_path / "corpus" / "parts" / "thesis.txt").exists()


def test_a_corpus_is_never_built_into_its_sources(raw, tmp_path):
    built(raw, tmp_path / "corpus")
    shard = tmp_path / "corpus" / "shard-00000.parquet"
    for sources, out in (([str(shard)], tmp_path / "corpus"), (raw, Path(raw[1]) / "inside"), (raw, Path(raw[1]))):
        with pytest.raises(UsageError, match="in one another"):
            build.build(CorpusSettings(sources=tuple(sources)), out, Watch(), overwrite=True)
    assert shard.exists()


def test_wrong_settings_cost_no_corpus(raw, tmp_path):
    built(raw, tmp_path / "corpus")
    before = digest_folder(tmp_path / "corpus")
    wrong = [{"near_duplicates": 0.05}, {"block_list": str(tmp_path / "none.txt")}, {"decontaminate": (str(tmp_path / "none.csv"),)}]
    wrong += [{"steps": {"decontamination": {"n": 8}}}, {"licences": {"elsewhere": "MIT"}}]
    for more in wrong:
        with pytest.raises(RootstockError):
            build.build(CorpusSettings(sources=tuple(raw), **more), tmp_path / "corpus", Watch(), overwrite=True)
    assert digest_folder(tmp_path / "corpus") == before


def test_a_kill_after_the_manifest_and_a_lost_shard_are_mended(raw, tmp_path):
    built(raw, tmp_path / "corpus")
    before = digest_folder(tmp_path / "corpus")
    (tmp_path / "corpus" / "parts" / "part-000000").mkdir(parents=True)
    built(raw, tmp_path / "corpus")
    assert digest_folder(tmp_path / "corpus") == before
    (tmp_path / "corpus" / "shard-00000.parquet").unlink()
    built(raw, tmp_path / "corpus")
    assert digest_folder(tmp_path / "corpus") == before


def test_overwrite_goes_on_with_the_same_build(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "PART_DOCUMENTS", 7)
    settings, said = CorpusSettings(sources=tuple(raw)), []
    with pytest.raises(Interrupted):
        build.build(settings, tmp_path / "corpus", Watch(stop=lambda: True), overwrite=True)
    build.build(settings, tmp_path / "corpus", Watch(say=said.append), overwrite=True)
    assert any("after 1 part" in line for line in said)


def test_a_copy_of_a_dropped_web_page_stays(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.html").write_text(f"<html><body><p>{sentence(1)}</p></body></html>")
    (tmp_path / "raw" / "b.txt").write_text(sentence(1))
    record = built([str(tmp_path / "raw")], tmp_path / "corpus")
    assert sum(step(record, "c4")["dropped"].values()) == 1
    assert record["kept"]["documents"] == 1


@pytest.mark.parametrize(
    ("identity", "web"),
    [("a.html", True), ("a.xhtml:2", True), ("c.warc.gz:7 http://x/y.pdf", True), ("old.html.d/n.txt", False), ("x.htmx.txt", False)],
)
def test_web_pages_are_known_by_their_ids(identity, web):
    assert pipeline.was_web_page(identity) is web


def test_examples_hold_no_personal_data(tmp_path):
    lines = [json.dumps({"text": f"ask jane.roe@example.org: {sentence(1)}"})] * 2 + ["{jo@example.org"]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    record = built([str(tmp_path / "rows.jsonl")], tmp_path / "corpus")
    assert sum(step(record, "exact-duplicates")["dropped"].values()) == 1
    assert "example.org" not in json.dumps(record)


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
    assert names == ["read", "repair", "language", "exact-duplicates"]


def test_nothing_left_is_an_error_that_says_which_rule_took_it(tmp_path):
    (tmp_path / "blank.txt").write_text("   \n")
    with pytest.raises(DataError, match="no document is left") as told:
        built([str(tmp_path / "blank.txt")], tmp_path / "corpus")
    assert "most went by" in told.value.fix
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "none.txt").touch()
    with pytest.raises(DataError) as told:  # no step that could be set otherwise took it
        built([str(tmp_path / "empty")], tmp_path / "corpus")
    assert told.value.fix == "most went by 'read: empty file' (1); name sources that hold text"
    assert not (tmp_path / "corpus").exists()
    (tmp_path / "whole.txt").write_text(sentence(1))
    assert built([str(tmp_path / "whole.txt")], tmp_path / "corpus")["kept"]["documents"] == 1, "nothing is left to go on with"


def test_a_step_that_does_not_exist_is_named(raw, tmp_path):
    with pytest.raises(UnknownName, match="gofer") as told:
        built(raw, tmp_path / "corpus", steps={"gofer": {}})
    assert "gopher" in str(told.value)


def test_every_step_file_holds_one_step():
    for name in pipeline.ORDER:
        assert pipeline.find(name).__doc__
