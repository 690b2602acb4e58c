"""The shapes that a config asks for are those of the weights that its library saves, ties included."""

import json

import pytest
import transformers
from tests import tiny_models

from rootstock.bases.expected import expected
from rootstock.core.errors import BaseError
from rootstock.sentinel import WeightIntegrityValidator


def roberta():
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    return transformers.RobertaForMaskedLM(transformers.RobertaConfig(vocab_size=40, **shape))


def llama():
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=40, tie_word_embeddings=True, **shape))


MODELS = [tiny_models.masked_model, tiny_models.causal_model, tiny_models.seq2seq_model, roberta, llama]


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_what_a_library_saves_has_no_issue(make, tmp_path):
    make().save_pretrained(tmp_path)
    found = WeightIntegrityValidator(expected=expected).validate(tmp_path)
    assert found.issues == []
    assert not [note for note in found.notes if "shapes" in note or "names" in note]


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_a_layer_that_lacks_is_named(make, tmp_path):
    from safetensors.torch import load_file, save_file

    make().save_pretrained(tmp_path)
    held = load_file(tmp_path / "model.safetensors")
    gone = sorted(held)[-1]
    save_file({name: each for name, each in held.items() if name != gone}, tmp_path / "model.safetensors")
    assert any(
        each.startswith("Missing tensor") and gone in each for each in WeightIntegrityValidator(expected=expected).validate(tmp_path).issues
    )


def test_names_that_the_library_translates_are_said_and_not_taken_for_missing(tmp_path):
    tiny_models.vit_model().save_pretrained(tmp_path)
    found = WeightIntegrityValidator(expected=expected).validate(tmp_path)
    assert found.issues == []
    assert any("shapes not compared" in note for note in found.notes)


def test_an_unknown_architecture_has_no_shapes(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["NoSuchModel"]}))
    assert expected(tmp_path) is None


def test_a_config_that_describes_nothing_is_told(tmp_path):
    tiny_models.masked_model().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hidden_size": 33}))
    with pytest.raises(BaseError, match="describes no model"):
        expected(tmp_path)
