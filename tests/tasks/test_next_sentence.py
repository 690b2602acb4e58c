"""Pairs as BERT makes them: format, truth of the second text, lengths, masks; and the sum of both losses."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from tests.conftest import make_base, make_tokenizer

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.bases.save import save_model
from rootstock.core.errors import BaseError, DataError, RecipeError
from rootstock.core.seed import HELD_OUT, Draw
from rootstock.loop.precision import Weights
from rootstock.tasks import _sentences
from rootstock.tasks.next_sentence import NextSentence, fitted

TASK = NextSentence()
OWN = 40
"""Words that only one document has."""
DOCUMENTS = 12
TOKENIZER = make_tokenizer((".", *(f"w{number}" for number in range(OWN * DOCUMENTS))))
FIRST = TOKENIZER.convert_tokens_to_ids("w0")


def document(number, words=OWN):
    """Sentences of three to six words, each word once and in order, so that an id tells document and place."""
    rng, sentences, place = np.random.default_rng(number), [], 0
    while place < words:
        size = min(int(rng.integers(3, 7)), words - place)
        sentences.append(" ".join(f"W{OWN * number + each}" for each in range(place, place + size)))
        place += size
    return ". ".join(sentences) + "."


TABLE = pa.table({"text": [document(number) for number in range(DOCUMENTS)]})


def whole(batch):
    """The ids before they were masked."""
    return torch.where(batch["labels"] >= 0, batch["labels"], batch["input_ids"])


def texts(batch, row):
    """Ids of both texts of a row, its format checked on the way."""
    ids, kinds = (values[row][batch["attention_mask"][row] > 0].tolist() for values in (whole(batch), batch["token_type_ids"]))
    border = ids.index(TOKENIZER.sep_token_id)
    assert ids[0] == TOKENIZER.cls_token_id
    assert ids[-1] == TOKENIZER.sep_token_id
    assert ids.count(TOKENIZER.sep_token_id) == 2
    assert kinds == [0] * (border + 1) + [1] * (len(ids) - border - 1)
    return ids[1:border], ids[border + 1 : -1]


def words(ids):
    return [token - FIRST for token in ids if token >= FIRST]


@pytest.fixture(scope="module")
def encoded():
    return TASK.encode(TABLE, TOKENIZER, 24)


@pytest.fixture
def base(tmp_path):
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 32}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", **shape}))
    TOKENIZER.save_pretrained(tmp_path / "tok")
    return resolve(f"scratch:{tmp_path / 'config.json'}", tokenizer=tmp_path / "tok")


@pytest.fixture
def model(base):
    made = bases.load(base, TASK.head(), seed=1, dropout=0.0).model
    TASK.check(made)
    return made.eval()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('He said "Go!" Then he left. It was 3.5 km, e.g. far.', ['He said "Go!"', "Then he left.", "It was 3.5 km, e.g. far."]),
        ("a title\n\nand a text\nin two lines", ["a title", "and a text\nin two lines"]),
        ("我来了。你呢？好", ["我来了。", "你呢？", "好"]),
    ],
)
def test_sentences_end_where_a_reader_sees_it(text, expected, tiny_base):
    spelled = bases.tokenizer(resolve("minilm"))
    plain = [spelled(each, add_special_tokens=False)["input_ids"] for each in expected]
    found = _sentences.split(pa.table({"text": ["", text]}), spelled, 100)
    assert [[ids.tolist() for ids in each] for each in found] == [[], plain]


def test_texts_follow_each_other_or_come_from_another_document(encoded):
    seen = []
    for epoch in range(10):
        batch = TASK.collate(encoded, np.arange(len(encoded)), TOKENIZER, Draw(3, epoch))
        for row, false in enumerate(batch["next_sentence_label"].tolist()):
            first, second = texts(batch, row)
            assert first
            assert second
            assert len(first) + len(second) + 3 <= encoded.lengths[row] <= 24
            first, second = words(first), words(second)
            assert all(after - before == 1 for text in (first, second) for before, after in itertools.pairwise(text))
            if first and second:
                assert (first[0] // OWN != second[0] // OWN) == bool(false)
                assert false or second[0] > first[-1]
            seen.append(false)
    assert abs(np.mean(seen) - 0.5) < 4 * np.sqrt(0.25 / len(seen))


def test_false_second_texts_are_of_the_length_of_true_ones(encoded):
    """The length must not give the answer away."""
    lengths = {0: [], 1: []}
    for epoch in range(40):
        batch = TASK.collate(encoded, np.arange(len(encoded)), TOKENIZER, Draw(3, epoch))
        for false, mask, kinds in zip(batch["next_sentence_label"].tolist(), batch["attention_mask"], batch["token_type_ids"]):
            lengths[false].append((int(mask.sum()), int(kinds.sum())))
    true, false = (np.mean(lengths[each], axis=0) for each in (0, 1))
    assert abs(true - false).max() < 0.8


def test_every_sentence_is_in_a_row_and_none_alone(encoded):
    flat = [word for word in encoded.tokens["input_ids"].flat.tolist() if word >= FIRST]
    assert flat == list(range(FIRST, FIRST + OWN * DOCUMENTS))
    assert encoded.tokens["sentences"].lengths.min() >= 2
    assert encoded.dense["place"].tolist()[: encoded.dense["rows"][0] + 1] == [*range(encoded.dense["rows"][0]), 0]


def reference(first, second, room):
    """BERT's truncate_seq_pair."""
    first, second = list(range(first)), list(range(second))
    while len(first) + len(second) > room:
        (first if len(first) > len(second) else second).pop()
    return len(first), len(second)


def test_lengths_are_those_of_bert():
    for first in range(1, 12):
        for second in range(12):
            for room in range(2, 16):
                assert fitted(first, second, room) == reference(first, second, room)


def test_draws_change_with_the_epoch_and_do_not_depend_on_the_cut(encoded):
    def drawn(rows, epoch):
        batch = TASK.collate(encoded, np.asarray(rows), TOKENIZER, Draw(3, epoch))
        kept = batch["attention_mask"].sum(1).tolist()
        names = ("input_ids", "labels", "token_type_ids")
        return [[batch[name][i, :size].tolist() for name in names] + [int(batch["next_sentence_label"][i])] for i, size in enumerate(kept)]

    everything = drawn(np.arange(len(encoded)), 1)
    assert everything == drawn([0], 1) + drawn(np.arange(1, 5), 1) + drawn(np.arange(5, len(encoded)), 1)
    other = drawn(np.arange(len(encoded)), 2)
    assert sum(a[0] == b[0] for a, b in zip(everything, other)) < 3
    assert {a[3] == b[3] for a, b in zip(everything, other)} == {True, False}
    assert drawn([2], HELD_OUT) == drawn([2], HELD_OUT)


def test_the_loss_of_one_row_is_that_of_transformers(model, encoded):
    for row in range(4):
        batch = TASK.collate(encoded, np.array([row]), TOKENIZER, Draw(3, 0))
        with torch.no_grad():
            expected = model(**batch).loss
            found = TASK.loss(model, batch)
        assert float(found.total) / found.count == pytest.approx(float(expected), rel=1e-5)


def test_the_loss_adds_up_and_is_what_decode_says(model, encoded):
    def gradients(parts):
        model.zero_grad()
        told = [TASK.loss(model, TASK.collate(encoded, part, TOKENIZER, Draw(3, 0))) for part in parts]
        sum(loss.total for loss in told).backward()
        return (
            [p.grad.clone() for p in model.parameters()],
            sum(float(loss.total.detach()) for loss in told),
            sum(loss.count for loss in told),
        )

    rows = np.arange(len(encoded))
    one, several = gradients([rows]), gradients(np.array_split(rows, 3))
    assert one[2] == several[2]
    assert one[1] == pytest.approx(several[1], rel=1e-5)
    for a, b in zip(one[0], several[0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    columns = TASK.decode(model, TASK.collate(encoded, rows, TOKENIZER, Draw(3, 0)))
    assert columns["loss"].sum() == pytest.approx(one[1], rel=1e-5)
    figures = TASK.metrics(columns)
    assert {"loss", "accuracy", "masked_lm_loss", "next_sentence_accuracy", "next_sentence_loss"} == set(figures)
    assert figures["masked_lm_loss"] == pytest.approx(np.log(len(TOKENIZER)), rel=0.05)
    assert figures["next_sentence_loss"] == pytest.approx(np.log(2), rel=0.1)
    assert TASK.metrics(columns, TASK.headline) == {name: figures[name] for name in TASK.headline}


def test_it_learns_and_plain_transformers_reads_what_was_learned(model, encoded, tmp_path):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(20):
        loss = TASK.loss(model, TASK.collate(encoded, np.arange(len(encoded)), TOKENIZER, Draw(3, step)))
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
        losses.append(float(loss.total.detach()) / loss.count)
    assert np.mean(losses[-3:]) < losses[0] - 0.3
    save_model(TASK.bare(model), TOKENIZER, tmp_path)
    again, report = transformers.BertForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    batch = TASK.collate(encoded, np.arange(3), TOKENIZER, Draw(3))
    for name, values in TASK.decode(again.eval(), batch).items():
        np.testing.assert_allclose(values, TASK.decode(model.eval(), batch)[name], rtol=1e-4)
    _, report = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"], "the pooler was trained as well"


def test_a_checkpoint_of_a_body_gets_fresh_heads_that_learn_in_bf16(tmp_path, encoded):
    loaded = bases.load(resolve(str(make_base(tmp_path, vocab_size=len(TOKENIZER)))), TASK.head(), seed=1, dropout=0.0)
    assert {"cls.seq_relationship.weight", "cls.predictions.bias"} <= loaded.fresh
    TASK.check(loaded.model)
    batch = TASK.collate(encoded, np.arange(len(encoded)), TOKENIZER, Draw(3, 0))
    plain = float(TASK.loss(loaded.model, batch).total.detach())
    weights = Weights(loaded.model, torch.bfloat16, loaded.fresh)
    loss = TASK.loss(loaded.model, batch)
    loss.total.backward()
    assert float(loss.total.detach()) == pytest.approx(plain, rel=0.01)
    weights.pull(weights.names, [dict(loaded.model.named_parameters())])
    told = {name: master.grad for name, master in weights.masters.items()}
    assert all(told[name].abs().sum() > 0 for name in ("cls.predictions.bias", "bert.embeddings.word_embeddings.weight"))


def test_an_architecture_without_second_texts_is_refused(tmp_path):
    loaded = bases.load(resolve(str(make_base(tmp_path / "a", "distilbert"))), TASK.head(), seed=1)
    with pytest.raises(BaseError, match="masked-lm"):
        TASK.check(loaded.model)
    with pytest.raises(BaseError):
        bases.load(resolve(str(make_base(tmp_path / "b", "llama"))), TASK.head(), seed=1)


def test_texts_that_can_not_be_paired_are_refused_in_words(encoded):
    with pytest.raises(DataError, match="of 30 documents only 0 have two sentences"):
        TASK.check_rows(TASK.encode(pa.table({"text": ["", *["w1 w2"] * 30]}), TOKENIZER, 24))
    with pytest.raises(RecipeError, match="8 or more"):
        TASK.encode(TABLE, TOKENIZER, 6)
    alone = TASK.encode(TABLE.slice(0, 1), TOKENIZER, 24)
    with pytest.raises(DataError, match="one document"):
        TASK.check_rows(alone)
    TASK.check_rows(encoded)
    assert not TASK.collate(alone, np.arange(len(alone)), TOKENIZER, Draw(3)).get("next_sentence_label").any()
    with pytest.raises(BaseError, match="mask token"):
        TASK.encode(TABLE, transformers.PreTrainedTokenizerFast(tokenizer_object=TOKENIZER.backend_tokenizer), 24)


def test_parts_of_one_document_are_no_strangers():
    """A false second text is of another document, not of another part; and documents are judged, not their parts."""
    parts = ["W1 w2", *(document(number, 12) for number in range(1, 5)), "W201 w202"]
    held = [0, 1, 1, 1, 2, 2]
    rows = TASK.encode(pa.table({"text": parts, "document": pa.array(held, pa.int32())}), TOKENIZER, 24)
    assert rows.dense["document"].tolist() == [held[part] for part in rows.dense["part"]]
    chosen = np.flatnonzero(rows.dense["document"] == 1)
    seen = set()
    for epoch in range(20):
        batch = TASK.collate(rows, chosen, TOKENIZER, Draw(3, epoch))
        for row, false in enumerate(batch["next_sentence_label"].tolist()):
            seen |= {(bool(false), held[word // OWN]) for word in words(texts(batch, row)[1])}
    assert seen == {(False, 1), (True, 0), (True, 2)}
    one = TASK.encode(pa.table({"text": parts, "document": pa.array([7] * 6, pa.int32())}), TOKENIZER, 24)
    with pytest.raises(DataError, match="one document"):
        TASK.check_rows(one)
    numbers = pa.array(np.repeat(np.arange(30), 2), pa.int32())
    TASK.check_rows(TASK.encode(pa.table({"text": ["W1 w2"] * 60, "document": numbers}), TOKENIZER, 24))


def test_a_document_of_one_sentence_has_only_false_second_texts():
    rows = TASK.encode(pa.table({"text": ["W1 w2 w3", document(2), document(3)]}), TOKENIZER, None)
    assert len(rows) == 3
    labels = [int(TASK.collate(rows, np.array([0]), TOKENIZER, Draw(3, epoch))["next_sentence_label"][0]) for epoch in range(20)]
    assert set(labels) == {1}
