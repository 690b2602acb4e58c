"""Archives, arrays, links, limits, policies and outputs; the pickles inside are never loaded."""

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import random
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest

from rootstock import sentinel
from rootstock.core.errors import UnknownName, UsageError
from rootstock.sentinel import catalog, rules
from rootstock.sentinel.limits import Limits
from rootstock.sentinel.output.sarif import as_sarif
from rootstock.sentinel.policy import policy
from rootstock.sentinel.scanner import scan

PAYLOAD = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."
PLAIN = b"\x80\x04]\x94(K\x01K\x02e."


def rules_of(tmp_path, data, name="model", **options):
    path = tmp_path / name
    path.write_bytes(data)
    return {each.rule for each in scan(path, **options).findings}


def zipped(members, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


PACKERS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zlib": zlib.compress,
    "zip": lambda data: zipped([("w", data)]),
    "zip stored": lambda data: zipped([("w", data)], zipfile.ZIP_STORED),
    "zip bzip2": lambda data: zipped([("w", data)], zipfile.ZIP_BZIP2),
    "zip lzma": lambda data: zipped([("w", data)], zipfile.ZIP_LZMA),
    "tar": lambda data: tarred([("w", data)]),
    "joblib 0.9": lambda data: b"ZF" + hex(len(data)).encode().ljust(19) + zlib.compress(data),
}


@pytest.mark.parametrize("packer", PACKERS)
def test_packed_twice_is_found_and_plain_passes(tmp_path, packer):
    pack = PACKERS[packer]
    assert rules_of(tmp_path, pack(pack(PAYLOAD) if "joblib" not in packer else PAYLOAD)) == {"pickle-executes"}
    assert rules_of(tmp_path, pack(PLAIN)) == set()


@pytest.mark.parametrize("packer", ["gzip", "bzip2", "xz", "zlib"])
def test_what_lies_behind_or_before_a_break_is_scanned(tmp_path, packer):
    data = PACKERS[packer](PAYLOAD + random.Random(0).randbytes(5000))
    assert "pickle-executes" in rules_of(tmp_path, data[:-20]) or packer in ("bzip2", "xz")
    assert "malformed" in rules_of(tmp_path, data[:-20])
    assert "pickle-executes" in rules_of(tmp_path, PACKERS[packer](PLAIN) + PAYLOAD)


def test_depth_members_and_ratio_end_a_scan_as_a_finding(tmp_path):
    deep = PAYLOAD
    for _ in range(10):
        deep = zipped([("w", deep)], zipfile.ZIP_STORED)
    assert "limit-reached" in rules_of(tmp_path, deep)
    many = zipped([(f"{i}", PLAIN) for i in range(20)])
    assert rules_of(tmp_path, many, limits=Limits(members=10)) == {"limit-reached"}
    assert "archive-bomb" in rules_of(tmp_path, zipped([("w", bytes(40 << 20))]))
    assert "archive-bomb" in rules_of(tmp_path, gzip.compress(bytes(40 << 20)))


@pytest.mark.parametrize(
    ("limits", "data", "said"),
    [
        ({"seconds": 0.0}, PLAIN, "0 seconds of the scan are over"),
        ({"file_seconds": 0.0}, PAYLOAD, "0 seconds are over"),
        ({"output_bytes": 1000}, zipped([("w", b"text" * 1000)]), "1,000 bytes unpacked"),
        ({"memo": 100}, pickle.dumps([[i] for i in range(70_000)]), "100 objects at once"),
        ({"depth": 1}, zipped([("w", zipped([("w", zipped([("w", PAYLOAD)]))]))]), "1 deep"),
    ],
    ids=["scan", "file", "output", "objects", "depth"],
)
def test_each_limit_is_told_and_refused(tmp_path, limits, data, said):
    (tmp_path / "m").write_bytes(data)
    refused = scan(tmp_path / "m", limits=Limits(**limits)).by_action("refuse")
    assert {(each.rule, each.severity) for each in refused} == {("limit-reached", "unscanned")}
    assert any(said in each.what for each in refused)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "C:\\x", "..\\x"])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_names_that_lead_out(tmp_path, name, pack):
    assert "archive-traversal" in rules_of(tmp_path, pack([(name, b"text")]))


def test_names_within_pass(tmp_path):
    assert rules_of(tmp_path, zipped([("a/b.txt", b"text"), ("a/..b.txt", b"text")])) == set()


def test_two_members_of_one_name_are_both_scanned(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        data = zipped([("a/data.pkl", PAYLOAD), ("a/data.pkl", PLAIN)])
    assert rules_of(tmp_path, data) == {"archive-duplicate", "pickle-executes"}
    assert "archive-duplicate" in rules_of(tmp_path, zipped([("data.pkl", PLAIN), ("DATA.PKL", PLAIN)]))


def test_the_two_headers_of_a_member(tmp_path):
    data = bytearray(zipped([("safe.txt", b"text"), ("other", PLAIN)], zipfile.ZIP_STORED))
    data[30:38] = b"evil.pkl"
    assert "zip-disagreement" in rules_of(tmp_path, bytes(data))


def test_a_member_that_the_directory_does_not_list(tmp_path):
    hidden = zipped([("x", PAYLOAD)], zipfile.ZIP_STORED)
    hidden = hidden[: hidden.index(b"PK\x01\x02")]
    assert "zip-hidden-member" in rules_of(tmp_path, hidden + zipped([("a", PLAIN)]))


def test_a_mark_of_encryption_hides_nothing(tmp_path):
    data = bytearray(zipped([("w", PAYLOAD)], zipfile.ZIP_STORED))
    data[6] |= 1
    assert rules_of(tmp_path, bytes(data)) == {"zip-encrypted", "pickle-executes"}


def test_a_pickle_before_a_zip(tmp_path):
    assert rules_of(tmp_path, PAYLOAD + zipped([("a", b"text")])) == {"pickle-executes", "zip-layout"}


def test_raw_numbers_of_a_torch_archive_are_not_taken_for_anything(tmp_path):
    members = [("m/data.pkl", PLAIN), ("m/data/0", b"\x80\x04cos\nsystem\n" + bytes(100))]
    assert rules_of(tmp_path, zipped(members, zipfile.ZIP_STORED)) == set()
    assert "pickle-executes" in rules_of(tmp_path, zipped(members[1:], zipfile.ZIP_STORED))


def test_tar_links_and_devices(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, target in (("out", tarfile.SYMTYPE, "/etc/passwd"), ("pipe", tarfile.FIFOTYPE, "")):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            archive.addfile(entry)
    found = scan_bytes(tmp_path, buffer.getvalue())
    assert {(each.rule, each.severity) for each in found} == {("archive-link", "malicious"), ("archive-device", "malicious")}


def scan_bytes(tmp_path, data):
    path = tmp_path / "x"
    path.write_bytes(data)
    return scan(path).findings


def test_a_torch_tar_of_old(tmp_path):
    """A storage's numbers stand between two pickles; the payload is in the second one."""
    first = b"\x80\x02(X\x01\x00\x00\x001X\x03\x00\x00\x00cpuctorch\nFloatStorage\nt."
    storages = b"\x80\x02K\x02." + first + struct.pack("<Q", 3) + bytes(range(12)) + b"cos\nsystem\n(S'true'\ntR."
    assert rules_of(tmp_path, tarred([("pickle", PLAIN), ("storages", storages)])) >= {"pickle-executes"}


def test_arrays(tmp_path):
    def saved(array):
        buffer = io.BytesIO()
        np.save(buffer, array)
        return buffer.getvalue()

    for array in (np.zeros((3, 4), "f4"), np.array(["ä", "b"]), np.zeros(2, [("a", "f4", (3,)), ("b", "U5")]), np.zeros(0), np.array(1.5)):
        assert rules_of(tmp_path, saved(array)) == set()
    assert rules_of(tmp_path, saved(np.zeros(3))[:-1]) == {"numpy-size"}
    objects = saved(np.array([{"a": 1}], dtype=object))
    assert rules_of(tmp_path, objects) == {"numpy-object-array"}
    head = objects[: 10 + int.from_bytes(objects[8:10], "little")]
    assert rules_of(tmp_path, head + PAYLOAD) == {"numpy-object-array", "pickle-executes"}


def test_links_of_a_folder(tmp_path):
    (tmp_path / "outside.txt").write_text("x")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.txt").write_text("x")
    (folder / "in").symlink_to("a.txt")
    assert not scan(folder).findings
    (folder / "out").symlink_to("../outside.txt")
    os.link(tmp_path / "outside.txt", folder / "hard")
    assert {each.rule for each in scan(folder).findings} == {"link-out", "hard-link"}
    (folder / "gone").symlink_to("nowhere")
    assert "unreadable" in {each.rule for each in scan(folder).findings}


def test_odd_files_end_as_findings(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "noise").write_bytes(bytes(range(255, 0, -1)) * 9)
    (tmp_path / os.fsdecode(b"\xff\xfe.txt")).write_bytes(b"text")
    found = {each.path.rpartition("/")[2]: each.rule for each in scan(tmp_path).findings}
    assert found == {"pipe": "unreadable", "noise": "unknown-format"}


def test_policies(tmp_path):
    (tmp_path / "p").write_bytes(b"\x80\x04\x8c\x07mystery\x8c\x05Thing\x93.")
    assert [scan(tmp_path, policy=name).refused for name in ("strict", "standard", "permissive")] == [True, True, False]
    own = tmp_path / "own.yaml"
    own.write_text("extends: standard\nrules: {pickle-unknown-global: warn}\n")
    report = scan(tmp_path / "p", policy=str(own))
    assert not report.refused
    assert [each.rule for each in report.by_action("warn")] == ["pickle-unknown-global"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("rules: {pickle-unknown-globl: warn}", UnknownName),
        ("rules: {pickle-unknown-global: shout}", UnknownName),
        ("severities: {bad: warn}", UnknownName),
        ("extends: none", UnknownName),
        ("[1]", UsageError),
        ("a: b: c", UsageError),
        ("rules: 3", UsageError),
    ],
)
def test_a_policy_that_is_none(tmp_path, text, error):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(error):
        policy(str(tmp_path / "own.yaml"))


def test_sarif_has_what_its_schema_requires(tmp_path):
    (tmp_path / "a b.zip").write_bytes(zipped([("w\u00e4", PAYLOAD)]))
    (tmp_path / "p.pkl").write_bytes(PAYLOAD)
    log = json.loads(json.dumps(as_sarif(scan(tmp_path), "1.0")))
    assert (log["version"], set(log)) == ("2.1.0", {"$schema", "version", "runs"})
    (run,) = log["runs"]
    listed = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"] == "Rootstock"
    assert all(each["id"] and each["shortDescription"]["text"] and each["help"]["text"] for each in listed)
    assert len(run["results"]) == 2
    for result in run["results"]:
        assert listed[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        (location,) = result["locations"]
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        assert uri.startswith("file:///")
        assert " " not in uri
        assert location["physicalLocation"].get("region", {"byteOffset": 0})["byteOffset"] >= 0


def test_every_rule_has_its_fields_and_every_format_its_two_functions():
    for name in rules.ids():
        page = rules.rule(name)
        assert all([page.title, page.why, page.fix, page.text]), name
        assert page.severity in ("malicious", "suspicious", "unscanned", "note"), name
    assert all(callable(each.recognises) and callable(each.scan) for each in catalog.formats())
    assert all(callable(each.scan) for each in catalog.folder_checks())


def test_the_public_name_is_the_function_before_and_after_its_module_is_imported():
    assert sentinel.scan is scan


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="there is no"):
        scan(tmp_path / "nothing")


# Made by py7zr 1.1.4 of "hello text" as a.txt, PAYLOAD as d/model.pkl and an empty file.
SEVENS = {
    "lzma2": (
        "N3q8ryccAAQUbODUnwAAAAAAAAAVAAAAAAAAAKegBg4BACFoZWxsbyB0ZXh0gASMAm9zjAZzeXN0ZW2TjAR0cnVlhVIuAOAAjABxXQAAgTMHrg/QaX28nz9H"
        "QQV77dfZBs67JiaWbzK383dyZfu6i1cr6TY75lMbGYp65+fK6RcIbr9cMLQ5fVSzVmu2UI3ct7djYGFQB4V8MvAwNMQfdRUAX/rdDEj3MHrykVAXZu3b+1DB"
        "3H+aENqhoAAAAAAXBiYBCXkABwsBAAEhIQEYDICNAAA="
    ),
    "lzma": (
        "N3q8ryccAARplPukrwAAAAAAAAAWAAAAAAAAAFaYC7UANBlJ7o3pFrX4h0DjHbMjnpNE5+FbGYHBqrm55xW/vFFyLeBqLXLf//3mEADgAJgAel0AAIEzB64P"
        "0NNtfJ8/R0FY1v4CaiWo6ICFeym7EsZcb5ENLUpM5OFzoTCH3AUT9oBJ+eq2IJAIJdtaxjoyrm1vM0R0nkyUk8o4p5xBxQbLCHbEX7liVURQbwILS1LhRtU1"
        "OA90s2aejVT7/8A3IRGENBP2fnI4KOAAAAAAFwYtAQmAggAHCwEAASEhARgMgJkAAA=="
    ),
    "bzip2": (
        "N3q8ryccAATsk99CxQAAAAAAAAAVAAAAAAAAACYwFWFCWmg5MUFZJlNZPszcuQAABdPgFQBAARAAAkaeYEIECAAgADFA00MjJiFNDQMhptQIOS3CNDq62RIY"
        "2jswCHiR+p74u5IpwoSB9mblyOAAjABwXQAAgTMHrg/Smro9QMCQzuXLdvY7ofSRDn0K2xadKIw1D4umh/JLlOFiUyvzC/itUmjo7bZ7aCyaRzqTHUmWWb+X"
        "OzxxLg9AbAiMZuUTzwpZ1NFNban+z1ZU9nmMtKdQG6Nf/5kk+NOGLDCFaJ5QAAAAABcGTQEJeAAHCwEAASEhARgMgI0AAA=="
    ),
    "deflate": (
        "N3q8ryccAATDH2NumwAAAAAAAAAVAAAAAAAAAP1QMFrLSM3JyVcoSa0oaWDpYcov7mErriwuSc2d3MNSUlSa2hqkBwDgAIwAb10AAIEzB64P0Es5PJ8/Rzvn"
        "0R6CkUzhj/67T2/WGwDLfaSCRJdVyoVQA+pMg3rUyJJ5rJynpreFkBocaQzleSBrbqa81WXdDzVMQi+XFe7naPu0NgG/whSSnz15PPlC6rF8Zpo0mku+33+p"
        "y7qMAAAAABcGJAEJdwAHCwEAASEhARgMgI0AAA=="
    ),
    "copy": (
        "N3q8ryccAARk0C86mgAAAAAAAAAVAAAAAAAAAMBmOlxoZWxsbyB0ZXh0gASMAm9zjAZzeXN0ZW2TjAR0cnVlhVIu4ACQAHBdAACBMweuD9As9LyfP0dnPyeN"
        "XwC6JxEJnYyuqCE61qNFWbv2hk0HSWc55RpGtYAPXCN3rTVnzNfgRnvxzFBG36Qm0hSJbecLVEjAGmZC/YkOTz72vSTytgNMyx6l+2CD1bx5LASi73e0cq1s"
        "x7gAAAAAFwYiAQl4AAcLAQABISEBGAyAkQAA"
    ),
    "x86 lzma2": (
        "N3q8ryccAAR4eN2ppQAAAAAAAAAVAAAAAAAAAIs7ok8BACFoZWxsbyB0ZXh0gASMAm9zjAZzeXN0ZW2TjAR0cnVlhVIuAOAAlAB3XQAAgTMHrg/QaX28nzkQ"
        "nG37Zo4qyIwjZUQaIHdI9HNCKxChr5LVIcQW3rc6SNW8NQpCOvRhff6dk6aOMwXmpXe/NM/edF4cXnOA/2X6pox9qFRDCSu/JZqVCopckNDL95w0/3kxZmj8"
        "6UkH5Z2A8/s+T/l3QAAAAAAXBiYBCX8ABwsBAAEhIQEYDICVAAA="
    ),
    "delta lzma2": (
        "N3q8ryccAASHmpocpwAAAAAAAAAWAAAAAAAAANy3sa4BACFo/QcAA7FU8RP8DISIdm0EGXptBvoB8Qgm+Xhw/gPwIM3cAOAAmAB5XQAAgTMHrg/QaX28nzkQ"
        "nG37Zpxlf+rp1+63ATRpJ+ExIxcwdmzSA0KjeOx9jLsTg1+pColdZA5Q5dsnEdi4tT0IY2d1106ZYiE4Tl7YNS228BB3nCzMR0l/Lt8fiwfA58dmLyMM4IWT"
        "42/14c+oA4dLMgpqkVywAAAAABcGJgEJgIEABwsBAAEhIQEYDICZAAA="
    ),
    "zstd": (
        "N3q8ryccAAS1sAjerQAAAAAAAAAWAAAAAAAAAIMFKDEotS/9AFgRAQBoZWxsbyB0ZXh0gASMAm9zjAZzeXN0ZW2TjAR0cnVlhVIu4ACYAHpdAACBMweuD9C1"
        "KPyfP0dBhMlsZC/1nuhzICuSkXTx4IOIaLL3X1ikLGWL1cIvc8sMvpatL6HyPyyraKQ+KOLCoNbWwFyZUObJgpyck5KbCDmY82aycetyaIXyH9+m8gkSfynw"
        "bEqU/9k4PeRPKYDkUOAOxM17wLt0AAAAABcGKwEJgIIABwsBAAEhIQEYDICZAAA="
    ),
}


@pytest.mark.parametrize("method", SEVENS)
def test_seven_zip(tmp_path, method):
    (tmp_path / "m.7z").write_bytes(base64.b64decode(SEVENS[method]))
    found = {(each.rule, each.members) for each in scan(tmp_path).findings}
    assert found == ({("not-unpacked", ())} if method == "zstd" else {("pickle-executes", ("d/model.pkl",))})


def test_seven_zip_cut_or_flipped_ends_as_findings(tmp_path):
    data = base64.b64decode(SEVENS["x86 lzma2"])
    for at in range(len(data)):
        (tmp_path / "m.7z").write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        scan(tmp_path / "m.7z")
        (tmp_path / "m.7z").write_bytes(data[:at])
        scan(tmp_path / "m.7z")


def test_a_long_line_of_text_that_begins_like_an_import(tmp_path):
    assert rules_of(tmp_path, b"c" + b"97e4dfa6 " * 20_000, "words.txt") == set()
    assert "pickle-executes" in rules_of(tmp_path, b"S'" + b"a" * 100_000 + b"'\n0cos\nsystem\n(S'true'\ntR.", "words.txt")


def test_changed_bytes_end_as_findings_of_the_format_and_not_of_a_reader(tmp_path):
    """Flips, cuts and repeats with a fixed seed; `reader-stopped` is what a reader says that met what nobody foresaw."""
    joblib = pytest.importorskip("joblib")
    joblib.dump({"a": np.zeros(3), "b": np.array(["x", None])}, tmp_path / "j")
    seeds = [(tmp_path / "j").read_bytes(), pickle.dumps({"a": {1, 2}, "b": [b"x" * 300]}, 4), base64.b64decode(SEVENS["delta lzma2"])]
    seeds += [pack(PAYLOAD) for pack in PACKERS.values()]
    chance = random.Random(0)
    for _ in range(1500):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.choice([1, 2, 5])):
            at = chance.randrange(len(data))
            change = chance.randrange(4)
            data[at : at + (change == 1) * chance.randrange(20)] = data[at : at + (change == 2) * chance.randrange(40)]
            data[at : at + 1] = bytes([chance.randrange(256)])
        assert "reader-stopped" not in rules_of(tmp_path, bytes(data))
