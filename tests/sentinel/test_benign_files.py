"""What frameworks at hand write passes by the standard policy; what they write of whole objects is a note, and never refused."""

import collections
import io
import json
import pickle
import random

import dill
import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from tests.sentinel.attack_archives import PAYLOAD, zipped
from tests.sentinel.scanning import found
from torch import nn


def torch_bytes(value, **how):
    stream = io.BytesIO()
    torch.save(value, stream, **how)
    return stream.getvalue()


def trained():
    """A model, its optimizer after a step, and its schedule."""
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.GELU(), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves(tmp_path, zipped):
    model, optimizer, schedule = trained()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(), "epoch": 3}
    state |= {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "python": random.getstate(), "best": float("inf")}
    hooked = nn.utils.spectral_norm(nn.Linear(3, 3))
    for number, value in enumerate((model.state_dict(), state, model, optimizer, torch.randn(2), [torch.eye(2).to_sparse()], hooked)):
        assert found(tmp_path, {f"{number}.pt": torch_bytes(value, _use_new_zipfile_serialization=zipped)}) == {}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript(tmp_path):
    model, _, _ = trained()
    for name, made in (("traced", torch.jit.trace(model, torch.ones(1, 3))), ("scripted", torch.jit.script(model))):
        torch.jit.save(made, tmp_path / f"{name}.pt")
    assert found(tmp_path, {"README.md": "two", "x.txt": "x"}) == {}


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_checkpoint_in_shards_of_several_workers(tmp_path):
    """torch.distributed.checkpoint writes one zip for each tensor, one behind the other; what hides in one of them is found."""
    from torch.distributed import checkpoint

    checkpoint.save({"w": torch.zeros(3), "v": torch.ones(2, 2), "step": 3}, checkpoint_id=tmp_path / "dcp", no_dist=True)
    assert found(tmp_path / "dcp", {"README.md": "x", "x.txt": "x"}) == {}
    (shard,) = (tmp_path / "dcp").glob("*.distcp")
    assert shard.read_bytes().count(b"PK\x05\x06") > 1
    evil = shard.read_bytes() + zipped([("archive/data.pkl", PAYLOAD)])
    assert found(tmp_path / "x", {"__0_0.distcp": evil}) == {"pickle-executes": "malicious"}
    assert found(tmp_path / "y", {"__0_0.distcp": shard.read_bytes() + PAYLOAD}) == {"pickle-executes": "malicious"}
    assert "zip-hidden-member" in found(tmp_path / "z", {"model.pt": shard.read_bytes()})  # elsewhere two in a row are a disguise


@pytest.mark.parametrize("protocol", range(6))
def test_plain_objects_and_arrays_of_every_protocol(tmp_path, protocol):
    values = {"ordered": collections.OrderedDict(a=1), "count": collections.Counter("aab"), "error": ValueError("x")}
    values |= {"array": np.eye(2), "objects": np.array([None, "x"], dtype=object), "generator": np.random.default_rng(0)}
    values |= {"table": pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": pd.Categorical(["u", "v"])})}
    assert found(tmp_path, {"m.pkl": pickle.dumps(values, protocol)}) == {}


def test_estimators_by_pickle_joblib_and_dill(tmp_path):
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    rows = ["good movie here", "bad film there"] * 5
    for number, each in enumerate(
        (make_pipeline(TfidfVectorizer(), GradientBoostingClassifier(n_estimators=2)).fit(rows, [0, 1] * 5), {"x": np.eye(3)})
    ):
        assert found(tmp_path / "p", {f"{number}.pkl": pickle.dumps(each)}) == {}
        assert found(tmp_path / "d", {f"{number}.dill": dill.dumps(each)}) == {}
        for packed in (0, ("zlib", 3), ("xz", 3)):
            joblib.dump(each, tmp_path / "j.joblib", compress=packed)
            assert found(tmp_path / "j", {"j.joblib": (tmp_path / "j.joblib").read_bytes()}) == {}


def test_arrow_as_data_sets_are_cached(tmp_path):
    table, stream, file = pa.table({"text": ["a", "b"], "label": [0, 1]}), io.BytesIO(), io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write(table)
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write(table)
    assert found(tmp_path, {"data-00000-of-00001.arrow": stream.getvalue()}) == {}
    assert found(tmp_path, {"f.arrow": file.getvalue()}) == {}
    assert found(tmp_path, {"noise": b"\xff\xff\xff\xff" + bytes(range(1, 200))}) == {"unknown-format": "unscanned"}


def test_trees_of_skops(tmp_path):
    """Its files of trees hold arguments under __reduce__, in an object; a list there, or a class that runs code, is another thing."""

    def schema(kind, module, reduce):
        node = {"__class__": kind, "__module__": module, "__loader__": "TreeNode", "__reduce__": reduce}
        return zipped(
            [
                (
                    "schema.json",
                    json.dumps({"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "content": [node]}).encode(),
                )
            ]
        )

    arguments = {"args": {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "content": []}}
    assert found(tmp_path, {"t.skops": schema("Tree", "sklearn.tree._tree", arguments)}) == {}
    assert found(tmp_path, {"t.skops": schema("Tree", "sklearn.tree._tree", ["os.system", "true"])})["config-object"] == "malicious"
    assert found(tmp_path, {"t.skops": schema("system", "os", arguments)}) == {"config-target": "malicious"}


def test_a_folder_of_a_run_of_the_trainer(tmp_path, tiny_base):
    from transformers import TrainingArguments

    _, optimizer, schedule = trained()
    files = {path.name: path.read_bytes() for path in tiny_base.iterdir() if path.is_file()}
    files |= {"training_args.bin": torch_bytes(TrainingArguments(output_dir=str(tmp_path / "o"), report_to=[]))}
    files |= {"optimizer.pt": torch_bytes(optimizer.state_dict()), "scheduler.pt": torch_bytes(schedule.state_dict())}
    files |= {
        "trainer_state.json": json.dumps({"epoch": 1.0, "log_history": [{"loss": 0.1}]}),
        "rng_state.pth": torch_bytes({"python": random.getstate()}),
    }
    assert found(tmp_path / "run", files) == {}


def test_a_clone_of_git(tmp_path):
    """Loose objects are scanned like the files that they hold; what git packs is named."""
    import subprocess

    def git(*words):
        subprocess.run(
            ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@example.com", *words], check=True, capture_output=True
        )

    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "weights").write_bytes(pickle.dumps([1, 2]))
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert found(tmp_path, {"README.md": "x", "a.txt": "x"}) == {}
    git("gc", "-q")
    assert found(tmp_path, {"README.md": "x", "a.txt": "x"}) == {}
    (tmp_path / "weights").write_bytes(PAYLOAD)
    git("add", ".")
    (tmp_path / "weights").unlink()
    assert found(tmp_path, {"README.md": "x", "a.txt": "x"}) == {"pickle-executes": "malicious"}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("paper.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n" + bytes(40)),
        ("demo.mp4", b"\0\0\0 ftypisom\0\0\2\0" + bytes(40)),
        ("demo.webm", b"\x1aE\xdf\xa3" + bytes(40)),
        (".DS_Store", b"\0\0\0\x01Bud1\0\0\x10\0" + bytes(40)),
        ("spiece.vocab", "<unk>\t0\n<s>\t0\n▁the\t-3.1\n".encode()),
        ("lid.bin", (0x2F4F16BA).to_bytes(4, "little") + bytes(60)),
    ],
)
def test_what_lies_beside_models(tmp_path, name, data):
    assert found(tmp_path, {name: data}) == {}
    assert found(tmp_path / "other", {name: data + zipped([("archive/data.pkl", PAYLOAD)])})["pickle-executes"] == "malicious"


def test_tokenizers_and_classes_of_libraries_are_named_and_not_called_malicious(tmp_path):
    from tokenizers import Tokenizer, models
    from transformers import BertTokenizerFast, PreTrainedTokenizerFast

    tokens = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    for number, each in enumerate(
        (PreTrainedTokenizerFast(tokenizer_object=tokens), BertTokenizerFast(str(tmp_path / "vocab.txt")), tokens)
    ):
        assert found(tmp_path / "t", {f"{number}.pkl": pickle.dumps(each)}) == {}
    tagger = b"cnltk.tag.perceptron\nPerceptronTagger\n)\x81."
    assert found(tmp_path / "n", {"tagger.pkl": b"\x80\x02" + tagger}) == {"pickle-unknown-global": "suspicious"}


def test_a_pickled_keras_model_is_scanned_as_the_file_that_it_holds(tmp_path):
    from tests.sentinel.attack_models import LAMBDA, keras3, layer, sequential

    def pickled(model, kind="Sequential", *, plain=False):
        (data,) = model.values()
        raw = b"B" + len(data).to_bytes(4, "little") + data
        stream = b"c_io\nBytesIO\n" + (raw + b"\x85R" if plain else b")\x81" + raw + b"K\0N\x87b")
        called = b"cbuiltins\ngetattr\n(ckeras.src.models.sequential\n%s\nX\x0f\0\0\0_unpickle_modeltR" % kind.encode()
        return b"\x80\x04" + called + stream + b"\x85R."

    assert found(tmp_path, {"m.pkl": pickled(keras3(sequential(layer("Dense", units=2))))}) == {}
    for plain in (False, True):
        assert found(tmp_path, {"m.pkl": pickled(keras3(sequential(LAMBDA)), plain=plain)}) == {"keras-lambda": "malicious"}
    assert found(tmp_path, {"m.pkl": pickled(keras3(sequential()), "Mine")}) == {"pickle-unknown-global": "suspicious"}
