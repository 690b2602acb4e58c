"""causal-lm: pieces that begin and end as they must, and the loss of the next token."""

import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.conftest import make_base, make_tokenizer

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import BaseError
from rootstock.core.seed import Draw
from rootstock.tasks.causal_lm import CausalLM

TEXTS = pa.table({"text": ["the good film was very warm " * 9, "a cold book", "great song"]})


@pytest.fixture
def model(tmp_path):
    base = resolve(str(make_base(tmp_path / "base", "llama")))
    return bases.load(base, CausalLM().head(), seed=1, dropout=0.0).model


def test_pieces_begin_with_the_first_token_and_the_last_ends_its_document():
    tokenizer = make_tokenizer()
    encoded = CausalLM().encode(TEXTS, tokenizer, 24)
    ids = encoded.tokens["input_ids"]
    rows = [ids.flat[a:b].tolist() for a, b in zip(ids.offsets[:-1], ids.offsets[1:], strict=True)]
    assert [len(row) for row in rows] == [19, 19, 20, 5, 4]
    assert all(row[0] == tokenizer.cls_token_id for row in rows)
    assert [row[-1] == tokenizer.sep_token_id for row in rows] == [False, False, True, True, True]
    assert encoded.dense["part"].tolist() == [0, 0, 0, 1, 2]
    parts = CausalLM().encode(TEXTS.append_column("ends", [[False, True, False]]), tokenizer, 24).tokens["input_ids"]
    assert [row[-1] == tokenizer.sep_token_id for row in np.split(parts.flat, parts.offsets[1:-1])] == [False, False, False, True, False]
    assert encoded.dense["bytes"].sum() == pytest.approx(sum(len(text.encode()) for text in TEXTS["text"].to_pylist()))


def test_loss_is_transformers_own_and_padding_costs_nothing(model):
    task, tokenizer = CausalLM(), make_tokenizer()
    encoded = task.encode(TEXTS, tokenizer, 24)
    batch = task.collate(encoded, np.arange(5), tokenizer, Draw(0))
    loss = task.loss(model, batch)
    labels = torch.where(batch["attention_mask"] > 0, batch["input_ids"], -100)
    own = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
    assert loss.count == int(encoded.lengths.sum()) - 5
    torch.testing.assert_close(loss.total / loss.count, own)
    alone = [task.loss(model, task.collate(encoded, np.array([row]), tokenizer, Draw(0))).total for row in range(5)]
    torch.testing.assert_close(sum(alone), loss.total)


def test_bits_per_byte_counts_the_text_and_not_the_tokens(model):
    task, tokenizer = CausalLM(), make_tokenizer()
    encoded = task.encode(TEXTS, tokenizer, 24)
    columns = task.decode(model, task.collate(encoded, np.arange(5), tokenizer, Draw(0)))
    figures = task.metrics(columns)
    size = sum(len(text.encode()) for text in TEXTS["text"].to_pylist())
    assert figures["bits_per_byte"] == pytest.approx(columns["loss"].sum() / math.log(2) / size)


def test_no_document_sees_another(model):
    """What a row's loss is does not depend on what else is in the batch."""
    task, tokenizer = CausalLM(), make_tokenizer()
    encoded = task.encode(TEXTS, tokenizer, 24)
    together = task.decode(model, task.collate(encoded, np.array([3, 0]), tokenizer, Draw(0)))["loss"]
    apart = task.decode(model, task.collate(encoded, np.array([3]), tokenizer, Draw(0)))["loss"]
    assert together[0] == pytest.approx(apart[0], rel=1e-5)


def test_a_model_that_sees_what_comes_after_is_refused(tmp_path):
    base = resolve(str(make_base(tmp_path / "base")))
    model = bases.load(base, CausalLM().head(), seed=1).model
    with pytest.raises(BaseError, match="sees the tokens"):
        CausalLM().check(model)


def test_a_tokenizer_without_an_end_is_refused():
    tokenizer = make_tokenizer()
    tokenizer._special_tokens_map["sep_token"] = None
    with pytest.raises(BaseError, match="no token for the end"):
        CausalLM().encode(TEXTS, tokenizer, 24)
