"""masked-lm: which tokens are hidden, what is put in their place, and the loss on them alone."""

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from tests.conftest import make_base, make_tokenizer
from tokenizers import Tokenizer, models

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import BaseError, RecipeError
from rootstock.core.rows import Encoded, Ragged
from rootstock.core.seed import Draw
from rootstock.core.task import inputs
from rootstock.tasks import _masks, _vocabulary
from rootstock.tasks.denoising import Denoising
from rootstock.tasks.masked_lm import MaskedLM
from rootstock.tasks.next_sentence import NextSentence
from rootstock.tasks.replaced_token import ReplacedToken

WORDS = ["the", "good", "film", "was", "very", "warm", "a", "cold", "book", "is", "not", "fine", "great", "song"]
TEXTS = pa.table({"text": [" ".join(np.random.default_rng(i).choice(WORDS, 40 + 30 * (i % 3))) for i in range(24)]})


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture
def model(tmp_path):
    base = resolve(str(make_base(tmp_path / "base")))
    return bases.load(base, MaskedLM().head(), seed=1, dropout=0.0).model


def batch_of(task, tokenizer, rows=None, draw=Draw(3, 0)):
    encoded = task.encode(TEXTS, tokenizer, 32)
    rows = np.arange(len(encoded)) if rows is None else rows
    return encoded, task.collate(encoded, rows, tokenizer, draw)


def test_rows_are_pieces_of_one_document_between_special_tokens(tokenizer):
    encoded = MaskedLM().encode(TEXTS, tokenizer, 32)
    ids = encoded.tokens["input_ids"]
    rows = [ids.flat[a:b] for a, b in zip(ids.offsets[:-1], ids.offsets[1:], strict=True)]
    assert all(row[0] == 2 and row[-1] == 3 and len(row) <= 32 for row in rows)
    inner = np.concatenate([row[1:-1] for row in rows]).tolist()
    assert inner == [i for text in TEXTS["text"].to_pylist() for i in tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert min(len(row) for row in rows) > 20, "like lengths, no mere rests"


def test_eighty_ten_ten_of_fifteen_per_cent(tokenizer):
    task = MaskedLM()
    encoded = task.encode(TEXTS, tokenizer, 32)
    original = encoded.tokens["input_ids"].padded(np.arange(len(encoded)), 0)
    seen = {"free": 0, "hidden": 0, "mask": 0, "kept": 0}
    for epoch in range(60):
        batch = task.collate(encoded, np.arange(len(encoded)), tokenizer, Draw(3, epoch))
        hidden = batch["labels"].numpy() != -100
        ids = batch["input_ids"].numpy()
        np.testing.assert_array_equal(batch["labels"].numpy()[hidden], original[hidden])
        np.testing.assert_array_equal(ids[~hidden], original[~hidden])
        assert not hidden[np.isin(original, [0, 2, 3])].any(), "special tokens are never hidden"
        seen["free"] += int((~np.isin(original, [0, 2, 3])).sum())
        seen["hidden"] += int(hidden.sum())
        seen["mask"] += int((ids[hidden] == tokenizer.mask_token_id).sum())
        seen["kept"] += int((ids[hidden] == original[hidden]).sum())
    assert seen["hidden"] / seen["free"] == pytest.approx(0.15, abs=0.006)
    tokens = len(tokenizer)
    assert seen["mask"] / seen["hidden"] == pytest.approx(0.8 + 0.1 / tokens, abs=0.015)
    assert seen["kept"] / seen["hidden"] == pytest.approx(0.1 + 0.1 / tokens, abs=0.012)


@pytest.mark.parametrize("unit", ["token", "word", "span"])
def test_masks_are_new_in_each_epoch_and_do_not_depend_on_the_batch(tokenizer, unit):
    task = MaskedLM(unit=unit)
    encoded, batch = batch_of(task, tokenizer)
    again = task.collate(encoded, np.arange(len(encoded)), tokenizer, Draw(3, 0))
    assert all(torch.equal(batch[key], again[key]) for key in batch)
    some = task.collate(encoded, np.array([7, 2]), tokenizer, Draw(3, 0))
    width = some["labels"].shape[1]
    assert torch.equal(some["labels"], batch["labels"][[7, 2], :width])
    assert torch.equal(some["input_ids"], batch["input_ids"][[7, 2], :width])
    other = task.collate(encoded, np.arange(len(encoded)), tokenizer, Draw(3, 1))
    assert not torch.equal(batch["labels"], other["labels"])


SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def cut_in_pieces(inner):
    """A tokenizer with this model inside."""
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(inner), **{f"{name[1:-1].lower()}_token": name for name in SPECIAL}
    )


def numbered(*tokens):
    return {token: number for number, token in enumerate([*SPECIAL, *tokens])}


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        (models.WordPiece(numbered("un", "##believ", "fine", "Ġfilm"), unk_token="[UNK]"), [0, 1, 1, 3, 4, 5]),
        (models.BPE(numbered("Ġun", "##", "Ġfine", "film"), []), [0, 1, 1, 3, 3, 5]),
        (models.BPE(numbered("un", "believ</w>", "fine</w>", "film"), [], end_of_word_suffix="</w>"), [0, 1, 1, 3, 4, 4]),
        (models.Unigram([(token, 0.0) for token in numbered("▁un", "##", "▁fine", "film")], 1), [0, 1, 1, 3, 3, 5]),
        (models.WordLevel(numbered("un", "##believ", "fine", "Ġfilm"), "[UNK]"), [0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_word_ends_where_the_tokenizers_model_says(inner, words):
    held = Ragged.of([[2, 5, 6, 7, 8, 3]])
    assert _masks.with_words(Encoded({"input_ids": held}, {}, held.lengths), cut_in_pieces(inner)).tokens["words"].flat.tolist() == words


def test_whole_words_are_hidden_whole():
    tokenizer = cut_in_pieces(models.WordPiece(numbered("un", "##believ", "##able", "fine", "film"), unk_token="[UNK]"))
    ids = np.array([2, 5, 6, 7, 8, 9, 5, 6, 7, 3])
    held = Ragged.of([ids] * 400)
    encoded = _masks.with_words(Encoded({"input_ids": held}, {}, held.lengths), tokenizer)
    assert encoded.tokens["words"].flat[:10].tolist() == [0, 1, 1, 1, 4, 5, 6, 6, 6, 9]
    labels = MaskedLM(unit="word", share=0.4).collate(encoded, np.arange(400), tokenizer, Draw(1, 0))["labels"].numpy() != -100
    for word in (slice(1, 4), slice(6, 9)):
        assert set(labels[:, word].sum(1).tolist()) == {0, 3}
    assert labels[:, [1, 4, 5, 6]].mean() == pytest.approx(0.4, abs=0.05)


def test_spans_are_as_long_as_spanberts():
    sizes = np.array([_masks.span_size(number) for number in np.arange(0, 1, 1e-4)])
    assert sizes.mean() == pytest.approx(3.797, abs=0.005)
    chances = 0.8 ** np.arange(10)
    np.testing.assert_allclose(np.bincount(sizes, minlength=11)[1:] / len(sizes), chances / chances.sum(), atol=2e-4)


def test_spans_together_are_the_share():
    tokenizer = make_tokenizer()
    held = Ragged.of([[2, *[9] * 120, 3]] * 300)
    labels = (
        MaskedLM(unit="span")
        .collate(Encoded({"input_ids": held}, {}, held.lengths), np.arange(300), tokenizer, Draw(1, 0))["labels"]
        .numpy()
        != -100
    )
    assert labels.sum() / (300 * 120) == pytest.approx(0.15, abs=0.01)
    starts = (labels & ~np.roll(labels, 1, axis=1)).sum()
    assert 2.5 < labels.sum() / starts < 3.8, "the last of a row is shorter, neighbours join"


@pytest.mark.parametrize("kind", [MaskedLM, NextSentence])
@pytest.mark.parametrize("given", [{"masked": 0.95}, {"masked": 0.5, "replaced": 0.6}])
def test_more_than_all_can_not_be_masked_and_replaced(kind, given):
    with pytest.raises(RecipeError, match=r"task\.replaced") as caught:
        kind.build(given, "task")
    assert "what task.masked leaves of 1" in caught.value.wanted
    assert kind.build({"masked": 0.9, "replaced": 0.1}, "task").replaced == 0.1


def test_loss_is_transformers_own_and_adds_up(tokenizer, model):
    task = MaskedLM()
    encoded, batch = batch_of(task, tokenizer)
    loss = task.loss(model, batch)
    own = model(**inputs(batch), labels=batch["labels"]).loss
    assert loss.count == int((batch["labels"] != -100).sum())
    torch.testing.assert_close(loss.total / loss.count, own)
    parts = [task.loss(model, task.collate(encoded, rows, tokenizer, Draw(3, 0))) for rows in np.array_split(np.arange(len(encoded)), 3)]
    assert sum(part.count for part in parts) == loss.count
    torch.testing.assert_close(sum(part.total for part in parts), loss.total)


def test_gradients_are_those_of_the_plain_way(tokenizer, model, monkeypatch):
    monkeypatch.setattr(_vocabulary, "_PART", 5)
    _, batch = batch_of(MaskedLM(), tokenizer)
    MaskedLM().loss(model, batch).total.backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    out = model(**inputs(batch)).logits
    torch.nn.functional.cross_entropy(out.flatten(0, 1), batch["labels"].flatten(), ignore_index=-100, reduction="sum").backward()
    plain = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert ours.keys() == plain.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-5)


def test_results_of_rows_give_the_figures(tokenizer, model):
    task = MaskedLM()
    _, batch = batch_of(task, tokenizer)
    columns = task.decode(model, batch)
    figures = task.metrics(columns)
    loss = task.loss(model, batch)
    assert figures["loss"] == pytest.approx(loss.total.item() / loss.count, rel=1e-5)
    assert figures["perplexity"] == pytest.approx(np.exp(figures["loss"]))
    logits = model(**inputs(batch)).logits
    hidden = batch["labels"] != -100
    assert figures["accuracy"] == pytest.approx(float((logits.argmax(-1)[hidden] == batch["labels"][hidden]).float().mean()))


def test_a_tokenizer_without_a_mask_is_refused(tokenizer):
    bare = make_tokenizer()
    bare._special_tokens_map["mask_token"] = None
    for task in (MaskedLM(), NextSentence(), ReplacedToken(), Denoising()):
        with pytest.raises(BaseError, match="no mask token"):
            task.encode(TEXTS, bare, 32)


def test_a_model_that_reads_from_left_to_right_is_refused():
    with pytest.raises(BaseError, match="is a gpt2, and of that there is no masked language model"):
        bases.load(resolve("scratch:gpt2-mini"), MaskedLM().head(), seed=1)
