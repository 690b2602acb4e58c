import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy import stats
from tests.conftest import make_base, make_tokenizer

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import BaseError
from rootstock.core.rows import Encoded, Ragged
from rootstock.core.seed import Draw
from rootstock.tasks.cbow import Cbow

TASTES, WEATHER = ("good", "great", "fine", "lovely", "bad", "poor"), ("warm", "cold", "dull", "awful", "song", "book")
ALL = Cbow(subsample=0, window=3, negatives=4)


@pytest.fixture
def base(tmp_path):
    """A CBOW of 16 dimensions over the words of the shared tokenizer."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "rootstock-cbow", "hidden_size": 16}))
    make_tokenizer().save_pretrained(tmp_path / "tok")
    return resolve(f"scratch:{tmp_path / 'config.json'}", tokenizer=tmp_path / "tok")


@pytest.fixture
def model(base):
    """Its pre-training model with output vectors that say something: they start at zero."""
    made = bases.load(base, ALL.head(), seed=1).model
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(3))
    return made


def held(*rows):
    ids = Ragged.of(rows)
    return Encoded({"input_ids": ids}, {}, ids.lengths)


def drawn(task, rows, *, epoch=0, chosen=None):
    return task.fit(rows).collate(rows, np.arange(len(rows)) if chosen is None else np.asarray(chosen), None, Draw(5, epoch))


MANY = [list(np.random.default_rng(number).integers(5, 25, 4 + number % 9)) for number in range(12)]


def test_rows_are_pieces_without_special_and_unknown_tokens_and_lone_words_are_left_out():
    words = make_tokenizer()
    rows = pa.table({"text": ["good film Zanzibar a book is", "song", "Zanzibar good", "the cold"]})
    encoded = ALL.encode(rows, words, 4)
    found = [encoded.tokens["input_ids"].flat[a:b].tolist() for a, b in zip(*[encoded.tokens["input_ids"].offsets[k:][:3] for k in (0, 1)])]
    ids = words.get_vocab()
    assert found == [[ids["good"], ids["film"]], [ids["a"], ids["book"], ids["is"]], [ids["the"], ids["cold"]]]
    assert encoded.lengths.tolist() == [2, 3, 2]


def test_a_batch_without_thinning_holds_the_rows_the_reach_of_each_place_and_the_true_token_before_the_drawn():
    batch = drawn(ALL, held([7, 8, 9], [5, 6]))
    assert batch["input_ids"].tolist() == [[7, 8, 9], [5, 6, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].shape == (2, 3, 5)
    assert torch.equal(batch["labels"][..., 0], batch["input_ids"])
    assert set(batch["labels"].flatten().tolist()) <= {0, 5, 6, 7, 8, 9}
    assert batch["window"].min() >= 1
    assert batch["window"].max() <= 3


def test_what_is_left_out_lets_its_neighbours_close_up():
    rows = held(*[[5, 6, 7, 5, 5, 8, 5, 5, 5, 9] for _ in range(40)])
    batch = drawn(Cbow(subsample=0.01, window=2), rows)
    lengths = batch["attention_mask"].sum(1)
    for ids_T, length in zip(batch["input_ids"].tolist(), lengths.tolist(), strict=True):
        assert all(ids_T[:length])
        assert not any(ids_T[length:])
        left = iter([5, 6, 7, 5, 5, 8, 5, 5, 5, 9])
        assert all(token in left for token in ids_T[:length]), "the order of what stays is the row's"
    assert lengths.float().mean() < 6


def test_frequent_tokens_stay_as_often_as_in_word2vec():
    shares = {5: 0.7, 6: 0.25, 7: 0.04, 8: 0.01}
    row = np.repeat(list(shares), [int(share * 100) for share in shares.values()])
    rows = held(*[np.random.default_rng(k).permutation(row) for k in range(200)])
    batch = drawn(Cbow(subsample=0.02), rows)
    stayed = np.bincount(batch["input_ids"][batch["attention_mask"] > 0], minlength=9)
    for token, share in shares.items():
        wanted = min(1.0, (np.sqrt(share / 0.02) + 1) * 0.02 / share)  # the line of word2vec.c
        found, total = stayed[token], 200 * 100 * share
        assert abs(found / total - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / total) + 1e-9, token


def test_negatives_follow_frequency_to_the_power_of_three_quarters():
    counts = {5: 800, 6: 120, 7: 60, 8: 15, 9: 5}
    row = np.repeat(list(counts), list(counts.values()))
    batch = drawn(ALL, held(*[np.random.default_rng(k).permutation(row) for k in range(10)]))
    found = np.bincount(batch["labels"][..., 1:].flatten(), minlength=10)[5:]
    wanted = np.array(list(counts.values())) ** 0.75
    assert found.sum() == 40_000
    assert stats.chisquare(found, wanted / wanted.sum() * found.sum()).pvalue > 1e-3
    assert stats.chisquare(found, np.array(list(counts.values())) / 1000 * found.sum()).pvalue < 1e-9, "plain frequency would not be told"


def test_rows_that_are_measured_go_by_how_common_tokens_are_where_it_learns():
    task = Cbow(subsample=0.02, negatives=9).fit(held([5] * 900 + [6] * 100))
    batch = task.collate(held(*[[5, 6, 7, 40]] * 500), np.arange(500), None, Draw(5))
    stayed = np.bincount(batch["input_ids"][batch["attention_mask"] > 0], minlength=41)
    assert stayed[[7, 40]].tolist() == [500, 500], "what was never seen is rare"
    assert stayed[5] / 500 == pytest.approx(np.sqrt(0.02 / 0.9) + 0.02 / 0.9, abs=0.05)
    assert set(batch["labels"][..., 1:].flatten().tolist()) == {5, 6}


def test_the_reach_of_a_place_is_uniform():
    window = drawn(Cbow(subsample=0, window=5), held(*[[5] * 100] * 100))["window"].flatten()
    assert stats.chisquare(np.bincount(window, minlength=6)[1:]).pvalue > 1e-3


def test_draws_change_with_the_epoch_repeat_and_do_not_depend_on_how_rows_are_cut():
    task, rows = Cbow(subsample=0.02, window=3, negatives=4), held(*MANY)
    whole, same, later = drawn(task, rows), drawn(task, rows), drawn(task, rows, epoch=1)
    assert all(torch.equal(whole[name], same[name]) for name in whole)
    assert whole["input_ids"].shape != later["input_ids"].shape or not torch.equal(whole["input_ids"], later["input_ids"])
    for chosen in ([3, 1], [11], [0, 2, 4, 6]):
        part = drawn(task, rows, chosen=chosen)
        for name, value in part.items():
            wide = whole[name][chosen][:, : value.shape[1]]
            there = part["attention_mask"] > 0
            assert torch.equal(value[there], wide[there]), name


def naive(model, batch):
    """word2vec's loss by its own loops: for each place the mean of its neighbours, for each candidate one logistic loss."""
    inputs, outputs = (table.weight.detach().numpy().astype(np.float64) for table in (model.cbow.embeddings, model.output))
    losses, counts, hits = [], [], []
    for row in range(len(batch["input_ids"])):
        ids = batch["input_ids"][row][: int(batch["attention_mask"][row].sum())].tolist()
        loss = count = hit = 0
        for place in range(len(ids)):
            reach = int(batch["window"][row, place])
            around = [ids[near] for near in range(place - reach, place + reach + 1) if near != place and 0 <= near < len(ids)]
            if not around:
                continue
            context = np.mean([inputs[token] for token in around], axis=0)
            true, best = context @ outputs[ids[place]], -np.inf
            loss += np.log1p(np.exp(-true))
            for token in batch["labels"][row, place, 1:].tolist():
                if token != ids[place]:
                    loss += np.log1p(np.exp(context @ outputs[token]))
                    best = max(best, context @ outputs[token])
            count, hit = count + 1, hit + (true > best)
        losses.append(loss), counts.append(count), hits.append(hit)
    return np.array(losses), np.array(counts), np.array(hits)


@pytest.mark.parametrize("task", [ALL, Cbow(subsample=0.02, window=5, negatives=7)])
def test_the_loss_is_that_of_a_naive_double_loop(model, task):
    batch = drawn(task, held(*MANY, [5, 5, 5]))
    losses, counts, hits = naive(model, batch)
    found, results = task.loss(model, batch), task.decode(model, batch)
    assert found.count == counts.sum()
    assert found.total.item() == pytest.approx(losses.sum(), rel=1e-5)
    np.testing.assert_allclose(results["loss"], losses, rtol=1e-5)
    assert results["count"].tolist() == counts.tolist()
    assert results["hits"].tolist() == hits.tolist()
    assert 0 < hits.sum() < counts.sum()
    figures = task.metrics(results)
    assert set(figures) == {"loss", "accuracy"}
    assert figures["loss"] == pytest.approx(losses.sum() / counts.sum(), rel=1e-5)


def test_losses_and_gradients_add_up_over_parts_of_a_batch(model):
    rows = held(*MANY)

    def gradients(parts):
        model.zero_grad()
        losses = [ALL.loss(model, drawn(ALL, rows, chosen=part)) for part in parts]
        for loss in losses:
            loss.total.backward()
        return sum(loss.total.item() for loss in losses), sum(loss.count for loss in losses), [p.grad for p in model.parameters()]

    whole, parts = gradients([range(12)]), gradients([range(5), [5], range(6, 12)])
    assert parts[:2] == (pytest.approx(whole[0], rel=1e-5), whole[1])
    for one, other in zip(whole[2], parts[2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_row_of_which_nothing_is_left_counts_nothing(model):
    task = Cbow(subsample=1e-9)
    batch = drawn(task, held([5, 6], [6, 5]))
    loss = task.loss(model, batch)
    loss.total.backward()
    assert (loss.count, loss.total.item()) == (0, 0)
    assert task.metrics(task.decode(model, batch)) == {}


def test_words_of_one_topic_end_up_nearer_and_what_is_saved_loads_as_it_is(base, tmp_path):
    import transformers

    words, task = make_tokenizer(), Cbow(subsample=0, window=5, negatives=5)
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice((TASTES, WEATHER)[number % 2], 8)) for number in range(300)]
    encoded = task.encode(pa.table({"text": texts}), words, None)
    model = bases.load(base, task.head(), seed=0).model
    assert (model.config.window, model.config.negatives) == (5, 5)
    task.check(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.03, weight_decay=0)
    losses = []
    for epoch in range(20):
        loss = task.loss(model, drawn(task, encoded, epoch=epoch))
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
        losses.append(loss.total.item() / loss.count)
    assert losses[-1] < 0.85 * losses[0]
    model.save_pretrained(tmp_path / "saved")
    body, told = transformers.AutoModel.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not told["missing_keys"]
    assert set(told["unexpected_keys"]) <= {"output.weight"}
    vectors = torch.nn.functional.normalize(
        body(torch.tensor([[words.get_vocab()[w] for w in TASTES + WEATHER]])).last_hidden_state[0], dim=1
    )
    near = (vectors @ vectors.T).detach().numpy()
    topic = np.repeat([0, 1], 6)
    same, other = topic[:, None] == topic, ~np.eye(12, dtype=bool)
    assert near[same & other].min() > near[~same].max()


def test_other_models_are_refused(tmp_path):
    bert, llama = (resolve(str(make_base(tmp_path / family, family))) for family in ("bert", "llama"))
    with pytest.raises(BaseError, match="scratch:cbow"):
        ALL.check(bases.load(bert, ALL.head(), seed=0).model)
    with pytest.raises(BaseError, match="llama"):
        ALL.check(bases.load(llama, ALL.head(), seed=0).model)
