"""OSV records: ranges by the specification's examples, names, aliases, models, files that are none, and the verb."""

import json
import subprocess
import sys
import zipfile

import pytest
from tests.cli.conftest import command  # noqa: F401 - a fixture

from rootstock.core.errors import DataError
from rootstock.sentinel.advisories import match, osv
from rootstock.sentinel.advisories.match import Model
from rootstock.verbs import advisories


def record(identity="X-1", name="Thing.One", *, events=(), versions=(), ecosystem="PyPI", **more):
    ranges = [{"type": "ECOSYSTEM", "events": [dict([event]) for event in events]}] if events else []
    affected = {"package": {"ecosystem": ecosystem, "name": name}, "ranges": ranges, "versions": list(versions)}
    affected |= more.pop("affected", {})
    return {"schema_version": "1.6.0", "id": identity, "modified": "2026-01-02T00:00:00Z", "affected": [affected], **more}


def database(folder, *records):
    for number, each in enumerate(records):
        (folder / f"{number}.json").write_text(json.dumps(each))
    return osv.read([folder])


def holds(tmp_path, version, **what):
    return [each.id for each in match.packages([("thing_one", version)], database(tmp_path, record(**what)))[0]]


@pytest.mark.parametrize(
    ("events", "inside", "outside"),
    [
        ([("introduced", "0"), ("fixed", "1.10")], ["0.1", "1.9", "1.10rc1", "1.9.post1"], ["1.10", "1.10.0", "2"]),
        ([("introduced", "1.0.0"), ("last_affected", "1.4")], ["1", "1.4.0"], ["0.9", "1.4.1"]),
        # out of order, with a second range after the first (the specification sorts events)
        (
            [("fixed", "3.1"), ("introduced", "3.0"), ("fixed", "1.2"), ("introduced", "1.0")],
            ["1.1", "3.0.9"],
            ["0.9", "1.2", "2.5", "3.1"],
        ),
        ([("introduced", "0"), ("limit", "2.0")], ["1.9"], ["2.0", "3.0"]),
        ([("introduced", "1"), ("fixed", "2"), ("introduced", "2")], ["1", "2", "9"], ["0.5"]),
        ([("introduced", "2!1.0")], ["2!1.0"], ["3.0"]),
    ],
)
def test_ranges_are_evaluated_as_the_specification_says(tmp_path, events, inside, outside):
    assert [version for version in inside + outside if holds(tmp_path, version, events=events)] == inside


def test_listed_versions_count_whatever_the_ranges_say(tmp_path):
    assert holds(tmp_path, "5.0.0", versions=["5.0"], events=[("introduced", "0"), ("fixed", "1")]) == ["X-1"]
    assert holds(tmp_path, "5.1", versions=["5.0"]) == []


def test_names_are_one_whatever_their_spelling_and_withdrawn_records_do_not_count(tmp_path):
    events = [("introduced", "0")]
    held = database(
        tmp_path,
        record("A", "Thing_One", events=events),
        record("B", "thing-two", events=events),
        record("C", "thing-one", events=events, withdrawn="2025-01-01T00:00:00Z"),
        record("D", "thing-one", events=events, schema_version="2.0.0"),
        record("E", "thing-one", events=events, ecosystem="npm"),
    )
    assert [each.id for each in match.packages([("thing.one", "1.0")], held)[0]] == ["A"]
    assert held.passed_over == {"withdrawn": 1, "of another version of the format": 1}


def test_one_fault_under_two_ids_is_told_once_with_its_repair(tmp_path):
    events = [("introduced", "0"), ("fixed", "1.5"), ("introduced", "2"), ("fixed", "2.1")]
    more = {
        "references": [{"type": "WEB", "url": "https://example.com/a"}],
        "database_specific": {"severity": "HIGH"},
        "summary": "It breaks.",
    }
    held = database(
        tmp_path, record("GHSA-1", events=events, aliases=["CVE-1"], **more), record("PYSEC-1", events=events, aliases=["CVE-1"])
    )
    (found,) = match.packages([("thing-one", "1.4")], held)[0]
    assert (found.id, found.aliases, found.fixed_in, found.severity) == ("GHSA-1", ("CVE-1", "PYSEC-1"), "1.5", "high")
    assert found.link == "https://example.com/a"


def test_a_version_that_has_no_place_is_told(tmp_path):
    found, notes = match.packages([("thing-one", "weird-version")], database(tmp_path, record(events=[("introduced", "0")])))
    assert not found
    assert "could not be compared with X-1" in notes[0]


def test_models_are_met_by_digest_and_by_name(tmp_path):
    held = database(
        tmp_path,
        record("M-1", "org/model", ecosystem="Hugging Face", affected={"ecosystem_specific": {"sha256": ["AB" * 32]}}),
        record("M-2", "Org/Other", ecosystem="Hugging Face", versions=["rev1"]),
    )
    told = {
        "digest": Model(name="x", names=("renamed",), files={"model.safetensors": "ab" * 32}),
        "other files": Model(name="x", names=("org/model",), files={"model.safetensors": "cd" * 32}),
        "revision": Model(name="x", names=("org/other",), revision="rev1"),
        "another revision": Model(name="x", names=("org/other",), revision="rev2"),
        "no revision": Model(name="x", names=("org/other",)),
    }
    found = {name: [each.id for each in match.models([model], held)] for name, model in told.items()}
    assert found == {"digest": ["M-1"], "other files": [], "revision": ["M-2"], "another revision": [], "no revision": ["M-2"]}
    assert "not known" in match.models([told["no revision"]], held)[0].why


def test_zips_lists_and_folders_are_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as held:
        held.writestr("a.json", json.dumps(record("A")))
        held.writestr("readme.txt", "no record")
    (tmp_path / "list.json").write_text(json.dumps({"vulns": [record("B"), record("C")]}))
    found = osv.read([tmp_path])
    assert (found.records, found.newest) == (3, "2026-01-02T00:00:00Z")


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "{}", '{"id": "A", "affected": [{"package": {"name": "x"}}]}', '{"id": "A", "affected": 3}', "[]"]
)
def test_files_that_are_no_records_are_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError):
        osv.read([tmp_path / "x.json"])


def test_a_member_that_unpacks_to_much_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as held:
        held.writestr("a.json", b" " * (17 << 20))
    with pytest.raises(DataError, match="unpacks to more"):
        osv.read([tmp_path / "all.zip"])


# -- the verb ---------------------------------------------------------------------------------------------------------------


def test_the_verb_refuses_where_one_holds(command, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(advisories, "installed", lambda: {("Thing_One", "1.0"), ("other", "2")})
    monkeypatch.setattr(advisories, "KNOWN", {})
    path = tmp_path / "osv.json"
    path.write_text(json.dumps(record(events=[("introduced", "0"), ("fixed", "1.5")], summary="It breaks.")))
    code, out, err = command(["scan", "--advisories", "--database", path])
    assert code == 3
    assert all(each in out for each in ("Thing_One 1.0: X-1", "fixed in 1.5", "https://osv.dev/vulnerability/X-1", "It breaks."))
    assert "update Thing_One to 1.5" in err
    path.write_text(json.dumps(record(events=[("introduced", "2")])))
    code, out, _ = command(["scan", "--advisories", "--database", path, "--json"])
    assert code == 0
    assert (json.loads(out)["findings"], json.loads(out)["packages"]) == ([], 2)


def test_a_folder_is_held_against_records_of_models(command, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(advisories, "installed", set)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    path = tmp_path / "osv.json"
    path.write_text(json.dumps(record(ecosystem="Hugging Face", affected={"ecosystem_specific": {"sha256": [digest]}})))
    code, out, _ = command(["scan", tmp_path / "model", "--advisories", "--database", path])
    assert code == 3
    assert f"config.json has the sha256 {digest}" in out


def test_the_service_is_asked_by_pip_audit(command, tmp_path, monkeypatch):  # noqa: F811
    fault = {"id": "PYSEC-1", "fix_versions": ["2"], "aliases": ["CVE-1"], "description": "It\nbreaks."}
    told = {"dependencies": [{"name": "thing", "version": "1", "vulns": [fault]}, {"name": "own", "skip_reason": "not on an index"}]}
    answers = [(1, json.dumps(told), ""), (1, "", "ERROR: no route to host\n")]
    monkeypatch.setattr(advisories, "needed", lambda *_, **__: None)
    monkeypatch.setattr(subprocess, "run", lambda words, **_: subprocess.CompletedProcess(words, *answers.pop(0)))
    code, out, _ = command("scan --advisories")
    assert code == 3
    assert all(each in out for each in ("thing 1: PYSEC-1 (CVE-1); fixed in 2", "not asked: own: not on an index", "It breaks."))
    code, _, err = command("scan --advisories")
    assert code == 2
    assert all(each in err for each in ("no route to host", "--database"))


def test_without_pip_audit_a_database_is_asked_for(command, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "pip_audit", None)
    code, _, err = command("scan --advisories")
    assert code == 2
    assert all(each in err for each in ("pip-audit", "rootstock[security]", "--database"))
    assert command("scan minilm --advisories")[0] == 2
