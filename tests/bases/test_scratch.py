"""Random bases by name or config: published sizes, special tokens, tokenizers, and what is refused."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rootstock.bases.load import fit, load, quiet, tokenizer
from rootstock.bases.resolve import resolve
from rootstock.bases.scratch import ARCHITECTURES, config, facts, takes_text
from rootstock.core.errors import BaseError, GateRefused, UnknownName
from rootstock.core.loaded import Head
from rootstock.core.recipe import Recipe
from rootstock.corpus import tokenizer as tokenizers
from rootstock.corpus.families import FAMILIES, TokenizerSettings

TEXTS = ["the cat sat on the mat and the dog sat on the log", "a cat and a dog are not a mat or a log"] * 3
HEAD = Head(auto="AutoModelForSequenceClassification", options={"num_labels": 2})


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tokenizer of each family, as `rootstock tokenizer train` writes it."""
    folders = {}
    for family, kind, size in (("bert", "wordpiece", 80), ("gpt", "bpe", 280), ("t5", "unigram", 150), ("llama", "bpe", 300)):
        settings = TokenizerSettings.build({"family": family, "kind": kind, "size": size}, "")
        folders[family] = tmp_path_factory.mktemp("tokenizers") / family
        tokenizers.save(tokenizers.train(TEXTS, settings), settings, folders[family])
    return folders


def empty(name: str, auto: str = "AutoModel", **changes: Any) -> Any:
    """A model without memory for its weights, some of its config's values changed."""
    import transformers

    made = config(name, Words() if takes_text(name) else None)
    for key, value in changes.items():
        setattr(getattr(made, "text_config", made), key, value)
    with torch.device("meta"), quiet():
        return getattr(transformers, auto).from_config(made)


class Words:
    """As much of a tokenizer as a config asks for."""

    pad_token_id, bos_token_id, eos_token_id, mask_token_id, cls_token_id, sep_token_id = 0, None, None, 4, 2, 3

    def __len__(self) -> int:
        return 40

    def __call__(self, text: str) -> Any:
        return type("Encoding", (), {"input_ids": [2, 7, 3]})

    def get_vocab(self) -> dict[str, int]:
        return {f"w{number}": number for number in range(40)}


def size(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


def documented() -> dict[str, str]:
    """Millions of parameters by name, as the page on bases has them."""
    page = (Path(__file__).parents[2] / "docs" / "bases.md").read_text("utf-8")
    return dict(re.findall(r"^\| `([\w-]+)` \| ([\d.]+) \|", page, re.MULTILINE))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_builds_for_the_tokenizer_at_hand(name: str) -> None:
    if not takes_text(name):
        assert f"{size(empty(name)) / 1e6:.1f}" == documented()[name]
        return
    made = config(name, Words())
    text = getattr(made, "text_config", made)
    assert (text.vocab_size, text.pad_token_id, text.bos_token_id, text.eos_token_id, text.mask_token_id) == (40, 0, 2, 3, 4)
    model = empty(name, vocab_size=30522)
    assert getattr(model, "text_model", model).get_input_embeddings().weight.shape[0] == 30522
    assert f"{size(model) / 1e6:.1f}" == documented()[name]


def test_the_page_lists_them_all() -> None:
    assert set(documented()) == set(ARCHITECTURES)


@pytest.mark.parametrize(
    ("name", "auto", "changes", "published"),
    [
        ("gpt2-small", "AutoModelForCausalLM", {"vocab_size": 50257}, 124_439_808),  # gpt2
        ("llama-small", "AutoModelForCausalLM", {"vocab_size": 49152}, 134_515_008),  # SmolLM-135M
        ("t5-small", "AutoModelForSeq2SeqLM", {"vocab_size": 32128}, 60_506_624),
        ("t5-base", "AutoModelForSeq2SeqLM", {"vocab_size": 32128}, 222_903_552),
        ("bart-base", "AutoModel", {"vocab_size": 50265}, 139_420_416),
        ("electra-small", "AutoModelForPreTraining", {"vocab_size": 30522}, 13_549_057),
        ("vit-tiny", "AutoModelForImageClassification", {"image_size": 224, "patch_size": 16, "num_labels": 1000}, 5_717_416),  # DeiT-Ti
    ],
)
def test_a_published_count(name: str, auto: str, changes: dict[str, Any], published: int) -> None:
    assert size(empty(name, auto, **changes)) == published


@pytest.mark.parametrize(
    ("name", "auto", "vocabulary", "millions"),
    [
        ("bert-tiny", "AutoModelForPreTraining", 30522, "4.4"),
        ("bert-mini", "AutoModelForPreTraining", 30522, "11.3"),
        ("bert-small", "AutoModelForPreTraining", 30522, "29.1"),
        ("bert-base", "AutoModelForPreTraining", 30522, "110.1"),
        ("t5-tiny", "AutoModelForSeq2SeqLM", 32128, "15.6"),
        ("modernbert-small", "AutoModelForMaskedLM", 50368, "32.1"),  # Ettin says 32
    ],
)
def test_a_published_size_in_millions(name: str, auto: str, vocabulary: int, millions: str) -> None:
    assert f"{size(empty(name, auto, vocab_size=vocabulary)) / 1e6:.1f}" == millions


def test_sizes_in_closed_form() -> None:
    def layer(width: int, inner: int) -> int:
        return 4 * width * (width + 1) + width * inner * 2 + inner + width + 4 * width

    tables = (30522 + 77) * 128 + (65 * 128 + 128 + 48 * 128)  # tokens and places; patches, places and the class
    both = 2 * layer(128, 512) + 4 * layer(128, 512) + 3 * 2 * 128 + 2 * 128 * 128 + 1  # stacks, norms, projections, temperature
    assert size(empty("clip-tiny", vocab_size=30522)) == tables + both
    assert size(empty("gpt2-tiny", vocab_size=1000)) == (1000 + 512) * 128 + 2 * layer(128, 512) + 256
    assert size(empty("cbow", vocab_size=1000)) == 300_000
    swiglu, attention = 3 * 128 * 352, 2 * 128 * 128 + 2 * 128 * 64
    assert size(empty("llama-tiny", "AutoModelForCausalLM", vocab_size=1000)) == 128_000 + 2 * (swiglu + attention + 256) + 128


def test_two_heads_of_llama_share_a_key_and_a_value() -> None:
    from transformers import AutoModelForCausalLM

    grouped = config("llama-tiny", Words())
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(grouped).eval()
    assert model.lm_head.weight is model.model.embed_tokens.weight
    plain = config("llama-tiny", Words())
    plain.num_key_value_heads = 4
    wide = AutoModelForCausalLM.from_config(plain).eval()
    state = model.state_dict()
    for name, value in state.items():
        if name.endswith(("k_proj.weight", "v_proj.weight")):
            assert value.shape == (64, 128)
            state[name] = value.view(2, 32, 128).repeat_interleave(2, 0).reshape(128, 128)
    wide.load_state_dict(state)
    ids = torch.arange(5, 17)[None]
    torch.testing.assert_close(model(ids).logits, wide(ids).logits)
    at_other_places = model(ids, position_ids=torch.arange(12)[None] * 2).logits  # rotary: distances count, not places
    assert torch.allclose(model(ids).logits, model(ids, position_ids=torch.arange(7, 19)[None]).logits, atol=1e-5)
    assert not torch.allclose(model(ids).logits, at_other_places, atol=1e-5)


TINY = [("bert-tiny", "bert"), ("gpt2-tiny", "gpt"), ("gpt2-tiny", "bert"), ("llama-tiny", "llama"), ("llama-tiny", "bert")]
TINY += [
    ("t5-tiny", "t5"),
    ("bart-tiny", "bert"),
    ("modernbert-small", "bert"),
    ("electra-small", "bert"),
    ("cbow", "gpt"),
    ("elmo-small", "t5"),
]


@pytest.mark.parametrize(("name", "family"), TINY)
def test_it_classifies_a_padded_batch_with_a_tokenizer_of_its_family(name: str, family: str, learned: dict[str, Path]) -> None:
    base = resolve(f"scratch:{name}", tokenizer=learned[family])
    tokens = tokenizer(base)
    model: Any = load(base, HEAD, seed=1, dropout=0).model
    fit(tokens, model)
    ids = [tokens(text).input_ids for text in ("the cat sat on the mat", "a dog")]
    # A text is cut at its padding, and BART reads the last end token, so rows differ from their lone selves only by a mistake.
    lone = [model(torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=torch.long)).logits[0] for row in ids]
    longest = max(map(len, ids))
    padded = torch.tensor([row + [tokens.pad_token_id] * (longest - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
    if name in ("gpt2-tiny", "cbow") and family == "gpt":
        assert model.config.pad_token_id == model.config.eos_token_id == model.config.bos_token_id == 0
    together = model(padded, attention_mask=mask).logits
    torch.testing.assert_close(together, torch.stack(lone), atol=1e-4, rtol=1e-3)
    assert not torch.allclose(lone[0], lone[1])


def test_images_and_captions_pass(learned: dict[str, Path]) -> None:
    images = torch.rand(2, 3, 32, 32)
    vit: Any = load(resolve("scratch:vit-tiny"), Head(auto="AutoModelForImageClassification", options={"num_labels": 10}), seed=0).model
    assert vit(images).logits.shape == (2, 10)
    base = resolve("scratch:clip-tiny", tokenizer=learned["bert"])
    clip: Any = load(base, Head(auto="AutoModel"), seed=0).model
    row = tokenizer(base)("the cat").input_ids
    end = row.index(clip.config.text_config.eos_token_id)
    assert end == len(row) - 1
    fit(tokenizer(base), clip)
    out = clip(input_ids=torch.tensor([row, row]), pixel_values=images)
    assert out.logits_per_image.shape == (2, 2)
    padded = clip.get_text_features(torch.tensor([[*row, 0, 0]])).pooler_output
    torch.testing.assert_close(padded[0], clip.get_text_features(torch.tensor([row])).pooler_output[0])


def test_decoders_start_where_their_papers_do(learned: dict[str, Path]) -> None:
    t5 = config("t5-tiny", tokenizer(resolve("scratch:t5-tiny", tokenizer=learned["t5"])))
    assert (t5.pad_token_id, t5.eos_token_id, t5.decoder_start_token_id) == (0, 1, 0)
    bart = config("bart-tiny", tokenizer(resolve("scratch:bart-tiny", tokenizer=learned["bert"])))
    assert (bart.bos_token_id, bart.eos_token_id, bart.decoder_start_token_id) == (2, 3, 3)
    modern = config("modernbert-small", tokenizer(resolve("scratch:bert-tiny", tokenizer=learned["bert"])))
    assert (modern.cls_token_id, modern.sep_token_id) == (2, 3)


@pytest.mark.parametrize("name", ["gpt2-small", "llama-tiny", "t5-small", "bart-base", "clip-tiny"])
def test_a_tokenizer_without_an_end_gets_a_command_that_makes_one(name: str) -> None:
    class Endless(Words):
        sep_token_id = None

    with pytest.raises(BaseError, match="no end token") as caught:
        config(name, Endless())
    asked = dict(re.findall(r"--(kind|family) (\w+)", caught.value.fix))
    roles = FAMILIES[TokenizerSettings.build(asked, "").resolved().family].roles
    assert {"eos_token", "sep_token"} & set(roles)


@pytest.mark.parametrize("family", ["gpt", "llama"])
def test_clip_refuses_an_end_that_it_would_not_find(family: str, learned: dict[str, Path]) -> None:
    with pytest.raises(BaseError, match="clip can find"):
        load(resolve("scratch:clip-tiny", tokenizer=learned[family]), Head(auto="AutoModel"), seed=0)


def test_the_tokenizer_is_part_of_the_base(learned: dict[str, Path], tmp_path: Path) -> None:
    plain, with_own = resolve("scratch:bert-tiny"), resolve("scratch:bert-tiny", tokenizer=str(learned["bert"]))
    other = resolve("scratch:bert-tiny", tokenizer=learned["gpt"])
    assert len({plain.digest, with_own.digest, other.digest, resolve("scratch:bert-mini", tokenizer=learned["bert"]).digest}) == 4
    assert with_own.tokenizer == learned["bert"].resolve()
    assert tokenizer(with_own).tokenize("the cat") == ["the", "cat"]
    with pytest.raises(BaseError, match="holds no tokenizer") as caught:
        resolve("scratch:bert-tiny", tokenizer=tmp_path)
    assert "rootstock tokenizer train" in caught.value.fix
    with pytest.raises(BaseError, match="there is no folder"):
        resolve("scratch:bert-tiny", tokenizer=tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(BaseError, match="is a file"):
        resolve("scratch:bert-tiny", tokenizer=tmp_path / "file")
    with pytest.raises(BaseError, match="brings its own tokenizer"):
        resolve(str(tmp_path), tokenizer=learned["bert"])
    with pytest.raises(BaseError, match="reads images"):
        resolve("scratch:vit-tiny", tokenizer=learned["bert"])


def test_a_tokenizer_that_names_code_or_is_broken(learned: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(BaseError, match="can't be read"):
        tokenizer(resolve("scratch:bert-tiny", tokenizer=tmp_path))
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["x.Y", null]}}')
    with pytest.raises(GateRefused, match="auto_map"):
        resolve("scratch:bert-tiny", tokenizer=tmp_path)


def written(path: Path, **values: Any) -> str:
    path.write_text(json.dumps(values))
    return f"scratch:{path}"


def test_a_config_of_ones_own(learned: dict[str, Path], tmp_path: Path) -> None:
    sizes = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    reference = written(tmp_path / "narrow.json", **sizes, vocab_size=500, pad_token_id=9)
    base = resolve(reference, tokenizer=learned["bert"])
    assert (base.name, base.folder, facts(base.scratch or "")["hidden_size"]) == ("narrow", None, 16)
    model: Any = load(base, HEAD, seed=0).model
    assert model.config.vocab_size == 500
    assert model.config.pad_token_id == tokenizer(base).pad_token_id == 0
    assert model.get_input_embeddings().weight.shape == (500, 16)
    small = resolve(written(tmp_path / "narrow.json", **sizes, vocab_size=10), tokenizer=learned["bert"])
    assert load(small, HEAD, seed=0).model.get_input_embeddings().weight.shape == (len(tokenizer(small)), 16)  # type: ignore[operator]
    assert small.digest != base.digest
    assert resolve(written(tmp_path / "config.json", **sizes)).name == tmp_path.name
    recipe = Recipe.build({"base": "scratch:config.json", "data": {"train": "x.csv"}}, "")
    assert recipe.anchored(tmp_path).base == f"scratch:{tmp_path / 'config.json'}"
    (tmp_path / "cbow").mkdir()
    assert recipe.model_copy(update={"base": "scratch:cbow"}).anchored(tmp_path).base == "scratch:cbow"


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        ({"model_type": "bert", "auto_map": {"AutoModel": "x.Y"}}, GateRefused, "names Python code"),
        ({"hidden_size": 16}, BaseError, "no model_type"),
        ({"model_type": "none-such"}, BaseError, "none-such"),
        ({"model_type": "rootstock-none"}, BaseError, "rootstock-none"),
        ({"model_type": "bert", "hidden_size": "wide"}, BaseError, "hidden_size"),
        ({"model_type": "bert", "hidden_size": 16, "num_attention_heads": 3}, BaseError, "multiple"),
        ({"model_type": ["bert"]}, BaseError, "no model_type"),
        ({"model_type": "rootstock-cbow", "vocab_size": "many"}, BaseError, "vocab_size"),
        ({"model_type": "rootstock-elmo", "filters": [3]}, BaseError, "filters"),
        ({"model_type": "rootstock-elmo", "filters": [[99, 3]]}, BaseError, "pairs of a width"),
        ({"model_type": "rootstock-elmo", "hidden_size": 15}, BaseError, "even"),
    ],
)
def test_configs_that_are_none(values: dict[str, Any], kind: type[Exception], said: str, learned: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(kind, match=said):
        load(resolve(written(tmp_path / "config.json", **values), tokenizer=learned["bert"]), HEAD, seed=0)


def test_files_that_are_no_config(tmp_path: Path) -> None:
    with pytest.raises(BaseError, match="there is no file"):
        resolve(f"scratch:{tmp_path / 'config.json'}")
    for raw in (b"{", b"[]", b"\xff\xfe\x00", b""):
        (tmp_path / "config.json").write_bytes(raw)
        with pytest.raises(BaseError, match="JSON"):
            resolve(f"scratch:{tmp_path / 'config.json'}")


def test_an_unknown_one_gets_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'gpt2-mini'"):
        facts("gpt2-mimi")


def test_values_are_known_without_the_libraries() -> None:
    code = "import sys; from rootstock.bases.resolve import resolve; from rootstock.bases.scratch import facts; facts('elmo-small'); "
    code += "resolve('scratch:t5-base'); sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
