"""Headers that do not describe their file exactly are refused; the cases of the security set, too."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rootstock.core.errors import BaseError
from rootstock.sentinel.safetensors import MAX_HEADER_BYTES, header, parameters

SECURITY = Path(os.environ.get("ROOTSTOCK_SECURITY") or Path(__file__).parents[2] / "../shared/security")
A = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
B = {"dtype": "I64", "shape": [1], "data_offsets": [16, 24]}


def write(path: Path, entries: Any, data: bytes = bytes(24), length: int | None = None) -> Path:
    text = (entries if isinstance(entries, str) else json.dumps(entries)).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def test_names_dtypes_and_shapes_are_read(tmp_path: Path) -> None:
    shapes = header(write(tmp_path / "m.safetensors", {"__metadata__": {"format": "pt"}, "b": B, "a": A}))
    assert shapes == {"a": ("F32", (2, 2)), "b": ("I64", (1,))}
    assert parameters(shapes) == 4  # b holds integers: a buffer


def test_agrees_with_the_reference_writer(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(3, 5, dtype=torch.bfloat16), "y": torch.zeros(0, 2), "z": torch.tensor(1.0)}, tmp_path / "m.safetensors")
    assert header(tmp_path / "m.safetensors") == {"x": ("BF16", (3, 5)), "y": ("F32", (0, 2)), "z": ("F32", ())}


@pytest.mark.parametrize(
    ("entries", "data", "said"),
    [
        ({"a": A, "b": B}, bytes(20), "truncated: the header promises 24 bytes of tensors, the file has 20"),
        ({"a": A, "b": B}, bytes(30), "6 bytes follow the last tensor"),
        ({}, bytes(1), "1 bytes follow"),
        ({"a": {**A, "shape": [3, 2]}}, bytes(16), "needs 24 bytes, its offsets give 16"),
        ({"a": {**A, "dtype": "F33"}}, bytes(16), "unknown dtype 'F33'"),
        ({"a": {**A, "shape": [-2, -2]}}, bytes(16), "not natural numbers"),
        ({"a": {**A, "shape": [True, 4]}}, bytes(16), "not natural numbers"),
        ({"a": {**A, "data_offsets": [0, 16, 16]}}, bytes(16), "not natural numbers"),
        ({"a": A, "b": {**B, "data_offsets": [8, 16]}}, bytes(16), "overlaps the one before"),
        ({"a": A, "b": {**B, "data_offsets": [20, 28]}}, bytes(28), "leaves a hole before it"),
        ({"a": {**A, "more": 1}}, bytes(16), "exactly dtype, shape and data_offsets"),
        ({"__metadata__": {"n": 1}, "a": A}, bytes(16), "__metadata__"),
        ("[1]", b"", "not a JSON object"),
        ('{"a":', b"", "not valid JSON"),
        ("[" * 200_000, b"", "not valid JSON"),
        ('{"a": {"dtype": "F32", "dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}', bytes(16), "'dtype' occurs twice"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, entries: Any, data: bytes, said: str) -> None:
    path = write(tmp_path / "m.safetensors", entries, data)
    with pytest.raises(BaseError, match="is damaged") as caught:
        header(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("length", [2**63 - 1, MAX_HEADER_BYTES + 1, 10_000])
def test_header_longer_than_the_file(tmp_path: Path, length: int) -> None:
    with pytest.raises(BaseError, match=f"claims {length} bytes"):
        header(write(tmp_path / "m.safetensors", {"a": A}, length=length))


def test_file_too_short_for_a_length(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(b"abc")
    with pytest.raises(BaseError, match="in a file of 3"):
        header(tmp_path / "m.safetensors")


@pytest.mark.skipif(not (SECURITY / "manifest.json").is_file(), reason="the security set is not here")
@pytest.mark.parametrize("case", ["st-header-huge", "st-hole", "st-dup-keys", "st-shape-mismatch"])
def test_published_attacks_are_refused(case: str) -> None:
    with pytest.raises(BaseError, match="is damaged"):
        header(SECURITY / "attacks" / case / "model.safetensors")


@pytest.mark.skipif(not (SECURITY / "manifest.json").is_file(), reason="the security set is not here")
@pytest.mark.parametrize("file", ["b-safetensors/model.safetensors", "b-safetensors-empty-tensor/m.safetensors"])
def test_benign_files_pass(file: str) -> None:
    assert header(SECURITY / "benign" / file)
