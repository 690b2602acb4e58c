"""What a base had learned before, by the digests that its runs left."""

import json

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file

from rootstock.core.artifact import digest_file
from rootstock.core.errors import ContractRefused
from rootstock.run.finish import seen_keys
from rootstock.run.known import known

TEXTS = ["one", "two", "three", "four"]


def rows(texts):
    return pa.table({"text": texts, "label": ["a"] * len(texts)})


def left(folder, texts=None, **manifest):
    """What a run leaves of what it learned from; of a run without labels nothing."""
    folder.mkdir(parents=True)
    files = {}
    if texts is not None:
        save_file({"rows": seen_keys(rows(texts)), "chose": seen_keys(rows(["four"]))}, folder / "seen.safetensors")
        files["seen.safetensors"] = digest_file(folder / "seen.safetensors")
    (folder / "manifest.json").write_text(json.dumps({"files": files, **manifest}))
    return folder


def test_rows_that_a_run_learned_from_are_known_and_those_that_chose_are_not(tmp_path, monkeypatch):
    left(tmp_path / "run", ["One", "three"])
    assert known(str(tmp_path / "run"), rows(TEXTS)).tolist() == [True, False, True, False]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert known("~/run", rows(TEXTS)).sum() == 2


def test_stages_and_tasks_count_all(tmp_path):
    whole = left(tmp_path / "whole", stages=[{"name": "1-first"}, {"name": "2-second"}])
    left(whole / "stages" / "1-first", ["one"])
    both = left(whole / "stages" / "2-second")
    left(both / "parts" / "a", ["two"])
    left(both / "parts" / "b", ["three"])
    assert known(str(whole), rows(TEXTS)).tolist() == [True, True, True, False]


def test_nothing_is_known_of_what_is_no_run_or_had_no_labels(tmp_path):
    left(tmp_path / "pretrained")
    for base in ("minilm", str(tmp_path), str(tmp_path / "pretrained")):
        assert np.array_equal(known(base, rows(TEXTS)), np.zeros(4, bool))


def test_digests_that_are_gone_are_not_taken_for_none(tmp_path):
    (left(tmp_path / "run", ["one"]) / "seen.safetensors").unlink()
    with pytest.raises(ContractRefused, match="is missing"):
        known(str(tmp_path / "run"), rows(TEXTS))
