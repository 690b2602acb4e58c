"""What a run without labels shows of itself, against plain transformers on the very model that it saved."""

import json

import pyarrow.parquet as parquet
import pytest
import torch
import transformers
from tests.conftest import make_base, rows_of

from rootstock.core.recipe import Recipe
from rootstock.core.watch import Watch
from rootstock.run import execute, held_out
from rootstock.verbs import api

TRAINING = {"steps": 6, "rate": 3e-3, "batch_tokens": 128, "length": 24, "precision": "fp32"}


@pytest.fixture
def corpora(tmp_path):
    """Two folders of texts without a letter that the tiny tokenizer lacks."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for seed, folder in enumerate(folders):
        folder.mkdir()
        for number in range(12 * (seed + 1)):
            (folder / f"{number}.txt").write_text(" ".join(text for text, _ in rows_of(12, seed=100 * seed + number)))
    return folders


@pytest.fixture
def told(corpora, monkeypatch, tmp_path):
    """Carries a pre-training out; gives its folder, and what its pages were told. Its examples are made twice, and must agree."""

    def run(task, base, **more):
        facts = {}
        make, render = held_out.examples.examples, held_out.page.render

        def twice(prepared, built):
            before = torch.random.get_rng_state()
            built.learner.train()
            found = make(prepared, built)
            assert built.learner.training
            assert found == make(prepared, built)
            assert torch.equal(before, torch.random.get_rng_state())
            return found

        monkeypatch.setattr(held_out.examples, "examples", twice)
        monkeypatch.setattr(held_out.page, "render", lambda given: facts.update(given) or render(given))
        values = {"base": str(base), "task": {"name": task}, "method": {"name": "full"}, "training": TRAINING}
        values["data"] = {"train": [str(each) for each in corpora], "validation": 0.2, **more}
        return api.carry_out(Recipe.build(values, ""), tmp_path / "run", Watch()).path, facts

    return run


def test_a_hidden_word_is_judged_as_the_saved_model_judges_it(told, tiny_base, corpora):
    path, facts = told("masked-lm", tiny_base, mix="equal")
    model = transformers.AutoModelForMaskedLM.from_pretrained(path / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path / "model")
    texts = [each.read_text() for folder in corpora for each in folder.iterdir()]
    assert len(facts["examples"]) == 8
    for each in facts["examples"]:
        assert any(" ".join(filter(None, (each["before"], each["answer"], each["after"]))) in text for text in texts)
        inputs = tokenizer(f"{each['before']} [MASK] {each['after']}", return_tensors="pt")
        with torch.no_grad():
            shares = model(**inputs).logits[inputs.input_ids == tokenizer.mask_token_id].softmax(-1)[0]
        order = shares.argsort(descending=True).tolist()
        answer = tokenizer.convert_tokens_to_ids(each["answer"])
        assert each["share"] == pytest.approx(float(shares[answer]), rel=1e-4)
        assert each["rank"] == order.index(answer) + 1
        assert [share for _, share in each["said"]] == pytest.approx(shares[order[:5]].tolist(), rel=1e-4)
        assert each["said"][0][0] == tokenizer.convert_ids_to_tokens(order[0])


def test_each_corpus_is_told_apart(told, tiny_base):
    path, facts = told("masked-lm", tiny_base, mix=[3, 1])
    metrics = json.loads((path / "metrics.json").read_text())
    first, second = facts["corpora"]
    assert (first["share"], second["share"]) == (0.75, 0.25)
    assert first["tokens"] + second["tokens"] == facts["ledger"]["lengths"]["tokens"]
    assert first["held_rows"] + second["held_rows"] == metrics["rows"]
    counts = parquet.read_table(path / "predictions.parquet").column("count").to_pylist()
    assert sum(facts["spread"]["counts"]) == sum(count > 0 for count in counts)
    assert min(first["loss"], second["loss"]) < metrics["metrics"]["loss"] < max(first["loss"], second["loss"])
    assert first["interval"][0] < first["loss"] < first["interval"][1]
    kept = transformers.AutoModelForMaskedLM.from_pretrained(path / "model")
    assert facts["model"]["parameters"] == sum(each.numel() for each in kept.parameters())


def test_a_beginning_is_continued_beside_the_text(told, tmp_path, corpora):
    _, facts = told("causal-lm", make_base(tmp_path / "llama", "llama", num_key_value_heads=2))
    texts = [each.read_text() for folder in corpora for each in folder.iterdir()]
    assert facts["model"]["first"] == "[CLS]"
    assert len(facts["examples"]) == 4
    for each in facts["examples"]:
        assert any(f"{each['beginning']} {each['answer']}" in text for text in texts)
        assert each["said"]
        assert "[" not in each["beginning"] + each["answer"]


def test_the_plan_holds_what_was_learned_from(told, tiny_base):
    path, _ = told("masked-lm", tiny_base)
    steps = [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]
    measured = json.loads((path / "plan.json").read_text())["measured"]
    assert measured["tokens"] == sum(each["tokens"] for each in steps if each["event"] == "step") > 6 * 64
    again = execute._rates([{"event": "step", "rows": 2, "tokens": 30}, {"event": "evaluation"}], 2.0)
    assert again == {"tokens": 30, "rows_per_second": 1.0, "tokens_per_second": 15.0}
