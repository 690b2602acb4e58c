"""Minimal pairs from a zip, a folder and a file; drawing by paradigm; and lines that are no pair."""

import json
import zipfile
from collections import Counter

import pytest

from rootstock.core.errors import DataError
from rootstock.data import minimal_pairs
from rootstock.data.minimal_pairs import Pair


def lines(count, **more):
    return "".join(json.dumps({"sentence_good": f"g{i}", "sentence_bad": f"b{i}", **more}) + "\n" for i in range(count))


def test_a_file_a_folder_and_a_zip_give_the_same(tmp_path):
    folder = tmp_path / "pairs"
    folder.mkdir()
    (folder / "one.jsonl").write_text(lines(2))
    (folder / "two.jsonl").write_text(lines(1, UID="named", linguistics_term="s-selection", field="syntax/semantics"))
    with zipfile.ZipFile(tmp_path / "pairs.zip", "w") as made:
        for name in ("one", "two"):
            made.write(folder / f"{name}.jsonl", f"data/{name}.jsonl")
        made.writestr("__MACOSX/data/._one.jsonl", "\0\0")
        made.writestr("data/README.md", "about")
    wanted = (Pair("g0", "b0", "one"), Pair("g1", "b1", "one"), Pair("g0", "b0", "named", "argument_structure", "syntax_semantics"))
    assert minimal_pairs.read(folder) == minimal_pairs.read(tmp_path / "pairs.zip") == wanted
    assert minimal_pairs.read(folder / "one.jsonl") == wanted[:2]


def test_pairs_are_drawn_by_paradigm_with_a_seed():
    pairs = [Pair(str(i), "b", f"p{i % 3}") for i in range(90)] + [Pair("x", "y", "small")]
    found = minimal_pairs.sample(pairs, 5, seed=0)
    assert Counter(each.paradigm for each in found) == {"p0": 5, "p1": 5, "p2": 5, "small": 1}
    assert found == minimal_pairs.sample(pairs, 5, seed=0) != minimal_pairs.sample(pairs, 5, seed=1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (lines(1) + "{oh\n", "line 2: no JSON"),
        (lines(1) + '{"sentence_good": "x"}\n', "line 2: no pair"),
        ("[1]\n", "line 1: no pair"),
        ("\n\n", "is empty"),
    ],
)
def test_what_is_no_pair_is_said(tmp_path, text, said):
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(DataError, match=said):
        minimal_pairs.read(tmp_path / "a.jsonl")


def test_a_damaged_or_swollen_zip_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a.jsonl", lines(200))
    monkeypatch.setattr(minimal_pairs, "_MOST_BYTES", 1000)
    with pytest.raises(DataError, match="unpacks to"):
        minimal_pairs.read(path)
    monkeypatch.undo()
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match="can't be unpacked"):
        minimal_pairs.read(path)


def test_blimp_has_67_paradigms_of_1000_pairs_in_12_phenomena_and_4_fields(data_folder):
    place = data_folder / "blimp" / "BLiMP.zip"
    if not place.is_file():
        pytest.skip("no blimp in the folder of data")
    pairs = minimal_pairs.read(place)
    assert set(Counter(each.paradigm for each in pairs).values()) == {1000}
    assert len({each.paradigm for each in pairs}) == 67
    assert len({each.term for each in pairs}) == 12
    assert len({each.field for each in pairs}) == 4
