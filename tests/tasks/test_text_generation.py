"""Which tokens are asked, exactly; the loss against transformers' own; what is written in a batch against one prompt alone."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from tests import tiny_models
from tests.conftest import WORDS, make_tokenizer, rows_of, write_csv

import rootstock as rs
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import BaseError, DataError, RecipeError
from rootstock.core.rows import LABEL, ROW, TEXT
from rootstock.core.seed import Draw
from rootstock.methods.prefix import PrefixTuning
from rootstock.run.labelled import task_for
from rootstock.tasks import _dialogue, _generation
from rootstock.tasks.text_generation import MESSAGES, TextGeneration

CHAT = [
    {"role": "user", "content": "the film"},
    {"role": "assistant", "content": "was good"},
    {"role": "user", "content": "the book"},
    {"role": "assistant", "content": "is cold"},
]
TURNS = (
    "{% for m in messages %}{{ m['role'] == 'user' and '[MASK] ' or '' }}{{ m['content'] }}"
    "{{ m['role'] == 'user' and ' very ' or '[SEP] ' }}{% endfor %}"
)


def table(prompts=("the film", "a book is"), completions=(" was good", " cold"), **more):
    rows = {TEXT: list(prompts), LABEL: list(completions), ROW: list(range(1, len(prompts) + 1))}
    return pa.table(rows | {name: list(values) for name, values in more.items()})


def words(encoded, tokens, row, *, asked):
    """The words of a row that are asked, or all."""
    ids, marks = (encoded.tokens[name] for name in ("input_ids", "asked"))
    part = slice(ids.offsets[row], ids.offsets[row + 1])
    return tokens.convert_ids_to_tokens(ids.flat[part][marks.flat[part] > 0] if asked else ids.flat[part])


def test_a_completion_and_its_end_are_asked_and_nothing_else():
    tokens = make_tokenizer()
    encoded = TextGeneration(form="plain").encode(table(), tokens, None)
    assert words(encoded, tokens, 0, asked=False) == ["[CLS]", "the", "film", "was", "good", "[SEP]"]
    assert words(encoded, tokens, 0, asked=True) == ["was", "good", "[SEP]"]
    assert words(encoded, tokens, 1, asked=True) == ["cold", "[SEP]"]


@pytest.mark.parametrize(("which", "wanted"), [("all", ["was", "good", "[SEP]", "is", "cold", "[SEP]"]), ("last", ["is", "cold", "[SEP]"])])
def test_of_a_chat_the_answers_are_asked_as_its_template_writes_them(which, wanted):
    tokens = make_tokenizer()
    tokens.chat_template = TURNS
    rows = table(["x"], ["is cold"], messages=[_dialogue.kept(CHAT)])
    encoded = TextGeneration(form="chat", answers_asked=which).encode(rows, tokens, None)
    whole = "[MASK] the film very was good [SEP] [MASK] the book very is cold [SEP]"
    assert " ".join(words(encoded, tokens, 0, asked=False)) == whole
    assert words(encoded, tokens, 0, asked=True) == wanted


def test_a_tokenizer_without_a_template_gets_a_plain_one_that_ends_answers():
    tokens = TextGeneration(form="chat").ready(make_tokenizer())
    text = tokens.apply_chat_template(CHAT, tokenize=False)
    first = "[CLS]### user\nthe film\n\n### assistant\nwas good[SEP]\n\n"
    assert text.startswith(first)
    assert [part.text for part in _dialogue.parts(CHAT, tokens) if part.asked] == ["was good[SEP]\n\n", "is cold[SEP]\n\n"]
    assert _dialogue.opened(CHAT[:1], tokens) == "[CLS]### user\nthe film\n\n### assistant\n"
    own = make_tokenizer()
    own.chat_template = TURNS
    assert TextGeneration(form="chat").ready(own).chat_template == TURNS
    assert not TextGeneration(form="plain").ready(make_tokenizer()).chat_template


def test_where_earlier_answers_are_rewritten_only_the_last_is_asked():
    tokens = make_tokenizer()
    tokens.chat_template = "{% for m in messages %}{% if loop.last or m['role'] == 'user' %}{{ m['content'] }} {% endif %}{% endfor %}"
    assert [part.text for part in _dialogue.parts(CHAT, tokens) if part.asked] == ["is cold "]


def test_roles_that_a_template_refuses_are_named():
    tokens = make_tokenizer()
    tokens.chat_template = "{{ raise_exception('no system here') }}"
    with pytest.raises(DataError, match=r"refuses these messages \(user\): no system here"):
        _dialogue.opened(CHAT[:1], tokens)


@pytest.mark.parametrize(
    ("marks", "length", "begun", "wanted"),
    [
        ([0, 0, 0, 0, 1, 1], 4, True, [0, 3, 4, 5]),
        ([0, 0, 0, 0, 1, 1], 4, False, [2, 3, 4, 5]),
        ([0, 0, 1, 1, 1, 1], 3, True, [0, 1, 2]),
        ([0, 0, 0, 0, 0, 0], 3, True, [0, 4, 5]),
        ([0, 1], 4, True, [0, 1]),
    ],
)
def test_a_long_row_loses_the_beginning_of_its_prompt_then_its_end(marks, length, begun, wanted):
    assert _dialogue.cut(np.array(marks), length, begun=begun).tolist() == wanted


@pytest.fixture
def model_and_tokens(tmp_path):
    folder = tiny_models.saved(tiny_models.causal_model(), make_tokenizer(), tmp_path / "gpt")
    base = resolve(str(folder))
    tokens = bases.tokenizer(base)
    model = bases.load(base, TextGeneration().head(), seed=0).model
    bases.fit(tokens, model)
    return model, tokens


def test_the_loss_is_transformers_own_on_what_is_asked(model_and_tokens):
    model, tokens = model_and_tokens
    task = TextGeneration(form="plain")
    encoded = task.encode(table(), tokens, None)
    batch = task.collate(encoded, np.arange(2), tokens, Draw(0))
    labels = torch.where(torch.from_numpy(encoded.tokens["asked"].padded(np.arange(2), 0)) > 0, batch["input_ids"], -100)
    own = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
    loss = task.loss(model, batch)
    assert loss.count == 5
    assert loss.total.item() / 5 == pytest.approx(own.item(), rel=1e-5)
    found = task.metrics(task.judged(task.decode(model, batch)))
    assert found["loss"] == pytest.approx(own.item(), rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(own.item()), rel=1e-4)
    assert sum(each.sum() for each in task.compared(model, batch)) == pytest.approx(loss.total.item(), rel=1e-5)


MANY = (["the", "a", "the film was good a", "", "a book"], [" film", " book", " cold", " cold", " was cold"])


def test_packed_rows_lie_in_lines_with_positions_and_labels_of_their_own():
    tokens = make_tokenizer()
    task = TextGeneration(form="plain", packing=True)
    encoded = task.encode(table(["the", "a book is very", "a"], [" film", " cold", " film"]), tokens, None)
    batch = task.collate(encoded, np.arange(3), tokens, Draw(0))
    # [CLS] the film [SEP] | [CLS] a book is very cold [SEP] | [CLS] a film [SEP]: seven tokens are a line
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 0, 0], [0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 0, 0, 0]]
    assert batch["row_of"].tolist() == [[0] * 4 + [-1] * 3, [1] * 7, [2] * 4 + [-1] * 3]
    both = task.collate(encoded, np.array([0, 2]), tokens, Draw(0))
    film, end = tokens.convert_tokens_to_ids(["film", "[SEP]"])
    assert both["labels"].tolist() == [[-100, film, end, -100], [-100, film, end, -100]], "the next row's beginning is no row's label"
    short = task.encode(table(["", "a book is very"], ["", " cold"]), tokens, None)
    again = task.collate(short, np.array([0, 0, 1]), tokens, Draw(0))
    assert again["position_ids"].tolist() == [[0, 1, 0, 1, 0, 0, 0], [0, 1, 2, 3, 4, 5, 6]]
    assert again["row_of"].tolist() == [[0, 0, 1, 1, -1, -1, -1], [2] * 7]
    assert again["labels"][0].tolist() == [end, -100, end, -100, -100, -100, -100]


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_row_in_a_line_learns_what_it_learns_alone(family):
    tokens = make_tokenizer()
    model = tiny_models.causal_model() if family == "gpt2" else llama()
    found = {}
    for packing in (False, True):
        task = TextGeneration(form="plain", packing=packing)
        encoded = task.encode(table(*MANY), tokens, None)
        batch = task.collate(encoded, np.arange(5)[::-1], tokens, Draw(0))
        assert (len(batch["input_ids"]) < 5) == packing
        model.zero_grad()
        loss = task.loss(model, batch)
        loss.total.backward()
        gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        found[packing] = loss.total.item(), loss.count, task.decode(model, batch), task.compared(model, batch), gradients
    (total, count, alone, tokens_alone, gradients), (packed_total, packed_count, packed, tokens_packed, packed_gradients) = found.values()
    assert packed_total == pytest.approx(total, rel=1e-6)
    assert packed_count == count
    assert all(np.allclose(packed[name], alone[name], atol=1e-5) for name in ("loss", "count", "hits"))
    assert all(np.allclose(*both, atol=1e-5) for both in zip(tokens_packed, tokens_alone, strict=True))
    assert torch.allclose(packed_gradients, gradients, atol=1e-4)


def llama():
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=32, initializer_range=0.4, **shape)).eval()


def test_a_model_that_can_not_part_rows_of_a_line_is_refused(monkeypatch):
    task = TextGeneration(packing=True)
    task.check(llama())
    torch.manual_seed(0)
    shape = {"vocab_size": 32, "hidden_size": 32, "n_layer": 1, "n_head": 2}
    with pytest.raises(BaseError, match="takes no positions"):
        task.check(transformers.BloomForCausalLM(transformers.BloomConfig(**shape)))
    monkeypatch.setattr(transformers.masking_utils, "find_packed_sequence_indices", lambda _: None)
    with pytest.raises(BaseError, match="lets rows in one line see one another"):
        task.check(llama())


def test_prompts_of_a_batch_go_on_as_each_does_alone(model_and_tokens):
    model, tokens = model_and_tokens
    task = TextGeneration(form="plain", max_tokens=5)
    encoded = task.encode(table(["the film was very", "a"], ["x", "x"]).drop_columns([LABEL]), tokens, None)
    assert encoded.lengths.tolist() == [5 + 32, 2 + 32]
    found = task.decode(model, task.collate(encoded, np.arange(2), tokens, Draw(0)))
    for row, text in enumerate(["the film was very", "a"]):
        ids = torch.tensor([[2, *tokens(text, add_special_tokens=False)["input_ids"]]])
        plain = model.generate(input_ids=ids, max_new_tokens=5, do_sample=False, eos_token_id=3, pad_token_id=0)[0, ids.shape[1] :].tolist()
        assert found["written"][row].tolist() == (plain[: plain.index(3)] if 3 in plain else plain)


def test_a_long_prompt_leaves_the_others_of_its_batch_their_room(model_and_tokens):
    model, _ = model_and_tokens
    model.generation_config.eos_token_id = None
    long = torch.full((60,), 8)
    short = torch.cat([torch.zeros(57, dtype=torch.long), torch.tensor([6, 7, 9])])
    batch = {"input_ids": torch.stack([long, short]), "attention_mask": torch.stack([torch.ones_like(long), (short > 0).long()])}
    both = _generation.written(model, batch | {"ends": torch.tensor([31])}, beams=1, most=12)
    for row, count in enumerate((4, 12)):
        ids = batch["input_ids"][row][batch["attention_mask"][row] > 0][None]
        alone = model.generate(input_ids=ids, max_new_tokens=count, do_sample=False, eos_token_id=31, pad_token_id=0)[0, ids.shape[1] :]
        assert both[row].tolist() == alone[alone != 31].tolist()
        assert len(both[row]) == count


def test_vectors_before_a_row_take_positions_of_what_is_written(model_and_tokens, tmp_path):
    loaded = bases.load(resolve(str(tmp_path / "gpt")), TextGeneration().head(), seed=0)
    model = PrefixTuning(tokens=20).apply(loaded).eval()
    model.base_model.generation_config.eos_token_id = None
    batch = {"input_ids": torch.full((1, 38), 8), "attention_mask": torch.ones(1, 38, dtype=torch.long), "ends": torch.tensor([31])}
    assert len(_generation.written(model, batch, beams=1, most=12)[0]) == 64 - 20 - 38


def test_guessing_by_frequency_is_a_closed_form():
    tokens = make_tokenizer()
    task = TextGeneration(form="plain")
    train, held = task.encode(table(), tokens, None), task.encode(table(["a"], [" cold"]), tokens, None)
    found = _generation.unigram(train, held)
    # was, good, cold, [SEP] twice are asked in training; each known token once more: 5 + 4
    assert found["loss"].tolist() == [pytest.approx(-math.log(2 / 9) - math.log(3 / 9))]
    assert found["count"].tolist() == [2]
    assert found["hits"].tolist() == [1]


def test_files_of_every_usual_form_are_told_by_their_columns():
    alpaca = TextGeneration.arranged(pa.table({"instruction": ["do", "go"], "input": ["it", ""], "output": ["done", ""]}))
    assert alpaca.column("prompt").to_pylist() == ["do\n\nit", "go"]
    assert alpaca.column("completion").to_pylist() == ["done", None]
    chats = TextGeneration.arranged(pa.table({"messages": [CHAT], "system": ["be kind"]}))
    assert chats.column("completion").to_pylist() == ["is cold"]
    assert json.loads(chats.column(MESSAGES)[0].as_py())[0] == {"role": "system", "content": "be kind"}
    shared = TextGeneration.arranged(pa.table({"conversations": [[{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]]}))
    assert (shared.column("prompt")[0].as_py(), shared.column("completion")[0].as_py()) == ("a", "b")
    assert TextGeneration.arranged(pa.table({"prompt": ["a"], "completion": ["b"]})) is not None
    talked = TextGeneration.arranged(pa.table({"prompt": [CHAT[:1]], "completion": [CHAT[1:2]]}))
    assert talked.column("completion").to_pylist() == ["was good"]
    assert TextGeneration.arranged(pa.table({"text": ["a"], "label": ["b"]})) is None


def test_a_chat_of_which_a_message_is_no_text_is_counted_and_not_shortened():
    call = [CHAT[0], {"role": "assistant", "content": None, "tool_calls": "f(2)"}, {"role": "tool", "content": "4"}, CHAT[1]]
    parts = [{"role": "user", "content": [{"type": "text", "text": "the "}, {"type": "text", "text": "film"}]}, CHAT[1]]
    chats = [json.dumps(each) for each in (call, CHAT[:2], parts)]
    found = TextGeneration.arranged(pa.table({"messages": chats}))
    assert found.column("completion").to_pylist() == [None, "was good", "was good"]
    assert found.column("prompt").to_pylist()[1:] == ["the film", "the film"]
    halves = pa.table({"prompt": [[{"role": "user", "content": None}], CHAT[:1]], "completion": [CHAT[1:2]] * 2})
    assert TextGeneration.arranged(halves).column("completion").to_pylist() == [None, "was good"]


def test_columns_tell_a_task_unless_there_is_a_label_too():
    told = {"prompt": ["a"], "completion": ["b"]}
    assert task_for(pa.table(told))[0] == "text-generation"
    assert task_for(pa.table({"messages": [CHAT]}))[1].column("completion").to_pylist() == ["is cold"]
    assert task_for(pa.table({"chosen": ["a b"], "rejected": ["a c"]}))[0] == "preference"
    assert task_for(pa.table({"en": ["a"], "de": ["b"]}))[0] == "text-to-text"
    assert task_for(pa.table({**told, "label": [True]}))[0] == "auto"
    assert task_for(pa.table({"text": ["a"], "stars": [1]}))[0] == "auto"


@pytest.fixture
def prompts(tmp_path):
    """Prompts of a telling word and another; what it tells is to be written."""
    rows = []
    for text, label in rows_of(60):
        told = next(word for word in text.split() if word in WORDS[:10])
        rows.append((f"{text} {told}", f" {'good' if label == 'positive' else 'bad'} film"))
    return write_csv(tmp_path / "prompts.csv", rows, ("prompt", "completion"))


@pytest.mark.parametrize("method", ["full", pytest.param("lora", marks=pytest.mark.slow)])
def test_from_prompts_to_what_follows_them(prompts, tmp_path, method):
    base = tiny_models.saved(tiny_models.causal_model(strength=0.1), make_tokenizer(), tmp_path / "gpt")
    settings = {"epochs": 8, "rate": 1e-2, "batch_tokens": 128}
    run = rs.adapt(prompts, base=str(base), method=method, out=tmp_path / "run", training=settings, merge=method == "lora")
    assert run.recipe.task["name"] == "text-generation"
    assert set(run.metrics["intervals"]) == {"loss", "perplexity", "token_accuracy"}
    assert set(run.metrics["beats"]) == {"unigram"}
    if method == "full":
        assert run.metrics["metrics"]["loss"] < 0.6 < run.metrics["baselines"]["unigram"]["loss"]
        assert run.predict("the good") == ["good film"]
        tokens = transformers.AutoTokenizer.from_pretrained(run.path / "model")
        plain = transformers.AutoModelForCausalLM.from_pretrained(run.path / "model")
        inputs = tokens(tokens.cls_token + "the good", add_special_tokens=False, return_tensors="pt", return_token_type_ids=False)
        made = plain.generate(**inputs, max_new_tokens=8, do_sample=False)
        assert tokens.decode(made[0], skip_special_tokens=True) == "the good good film"
    found = run.evaluate(str(prompts))
    assert found["metrics"]["loss"] == pytest.approx(run.metrics["metrics"]["loss"], abs=0.3)
    assert "pipeline_tag: text-generation" in (run.path / "README.md").read_text()


def test_a_packed_run_measures_as_one_without_and_what_does_not_fit_is_refused(prompts, tmp_path):
    base = tiny_models.saved(tiny_models.causal_model(strength=0.1), make_tokenizer(), tmp_path / "gpt")
    settings = {"base": str(base), "task": TextGeneration(packing=True), "out": tmp_path / "other"}
    training = {"epochs": 1, "rate": 1e-2, "batch_tokens": 256, "micro_tokens": 32, "length": 16}
    run = rs.adapt(prompts, method="full", training=training, **{**settings, "out": tmp_path / "run"})
    packed = rs.Run(run.path).evaluate(str(prompts))["metrics"]["loss"]
    vars(run)["task"] = run.task.model_copy(update={"packing": False})
    assert packed == pytest.approx(run.evaluate(str(prompts))["metrics"]["loss"], rel=1e-4)
    with pytest.raises(RecipeError, match="20 positions before each row"):
        rs.adapt(prompts, method="prefix", **settings)
    with pytest.raises(RecipeError, match=r"training\.adversary is set, and task\.packing"):
        rs.adapt(prompts, method="full", training={**training, "adversary": 0.1}, **settings)


def test_a_chat_model_keeps_its_template(tmp_path):
    base = tiny_models.saved(tiny_models.causal_model(strength=0.1), make_tokenizer(), tmp_path / "gpt")
    lines = [{"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": label}]} for text, label in rows_of(12)]
    (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, lines)))
    settings = {"epochs": 1, "batch_tokens": 256}
    run = rs.adapt(tmp_path / "chats.jsonl", base=str(base), method="full", out=tmp_path / "run", training=settings, validation=0.25)
    assert run.recipe.task["form"] == "chat"
    assert run.tokenizer.chat_template == _dialogue.PLAIN
    assert len(run.predict("good film")) == 1
    assert "apply_chat_template" in (run.path / "README.md").read_text()
