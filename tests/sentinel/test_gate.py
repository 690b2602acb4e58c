"""What may run code is refused with exit code 3, and nothing is ever loaded to find out."""

import json
import os
import pickle
import shutil
import struct
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from rootstock.core.errors import BaseError, GateRefused, RootstockError
from rootstock.sentinel import gate
from rootstock.sentinel.gate import admit, pickles

SECURITY = Path(os.environ.get("ROOTSTOCK_SECURITY") or Path(__file__).parents[2] / "../shared/security")
MANIFEST = SECURITY / "manifest.json"
CASES: list[dict[str, Any]] = json.loads(MANIFEST.read_text("utf-8")) if MANIFEST.is_file() else []
PICKLED = [
    case
    for case in CASES
    if case["kind"] == "attack"
    and (case["fmt"].startswith(("pickle", "pytorch")) or case["fmt"] in ("torchscript", "joblib", "dill", "torch.package"))
]


def tensors(names: tuple[str, ...] = ("w",)) -> bytes:
    entries = {name: {"dtype": "F32", "shape": [2], "data_offsets": [8 * i, 8 * i + 8]} for i, name in enumerate(names)}
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + bytes(8 * len(names))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "model"
    place.mkdir()
    (place / "config.json").write_text('{"model_type": "bert"}')
    (place / "tokenizer_config.json").write_text("{}")
    (place / "model.safetensors").write_bytes(tensors())
    return place


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (Path.touch, (self.marker,))


def refused(folder: Path) -> str:
    with pytest.raises(GateRefused) as caught:
        admit(folder)
    assert caught.value.exit_code == 3
    assert caught.value.fix
    return str(caught.value)


def test_a_plain_folder_passes_with_its_digests(folder: Path) -> None:
    (folder / "README.md").write_text("not part of the model")
    admission = admit(folder)
    assert set(admission.files) == {"config.json", "tokenizer_config.json", "model.safetensors"}
    assert admission.files["model.safetensors"] == sha256(tensors()).hexdigest()
    assert (admission.weights, admission.parameters, admission.notes) == ((folder / "model.safetensors",), 2, ())


def test_the_digest_is_that_of_weights_and_config(folder: Path) -> None:
    before = admit(folder).digest
    (folder / "README.md").write_text("x")
    (folder / "tokenizer_config.json").write_text('{"a": 1}')
    assert admit(folder).digest == before
    (folder / "config.json").write_text('{"model_type": "roberta"}')
    assert admit(folder).digest != before


def test_bytes_that_change_while_they_are_scanned_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "tokenizer_config.json").write_text('{"a": "changes"}')
    check = gate._check_content

    def changed(*given: Any) -> None:
        check(*given)
        (folder / "tokenizer_config.json").write_text("{}")

    monkeypatch.setattr(gate, "_PASSED", set())
    monkeypatch.setattr(gate, "_check_content", changed)
    with pytest.raises(GateRefused, match="changed while"):
        gate.admit(folder)


def test_the_same_bytes_are_scanned_once_and_others_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scanned: list[tuple[str, ...]] = []
    real = gate.scan_folder
    monkeypatch.setattr(gate, "_PASSED", set())
    monkeypatch.setattr(gate, "scan_folder", lambda tree, *more: scanned.append(tree.names) or real(tree, *more))
    assert admit(folder) == admit(folder)
    assert len(scanned) == 1
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ cycler.__init__.__globals__.os.popen(1) }}"}')
    for _ in range(2):  # what was refused is looked at each time
        refused(folder)
    assert len(scanned) == 3


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "last.ckpt", "model.pkl", "weights"])
def test_weights_that_are_pickles_are_refused_unread(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    marker = tmp_path / "executed"
    (folder / name).write_bytes(pickle.dumps(Bomb(marker)))
    said = refused(folder)
    assert name in said
    assert "runs whatever code" in said
    assert "rootstock convert" in said
    assert not marker.exists()


def test_a_torch_checkpoint_is_refused(folder: Path) -> None:
    import torch

    (folder / "model.safetensors").unlink()
    torch.save({"w": torch.zeros(2)}, folder / "pytorch_model.bin")
    torch.save({"w": torch.zeros(2)}, folder / "archive")  # recognised by its first bytes
    assert pickles(folder) == ["archive", "pytorch_model.bin"]
    assert "archive, pytorch_model.bin" in refused(folder)


def test_pickles_beside_safetensors_are_left_alone_and_noted(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    (folder / "hubconf.py").write_text("")
    assert [note.rsplit(": ")[-1] for note in admit(folder).notes] == ["pytorch_model.bin", "hubconf.py"]


@pytest.mark.parametrize("content", [pickle.dumps({}), b"PK\x03\x04" + bytes(40)])
def test_a_pickle_under_a_safetensors_name(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    assert "a pickle or an archive" in refused(folder)


def test_a_header_length_that_looks_like_a_pickle_passes(folder: Path) -> None:
    raw = tensors()
    text = raw[8:-8].ljust(0x0380)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + raw[-8:])
    assert (folder / "model.safetensors").read_bytes().startswith(b"\x80\x03")
    assert admit(folder).parameters == 2
    assert pickles(folder) == []


def test_truncated_weights_are_an_error_of_the_base(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(tensors()[:-1])
    with pytest.raises(BaseError, match="truncated"):
        admit(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "adapter_config.json"])
@pytest.mark.parametrize("value", [{"auto_map": {"AutoModel": "x.Y"}}, {"deep": [{"auto_map": {"AutoModel": "x.Y"}}]}])
def test_code_of_its_own_is_refused(folder: Path, name: str, value: Any) -> None:
    (folder / "adapter_model.safetensors").write_bytes(tensors())
    (folder / name).write_text(json.dumps(value))
    assert "auto_map" in refused(folder)


def test_an_empty_auto_map_is_harmless(folder: Path) -> None:
    (folder / "config.json").write_text('{"auto_map": {}}')
    assert admit(folder)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")])
def test_a_broken_config(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(BaseError, match=r"config\.json"):
        admit(folder)


def test_links_out_of_the_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "vocab.txt").symlink_to(tmp_path / "secret.txt")
    assert "link out of the folder" in refused(folder)


def test_links_within_the_folder_and_to_the_hub_caches_blobs_pass(folder: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "abc"
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in folder.iterdir():
        shutil.copy(path, blobs / f"blob-{path.name}")
        (snapshot / path.name).symlink_to(Path("../../blobs") / f"blob-{path.name}")
    assert admit(snapshot).files == admit(folder).files
    (folder / "vocab.txt").symlink_to("config.json")
    assert admit(folder)
    (snapshot / "vocab.txt").symlink_to(folder / "config.json")
    assert "link out of the folder" in refused(snapshot)


def test_shards_are_those_of_the_index(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "a.safetensors").write_bytes(tensors(("a",)))
    (folder / "b.safetensors").write_bytes(tensors(("b",)))
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"b": "b.safetensors", "a": "a.safetensors"}}))
    admission = admit(folder)
    assert [path.name for path in admission.weights] == ["a.safetensors", "b.safetensors"]
    assert admission.parameters == 4
    assert index.name in admission.files
    (folder / "b.safetensors").unlink()
    with pytest.raises(BaseError, match=r"lacks b\.safetensors"):
        admit(folder)


@pytest.mark.parametrize("target", ["../x.safetensors", "/etc/passwd", "sub/x.safetensors", "..\\x.safetensors", "pytorch_model.bin"])
def test_an_index_that_reaches_elsewhere(folder: Path, target: str) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": target}}))
    assert "points to" in refused(folder)


def test_an_adapter_needs_no_config_but_safetensors(folder: Path) -> None:
    for path in list(folder.iterdir()):
        path.unlink()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(tensors())
    assert [path.name for path in admit(folder).weights] == ["adapter_model.safetensors"]
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    assert "adapter_model.bin" in refused(folder)


def test_missing_parts_and_other_formats(folder: Path, tmp_path: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(BaseError, match=r"no config\.json"):
        admit(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(BaseError, match="holds no weights"):
        admit(folder)
    (folder / "model.gguf").write_bytes(b"GGUF")
    assert "only model.gguf" in refused(folder)


def test_a_file_is_no_base(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"")
    assert "pickled file" in refused(folder / "pytorch_model.bin")
    with pytest.raises(BaseError, match="is a file"):
        admit(folder / "config.json")


@pytest.mark.skipif(not CASES, reason="the security set is not here")
def test_every_pickled_attack_is_refused_as_weights(tmp_path: Path) -> None:
    assert len(PICKLED) > 60
    for case in PICKLED:
        place = tmp_path / case["id"]
        place.mkdir()
        (place / "config.json").write_text('{"model_type": "bert"}')
        shutil.copy(SECURITY / case["file"], place)
        with pytest.raises(RootstockError) as caught:
            admit(place)
        assert isinstance(caught.value, GateRefused), case["id"]


@pytest.mark.skipif(not CASES, reason="the security set is not here")
@pytest.mark.parametrize("case", ["hf-tokenizer-auto-map", "hf-shard-index-traversal"])
def test_published_folders_that_reach_for_code_or_files(case: str) -> None:
    refused(SECURITY / "attacks" / case / "repo")


@pytest.mark.skipif(not CASES, reason="the security set is not here")
@pytest.mark.parametrize("case", ["hf-bin-beside-safetensors", "hf-training-args-bin", "hf-hubconf"])
def test_published_side_files_are_ignored_and_noted(case: str) -> None:
    admission = admit(SECURITY / "attacks" / case / "repo")
    assert [path.name for path in admission.weights] == ["model.safetensors"]
    assert admission.notes


@pytest.mark.skipif(not CASES, reason="the security set is not here")
def test_benign_folders_pass() -> None:
    assert admit(SECURITY / "benign" / "b-hf-repo-tools" / "repo").notes == ()
