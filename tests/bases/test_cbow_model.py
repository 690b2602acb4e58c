"""CBOW: contexts against a plain loop, word2vec's starts, padding, and the way through adapt."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

from rootstock.bases.cbow import CbowConfig, CbowForPreTraining, CbowForSequenceClassification, CbowModel
from rootstock.bases.load import load, tokenizer
from rootstock.bases.resolve import resolve
from rootstock.bases.save import save_model
from rootstock.core.loaded import Head

SMALL = {"vocab_size": 40, "hidden_size": 8}
HEAD = Head(auto="AutoModelForSequenceClassification", options={"num_labels": 3})


def made(kind: Any = CbowForPreTraining, **changes: Any) -> Any:
    torch.manual_seed(0)
    return kind(CbowConfig(**SMALL, **changes)).eval()


def batch(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(len(lengths))
    ids = torch.randint(5, 40, (len(lengths), max(lengths)), generator=generator)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return ids * mask, mask


@pytest.mark.parametrize("drawn", [False, True])
def test_a_context_is_the_mean_of_the_vectors_around(drawn: bool) -> None:
    model, (ids, mask) = made(window=2), batch(9, 5, 1)
    mask[0, 4] = 0  # a hole, as where a special token is no context
    radii = torch.randint(1, 4, ids.shape, generator=torch.Generator().manual_seed(1)) if drawn else torch.full_like(ids, 2)
    out = model(ids, mask, window_BT=radii if drawn else None)
    table = model.cbow.embeddings.weight
    for row in range(3):
        for at in range(9):
            reach = int(radii[row, at])
            near = [i for i in range(max(0, at - reach), min(9, at + reach + 1)) if i != at and mask[row, i]]
            assert out.around[row, at] == len(near)
            wanted = table[ids[row, near]].mean(0) if near else torch.zeros(8)
            torch.testing.assert_close(out.context[row, at], wanted, atol=1e-7, rtol=1e-5)


def test_scores_are_products_with_the_second_table() -> None:
    model = made()
    assert model.get_output_embeddings().weight.shape == (40, 8)
    assert model.get_output_embeddings().weight is not model.get_input_embeddings().weight
    torch.nn.init.normal_(model.output.weight)
    context, candidates = torch.randn(4, 8), torch.randint(0, 40, (4, 6))
    wanted = torch.stack([model.output.weight[candidates[i]] @ context[i] for i in range(4)])
    torch.testing.assert_close(model.scores(context, candidates), wanted)


def test_it_starts_as_word2vec_does() -> None:
    model = made()
    assert not model.output.weight.any()
    assert model.cbow.embeddings.weight.abs().max() <= 0.5 / 8
    assert model.cbow.embeddings.weight.std().item() == pytest.approx(1 / 8 / 12**0.5, rel=0.1)  # of a uniform distribution


def test_it_learns_which_words_stand_together() -> None:
    model, generator = made(window=1), torch.Generator().manual_seed(0)
    first = torch.randint(5, 20, (64, 1), generator=generator)
    pairs = torch.cat([first, first + 20], 1)  # 5 stands with 25, 6 with 26 ...
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(60):
        out = model(pairs)
        at = out.around > 0
        candidates = torch.cat([pairs[at][:, None], torch.randint(5, 40, (int(at.sum()), 5), generator=generator)], 1)
        scores = model.scores(out.context[at], candidates)
        truth = torch.zeros_like(scores)
        truth[:, 0] = 1
        torch.nn.functional.binary_cross_entropy_with_logits(scores, truth).backward()
        optimizer.step()
        optimizer.zero_grad()
    context = model(pairs).context[:, 1]  # of the second word: the first
    best = model.scores(context, torch.arange(40).expand(64, 40)).argmax(1)
    assert (best == pairs[:, 1]).float().mean() > 0.9


def test_padding_and_order_change_nothing() -> None:
    model, (ids, mask) = made(CbowForSequenceClassification, num_labels=3), batch(7, 3)
    both = model(ids, attention_mask=mask).logits
    torch.testing.assert_close(model(ids[1:, :3], attention_mask=mask[1:, :3]).logits[0], both[1])
    torch.testing.assert_close(model(ids[:1].flip(1)).logits[0], both[0])
    assert not torch.allclose(both[0], both[1])
    loss = model(ids, attention_mask=mask, labels=torch.tensor([0, 2])).loss
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(both, torch.tensor([0, 2])))


def test_saved_it_loads_with_plain_transformers_and_as_a_base(bare_tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoModelForPreTraining

    model = made()
    save_model(model, bare_tokenizer, tmp_path)
    ids = torch.arange(5, 12)[None]
    again = AutoModel.from_pretrained(tmp_path)
    assert type(again) is CbowModel
    assert torch.equal(again(ids).last_hidden_state, model.cbow.embeddings(ids))
    torch.nn.init.ones_(model.output.weight)
    save_model(model, bare_tokenizer, tmp_path)
    assert AutoModelForPreTraining.from_pretrained(tmp_path).output.weight.eq(1).all()
    loaded = load(resolve(str(tmp_path)), HEAD, seed=0)
    assert loaded.fresh == {"classifier.weight", "classifier.bias"}
    assert (loaded.width, loaded.model.training) == (8, False)
    assert torch.equal(loaded.model.get_input_embeddings().weight, model.cbow.embeddings.weight)  # type: ignore[operator]


def test_loading_a_base_makes_it_known(bare_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    from rootstock import bases

    save_model(made(), bare_tokenizer, tmp_path)
    monkeypatch.delitem(sys.modules, "rootstock.bases.cbow")
    monkeypatch.setattr(bases, "cbow", None)
    monkeypatch.delitem(CONFIG_MAPPING._extra_content, "rootstock-cbow")
    with pytest.raises(ValueError, match="rootstock-cbow"):
        AutoConfig.from_pretrained(tmp_path)
    assert type(load(resolve(str(tmp_path)), HEAD, seed=0).model).__name__ == "CbowForSequenceClassification"
    assert "rootstock.bases.cbow" in sys.modules


def test_it_adapts_from_scratch_and_then_as_a_frozen_base(adapt: Any, tiny_base: Path, tmp_path: Path) -> None:
    run = adapt("first", base="scratch:cbow", tokenizer=str(tiny_base))
    assert run.metrics["metrics"]["accuracy"] > 0.8
    found = tmp_path / "first" / "model"
    assert load_file(found / "model.safetensors")["cbow.embeddings.weight"].shape == (len(tokenizer(resolve(str(tiny_base)))), 300)
    second = adapt("second", base=str(tmp_path / "first"), method="feature-extraction", training={})
    assert second.metrics["metrics"]["accuracy"] > 0.8
