"""Task vectors combined, against the definitions of the papers."""

import numpy as np
import pytest
import torch

from rootstock.bases.combine import Combination, combined, mixed
from rootstock.core.errors import UsageError


def ties_by_its_paper(vectors, density):
    """Yadav et al. 2023, algorithm 1, in NumPy: trim, elect sign, mean of those that agree."""
    trimmed = []
    for vector in vectors:
        kept = np.argsort(-np.abs(vector), kind="stable")[: int(density * len(vector))]
        trimmed.append(np.where(np.isin(np.arange(len(vector)), kept), vector, 0.0))
    sign = np.sign(np.sum(trimmed, 0))
    found = np.zeros(len(vectors[0]))
    for place in range(len(found)):
        agreeing = [vector[place] for vector in trimmed if vector[place] and np.sign(vector[place]) == sign[place]]
        found[place] = np.mean(agreeing) if agreeing else 0.0
    return found


@pytest.fixture
def vectors():
    return [torch.randn(400, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]


def test_linear_is_an_average_unless_weights_say_otherwise(vectors):
    base = {"w": torch.ones(20, 20)}
    models = [{"w": base["w"] + vector.view(20, 20)} for vector in vectors]
    average = combined(base, models, Combination())["w"]
    torch.testing.assert_close(average, torch.stack([model["w"] for model in models]).mean(0))
    summed = combined(base, models[:2], Combination(weights=(1.0, -0.5)))["w"]
    torch.testing.assert_close(summed, base["w"] + (vectors[0] - 0.5 * vectors[1]).view(20, 20))


@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
def test_ties_is_the_papers(vectors, density):
    found = mixed(vectors, [1 / 3] * 3, Combination(how="ties", density=density))
    np.testing.assert_allclose(found, ties_by_its_paper([each.double().numpy() for each in vectors], density), atol=1e-5)


def test_ties_trims_a_task_vector_as_a_whole():
    base = {"small": torch.zeros(5), "large": torch.zeros(5)}
    models = [{"small": torch.full((5,), 0.1), "large": torch.full((5,), 1.0)}] * 2
    found = combined(base, models, Combination(how="ties", density=0.5))
    assert torch.equal(found["small"], base["small"])
    torch.testing.assert_close(found["large"], torch.ones(5))


def test_weights_of_ties_are_shares_of_those_that_agree(vectors):
    first, second = torch.tensor([1.0, 1.0, -1.0]), torch.tensor([2.0, -3.0, 0.0])
    found = mixed([first, second], [0.75, 0.25], Combination(how="ties", density=1.0, weights=(0.75, 0.25)))
    torch.testing.assert_close(found, torch.tensor([1.25, 1.0, -1.0]))  # 0.75·1 beats 0.25·3 in the second place: a tie is positive


def test_dare_drops_at_random_and_keeps_what_is_expected(vectors):
    ones, how = torch.ones(20_000), Combination(how="dare", density=0.25)
    found = mixed([ones], [1.0], how)
    assert set(found.unique().tolist()) == {0.0, 4.0}
    assert abs(float((found > 0).float().mean()) - 0.25) < 0.01
    assert abs(float(found.mean()) - 1.0) < 0.05


def test_dare_drops_the_same_for_the_same_seed_and_leaves_the_generator_alone(vectors):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    drawn = [mixed(vectors, [1 / 3] * 3, Combination(how="dare-ties", seed=seed)) for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_dare_ties_elects_a_sign_after_dropping(vectors):
    found = mixed(vectors, [1 / 3] * 3, Combination(how="dare-ties", density=0.9, seed=3))
    torch.manual_seed(3)
    dropped = [(each * torch.bernoulli(torch.full_like(each, 0.9)) / 0.9).double().numpy() for each in vectors]
    np.testing.assert_allclose(found, ties_by_its_paper(dropped, 1.0), atol=1e-5)


def test_a_tensor_that_a_model_lacks_counts_as_unchanged():
    base = {"w": torch.zeros(3), "pooler": torch.zeros(3)}
    found = combined(base, [{"w": torch.ones(3), "pooler": torch.ones(3)}, {"w": torch.ones(3)}], Combination())
    torch.testing.assert_close(found["w"], torch.ones(3))
    torch.testing.assert_close(found["pooler"], torch.full((3,), 0.5))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"weights": (1.0,)}, "1 weights for 2"),
        ({"how": "ties", "weights": (1.0, -1.0)}, "above 0"),
        ({"weights": (1.0, -1.0)}, "sum to 0"),
    ],
)
def test_weights_that_mean_nothing_are_refused(settings, said):
    with pytest.raises(UsageError, match=said):
        Combination(**settings).shares(2)
