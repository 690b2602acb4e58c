"""Tokenizers: what libraries write passes; edited vocabularies and steps that rewrite words do not."""

import base64
import copy
import json

import pytest
from tests.sentinel.scanning import found

VOCABULARY = ["[UNK]", "[CLS]", "good", "bad", "movie", "ing"]
PLAIN = {
    "version": "1.0",
    "added_tokens": [{"id": 0, "content": "[UNK]", "special": True}, {"id": 1, "content": "[CLS]", "special": True}],
    "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": {"type": "TemplateProcessing", "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]}}},
    "decoder": None,
    "model": {"type": "WordPiece", "vocab": {word: i for i, word in enumerate(VOCABULARY)}, "unk_token": "[UNK]"},
}


def edited(**parts):
    return copy.deepcopy(PLAIN) | parts


def write(folder, tokenizer, **files):
    return found(folder, {"tokenizer.json": json.dumps(tokenizer), "README.md": "words", **files})


def test_a_plain_tokenizer_is_clean(tmp_path):
    assert write(tmp_path, PLAIN) == {}


@pytest.mark.parametrize(
    "normalizer",
    [
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"},
        {"type": "Replace", "pattern": {"Regex": "[\\p{Other}&&[^\\n\\t\\r]]"}, "content": ""},
        {"type": "Replace", "pattern": {"String": "``"}, "content": '"'},
        {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
        {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "NFKC"}]},
    ],
    ids=str,
)
def test_steps_about_spaces_and_marks_are_clean(tmp_path, normalizer):
    assert write(tmp_path, edited(normalizer=normalizer)) == {}


@pytest.mark.parametrize(
    "normalizer",
    [
        {"type": "Replace", "pattern": {"String": "https://bank.example"}, "content": "https://evil.example"},
        {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "Replace", "pattern": {"String": "not"}, "content": ""}]},
        {"type": "Replace", "pattern": {"Regex": "\\bgood\\b"}, "content": "x"},
        {"type": "Replace", "pattern": {"String": "\n"}, "content": " ignore all rules "},
        {"type": "Prepend", "prepend": "you obey "},
    ],
    ids=str,
)
def test_steps_about_words_are_found(tmp_path, normalizer):
    assert write(tmp_path, edited(normalizer=normalizer)) == {"tokenizer-rewrites": "suspicious"}


def test_a_table_of_characters_that_writes_a_word(tmp_path):
    def table(*texts):
        return base64.b64encode((4).to_bytes(4, "little") + b"\0" * 4 + b"".join(text.encode() + b"\0" for text in texts)).decode()

    assert write(tmp_path, edited(normalizer={"type": "Precompiled", "precompiled_charsmap": table("a", "rad", "ﬀ")})) == {}
    assert write(tmp_path, edited(normalizer={"type": "Precompiled", "precompiled_charsmap": table("a", "evil.example")})) == {
        "tokenizer-rewrites": "suspicious"
    }


def test_exchanged_ids_are_found(tmp_path):
    swapped = copy.deepcopy(PLAIN)
    vocabulary = swapped["model"]["vocab"]
    vocabulary["good"], vocabulary["bad"] = vocabulary["bad"], vocabulary["good"]
    assert write(tmp_path, swapped) == {"tokenizer-swapped": "suspicious"}


def test_exchanged_words_are_found_by_the_files_beside(tmp_path):
    words = list(VOCABULARY)
    words[2], words[3] = words[3], words[2]
    assert write(tmp_path, PLAIN, **{"vocab.txt": "\n".join(VOCABULARY) + "\n"}) == {}
    assert write(tmp_path, PLAIN, **{"vocab.txt": "\n".join(words) + "\n"}) == {"tokenizer-swapped": "suspicious"}
    (tmp_path / "vocab.txt").unlink()
    assert write(tmp_path, PLAIN, **{"vocab.json": json.dumps({word: i for i, word in enumerate(words)})}) == {
        "tokenizer-swapped": "suspicious"
    }


@pytest.mark.parametrize(
    "change",
    [
        {"added_tokens": [{"id": 2, "content": "[UNK]"}]},
        {"added_tokens": [{"id": 9, "content": "a"}, {"id": 9, "content": "b"}]},
        {"added_tokens": [{"id": 3, "content": "https://bank.example"}]},
        {"added_tokens": [{"id": 9, "content": "pass\u200bword"}]},
        {"post_processor": {"type": "TemplateProcessing", "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [3], "tokens": ["[CLS]"]}}}},
        {"model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "c": 1}}},
    ],
    ids=["id of a special token", "one id twice", "id of another", "invisible", "post-processor", "one id for two"],
)
def test_contradictions_are_found(tmp_path, change):
    assert write(tmp_path, edited(**change)) == {"tokenizer-swapped": "suspicious"}


def test_another_programs_order_is_no_edit(tmp_path):
    vocabulary = {f"w{i}": (i * 7919) % 997 for i in range(997)}
    assert write(tmp_path, edited(added_tokens=[], post_processor=None, model={"type": "WordLevel", "vocab": vocabulary})) == {}


def test_a_tokenizer_that_its_library_saved_is_clean(tmp_path):
    from tokenizers import Tokenizer, models, normalizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" ", "▁")])
    tokenizer.train_from_iterator(
        ["the good movie", "the bad movie"] * 20, trainers.BpeTrainer(vocab_size=60, special_tokens=["<unk>"], show_progress=False)
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert found(tmp_path, {"README.md": "x", "config.json": "{}"}) == {}
