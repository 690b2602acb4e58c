"""Random bases by name."""

import pytest

from rootstock.bases.scratch import ARCHITECTURES, config
from rootstock.core.errors import UnknownName


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_a_config(name: str) -> None:
    made = config(name, 100)
    assert made.vocab_size == 100
    assert made.hidden_size % made.num_attention_heads == 0


def test_a_published_size() -> None:
    from transformers import AutoModel

    # 11.2 M parameters for BERT mini with the uncased vocabulary: Turc et al. 2019, table 1 of the model card.
    model = AutoModel.from_config(config("bert-mini", 30_522))
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == 11.2


def test_an_unknown_one_gets_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'gpt-mini'"):
        config("gpt-mimi", 10)
