"""The rule that picks a method: few rows, too little memory, too little time; and what an estimate grows with."""

import pytest

from rootstock import catalog
from rootstock.planning.advise import FEW_ROWS, Cost, Size, choose, estimate, size_of

GB = 10**9
COSTS = {"full": Cost(600, 2 * GB), "lora": Cost(400, 1 * GB), "feature-extraction": Cost(20, GB // 2)}


@pytest.mark.parametrize(
    ("rows", "memory", "seconds", "chosen", "said"),
    [
        (FEW_ROWS - 1, 64 * GB, None, "feature-extraction", "fewer than"),
        (FEW_ROWS, 64 * GB, None, "full", "enough for full"),
        (5000, 2 * GB, None, "lora", "full needs about 2.0 GB"),
        (5000, 64 * GB, 500, "lora", "full takes about 10 min"),
        (5000, 64 * GB, 60, "feature-extraction", "lora takes about 7 min"),
        (5000, GB // 10, None, "feature-extraction", "the quickest"),
    ],
)
def test_a_method_is_picked_for_a_reason_that_is_said(rows, memory, seconds, chosen, said):
    name, reason = choose(rows, COSTS, memory_bytes=memory, seconds=seconds)
    assert name == chosen
    assert said in reason


def test_full_costs_six_operations_a_parameter_and_token_and_features_pass_once():
    size = Size(parameters=10_000_000, embeddings=10_000_000, tokens=100_000, micro=1024, layers=6, hidden=384)
    cost = {
        name: estimate(catalog.find("methods", name), size, epochs=3, speed=1e11, bytes_each=4)
        for name in ("full", "lora", "feature-extraction")
    }
    assert cost["full"].seconds == pytest.approx(6 * 1e7 * 1e5 * 3 / 0.5e11)
    assert cost["lora"].seconds == pytest.approx(cost["full"].seconds * 4 / 6)
    assert cost["feature-extraction"].seconds == pytest.approx(2 * 1e7 * 1e5 / 0.5e11)
    assert cost["full"].memory_bytes > cost["lora"].memory_bytes > cost["feature-extraction"].memory_bytes


def test_a_size_is_read_under_any_familys_names():
    bert = size_of({"hidden_size": 384, "num_hidden_layers": 6, "vocab_size": 30522}, 22_713_216, 1000, 512)
    assert (bert.hidden, bert.layers, bert.embeddings) == (384, 6, 30522 * 384)
    assert bert.parameters == 22_713_216 - 30522 * 384
    assert size_of({"n_embd": 256, "n_layer": 4}, 10, 1, 1).layers == 4
