"""A tiny BERT with a WordPiece tokenizer, made here: 40 words, hidden size 32."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WORDS = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"abcdefghijklmnopqrstuvwxyz",
    "film",
    "fun",
    "good",
    "bad",
    "##s",
    "the",
    ".",
    ",",
    "!",
)


def tiny_config(**changes: Any) -> Any:
    from transformers import BertConfig

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64}
    return BertConfig(**{"vocab_size": len(WORDS), **sizes, **changes})


def tiny_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    backend.enable_truncation(8)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]"
    )


@pytest.fixture(scope="session")
def bert_config() -> Callable[..., Any]:
    """Makes the tiny config, with changes."""
    return tiny_config


@pytest.fixture
def bare_tokenizer() -> Any:
    """The tokenizer before it was saved."""
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertModel

    from rootstock.bases.load import quiet

    folder = tmp_path_factory.mktemp("made") / "tiny"
    with quiet():
        BertModel(tiny_config()).save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def tiny(made: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may change."""
    return shutil.copytree(made, tmp_path / "tiny")
