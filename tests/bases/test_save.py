"""What is written loads with plain transformers and holds no pickle."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rootstock.bases.load import load, tokenizer
from rootstock.bases.resolve import resolve
from rootstock.bases.save import save_model, split
from rootstock.core import artifact
from rootstock.core.errors import ContractRefused, RunFailed
from rootstock.core.loaded import Head
from rootstock.sentinel.gate import admit

HEAD = Head(
    auto="AutoModelForSequenceClassification",
    options={"num_labels": 2, "id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}},
)


def test_plain_transformers_gives_the_same_answers(tiny: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = resolve(str(tiny))
    model: Any = load(base, HEAD, seed=0).model
    save_model(model, tokenizer(base), tmp_path / "out")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "out")
    batch = tokens(["a good film", "bad!"], padding=True, return_tensors="pt")
    assert torch.equal(again(**batch).logits, model(**batch).logits)
    assert again.config.id2label == {0: "bad", 1: "good"}
    assert admit(tmp_path / "out").notes == ()
    assert str(tmp_path) not in (tmp_path / "out" / "config.json").read_text()
    told = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert told["unk_token"] == "[UNK]"
    assert not {"local_files_only", "is_local"} & set(told)
    assert str(tmp_path) not in str(told)


def test_a_pickle_among_the_files_is_an_error(tiny: Path, tmp_path: Path) -> None:
    class Pickling:
        def save_pretrained(self, folder: Path) -> None:
            folder.mkdir(exist_ok=True)
            torch.save({}, folder / "pytorch_model.bin")

    with pytest.raises(RunFailed, match=r"pytorch_model\.bin"):
        save_model(Pickling(), tokenizer(resolve(str(tiny))), tmp_path / "out")


def test_weights_beside_those_of_the_contract_are_refused(tiny: Path, tmp_path: Path) -> None:
    """transformers reads model.safetensors before the files of an index: a stray one would be loaded in the model's place."""
    base, out = resolve(str(tiny)), tmp_path / "out"
    model: Any = load(base, HEAD, seed=0).model
    save_model(model, tokenizer(base), out)
    whole = (out / "model.safetensors").read_bytes()
    split(out, {name for name in model.state_dict() if name.startswith("bert.")})
    weights = {path.name: artifact.digest_file(path) for path in out.glob("*.safetensors")}
    artifact.write_json(out / "contract.json", {"weights": weights})
    assert resolve(str(out)).contract["weights"] == weights
    (out / "model.safetensors").write_bytes(whole)
    with pytest.raises(ContractRefused, match=r"model\.safetensors are not of this model"):
        resolve(str(out))


def test_a_whole_model_beside_an_adapter_is_none_of_its_contract(tiny: Path, tmp_path: Path) -> None:
    base, out = resolve(str(tiny)), tmp_path / "out"
    save_model(load(base, HEAD, seed=0).model, tokenizer(base), out)
    (out / "adapter_model.safetensors").write_bytes((out / "model.safetensors").read_bytes())
    (out / "adapter_config.json").write_text("{}")
    weights = {"adapter_model.safetensors": artifact.digest_file(out / "adapter_model.safetensors")}
    artifact.write_json(out / "contract.json", {"weights": weights})
    with pytest.raises(ContractRefused, match=r"model\.safetensors are not of this model"):
        resolve(str(out))
    (out / "model.safetensors").unlink()
    assert resolve(str(out)).adapter
