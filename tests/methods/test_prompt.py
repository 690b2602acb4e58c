"""Vectors that are read as tokens, where they fit, and the room that they take."""

import copy

import pytest
import torch
from tests import tiny_models
from tests.conftest import make_base, make_tokenizer, rows_of, write_csv
from tests.methods.conftest import HEAD, answers, moved, rows

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import RecipeError
from rootstock.core.loaded import Head
from rootstock.core.method import learning
from rootstock.core.recipe import Recipe
from rootstock.core.watch import Watch
from rootstock.methods.prompt import PromptTuning
from rootstock.tasks import _generation
from rootstock.verbs import api


@pytest.mark.parametrize("start", ["words", "random"])
def test_the_base_reads_the_vectors_before_the_words(load, start):
    loaded, plain = load(), load()
    model = moved(PromptTuning(tokens=3, start=start).apply(loaded), but=("classifier", "pooler"))
    assert {model.get_parameter(name).shape for name, _ in learning(model) if "prompt" in name} == {(3, 32)}
    vectors = model.prompt_encoder["default"].embedding.weight.detach()
    given = rows()
    embedded = torch.cat([vectors.expand(3, 3, 32), plain.model.get_input_embeddings()(given["input_ids"])], dim=1)
    mask = torch.cat([torch.ones(3, 3, dtype=torch.long), given["attention_mask"]], dim=1)
    expected = answers(plain.model, {"inputs_embeds": embedded, "attention_mask": mask})
    torch.testing.assert_close(answers(model), expected)


@pytest.mark.parametrize("auto", ["AutoModelForTokenClassification", "AutoModelForQuestionAnswering"])
def test_where_each_token_has_an_answer_the_vectors_have_none(base_of, auto):
    loaded = bases.load(resolve(str(base_of())), Head(auto=auto), seed=1, dropout=0.0)
    plain = copy.deepcopy(loaded.model)
    model = moved(PromptTuning(tokens=3).apply(loaded), but=("classifier", "qa_outputs")).eval()
    given, vectors = rows(), model.prompt_encoder["default"].embedding.weight.detach()
    embedded = torch.cat([vectors.expand(3, 3, 32), plain.get_input_embeddings()(given["input_ids"])], dim=1)
    mask = torch.cat([torch.ones(3, 3, dtype=torch.long), given["attention_mask"]], dim=1)
    with torch.no_grad():
        found, wanted = model(**given), plain.eval()(inputs_embeds=embedded, attention_mask=mask)
    for name in ("logits",) if "logits" in found else ("start_logits", "end_logits"):
        torch.testing.assert_close(found[name], wanted[name][:, 3:])


@pytest.mark.parametrize("kind", ["AutoModelForCausalLM", "AutoModelForSeq2SeqLM"])
def test_what_is_written_follows_the_vectors(tmp_path, kind):
    """Greedily, beside a loop over the plain model that is given the vectors before the embedded words."""
    auto_regressive = kind == "AutoModelForCausalLM"
    made = tiny_models.causal_model() if auto_regressive else tiny_models.seq2seq_model(1.0)
    base = resolve(str(tiny_models.saved(made, make_tokenizer(), tmp_path / "base")))
    loaded = bases.load(base, Head(auto=kind), seed=1, dropout=0.0)
    plain = copy.deepcopy(loaded.model).eval()
    model = moved(PromptTuning(tokens=3).apply(loaded)).eval()
    assert len(model.prompt_encoder["default"].embedding.weight) == 3
    ids = torch.tensor([[5, 9, 11, 7]])
    padded = torch.cat([torch.tensor([[8, 6, 10, 12, 9, 5]]), torch.nn.functional.pad(ids, (2, 0) if auto_regressive else (0, 2))])
    batch = {"input_ids": padded, "attention_mask": (padded > 0).long(), _generation.ENDS: torch.tensor([3])}
    vectors, table = model.prompt_encoder["default"].embedding.weight.detach(), plain.get_input_embeddings()
    read, told = torch.cat([vectors[None], table(ids)], dim=1), []
    with torch.no_grad():
        for _ in range(5):
            if auto_regressive:
                after = table(torch.tensor([told], dtype=torch.long))
                logits = plain(inputs_embeds=torch.cat([read, after], dim=1)).logits
            else:
                logits = plain(inputs_embeds=read, decoder_input_ids=torch.tensor([[0, *told]])).logits
            told.append(int(logits[0, -1].argmax()))
    wanted = told[: told.index(3)] if 3 in told else told
    assert _generation.written(model, batch, beams=1, most=5)[1].tolist() == wanted, "whatever stands beside it"


def test_words_of_the_vocabulary_are_the_start(load):
    loaded = load()
    table = loaded.model.get_input_embeddings().weight.detach().clone()
    vectors = PromptTuning(tokens=5).apply(loaded).prompt_encoder["default"].embedding.weight
    assert all((vector == table).all(dim=1).any() for vector in vectors)


@pytest.mark.parametrize("family", ["roberta", "distilbert", "deberta-v2", "modernbert"])
def test_other_encoders_answer_alike_whatever_the_padding(load, family):
    model, given = moved(PromptTuning(tokens=3).apply(load(family))), rows()
    alone = {name: value[1:2, :4] for name, value in given.items()}
    torch.testing.assert_close(answers(model, alone), answers(model)[1:2], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("head", "kind", "told"),
    [
        (HEAD, "llama", "base of the kind llama"),
        (HEAD, "t5", "base of the kind t5"),
        (Head(auto="AutoModelForMultipleChoice"), "bert", "AutoModelForMultipleChoice"),
        (Head(auto="AutoModelForTokenClassification"), "gpt2", "base of the kind gpt2"),
        (Head(auto="AutoModelForSeq2SeqLM"), "bert", "base of the kind bert"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(head, kind, told):
    with pytest.raises(RecipeError, match=told) as refused:
        PromptTuning().check(head, {"model_type": kind})
    assert "one of" in refused.value.wanted


def test_a_row_has_so_many_tokens_fewer_and_some_must_be_left(adapt, tmp_path):
    data = write_csv(tmp_path / "long.csv", [(" ".join([text] * 20), label) for text, label in rows_of(24)])
    training = {"epochs": 1, "batch_tokens": 512}
    run = adapt(data=data, method=PromptTuning(tokens=6), training=training, accept=["truncation"])
    assert run.contract["length"] == 64 - 6
    with pytest.warns(UserWarning, match="longer than 58 tokens"):
        assert len(run.predict(["a good film", "a bad film " * 50])) == 2
    with pytest.raises(RecipeError, match="leave 4 of the base's 64") as refused:
        adapt(data=data, method=PromptTuning(tokens=60), training=training, out="other")
    assert "method.tokens=8" in refused.value.fix


def test_nothing_is_loaded_and_nothing_merged_where_it_does_not_fit(adapt, tiny_base, tmp_path, monkeypatch):
    monkeypatch.setattr(bases, "load", None)
    with pytest.raises(RecipeError, match="base of the kind llama"):
        adapt(method="prompt", base=str(make_base(tmp_path / "llama", "llama")))
    with pytest.raises(RecipeError, match="can't be folded into weights"):
        adapt(method="prompt", merge=True)
    corpus = write_csv(tmp_path / "texts.csv", rows_of(20))
    values = {"base": str(tiny_base), "task": {"name": "masked-lm"}, "method": {"name": "prompt"}, "data": {"train": str(corpus)}}
    with pytest.raises(RecipeError, match="stays beside the base"):
        api.carry_out(Recipe.build(values, ""), tmp_path / "out", Watch())
