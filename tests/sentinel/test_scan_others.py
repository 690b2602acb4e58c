"""MessagePack, UBJSON, R, Torch7, TensorRT, LightGBM, and data that another file describes."""

import gzip
import pickle
import struct

import pytest
from tests.sentinel.scanning import found

PAYLOAD = pickle.dumps(print)


def packed(value):
    """MessagePack of a small value."""
    if isinstance(value, dict):
        return bytes([0x80 | len(value)]) + b"".join(packed(key) + packed(item) for key, item in value.items())
    if isinstance(value, list):
        return bytes([0x90 | len(value)]) + b"".join(map(packed, value))
    if isinstance(value, str):
        return b"\xd9" + bytes([len(value)]) + value.encode()
    if isinstance(value, tuple):
        return b"\xc7" + bytes([len(value[1]), value[0]]) + value[1]
    if isinstance(value, bytes):
        return b"\xc4" + bytes([len(value)]) + value
    return bytes([value])


ARRAY = (1, packed([[2, 2], "float32", bytes(16)]))


@pytest.mark.parametrize(
    ("content", "rules"),
    [
        (packed({"params": {"kernel": ARRAY, "step": 3}}), set()),
        (packed({"params": {"kernel": (1, PAYLOAD)}}), {"msgpack-extension"}),
        (packed({"params": {"kernel": (42, b"x")}}), {"msgpack-extension"}),
        (packed({"__reduce__": ["os.system", "id"]}), {"config-object"}),
        (packed({"note": "import os; os.system('id')"}), {"code-in-text"}),
        (packed({"a": 1}) + b"more", {"hidden-bytes"}),
        (b"\x81\xa1a" + b"\x91" * 200 + b"\x01", {"nesting"}),
        (b"\x81\xa1a\xdf\xff\xff\xff\xff", {"header-bomb"}),
        (b"\x81\xa1a\xc6\xff\xff\xff\xff", {"malformed"}),
        (b"\x82\xa1a\x01\xa1a\x02", {"duplicate-key"}),
    ],
    ids=range(10),
)
def test_messagepack(tmp_path, content, rules):
    result = found(tmp_path, {"flax_model.msgpack": content})
    assert rules <= set(result)
    assert bool(rules) == bool(result)


@pytest.mark.parametrize(
    ("content", "rules"),
    [
        (b"{L" + struct.pack(">q", 1) + b"ai\x05L" + struct.pack(">q", 1) + b"b[$d#L" + struct.pack(">q", 2) + bytes(8) + b"}", set()),
        (b"{L" + struct.pack(">q", 1) + b"a[$d#L" + struct.pack(">q", 1 << 40) + b"}", {"header-bomb"}),
        (b"{L" + struct.pack(">q", 1) + b"aSL" + struct.pack(">q", 1 << 40) + b"}", {"limit-reached"}),
        (b"{L" + struct.pack(">q", 1) + b"aSi\x1bimport os; os.system('x')  }", {"code-in-text"}),
        (b"{L" + struct.pack(">q", 1) + b"a" + b"[" * 300, {"nesting"}),
        (b"{L" + struct.pack(">q", 1) + b"a[$Z]}", {"malformed"}),
    ],
    ids=range(6),
)
def test_ubjson(tmp_path, content, rules):
    assert set(found(tmp_path, {"model.ubj": content})) == rules


def r(*words):
    head = b"X\n" + struct.pack(">iii", 2, 0x040300, 0x020300)
    return head + b"".join(struct.pack(">i", word) if isinstance(word, int) else word for word in words)


SYMBOL = (1, 9 | 1 << 18, 1, b"x")


@pytest.mark.parametrize(
    ("content", "severity"),
    [
        (r(13, 2, 1, 2), None),
        (r(19, 1, 16, 1, 9 | 1 << 18, 1, b"a"), None),
        (r(2 | 1024, *SYMBOL, 14, 1, bytes(8), 254), None),
        (r(5 | 1024, 253, 254, 6, *SYMBOL, 254), "malicious"),
        (r(6, *SYMBOL, 254), "suspicious"),
        (r(21, 1), "suspicious"),
    ],
    ids=["numbers", "texts", "list", "promise", "call", "bytecode"],
)
def test_r_objects(tmp_path, content, severity):
    for name, form in (("m.rds", content), ("m.rds", gzip.compress(content))):
        assert found(tmp_path, {name: form}).get("r-object") == severity


@pytest.mark.parametrize(
    ("name", "content", "rules"),
    [
        ("m.t7", struct.pack("<iii", 4, 1, 3) + b"V 1" + b"\x0b\0\0\0nn.Sequenti os.execute('id')", {"torch7-object", "code-in-text"}),
        ("m.engine", b"ptrt" + bytes(64), {"opaque-engine"}),
        ("m.engine", b"ptrt" + bytes(64) + b"IPluginV2\0libevil.so\0", {"opaque-engine", "native-library"}),
        ("model.txt", b"tree\nversion=v4\nnum_class=1\n\nTree=0\nnum_leaves=3\n", set()),
        ("model.txt", b"tree\nversion=v4\nnum_class=1\n\nTree=0\nnum_leaves=99999999999\n", {"header-bomb"}),
        ("variables.data-00000-of-00001", bytes(range(256)) * 4, set()),
        ("variables.index", bytes(40) + (0xDB4775248B80FB57).to_bytes(8, "little"), set()),
        ("m.pdiparams", bytes(64), set()),
        ("m.params", (0x112).to_bytes(8, "little") + bytes(64), set()),
        ("m.bin", b"\x01\x02\x03" * 40, {"unknown-format"}),
    ],
    ids=range(10),
)
def test_others(tmp_path, name, content, rules):
    assert set(found(tmp_path, {name: content})) == rules


def test_a_pickle_under_the_name_of_data_is_a_pickle(tmp_path):
    rules = found(tmp_path, {"variables.data-00000-of-00001": PAYLOAD}, notes=True)
    assert any(rule.startswith("pickle-") for rule in rules)
