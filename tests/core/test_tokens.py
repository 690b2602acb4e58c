"""Ids of many texts are those that transformers gives all at once, whatever the kind of tokenizer, and in parts."""

import pytest
from tests.conftest import make_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from rootstock.core import tokens

TEXTS = ["a good film", "", "the [SEP] warm book is not the end", "çok güzel 🙂 film", "x" * 90, "one two three four five six seven"]
OTHERS = ["the second text is longer than the first one", "b", "", "  blanks  ", "a [MASK] here", "short"]


def trained(model, trainer, around):
    inner = Tokenizer(model)
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.train_from_iterator(TEXTS + OTHERS, trainer)
    numbers = [(name, inner.token_to_id(name)) for name in ("<s>", "</s>")]
    inner.post_processor = processors.TemplateProcessing(single=around[0], pair=around[1], special_tokens=numbers)
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


SPECIAL = {"special_tokens": ["<unk>", "<pad>", "<s>", "</s>"], "vocab_size": 300, "show_progress": False}
KINDS = {
    "words": make_tokenizer,
    "bpe": lambda: trained(models.BPE(), trainers.BpeTrainer(**SPECIAL), ("<s> $A </s>", "<s> $A </s> $B </s>")),
    "unigram": lambda: trained(models.Unigram(), trainers.UnigramTrainer(unk_token="<unk>", **SPECIAL), ("$A </s>", "$A </s> $B:1 </s>:1")),
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return KINDS[request.param]()


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(tokens, "_PART", 4)


def wanted(tokenizer, *texts, **more):
    made = tokenizer(*texts, return_attention_mask=False, verbose=False, **more)
    tokenizer.backend_tokenizer.no_truncation()
    return made


@pytest.mark.parametrize("length", [None, 7])
@pytest.mark.parametrize("texts", [(TEXTS,), (TEXTS, OTHERS)], ids=["one", "pair"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_ids_and_types_are_transformers_own(tokenizer, texts, length, side, monkeypatch):
    monkeypatch.setattr(tokenizer, "truncation_side", side)
    monkeypatch.setattr(tokenizer, "model_input_names", ["input_ids", "token_type_ids", "attention_mask"])
    cut = {"truncation": True, "max_length": length} if length else {}
    found, theirs = tokens.tokenised(tokenizer, *texts, length=length), wanted(tokenizer, *texts, **cut)
    assert found["input_ids"] == theirs["input_ids"]
    if len(texts) == 2:
        assert found["token_type_ids"] == theirs["token_type_ids"]
    assert tokenizer.backend_tokenizer.truncation is None, "a saved tokenizer would cut for everybody"


def test_without_special_tokens_and_with_their_texts_split(tokenizer, monkeypatch):
    assert (
        tokens.tokenised(tokenizer, TEXTS, add_special_tokens=False)["input_ids"]
        == wanted(tokenizer, TEXTS, add_special_tokens=False)["input_ids"]
    )
    monkeypatch.setattr(tokenizer, "split_special_tokens", True)
    assert tokens.tokenised(tokenizer, ["a </s> b"])["input_ids"] == wanted(tokenizer, ["a </s> b"])["input_ids"]
    monkeypatch.setattr(tokenizer, "split_special_tokens", False)
    assert tokens.tokenised(tokenizer, ["a </s> b"])["input_ids"] == wanted(tokenizer, ["a </s> b"])["input_ids"]


def test_places_and_texts_to_write_come_from_transformers(tokenizer):
    assert tokens.tokenised(tokenizer, TEXTS, return_offsets_mapping=True) == dict(wanted(tokenizer, TEXTS, return_offsets_mapping=True))
    assert tokens.tokenised(tokenizer, TEXTS, target=True)["input_ids"] == wanted(tokenizer, text_target=TEXTS)["input_ids"]
    assert tokens.tokenised(tokenizer, []) == {"input_ids": []}


def test_a_tokenizer_with_ways_of_its_own_is_asked_itself():
    class Own(PreTrainedTokenizerFast):
        def _encode_plus(self, text, *args, **more):
            return super()._encode_plus([each.upper() for each in text], *args, **more)

    own = Own(tokenizer_object=KINDS["bpe"]().backend_tokenizer)
    assert tokens.tokenised(own, TEXTS)["input_ids"] == wanted(own, TEXTS)["input_ids"]
    assert tokens.tokenised(own, ["a film"])["input_ids"] != tokens.tokenised(KINDS["bpe"](), ["a film"])["input_ids"]
