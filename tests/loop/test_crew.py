"""Twins on several cores give the gradients that one model gives, the same bits each time."""

import json

import pytest
import torch
import transformers
from tests.conftest import make_tokenizer
from tests.tiny_models import clip_model
from torch import nn

from rootstock.loop.crew import Crew, draws_at_random, members, shares, twin
from rootstock.loop.precision import Weights
from rootstock.loop.trim import trim

CPU = torch.device("cpu")


@pytest.fixture
def two_cores():
    held = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(held)


def bert(dropout=0.0):
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 40}
    config = transformers.BertConfig(**shape, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    return transformers.BertForSequenceClassification(config)


def work(model, ids):
    loss = model(input_ids=ids).logits.square().sum()
    loss.backward()
    return loss.item()


def test_twins_share_weights_and_keep_their_gradients_apart():
    model = bert()
    trim(model, torch.arange(5, 20).numpy())
    other = twin(model)
    held = {id(p) for p in model.parameters()}
    for own, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert id(theirs) not in held
        assert theirs.data_ptr() == own.data_ptr()
    table = model.get_input_embeddings().table
    assert other.get_input_embeddings().table is table, "the whole table was copied"
    work(other, torch.full((2, 3), 7))
    assert all(p.grad is None for p in model.parameters())
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    assert torch.equal(next(model.parameters()), next(other.parameters()))


def add_up(crew):
    """Leave the sum of all members' gradients in the first model, as training does."""
    weights = Weights(crew.models[0], torch.float32)
    parts = shares({name: master.numel() for name, master in weights.masters.items()}, 2)
    assert sorted(name for part in parts for name in part) == sorted(weights.names)
    members = [dict(model.named_parameters()) for model in crew.models]
    crew.share(lambda names: weights.pull(names, members), parts)
    assert all(p.grad is None for member in members[1:] for p in member.values())


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_gradients_add_up_to_those_of_one_pass(two_cores, shards):
    ids = torch.randint(0, 40, (12, 6), generator=torch.Generator().manual_seed(1))
    alone = bert()
    expected = work(alone, ids)
    found = []
    for _ in range(3):
        model = bert()
        with Crew(model, 3) as crew:
            passed = crew.gradients(work, ids.chunk(shards))
            add_up(crew)
        assert len(passed) == shards
        assert sum(passed) == pytest.approx(expected, rel=1e-5)
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for a, b in zip(found[0], (p.grad for p in alone.parameters() if p.grad is not None), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for again in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], again, strict=True)), "the sum depends on who came first"


def test_what_is_thawed_on_the_way_learns_in_every_twin(two_cores):
    model = bert()
    model.bert.requires_grad_(False)
    crew = Crew(model, 2)
    ids = torch.ones((4, 3), dtype=torch.long)
    crew.gradients(work, ids.chunk(2))
    add_up(crew)
    assert model.bert.pooler.dense.weight.grad is None
    model.bert.pooler.requires_grad_(True)
    model.zero_grad()
    crew.gradients(work, ids.chunk(2))
    add_up(crew)
    crew.close()
    alone = bert()
    work(alone, ids)
    torch.testing.assert_close(model.bert.pooler.dense.weight.grad, alone.bert.pooler.dense.weight.grad, rtol=1e-4, atol=1e-6)


def test_who_draws_at_random_works_alone(two_cores):
    assert members(bert(), 1024, CPU) == 2
    assert members(bert(), 300, CPU) == 1, "too few tokens to share"
    assert members(bert(0.1), 1024, CPU) == 1
    assert members(bert(), 1024, torch.device("cuda")) == 1
    assert draws_at_random(nn.Sequential(nn.Dropout(0.1)))
    assert not draws_at_random(nn.Sequential(nn.Dropout(0.0)))
    drawing = bert()
    drawing.config.attention_probs_dropout_prob = 0.2  # asked for in a function, where no module shows it
    assert draws_at_random(drawing)
    drawing = clip_model(make_tokenizer())
    assert not draws_at_random(drawing)
    drawing.config.vision_config.attention_dropout = 0.2
    assert draws_at_random(drawing)


def test_an_error_in_a_twin_is_the_crews(two_cores):
    def fail(model, ids):
        raise MemoryError("no room")

    with Crew(bert(), 2) as crew, pytest.raises(MemoryError, match="no room"):
        crew.gradients(fail, [1, 2])
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("method", "precision"),
    [("full", "fp32"), *(pytest.param(*both, marks=pytest.mark.slow) for both in (("full", "bf16"), ("lora", "fp32"), ("lora", "bf16")))],
)
def test_a_run_on_two_cores_repeats_and_agrees_with_one_core(two_cores, adapt, method, precision, monkeypatch):
    counts, real = [], Crew.__init__

    def counted(self, model, count):
        counts.append(count)
        real(self, model, count)

    monkeypatch.setattr(Crew, "__init__", counted)
    training = {"epochs": 2, "rate": 3e-3, "batch_tokens": 512, "precision": precision}

    def losses(out):
        run = adapt(out=out, method=method, training=training)
        lines = (run.path / "history.jsonl").read_text().splitlines()
        return [event["loss"] for event in map(json.loads, lines) if event["event"] == "step"]

    first, second = losses("a"), losses("b")
    assert first == second
    assert counts[0] == 2, "the update was not shared"
    torch.set_num_threads(1)
    alone = losses("c")
    assert alone == pytest.approx(first, rel=2e-2 if precision == "bf16" else 1e-4)


def test_two_cores_stopped_and_resumed_are_the_same_run(two_cores, adapt, tiny_base, reviews, tmp_path):
    from rootstock.verbs.verify import go_on, verify

    run = adapt(training={"epochs": 2, "rate": 3e-3, "batch_tokens": 512, "dropout": 0.0})
    found = verify(run.folder.recipe, 6, lambda text: None, restart=go_on)
    assert found["identical"], found["verdict"]


@pytest.mark.parametrize("family", ["distilbert", "llama"])
def test_heads_that_remember_give_the_same_answers_on_two_cores(two_cores, tmp_path, family):
    from tests.conftest import make_base, rows_of, write_csv

    import rootstock

    base, data = make_base(tmp_path / "base", family), write_csv(tmp_path / "rows.csv", rows_of(200))

    def confidences(out):
        settings = {"epochs": 2, "micro_tokens": 64, "precision": "fp32"}
        run = rootstock.adapt(data, base=str(base), method="feature-extraction", out=tmp_path / out, training=settings)
        return run.predictions(rootstock.run.use.table_of([text for text, _ in rows_of(200)], pair=False)).table["confidence"]

    many = confidences("two")
    torch.set_num_threads(1)
    assert many == pytest.approx(confidences("one"), abs=1e-4)


def test_shares_are_even_and_always_the_same():
    sizes = {"a": 5, "b": 9, "c": 4, "d": 9, "e": 0}
    assert shares(sizes, 2) == [["b", "a"], ["d", "c", "e"]]
    assert shares(sizes, 1) == [["b", "d", "a", "c", "e"]]
    assert shares({"a": 1}, 2) == [["a"], []]
