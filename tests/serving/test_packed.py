"""Rows that pass a body one after the other get what they get alone, whoever lies beside them; bodies that can't are passed padded."""

import gc

import pytest
import torch
from torch import nn

from rootstock.core.twin import same_weights
from rootstock.serving.numbers import Format
from rootstock.serving.packed import Layout, Packing, cost, rounded
from rootstock.serving.shared import NOBODY, Group, LowRank, Now, Plan, Unshareable, Whole
from rootstock.serving.trunk import Trunk

SMALL = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
ABLE = {"Bert": {}, "Roberta": {"pad_token_id": 1}, "Electra": {"embedding_size": 16}, "DistilBert": None}
UNABLE = {"MPNet": {}, "FNet": {}, "Albert": {"embedding_size": 16}, "GPT2": None}
LENGTHS = (3, 17, 9, 40, 1)


def body(kind, more):
    import transformers

    own = {
        "DistilBert": {"vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": 64},
        "GPT2": {"vocab_size": 99, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2, "bos_token_id": 1, "eos_token_id": 1},
    }
    told = own[kind] if more is None else {**SMALL, "max_position_embeddings": 64, **more}
    torch.manual_seed(0)
    made = transformers.AutoModel.from_config(getattr(transformers, f"{kind}Config")(**told)).eval()
    with torch.no_grad():
        for parameter in made.parameters():  # attention that differs from row to row: fresh weights attend to all alike
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return made


def batch(lengths=LENGTHS):
    mask_BT = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids_BT = torch.randint(5, 99, mask_BT.shape, generator=torch.Generator().manual_seed(1))
    return {"input_ids": torch.where(mask_BT > 0, ids_BT, 1), "attention_mask": mask_BT}


@pytest.mark.parametrize("kind", sorted(ABLE))
@torch.no_grad()
def test_rows_get_what_they_get_alone(kind):
    trunk = Trunk(body(kind, ABLE[kind]), Format("float32"), 1)
    assert trunk.packs
    given = batch()
    given["input_ids"][1, 4] = 1  # somebody wrote <pad>, which takes no position in some
    found = trunk._through(given, [Group(NOBODY, 0, len(LENGTHS))])
    for row, length in enumerate(LENGTHS):
        alone = trunk.model(input_ids=given["input_ids"][row : row + 1, :length])
        torch.testing.assert_close(found.last_hidden_state[row, :length], alone.last_hidden_state[0], atol=2e-5, rtol=1e-4)
        if "pooler_output" in alone:
            torch.testing.assert_close(found.pooler_output[row], alone.pooler_output[0], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", sorted(UNABLE))
def test_bodies_that_do_more_with_rows_are_passed_padded(kind):
    assert not Packing(body(kind, UNABLE[kind]), "float32").able


@torch.no_grad()
def test_a_twin_of_a_body_has_its_own_way():
    trunk = Trunk(body("Bert", {}), Format("float32"), 1)
    given = batch()
    real = given["attention_mask"].bool()
    padded = trunk.model(**given).last_hidden_state
    Packing(trunk.model, "float32").stand_before()
    twin = same_weights(trunk.model)
    packing = vars(twin)["forward"].args[0]
    assert packing._body is twin
    assert packing.lays(given)
    seen = []
    twin.embeddings.register_forward_hook(lambda layer, inputs, out: seen.append(tuple(out.shape)))
    found = twin(given["input_ids"], attention_mask=given["attention_mask"]).last_hidden_state
    assert seen == [(1, cost(sum(LENGTHS)), 32)]
    torch.testing.assert_close(found[real], padded[real], atol=2e-5, rtol=1e-4)
    left = {**given, "attention_mask": given["attention_mask"].flip(1)}
    assert not packing.lays(left), "padding on the left"
    assert not packing.lays({**given, "position_ids": given["input_ids"]})


def test_what_makes_it_quick_lasts_as_long_as_the_trunk():
    made = body("Bert", {})
    trunk = Trunk(made, Format("bfloat16"), 1)
    gc.collect()
    assert made.config._attn_implementation == "rootstock_rows"
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert "forward" in vars(made.encoder.layer[0].attention.self.query)
    del trunk


def test_numbers_are_few_and_little_larger():
    assert len({cost(count) for count in range(1, 4097)}) <= 16 + 16 * 7
    for count in range(1, 5000):
        assert count <= rounded(count, 4) < count + max(4, count / 16 + 1)


@torch.no_grad()
def test_each_token_gets_the_update_of_its_rows_own_adapter():
    """Against W + B·A of each row, with a rank and a layer of its own beside rows that have none."""
    torch.manual_seed(0)
    plain, now = nn.Linear(6, 5), Now()
    laid = Layout(batch()["attention_mask"])
    given = torch.randn(1, laid.tokens, 6)
    groups = [Group(2, 0, 1), Group(NOBODY, 1, 2), Group(1, 2, 4), Group(3, 4, 5)]
    plan = Plan(groups, torch.device("cpu"), laid)
    slot_P = [slot for slot, length in zip((2, NOBODY, 1, 1, 3), LENGTHS, strict=True) for _ in range(length)]
    updates = {1: (torch.randn(2, 6), torch.randn(5, 2)), 2: (torch.randn(3, 6), torch.randn(5, 3))}
    low, whole = LowRank(plain, now), Whole(plain, now)
    own = nn.Linear(6, 5)
    whole.put(3, own)
    for slot, update in updates.items():
        low.put(slot, update)
    with now.passing(plan):
        by_products, by_parts = low(given), whole(given)
    assert by_products.shape == by_parts.shape == (1, laid.tokens, 5)
    for token, slot in enumerate(slot_P):
        down_RI, up_OR = updates.get(slot, (torch.zeros(1, 6), torch.zeros(5, 1)))
        want = plain(given[0, token]) + up_OR @ (down_RI @ given[0, token])
        torch.testing.assert_close(by_products[0, token], want, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(by_parts[0, token], (own if slot == 3 else plain)(given[0, token]), atol=1e-5, rtol=1e-5)
    with now.passing(plan), pytest.raises(Unshareable, match="no row"):
        low(given[:, :-1])
