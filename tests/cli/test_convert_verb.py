"""rootstock convert."""

import json

import torch


def test_the_verb(command, tmp_path):
    torch.save({"w": torch.ones(2), "n": 1}, tmp_path / "m.bin")
    code, out, _ = command(["convert", tmp_path / "m.bin", "--out", tmp_path / "safe", "--json"])
    assert (code, json.loads(out)["tensors"]) == (0, 1)
    code, _, error = command(["convert", tmp_path / "m.bin", "--out", tmp_path / "safe"])
    assert code == 2
    assert "exists" in error
    code, out, _ = command(["convert", tmp_path / "m.bin", "--out", tmp_path / "safe", "--overwrite"])
    assert code == 0
    assert "n: int" in out
