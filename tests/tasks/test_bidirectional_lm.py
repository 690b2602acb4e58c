import json
import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.conftest import make_base, make_tokenizer, rows_of

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import BaseError
from rootstock.core.seed import Draw
from rootstock.tasks.bidirectional_lm import BidirectionalLM

TASK = BidirectionalLM()
SHAPE = {"model_type": "rootstock-elmo", "cells": 24, "hidden_size": 24, "letter_size": 4, "filters": [[1, 8], [3, 16]], "highways": 1}


@pytest.fixture
def base(tmp_path):
    """An ELMo of two layers, 12 values a direction, over the words of the shared tokenizer."""
    (tmp_path / "config.json").write_text(json.dumps(SHAPE))
    make_tokenizer().save_pretrained(tmp_path / "tok")
    return resolve(f"scratch:{tmp_path / 'config.json'}", tokenizer=tmp_path / "tok")


@pytest.fixture
def model(base):
    return bases.load(base, TASK.head(), seed=1, dropout=0.0).model


@pytest.fixture
def rows():
    return TASK.encode(pa.table({"text": [text for text, _ in rows_of(24)]}), make_tokenizer(), 8)


def batch_of(rows, chosen=None):
    return TASK.collate(rows, np.arange(len(rows)) if chosen is None else np.asarray(chosen), make_tokenizer(), Draw(5, 0))


def test_a_batch_holds_pieces_between_their_special_tokens_and_their_bytes_once_a_direction():
    words = make_tokenizer()
    ids = words.get_vocab()
    encoded = TASK.encode(pa.table({"text": ["good film", "the book is a song"]}), words, 6)
    batch = batch_of(encoded)
    assert batch["input_ids"].tolist() == [
        [2, ids["good"], ids["film"], 3, 0],
        [2, ids["the"], ids["book"], ids["is"], 3],
        [2, ids["a"], ids["song"], 3, 0],
    ]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert batch["bytes"][0] == 2 * len("good film")
    assert float(batch["bytes"][1:].sum()) == pytest.approx(2 * len("the book is a song"))


def naive(model, batch):
    """For each row and direction, token by token over the whole vocabulary, from the states that the body gives for that row alone."""
    weight, bias = model.output.weight.detach().double(), model.output.bias.detach().double()
    losses, counts, hits = [], [], []
    for ids_T, mask_T in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        ids = ids_T[: int(mask_T.sum())]
        with torch.no_grad():
            forward, backward = (states[-1][0].double() for states in model.elmo.sides(ids[None]))
        asked = [(forward[place], ids[place + 1]) for place in range(len(ids) - 1)]
        asked += [(backward[place], ids[place - 1]) for place in range(1, len(ids))]
        scores = [(weight @ state + bias, int(token)) for state, token in asked]
        losses.append(sum(float(torch.logsumexp(each, 0) - each[token]) for each, token in scores))
        counts.append(len(asked))
        hits.append(sum(int(each.argmax()) == token for each, token in scores))
    return np.array(losses), np.array(counts), np.array(hits)


def test_the_loss_is_cross_entropy_over_the_whole_vocabulary_in_both_directions(model, rows):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    batch = batch_of(rows)
    losses, counts, hits = naive(model, batch)
    found, results = TASK.loss(model, batch), TASK.decode(model, batch)
    assert found.count == counts.sum() == 2 * int((batch["attention_mask"].sum(1) - 1).sum())
    assert found.total.item() == pytest.approx(losses.sum(), rel=1e-5)
    np.testing.assert_allclose(results["loss"], losses, rtol=1e-5)
    assert results["count"].tolist() == counts.tolist()
    assert results["hits"].tolist() == hits.tolist()
    assert 0 < hits.sum() < counts.sum()
    figures = TASK.metrics(results)
    assert figures["perplexity"] == pytest.approx(math.exp(losses.sum() / counts.sum()), rel=1e-4)
    one_direction = losses.sum() / 2 / math.log(2)
    assert figures["bits_per_byte"] == pytest.approx(one_direction / (float(batch["bytes"].sum()) / 2), rel=1e-4)


def test_neither_direction_sees_the_token_that_it_guesses_or_any_behind_it(model):
    ids_T = torch.tensor([2, 5, 9, 14, 20, 11, 3])
    place = 3

    def states_of(changed):
        """What the softmax layer reads, [2, L, P]."""
        ids_BT = ids_T.clone()[None]
        for where, token in changed.items():
            ids_BT[0, where] = token
        return model(ids_BT, torch.ones_like(ids_BT)).hidden.detach()[:, 0]

    changed_L = (states_of({}) - states_of({place: 17})).abs().amax(-1) > 0
    # Forward: hidden[i] has read 0 .. i and guesses i + 1, so a change of token 3 shows from place 3 on. Backward: hidden[i] has read
    # i + 1 .. and guesses i, so it shows up to place 2.
    assert changed_L[0].tolist() == [False, False, False, True, True, True]
    assert changed_L[1].tolist() == [True, True, True, False, False, False]


def test_gradients_of_one_guess_reach_only_what_may_be_seen(model):
    ids_BT = torch.tensor([[2, 5, 9, 14, 20, 11, 3]])
    vectors = []
    hook = model.elmo.dropout.register_forward_hook(lambda _, __, out: vectors.append(out.requires_grad_()) or out if not vectors else out)
    out = model(ids_BT, torch.ones_like(ids_BT))
    hook.remove()
    for direction, place, seen in ((0, 2, [0, 1, 2]), (1, 2, [3, 4, 5, 6])):
        hidden, target = out.hidden[direction, 0, place], out.targets[direction, 0, place]
        loss = torch.nn.functional.cross_entropy(model.output(hidden)[None], target[None])
        (gradient_BTP,) = torch.autograd.grad(loss, vectors[0], retain_graph=True)
        assert torch.nonzero(gradient_BTP[0].abs().sum(-1))[:, 0].tolist() == seen
        assert int(target) == int(ids_BT[0, place + 1 if direction == 0 else place])


def test_losses_and_gradients_add_up_over_parts_of_a_batch(model, rows):
    def gradients(parts):
        model.zero_grad()
        losses = [TASK.loss(model, batch_of(rows, part)) for part in parts]
        for loss in losses:
            loss.total.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        return sum(loss.total.item() for loss in losses), sum(loss.count for loss in losses), gradients

    count = len(rows)
    whole, parts = gradients([range(count)]), gradients([range(5), [5], range(6, count)])
    assert parts[:2] == (pytest.approx(whole[0], rel=1e-5), whole[1])
    assert set(dict(model.named_parameters())) - set(whole[2]) == {"elmo.mix", "elmo.gamma"}, "the mixture is for later tasks"
    for name, gradient in whole[2].items():
        torch.testing.assert_close(gradient, parts[2][name], rtol=1e-3, atol=1e-4)


def test_twenty_steps_lower_the_loss_and_what_is_saved_loads_as_it_is(model, rows, tmp_path):
    import transformers

    TASK.check(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        loss = TASK.loss(model, batch_of(rows))
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
        losses.append(loss.total.item() / loss.count)
    assert losses[-1] < 0.85 * losses[0]
    model.save_pretrained(tmp_path / "saved")
    body, told = transformers.AutoModel.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not told["missing_keys"]
    assert set(told["unexpected_keys"]) <= {"output.weight", "output.bias"}
    batch = batch_of(rows)
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    torch.testing.assert_close(body(**given).last_hidden_state, model.eval().elmo(**given).last_hidden_state)


def test_other_models_are_refused(tmp_path):
    base = resolve(str(make_base(tmp_path / "bert")))
    with pytest.raises(BaseError, match="scratch:elmo-small"):
        TASK.check(bases.load(base, TASK.head(), seed=0).model)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "rootstock-cbow", "hidden_size": 16}))
    cbow = bases.load(resolve(f"scratch:{config}", tokenizer=tmp_path / "bert"), TASK.head(), seed=0)
    with pytest.raises(BaseError, match="scratch:elmo-small"):
        TASK.check(cbow.model)
