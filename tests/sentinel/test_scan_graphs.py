"""Graphs in protocol buffers and FlatBuffers, built here field by field: ONNX, TensorFlow, PaddlePaddle, Core ML, TFLite, sentencepiece."""

import struct

import pytest
from tests.sentinel.scanning import found


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number, value):
    """A field: a number, or bytes or a text."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value & (1 << 64) - 1)
    raw = value if isinstance(value, bytes) else value.encode()
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def entry(key, value):
    return field(1, key) + field(2, value)


def node(operator="Add", domain="", extra=b""):
    return field(1, "x") + field(2, "y") + field(4, operator) + (field(7, domain) if domain else b"") + extra


def tensor(shape=(4,), raw=bytes(16), kind=1, extra=b""):
    return b"".join(field(1, size) for size in shape) + field(2, kind) + field(8, "w") + (field(9, raw) if raw is not None else b"") + extra


def onnx(*nodes, tensors=(), extra=b"", graph_extra=b""):
    graph = b"".join(field(1, each) for each in nodes) + field(2, "g") + b"".join(field(5, each) for each in tensors) + graph_extra
    return field(1, 8) + field(2, "maker") + field(7, graph) + field(8, field(1, "") + field(2, 17)) + extra


def external_model(location):
    outside = field(13, entry("location", location)) + field(14, 1)
    return onnx(node(), tensors=[tensor(raw=None, extra=outside)])


FUNCTION = field(25, field(1, "Mine") + field(10, "local") + field(7, node()))
SUBGRAPH = field(5, field(1, "then_branch") + field(6, field(1, node("PyOp", "ai.onnx.contrib"))))


def tf_node(operator, *attributes, name="n"):
    return field(1, name) + field(2, operator) + b"".join(field(5, entry(key, value)) for key, value in attributes)


def tf_graph(*nodes, functions=()):
    library = b"".join(field(1, field(1, field(1, "f")) + b"".join(field(3, each) for each in inner)) for inner in functions)
    return b"".join(field(1, each) for each in nodes) + (field(2, library) if library else b"")


def saved_model(*nodes, functions=()):
    return field(1, 1) + field(2, field(2, tf_graph(*nodes, functions=functions)))


def constant(text):
    return tf_node("Const", ("value", field(8, field(1, 7) + field(8, text))))


def coreml(layer=b"", extra=b""):
    return field(1, 4) + field(2, b"") + field(500, field(1, field(1, "l") + layer)) + extra


def piece(text):
    return field(1, field(1, text) + b"\x15" + struct.pack("<f", -1.0))


def sentencepiece(*texts, normalizer=b""):
    return b"".join(map(piece, texts)) + field(3, field(1, "nmt_nfkc") + normalizer)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.onnx", onnx(node(), tensors=[tensor()])),
        ("renamed", onnx(node("Scaler", "ai.onnx.ml"), node("FusedMatMul", "com.microsoft"))),
        ("m.onnx", onnx(node("Mine", "local"), extra=FUNCTION)),
        ("m.onnx", external_model("weights.bin")),
        ("m.onnx", onnx(node(), tensors=[tensor((0,), b""), tensor((2,), bytes(16), kind=7)])),
        ("m.onnx", onnx(node(), extra=field(14, entry("names", '{"0": "cat"}')))),
        ("saved_model.pb", saved_model(tf_node("MatMul"), tf_node("SaveV2"), tf_node("RestoreV2"), tf_node("MergeV2Checkpoints"))),
        ("frozen.pb", tf_graph(tf_node("Placeholder"), constant("a text of no graph at all"))),
        ("saved_model.pb", saved_model(tf_node("PrintV2", ("output_stream", field(2, "stderr"))))),
        ("m.pdmodel", field(1, field(1, 0) + field(4, field(3, "feed")) + field(4, field(3, "fetch")))),
        ("m.mlmodel", coreml(field(140, b""))),
        ("spiece.model", sentencepiece("<unk>", "▁the", "s")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ordinary_graphs_are_clean(tmp_path, name, content):
    assert found(tmp_path, {name: content}) == {}


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("m.onnx", external_model("../../etc/passwd"), "onnx-external-data"),
        ("m.onnx", external_model("/etc/passwd"), "onnx-external-data"),
        (
            "m.onnx",
            onnx(node(extra=field(5, field(1, "value") + field(5, tensor(raw=None, extra=field(13, entry("location", "/x"))))))),
            "onnx-external-data",
        ),
        ("m.onnx", onnx(node("Evil", "com.evil")), "onnx-custom-domain"),
        ("renamed", onnx(node("Evil", "com.evil")), "onnx-custom-domain"),
        ("m.onnx", onnx(node("PyOp", "pyopmodule")), "onnx-python-op"),
        ("m.onnx", onnx(node("If", extra=SUBGRAPH)), "onnx-python-op"),
        (
            "m.onnx",
            onnx(node(), extra=field(25, field(1, "F") + field(10, "x") + field(7, node("PythonOp", "com.microsoft")))),
            "onnx-python-op",
        ),
        ("m.onnx", onnx(node(), extra=field(14, entry("init", "import os; os.system('id')"))), "code-in-text"),
        ("m.onnx", onnx(node(extra=field(5, field(1, "library") + field(4, "/tmp/libevil.so")))), "native-library"),
        ("m.onnx", onnx(node(), tensors=[tensor((1 << 40,), None)]), "header-bomb"),
        ("m.onnx", onnx(node(), tensors=[tensor((5,))]), "onnx-tensor"),
        ("m.onnx", onnx(node(), tensors=[tensor((-4,))]), "onnx-tensor"),
        ("m.onnx", onnx(node())[:-3], "malformed"),
        ("saved_model.pb", saved_model(tf_node("ReadFile")), "tf-file-op"),
        ("saved_model.pb", saved_model(tf_node("NoOp"), functions=[[tf_node("WriteFile")]]), "tf-file-op"),
        ("saved_model.pb", saved_model(tf_node("EagerPyFunc")), "tf-python-op"),
        ("saved_model.pb", saved_model(tf_node("PrintV2", ("output_stream", field(2, "file:///tmp/x")))), "tf-file-op"),
        ("saved_model.pb", saved_model(constant(tf_graph(tf_node("NoOp"), tf_node("WriteFile")))), "tf-file-op"),
        ("saved_model.pb", saved_model(constant(tf_graph(constant(tf_graph(tf_node("Placeholder"), tf_node("PyFunc")))))), "tf-python-op"),
        ("frozen", tf_graph(tf_node("Placeholder"), tf_node("ReadFile")), "tf-file-op"),
        ("graph.pbtxt", b'node { name: "a" op: "PyFunc" }', "tf-python-op"),
        ("m.pdmodel", field(1, field(1, 0) + field(4, field(3, "py_func"))), "paddle-python-op"),
        ("m.mlmodel", coreml(field(500, field(10, "EvilLayer"))), "coreml-custom"),
        ("m.mlmodel", field(1, 4) + field(2, b"") + field(555, field(10, "Evil")), "coreml-custom"),
        ("spiece.model", sentencepiece("<unk>", "a", "a"), "tokenizer-swapped"),
        (
            "spiece.model",
            sentencepiece("<unk>", "a", normalizer=field(2, struct.pack("<I", 4) + bytes(4) + b"evil.example\0")),
            "tokenizer-rewrites",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_attacks_are_found(tmp_path, name, content, rule):
    rules = found(tmp_path, {name: content})
    assert rule in rules, rules


def test_keras_metadata_beside_a_saved_model(tmp_path):
    text = '{"class_name": "Lambda", "name": "l", "config": {"function": ["4wAAAAAAAAAAAAAAAAAAAAA=", null, null]}}'
    content = field(1, field(2, 1) + field(3, "root.layer-0") + field(4, "_tf_keras_layer") + field(5, text))
    assert "keras-lambda" in found(tmp_path, {"keras_metadata.pb": content})


def test_graphs_without_end_in_one_another(tmp_path):
    graph = field(1, node())
    for _ in range(60):
        graph = field(1, node(extra=field(5, field(1, "g") + field(6, graph))))
    rules = found(tmp_path, {"m.onnx": field(1, 8) + field(7, graph) + field(8, field(2, 17))})
    assert rules == {"limit-reached": "unscanned"}


def tflite(custom, *, broken=False):
    """A model with one operator code, laid out by hand."""
    name = custom.encode()
    text = struct.pack("<I", len(name)) + name + b"\0"
    text += b"\0" * (-len(text) % 4)
    # root offset, identifier, vtable and table of the model, vector, vtable and table of the code, text
    model_vtable = struct.pack("<HHHH", 8, 8, 0, 4)
    model = struct.pack("<iI", 8, 0)
    layout = bytearray(struct.pack("<I4s", 16, b"TFL3") + model_vtable + model)
    vector_at = len(layout)
    layout[20:24] = struct.pack("<I", vector_at - 20)
    code_vtable_at = vector_at + 8
    code_at = code_vtable_at + 8
    layout += struct.pack("<II", 1, code_at - (vector_at + 4)) + struct.pack("<HHHH", 8, 8, 0, 4)
    layout += struct.pack("<iI", code_at - code_vtable_at, (1 << 30) if broken else 4) + text
    return bytes(layout)


def test_tflite_operators(tmp_path):
    assert found(tmp_path, {"m.tflite": tflite("TFLite_Detection_PostProcess")}) == {}
    assert found(tmp_path, {"m.tflite": tflite("Evil")}) == {"tflite-custom-op": "suspicious"}
    assert found(tmp_path, {"m.tflite": tflite("FlexPyFunc")}) == {"tf-python-op": "malicious"}
    assert found(tmp_path, {"m.tflite": tflite("Evil", broken=True)}) == {"malformed": "suspicious"}


def test_tflite_with_its_labels_behind_it(tmp_path):
    import io
    import zipfile

    packed = io.BytesIO(tflite("TFLite_Detection_PostProcess"))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    assert found(tmp_path, {"m.tflite": packed.getvalue()}) == {}
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("x.py", "import os\nos.system('id')\n")
    assert found(tmp_path, {"m.tflite": packed.getvalue()}) == {"python-runs": "malicious"}


# A model of one matrix product as TensorFlow 2.21's converter writes it.
CONVERTED = (
    "c-n1KOKTHR6h7&UdDM^w3?)Lq_yBP;q&0R?Z9_;?C^T(tql<2)1DVReWKt$~LR|R=q;6ffDHQQ9xX{_U7ez#HBcZwycP{LB&Yg49P&&-V+<Wf%&f`0GN&wJa"
    "UB6p^GL)bQ1;|4dZE4VP4QK;+j`)H2k^neC9BTmh0xr>;o@vP<&NS|_%zJ>CLG*2Z;CN5Wj=gUMu8=$(@hXa<DPE@$y+9lU!mI$tCj00#igex&5#(Rxvv0`1"
    "#Oo`F#^%Q3=Jw9o=7!m7w(BePb{*r!b*0%)`F0)8^aD>gUE3Vke&6YNkVN}$#0laJ;w3^b$BW`R_QpL^&AD-GvfYx_q_icO2T~8Et1h)U%#R-4UwH9R<9>9>"
    "0+=`E=M3!rE9at^bH+WR0%s3J)-T9IK5huhN7pmq>FsLxY&G@%-;KA+kNzHo@BZAZJ^lH*_UrIk`2Ex8rBUCndCfaZTc~XtK{INtuWgqbJrA`IcE^x<7i6B?"
    "xO&Q$V>`{)MI20M)U_N>%}#M=Wgl6%%-kYNSL7IRA1T=fQ4_3*#{JSB<%pC$!FD?Tz;}Xj@1hSKtJ+HJQ)OPnny%pYDt>o_CG7pc-Lib)2%Ns%X;`kiSeeKZ"
    ">pUy_2UZ|{QnD{{%k!M3xaVVxPrbA((F)wN`Dz@iBo$D98OYvMEaI0L37)B{U6XP2@%=sbPnkokT-81KZ)T<T@y(%(nK)PGKYdV>F#"
)


def test_tflite_as_its_converter_writes_it(tmp_path):
    import base64
    import zlib

    assert found(tmp_path, {"m.tflite": zlib.decompress(base64.b85decode(CONVERTED))}) == {}
