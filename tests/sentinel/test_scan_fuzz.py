"""Every reader on bytes that hypothesis makes up, and on its own format with bytes changed: a finding or none, never an error or a hang."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import examples
from tests.sentinel import test_scan_graphs as graphs
from tests.sentinel import test_scan_hdf5 as hdf5
from tests.sentinel import test_scan_others as others
from tests.sentinel import test_scan_weights as weights

from rootstock.sentinel.catalog import formats
from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, LimitReached, Malformed
from rootstock.sentinel.limits import Limits
from rootstock.sentinel.scanner import scan_source, scan_tree
from rootstock.sentinel.source import of_bytes

SECONDS = 20.0
SEEDS = {
    "onnx": graphs.onnx(graphs.node(extra=graphs.SUBGRAPH), tensors=[graphs.tensor()], extra=graphs.FUNCTION),
    "savedmodel": graphs.saved_model(graphs.constant(graphs.tf_graph(graphs.tf_node("NoOp"))), functions=[[graphs.tf_node("X")]]),
    "paddle": graphs.field(1, graphs.field(4, graphs.field(3, "feed")) + graphs.field(4, graphs.field(3, "fetch"))),
    "coreml": graphs.coreml(graphs.field(500, graphs.field(10, "X"))),
    "sentencepiece": graphs.sentencepiece("<unk>", "a", normalizer=graphs.field(2, bytes(12))),
    "tflite": graphs.tflite("Evil"),
    "safetensors": weights.safetensors({"w": weights.entry(), "__metadata__": {"a": '{"b": 1}'}}),
    "gguf": weights.gguf([weights.NAMED, weights.ARRAY, weights.NUMBERS]),
    "hdf5": hdf5.content("dense latest"),
    "msgpack": others.packed({"params": {"kernel": others.ARRAY, "s": "text"}}),
    "ubjson": b"{i\x01ai\x05i\x01b[$d#i\x02" + bytes(8) + b"i\x01c[Zi\x03]i\x01dSi\x02xy}",
    "rds": others.r(2 | 1024, *others.SYMBOL, 19, 1, 16, 1, 9 | 1 << 18, 1, b"a", 254),
    "json": b'{"class_name": "Lambda", "config": {"a": [1, "x\\n", {"_target_": "os.system"}]}, "t": "{{ x }}"}',
    "yaml": b"a: &x !!python/tuple [1, {b: c}]\n? [k]\n: *x\nd: |\n  text\n_target_: os.system\n",
    "xml": b'<?xml version="1.0"?><net version="11"><layers><layer id="0" type="X" version="opset1"/></layers></net>',
    "jinja": b"{% for m in messages if 'a b' in m.content %}{{ m['x' ~ y] | attr(z) }}{% endfor %}",
    "python": b"import os\nclass A:\n    x = [os.system(y) for y in ()]\n",
    "requirements": b"-i https://x.example/simple\ntorhc==1\nx @ git+https://github.com/a/b\n",
    "lightgbm": b"tree\nversion=v4\nnum_class=1\nnum_leaves=3\n",
    "script": b"#!/bin/sh\ncurl x | sh\n",
    "git": b'blob 24\0{"_target_": "os.system"}',
    "torch7": b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1",
    "tensorrt": b"ptrt" + bytes(40),
    "tensordata": bytes(16) + (0xDB4775248B80FB57).to_bytes(8, "little"),
}
NAMES = {
    "yaml": "c.yaml",
    "requirements": "requirements.txt",
    "python": "x.py",
    "coreml": "m.mlmodel",
    "paddle": "m.pdmodel",
    "hdf5": "m.h5",
}


def context():
    return Context(Limits(seconds=SECONDS, file_seconds=SECONDS), scan_source, scan_tree, time.monotonic() + SECONDS)


def readers():
    return {module.__name__.rsplit(".", 1)[1]: module for module in formats()}


def read(module, data, name):
    """The findings of one reader; its two ways of giving up are as good. Anything else is an error of the reader."""
    started = time.monotonic()
    source = of_bytes(data, path=f"/x/{name}")
    module.recognises(source.probe)
    try:
        found = list(module.scan(source, context()))
    except (Malformed, LimitReached):
        found = []
    assert all(isinstance(each, Finding) for each in found)
    assert time.monotonic() - started < SECONDS


@st.composite
def changed(draw, seed):
    """A seed with stretches cut, doubled, exchanged or overwritten."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(("set", "cut", "double", "end", "big")))
        if kind == "set" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 16))]
        elif kind == "double":
            data[at:at] = data[at : at + draw(st.integers(1, 64))]
        elif kind == "end":
            del data[at:]
        else:
            data[at : at + 8] = draw(st.sampled_from((b"\xff" * 8, b"\0" * 8, b"\0\0\0\0\0\0\0\x80", b"\xff" * 4 + b"\x7f" * 4)))
    return bytes(data)


def test_every_reader_of_this_half_has_a_seed():
    own = set(readers()) - {"pickle", "zip", "tar", "sevenzip", "compressed", "numpy", "executable", "inert"}
    assert own <= set(SEEDS)


@pytest.mark.parametrize("name", SEEDS)
@settings(max_examples=examples(120), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_changed_files(name, data):
    read(readers()[name], data.draw(changed(SEEDS[name])), NAMES.get(name, "file"))


@settings(max_examples=examples(300), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(raw=st.binary(max_size=300), lead=st.sampled_from(sorted(SEEDS)), keep=st.integers(0, 24))
def test_made_up_bytes(raw, lead, keep):
    data = SEEDS[lead][:keep] + raw
    for name in SEEDS:
        read(readers()[name], data, NAMES.get(name, "file"))
