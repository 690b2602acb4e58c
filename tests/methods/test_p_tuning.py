"""The network that makes the vectors, and the vectors that alone are saved."""

import pytest
import torch
from safetensors.torch import load_file
from tests.methods.conftest import answers, moved

from rootstock.core.method import learning
from rootstock.methods.p_tuning import PTuning


@pytest.mark.parametrize("network", ["mlp", "lstm"])
def test_the_vectors_are_what_the_network_makes(load, tmp_path, network):
    method = PTuning(tokens=3, hidden=8, network=network)
    model = moved(method.apply(load()))
    network_names = [name for name, _ in learning(model) if "prompt_encoder" in name]
    assert len(network_names) > 4, "it learns while training"
    told = answers(model)
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    vectors = saved.pop("prompt_embeddings")
    assert vectors.shape == (3, 32)
    assert all("classifier" in name or "pooler" in name for name in saved), "of the network nothing is kept"
    encoder = model.prompt_encoder["default"]
    if network == "mlp":
        torch.testing.assert_close(encoder.mlp_head(encoder.embedding.weight), vectors)
    torch.testing.assert_close(answers(method.restore(load(), tmp_path)), told)


@pytest.mark.parametrize("family", ["distilbert", "roberta"])
def test_vectors_are_as_wide_as_the_embeddings(load, family):
    model = PTuning(tokens=2).apply(load(family))
    assert model.get_prompt_embedding_to_save("default").shape == (2, 32)
