"""New tokens: where they begin, that they alone learn beside a frozen table, and what is refused."""

import copy

import pytest
import torch
import transformers
from tests import tiny_models

from rootstock.bases import load as bases
from rootstock.bases import vocabulary
from rootstock.bases.resolve import resolve
from rootstock.core.errors import RecipeError
from rootstock.core.loaded import Head
from rootstock.loop.crew import twin

ADDED = ("goodbad", "coldwarm")


def untied():
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.LlamaConfig(vocab_size=20, initializer_range=0.4, tie_word_embeddings=False, pad_token_id=0, **shape)
    return transformers.LlamaForCausalLM(config).eval()


MODELS = {
    "AutoModelForMaskedLM": tiny_models.masked_model,
    "AutoModelForCausalLM": untied,
    "AutoModelForSeq2SeqLM": tiny_models.seq2seq_model,
}


@pytest.fixture(params=MODELS)
def loaded(request, tmp_path):
    base = resolve(str(tiny_models.saved(MODELS[request.param](), tiny_models.pieces(), tmp_path / "base")))
    head = Head(auto=request.param)
    return bases.load(base, head, seed=1).model, bases.load(base.taught(ADDED), head, seed=1).model, bases.tokenizer(base.taught(ADDED))


def test_a_new_row_is_the_mean_of_its_pieces_and_no_old_one_moves(loaded):
    before, after, tokens = loaded
    plain = tiny_models.pieces()
    assert tokens.tokenize("goodbad the coldwarm") == ["goodbad", "the", "coldwarm"]
    ids = vocabulary.ids_of(tokens, ADDED)
    layers = [(each.get_input_embeddings(), each.get_output_embeddings()) for each in (before, after)]
    for old, new in zip(*layers, strict=True):
        for was, now in [(old.weight, new.weight), (getattr(old, "bias", None), getattr(new, "bias", None))]:
            if was is not None:
                assert torch.equal(now[: ids.start], was[: ids.start])
                for token, number in zip(ADDED, ids, strict=True):
                    pieces = plain(token, add_special_tokens=False)["input_ids"]
                    assert len(pieces) == 2
                    torch.testing.assert_close(now[number], (was[pieces[0]] + was[pieces[1]]) / 2)


def test_beside_a_frozen_table_the_new_rows_alone_learn(loaded):
    _, model, tokens = loaded
    model.double()  # by single numbers sums part where weights are this wide
    ids, plain = vocabulary.ids_of(tokens, ADDED), copy.deepcopy(model)
    given = {"input_ids": torch.tensor([[5, ids[0], 6, ids[1]]])}
    given |= {"decoder_input_ids": given["input_ids"]} if model.config.is_encoder_decoder else {}
    opened = vocabulary.opened(model.requires_grad_(False), ids)
    learn = {name: p for name, p in opened.named_parameters() if p.requires_grad}
    assert all(p.shape == (2, 32) for p in learn.values())
    assert len(learn) == len({id(each.new) for each in (model.get_input_embeddings(), model.get_output_embeddings())})
    torch.testing.assert_close(opened(**given).logits, plain(**given).logits)
    reference = plain.requires_grad_(True)
    for each in (opened, reference):
        each(**given).logits.square().sum().backward()
    wanted = [reference.get_input_embeddings().weight, reference.get_output_embeddings().weight]
    for found, table in zip(learn.values(), wanted, strict=False):
        torch.testing.assert_close(found.grad, table.grad[ids.start : ids.stop])
    other = twin(opened)
    with torch.no_grad():
        for rows in learn.values():
            rows.add_(1.0)
    torch.testing.assert_close(other(**given).logits, opened(**given).logits)
    moved = opened(**given).logits
    closed = vocabulary.closed(opened)
    assert {name: p.shape for name, p in closed.named_parameters()} == {name: p.shape for name, p in plain.named_parameters()}
    torch.testing.assert_close(closed(**given).logits, moved)
    kept = closed.get_input_embeddings().weight
    assert torch.equal(kept[: ids.start], plain.get_input_embeddings().weight[: ids.start])
    torch.testing.assert_close(kept[ids.start : ids.stop], plain.get_input_embeddings().weight[ids.start : ids.stop] + 1)


@pytest.mark.parametrize(
    ("added", "said"),
    [
        (["goodbad", "good"], "1 of 2 tokens is in the vocabulary already: 'good'"),
        (["goodbad", "goodbad"], "named twice: 'goodbad'"),
        ([" goodbad"], "in the vocabulary already"),
    ],
)
def test_tokens_that_are_there_are_refused(tmp_path, added, said):
    base = resolve(str(tiny_models.saved(tiny_models.masked_model(), tiny_models.pieces(), tmp_path / "base")))
    with pytest.raises(RecipeError, match=said):
        bases.tokenizer(base.taught(added))


def test_tokens_that_differ_only_in_case_are_refused_where_the_tokenizer_lowers_it(tiny_base):
    with pytest.raises(RecipeError, match=r"does not tell '.ewest' from others"):
        bases.tokenizer(resolve(str(tiny_base)).taught(["newest", "Newest"]))


def test_a_word_inside_another_is_left_alone(tmp_path):
    base = resolve(str(tiny_models.saved(tiny_models.masked_model(), tiny_models.pieces(), tmp_path / "base")))
    tokens = bases.tokenizer(base.taught(["ood", "<x>"]))
    assert tokens.tokenize("good ood <x>the") == ["good", "ood", "<x>", "the"]


def test_what_add_tokens_may_be(tmp_path):
    path = tmp_path / "tokens.txt"
    path.write_text("pod\n\n kubelet \n", "utf-8")
    assert vocabulary.listed(str(path)) == ("pod", "kubelet")
    assert vocabulary.listed("pod, kubelet") == ("pod", "kubelet")
    assert vocabulary.listed(["pod"]) == ("pod",)
    with pytest.raises(RecipeError, match="there is no file"):
        vocabulary.listed("tokns.txt")
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(RecipeError, match="can't be read"):
        vocabulary.listed(str(path))
