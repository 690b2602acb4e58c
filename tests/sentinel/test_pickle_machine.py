"""The machine against Python's own unpickler: whatever that would import, the scan names; whatever is plain data passes."""

import collections
import contextlib
import datetime
import io
import math
import pickle
import struct

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.conftest import examples

from rootstock.sentinel.context import Context
from rootstock.sentinel.limits import Limits
from rootstock.sentinel.pickles import read
from rootstock.sentinel.pickles.judge import judge
from rootstock.sentinel.pickles.machine import Global
from rootstock.sentinel.source import of_bytes

CONTEXT = Context(Limits(), lambda source, context: iter(()), lambda tree, source, context: iter(()), math.inf)
SYSTEM = b"\x8c\x02os\x8c\x06system\x93"
RUN = SYSTEM + b"\x8c\x04true\x85R"


def found(data):
    """Rules of the findings in order."""
    return [each.rule for each in read.scan(of_bytes(data, path="x.pkl"), CONTEXT)]


def names(data):
    told = read.follow(of_bytes(data, path=""), CONTEXT)
    return {(each.module, each.name) for each in told.machine.about.values() if isinstance(each, Global)}


class Recorder(pickle.Unpickler):
    """Python's unpickler, with every import answered by an inert class."""

    def __init__(self, data):
        super().__init__(io.BytesIO(data))
        self.asked = set()

    def find_class(self, module, name):
        self.asked.add((module, name))
        return type("Inert", (), {"__init__": lambda self, *a, **k: None, "__call__": lambda self, *a: self, "append": lambda *a: None})

    def persistent_load(self, identity):
        return None


class PlainRecorder(pickle._Unpickler):
    find_class, persistent_load = Recorder.find_class, Recorder.persistent_load

    def __init__(self, data):
        super().__init__(io.BytesIO(data))
        self.asked = set()


def asked(kind, data):
    """What an unpickler imports of a stream before it ends or breaks."""
    recorder = kind(data)
    with contextlib.suppress(Exception):  # whatever breaks here, what was asked for before counts
        recorder.load()
    return recorder.asked


WORDS = st.sampled_from(["os", "system", "collections", "OrderedDict", "builtins", "a.b", "é", ""])


def short(text):
    raw = text.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


PIECES = st.one_of(
    st.sampled_from([bytes((code,)) for code in b"()]}\x8f.012NtaeusdlRbo\x81\x91\x90\x92\x93\x94\x85\x86\x87\x88\x89\x97\x98Q"]),
    WORDS.map(short),
    WORDS.map(lambda text: b"V" + text.encode("raw-unicode-escape") + b"\n"),
    WORDS.map(lambda text: b"S'" + text.encode("ascii", "ignore") + b"'\n"),
    st.tuples(WORDS, WORDS).map(lambda pair: b"c" + "\n".join(pair).encode() + b"\n"),
    st.tuples(WORDS, WORDS).map(lambda pair: b"(i" + "\n".join(pair).encode() + b"\n"),
    st.integers(0, 5).map(lambda n: b"h" + bytes([n])),
    st.integers(0, 5).map(lambda n: b"q" + bytes([n])),
    st.integers(0, 400).map(lambda n: b"r" + struct.pack("<I", n)),
    st.integers(0, 400).map(lambda n: b"p%d\n" % n),
    st.integers(0, 9).map(lambda n: b"g%d\n" % n),
    st.integers(0, 9).map(lambda n: b"j" + struct.pack("<I", n)),
    st.integers(0, 5).map(lambda n: b"\x80" + bytes([n])),
    st.integers(0, 60).map(lambda n: b"\x95" + struct.pack("<Q", n)),
    st.binary(max_size=6).map(lambda raw: b"B" + struct.pack("<I", len(raw)) + raw),
    st.sampled_from(
        [b"K\x01", b"M\x01\x02", b"J\x01\x02\x03\x04", b"I12\n", b"I01\n", b"L5L\n", b"F1.5\n", b"G" + b"\0" * 8, b"\x8a\x01\x05"]
    ),
    st.sampled_from([b"\x82\x01", b"\x83\x01\x02", b"P7\n", SYSTEM, RUN]),
)
STREAMS = st.lists(PIECES, max_size=40).map(b"".join)
FUZZ = settings(max_examples=examples(400), deadline=None, suppress_health_check=list(HealthCheck))


@FUZZ
@given(STREAMS)
@example(b"\x80\x04" + RUN + b"\xff")
@example(b"(" + SYSTEM + b"r\xff\x00\x00\x00\x94h\x00.")
@example(b"\x80\x02cos\nsystem\n(K\x01tq\x05h\x05R.")
def test_every_import_of_both_unpicklers_is_seen(stream):
    """The C unpickler's and the Python one's: they differ, for instance in what a MARK protects and in where a frame ends."""
    data = stream + b"."
    seen = names(data)
    rules = found(data)
    for kind in (Recorder, PlainRecorder):
        assert asked(kind, data) <= seen or "pickle-frame" in rules, kind


@FUZZ
@given(st.binary(max_size=200))
def test_any_bytes_end(data):
    found(data)
    read.looks_like_one(data, len(data), CONTEXT)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.complex_numbers(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner) | st.lists(inner).map(collections.deque),
    max_leaves=30,
)


@FUZZ
@given(PLAIN, st.integers(0, 5))
def test_plain_data_passes_in_every_protocol(value, protocol):
    data = pickle.dumps(value, protocol)
    assert found(data) == []
    assert read.looks_like_one(data, len(data), CONTEXT)


@FUZZ
@given(PLAIN, st.integers(0, 5), st.data())
def test_a_payload_is_found_wherever_it_stands(value, protocol, data):
    """Put between any two opcodes, dropped again: the model loads as before, and the call was made."""
    import pickletools

    stream = pickle.dumps(value, protocol)
    places = [position for opcode, _, position in pickletools.genops(stream) if opcode.name not in ("PROTO", "FRAME")]
    at = data.draw(st.sampled_from(places))
    stream = stream.replace(b"\x95" + stream[3:11], b"", 1) if protocol >= 4 and stream[2:3] == b"\x95" else stream
    at = min(at, len(stream) - 1) if protocol < 4 else len(stream) - 1
    assert "pickle-executes" in found(stream[:at] + RUN + b"0" + stream[at:])


@pytest.mark.parametrize(
    ("stream", "rule"),
    [
        (b"\x80\x04" + RUN + b".", "pickle-executes"),
        (b"cos\nsystem\n(S'true'\ntR.", "pickle-executes"),
        (b"(S'true'\nios\nsystem\n.", "pickle-executes"),
        (b"(cos\nsystem\nS'true'\no.", "pickle-executes"),
        (b"\x80\x02ccPickle\nloads\nU\x01.\x85R.", "pickle-executes"),
        (b"\x80\x04\x8c\x06random\x8c\x0a_os.system\x93.", "pickle-executes"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0c__builtins__\x93.", "pickle-executes"),
        (b"\x80\x04\x8c\x0adill._dill\x8c\x0c_create_code\x93.", "pickle-code"),
        (b"\x80\x04\x8c\x07mystery\x8c\x05Thing\x93.", "pickle-unknown-global"),
        (b"\x80\x04\x8c\x08builtins\x8c\x03str\x93)R\x8c\x06system\x93.", "pickle-computed-global"),
        (b"\x80\x04\x82\x01.", "pickle-extension"),
        (b"\x80\x04\x8c\x0bcollections\x8c\x0bOrderedDict\x93}b.", "pickle-changes-import"),
        (b"\x80\x04\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R)R.", "pickle-calls-object"),
        (b"\x80\x04\x8c\x05pid 1Q.", "pickle-persistent-id"),
        (b"\x80\x04]r\xff\xff\xff\x7f.", "pickle-bomb"),
        (b")" + b"\x85" * 5000 + b".", "pickle-depth"),
        (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x0fxx", "pickle-broken"),
        (b"\x80\x04N.\x80\x04" + RUN + b".", "pickle-executes"),
    ],
)
def test_each_rule(stream, rule):
    assert rule in found(stream)


def test_laughs_are_counted_without_being_written_out():
    stream = b"\x80\x04](K\x01K\x01e\x94"
    for level in range(12):
        stream += b"](" + b"h" + bytes([level]) + (b"h" + bytes([level])) * 9 + b"e\x94"
    assert found(stream + b".") == ["pickle-bomb"]


def test_shared_parts_of_a_real_size_pass():
    row = list(range(1000))
    assert found(pickle.dumps([row] * 1000)) == []


def test_a_frame_that_cuts_an_opcode_is_told():
    body = b"\x8c\x05hello."
    assert "pickle-frame" in found(b"\x80\x04\x95" + struct.pack("<Q", 3) + body)
    assert found(b"\x80\x04\x95" + struct.pack("<Q", len(body)) + body) == []


def test_a_stream_longer_than_the_window():
    """Literals, memo and calls on both sides of the window's edges."""
    value = [{"name": "n" * (i % 300), "raw": b"x" * (i * 37 % 5000), "i": i} for i in range(3000)]
    data = pickle.dumps(value, 4)
    assert len(data) > 1 << 22
    assert found(data) == []
    assert found(data[:-1] + b"0" + RUN + b".") == ["pickle-executes"]


def test_the_offset_is_that_of_the_import():
    data = b"\x80\x04" + SYSTEM + b"."
    (only,) = read.scan(of_bytes(data, path="x"), CONTEXT)
    assert (only.offset, data[only.offset]) == (14, 0x93)


@pytest.mark.parametrize(
    ("module", "name", "kind"),
    [
        ("torch._utils", "_rebuild_tensor_v2", "data"),
        ("numpy.core.multiarray", "_reconstruct", "data"),
        ("__builtin__", "set", "data"),
        ("copy_reg", "_reconstructor", "data"),
        ("sklearn.linear_model._logistic", "LogisticRegression", "known"),
        ("sklearn.linear_model.logistic", "LogisticRegression", "known"),
        ("sklearn.datasets._base", "LogisticRegression", "unknown"),
        ("torch.nn.modules.linear", "Linear", "known"),
        ("__builtin__", "eval", "executes"),
        ("builtins", "getattr", "executes"),
        ("torch.utils.collect_env", "run", "executes"),
        ("collections", "OrderedDict.fromkeys", "unknown"),
        ("collections", "OrderedDict.__init__.__globals__", "executes"),
    ],
)
def test_the_judge(module, name, kind):
    assert judge(module, name).kind == kind


def test_dates_stay_allowed():
    assert found(pickle.dumps(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), 2)) == []
