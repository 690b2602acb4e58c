"""Folders as a whole: code that loaders take from them, and files that name others."""

import os

import pytest
from tests.sentinel.scanning import found

CONFIG = {"config.json": '{"model_type": "bert"}', "README.md": "# a model\n```python\nimport os; os.system('x')\n```\n"}


def test_a_plain_folder_is_clean(tmp_path):
    assert (
        found(tmp_path, {**CONFIG, "train_script.py": "import torch\n", "requirements.txt": "torch\n", ".gitattributes": "*.bin lfs\n"})
        == {}
    )


@pytest.mark.parametrize(
    ("files", "rule"),
    [
        ({"hubconf.py": "dependencies = []\n"}, "remote-code"),
        ({"custom_generate/generate.py": "def generate(): pass\n"}, "remote-code"),
        ({"handler.py": "class EndpointHandler: pass\n"}, "remote-code"),
        ({"tokenizer_config.json": '{"auto_map": {"AutoTokenizer": ["tok.T", null]}}', "tok.py": "class T: pass\n"}, "remote-code"),
        ({"lib/ops.so": b"\x7fELF" + bytes(60)}, "native-library"),
        ({"MLmodel": "flavors:\n  python_function:\n    loader_module: mine\n"}, "mlflow-loader"),
        (
            {"MLmodel": "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    code: src\n", "src/a.py": "x = 1\n"},
            "mlflow-loader",
        ),
        ({"model.safetensors.index.json": '{"weight_map": {"a": "model.bin"}}'}, "index-path"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_attacks_are_found(tmp_path, files, rule):
    assert rule in found(tmp_path, {**CONFIG, **files})


def test_an_mlflow_folder_of_a_known_flavour_is_clean(tmp_path):
    text = "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    model_path: model.pkl\n    code: null\n"
    assert found(tmp_path, {"MLmodel": text, "requirements.txt": "mlflow==2\n"}) == {}


def test_onnx_data_behind_links(tmp_path):
    from tests.sentinel.test_scan_graphs import external_model

    (tmp_path / "secret").write_bytes(bytes(16))
    folder = tmp_path / "model"
    assert found(folder, {"model.onnx": external_model("w.data")}) == {}
    (folder / "w.data").symlink_to(tmp_path / "secret")
    assert "onnx-external-data" in found(folder, {"model.onnx": external_model("w.data")})
    (folder / "w.data").unlink()
    os.link(tmp_path / "secret", folder / "w.data")
    assert "onnx-external-data" in found(folder, {"model.onnx": external_model("w.data")})
    (folder / "sub").symlink_to(tmp_path)
    (folder / "w.data").unlink()
    assert "onnx-external-data" in found(folder, {"model.onnx": external_model("sub/secret")})


def test_raw_numbers_count_as_such_where_a_model_names_them(tmp_path):
    from tests.sentinel.test_scan_graphs import external_model

    numbers = bytes(range(1, 200))
    graph = '<?xml version="1.0"?><net name="m" version="11"><layers/></net>'
    assert found(tmp_path / "a", {"m.xml": graph, "m.bin": numbers}) == {}
    assert found(tmp_path / "b", {"m.onnx": external_model("blob"), "blob": numbers}) == {}
    assert found(tmp_path / "c", {"m.onnx": external_model("blob"), "other": numbers}) == {"unknown-format": "unscanned"}
    assert "native-library" not in found(tmp_path / "d", {".git/hooks/pre-commit.sample": "#!/bin/sh\n", "README.md": "x"})
    assert "remote-code" in found(tmp_path / "d", {".git/hooks/pre-commit": "#!/bin/sh\nid\n", "README.md": "x"})
