"""A model begun in its middle answers as the whole does, over the families; what learns below the cut is found."""

import pytest
import torch
import transformers
from tests.core.test_layers import FAMILIES, sequence_classifier

from rootstock.core import layers
from rootstock.loop.crew import twin
from rootstock.run.cut import Cut


def frozen_model(family, learns=2):
    torch.manual_seed(0)
    model = sequence_classifier(family).eval()
    model.config.pad_token_id = 0
    for name, depth in layers.depths(model).items():
        model.get_parameter(name).requires_grad_(depth > learns)
    return model


def batch():
    ids = torch.randint(5, 25, (3, 7), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(7) < torch.tensor([7, 4, 2])[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_upper_blocks_go_on_from_what_the_lower_gave(family, depth):
    model, given = frozen_model(family, learns=3), batch()
    with torch.no_grad():
        expected = model(**given).logits
        cut = Cut(model)
        states = cut.below(frozenset({1, depth}))(**given)
        assert set(states) == {1, depth}
        lower = layers.blocks(model)[depth - 1]
        model.get_parameter(
            next(name for name, p in model.named_parameters() if p is next(lower.parameters()))
        ).zero_()  # not used any more
        begun = model(**given, **{f"given/{depth}": states[depth]}).logits
        torch.testing.assert_close(begun, expected, rtol=1e-5, atol=1e-6)
        others = torch.randn_like(states[depth])
        assert (model(**given, **{f"given/{depth}": others}).logits - expected).abs().max() > 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_that_holds_is_not_refused(family):
    model = frozen_model(family)
    cut = Cut(model)
    assert cut.depth() == 2
    assert cut.refusal(batch(), 2) is None
    assert cut.refusal(batch(), 1) is None


def test_what_learns_below_is_found_whatever_its_name():
    model = frozen_model("bert")
    model.bert.embeddings.LayerNorm.requires_grad_(True)
    assert "bert.embeddings.LayerNorm" in Cut(model).refusal(batch(), 2)


def test_a_model_that_answers_otherwise_is_refused():
    model = frozen_model("bert")

    def stirred(module, arguments, out):
        return out + 1 if not cut._state.depth else out

    cut = Cut(model)
    model.bert.encoder.layer[1].register_forward_hook(stirred)  # a change that a given state does not go through
    assert "otherwise" in cut.refusal(batch(), 1)


def test_rows_of_another_shape_are_refused():
    shape = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 32, "num_hidden_layers": 3}
    model = transformers.BertForMultipleChoice(transformers.BertConfig(**shape)).eval().requires_grad_(False)
    choices = {name: value[None] for name, value in batch().items()}
    assert "other rows" in Cut(model).refusal(choices, 2)


def test_twins_have_states_of_their_own():
    model, given = frozen_model("bert"), batch()
    cut = Cut(model)
    with torch.no_grad():
        expected = model(**given).logits
        other = twin(model)
        states = cut.below(frozenset({2}))(**given)[2]
        model(**given, **{"given/2": torch.zeros_like(states)})
        torch.testing.assert_close(other(**given).logits, expected)
        torch.testing.assert_close(other(**given, **{"given/2": states}).logits, expected)


def test_closed_it_is_the_model_that_it_was():
    model = frozen_model("gpt2")
    before = set(vars(layers.blocks(model)[0]))
    cut = Cut(model)
    cut.close()
    assert set(vars(layers.blocks(model)[0])) == before
    with torch.no_grad():
        torch.testing.assert_close(model(**batch(), **{"given/1": torch.zeros(3, 7, 32)}).logits, model(**batch()).logits)
