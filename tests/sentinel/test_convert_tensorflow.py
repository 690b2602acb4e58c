"""TensorFlow checkpoints that are built here by the format's description, what is wrong with them in one way each, and one of its own."""

import base64
import json
import zlib

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch

from rootstock.core.errors import DataError, UsageError
from rootstock.sentinel.findings import Malformed
from rootstock.sentinel.parse import sstable
from rootstock.sentinel.source import of_bytes
from rootstock.verbs.converting import convert

ARRAYS = {
    "bert/embeddings": np.arange(12, dtype="f4").reshape(3, 4),
    "bert/embeddings/LayerNorm": np.ones(4, "f8"),
    "bert/pooler": np.arange(6, dtype="i8").reshape(2, 1, 3),
    "global_step": np.array(7, "i4"),
    "empty": np.zeros((0, 4), "f2"),
    "flags": np.array([True, False]),
}
DTYPES = {"f4": 1, "f8": 2, "i4": 3, "i8": 9, "b1": 10, "f2": 19}


def varint(value):
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value) if value else b""


def message(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def entry(array, offset, shard=0, dtype=None):
    shape = b"".join(message(2, number(1, axis)) for axis in array.shape)
    kind = DTYPES[array.dtype.str[1:]] if dtype is None else dtype
    return number(1, kind) + message(2, shape) + number(3, shard) + number(4, offset) + number(5, array.nbytes)


def block(pairs, *, restart_every=3):
    """Entries that share the beginning of the key before them."""
    data, restarts, before = b"", [], b""
    for i, (key, value) in enumerate(pairs):
        shared = 0
        if i % restart_every == 0:
            restarts.append(len(data))
        else:
            while shared < min(len(before), len(key)) and before[shared] == key[shared]:
                shared += 1
        data += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    restarts = restarts or [0]
    return data + b"".join(each.to_bytes(4, "little") for each in restarts) + len(restarts).to_bytes(4, "little")


def table(pairs, *, per_block=4):
    """Data blocks, an empty metaindex, the index, the footer."""
    out, index = b"", []

    def add(data):
        nonlocal out
        handle = varint(len(out)) + varint(len(data))
        out += data + b"\0" + sstable.masked(sstable.crc32c(data + b"\0")).to_bytes(4, "little")
        return handle

    for start in range(0, len(pairs), per_block):
        part = pairs[start : start + per_block]
        index.append((part[-1][0], add(block(part))))
    meta, place = add(block([])), add(block(index, restart_every=1))
    return out + (meta + place).ljust(40, b"\0") + sstable.MAGIC


def bundle(folder, arrays=ARRAYS, *, header=number(1, 2), extra=(), shards=2):
    """A checkpoint of two files of numbers."""
    data, pairs = [b""] * shards, [(b"", header), *extra]
    for i, (name, array) in enumerate(sorted(arrays.items())):
        pairs.append((name.encode(), entry(array, len(data[i % shards]), i % shards)))
        data[i % shards] += array.tobytes()
    (folder / "model.ckpt.index").write_bytes(table(sorted(pairs)))
    for i, each in enumerate(data):
        (folder / f"model.ckpt.data-{i:05d}-of-{shards:05d}").write_bytes(each)
    return folder / "model.ckpt"


def test_the_checksum_is_castagnolis():
    assert sstable.crc32c(b"123456789") == 0xE3069283  # RFC 3720, appendix B.4
    assert sstable.crc32c(b"\0" * 32) == 0x8A9136AA
    assert zlib.crc32(b"123456789") != 0xE3069283


@pytest.mark.parametrize("named", ["model.ckpt", "model.ckpt.index", "."])
def test_variables_come_out_as_they_were(tmp_path, named):
    (tmp_path / "c").mkdir()
    bundle(tmp_path / "c", extra=[(b"_CHECKPOINTABLE_OBJECT_GRAPH", number(1, 7) + number(5, 3))])
    record = convert([tmp_path / "c" / named], tmp_path / "out")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert set(found) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert record["left_out_named"] == ["_CHECKPOINTABLE_OBJECT_GRAPH: texts"]
    assert len(record["sources"]) == 3


def broken(folder, how):
    path = bundle(folder)
    index = folder / "model.ckpt.index"
    data = bytearray(index.read_bytes())
    if how == "bit":
        data[10] ^= 1
    elif how == "cut":
        del data[:30]
    elif how == "snappy":
        first = sstable.crc32c  # the trailer of the first block: its kind stands before the checksum
        assert first
        size = len(block([(key, value) for key, value in list(sstable.entries(of_bytes(bytes(data), path="")))[:4]]))
        data[size] = 1
    elif how == "handle":
        data[-48:-8] = (varint(1 << 60) + varint(9) + varint(0) + varint(1)).ljust(40, b"\0")
    index.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize(
    ("how", "said"), [("bit", "checksum"), ("cut", "checksum|beyond|number"), ("snappy", "snappy"), ("handle", "beyond")]
)
def test_a_damaged_index_is_told(tmp_path, how, said):
    with pytest.raises(DataError, match=said):
        convert([broken(tmp_path, how)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("header", "extra", "said"),
    [
        (number(1, 2) + number(2, 1), [], "byte order"),
        (number(1, 1 << 40), [], "names 1,099,511,627,776 files"),
        (number(1, 2), [(b"z", entry(np.ones(3, "f4"), 1 << 40))], "beyond its file"),
        (number(1, 2), [(b"z", entry(np.ones(3, "f4"), 0, shard=5))], "file 5 of 2"),
        (number(1, 2), [(b"z", number(1, 1) + message(2, message(2, number(1, 9))) + number(5, 4))], "has 4 bytes"),
        (number(1, 2), [(b"z", number(1, 1) + message(2, message(2, number(1, 1 << 60))))], "an axis of"),
        (number(1, 2), [(b"z", b"\xff\xff")], "field|number|varint"),
    ],
)
def test_a_lying_index_is_told(tmp_path, header, extra, said):
    with pytest.raises(DataError, match=said):
        convert([bundle(tmp_path, header=header, extra=extra)], tmp_path / "out")


def test_missing_numbers_and_other_tables_are_told(tmp_path):
    path = bundle(tmp_path)
    (tmp_path / "model.ckpt.data-00001-of-00002").unlink()
    with pytest.raises(DataError, match="data-00001-of-00002 is not beside it"):
        convert([path], tmp_path / "out")
    (tmp_path / "model.ckpt.index").write_bytes(table([(b"key", b"value")]))
    with pytest.raises(DataError, match="no header of a tensor bundle"):
        convert([path], tmp_path / "out")
    with pytest.raises(UsageError, match="there is no file"):
        convert([tmp_path / "other"], tmp_path / "out")


def test_keys_out_of_order_are_no_table():
    with pytest.raises(Malformed, match="not in order"):
        list(sstable.entries(of_bytes(table([(b"b", b""), (b"a", b"")]), path="")))


# -- shards of torch --------------------------------------------------------------------------------------------------------


def shards(folder, **more):
    parts = {"pytorch_model-00001-of-00002.bin": {"a": torch.ones(2)}, "pytorch_model-00002-of-00002.bin": {"b": torch.zeros(3)}}
    for name, tensors in parts.items():
        torch.save(tensors, folder / name)
    named = {tensor: name for name, tensors in parts.items() for tensor in tensors} | more
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": named}))
    return folder / "pytorch_model.bin.index.json"


@pytest.mark.parametrize("whole", [True, False])
def test_all_shards_of_an_index_become_one_file(tmp_path, whole):
    (tmp_path / "m").mkdir()
    index = shards(tmp_path / "m")
    record = convert([tmp_path / "m" if whole else index], tmp_path / "out")
    assert {name: array.tolist() for name, array in load_file(tmp_path / "out" / "model.safetensors").items()} == {
        "a": [1, 1],
        "b": [0, 0, 0],
    }
    assert len(record["sources"]) == 3


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"c": "pytorch_model-00001-of-00002.bin"}, "holds 'c'"),
        ({"c": "../x.bin"}, "leads to"),
        ({"c": "missing.bin"}, "there is no file"),
        ({"c": 3}, "no weight_map"),
    ],
)
def test_an_index_that_lies_is_told(tmp_path, more, said):
    with pytest.raises((DataError, UsageError), match=said):
        convert([shards(tmp_path, **more)], tmp_path / "out")


# -- as TensorFlow writes them ----------------------------------------------------------------------------------------------

# Saver().save of TensorFlow 2.21, zlib and base85: variables of each kind under layer/, texts, and a variable in two slices.
WRITTEN = {
    "model.ckpt.index": (
        "c-muNVB=tvV&Y(A5D;Z3F38C&(JyCUWMpb+YG~$Q6ygwK;$Q+|W`!sX3Dayls}(#fqD|;>MNl~gcK)2i%G4tLBn~bi7Lc?ClWF{hbB*lGf@y|k9DEQ#1ttv^"
        "Q%-@!HEhg+$z~=T9AIHa1vU*1(@2}ArfkfjAl1TP8yLYl_<%Y#ADLjw&LnDVgkrZ4(C+?C`h4t6f<U8~pf+e}2$)tpZpa1NkO|bl3>Icqu+rc$^<P?5#m>YF"
        "RLm*Fpx_3ybNBW6f@~~;C8-r99PCg7{6ON%6z{Mx36@%Luz*Eb6vBYcu$z18Is>~BG_0U*0UK|{!NnxN1jNi%TwE+1P&NY)FoKB0b>HORoCBX0ZeU<!E@61Z"
        "1Q%P$U25>2iQ^9wKLbG!{=1=DrPTd40EePS+W"
    ),
    "model.ckpt.data-00000-of-00001": (
        "c-muRIAAZ}z`)R8&%nUoz+l0!7f3UxdJ5U8dQP(2o_iZe3)$!0HnR@}gR3BQK)`YUL^1*~6A-gQ1Q{3^tEAWFBqlL1GBHEUBpw3*B+D5{"
    ),
}
VALUES = {
    "f32": np.arange(6, dtype="f4").reshape(2, 3) / 7,
    "f64": np.array([1 / 3, -2.5]),
    "i32": np.arange(3, dtype="i4"),
    "i64": np.array(7),
    "b": np.array([True, False]),
    "f16": np.array([[0.5, -1.25]], dtype="f2"),
    "u8": np.arange(4, dtype="u1"),
    "c64": np.array([1 + 2j], dtype="c8"),
}


def test_a_checkpoint_that_tensorflow_wrote(tmp_path):
    for name, packed in WRITTEN.items():
        (tmp_path / name).write_bytes(zlib.decompress(base64.b85decode(packed)))
    record = convert([tmp_path / "model.ckpt"], tmp_path / "safe")
    held = load_torch(tmp_path / "safe/model.safetensors")
    assert {name: each.tolist() for name, each in held.items() if name != "layer/bf16"} == {
        f"layer/{name}": each.tolist() for name, each in VALUES.items()
    }
    assert all(held[f"layer/{name}"].numpy().dtype == each.dtype for name, each in VALUES.items())
    assert (held["layer/bf16"].dtype, held["layer/bf16"].tolist()) == (torch.bfloat16, [1.5, 2.25])
    assert record["left_out_named"] == ["layer/text: texts", "split/w: a variable in slices"]
    assert record["scan_rules"] == []
