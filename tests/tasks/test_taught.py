"""What is written, learned from a teacher: the divergence against its closed form, places of packed rows, and a run."""

import numpy as np
import pytest
import torch
from tests import tiny_models
from tests.conftest import make_tokenizer, rows_of, write_csv
from tests.tiny_rows import table

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import ContractRefused, RecipeError
from rootstock.core.recipe import Recipe
from rootstock.core.rows import TEACHER
from rootstock.core.seed import Draw
from rootstock.core.watch import Watch
from rootstock.run import reference
from rootstock.tasks import _taught
from rootstock.tasks.text_generation import TextGeneration
from rootstock.tasks.text_to_text import TextToText
from rootstock.verbs import api

MODELS = {TextGeneration: tiny_models.causal_model, TextToText: tiny_models.seq2seq_model}


def spread(count, seed):
    return torch.randn(count, 12, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)


def kept(logs, top):
    logs_CK, ids_CK = logs.topk(top, -1)
    return torch.stack([ids_CK.float(), logs_CK], -1)


def test_with_every_token_it_is_the_divergence_itself():
    p, q = spread(5, 1), spread(5, 2)
    wanted = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1)
    torch.testing.assert_close(_taught.apart(q, kept(p, 12)), wanted)


def test_with_some_tokens_it_is_that_of_the_rest_taken_as_one():
    p, q = spread(5, 1), spread(5, 2)
    ids = p.topk(3, -1).indices
    few = [torch.cat([each.exp().gather(1, ids), 1 - each.exp().gather(1, ids).sum(-1, keepdim=True)], -1) for each in (p, q)]
    wanted = (few[0] * (few[0].log() - few[1].log())).sum(-1)
    found = _taught.apart(q, kept(p, 3))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    assert (found <= _taught.apart(q, kept(p, 12)) + 1e-6).all()


@pytest.fixture(params=MODELS)
def given(request, tmp_path):
    """A task, its model, and rows beside what the model itself says of them, all tokens kept."""
    base = resolve(str(tiny_models.saved(MODELS[request.param](), make_tokenizer(), tmp_path / "base")))
    rows = table(request.param)
    task = request.param().fit(rows, rows)
    tokens = task.ready(bases.tokenizer(base))
    model = bases.load(base, task.head(), seed=0).model
    bases.fit(tokens, model)
    encoded = task.encode(rows, tokens, None)
    batch = task.collate(encoded, np.arange(12), tokens, Draw(0))
    told = reference.together(task.said(model, batch, top=32, temperature=2.0))
    return task, model, tokens, reference.beside(encoded, told), told


def batch_of(task, encoded, tokens, rows):
    return {**task.collate(encoded, rows, tokens, Draw(0)), TEACHER: torch.from_numpy(encoded.dense[TEACHER][rows])}


def test_from_itself_there_is_nothing_to_learn_and_labels_have_their_share(given):
    task, model, tokens, encoded, _ = given
    batch = batch_of(task, encoded, tokens, np.arange(12))
    plain = task.loss(model, batch)
    alone, half = (task.heard(model, batch, weight=weight, temperature=2.0) for weight in (1.0, 0.25))
    assert abs(alone.total.item()) < 1e-2 * plain.total.item()
    assert (alone.count, half.count) == (plain.count, plain.count)
    torch.testing.assert_close(half.total, 0.75 * plain.total + 0.25 * alone.total, rtol=1e-4, atol=1e-4)


def test_it_is_the_formula_on_whole_scores_and_adds_up_over_parts(given):
    task, model, tokens, encoded, _ = given
    told = encoded.dense[TEACHER].copy()
    told[..., 1] = np.log(1 / 32)  # a teacher that holds every token alike
    encoded = reference.beside(encoded, {TEACHER: told})
    whole, *parts = (batch_of(task, encoded, tokens, rows) for rows in (np.arange(12), np.arange(5), np.arange(5, 12)))
    found = task.heard(model, whole, weight=1.0, temperature=2.0).total
    inputs = {name: whole[name] for name in ("input_ids", "attention_mask")}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(whole["labels"])
    logits_MV = model(**inputs).logits[whole["labels"] != -100]
    even = torch.full((32,), 1 / 32).log().expand_as(logits_MV)
    wanted = 4 * torch.nn.functional.kl_div((logits_MV / 2).log_softmax(-1), even, log_target=True, reduction="sum")
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)
    summed = sum(task.heard(model, part, weight=1.0, temperature=2.0).total for part in parts)
    torch.testing.assert_close(summed, found, rtol=1e-4, atol=1e-3)
    found.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_rows_in_one_line_find_what_the_teacher_said_of_them(tmp_path):
    base = resolve(str(tiny_models.saved(tiny_models.causal_model(), make_tokenizer(), tmp_path / "base")))
    rows = table(TextGeneration)
    task = TextGeneration().fit(rows, rows)
    tokens = bases.tokenizer(base)
    model = bases.load(base, task.head(), seed=0).model
    bases.fit(tokens, model)
    encoded = task.encode(rows, tokens, None)
    told = np.log(np.random.default_rng(0).dirichlet(np.ones(32), (12, int(encoded.lengths.max())))).astype(np.float32)
    ids = np.broadcast_to(np.arange(32, dtype=np.float32), told.shape)
    encoded = reference.beside(encoded, {TEACHER: np.stack([ids, told], -1)})
    found = [
        each.heard(model, batch_of(each, encoded, tokens, np.arange(12)), weight=1.0, temperature=1.0).total
        for each in (task, task.model_copy(update={"packing": True}))
    ]
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-3)


def test_a_student_comes_near_its_teacher_and_one_of_other_tokens_is_refused(tmp_path):
    base = tiny_models.saved(tiny_models.causal_model(0.1), make_tokenizer(), tmp_path / "base")
    rows = [(f"{text} {i}", " good film") for i, (text, _) in enumerate(rows_of(60))]
    data = write_csv(tmp_path / "pairs.csv", rows, ("prompt", "completion"))
    task, training = {"name": "text-generation", "form": "plain"}, {"epochs": 6, "rate": 1e-2, "batch_tokens": 256, "precision": "fp32"}

    def learned(out, on=base, **more):
        values = {"base": str(on), "data": {"train": str(data)}, "task": task, "method": {"name": "full"}, "training": training} | more
        return api.carry_out(Recipe.build(values | {"accept": ["contradictions"]}, ""), tmp_path / out, Watch())

    teacher = learned("teacher")
    taught = {"run": str(teacher.path), "weight": 1.0, "top": 4}
    student = learned("student", teacher=taught)
    assert student.metrics["metrics"]["loss"] < 0.5 < teacher.metrics["baselines"]["unigram"]["loss"]
    assert student.folder.json("manifest.json")["teacher"]["name"] == "teacher"
    with pytest.raises(RecipeError, match="learns answers alone"):
        learned("hidden", teacher=taught | {"hidden": 1.0})
    words = ("good", "film", "a", "the", "bad")
    other = tiny_models.saved(tiny_models.causal_model(0.1), make_tokenizer(words), tmp_path / "other")
    with pytest.raises(ContractRefused, match="reads with the tokenizer") as refused:
        learned("other-words", on=other, teacher=taught)
    assert "rootstock predict" in refused.value.fix
