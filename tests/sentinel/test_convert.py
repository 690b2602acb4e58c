"""Converted tensors equal what torch and numpy load themselves from files made here, and nothing of a file is run."""

import io
import os
import pickle
import sys
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rootstock.core.errors import RootstockError, UsageError
from rootstock.sentinel.scanner import scan
from rootstock.verbs.converting import convert

SECURITY = Path(os.environ.get("ROOTSTOCK_SECURITY") or Path(__file__).parents[2] / "../shared/security")
ATTACKS = sorted(path for path in (SECURITY / "attacks").rglob("*") if path.is_file()) if SECURITY.is_dir() else []
CHECKPOINTS = [path for path in ATTACKS if path.suffix in (".pt", ".bin", ".ckpt", ".npz")]


def tensors():
    torch.manual_seed(0)
    base = torch.randn(6, 5)
    return {
        "plain": base,
        "transposed": base.t(),
        "part": base[1:4, 2:],
        "steps": base[::2, ::3],
        "same": base,
        "spread": torch.ones(1, 3).expand(4, 3),
        "number": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "half": torch.randn(3).half(),
        "brain": torch.randn(3).bfloat16(),
        "double": torch.randn(2, 2, 2).double().permute(2, 0, 1),
        "whole": torch.arange(7),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "truth": torch.tensor([True, False]),
        "imaginary": torch.randn(2, dtype=torch.complex64),
        "small": torch.randn(4).to(torch.float8_e4m3fn),
        "unsigned": torch.tensor([1, 60000], dtype=torch.uint16),
        "parameter": torch.nn.Parameter(torch.randn(2)),
    }


def same(left, right):
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.contiguous().view(torch.uint8).tolist() == (right.contiguous().view(torch.uint8).tolist())
    )


def check(path, out, wanted):
    record = convert([path], out)
    got = load_file(out / "model.safetensors")
    assert set(got) == set(wanted)
    assert all(same(got[name].reshape(-1), wanted[name].detach().reshape(-1)) for name in wanted)
    assert all(got[name].shape == wanted[name].shape for name in wanted)
    assert not scan(out).refused
    return record


@pytest.mark.parametrize("zipped", [True, False])
def test_every_dtype_stride_and_shared_storage(tmp_path, zipped):
    held = tensors()
    if not zipped:
        held = {name: each for name, each in held.items() if name not in ("small", "unsigned")}
    torch.save(held, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    check(tmp_path / "m.pt", tmp_path / "safe", torch.load(tmp_path / "m.pt"))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_modules_by_the_names_of_their_state(tmp_path, zipped, whole):
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3), torch.nn.LSTM(3, 2), torch.nn.Conv2d(1, 2, 3))
    torch.save(module if whole else module.state_dict(), tmp_path / "m.bin", _use_new_zipfile_serialization=zipped)
    check(tmp_path / "m.bin", tmp_path / "safe", module.state_dict())


def test_a_part_of_a_training_checkpoint(tmp_path):
    module = torch.nn.Linear(3, 2)
    rate = torch.optim.AdamW(module.parameters(), lr=0.1)
    torch.save({"state_dict": module.state_dict(), "optimizer": rate.state_dict(), "epoch": 3, "n": torch.ones(1)}, tmp_path / "c.ckpt")
    record = convert([tmp_path / "c.ckpt"], tmp_path / "safe", part="state_dict")
    assert set(load_file(tmp_path / "safe/model.safetensors")) == {"weight", "bias"}
    assert record["other_tensors"] == 1
    assert "epoch: int" in record["left_out_named"]


def test_shards_come_together_and_one_name_in_two_is_refused(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "1.bin")
    torch.save({"b": torch.zeros(2)}, tmp_path / "2.bin")
    convert([tmp_path / "1.bin", tmp_path / "2.bin"], tmp_path / "safe")
    assert set(load_file(tmp_path / "safe/model.safetensors")) == {"a", "b"}
    with pytest.raises(UsageError, match="'a'"):
        convert([tmp_path / "1.bin", tmp_path / "1.bin"], tmp_path / "other")
    assert not (tmp_path / "other").exists()


ARRAYS = {
    "rows": np.arange(12, dtype="f4").reshape(3, 4),
    "columns": np.asfortranarray(np.arange(12, dtype="i8").reshape(3, 4)),
    "truth": np.array([True, False]),
    "number": np.array(2.5),
    "none": np.zeros((0, 3), "f2"),
    "large": np.arange(5000, dtype="f8"),
}


@pytest.mark.parametrize("kind", ["npz", "packed npz", "joblib", "joblib zlib", "joblib xz", *(f"pickle {n}" for n in range(6))])
def test_arrays_of_numpy(tmp_path, kind):
    path, (name, _, how) = tmp_path / "arrays", kind.partition(" ")
    with path.open("wb") as stream:
        if "npz" in kind:
            (np.savez_compressed if name == "packed" else np.savez)(stream, **ARRAYS)
        elif name == "joblib":
            joblib.dump(ARRAYS, stream, compress=(how, 3) if how else 0)
        else:
            pickle.dump(ARRAYS, stream, int(how))
    check(
        path, tmp_path / "safe", {name: torch.from_numpy(np.ascontiguousarray(each)).reshape(each.shape) for name, each in ARRAYS.items()}
    )


def test_an_array_alone_and_what_has_no_numbers_is_said(tmp_path):
    np.save(tmp_path / "a.npy", ARRAYS["columns"])
    check(tmp_path / "a.npy", tmp_path / "safe", {"tensor": torch.from_numpy(ARRAYS["columns"].copy())})
    torch.save({"w": torch.ones(1), "sparse": torch.eye(2).to_sparse(), "words": ["a"], "d": torch.float16}, tmp_path / "m.pt")
    record = convert([tmp_path / "m.pt"], tmp_path / "other")
    assert record["left_out"] == 3
    assert record["left_out_named"][0] == "sparse: torch._utils._rebuild_sparse_tensor"


def test_a_payload_is_dropped_and_the_record_says_what_the_source_was(tmp_path):
    torch.save({"w": torch.arange(3.0)}, tmp_path / "m.pt")
    with zipfile.ZipFile(tmp_path / "m.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    mark = tmp_path / "ran"
    run = f"cos\nsystem\n(Vtouch {mark}\ntR0".encode()
    with zipfile.ZipFile(tmp_path / "evil.pt", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data[:2] + run + data[2:] if name.endswith("data.pkl") else data)
    record = check(tmp_path / "evil.pt", tmp_path / "safe", {"w": torch.arange(3.0)})
    assert record["scan_rules"] == ["pickle-executes"]
    assert not mark.exists()


@pytest.mark.parametrize("harm", ["cut", "reach", "repeat", "twice", "text", "folder"])
def test_what_is_no_whole_checkpoint_is_refused(tmp_path, harm):
    path = tmp_path / "m.pt"
    torch.save({"w": torch.ones(1000)}, path)
    data = path.read_bytes()
    if harm == "cut":
        path.write_bytes(data[:-300])
    elif harm == "reach":
        path.write_bytes(data.replace(b"M\xe8\x03", b"M\xe9\x03"))
    elif harm == "repeat":
        torch.save({"w": torch.ones(1).expand(1 << 40)}, path)
    elif harm == "twice":
        buffer = io.BytesIO(data)
        with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(buffer, "a") as archive:
            archive.writestr("m/data.pkl", b"\x80\x02}.")
        path.write_bytes(buffer.getvalue())
    elif harm == "text":
        path.write_text("no checkpoint")
    else:
        path = tmp_path / "empty"
        path.mkdir()
    with pytest.raises(UsageError):
        convert([path], tmp_path / "safe")
    assert not (tmp_path / "safe").exists()


WATCHED = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pickle.find_class", "socket.connect", "exec")


@pytest.mark.skipif(not ATTACKS, reason="the catalogue of attacks is not at hand: name its folder in ROOTSTOCK_SECURITY")
@pytest.mark.parametrize("attacks", [pytest.param(ATTACKS, marks=pytest.mark.slow), CHECKPOINTS], ids=["all", "checkpoints"])
def test_nothing_of_an_attack_is_run(tmp_path, attacks):
    """Python tells of every call that matters; none comes while the files of the catalogue are converted."""
    seen, watching = [], [False]

    def watch(event, arguments):
        imported = event == "exec" and getattr(arguments[0], "co_filename", "").startswith(("/", "<frozen"))  # a module of a library
        if watching[0] and event in WATCHED and not imported:
            seen.append((event, arguments))

    torch.save({"w": torch.ones(2)}, tmp_path / "own.pt")
    given = [*attacks, tmp_path / "own.pt"]
    convert_all(tmp_path / "warm", given)  # what is imported on the way is imported now
    sys.addaudithook(watch)
    watching[0] = True
    ended = convert_all(tmp_path, given)
    watching[0] = False
    assert seen == []
    assert ended[-1]
    assert attacks is not ATTACKS or sum(ended) > 1, "some of the catalogue's hold tensors beside what they would run"


def convert_all(folder, paths):
    """Whether each was converted; all else is an error that a user may meet."""
    ended = []
    for number, path in enumerate(paths):
        try:
            convert([path], folder / str(number))
            ended.append(True)
        except RootstockError:
            ended.append(False)
    return ended
