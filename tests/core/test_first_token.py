"""The last block for first tokens alone: answers and gradients of the plain model, over all heads that are known; and where it is whole."""

import threading
from concurrent.futures import ThreadPoolExecutor

import peft
import pytest
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import rootstock
from rootstock.core import layers
from rootstock.core.first_token import HEADS, filled, first_alone, narrowed
from rootstock.core.loaded import Head, Loaded
from rootstock.core.products import by_products
from rootstock.core.twin import same_weights
from rootstock.loop.adversary import hooked
from rootstock.loop.precision import computing
from rootstock.loop.teacher import pooled
from rootstock.methods.adapter import Adapter
from rootstock.methods.reft import ReFT
from rootstock.run.cut import Cut

B, T, H, INNER, L = 12, 9, 32, 64, 3
DROPS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "embedding_dropout", "mlp_dropout")
HEAD_DROPS = ("seq_classif_dropout", "classifier_dropout", "classifier_dropout_prob", "summary_last_dropout")
OTHERS = {
    "AlbertForSequenceClassification": {},
    "BertForTokenClassification": {},
    "DebertaV2ForSequenceClassification": {},
    "GPT2ForSequenceClassification": {
        "n_embd": H,
        "n_inner": INNER,
        "n_head": 2,
        "n_layer": L,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    },
    "MPNetForSequenceClassification": {},
    "BertForSequenceClassification": {"is_decoder": True},
    "DistilBertForSequenceClassification": {"chunk_size_feed_forward": 1},
    "ElectraForMultipleChoice": {"summary_type": "mean"},
    "ModernBertForSequenceClassification": {"classifier_pooling": "mean"},
    "RobertaForSequenceClassification": {"attn_implementation": "eager"},
}
"""Classes that read more than the first token, or whose blocks are not known."""


def made(name, dropout=0.0, **changes):
    """A tiny model of a class, with weights so wide that its tokens differ."""
    torch.manual_seed(0)
    kind = getattr(transformers, name)
    shape = {"num_hidden_layers": L, "hidden_size": H, "num_attention_heads": 2, "intermediate_size": INNER}
    if name.startswith("DistilBert"):
        shape = {"n_layers": L, "dim": H, "n_heads": 2, "hidden_dim": INNER}
    if name.startswith("ViT"):
        shape |= {"image_size": 16, "patch_size": 8}
    if name.startswith("ModernBert"):
        shape |= {f"{each}_token_id": 1 for each in ("bos", "eos", "cls", "sep")} | {"local_attention": 4, "global_attn_every_n_layers": 2}
    shape |= dict.fromkeys(DROPS, dropout) | dict.fromkeys(HEAD_DROPS, 0.0) | {"vocab_size": 40, "pad_token_id": 0}
    return kind(kind.config_class(**({"initializer_range": 0.3} | shape | changes)))


def batch_of(name, count=B, width=T):
    generator = torch.Generator().manual_seed(count)
    if name.startswith("ViT"):
        return {"pixel_values": torch.randn(count, 3, 16, 16, generator=generator)}
    mask = (torch.arange(width) < torch.randint(2, width + 1, (count, 1), generator=generator)).long()
    mask[0] = 1
    given = {"input_ids": torch.randint(5, 40, (count, width), generator=generator) * mask, "attention_mask": mask}
    return {key: value.view(2, count // 2, width) for key, value in given.items()} if "Choice" in name else given


def learned(model, given):
    """Logits, and the gradient of each parameter that has one."""
    model.zero_grad()
    logits = model(**given).logits
    (logits * torch.linspace(-1, 1, logits.numel()).view(logits.shape)).sum().backward()
    return logits.detach(), {
        key: p.grad if p.dtype == torch.float64 else p.grad.float() for key, p in model.named_parameters() if p.grad is not None
    }


def compare(found, expected, share=1e-6):
    """share: of the largest gradient's norm, by which a gradient may lie off beside as much of its own."""
    torch.testing.assert_close(found[0], expected[0], rtol=5 * share, atol=5 * share)
    assert found[1].keys() == expected[1].keys()
    largest = max(value.norm() for value in expected[1].values())
    for key, value in expected[1].items():
        assert (found[1][key] - value).norm() <= share * (largest + value.norm()), key


class Counted(TorchDispatchMode):
    """Operations in all products but attention's own."""

    flops = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        done = func(*args, **(kwargs or {}))
        if func._overloadpacket in (torch.ops.aten.addmm, torch.ops.aten.mm):
            self.flops += flop_registry[func._overloadpacket](*args, out_val=done)
        return done


def products(model, given, *, learns=True):
    """Operations of a pass."""
    with Counted() as counted, torch.set_grad_enabled(learns):
        if learns:
            learned(model, given)
        else:
            model(**given)
    return counted.flops


def tokens_of(given):
    """Of an image four patches, and one token before them."""
    return B * 5 if "pixel_values" in given else B * T


def saved(name, given):
    """Operations that a pass without gradients does not take, in closed form."""
    matrices = H * H + 3 * H * INNER if name.startswith("ModernBert") else 2 * H * H + 2 * H * INNER
    return 2 * (tokens_of(given) - filled(B)) * matrices


@pytest.mark.parametrize(("kind", "wide", "share"), [(torch.float64, 0.3, 1e-13), (torch.float32, 0.1, 1e-6)], ids=["fp64", "fp32"])
@pytest.mark.parametrize("name", HEADS)
def test_answers_and_gradients_are_the_plain_models(name, kind, wide, share):
    model, given = made(name, initializer_range=wide).to(kind).train(), batch_of(name)
    given = {key: value.to(kind) if value.is_floating_point() else value for key, value in given.items()}
    expected = learned(model, given)
    with first_alone(model):
        found = learned(model, given)
        with torch.inference_mode():
            answers = model.eval()(**given).logits
    compare(found, expected, share)
    torch.testing.assert_close(answers, expected[0], rtol=10 * share, atol=10 * share)
    assert expected[0].std() > 0.02


@pytest.mark.parametrize("name", HEADS)
def test_its_products_are_for_first_tokens_alone(name):
    model, given = made(name), batch_of(name)
    learning, answering = products(model, given), products(model, given, learns=False)
    with first_alone(model):
        assert learning - products(model, given) == 3 * saved(name, given)
        assert answering - products(model, given, learns=False) == saved(name, given)
    assert products(model, given) == learning
    matrices = sum(p.numel() for part in narrowed(model) for p in part.parameters(recurse=False) if p.dim() == 2)
    assert 2 * (tokens_of(given) - filled(B)) * matrices == saved(name, given), "a plan counts the same"


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "ModernBertForSequenceClassification", "ViTForImageClassification"])
def test_in_bf16_they_are_the_same_but_for_its_digits(name):
    model, given = made(name).train(), batch_of(name)
    exact = learned(model, given)
    fresh = {key for key, _ in model.named_parameters() if key.startswith("classifier")}
    with computing(model, torch.bfloat16, fresh), by_products(model):
        given = {key: value.bfloat16() if value.is_floating_point() else value for key, value in given.items()}
        whole = learned(model, given)
        with first_alone(model):
            less = products(model, given)
            found = learned(model, given)
        assert less < products(model, given)

    def off(some):
        return max((some[1][key] - value).norm() / (value.norm() + 1e-2) for key, value in exact[1].items())

    assert off(found) <= max(1.5 * off(whole), 0.05)
    assert found[0].dtype == torch.float32


@pytest.mark.parametrize("name", OTHERS)
def test_what_reads_more_or_is_not_known_is_left_as_it_is(name):
    model, given = made(name, **OTHERS[name]).train(), batch_of(name)
    expected, count = learned(model, given), products(model, given)
    with first_alone(model):
        assert products(model, given) == count
        found = learned(model, given)
    assert torch.equal(found[0], expected[0])
    assert all(torch.equal(found[1][key], value) for key, value in expected[1].items())


BERT = "BertForSequenceClassification"


def hook(*_):
    return None


def at(name, kind="register_forward_hook"):
    return lambda model: getattr(model.get_submodule(name), kind)(hook)


WHOLE = {
    "a hook on the block": at("bert.encoder.layer.2"),
    "a hook before the block": at("bert.encoder.layer.2", "register_forward_pre_hook"),
    "a hook inside the block": at("bert.encoder.layer.2.output.dense"),
    "a hook on the body": at("bert"),
    "a hook on the encoder": at("bert.encoder"),
    "a hook on gradients": at("bert.encoder.layer.2", "register_full_backward_hook"),
    "blocks that are made again": lambda model: model.activation_checkpointing_enable(),
    "another attention function": lambda model: model.set_attn_implementation("eager"),
}
ASKED = {
    "hidden states": {"output_hidden_states": True},
    "embedded tokens": {"inputs_embeds": torch.ones(B, T, H)},
    "a tuple with attentions": {"output_attentions": True},
}


@pytest.mark.parametrize("case", WHOLE)
def test_where_others_may_look_the_block_is_whole(case):
    model, given = made(BERT).train(), batch_of(BERT)
    with first_alone(model):
        before = products(model, given)
        WHOLE[case](model)
        found = learned(model, given)
        count = products(model, given)
    assert count > before
    compare(found, learned(model, given))


@pytest.mark.parametrize("case", ASKED)
def test_what_is_asked_for_is_of_all_tokens(case):
    model, given = made(BERT).eval(), batch_of(BERT) | ASKED[case]
    if "inputs_embeds" in given:
        del given["input_ids"]
    expected = model(**given)
    with first_alone(model):
        found = model(**given)
        assert model.bert(**batch_of(BERT)).last_hidden_state.shape == (B, T, H), "nobody asked the head"
    assert torch.equal(found.logits, expected.logits)
    if "output_hidden_states" in given:
        assert all(map(torch.equal, found.hidden_states, expected.hidden_states))
    with first_alone(model):
        assert products(model, batch_of(BERT), learns=False) < products(made(BERT), batch_of(BERT), learns=False), "records no more"


@pytest.mark.parametrize("name", HEADS)
def test_any_head_that_is_asked_for_hidden_states_is_the_plain_one(name):
    model, given = made(name).eval(), batch_of(name) | {"output_hidden_states": True}
    expected = model(**given)
    with first_alone(model):
        found = model(**given)
    assert torch.equal(found.logits, expected.logits)
    assert all(map(torch.equal, found.hidden_states, expected.hidden_states))


def test_a_teacher_that_compares_the_last_block_sees_all_of_it():
    model, given = made(BERT).train(), batch_of(BERT)
    with pooled(model, [1, L]) as states:
        model(**given)
        expected = states()
    with first_alone(model), pooled(model, [1, L]) as states:
        model(**given)
        assert all(map(torch.equal, states(), expected))
    with first_alone(model), pooled(model, [1]):
        lower = products(model, given)
    assert lower < products(model, given)


def test_embedded_tokens_may_be_moved():
    model, given = made(BERT).train(), batch_of(BERT)
    with hooked(model, lambda out_BTH: out_BTH * 1.5):
        expected, count = learned(model, given), products(model, given)
        with first_alone(model):
            compare(learned(model, given), expected)
            assert products(model, given) < count


@pytest.mark.parametrize("kept", [True, False])
def test_a_frozen_body_has_the_bits_that_may_have_been_kept(kept):
    model, given = made(BERT).train(), batch_of(BERT)
    model.bert.requires_grad_(False)
    model.bert.pooler.requires_grad_(True)
    expected = model(**given).logits
    with first_alone(model, kept=kept), first_alone(model):
        assert torch.equal(model(**given).logits, expected) or not kept
        whole = products(model, given)
    assert (whole == products(model, given)) == kept


def test_it_goes_on_from_what_lower_blocks_gave():
    model, given = made(BERT).eval(), batch_of(BERT)
    cut = Cut(model)
    with torch.no_grad():
        expected = model(**given).logits
        for depth in range(1, L + 1):
            states = cut.below(frozenset({depth}))(**given)[depth]
            with first_alone(model):
                torch.testing.assert_close(model(**given, **{f"given/{depth}": states}).logits, expected, rtol=1e-5, atol=1e-6)
    cut.close()
    with first_alone(model):
        torch.testing.assert_close(model(**given).logits, expected, rtol=1e-5, atol=1e-6)


def test_closed_it_is_the_model_that_it_was():
    model = made(BERT)
    block = layers.blocks(model)[-1]
    before = [set(vars(part)) for part in model.modules()]
    with first_alone(model), first_alone(model):
        assert "forward" in vars(model)
    assert [set(vars(part)) for part in model.modules()] == before
    assert not block._forward_hooks
    assert not block._forward_pre_hooks


def test_what_others_put_in_or_take_out_meanwhile_is_left_as_they_left_it():
    model, given = made(BERT).eval(), batch_of(BERT)
    attention, expected, asked = layers.blocks(model)[-1].attention.self, model(**given).logits, []
    with first_alone(model):
        inner, looks = model.forward, attention.forward
        model.forward = lambda **named: asked.append(1) or inner(**named)
        attention.forward = lambda *some, **named: asked.append(2) or looks(*some, **named)
    assert torch.equal(model(**given).logits, expected)
    assert asked == [1, 2]
    del model.forward, attention.forward
    with first_alone(model):
        del model.forward, attention.forward
    assert torch.equal(model(**given).logits, expected)
    assert not layers.blocks(model)[-1]._forward_hooks


def test_who_leaves_first_takes_nothing_from_the_others():
    model, given = made(BERT).train(), batch_of(BERT)
    expected, count = learned(model, given), products(model, given)
    first, second = first_alone(model), first_alone(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    compare(learned(model, given), expected)
    assert products(model, given) < count
    second.__exit__(None, None, None)
    assert products(model, given) == count


def test_passes_on_two_threads_do_not_meet():
    model, rows, others = made(BERT).eval(), batch_of(BERT), batch_of(BERT, count=7)
    below, inside, go = layers.blocks(model)[0], threading.Event(), threading.Event()
    plain, expected, wanted = below.forward, model(**rows).logits, model(**others).logits

    def waits(*arguments, **named):
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            go.wait(20)
        return plain(*arguments, **named)

    below.forward = waits
    with first_alone(model), ThreadPoolExecutor(1) as pool:
        begun = pool.submit(lambda: model(**rows).logits)
        assert inside.wait(20)
        torch.testing.assert_close(model(**others).logits, wanted, rtol=1e-5, atol=1e-5)
        go.set()
        torch.testing.assert_close(begun.result(), expected, rtol=1e-5, atol=1e-5)


def test_a_pass_that_fails_leaves_nothing_behind():
    model, given = made(BERT).train(), batch_of(BERT)
    expected = learned(model, given)
    with first_alone(model):
        model.bert.pooler.forward = lambda _: layers.blocks(None)
        with pytest.raises(AttributeError):
            model(**given)
        del model.bert.pooler.forward
        assert model.bert(**given).last_hidden_state.shape == (B, T, H)
        compare(learned(model, given), expected)


def test_twins_keep_it_each_for_itself():
    model, given, fewer = made(BERT).train(), batch_of(BERT), batch_of(BERT, count=4)
    expected, others = learned(model, given), learned(model, fewer)
    count = products(model, given)
    with first_alone(model):
        other = same_weights(model)
        compare(learned(model, given), expected)
        compare(learned(other, fewer), others)
    assert products(other, given) < count == products(model, given)


@pytest.mark.parametrize(
    "name", ["BertForSequenceClassification", "DistilBertForSequenceClassification", "ModernBertForSequenceClassification"]
)
def test_dropout_below_draws_what_it_drew_and_the_blocks_own_is_drawn(name):
    model, given = made(name, dropout=0.2).train(), batch_of(name)

    def answers(seed):
        torch.manual_seed(seed)
        return learned(model, given)

    with first_alone(model):
        assert torch.equal(answers(1)[0], answers(1)[0])
        assert not torch.equal(answers(1)[0], answers(2)[0])
        for part in layers.blocks(model)[-1].modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
            elif hasattr(part, "attention_dropout"):
                part.attention_dropout = 0.0
        found = answers(1)
    compare(found, answers(1))


INSERTED = {
    **{place: Adapter(size=4, place=place) for place in ("houlsby", "pfeiffer", "parallel")},
    "edits": ReFT(r=2),
    "edits of some": ReFT(r=2, first=2),
}


@pytest.mark.parametrize("kind", INSERTED)
def test_what_methods_insert_works_token_by_token(kind):
    plain, given = made(BERT).train(), batch_of(BERT)
    head = frozenset({"classifier.weight", "classifier.bias"})
    model = INSERTED[kind].apply(Loaded(plain, Head(auto="AutoModelForSequenceClassification"), head))
    for key, parameter in model.named_parameters():
        if parameter.requires_grad and key not in head:
            torch.nn.init.normal_(parameter, std=0.1)
    expected, count = learned(model, given), products(model, given)
    with first_alone(model):
        compare(learned(model, given), expected)
        assert products(model, given) < count


PEFT_ASKS_BY_AN_OLD_NAME = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning", "ignore:.*(CUDA|boft):UserWarning"
)


@PEFT_ASKS_BY_AN_OLD_NAME
@pytest.mark.parametrize("kind", ["LoraConfig", "IA3Config", "VeraConfig", "BOFTConfig"])
def test_tuners_of_the_projections_work_token_by_token(kind):
    given, more = batch_of(BERT), {"feedforward_modules": ["output.dense"]} if kind == "IA3Config" else {}
    targets = ["query", "key", "output.dense"] if kind != "VeraConfig" else ["query", "key", "value"]
    made_of = {"BOFTConfig": {"boft_block_size": 4}, "LoraConfig": {"r": 2, "init_lora_weights": False}, "VeraConfig": {"r": 4}}.get(
        kind, {}
    )
    model = peft.get_peft_model(made(BERT), getattr(peft, kind)(task_type="SEQ_CLS", target_modules=targets, **made_of, **more)).train()
    expected, count = learned(model, given), products(model, given)
    with first_alone(model):
        compare(learned(model, given), expected)
        assert products(model, given) < count


@PEFT_ASKS_BY_AN_OLD_NAME
@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PrefixTuningConfig"])
def test_vectors_before_a_row_are_read_as_they_were(kind):
    model = peft.get_peft_model(made(BERT), getattr(peft, kind)(task_type="SEQ_CLS", num_virtual_tokens=3)).eval()
    expected = model(**batch_of(BERT)).logits
    with first_alone(model):
        assert torch.equal(model(**batch_of(BERT)).logits, expected)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_row_has_the_same_bits_beside_any_number_of_rows(precision):
    model, given = made(BERT).eval(), batch_of(BERT, count=70)
    model.bert.pooler.forward, model.classifier.forward = (lambda left_B1H: left_B1H[:, 0]), (lambda left_BH: left_BH)
    with computing(model, precision), by_products(model), first_alone(model), torch.inference_mode():
        found = [model(**{key: value[:count] for key, value in given.items()}).logits for count in (70, 33, 5, 1)]
    assert all(torch.equal(each, found[0][: len(each)]) for each in found)


def test_training_evaluating_and_predicting_all_have_it(adapt, monkeypatch):
    seen, real = [], torch.nn.functional.linear

    def linear(rows, weight, *more):
        if tuple(weight.shape) == (64, 32):  # the opening of a feed-forward, of two blocks
            seen.append((rows.shape[1] == 1, torch.is_grad_enabled()))
        return real(rows, weight, *more)

    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    run = adapt(training={"epochs": 1, "batch_tokens": 64, "precision": "fp32"})
    for learns in (True, False):
        counts = [seen.count((alone, learns)) for alone in (True, False)]
        assert counts[0] > 1
        assert counts[0] == counts[1], "of two blocks one"
    seen.clear()
    rootstock.Run(run.path).predict(["a good film", "a bad book"])
    assert [alone for alone, _ in seen] == [False, True]
