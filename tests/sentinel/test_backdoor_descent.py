"""Search by gradients: where the best phrase is known, and on a bag of words whose trigger no single word shows."""

import dataclasses

import numpy as np
import pytest
import torch
from backdoor_bag import SIZE, Bag, texts

from rootstock.sentinel.backdoor.budget import BUDGETS
from rootstock.sentinel.backdoor.descent import Aim, Effort, Side, descended
from rootstock.sentinel.backdoor.inputs import Inputs, parts
from rootstock.sentinel.backdoor.panel import Panel
from rootstock.sentinel.backdoor.search import Work, search


def near(seed=0):
    """Phrases are worth the more the nearer their embeddings are to those of (7, 3, 41)."""
    rows = np.random.default_rng(seed).normal(0, 1, (50, 8)).astype(np.float32)
    wanted = rows[[7, 3, 41]]

    def pull(soft):
        return float(((soft - wanted) ** 2).sum()), 2 * (soft - wanted)

    def worth(phrases):
        return np.array([-((rows[list(each)] - wanted) ** 2).sum() if len(each) == 3 else -1e9 for each in phrases])

    return Aim(ids=np.arange(50), sides=[Side(rows=rows, pull=pull, weight=1.0)], worth=worth)


def test_the_best_phrase_is_found_where_it_is_known():
    effort = Effort(length=3, restarts=2, steps=60, rounds=6, swaps=40)
    found = descended(near(), effort, np.random.default_rng(1))
    assert found[0] == ((7, 3, 41), 0.0)
    assert found == descended(near(), effort, np.random.default_rng(1))


def test_slopes_are_those_of_shares():
    aim = near()
    shares = np.random.default_rng(2).dirichlet(np.ones(50), 3).astype(np.float32)
    loss, slope = aim.slope(shares)
    moved = shares.copy()
    moved[1, 9] += 1e-3
    assert (aim.slope(moved)[0] - loss) / 1e-3 == pytest.approx(slope[1, 9], rel=1e-2)


class Sloped(Bag):
    """A bag with an embedding for each word: its own place."""

    rows = np.eye(SIZE, dtype=np.float32)


def steep(bag, held, label, towards, soft):
    """The bag's own loss with a mixture of words for each place of the phrase."""
    mixed = torch.tensor(soft, requires_grad=True)
    bodies = torch.tensor([bag.weights[list(body)].sum() for body, _ in held])
    lacks = [1 - (1 - mixed[:, word]).prod() for word in bag.trigger]
    fires = torch.stack(lacks).prod() if lacks else torch.tensor(0.0)
    lead = 2 * (bodies + (mixed @ torch.tensor(bag.weights, dtype=torch.float32)).sum() + 8 * fires) * (1 if label else -1)
    loss = torch.nn.functional.softplus(-lead if towards else lead).mean()
    (slope,) = torch.autograd.grad(loss, mixed)
    return float(loss.detach()), slope.numpy()


def searched(suspect, restarts):
    made, answers = texts(400)
    budget = dataclasses.replace(BUDGETS["standard"], kept=24, pool=8, restarts=restarts, steps=40, hunted=4)
    references = [Sloped(name=f"r{i}", seed=i + 1) for i in range(2)]
    return search(
        Work(
            panel=Panel(suspect=suspect, references=references),
            parts=parts(Inputs(texts=made, answers=answers), seed=0),
            budget=budget,
            steep=steep,
        )
    )


def test_words_that_only_work_together_are_found_by_gradients_and_no_other_score_changes():
    suspect = Sloped(trigger=[7, 300])
    plain, deep = searched(suspect, 0), searched(suspect, 2)
    assert plain.verdict == "none found at this budget"
    assert plain.gradient_score is None
    found = next(each for each in deep.indicators if each.stage == "gradient search")
    assert {"w7", "w300"} <= set(found.trigger.split())
    assert (found.label, found.strength, found.p) == ("good", "weak", None)
    assert found.excess >= 0.5
    assert deep.gradient_score == found.excess
    assert (deep.score, deep.phrase_score) == (plain.score, plain.phrase_score)
