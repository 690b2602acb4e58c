"""Attention by products against torch's own in fp32: the same answers and gradients but for bf16's digits."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
import transformers
from tests.conftest import make_tokenizer
from tests.tiny_models import clip_model

from rootstock.core import products as attention
from rootstock.core.products import NAME, by_products

B, H, T, D = 3, 4, 6, 8


def mask_of(kind):
    generator = torch.Generator().manual_seed(1)
    if kind == "padding":
        return torch.arange(T)[None, None, None] < torch.tensor([6, 4, 1])[:, None, None, None]
    if kind == "sum":
        return torch.randn(B, 1, T, T, generator=generator)
    return None


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", ["none", "padding", "sum", "causal"])
def test_answers_and_gradients_are_those_of_exact_attention(kind, groups, monkeypatch):
    monkeypatch.setattr("transformers.integrations.sdpa_attention.sdpa_attention_forward", None)  # it must not be asked
    generator = torch.Generator().manual_seed(0)
    shapes = [(B, H, T, D), (B, H // groups, T, D), (B, H // groups, T, D)]
    exact = [torch.randn(shape, generator=generator).bfloat16().float().requires_grad_() for shape in shapes]
    ours = [part.detach().bfloat16().requires_grad_() for part in exact]
    mask, module = mask_of(kind), SimpleNamespace(num_key_value_groups=groups, is_causal=kind == "causal")
    out, _ = attention.attend(module, *ours, mask.bfloat16() if kind == "sum" else mask, scaling=0.5)
    wide = [exact[0], *(part.repeat_interleave(groups, 1) for part in exact[1:])]
    expected = F.scaled_dot_product_attention(*wide, attn_mask=mask, is_causal=kind == "causal", scale=0.5).transpose(1, 2)
    torch.testing.assert_close(out.float(), expected, rtol=0.03, atol=0.03)
    told = torch.randn(expected.shape, generator=generator).bfloat16()
    out.backward(told)
    expected.backward(told.float())
    for mine, theirs in zip(ours, exact, strict=True):
        torch.testing.assert_close(mine.grad.float(), theirs.grad, rtol=0.05, atol=0.06)
        assert theirs.grad.abs().max() > 0.5


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [6, 16, 17])
@pytest.mark.parametrize("mask", ["none", "padding", "sum", "causal"])
def test_keys_that_fill_vectors_change_no_answer(kind, length, mask, monkeypatch):
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    seen = []
    monkeypatch.setattr(
        "transformers.integrations.sdpa_attention.sdpa_attention_forward",
        lambda module, query, key, *more, **told: seen.append(key.shape[2]) or sdpa_attention_forward(module, query, key, *more, **told),
    )
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(2, H, length, D, generator=generator).to(kind) for _ in range(3)]
    given = {
        "padding": torch.arange(length)[None, None, None] < torch.tensor([length, 4])[:, None, None, None],
        "sum": torch.randn(2, 1, length, length, generator=generator).to(kind),
    }.get(mask)
    module = SimpleNamespace(is_causal=mask == "causal")
    found, _ = attention.attend(module, *parts, given)
    expected, _ = sdpa_attention_forward(module, *parts, given)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02 if kind == torch.bfloat16 else 1e-6)
    assert seen == [length if mask == "causal" else -(-length // 16) * 16]


ONLY_HERE = pytest.mark.skipif(
    not torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported(), reason="orders of sums were looked up on AVX-512 alone"
)


@ONLY_HERE
@pytest.mark.parametrize(("own", "padded"), [(34, 38), (35, 64), (66, 71), (150, 208), (200, 300), (250, 400)])
def test_a_row_has_the_same_bits_in_a_batch_of_any_width(own, padded):
    generator = torch.Generator().manual_seed(0)
    rows, module = (48 if own < 100 else 8), SimpleNamespace(is_causal=False)  # of short rows few numbers would part
    parts = [(1.5 * torch.randn(rows, 12, own, 64, generator=generator)).bfloat16() for _ in range(3)]
    wider = [F.pad(part, (0, 0, 0, padded - own)) for part in parts]
    mask = (torch.arange(padded) < own).expand(rows, 1, padded, padded)
    found, _ = attention.attend(module, *parts, None, alike=True)
    expected, _ = attention.attend(module, *wider, mask, alike=True)
    assert torch.equal(found, expected[:, :own])
    learning, _ = attention.attend(module, *wider, mask)  # gradients are on, and nothing here learns
    assert torch.equal(learning, expected)


@pytest.mark.parametrize(
    ("own", "keys", "alike"), [(33, 48, True), (2, 16, True), (36, 48, True), (193, 208, False), (193, 384, True), (705, 896, True)]
)
def test_what_is_added_is_never_looked_at(own, keys, alike, monkeypatch):
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    seen = []
    monkeypatch.setattr(
        "transformers.integrations.sdpa_attention.sdpa_attention_forward",
        lambda module, query, key, *more, **told: (
            seen.append((query.shape[2], key.shape[2])) or sdpa_attention_forward(module, query, key, *more, **told)
        ),
    )
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(2, 1, own, 4, generator=generator) for _ in range(3)]
    mask, module = (torch.arange(own) < own // 2 + 1).expand(2, 1, own, own), SimpleNamespace(is_causal=False)
    with torch.no_grad():
        found, _ = attention.attend(module, *parts, mask, alike=alike)
    expected = F.scaled_dot_product_attention(*parts, attn_mask=mask).transpose(1, 2)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert seen == [(own if own < 32 or own % 32 not in (1, 2, 3) else own // 32 * 32 + 4, keys)]


@pytest.mark.parametrize("case", ["learned bias", "one row of queries", "wide values", "dropout", "fp32", "position bias"])
def test_what_is_more_than_products_is_left_to_transformers(case, monkeypatch):
    asked = []
    monkeypatch.setattr("transformers.integrations.sdpa_attention.sdpa_attention_forward", lambda *_, **__: asked.append(1) or (None, None))
    rows, width = (1 if case == "one row of queries" else B), (2 * D if case == "wide values" else D)
    kind = torch.float32 if case == "fp32" else torch.bfloat16
    parts = [torch.randn(shape).to(kind).requires_grad_() for shape in ((rows, H, T, D), (B, H, T, D), (B, H, T, width))]
    mask = torch.zeros(1, H, T, T, dtype=kind).requires_grad_() if case == "learned bias" else None
    more = {"dropout": {"dropout": 0.1}, "position bias": {"position_bias": torch.zeros(1, H, T, T)}}.get(case, {})
    attention.attend(SimpleNamespace(is_causal=False), *parts, mask, **more)
    assert asked


def test_a_row_that_may_look_nowhere_stays_finite():
    query, key, value = (torch.randn(1, 1, 2, 4).bfloat16().requires_grad_() for _ in range(3))
    out, _ = attention.attend(SimpleNamespace(is_causal=False), query, key, value, torch.zeros(1, 1, 2, 2, dtype=torch.bool))
    out.sum().backward()
    assert all(part.isfinite().all() for part in (out, query.grad, key.grad, value.grad))


SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 40}


def models():
    torch.manual_seed(0)
    plain = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    yield transformers.BertForMaskedLM(transformers.BertConfig(**SHAPE, **plain))
    yield transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE, num_key_value_heads=1))
    yield transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=40, attn_pdrop=0, resid_pdrop=0, embd_pdrop=0)
    )


@pytest.mark.parametrize("model", list(models()), ids=lambda model: type(model).__name__)
def test_a_model_learns_alike_with_it_and_is_left_as_it_was(model, monkeypatch):
    asked = []
    real = attention._Products.apply
    monkeypatch.setattr(attention._Products, "apply", lambda *given: asked.append(1) or real(*given))
    model = model.bfloat16().train()
    ids = torch.randint(0, 40, (3, 7), generator=torch.Generator().manual_seed(2))
    seen = torch.arange(7)[None] < torch.tensor([7, 5, 2])[:, None]

    def gradients():
        model.zero_grad()
        logits = model(input_ids=ids, attention_mask=seen.long()).logits.float()
        (logits * seen[..., None]).square().sum().backward()
        return {name: p.grad.float() for name, p in model.named_parameters() if p.grad is not None}

    expected = gradients()
    assert not asked
    with by_products(model):
        found = gradients()
        assert len(asked) == 2, "once a layer"
        with torch.no_grad():
            model(input_ids=ids)
        assert len(asked) == 2, "what only answers keeps torch's own"
    assert model.config._attn_implementation == "sdpa"
    assert NAME not in str(model.config.to_dict())
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert (found[name] - value).norm() <= 0.03 * value.norm() + 1e-3, name


def test_only_what_asks_for_fused_attention_changes():
    model = clip_model(make_tokenizer())
    model.vision_model.config._attn_implementation = "eager"
    with by_products(model):
        assert model.text_model.config._attn_implementation == NAME
        assert model.vision_model.config._attn_implementation == "eager"
    assert model.text_model.config._attn_implementation == "sdpa"
    with by_products(model, wanted=False):
        assert model.text_model.config._attn_implementation == "sdpa"
    with by_products(torch.nn.Linear(2, 2)):
        pass
