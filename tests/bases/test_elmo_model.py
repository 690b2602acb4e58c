"""ELMo: both directions against torch's own bidirectional LSTM, no look ahead, padding, letters, the mixture, saved folders."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rootstock.bases import scratch
from rootstock.bases.elmo import BEGIN, END, NONE, ElmoConfig, ElmoForPreTraining, ElmoForSequenceClassification, ElmoModel, spell
from rootstock.bases.load import load
from rootstock.bases.resolve import resolve
from rootstock.bases.save import save_model
from rootstock.core.loaded import Head

SMALL = {"vocab_size": 40, "filters": [[1, 4], [3, 8]], "cells": 12, "hidden_size": 12, "max_letters": 8, "letter_size": 5}
HEAD = Head(auto="AutoModelForSequenceClassification", options={"num_labels": 3})
VOCABULARY = {f"w{number}": number for number in range(38)} | {"##x": 38, "äé": 39}


def made(kind: Any = ElmoModel, **changes: Any) -> Any:
    torch.manual_seed(0)
    model = kind(ElmoConfig(**{**SMALL, **changes})).eval()
    model.base_model.spell(VOCABULARY)
    for name, parameter in model.named_parameters():
        if "bias" in name:  # zeros hide mistakes
            nn.init.normal_(parameter, std=0.1)
    return model


def batch(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(1, 40, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(len(lengths)))
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return ids * mask, mask


def test_letters_are_bytes_between_marks() -> None:
    letters = spell({"ab": 1, "é": 2, "toolong": 3, "beyond": 9}, size=4, most=5)
    assert letters.tolist() == [
        [NONE] * 5,
        [BEGIN, 97, 98, END, NONE],
        [BEGIN, 0xC3, 0xA9, END, NONE],
        [BEGIN, *b"too", END],
    ]


def test_a_token_is_what_its_letters_make_it() -> None:
    model = made()
    model.spell(VOCABULARY | {"w1": 7, "w7": 1})
    vectors = model._vectors(torch.tensor([[1, 7, 2, 1]]))[0]
    model.spell(VOCABULARY)
    before = model._vectors(torch.tensor([[1, 7, 2, 1]]))[0]
    assert torch.equal(before[0], vectors[1])
    assert not torch.allclose(before[1], vectors[1])
    direct = model.letters(model.spelling(torch.tensor([1, 7, 2, 1])))
    torch.testing.assert_close(before, direct)


def test_a_layer_is_torchs_own_bidirectional_lstm() -> None:
    model, (ids, mask) = made(), batch(9, 4, 1)
    whole = nn.LSTM(6, 12, proj_size=6, bidirectional=True, batch_first=True)
    for name, parameter in model.forwards[0].named_parameters():
        getattr(whole, name).data = parameter.data
        getattr(whole, f"{name}_reverse").data = model.backwards[0].get_parameter(name).data
    vectors = model._vectors(ids)
    packed, _ = whole(pack_padded_sequence(vectors, mask.sum(1), batch_first=True))
    wanted, _ = pad_packed_sequence(packed, batch_first=True)
    states = model(ids, mask).hidden_states
    torch.testing.assert_close(states[1], wanted)
    torch.testing.assert_close(states[0], torch.cat([vectors, vectors], -1) * mask[..., None])
    above, _ = model.forwards[1](wanted[..., :6])
    torch.testing.assert_close(states[2][..., :6], (above + wanted[..., :6]) * mask[..., None])  # the residual


def test_the_mixture_is_a_softmax_of_the_layers() -> None:
    model, (ids, mask) = made(), batch(5, 3)
    states = torch.stack(model(ids, mask).hidden_states)
    torch.testing.assert_close(model(ids, mask).last_hidden_state, states.mean(0))
    model.mix.data, model.gamma.data = torch.tensor([0.0, 2.0, -1.0]), torch.tensor([3.0])
    weights = model.mix.exp() / model.mix.exp().sum()
    torch.testing.assert_close(model(ids, mask).last_hidden_state, 3 * torch.einsum("l,lbtp->btp", weights, states))


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_changes_nothing(side: str) -> None:
    model, (ids, mask) = made(), batch(9, 4)
    alone = model(ids[1:, :4]).hidden_states
    if side == "left":
        ids, mask = ids.flip(1), mask.flip(1)
        ids[1, 5:] = ids[1, 5:].flip(0)
    at = slice(5, 9) if side == "left" else slice(0, 4)
    together = model(ids, mask).hidden_states
    for one, both in zip(alone, together, strict=True):
        torch.testing.assert_close(both[1, at], one[0])
        assert not both[1][mask[1] == 0].any()


def test_neither_half_has_seen_what_it_predicts() -> None:
    model, (ids, mask) = made(ElmoForPreTraining), batch(8, 5)
    out = model(ids, mask)
    assert (out.hidden.shape, out.targets.shape) == ((2, 2, 7, 6), (2, 2, 7))
    assert out.targets[0, 0].tolist() == ids[0, 1:].tolist()
    assert out.targets[1, 0].tolist() == ids[0, :-1].tolist()
    assert out.targets[:, 1].ge(0).sum(1).tolist() == [4, 4]
    changed = ids.clone()
    changed[0, 3] = ids[0, 3] % 30 + 1
    moved = (model(changed, mask).hidden - out.hidden).abs().amax(-1) > 1e-7
    assert moved[0, 0].tolist() == [False] * 3 + [True] * 4  # place 2 predicts token 3, place 3 has read it
    assert moved[1, 0].tolist() == [True] * 3 + [False] * 4  # backward, place 2 has read token 3, place 3 predicts it
    assert not moved[:, 1].any()
    assert model.get_output_embeddings().weight.shape == (40, 6)


def test_both_halves_learn_a_text() -> None:
    model, ids = made(ElmoForPreTraining, dropout=0.0).train(), torch.tensor([[2, 3, 4, 5, 6, 7, 8, 9]])
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    for _ in range(40):
        out = model(ids)
        loss = nn.functional.cross_entropy(model.get_output_embeddings()(out.hidden).flatten(0, 2), out.targets.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(model.get_output_embeddings()(model(ids).hidden).argmax(-1), model(ids).targets)


def test_its_size_is_the_published_one() -> None:
    facts = scratch.facts("elmo-small")
    with torch.device("meta"):
        model = ElmoModel(ElmoConfig(**{key: value for key, value in facts.items() if key != "model_type"}))
    # 2048 filters, a highway, a projection to 128, and 4 LSTMs of 1024 cells (torch has two biases a cell, the paper's program one).
    filters = sum(16 * reach * number + number for reach, number in facts["filters"])
    lstm = 4 * 1024 * (128 + 128) + 2 * 4 * 1024 + 1024 * 128
    closed = 259 * 16 + filters + (2048 + 1) * 4096 + (2048 + 1) * 128 + 4 * lstm + 3 + 1
    assert sum(p.numel() for p in model.parameters()) == closed
    assert round(closed / 1e6, 1) == 13.6  # "small" in the table of the published models
    starts = ElmoModel(ElmoConfig(**SMALL))
    assert starts.letters.highways[0].both.bias.tolist() == [0.0] * 12 + [-2.0] * 12
    assert starts.forwards[1].bias_ih_l0.tolist() == [0.0] * 12 + [1.0] * 12 + [0.0] * 24


def test_saved_it_loads_with_plain_transformers_and_as_a_base(bare_tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoModel

    model = made(ElmoForPreTraining)
    save_model(model, bare_tokenizer, tmp_path)
    ids, mask = batch(6, 2)
    again = AutoModel.from_pretrained(tmp_path).eval()
    assert torch.equal(again.spelling.char_ids, model.elmo.spelling.char_ids)
    assert torch.equal(again(ids, mask).last_hidden_state, model.elmo(ids, mask).last_hidden_state)
    loaded = load(resolve(str(tmp_path)), HEAD, seed=0)
    assert loaded.fresh == {"classifier.weight", "classifier.bias"}
    assert loaded.width == 12
    assert torch.equal(loaded.model.elmo(ids, mask).last_hidden_state, model.elmo(ids, mask).last_hidden_state)  # type: ignore[operator]


def test_a_classifier_reads_the_mean_of_the_mixture() -> None:
    model, (ids, mask) = made(ElmoForSequenceClassification, num_labels=3), batch(6, 2)
    hidden = model.elmo(ids, mask).last_hidden_state
    wanted = model.classifier(torch.stack([hidden[0].mean(0), hidden[1, :2].mean(0)]))
    torch.testing.assert_close(model(ids, attention_mask=mask).logits, wanted)


def test_from_scratch_it_spells_with_the_tokenizer_given(tiny: Path) -> None:
    base = resolve("scratch:elmo-small", tokenizer=tiny)
    first, second = (load(base, HEAD, seed=3) for _ in range(2))
    letters = first.model.elmo.spelling.char_ids  # type: ignore[union-attr]
    assert letters[33].tolist() == [BEGIN, *b"good", END, NONE, NONE]  # type: ignore[index, operator]
    assert letters.shape == (40, 8)  # type: ignore[union-attr]  # the longest is [MASK]
    assert all(torch.equal(p, q) for p, q in zip(first.model.parameters(), second.model.parameters(), strict=True))
