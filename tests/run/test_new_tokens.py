"""Runs whose base got new tokens: what learns, what is saved, who loads it, and what goes on."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tests import tiny_models
from tests.conftest import write_csv
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import rootstock
from rootstock.core.errors import ContractRefused, Interrupted, RecipeError
from rootstock.core.recipe import Recipe
from rootstock.core.watch import Watch
from rootstock.run.prepare import prepare
from rootstock.run.use import Run
from rootstock.sentinel.gate import NEW_ROWS
from rootstock.verbs import api, export

ADDED = ["goodbad", "coldwarm", "filmbad"]
FIRST = 19
WORDS = tiny_models.WORDS
TEXTS = [f"{ADDED[i % 2]} {WORDS[i % 12]} {WORDS[i * i % 11]} {WORDS[i // 4]}" for i in range(44)]
ROWS = [(text, "yes" if text.startswith("goodbad") else "no") for text in TEXTS]
TRAINING = {"epochs": 2, "rate": 1e-2, "batch_tokens": 48, "precision": "fp32"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_models.saved(tiny_models.masked_model(), tiny_models.pieces(), tmp_path_factory.mktemp("base"))


@pytest.fixture
def rows(tmp_path):
    return write_csv(tmp_path / "rows.csv", ROWS)


@pytest.fixture
def adapt(base, rows, tmp_path):
    def run(method, out="run", **more):
        accept = ["duplicates", "overlap"]
        settings = {"base": str(base), "method": method, "add_tokens": ADDED, "training": TRAINING, "accept": accept} | more
        return rootstock.adapt(rows, out=tmp_path / out, **settings)

    return run


def logits(model, tokens, texts):
    with torch.no_grad():
        return model.eval()(**tokens(texts, padding=True, return_tensors="pt")).logits


def tensors(folder):
    found = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as held:
            found |= {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
    return found


def table(model):
    return model.get_input_embeddings().weight.detach()


@pytest.mark.parametrize(
    "method", ["lora", *(pytest.param(each, marks=pytest.mark.slow) for each in ("bitfit", "ia3")), "adapter", "p-tuning", "full"]
)
def test_new_rows_learn_and_old_ones_stay(adapt, base, method):
    run = adapt(method)
    now, was = table(run.load()), table(AutoModelForSequenceClassification.from_pretrained(base))
    pieces = [tiny_models.pieces()(token, add_special_tokens=False)["input_ids"] for token in ADDED]
    began = torch.stack([was[ids].mean(0) for ids in pieces])
    moved = (now[FIRST : FIRST + 3] != began).any(1)
    assert moved.tolist() == [True, True, False]  # the third never occurs
    if method != "full":
        assert torch.equal(now[:FIRST], was[:FIRST])
        assert torch.equal(now[FIRST + 3 :], was[FIRST + 3 :])
    if run.contract["saves"] == "adapter":
        held = tensors(run.folder.model)
        assert not [name for name in held if name.endswith("embeddings.weight")]
        assert [each.shape for each in held.values() if each.shape == (3, 32) and torch.equal(each, now[FIRST : FIRST + 3])]
        assert (run.folder.model / NEW_ROWS).is_file() == (method != "lora")
    told = run.folder.json("ledger.json")["vocabulary"]
    assert (told["added"], told["never"], told["never_examples"]) == (3, 1, ["filmbad"])
    assert told["tokens"][0] - told["tokens"][1] == run.folder.json("manifest.json")["rows"]["train"]
    probabilities = Run(run.path).predictions(run.rows_of(TEXTS[:8])).table["confidence"]
    saved = [json.loads(line) for line in run.folder.history.read_text().splitlines()][-1]
    assert saved["event"] == "evaluation"
    plain = torch.softmax(logits(run.load(), run.tokenizer, TEXTS[:8]), -1).amax(-1)
    np.testing.assert_allclose(probabilities, plain, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft's own
def test_plain_peft_and_plain_transformers_answer_alike(adapt, base):
    from peft import PeftModel

    run = adapt("lora", merge=True)
    tokens = AutoTokenizer.from_pretrained(run.folder.model)
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    plain.resize_token_embeddings(max(len(tokens), len(table(plain))))
    found = logits(PeftModel.from_pretrained(plain, run.folder.model), tokens, TEXTS[:8])
    torch.testing.assert_close(found, logits(run.load(), run.tokenizer, TEXTS[:8]))
    merged = AutoModelForSequenceClassification.from_pretrained(run.path / "merged")
    torch.testing.assert_close(logits(merged, tokens, TEXTS[:8]), found, rtol=1e-4, atol=1e-5)
    out = run.path.parent / "out"
    export.export([run.path], "merged", out, export.Options(), lambda text: None)
    torch.testing.assert_close(
        logits(AutoModelForSequenceClassification.from_pretrained(out), tokens, TEXTS[:8]), found, rtol=1e-4, atol=1e-5
    )
    alone = shutil.copytree(run.folder.model, run.path.parent / "alone")
    assert Run(alone).predict(TEXTS[:8]) == run.predict(TEXTS[:8])
    contract = json.loads((alone / "contract.json").read_text())
    (alone / "contract.json").write_text(json.dumps(contract | {"added": ADDED[:2]}))
    with pytest.raises(ContractRefused, match="has the digest"):
        Run(alone).predict(TEXTS[:1])


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
@pytest.mark.parametrize("method", ["ia3", "prompt"])
def test_the_page_shows_how_rows_beside_an_adapter_load(adapt, base, method):
    from peft import PeftModel

    run = adapt(method)
    page = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text("utf-8")
    (code,) = re.findall(r"<!-- example: new-tokens -->\n```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    made = {}
    exec(compile(code, "adapters.md", "exec"), made)
    grown = made["with_new_tokens"](AutoModelForSequenceClassification.from_pretrained(base, num_labels=2), run.folder.model)
    tokens = AutoTokenizer.from_pretrained(run.folder.model)
    found = logits(PeftModel.from_pretrained(grown, run.folder.model), tokens, TEXTS[:8])
    torch.testing.assert_close(found, logits(run.load(), tokens, TEXTS[:8]), rtol=1e-4, atol=1e-5)
    card = (run.path / "README.md").read_text("utf-8")
    places = [card.index(part) for part in ("resize_token_embeddings", "model/new_tokens.safetensors", "PeftModel.from_pretrained(")]
    assert places == sorted(places)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_a_writing_base_learns_new_output_rows_too(rows, tmp_path):
    from peft import PeftModel

    base = tiny_models.saved(tiny_models.causal_model(), tiny_models.pieces(), tmp_path / "base")
    pairs = write_csv(tmp_path / "pairs.csv", [(f"the {i} film", " goodbad song") for i in range(40)], ("prompt", "completion"))
    task = {"name": "text-generation", "form": "plain"}
    accept = ["duplicates", "overlap"]
    settings = {"base": str(base), "method": {"name": "lora"}, "task": task, "add_tokens": ADDED, "training": TRAINING, "accept": accept}
    run = api.carry_out(Recipe.build({"data": {"train": str(pairs)}, **settings}, ""), tmp_path / "run", Watch())
    loaded = run.load()
    was, now = table(AutoModelForCausalLM.from_pretrained(base)), table(loaded)
    assert torch.equal(now[:FIRST], was[:FIRST])
    assert not torch.equal(now[FIRST], was[[8, 17]].mean(0))
    tokens = AutoTokenizer.from_pretrained(run.folder.model)
    plain = AutoModelForCausalLM.from_pretrained(base)
    given = {"input_ids": torch.tensor([[5, FIRST, 6]])}
    with torch.no_grad():
        peft = PeftModel.from_pretrained(plain, run.folder.model).eval()
        torch.testing.assert_close(peft(**given).logits, loaded.eval()(**given).logits, rtol=1e-4, atol=1e-5)
    assert len(tokens) == FIRST + 3


def test_a_resumed_run_ends_where_a_straight_one_does(adapt, tmp_path):
    whole = adapt("lora")
    recipe, asked = whole.recipe, iter([False, False, True])
    with pytest.raises(Interrupted):
        api.carry_out(recipe, tmp_path / "again", Watch(stop=lambda: next(asked, False)))
    again = api.carry_out(recipe, tmp_path / "again", Watch(), resume=True)
    first, second = (tensors(run.folder.model) for run in (whole, again))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"method": "feature-extraction"}, "feature-extraction leaves the base as it is"),
        ({"add_tokens": ["filmbad"]}, "none of the 1 tokens of add_tokens occurs"),
        ({"base": "scratch:bert-tiny", "method": "full"}, "random"),
    ],
)
def test_refused_before_anything_is_built(adapt, tmp_path, how, said):
    with pytest.raises(RecipeError, match=said):
        adapt(**{"method": "lora"} | how)
    assert not (tmp_path / "run").exists()


def test_letters_of_a_passage_are_no_tokens(base, tmp_path):
    """The number of a new token is also that of a letter in a long passage."""
    rows = [{"question": "a film", "context": "the film was not very good " * 4 + word, "answers": word} for word in ("cold", "warm")] * 10
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row | {"context": f"{'a ' * i}{row['context']}"}) + "\n" for i, row in enumerate(rows)))
    values = {"base": str(base), "data": {"train": str(file)}, "task": {"name": "question-answering"}, "add_tokens": ["zorp"]}
    with pytest.raises(RecipeError, match="none of the 1 tokens"):
        prepare(Recipe.build(values | {"accept": ["overlap", "duplicates"]}, ""), lambda text: None)


def test_an_objective_learns_them_and_the_next_run_has_them(base, rows, tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(f"{text} {i % 5}" for i, text in enumerate(TEXTS)), "utf-8")
    task, data = {"name": "masked-lm"}, {"train": str(corpus), "validation": 0.2}
    training = TRAINING | {"epochs": 1, "length": 16}
    settings = {"base": str(base), "task": task, "method": {"name": "lora"}, "add_tokens": ADDED, "training": training, "data": data}
    run = api.carry_out(Recipe.build(settings, ""), tmp_path / "run", Watch())
    now = table(AutoModelForSequenceClassification.from_pretrained(run.folder.model))
    was = table(AutoModelForSequenceClassification.from_pretrained(base))
    assert torch.equal(now[:FIRST], was[:FIRST])
    assert run.folder.json("ledger.json")["vocabulary"]["added"] == 3
    assert AutoTokenizer.from_pretrained(run.folder.model).tokenize("goodbad") == ["goodbad"]


def test_several_tasks_share_them_and_one_part_may_have_none(base, rows, tmp_path):
    other = write_csv(
        tmp_path / "other.csv", [(f"a {word} {kind} {place}", kind) for place, word in enumerate(WORDS) for kind in ("film", "book")]
    )
    run = rootstock.adapt(
        {"tickets": rows, "kinds": other}, out=tmp_path / "run", base=str(base), method="lora", add_tokens=ADDED, training=TRAINING,
        accept=["duplicates", "overlap", "contradictions"],
    )  # fmt: skip
    was = table(AutoModelForSequenceClassification.from_pretrained(base))
    for name in ("tickets", "kinds"):
        part = run.part(name)
        now = table(part.load())
        assert torch.equal(now[:FIRST], was[:FIRST])
        assert not torch.equal(now[FIRST], was[[8, 17]].mean(0))
        assert part.folder.json("ledger.json")["vocabulary"]["never"] == (1 if name == "tickets" else 3)
    assert run.part("tickets").predict(TEXTS[:4]) == Run(run.part("tickets").path).predict(TEXTS[:4])
