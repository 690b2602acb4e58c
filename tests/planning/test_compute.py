import pytest
from transformers import BertConfig, BertForMaskedLM

from rootstock.core.errors import UsageError
from rootstock.planning.compute import MOST_PASSES, Budget, Cost, body, share_out


def cost(**changes):
    held = {"body": 1000, "decoder": 0, "output": 500, "guessed": 0.2, "seconds": 1e-3, "update": 100.0, "corpus": 10_000.0}
    return Cost(**{**held, **changes})


def test_flops_are_six_for_every_parameter_that_a_token_passes():
    assert cost().flops == 6 * (1000 + 500 * 0.2)
    assert cost(guessed=1.0).flops == 6 * 1500
    assert cost(decoder=2000, guessed=0.25).flops == 6 * (1000 + 2500 * 0.25)


def test_equal_flops_give_the_cheaper_objective_more_tokens():
    costs = {"a": cost(guessed=0.0), "b": cost(body=2000, guessed=0.0)}
    shares = share_out(costs, Budget("flops", 6e8))
    assert {name: share.tokens for name, share in shares.items()} == {"a": 100_000, "b": 50_000}
    assert {share.flops for share in shares.values()} == {6e8}
    assert shares["a"].steps == 1000
    assert shares["a"].passes == 10
    assert not shares["a"].capped


def test_equal_tokens_are_equal_whatever_they_cost():
    shares = share_out({"a": cost(), "b": cost(body=10**6)}, Budget("tokens", 400_000))
    assert {share.tokens for share in shares.values()} == {400_000}
    assert not any(share.capped for share in shares.values())


def test_a_cheap_objective_is_cut_at_the_limit_of_passes_and_says_so():
    shares = share_out({"cheap": cost(body=1, output=0), "dear": cost()}, Budget("flops", 1e9))
    assert shares["cheap"].passes == MOST_PASSES
    assert shares["cheap"].capped
    assert not shares["dear"].capped


def test_a_budget_in_time_is_spent_and_gives_equal_flops():
    costs = {"a": cost(), "b": cost(body=3000, seconds=4e-3), "c": cost(body=1, output=0, seconds=1e-5)}
    shares = share_out(costs, Budget("seconds", 120.0))
    assert sum(share.seconds for share in shares.values()) == pytest.approx(120, rel=0.01)
    assert shares["a"].flops == pytest.approx(shares["b"].flops, rel=0.01)
    assert shares["c"].capped


def test_more_time_than_all_can_use_ends_at_the_limit_of_passes():
    shares = share_out({"a": cost(), "b": cost(body=9000)}, Budget("seconds", 1e9))
    assert [share.passes for share in shares.values()] == [MOST_PASSES] * 2


@pytest.mark.parametrize("amount", [0, -1, float("inf"), float("nan")])
def test_nothing_is_no_budget_nor_is_all(amount):
    with pytest.raises(UsageError, match="more than nothing, and an end"):
        Budget("flops", amount)


def test_the_body_of_a_model_is_what_embeddings_and_vocabulary_leave():
    shape = {"vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForMaskedLM(BertConfig(**shape, max_position_embeddings=12))
    layer = 4 * (8 * 8 + 8) + (8 * 16 + 16) + (16 * 8 + 8) + 2 * 2 * 8
    head = 8 * 8 + 8 + 2 * 8
    assert sum(each.numel() for _, each in body(model)) == 2 * layer + 2 * 8 + head
