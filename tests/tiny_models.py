"""Tiny language models with strong random weights, so that their answers differ, and tokenizers for them."""

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.conftest import make_tokenizer

WORDS = ("the", "film", "was", "good", "bad", "a", "book", "is", "cold", "not", "very", "song")


def pieces():
    """A WordPiece tokenizer that cuts goodbad and coldwarm in pieces."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##bad", "##warm"]
    inner = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def with_bos():
    """The words of tests/conftest.py, and a token to begin with."""
    tokens = make_tokenizer()
    tokens.bos_token, tokens.eos_token = "[CLS]", "[SEP]"
    return tokens


def masked_model(kind=transformers.BertForMaskedLM):
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 66}
    return kind(transformers.BertConfig(vocab_size=32, initializer_range=0.4, pad_token_id=0, **shape)).eval()


def causal_model(strength=0.4):
    torch.manual_seed(0)
    ends = {"bos_token_id": 2, "eos_token_id": 3}
    config = transformers.GPT2Config(vocab_size=32, n_embd=32, n_layer=2, n_head=2, n_positions=64, initializer_range=strength, **ends)
    return transformers.GPT2LMHeadModel(config).eval()


def seq2seq_model(strength=4.0):
    torch.manual_seed(0)
    shape = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "initializer_factor": strength}
    ends = {"pad_token_id": 0, "decoder_start_token_id": 0, "eos_token_id": 3}
    return transformers.T5ForConditionalGeneration(transformers.T5Config(vocab_size=32, **shape, **ends)).eval()


def bart_model(strength=0.4):
    """BART's decoder begins with the end token, as its own do."""
    torch.manual_seed(0)
    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 64))
    }
    ends = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3, "forced_eos_token_id": None}
    config = transformers.BartConfig(vocab_size=32, d_model=32, max_position_embeddings=64, init_std=strength, **sides, **ends)
    return transformers.BartForConditionalGeneration(config).eval()


def clip_model(tokens):
    """Images of 16 pixels, captions of 12 tokens; its space is drawn wide, or all captions would be near one another."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "projection_dim": 16}
    ends = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    text = {**shape, "vocab_size": len(tokens), "max_position_embeddings": 12, **ends}
    config = transformers.CLIPConfig(text_config=text, vision_config={**shape, "image_size": 16, "patch_size": 8}, projection_dim=16)
    return transformers.CLIPModel(config).eval()


def vit_model():
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    return transformers.ViTModel(transformers.ViTConfig(**shape, image_size=16, patch_size=8), add_pooling_layer=False).eval()


def eye(folder):
    """The folder of a base that reads images of 8 pixels, as its library saves it."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    transformers.ViTModel(transformers.ViTConfig(**shape, image_size=8, patch_size=4)).save_pretrained(folder)
    return folder


def saved(model, tokens, folder):
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder
