"""safetensors and GGUF: every length, offset and count against the file."""

import json
import pickle
import struct

import pytest
from tests.sentinel.scanning import found


def safetensors(header, data=bytes(16)):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def entry(begin=0, end=16, dtype="F32", shape=(4,)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


PAYLOAD = pickle.dumps(print)  # a name of a function: data that is no weight


@pytest.mark.parametrize(
    "content",
    [
        safetensors({"w": entry()}),
        safetensors({"w": entry(), "empty": entry(16, 16, shape=(0, 3)), "__metadata__": {"format": "pt"}}),
        safetensors({}, b""),
        safetensors({"a": entry(0, 2, "F4", (4,)), "b": entry(2, 4, "BF16", (1,))}, bytes(4)),
    ],
    ids=["one", "an empty one", "none", "half a byte each"],
)
def test_sound_safetensors_are_clean(tmp_path, content):
    assert found(tmp_path, {"m.safetensors": content}) == {}
    assert found(tmp_path, {"renamed": content}) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 7 + b"\x7f" + b'{"w": 1}',
        safetensors({"w": entry()}, bytes(15)),
        safetensors({"w": entry()}, bytes(17)),
        safetensors({"w": entry(), "v": entry(8, 24)}, bytes(24)),
        safetensors({"w": entry(), "v": entry(32, 48)}, bytes(48)),
        safetensors({"w": entry(shape=(5,))}),
        safetensors({"w": entry(shape=(1 << 62, 4))}),
        safetensors({"w": entry(shape=(-4,))}),
        safetensors({"w": entry(dtype="F33")}),
        safetensors(b'{"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], "dtype": "I32"}}'),
        safetensors(b'{"w":' * 3000 + b"1" + b"}" * 3000),
        safetensors({"w": entry(), "__metadata__": {"format": 1}}),
        safetensors([1]),
        safetensors({"\x00hidden": entry()}),
        b"\x03\0\0",
    ],
    ids=range(15),
)
def test_safetensors_that_do_not_add_up(tmp_path, content):
    assert found(tmp_path, {"m.safetensors": content})["safetensors-layout"] == "suspicious"


def test_what_hides_in_a_hole_is_scanned(tmp_path):
    data = bytes(16) + PAYLOAD
    rules = found(tmp_path, {"m.safetensors": safetensors({"w": entry()}, data)}, notes=True)
    assert "safetensors-layout" in rules
    assert any(rule.startswith("pickle-") for rule in rules)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ('{"_target_": "builtins.exec", "_args_": ["1"]}', "config-target"),
        ("{{ ''.__class__.__mro__ }}", "template-escape"),
        ("import os; os.system('id')", "code-in-text"),
        ("a:\n  _target_: os.system\n", "config-target"),
    ],
)
def test_metadata_is_judged(tmp_path, value, rule):
    assert rule in found(tmp_path, {"m.safetensors": safetensors({"__metadata__": {"config": value}, "w": entry()})})


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def pair(key, value):
    kind = 8 if isinstance(value, str) else 4
    return text(key) + struct.pack("<I", kind) + (text(value) if kind == 8 else struct.pack("<I", value))


def tensor(name="w", shape=(4,), kind=0, offset=0):
    return text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in shape) + struct.pack("<IQ", kind, offset)


def gguf(pairs=(), tensors=(tensor(),), data=bytes(16), *, counts=None, align=32, version=3):
    counted = counts or (len(tensors), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, *counted) + b"".join(pairs) + b"".join(tensors)
    return head + bytes(-len(head) % align) + data


NAMED = pair("general.architecture", "llama")
ARRAY = text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
NUMBERS = text("scores") + struct.pack("<IIQ", 9, 6, 3) + bytes(12)


@pytest.mark.parametrize(
    "content",
    [
        gguf([NAMED, ARRAY, NUMBERS]),
        gguf([NAMED, pair("general.alignment", 64)], align=64),
        gguf([NAMED], [tensor("a"), tensor("b", offset=32)], bytes(48)),
        gguf([NAMED], [tensor(shape=(32, 2), kind=2)], bytes(36)),
        gguf([NAMED], (), b""),
        gguf([pair("tokenizer.chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}")], data=bytes(32)),
    ],
    ids=["lists", "alignment", "two", "quantised", "vocabulary only", "template"],
)
def test_sound_gguf_is_clean(tmp_path, content):
    assert found(tmp_path, {"m.gguf": content}) == {}
    assert found(tmp_path, {"renamed.bin": content}) == {}


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (gguf(counts=(1, 1 << 40)), "header-bomb"),
        (gguf(counts=(1 << 40, 0)), "header-bomb"),
        (gguf([text("k") + struct.pack("<IIQ", 9, 4, 1 << 50)]), "header-bomb"),
        (gguf([text("k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 40], data=bytes(4000)), "nesting"),
        (gguf([struct.pack("<Q", 1 << 62) + b"general"]), "gguf-bounds"),
        (gguf([text("k") + struct.pack("<I", 99)]), "gguf-bounds"),
        (gguf([pair("general.alignment", 3)]), "gguf-bounds"),
        (gguf(tensors=[tensor(shape=(1 << 40,))]), "gguf-bounds"),
        (gguf(tensors=[tensor(shape=(1 << 63, 1 << 63))]), "gguf-bounds"),
        (gguf(tensors=[tensor(offset=1 << 63)]), "gguf-bounds"),
        (gguf(tensors=[tensor(kind=77)]), "gguf-bounds"),
        (gguf(tensors=[tensor(shape=(1,) * 9)]), "gguf-bounds"),
        (gguf(tensors=[tensor(shape=(33,), kind=2)], data=bytes(64)), "gguf-bounds"),
        (gguf(tensors=[tensor("a"), tensor("b")]), "gguf-bounds"),
        (gguf(tensors=[tensor("a"), tensor("a", offset=32)], data=bytes(48)), "duplicate-key"),
        (gguf([NAMED, NAMED]), "duplicate-key"),
        (gguf(data=bytes(16) + b"\x7fELF\x02\x01\x01" + bytes(100)), "hidden-bytes"),
        (gguf(version=9), "gguf-bounds"),
        (gguf(data=b""), "gguf-bounds"),
        (gguf([pair("tokenizer.chat_template", "{{ x.__class__ }}")]), "template-escape"),
        (gguf([pair("tokenizer.chat_template.tools", "{% if 'wire money' in messages[0].content %}x{% endif %}")]), "template-phrase"),
        (b"GGUF\x03", "malformed"),
    ],
    ids=range(22),
)
def test_gguf_that_does_not_add_up(tmp_path, content, rule):
    rules = found(tmp_path, {"m.gguf": content})
    assert rule in rules, rules


def test_large_files_are_not_read(tmp_path):
    """A gigabyte of weights, sparse on disk: the header is all that is read."""
    from rootstock.sentinel.scanner import scan

    size = 1 << 30
    for name, head in (
        ("m.safetensors", safetensors({"w": entry(0, size, shape=(size // 4,))}, b"")),
        ("m.gguf", gguf(tensors=[tensor(shape=(size // 4,))], data=b"")),
    ):
        with (tmp_path / name).open("wb") as file:
            file.write(head)
            file.truncate(len(head) + size)
        report = scan(tmp_path / name)
        assert not report.refused
        assert report.seconds < 2
