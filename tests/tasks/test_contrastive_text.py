"""SimCSE: two views of a text, their loss against all others, and gradients that do not depend on how an update is cut."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from scipy.spatial.distance import pdist
from scipy.special import logsumexp
from tests.conftest import WORDS, make_base, make_tokenizer

import rootstock
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.bases.save import save_model
from rootstock.core.errors import BaseError
from rootstock.core.objective import in_groups
from rootstock.core.seed import HELD_OUT, Draw
from rootstock.data.batches import Feed
from rootstock.loop.coupled import coupled_gradients
from rootstock.loop.crew import Crew
from rootstock.loop.infer import predict
from rootstock.tasks.contrastive_text import ContrastiveText

TASK, PAIRS = ContrastiveText(), ContrastiveText(views="pairs")
TOKENIZER = make_tokenizer()
TEXTS = pa.table({"text": [" ".join(np.random.default_rng(i).choice(WORDS, 4 + i % 9)) for i in range(24)]})
TWO = pa.table({
    "text": ["good film", "the song was cold", "", "a book"],
    "text_pair": ["a great film is not bad", "dull", "warm", "lovely"],
})  # fmt: skip


@pytest.fixture
def load(tmp_path):
    def make(family="bert", *, dropout=0.1, task=TASK):
        return bases.load(resolve(str(make_base(tmp_path / family, family))), task.head(), seed=1, dropout=dropout).model

    return make


@pytest.fixture(scope="module")
def encoded():
    return TASK.encode(TEXTS, TOKENIZER, 16)


@pytest.fixture(scope="module")
def paired():
    table = pa.table({"text": TEXTS["text"], "text_pair": TEXTS["text"].to_pylist()[::-1]})
    return PAIRS.encode(table, TOKENIZER, 10)


def batch_of(task, encoded, rows=None, epoch=0):
    return task.collate(encoded, np.arange(len(encoded)) if rows is None else np.asarray(rows), TOKENIZER, Draw(3, epoch))


def measured(task, model, batch):
    """What is known of rows when they are measured."""
    return in_groups(task, model, task.decode(model, batch)["vectors"])


def test_both_views_in_training_are_the_text_and_cost_what_they_take(encoded):
    batch = batch_of(TASK, encoded)
    plain = encoded.tokens["input_ids"].padded(np.arange(len(encoded)), 0)
    for view in (0, 1):
        np.testing.assert_array_equal(batch["input_ids"][:, view], plain)
        np.testing.assert_array_equal(batch["attention_mask"][:, view], plain > 0)
    assert len(encoded) == 24
    assert encoded.lengths.max() == 28
    widest = int(encoded.lengths.argmax())
    assert batch_of(TASK, encoded, [widest])["input_ids"].numel() == encoded.lengths[widest]


def test_measured_rows_hide_tokens_of_the_second_view_alike_each_time(encoded):
    def masks(rows):
        batch = batch_of(TASK, encoded, rows, HELD_OUT)
        sizes = encoded.tokens["input_ids"].lengths[rows]
        return [batch["attention_mask"][i, :, :size].tolist() for i, size in enumerate(sizes)]

    rows = np.arange(len(encoded))
    found = masks(rows)
    assert found == masks(rows[:5]) + masks(rows[5:])
    assert all(all(first) for first, _ in found)
    inner = np.concatenate([second[1:-1] for _, second in found])
    assert 0.05 < 1 - inner.mean() < 0.25
    assert all(second[0] and second[-1] for _, second in found), "special tokens stay"


def test_pairs_are_read_side_by_side_and_none_is_half():
    held = PAIRS.encode(TWO, TOKENIZER, 6)
    batch = batch_of(PAIRS, held)
    for row, number in enumerate((0, 1, 3)):
        for view, name in enumerate(("text", "text_pair")):
            expected = TOKENIZER(TWO[name][number].as_py(), truncation=True, max_length=6)["input_ids"]
            assert batch["input_ids"][row, view][batch["attention_mask"][row, view] > 0].tolist() == expected
    assert held.lengths.tolist() == [12, 12, 8]
    assert torch.equal(batch["attention_mask"], batch_of(PAIRS, held, epoch=HELD_OUT)["attention_mask"])
    assert (TASK.reads, PAIRS.reads) == ("documents", "pairs")


def test_the_loss_is_infonce_both_ways():
    vectors = torch.randn(5, 2, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    units = (vectors / vectors.norm(dim=-1, keepdim=True)).numpy()
    scores = units[:, 0] @ units[:, 1].T / 0.05
    expected = sum(logsumexp(scores, axis=axis).sum() - scores.trace() for axis in (0, 1)) / 2
    loss = TASK.couple(torch.nn.Identity(), vectors)
    assert loss.count == 5
    assert float(loss.total) == pytest.approx(expected, rel=1e-5)


def test_figures_are_those_of_the_formulas(load, encoded):
    model = load().eval()
    batch = batch_of(TASK, encoded, epoch=HELD_OUT)
    columns = measured(TASK, model, batch)
    found = TASK.metrics(columns)
    units = torch.nn.functional.normalize(TASK.embed(model, batch).detach(), dim=-1).numpy().astype(np.float64)
    assert found["alignment"] == pytest.approx(((units[:, 0] - units[:, 1]) ** 2).sum(1).mean(), rel=1e-3)
    assert found["uniformity"] == pytest.approx(np.log(np.exp(-2 * pdist(units[:, 0]) ** 2).mean()), rel=1e-3)
    assert found["loss"] * 24 == pytest.approx(float(TASK.couple(model, torch.from_numpy(units)).total), rel=1e-4)
    near = units[:, 0] @ units[:, 1].T
    both = np.mean([near.argmax(1) == np.arange(24), near.argmax(0) == np.arange(24)])
    assert found["accuracy"] == pytest.approx(both)
    assert set(found) == {"loss", "accuracy", "alignment", "uniformity"}, "its loss is no likelihood of tokens"
    assert TASK.metrics(measured(TASK, model, batch_of(TASK, encoded, [0], HELD_OUT))) == {}, "a row alone is always found"
    assert TASK.merit({}) < TASK.merit({"loss": 1e3})
    assert np.isfinite(TASK.merit({})[0]), "a checkpoint keeps it as JSON"
    assert TASK.metrics(columns, ["accuracy"]) == {"accuracy": found["accuracy"]}


def test_rows_are_told_from_some_thirty_others_however_many_there_are(load, encoded):
    rows = np.tile(np.arange(24), 4)
    columns = measured(TASK, load().eval(), batch_of(TASK, encoded, rows[:70], HELD_OUT))
    assert columns["others"].tolist() == [34.0] * 70
    assert all(len(values) == 70 for values in columns.values())
    few = measured(TASK, load().eval(), batch_of(TASK, encoded, rows[:33], HELD_OUT))
    assert set(few["others"]) == {32.0}, "one row is left over and stands alone"


@pytest.mark.parametrize(("micro", "cores"), [(10_000, 1), (90, 1), (400, 2)])
def test_what_is_measured_does_not_depend_on_cores_or_batches(load, encoded, micro, cores):
    model, held = load().eval(), torch.get_num_threads()
    whole = measured(TASK, model, batch_of(TASK, encoded, epoch=HELD_OUT))
    torch.set_num_threads(cores)
    found = predict(model, Feed(encoded, TASK, TOKENIZER, 200, micro, 3), TASK, device=torch.device("cpu"))
    torch.set_num_threads(held)
    assert set(found) == set(whole)
    for name, values in whole.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_a_vector_is_the_mean_of_the_real_tokens_or_the_first(load, encoded, pool):
    task = ContrastiveText(pool=pool)
    model = load().eval()
    vectors = task.embed(model, batch_of(task, encoded, [0, 5]))
    for place, row in enumerate((0, 5)):
        ids = encoded.tokens["input_ids"].padded(np.array([row]), 0)
        states = model(input_ids=torch.from_numpy(ids)).last_hidden_state[0]
        torch.testing.assert_close(vectors[place, 0], states.mean(0) if pool == "mean" else states[0], rtol=1e-4, atol=1e-5)


def gradients(model, work):
    model.zero_grad()
    torch.manual_seed(11)
    done = work()
    drawn = torch.rand(3)
    return done, [p.grad.clone() for p in model.parameters() if p.grad is not None], drawn


@pytest.mark.parametrize(("task", "dropout"), [(TASK, 0.1), (PAIRS, 0.0)])
def test_gradients_of_micro_batches_are_those_of_the_whole_update(load, encoded, paired, task, dropout):
    model, held = load(dropout=dropout).train(), encoded if task is TASK else paired
    parts = [np.arange(7), np.arange(7, 16), np.arange(16, 24)]
    made = iter([batch_of(task, held, part) for part in parts])

    def cached():
        with Crew(model, 1) as crew:
            return coupled_gradients(crew, task, [np.arange(24)], lambda _: made)  # each batch is asked for once

    def whole():
        if dropout:  # the same draws are made only where the same batches pass one after the other
            loss = task.couple(model, torch.cat([task.embed(model, batch_of(task, held, part)) for part in parts]))
        else:
            loss = task.loss(model, batch_of(task, held))
        loss.total.backward()
        return loss

    (passed, found, after), (loss, expected, drawn) = gradients(model, cached), gradients(model, whole)
    assert passed.loss == pytest.approx(float(loss.total.detach()), rel=1e-5)
    assert passed.items == loss.count == 24
    assert torch.equal(after, drawn), "dropout goes on as if each batch had passed once"
    assert len(found) == len(expected) > 20
    largest = max(float(each.abs().max()) for each in expected)
    for a, b in zip(found, expected, strict=True):
        assert float((a - b).abs().max()) < 1e-5 * largest
    assert largest > 1e-3


@pytest.mark.parametrize("task", [TASK, PAIRS])
def test_it_learns(load, encoded, paired, task):
    model, held = load().train(), encoded if task is TASK else paired
    torch.manual_seed(0)
    before = task.metrics(measured(task, model.eval(), batch_of(task, held, epoch=HELD_OUT)))
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=3e-3)
    for step in range(20):
        loss = task.loss(model, batch_of(task, held, epoch=step))
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    after = task.metrics(measured(task, model.eval(), batch_of(task, held, epoch=HELD_OUT)))
    assert after["loss"] < before["loss"] - 0.5
    assert after["uniformity"] < before["uniformity"] - 0.2


def test_what_is_saved_is_a_plain_encoder_and_serves_feature_extraction(load, adapt, tmp_path):
    save_model(TASK.bare(load()), TOKENIZER, tmp_path / "simcse")
    _, report = transformers.AutoModel.from_pretrained(tmp_path / "simcse", output_loading_info=True)
    assert not any(report.values())
    run = adapt(base=str(tmp_path / "simcse"), method="feature-extraction")
    assert isinstance(run, rootstock.Run)
    assert 0 <= run.metrics["metrics"]["accuracy"] <= 1


def test_models_that_can_not_do_it_are_refused(load, tmp_path):
    TASK.check(load("bert", dropout=0.1))
    TASK.check(load("llama", dropout=0.1))
    with pytest.raises(BaseError, match=r"training\.dropout"):
        TASK.check(load("distilbert", dropout=0.0))
    PAIRS.check(load("roberta", dropout=0.0))
    with pytest.raises(BaseError, match=r"task\.pool"):
        ContrastiveText(pool="cls").check(load("llama"))
    shape = {"d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 32, "num_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", **shape}))
    TOKENIZER.save_pretrained(tmp_path / "tok")
    base = resolve(f"scratch:{tmp_path / 'config.json'}", tokenizer=tmp_path / "tok")
    with pytest.raises(BaseError, match="no vectors"):
        TASK.check(bases.load(base, TASK.head(), seed=1).model)


def test_the_check_leaves_generator_and_mode_as_they_were(load):
    model = load().eval()
    before = torch.get_rng_state()
    TASK.check(model)
    assert torch.equal(before, torch.get_rng_state())
    assert not model.training
