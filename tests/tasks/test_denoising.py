"""Each kind of damage by its definition, its distributions by their closed form, and the loss against transformers' own."""

import itertools
import json
import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from scipy import stats
from tests.conftest import WORDS, make_tokenizer, rows_of, write_csv

import rootstock
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.bases.save import save_model
from rootstock.core.errors import BaseError, RecipeError
from rootstock.core.loaded import Head
from rootstock.core.seed import Draw
from rootstock.tasks.denoising import Denoising, infilled, shuffled, spans

NONE = {"infilling": 0, "permutation": 0, "deletion": 0, "rotation": 0}
TASK = Denoising()
MASK, FIRST, END, LENGTH = 4, 2, 3, 40
CONFIG = {
    "model_type": "bart",
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
}


def only(**settings):
    return Denoising(**(NONE | settings))


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer((*WORDS, ".", "!"))


@pytest.fixture
def base(tmp_path, tokenizer):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    tokenizer.save_pretrained(tmp_path / "tok")
    return resolve(f"scratch:{tmp_path / 'config.json'}", tokenizer=tmp_path / "tok")


@pytest.fixture
def model(base, tokenizer):
    made = bases.load(base, TASK.head(), seed=1, dropout=0.0).model
    bases.fit(tokenizer, made)
    TASK.check(made)
    return made


@pytest.fixture(scope="module")
def collated(tokenizer):
    """Collates rows of 40 tokens and fewer, with a sentence of five words and a full stop each."""
    rng = np.random.default_rng(0)
    texts = [" . ".join(" ".join(rng.choice(WORDS, 5)) for _ in range(2 + row % 5)) + " ." for row in range(24)]

    def collate(chosen=range(8), *, epoch=0, task=TASK):
        return task.collate(collate.rows, np.array(list(chosen)), tokenizer, Draw(3, epoch))

    collate.rows = TASK.encode(pa.table({"text": texts}), tokenizer, LENGTH)
    return collate


def texts(batch, row):
    """Source and target of a row without padding."""
    return batch["input_ids"][row][batch["attention_mask"][row] > 0].tolist(), [t for t in batch["labels"][row].tolist() if t != -100]


def sentences(ids):
    """Lists that each end with a full stop."""
    ends = [0, *(place + 1 for place, token in enumerate(ids) if token == 25)]
    return [tuple(ids[a:b]) for a, b in itertools.pairwise(ends)]


# -- damage -------------------------------------------------------------------------------------------------------------


def test_the_target_is_the_row_and_the_source_stands_between_the_same_marks(collated):
    batch, ids = collated(range(24)), collated.rows.tokens["input_ids"]
    for row in range(24):
        source, target = texts(batch, row)
        assert target == ids.flat[ids.offsets[row] : ids.offsets[row + 1]].tolist()
        assert (source[0], source[-1]) == (target[0], target[-1]) == (FIRST, END)
        assert MASK in source
        assert len(source) <= len(target) == collated.rows.lengths[row] <= LENGTH


def test_spans_are_poisson_and_take_their_share():
    rng = np.random.default_rng(0)
    drawn = [spans(1000, 0.3, 3.0, rng) for _ in range(60)]
    assert all(each.sum() == 300 for each in drawn)
    counts = Counter(np.concatenate([each[:-1] for each in drawn]).tolist())  # the last is cut to the share
    total = sum(counts.values())
    wanted = stats.poisson(3).pmf(np.arange(9))
    found = np.array([counts[size] for size in range(9)])
    assert counts[0] > 0, "spans of none are drawn too"
    assert stats.chisquare([*found, total - found.sum()], [*wanted * total, (1 - wanted.sum()) * total]).pvalue > 0.001


def test_short_texts_never_grow():
    rng = np.random.default_rng(0)
    for tokens in range(40):
        for _ in range(20):
            found = spans(tokens, 0.3, 0.5, rng)
            assert found.sum() == math.ceil(0.3 * tokens)
            assert len(found) <= found.sum()


def test_one_mask_stands_for_each_span_and_every_place_is_as_likely():
    """Spans of 2 and 0 in four tokens: 4 things in a row, 12 ways to place two different spans among two tokens; 500 times each."""
    rng = np.random.default_rng(0)
    ids, found = np.array([11, 12, 13, 14]), Counter()
    for _ in range(6000):
        found[tuple(infilled(ids, np.array([2, 0]), MASK, rng).tolist())] += 1
    # In which order the two lie can't be seen where they are neighbours: these three results come from two ways each.
    both = {(MASK, MASK, 13, 14), (11, MASK, MASK, 14), (11, 12, MASK, MASK)}
    ways = {
        (MASK, 13, MASK, 14),
        (MASK, 13, 14, MASK),
        (11, MASK, 14, MASK),
        (MASK, 11, MASK, 14),
        (MASK, 11, 12, MASK),
        (11, MASK, 12, MASK),
    }
    assert set(found) == both | ways
    for result, times in found.items():
        assert times == pytest.approx(1000 if result in both else 500, abs=5 * 31)


def test_all_sentences_change_places_evenly_and_none_is_torn(collated):
    task, orders = only(permutation=1), Counter()
    for epoch in range(300):
        source, target = texts(collated([1], epoch=epoch, task=task), 0)
        old, new = sentences(target[1:-1]), sentences(source[1:-1])
        assert sorted(old) == sorted(new)
        orders[tuple(old.index(each) for each in new)] += 1
    assert len(orders) == 6
    assert all(count == pytest.approx(50, abs=5 * 6.5) for count in orders.values())


def test_a_share_of_the_sentences_leaves_the_others_where_they_are():
    ids = np.arange(40)
    moved = [np.flatnonzero(shuffled(ids, ids // 4, 0.25, np.random.default_rng(seed))[::4] != ids[::4]) for seed in range(200)]
    assert {len(places) for places in moved} <= {0, 2, 3}, "three of ten are chosen, and may come back to their own place"
    assert len({tuple(places) for places in moved}) > 50


def test_marks_in_a_row_end_one_sentence_and_special_tokens_none(tokenizer):
    rows = only(permutation=1).encode(pa.table({"text": ["good film . . ! bad . book", "cold"]}), tokenizer, LENGTH)
    found = rows.tokens["sentences"]
    assert found.padded(np.arange(2), -1).tolist() == [[0, 0, 0, 0, 0, 0, 1, 1, 2, 2], [0, 0, 0, *[-1] * 7]]


def test_deletion_leaves_the_rest_in_order(collated):
    lost = total = 0
    for epoch in range(40):
        batch = collated(range(24), epoch=epoch, task=only(deletion=0.2))
        for row in range(24):
            source, target = texts(batch, row)
            left = iter(target)
            assert all(token in left for token in source)
            lost, total = lost + len(target) - len(source), total + len(target) - 2
    assert lost / total == pytest.approx(0.2, abs=5 * math.sqrt(0.16 / total))


def test_rotation_begins_anywhere(collated):
    starts = Counter()
    for epoch in range(400):
        source, target = texts(collated([0], epoch=epoch, task=only(rotation=0.5)), 0)
        inside = target[1:-1]
        turns = [place for place in range(len(inside)) if inside[place:] + inside[:place] == source[1:-1]]
        assert turns
        starts[turns[0]] += 1
    assert set(starts) == set(range(12))
    assert starts[0] == pytest.approx(400 * (0.5 + 0.5 / 12), abs=50)


def test_all_kinds_together_keep_within_the_row(collated):
    task = Denoising(infilling=0.9, mean_span=0.3, deletion=0.1, rotation=1)
    for epoch in range(20):
        batch = collated(range(24), epoch=epoch, task=task)
        lengths = [len(texts(batch, row)[0]) for row in range(24)]
        assert (np.array(lengths) <= collated.rows.lengths).all()


def test_damage_differs_between_epochs_and_repeats_however_rows_are_cut(collated):
    first, again, other = collated(), collated(), collated(epoch=1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(texts(first, row)[0] != texts(other, row)[0] for row in range(8))
    for row in (2, 7):
        assert texts(collated([row]), 0) == texts(first, row)


def test_an_empty_text_and_one_word_pass(tokenizer):
    rows = TASK.encode(pa.table({"text": ["", "good"]}), tokenizer, LENGTH)
    batch = Denoising(deletion=0.99).collate(rows, np.arange(len(rows)), tokenizer, Draw(0, 0))
    assert batch["labels"].tolist() == [[FIRST, 5, END]]


# -- loss ---------------------------------------------------------------------------------------------------------------


def test_loss_and_gradients_are_transformers_own(model, collated):
    batch = collated()
    theirs = model(**batch).loss
    theirs.backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    mine = TASK.loss(model, batch)
    (mine.total / mine.count).backward()
    assert mine.count == int((batch["labels"] != -100).sum())
    assert mine.total.item() / mine.count == pytest.approx(theirs.item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-3, atol=1e-6)
    assert model.final_logits_bias.shape == (1, len(WORDS) + 7), "what stands behind the output layer is put back"


def test_losses_of_micro_batches_add_up_and_are_what_is_decoded(model, collated):
    whole, parts = TASK.loss(model, collated()), [TASK.loss(model, collated(rows)) for rows in (range(3), range(3, 8))]
    assert sum(part.count for part in parts) == whole.count
    assert sum(part.total.item() for part in parts) == pytest.approx(whole.total.item(), rel=1e-5)
    found = TASK.metrics(TASK.decode(model, collated()))
    best, labels = model(**collated()).logits.argmax(-1), collated()["labels"]
    assert set(found) == {"loss", "accuracy"}
    assert found["loss"] == pytest.approx(whole.total.item() / whole.count, rel=1e-5)
    assert found["accuracy"] == pytest.approx(((best == labels).sum() / whole.count).item(), abs=1e-7)


def test_twenty_steps_lower_the_loss(model, collated):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(20):
        loss = TASK.loss(model, collated(epoch=step % 2))
        losses.append(loss.total.item() / loss.count)
        (loss.total / loss.count).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0] - 0.3


# -- refusals -----------------------------------------------------------------------------------------------------------


def test_a_bias_behind_the_output_layer_that_is_not_zero_is_refused(model):
    model.final_logits_bias[0, 7] = 0.5
    with pytest.raises(BaseError, match="changes its scores after the output layer"):
        TASK.check(model)


def test_models_without_encoder_and_decoder_are_refused(tmp_path):
    make_tokenizer().save_pretrained(tmp_path / "words")
    place = resolve("scratch:bert-tiny", tokenizer=tmp_path / "words")
    with pytest.raises(BaseError):
        bases.load(place, TASK.head(), seed=0)
    with pytest.raises(BaseError, match="encoder and decoder"):
        TASK.check(bases.load(place, Head(auto="AutoModelForMaskedLM"), seed=0).model)


def test_a_tokenizer_without_a_mask_and_settings_without_damage_are_refused(tokenizer):
    rows, bare = pa.table({"text": ["good film"]}), make_tokenizer()
    bare.mask_token = None
    with pytest.raises(BaseError, match="--family bert"):
        TASK.encode(rows, bare, LENGTH)
    with pytest.raises(RecipeError, match=r"task\.infilling"):
        only().encode(rows, tokenizer, LENGTH)


# -- transfer -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["full", pytest.param("feature-extraction", marks=pytest.mark.slow)])
def test_it_is_saved_as_a_plain_bart_that_transfers(method, model, tokenizer, tmp_path):
    """Also where a text holds the end token itself: BART's classifier refuses rows that differ in it."""
    save_model(model, tokenizer, tmp_path / "saved")
    _, report = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    data = write_csv(tmp_path / "reviews.csv", [*rows_of(60), ("good [SEP] film", "positive"), ("bad [SEP] [SEP] film", "negative")])
    settings = {"epochs": 6, "rate": 3e-3, "batch_tokens": 64, "precision": "fp32"}
    run = rootstock.adapt(data, base=str(tmp_path / "saved"), method=method, training=settings, out=tmp_path / "run")
    said = ["good film", "a very bad song [SEP] indeed", "cold"]
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "model").eval()
    with torch.no_grad():
        alone = [plain(**tokens(text, return_tensors="pt", return_token_type_ids=False)).logits.softmax(-1)[0].numpy() for text in said]
    np.testing.assert_allclose(run.predictions(pa.table({"text": said})).columns["scores"], alone, atol=1e-4)
