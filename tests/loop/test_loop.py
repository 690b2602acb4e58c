"""The parts of the loop against references: closed forms, torch's own optimizer, the whole table."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from rootstock.core.recipe import TrainingSettings
from rootstock.core.task import Loss
from rootstock.loop.job import Job
from rootstock.loop.optimizer import Optimizer, decayed_names
from rootstock.loop.precision import Weights, computing
from rootstock.loop.schedule import factor
from rootstock.loop.train import Training
from rootstock.loop.trim import TrimmedEmbedding, trim, untrim


def test_schedules_rise_peak_and_end():
    assert factor("linear", 0.05, 0.1) == pytest.approx(0.5)
    assert factor("linear", 0.1, 0.1) == pytest.approx(1.0)
    assert factor("linear", 0.55, 0.1) == pytest.approx(0.5)
    assert factor("cosine", 0.55, 0.1) == pytest.approx(0.5)
    assert factor("linear", 1.0, 0.1) == factor("cosine", 1.0, 0.0) == pytest.approx(0.0)
    assert factor("constant", 1.0, 0.1) == 1.0
    assert factor("linear", 0.0, 0.0) == 1.0


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 2))


def updated(optimizer, names, count, clip):
    scale, norm = optimizer.scale(optimizer.norms(names), count, clip)
    optimizer.update(names, scale)
    return norm


@pytest.mark.parametrize(("count", "clip"), [(1, 1e9), (7, 1e9), (7, 0.01)])
def test_the_update_is_adamw_on_the_clipped_mean_gradient(count, clip):
    ours, reference = small(), small()
    names = [name for name, _ in ours.named_parameters()]
    masters = dict(ours.named_parameters())
    optimizer = Optimizer(masters, [{"names": names, "rate": 1e-2}], decays=decayed_names(ours), decay=0.1)
    held = dict(reference.named_parameters())
    decayed = decayed_names(reference)
    assert decayed == {"0.weight", "2.weight"}
    theirs = torch.optim.AdamW(
        [
            {"params": [held[n] for n in names if n in decayed], "weight_decay": 0.1},
            {"params": [held[n] for n in names if n not in decayed], "weight_decay": 0.0},
        ],
        lr=1e-2,
    )
    for step in range(3):
        x = torch.randn(count, 4, generator=torch.Generator().manual_seed(step))
        ours(x).square().sum().backward()
        norm = updated(optimizer, names, count, clip)
        (reference(x).square().sum() / count).backward()
        expected = torch.nn.utils.clip_grad_norm_(reference.parameters(), clip)
        theirs.step()
        theirs.zero_grad()
        assert norm == pytest.approx(expected.item(), rel=1e-5)
    for (name, a), b in zip(ours.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7, msg=name)


def test_bf16_trains_fp32_masters_and_gives_them_back():
    model = small()
    model[0].requires_grad_(False)
    frozen = model[0].weight.detach().clone()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    weights = Weights(model, torch.bfloat16, fresh={"2.weight", "2.bias"})
    assert model[0].weight.dtype == model[1].weight.dtype == torch.bfloat16
    assert model[2].weight.dtype == torch.float32
    assert all(master.dtype == torch.float32 for master in weights.masters.values())
    out = model(torch.randn(3, 4).bfloat16())
    assert out.dtype == torch.float32
    out.sum().backward()
    weights.pull(weights.names, [dict(model.named_parameters())])
    with torch.no_grad():
        for master in weights.masters.values():
            assert master.grad is not None
            master.add_(1e-4)
    weights.push()
    weights.restore()
    assert torch.equal(model[0].weight, frozen)
    torch.testing.assert_close(model[1].weight, before["1.weight"] + 1e-4, rtol=0, atol=1e-7)
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_computing_restores_every_bit():
    model = small()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with computing(model, torch.bfloat16):
        assert model[0].weight.dtype == torch.bfloat16
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


def test_what_got_no_gradient_does_not_decay():
    model = small()
    model.spare = nn.Linear(3, 3)
    before = model.spare.weight.detach().clone()
    weights = Weights(model, torch.bfloat16)
    optimizer = Optimizer(
        weights.masters,
        [{"names": weights.names, "rate": 1e-2}],
        decays=decayed_names(model),
        decay=0.1,
    )
    nn.Sequential(*list(model)[:3])(torch.randn(3, 4).bfloat16()).sum().backward()
    weights.pull(weights.names, [dict(model.named_parameters())])
    updated(optimizer, weights.names, 1, 1e9)
    weights.push()
    weights.restore()
    assert torch.equal(model.spare.weight, before)
    assert not torch.equal(model[0].weight, small()[0].weight)


def test_matrices_that_are_embeddings_do_not_decay():
    with torch.device("meta"):
        model = transformers.ViTModel(transformers.ViTConfig(num_hidden_layers=1), use_mask_token=True)
    names = {name.removesuffix(".weight") for name in decayed_names(model)}
    assert [name for name in names if name.startswith("embeddings")] == ["embeddings.patch_embeddings.projection"]


def learned(asked, **more):
    """An update for each of these rows, in which so many items are asked; the weights, and what was noted. more: of the job."""
    model, noted = small(), []

    def loss(model, batch):
        return Loss((model(batch["x"]).square() * batch["asked"]).sum(), int(batch["asked"].sum()))

    feed = SimpleNamespace(
        epoch=lambda number: [np.array([row]) for row, _ in asked],
        rounds=lambda number: [0] * len(asked),
        shards=lambda rows, count: [rows],
        micro_batches=lambda rows, beside, **at: [{"x": torch.ones(1, 4) * (rows[0] + 1), "asked": torch.tensor(dict(asked)[rows[0]])}],
        digest=lambda rows: "",
    )
    settings = TrainingSettings().model_copy(update={"epochs": 1, "rate": 0.1, "weight_decay": 0.0, "schedule": "constant", "warmup": 0.0})
    job = Job(
        model=model,
        task=SimpleNamespace(loss=loss, chosen_by=("loss",)),
        method=SimpleNamespace(
            revise=lambda values, progress: (),
            advance=lambda model, progress: None,
            turns=lambda model: (),
            groups=lambda model, rate: [{"names": [n for n, _ in model.named_parameters()], "rate": rate}],
        ),
        feed=feed,
        settings=settings,
        dtype=torch.float32,
        fresh=frozenset(),
        accelerator=SimpleNamespace(device=torch.device("cpu"), backward=torch.autograd.backward),
        evaluate=lambda: ((0.0,), {}),
        note=noted.append,
        save=lambda moment: None,
        **more,
    )
    training = Training(job)
    assert training.learns == sum(p.numel() for p in model.parameters())
    training.run()
    training.close()
    return model, [event for event in noted if event["event"] == "step"]


def test_an_update_in_which_nothing_is_asked_changes_nothing_and_is_noted():
    model, steps = learned([(0, 1.0), (1, 0.0), (2, 2.0)])
    expected, others = learned([(0, 1.0), (2, 2.0)])
    assert [step["loss"] is None for step in steps] == [False, True, False]
    assert [step["gradient_norm"] is None for step in steps] == [False, True, False]
    assert [step["step"] for step in steps] == [1, 2, 3]
    assert [step["loss"] for step in steps if step["loss"]] == [step["loss"] for step in others]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


def test_a_training_that_has_enough_ends_as_if_it_had_come_to_its_end():
    model, steps = learned([(0, 1.0), (1, 1.0), (2, 2.0)], enough=lambda step: step >= 2)
    expected, _ = learned([(0, 1.0), (1, 1.0)])
    assert [step["step"] for step in steps] == [1, 2]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


class Words(nn.Module):
    """Embeddings and a head, as transformers names them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(50, 6, padding_idx=0), nn.Linear(6, 2)

    def get_input_embeddings(self):
        return self.table

    def set_input_embeddings(self, table):
        self.table = table

    def get_output_embeddings(self):
        return None

    def forward(self, ids):
        return self.head(self.table(ids).mean(1))


class Scaled(nn.Embedding):
    """A table that does more than look up, as some models have it."""

    def forward(self, ids):
        return 2 * super().forward(ids)


def train(model, ids):
    optimizer = torch.optim.AdamW([{"params": model.table.parameters(), "weight_decay": 0.0}, {"params": model.head.parameters()}], lr=1e-2)
    for batch in ids:
        optimizer.zero_grad()
        model(batch).square().sum().backward()
        optimizer.step()


def test_trimming_the_embeddings_changes_no_bit():
    ids = [torch.tensor([[3, 7, 0], [9, 3, 11]]), torch.tensor([[7, 7, 0]]), torch.tensor([[11, 3, 9]])]
    whole, trimmed = Words(), Words()
    train(whole, ids)
    assert trim(trimmed, np.array([3, 7, 9, 11]))
    assert isinstance(trimmed.table, TrimmedEmbedding)
    assert trimmed.table.weight.shape == (5, 6)
    train(trimmed, ids)
    with pytest.raises(IndexError):
        trimmed(torch.tensor([[20]]))
    untrim(trimmed)
    assert torch.equal(whole.table.weight, trimmed.table.weight)
    assert not math.isclose(whole.table.weight[3].sum().item(), Words().table.weight[3].sum().item())


def test_shared_embeddings_are_left_whole():
    model = Words()
    model.decoder = nn.Linear(6, 50, bias=False)
    model.decoder.weight = model.table.weight
    assert not trim(model, np.array([1]))
    model = Words()
    model.table = Scaled(50, 6)
    assert not trim(model, np.array([1]))
    model = Words()
    model.table.weight.requires_grad_(False)
    assert not trim(model, np.array([1]))
