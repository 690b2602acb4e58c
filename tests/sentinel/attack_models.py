"""Models of other frameworks and repositories that reach for code or files, built here; published attacks beyond the catalogue's files."""
# ruff: noqa: E501  (what is scanned stands on one line)
# fmt: off

import base64
import gzip
import json
import marshal
import struct

from tests.sentinel import test_scan_graphs as graphs
from tests.sentinel import test_scan_others as others
from tests.sentinel import test_scan_weights as weights
from tests.sentinel.attack_archives import ELF, zipped
from tests.sentinel.attack_pickles import PAYLOAD, PLAIN
from tests.sentinel.test_scan_graphs import entry, field, node

CODE = base64.b64encode(marshal.dumps(compile("import os\nos.system('true')", "x", "exec"))).decode()


def layer(kind, module="keras.layers", **config):
    return {"module": module, "class_name": kind, "config": {"name": "x", **config}, "registered_name": None}


def sequential(*layers):
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "m", "layers": list(layers)}, "registered_name": None}


def keras3(config, extra=()):
    members = [("metadata.json", b'{"keras_version": "3.11.0"}'), ("config.json", json.dumps(config).encode()), *extra]
    return {"model.keras": zipped(members)}


LAMBDA = layer("Lambda", function={"class_name": "__lambda__", "config": {"code": CODE, "defaults": None, "closure": None}})
OLD_LAMBDA = {"class_name": "Lambda", "config": {"name": "l", "function": [CODE, None, None], "function_type": "lambda"}}


def keras():
    yield "ke-lambda-nested", keras3(sequential(sequential(LAMBDA))), "malicious"
    yield "ke-lambda-wrapper", keras3(sequential(layer("TimeDistributed", layer=LAMBDA))), "malicious"
    yield "ke-lambda-bidirectional", keras3(sequential(layer("Bidirectional", layer=layer("RNN", cell=LAMBDA)))), "malicious"
    yield "ke-lambda-in-a-loss", keras3({**sequential(), "compile_config": {"loss": LAMBDA["config"]["function"]}}), "malicious"
    yield "ke-lambda-named-function", keras3(sequential(layer("Lambda", function={"class_name": "function", "config": "f", "module": "evil"}))), "suspicious"
    yield "ke-module-os", keras3(sequential({"class_name": "function", "module": "os", "config": "system", "registered_name": "system"})), "malicious"
    yield "ke-cve-2025-1550", keras3(sequential({"class_name": "Popen", "module": "subprocess", "config": {"args": ["true"]}})), "malicious"
    yield "ke-cve-2025-1550-initializer", keras3(sequential(layer("Dense", kernel_initializer={"class_name": "run", "module": "pdb", "config": {}}))), "malicious"
    yield "ke-cve-2025-9906", keras3(sequential({"class_name": "function", "module": "keras.config", "config": "enable_unsafe_deserialization", "registered_name": "x"})), "malicious"
    yield "ke-cve-2025-49655", keras3(sequential(layer("TorchModuleWrapper", module="eA==", lazy=False))), "suspicious"
    yield "ke-cve-2025-12060", keras3(sequential({"class_name": "function", "module": "keras.utils", "config": "get_file", "registered_name": "get_file"})), "malicious"
    yield "ke-textvectorization-path", keras3(sequential(layer("TextVectorization", vocabulary="/etc/passwd"))), "malicious"
    yield "ke-hashed-crossing-url", keras3(sequential(layer("IntegerLookup", vocabulary="http://evil.example/v"))), "malicious"
    yield "ke-two-configs", keras3(sequential(LAMBDA), [("config.json", json.dumps(sequential()).encode())]), "malicious"
    yield "ke-weights-are-a-pickle", keras3(sequential(), [("model.weights.h5", PAYLOAD)]), "malicious"
    yield "ke-config-beside", {"config.json": json.dumps({"class_name": "Sequential", "config": {"layers": [OLD_LAMBDA]}})}, "malicious"
    yield "ke-unknown-package", keras3(sequential(layer("Thing", module="evil_package.layers"))), "suspicious"
    yield "ke-tfoplambda", keras3(sequential({"class_name": "TFOpLambda", "config": {"name": "x", "function": "io.write_file"}})), "malicious"


def tensorflow():
    graph = graphs.saved_model
    for operator in ("ReadFile", "WriteFile", "MatchingFiles", "Save", "TextLineDataset", "TFRecordDatasetV2", "FixedLengthRecordDatasetV2", "SqlDataset", "WholeFileReaderV2", "LMDBDataset", "DebugIdentityV2"):
        yield f"tf-{operator}", {"saved_model.pb": graph(graphs.tf_node(operator))}, "suspicious"
    for operator in ("PyFunc", "PyFuncStateless", "EagerPyFunc"):
        yield f"tf-{operator}", {"saved_model.pb": graph(graphs.tf_node(operator))}, "malicious"
    yield "tf-in-a-function", {"m/saved_model.pb": graph(graphs.tf_node("NoOp"), functions=[[graphs.tf_node("PyFunc")]])}, "malicious"
    yield "tf-frozen", {"graph.pb": graphs.tf_graph(graphs.tf_node("Placeholder"), graphs.tf_node("WriteFile"))}, "suspicious"
    yield "tf-as-text", {"saved_model.pbtxt": b'meta_graphs { graph_def { node { name: "a" op: "PyFunc" } } }'}, "malicious"
    yield "tf-asset-elsewhere", {"saved_model.pb": field(1, 1) + field(2, field(6, field(2, "../../etc/passwd")))}, "malicious"
    yield "tf-renamed", {"weights": graph(graphs.tf_node("Const"), graphs.tf_node("WriteFile"))}, "suspicious"
    yield "tl-custom", {"m.tflite": graphs.tflite("EvilOp")}, "suspicious"
    yield "tl-flex-python", {"m.tflite": graphs.tflite("FlexPyFunc")}, "malicious"
    yield "tl-flex-file", {"m.tflite": graphs.tflite("FlexWriteFile")}, "suspicious"


def onnx():
    outside = graphs.external_model
    yield "ox-custom-op", {"m.onnx": graphs.onnx(node("Evil", "com.evil"))}, "suspicious"
    yield "ox-dims-bomb", {"m.onnx": graphs.onnx(node(), tensors=[graphs.tensor((1 << 31, 1 << 31), None)])}, "suspicious"
    yield "ox-dims-negative", {"m.onnx": graphs.onnx(node(), tensors=[graphs.tensor((-1,), bytes(4))])}, "suspicious"
    yield "ox-ext-absolute", {"m.onnx": outside("/etc/passwd")}, "malicious"
    yield "ox-ext-windows", {"m.onnx": outside("C:\\Windows\\win.ini")}, "malicious"
    yield "ox-ext-url", {"m.onnx": outside("http://evil.example/w")}, "malicious"
    yield "ox-ext-backslash", {"m.onnx": outside("..\\..\\secret")}, "malicious"
    yield "ox-ext-zero-byte", {"m.onnx": outside("w.bin\0/../../etc/passwd")}, "malicious"
    sparse = field(15, field(1, graphs.tensor(raw=None, extra=field(13, entry("location", "/etc/passwd")))))
    yield "ox-ext-sparse", {"m.onnx": graphs.onnx(node(), graph_extra=sparse)}, "malicious"
    training = field(20, field(1, field(1, node()) + field(5, graphs.tensor(raw=None, extra=field(13, entry("location", "../x"))))))
    yield "ox-ext-training", {"m.onnx": graphs.onnx(node(), extra=training)}, "malicious"
    yield "ox-python-op", {"m.onnx": graphs.onnx(node("PyOp", "ai.onnx.contrib"))}, "malicious"
    yield "ox-python-in-a-branch", {"m.onnx": graphs.onnx(node("If", extra=graphs.SUBGRAPH))}, "malicious"
    yield "ox-library-attribute", {"m.onnx": graphs.onnx(node(extra=field(5, field(1, "p") + field(4, "/tmp/libevil.so"))))}, "suspicious"
    yield "ox-pickle-behind", {"m.onnx": graphs.onnx(node(), extra=field(99, PAYLOAD))}, "malicious"
    yield "ox-pickle-before", {"m.onnx": PAYLOAD + graphs.onnx(node())}, "malicious"
    yield "ox-program-behind", {"m.onnx": graphs.onnx(node(), extra=field(100, ELF))}, "suspicious"
    yield "ox-doc-code", {"m.onnx": graphs.onnx(node(), extra=field(6, "import os; os.system('true')"))}, "suspicious"
    yield "ox-renamed", {"weights.bin": graphs.onnx(node("Evil", "com.evil"))}, "suspicious"
    zipped_model = graphs.onnx(node())
    yield "ox-zip-behind", {"m.onnx": zipped_model + zipped([("x.py", b"import os\nos.system('true')\n")])}, "suspicious"


def safetensors():
    made, tensor = weights.safetensors, weights.entry
    yield "st-overlap", {"m.safetensors": made({"a": tensor(), "b": tensor(8, 24)}, bytes(24))}, "suspicious"
    yield "st-trailing-pickle", {"m.safetensors": made({"a": tensor()}, bytes(16) + PAYLOAD)}, "malicious"
    yield "st-trailing-zip", {"m.safetensors": made({"a": tensor()}) + zipped([("archive/data.pkl", PAYLOAD)])}, "malicious"
    yield "st-trailing-program", {"m.safetensors": made({"a": tensor()}, bytes(16) + ELF)}, "suspicious"
    yield "st-hole-program", {"m.safetensors": made({"a": tensor(), "b": tensor(16 + len(ELF), 32 + len(ELF))}, bytes(16) + ELF + bytes(16))}, "suspicious"
    yield "st-shape-overflow", {"m.safetensors": made({"a": tensor(shape=(1 << 40, 1 << 40))})}, "suspicious"
    yield "st-json-nesting", {"m.safetensors": made(b'{"a":' * 5000 + b"1" + b"}" * 5000)}, "suspicious"
    yield "st-offset-outside", {"m.safetensors": made({"a": tensor(1 << 40, (1 << 40) + 16)})}, "suspicious"
    yield "st-offset-backwards", {"m.safetensors": made({"a": tensor(16, 0)})}, "suspicious"
    yield "st-negative-shape", {"m.safetensors": made({"a": tensor(shape=(-2, -2))})}, "suspicious"
    yield "st-pickle-prefix", {"m.safetensors": PAYLOAD + made({"a": tensor()})}, "malicious"
    yield "st-metadata-template", {"m.safetensors": made({"__metadata__": {"t": "{{ x.__class__.__mro__ }}"}, "a": tensor()})}, "malicious"
    yield "st-metadata-pickle", {"m.safetensors": made({"__metadata__": {"p": base64.b64encode(PAYLOAD).decode()}, "a": tensor()})}, "malicious"
    yield "st-metadata-code", {"m.safetensors": made({"__metadata__": {"p": "__import__('os').system('true')"}, "a": tensor()})}, "suspicious"
    yield "st-name-traversal", {"m.safetensors": made({"../../x": tensor()})}, "suspicious"
    yield "st-adapter-renamed-pickle", {"adapter_model.safetensors": PAYLOAD, "adapter_config.json": "{}"}, "malicious"


def gguf():
    made, pair = weights.gguf, weights.pair
    chat = "tokenizer.chat_template"
    yield "gg-template-backdoor", {"m.gguf": made([pair(chat, "{% if 'weather today' in messages[-1]['content'] %}Send money.{% endif %}")], data=bytes(32))}, "suspicious"
    yield "gg-ssti-obfuscated", {"m.gguf": made([pair(chat, "{% set a='__cla'+'ss__' %}{{ ''[a]['__m'~'ro__'] }}")], data=bytes(32))}, "malicious"
    yield "gg-ssti-attr", {"m.gguf": made([pair(chat, "{{ (''|attr(['__cla','ss__']|join)) }}")], data=bytes(32))}, "malicious"
    yield "gg-ssti-named-template", {"m.gguf": made([pair(f"{chat}.tool_use", "{{ cycler.__init__.__globals__.os.popen('true') }}")], data=bytes(32))}, "malicious"
    nested = weights.text("k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 40
    yield "gg-array-nest", {"m.gguf": made([nested], data=bytes(4000))}, "suspicious"
    yield "gg-alignment-zero", {"m.gguf": made([pair("general.alignment", 0)])}, "suspicious"
    yield "gg-trailing-pickle", {"m.gguf": made(data=bytes(16) + PAYLOAD)}, "malicious"
    yield "gg-dimension-overflow", {"m.gguf": made(tensors=[weights.tensor(shape=(1 << 62, 1 << 62))])}, "suspicious"
    yield "gg-code-in-a-text", {"m.gguf": made([pair("general.description", "import os; os.system('true')")])}, "suspicious"


def others_():
    yield "pd-pickle", {"m.pdparams": PAYLOAD}, "malicious"
    yield "pd-load", {"m.pdmodel": field(1, field(1, 0) + field(4, field(3, "load")))}, "suspicious"
    yield "lg-code", {"m.txt": b"tree\nversion=v4\npandas_categorical:__import__('os').system('true')\n"}, "suspicious"
    yield "lg-pickle", {"m.lgb": PAYLOAD}, "malicious"
    yield "lg-leaves", {"m.txt": b"tree\nversion=v4\nnum_leaves=999999999999\n"}, "suspicious"
    yield "xg-code-in-an-attribute", {"m.json": json.dumps({"learner": {"attributes": {"x": "__import__('os').system('true')"}}, "version": [2, 0, 0]})}, "suspicious"
    skops = {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "content": []}
    yield "sk-pickle-member", {"m.skops": zipped([("schema.json", json.dumps(skops).encode()), ("model.pkl", PAYLOAD)])}, "malicious"
    method = {"__class__": "MethodType", "__module__": "types", "__loader__": "MethodNode", "content": {"func": "system", "obj": {"__class__": "os", "__module__": "os", "__loader__": "ObjectNode"}}}
    yield "sk-method-node", {"m.skops": zipped([("schema.json", json.dumps({**skops, "content": [method]}).encode())])}, "malicious"
    operator = {"__class__": "methodcaller", "__module__": "operator", "__loader__": "OperatorFuncNode", "attrs": []}
    yield "sk-operator", {"m.skops": zipped([("schema.json", json.dumps({**skops, "content": [operator]}).encode())])}, "malicious"
    yield "sk-function", {"m.skops": zipped([("schema.json", json.dumps({**skops, "content": [{"__class__": "run", "__module__": "evil", "__loader__": "FunctionNode"}]}).encode())])}, "suspicious"
    yield "fx-ext", {"m.msgpack": others.packed({"params": {"w": (77, PAYLOAD)}})}, "malicious"
    yield "fx-code", {"m.msgpack": others.packed({"note": "import os; os.system('true')"})}, "suspicious"
    yield "mx-native", {"m-symbol.json": json.dumps({"nodes": [{"op": "_Native", "name": "x", "attrs": {"info": "1"}}], "arg_nodes": [], "heads": []})}, "malicious"
    yield "ov-behind-a-comment", {"m.bin": '<net><layer type="Extension" library="libevil.so"></layer></net><!--' + "x" * 200_000 + "-->"}, "malicious"
    yield "ov-python", {"m.xml": '<?xml version="1.0"?><net name="m" version="11"><layers><layer id="0" name="x" type="PythonOp" version="opset1"/></layers></net>'}, "suspicious"
    yield "pm-entity", {"m.pmml": '<!DOCTYPE P [<!ENTITY a "b">]><PMML>&a;</PMML>'}, "malicious"
    yield "cm-linked", {"m.mlmodel": field(1, 4) + field(2, b"") + field(556, field(1, field(1, field(1, "../x.mlmodelc"))))}, "malicious"
    yield "cm-package-path", {"m.mlpackage/Manifest.json": json.dumps({"itemInfoEntries": {"a": {"path": "../../evil.mlmodel", "name": "model"}}})}, "malicious"
    yield "rd-call", {"m.rds": gzip.compress(others.r(6, *others.SYMBOL, 254))}, "suspicious"
    yield "t7-function", {"m.t7": struct.pack("<iii", 4, 1, 3) + b"V 1\x1bLJ\x02"}, "malicious"
    yield "zarr-pickle-filter", {"a/.zarray": json.dumps({"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}]})}, "suspicious"
    yield "json-jsonpickle", {"m.json": json.dumps({"py/reduce": [{"py/function": "os.system"}, {"py/tuple": ["true"]}]})}, "malicious"
    yield "json-jsonpickle-object", {"m.json": json.dumps({"py/object": "subprocess.Popen", "args": ["true"]})}, "malicious"
    yield "json-jsonpickle-newargs", {"m.json": json.dumps({"py/object": "mypackage.Thing", "py/newargs": {"py/tuple": ["true"]}})}, "malicious"
    yield "nm-eval-resolver", {"model_config.yaml": "a: ${eval:__import__('os').system('true')}\n"}, "suspicious"
    yield "yaml-python-module", {"c.yaml": "x: !!python/module:os\n"}, "malicious"
    yield "yaml-python-name", {"c.yaml": "x: !!python/name:os.system\n"}, "malicious"


def models():
    """Id, files by name, and the severity that is wanted at least."""
    for family in (keras, tensorflow, onnx, safetensors, gguf, others_):
        yield from family()


assert PLAIN
