"""The loss and its gradient against the paper's formula on whole logits, the base asked once, and files of every form."""

import json
import math
import time

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from tests import tiny_models, tiny_rows
from tests.conftest import make_tokenizer, rows_of

import rootstock as rs
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import DataError, UsageError
from rootstock.core.recipe import Recipe
from rootstock.core.rows import LABEL, ROW, TEXT
from rootstock.core.seed import Draw
from rootstock.core.watch import Watch
from rootstock.data import batches
from rootstock.run import reference
from rootstock.run.prepared import Place
from rootstock.tasks import _dialogue
from rootstock.tasks.preference import Preference
from rootstock.verbs import api


def table(prompts=("the film", "a book is"), good=(" was good", " cold"), bad=(" bad", " was very dull"), **more):
    rows = {TEXT: list(prompts), LABEL: list(good), "rejected": list(bad), ROW: list(range(1, len(prompts) + 1))}
    return pa.table(rows | {name: list(values) for name, values in more.items()})


@pytest.fixture
def model_and_tokens(tmp_path):
    folder = tiny_models.saved(tiny_models.causal_model(), make_tokenizer(), tmp_path / "gpt")
    base = resolve(str(folder))
    tokens = bases.tokenizer(base)
    model = bases.load(base, Preference().head(), seed=0).model
    bases.fit(tokens, model)
    return model, tokens


def test_both_answers_of_a_row_count_against_the_budget():
    """In a batch both pass, padded to the longer one: what the budget counts is what the model reads."""
    task = Preference().fit(table(), table())
    encoded = task.encode(table(), make_tokenizer(), None)
    rows = np.arange(2)
    feed = batches.Feed(encoded, task, make_tokenizer(), 10_000, 10_000, 0)
    assert task.collate(encoded, rows, make_tokenizer(), Draw(0))["input_ids"].numel() == feed.padded(rows)
    sides = (encoded.tokens[name].lengths.tolist() for name in ("input_ids", "pair_ids"))
    assert task.spans(encoded).tolist() == list(map(max, zip(*sides, strict=True)))
    assert feed.longest().tolist() == [1, 0]


def likelihood(model, tokens, prompt, answer):
    """Sum of the log-probabilities of an answer's tokens and its end, from whole logits."""
    before = [2, *tokens(prompt, add_special_tokens=False)["input_ids"]]
    after = [*tokens(answer, add_special_tokens=False)["input_ids"], 3]
    logs_TV = model(input_ids=torch.tensor([before + after])).logits[0].log_softmax(-1)
    return sum(logs_TV[len(before) - 1 + place, token] for place, token in enumerate(after))


def by_hand(model, tokens, told, task):
    losses = []
    rows = zip(*(table().column(name).to_pylist() for name in (TEXT, LABEL, "rejected")), strict=True)
    for (prompt, good, bad), (good_before, bad_before) in zip(rows, told, strict=True):
        gained = likelihood(model, tokens, prompt, good) - good_before
        margin = task.beta * (gained - (likelihood(model, tokens, prompt, bad) - bad_before))
        losses.append(-(1 - task.smoothing) * F.logsigmoid(margin) - task.smoothing * F.logsigmoid(-margin))
    return sum(losses)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_gradient_are_the_papers(model_and_tokens, smoothing):
    model, tokens = model_and_tokens
    task = Preference(form="plain", beta=0.3, smoothing=smoothing)
    encoded = tiny_rows.known(task, model, task.encode(table(), tokens, None), tokens)
    batch = task.collate(encoded, np.arange(2), tokens, Draw(0))
    with torch.no_grad():
        told = list(zip(*(batch[f"reference_{side}"].tolist() for side in ("chosen", "rejected")), strict=True))
        assert told[0][0] == pytest.approx(likelihood(model, tokens, "the film", " was good").item(), rel=1e-4)
    assert task.loss(model, batch).total.item() == pytest.approx(2 * math.log(2), rel=1e-5)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    loss = task.loss(model, batch)
    assert loss.count == 2
    grads = torch.autograd.grad(loss.total, list(model.parameters()))
    wanted = by_hand(model, tokens, told, task)
    assert loss.total.item() == pytest.approx(wanted.item(), rel=1e-4)
    for found, own in zip(grads, torch.autograd.grad(wanted, list(model.parameters())), strict=True):
        torch.testing.assert_close(found, own, rtol=1e-3, atol=1e-5)


def test_figures_of_margins():
    task = Preference()
    found = task.metrics(task.judged({"margin": np.array([1.0, -0.5, 0.0, 2.0]), "loss": np.array([0.1, 0.2, 0.3, 0.4])}))
    assert found == {"accuracy": 0.5, "margin": 0.625, "loss": 0.25}


def test_the_base_is_asked_once_for_the_same_rows(model_and_tokens):
    model, tokens = model_and_tokens
    task = Preference(form="plain")
    encoded, met = task.encode(table(), tokens, None), []

    def load():
        met.append(1)
        return model

    def known(part, digest="d"):
        place = Place(device=torch.device("cpu"), dtype=torch.float32)
        feed = lambda rows: batches.Feed(rows, task, tokens, 64, 64, 0)  # noqa: E731
        return reference.beside(part, reference.known(reference.untouched(task, load, digest, place), part, feed))

    first, second = known(encoded), known(encoded)
    assert len(met) == 1
    for name in ("reference_chosen", "reference_rejected"):
        np.testing.assert_array_equal(first.dense[name], second.dense[name])
    known(encoded, digest="another base")
    known(task.encode(table(good=(" good", " cold")), tokens, None))
    assert len(met) == 3


def test_a_transcript_is_parted_at_its_last_shared_turn():
    start = "\n\nHuman: hi\n\nAssistant: yes\n\nHuman: why\n\nAssistant:"
    made = Preference.arranged(pa.table({"chosen": [f"{start} It is so."], "rejected": [f"{start} It was not."]}))
    assert [made.column(name)[0].as_py() for name in ("prompt", "chosen", "rejected")] == [start, " It is so.", " It was not."]
    made = Preference.arranged(pa.table({"chosen": ["the film was good"], "rejected": ["the film was gone"]}))
    assert [made.column(name)[0].as_py() for name in ("prompt", "chosen", "rejected")] == ["the film was", " good", " gone"]


def test_chats_are_parted_where_their_messages_differ():
    asked = [{"role": "user", "content": "hi"}]
    good, bad = ({"role": "assistant", "content": each} for each in ("yes", "no"))
    whole = Preference.arranged(pa.table({"chosen": [[*asked, good]], "rejected": [[*asked, bad]]}))
    apart = Preference.arranged(pa.table({"prompt": [asked], "chosen": [[good]], "rejected": [[bad]]}))
    other = {
        "conversations": [[{"from": "human", "value": "hi"}]],
        "chosen": [{"from": "gpt", "value": "yes"}],
        "rejected": [{"from": "gpt", "value": "no"}],
    }
    for made in (whole, apart, Preference.arranged(pa.table(other))):
        assert [made.column(name)[0].as_py() for name in ("prompt", "chosen", "rejected")] == ["hi", "yes", "no"]
        assert json.loads(made.column("messages")[0].as_py()) == asked
    assert Preference.arranged(pa.table({"text": ["a"], "label": ["b"]})) is None


def test_a_pair_behind_a_chat_that_can_not_be_read_has_no_answer():
    asked = [[{"role": "user", "content": None}], [{"role": "user", "content": "why?"}]]
    said = [[{"role": "assistant", "content": "so"}]] * 2
    other = [[{"role": "assistant", "content": "no"}]] * 2
    found = Preference.arranged(pa.table({"prompt": asked, "chosen": said, "rejected": other}))
    assert found.column("chosen").to_pylist() == [None, "so"]


def test_rows_without_two_different_answers_are_refused():
    with pytest.raises(DataError, match="row 2 has the same answer"):
        Preference().fit(table(bad=("x", " cold")), table())
    with pytest.raises(DataError, match="row 1 has no rejected answer"):
        Preference().fit(table(bad=(None, "x")), table())
    with pytest.raises(DataError, match="no column of rejected"):
        Preference().fit(table().drop_columns(["rejected"]), table())


def test_a_chat_asks_for_its_last_answer_only():
    tokens = Preference(form="chat").ready(make_tokenizer())
    chat = [{"role": "user", "content": "the"}, {"role": "assistant", "content": "film"}, {"role": "user", "content": "a"}]
    rows = table(["x"], ["good"], ["bad"], messages=[_dialogue.kept(chat)])
    encoded = Preference(form="chat").encode(rows, tokens, None)
    asked = encoded.tokens["pair_ids"].flat[encoded.tokens["pair_asked"].flat > 0]
    assert tokens.convert_ids_to_tokens(asked) == ["bad", "[SEP]"]


@pytest.fixture
def pairs(tmp_path):
    """The better answer is good, the worse one bad or awful: now shorter, now longer."""
    worse = [" bad", " awful"]
    rows = [{"prompt": text, "chosen": " good", "rejected": worse[i % 3 % 2]} for i, (text, _) in enumerate(rows_of(40))]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize("method", ["full", pytest.param("lora", marks=pytest.mark.slow)])
def test_from_pairs_to_a_preference(pairs, tmp_path, method):
    base = tiny_models.saved(tiny_models.causal_model(strength=0.1), make_tokenizer(), tmp_path / "gpt")
    settings = {"epochs": 4, "rate": 3e-3, "batch_tokens": 256}
    run = rs.adapt(pairs, base=str(base), method=method, out=tmp_path / "run", training=settings, merge=method == "lora")
    assert run.recipe.task["name"] == "preference"
    assert run.recipe.task["rejected"] == "rejected"
    assert run.metrics["metrics"]["accuracy"] == 1
    assert run.metrics["metrics"]["loss"] < math.log(2)
    assert run.metrics["baselines"]["length"]["accuracy"] < 1
    found = run.evaluate(str(pairs))
    assert found["metrics"]["accuracy"] == 1
    one_sided = tmp_path / "one_sided.jsonl"
    one_sided.write_text("".join(json.dumps({"prompt": "the film", "chosen": f" was {word}"}) + "\n" for word in ("good", "bad")))
    with pytest.raises(DataError, match="no column of rejected answers"):
        run.evaluate(str(one_sided))
    assert found["metrics"]["margin"] == pytest.approx(run.metrics["metrics"]["margin"], rel=0.3)
    assert isinstance(run.predict("the film")[0], str)


def test_a_rehearsal_and_a_budget_count_the_pass_of_the_base(tmp_path, monkeypatch):
    rows = [{"prompt": f"the film {word}", "chosen": " was good", "rejected": " was bad"} for word in ("is", "was", "not", "very", "a") * 6]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row | {"prompt": f"{row['prompt']} {'the ' * (i % 7)}"}) + "\n" for i, row in enumerate(rows)))
    base = tiny_models.saved(tiny_models.causal_model(), make_tokenizer(), tmp_path / "gpt")
    values = {"base": str(base), "data": {"train": str(file), "validation": 0.2}, "task": {"name": "preference", "form": "plain"}}
    values |= {"method": {"name": "full"}, "training": {"epochs": 1}}
    said = []
    monkeypatch.setattr(reference, "tried", lambda feed, passed: 100.0)
    found = api.rehearse(Recipe.build(values, ""), Watch(say=said.append))
    assert found["seconds"] > 200, "both sides"
    assert any(line.startswith("reference") and "will take about 200 s" in line for line in said)
    with pytest.raises(UsageError, match="takes about 200 s for"):
        api.carry_out(Recipe.build(values | {"budget": {"minutes": 1}}, ""), tmp_path / "run", Watch())
    api.carry_out(Recipe.build(values, ""), tmp_path / "run", Watch())
    said.clear()
    assert api.rehearse(Recipe.build(values, ""), Watch(say=said.append))["seconds"] < 200
    assert any(line.startswith("reference") and "from the cache" in line for line in said)
    late = Watch(started=time.monotonic() - 90)  # loading took more than all, and nothing is left to pass
    assert api.carry_out(Recipe.build(values | {"budget": {"minutes": 1}}, ""), tmp_path / "late", late).metrics["steps"] >= 1
