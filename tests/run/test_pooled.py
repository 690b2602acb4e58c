"""Vectors of texts are what plain transformers gives, whatever else is in the batch."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from rootstock.bases.resolve import resolve
from rootstock.loop import precision
from rootstock.run.pooled import Pooled


def test_vectors_are_those_of_each_text_alone(monkeypatch):
    monkeypatch.setattr(precision, "choose", lambda setting, device: torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(resolve("minilm").folder)
    torch.manual_seed(0)
    model = BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)).eval()
    texts = ["a fine film", "dull", "no one will mind", "it is"]
    bodies = tokenizer(texts, add_special_tokens=False)["input_ids"]
    found = Pooled(model, tokenizer)(bodies)
    for row, text in zip(found, texts, strict=True):
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        halves = hidden.mean(0), hidden[0]
        wanted = np.concatenate([(half / half.norm()).numpy() for half in halves])
        assert row == pytest.approx(wanted, abs=1e-5)
