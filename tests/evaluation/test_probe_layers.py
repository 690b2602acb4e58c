"""Vectors of words and sentences, and the probes for parts of speech and order on models whose answers are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from tests.conftest import make_tokenizer
from torch import nn

from rootstock.core.errors import DataError
from rootstock.data.conllu import Sentence, Treebank
from rootstock.evaluation.probes import hidden, order, pos

TAGS = {
    "good": "ADJ",
    "bad": "ADJ",
    "warm": "ADJ",
    "film": "NOUN",
    "book": "NOUN",
    "song": "NOUN",
    "is": "VERB",
    "was": "VERB",
    "a": "DET",
    "the": "DET",
}
WORDS = sorted(TAGS)


class Known(nn.Module):
    """Layer 0 knows each token's id, layer 1 only noise of its place in the text."""

    def __init__(self, table):
        super().__init__()
        self.table = nn.Embedding.from_pretrained(table)

    def forward(self, input_ids, attention_mask, output_hidden_states):
        torch.manual_seed(int(input_ids.sum()))
        ids = self.table(input_ids)
        return SimpleNamespace(hidden_states=(ids, torch.randn_like(ids)))


def reader(table=None, room=64):
    return hidden.Reader(body=Known(torch.eye(32) if table is None else table), tokens=make_tokenizer(), room=room)


def sentence(words, document=""):
    text, spans = "", []
    for word in words:
        text += " " if text else ""
        spans.append((len(text), len(text) + len(word)))
        text += word
    return Sentence(text, tuple(words), tuple(TAGS[word] for word in words), tuple(spans), document)


def bank(counts=(150, 40, 80), seed=0):
    draws = np.random.default_rng(seed)
    made = [
        tuple(sentence(draws.choice(WORDS, draws.integers(3, 9)), f"{part}{i // 8}") for i in range(n)) for part, n in enumerate(counts)
    ]
    return Treebank(dict(zip(("train", "dev", "test"), made, strict=True)))


def nothing(done, total):
    pass


def test_a_stretch_is_the_mean_of_its_tokens_in_every_layer():
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 32}
    body, tokens = transformers.BertModel(transformers.BertConfig(**shape, max_position_embeddings=66)).eval(), make_tokenizer()
    texts = ["the film was good", "a book", "the song is bad"]
    found = hidden.pooled(hidden.Reader(body=body, tokens=tokens, room=64), texts, [[(0, 8), (13, 17)], [(2, 6)], [(0, 15)]])
    wanted = []
    for text, tokens_of in ((texts[0], [[1, 2], [4]]), (texts[1], [[2]]), (texts[2], [[1, 2, 3, 4]])):
        with torch.no_grad():
            layers = body(torch.tensor([tokens(text)["input_ids"]]), output_hidden_states=True).hidden_states
        wanted += [torch.stack([layer[0, places].mean(0) for layer in layers]) for places in tokens_of]
    assert found.vectors.shape == (3, 4, 32)
    torch.testing.assert_close(found.vectors, torch.stack(wanted, 1), rtol=1e-4, atol=1e-5)
    assert found.held.all()


def test_what_is_cut_off_is_not_held():
    found = hidden.pooled(reader(room=4), ["the film was good", "a book"], [[(0, 3), (13, 17)], [(2, 6)]])
    assert found.held.tolist() == [True, False, True]


def test_pos_is_read_where_it_is_and_the_control_task_only_by_heart():
    chosen = pos.choose(bank(), 7, seed=0)
    measured = pos.measure(reader(), chosen, 0, nothing)
    first, second = measured.rows
    assert first["accuracy"]["value"] == 1.0
    assert first["tags"] == {"ADJ": 1.0, "DET": 1.0, "NOUN": 1.0, "VERB": 1.0}
    assert first["control"]["value"] == 1.0  # ten words are learned by heart: no selectivity, and the probe says so
    assert first["selectivity"]["value"] == 0.0
    assert second["accuracy"]["value"] == pytest.approx(0.3, abs=0.12)
    assert measured.best == 0
    assert measured.facts["by_word"] == 1.0
    assert measured.facts["most_frequent"] == pytest.approx(0.3, abs=0.06)


def test_tags_that_no_memory_of_words_can_tell_are_selective():
    table = torch.zeros(32, 32)
    tokens = make_tokenizer().get_vocab()
    for word, tag in TAGS.items():
        table[tokens[word], ["ADJ", "NOUN", "VERB", "DET"].index(tag)] = 1.0
    rows = pos.measure(reader(table), pos.choose(bank(), 7, seed=0), 0, nothing).rows
    assert rows[0]["accuracy"]["value"] == 1.0
    assert rows[0]["selectivity"]["interval"][0] > 0.1


def test_words_are_drawn_as_whole_sentences_up_to_the_limit():
    held = bank()
    chosen = pos.choose(held, 2, seed=0)
    counts = {split: sum(len(each.words) for each in sentences) for split, sentences in chosen.items()}
    for split, wanted in (("train", 200), ("dev", 40), ("test", 100)):
        assert wanted <= counts[split] < wanted + 9
    assert pos.choose(held, 2, seed=0) == chosen != pos.choose(held, 2, seed=1)
    with pytest.raises(DataError, match="no tagged word"):
        pos.choose(Treebank({split: (Sentence("x", ("x",), ("_",), ((0, 1),)),) for split in held.parts}), 1, seed=0)


def test_pairs_are_neighbours_of_one_document_half_of_them_swapped():
    held = bank()
    (chosen,) = [order.choose(held, 2, seed=0)["train"]]
    neighbours = {(a.text, b.text) for a, b in zip(held.parts["train"], held.parts["train"][1:], strict=False) if a.document == b.document}
    assert len(chosen) == 100
    assert sum(each.in_order for each in chosen) == 50
    assert {(a, b) if ahead else (b, a) for a, b, ahead in ((each.first, each.second, each.in_order) for each in chosen)} <= neighbours
    with pytest.raises(DataError, match="newdoc"):
        order.choose(Treebank({split: (sentence(["a", "film"]),) * 3 for split in held.parts}), 1, seed=0)


def test_order_is_read_where_the_first_sentence_shows_it():
    def ordered(part, count):
        return tuple(sentence(["the", "film"] if i % 2 == 0 else ["bad", "song"], f"{part}{i // 2}") for i in range(count))

    draws = np.random.default_rng(0)

    def varied(each):
        return sentence([*each.words, *draws.choice(WORDS, 2)], each.document)

    made = Treebank({part: tuple(map(varied, ordered(part, n))) for part, n in (("train", 200), ("dev", 60), ("test", 120))})
    measured = order.measure(reader(), order.choose(made, 10, seed=0), 0, nothing)
    assert [round(row["accuracy"]["value"], 1) for row in measured.rows] == [1.0, pytest.approx(0.5, abs=0.2)]
    assert measured.facts["pairs"] == {"train": 100, "dev": 30, "test": 60}


def test_both_sentences_are_read_each_in_its_place():
    couple = order.Couple("the film", "was good", True, "one")
    (first, second), text = order._spans(couple), "the film was good"
    assert (text[slice(*first)], text[slice(*second)]) == ("the film", "was good")
