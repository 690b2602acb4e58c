"""Figures against sacrebleu's and rouge-score's own, the loss against transformers', what is written against plain generate."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF
from tests import tiny_models
from tests.conftest import WORDS, make_tokenizer, rows_of, write_csv

import rootstock as rs
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import RecipeError
from rootstock.core.recipe import Recipe
from rootstock.core.rows import LABEL, ROW, TEXT, boxed
from rootstock.core.seed import Draw
from rootstock.run.labelled import read_rows
from rootstock.tasks.text_to_text import TextToText

SAID = ["the cat sat on mat here", "a dog", "", "It was a cold day ."]
WANTED = ["the cat sat on the mat", "a big dog runs", "no", "It was a cold day ."]


def table(sources=("the film was good", "a book", "not very bad"), targets=("good film", "a song", "fine")):
    return pa.table({TEXT: list(sources), LABEL: list(targets), ROW: list(range(1, len(sources) + 1))})


def measured(figures):
    task = TextToText(figures=figures)
    return task, task.metrics(task.judged({"scores": boxed(SAID), "answers": boxed(WANTED)}))


def test_bleu_and_chrf_are_sacrebleus():
    task, found = measured("translation")
    assert found["bleu"] == pytest.approx(BLEU().corpus_score(SAID, [WANTED]).score)
    assert found["chrf"] == pytest.approx(CHRF().corpus_score(SAID, [WANTED]).score)
    assert found["exact_match"] == 0.25
    assert "tok:13a" in task.signatures["bleu"]
    assert "nc:6" in task.signatures["chrf"]


def test_a_part_of_the_rows_has_the_figures_of_that_part():
    task = TextToText(figures="translation")
    judged = task.judged({"scores": boxed(SAID), "answers": boxed(WANTED)})
    part = {name: values[[0, 1]] for name, values in judged.items()}
    assert task.metrics(part, ("bleu",)) == {"bleu": pytest.approx(BLEU().corpus_score(SAID[:2], [WANTED[:2]]).score)}


def test_rouge_is_the_mean_of_rouge_scores():
    _, found = measured("summarisation")
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    for name in ("rouge1", "rouge2", "rougeL"):
        wanted = np.mean([scorer.score(b, a)[name].fmeasure for a, b in zip(SAID, WANTED, strict=True)])
        assert found[name] == pytest.approx(wanted)


def test_short_targets_are_summaries():
    assert TextToText().fit(table(), table()).figures == "translation"
    short = table(["the film was good and the book was not"], ["good film"])
    assert TextToText().fit(short, short).figures == "summarisation"
    assert TextToText(figures="match").fit(short, short).figures == "match"


@pytest.fixture(params=["seq2seq_model", "bart_model"], ids=["t5", "bart"])
def model_and_tokens(tmp_path, request):
    folder = tiny_models.saved(getattr(tiny_models, request.param)(), make_tokenizer(), tmp_path / "base")
    base = resolve(str(folder))
    tokens = bases.tokenizer(base)
    model = bases.load(base, TextToText().head(), seed=0).model
    bases.fit(tokens, model)
    return model, tokens


def test_the_loss_is_transformers_own(model_and_tokens):
    model, tokens = model_and_tokens
    task = TextToText(prefix="the ")
    encoded = task.encode(table(), tokens, None)
    batch = task.collate(encoded, np.arange(3), tokens, Draw(0))
    loss = task.loss(model, batch)
    own = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"]).loss
    assert loss.count == int((batch["labels"] != -100).sum()) == 4 + 4 + 3
    assert loss.total.item() / loss.count == pytest.approx(own.item(), rel=1e-5)
    assert tokens.decode(batch["input_ids"][0], skip_special_tokens=True) == "the the film was good"
    apart = task.compared(model, batch)
    assert [len(each) for each in apart] == [4, 4, 3]
    assert sum(each.sum() for each in apart) == pytest.approx(loss.total.item(), rel=1e-5)


@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_written_is_what_plain_generate_writes(model_and_tokens, beams):
    model, tokens = model_and_tokens
    task = TextToText(beams=beams, max_tokens=6)
    encoded = task.encode(table().drop_columns([LABEL]), tokens, None)
    found = task.decode(model, task.collate(encoded, np.arange(3), tokens, Draw(0)))
    assert "loss" not in found
    assert model.generation_config.num_beams in (None, 1)
    for row, text in enumerate(table().column(TEXT).to_pylist()):
        ids = torch.tensor([tokens(text)["input_ids"]])
        plain = model.generate(input_ids=ids, max_new_tokens=6, num_beams=beams, do_sample=False, eos_token_id=3)[0, 1:].tolist()
        wanted = plain[: plain.index(3)] if 3 in plain else plain
        assert found["written"][row].tolist() == [each for each in wanted if each != 0 or 3 not in plain][: len(wanted)]


def test_a_target_ends_whatever_the_tokenizer_does(model_and_tokens):
    _, tokens = model_and_tokens
    tokens.backend_tokenizer.post_processor = None
    task = TextToText()
    targets = task.encode(table(), tokens, None).tokens["targets"]
    assert [targets.flat[end - 1] for end in targets.offsets[1:]] == [3, 3, 3]
    assert max(task.encode(table(targets=["the film was good"] * 3), tokens, 4).tokens["targets"].lengths) == 4


def test_columns_tell_the_task():
    def named(*names):
        return TextToText.arranged(pa.table({name: ["a"] for name in names}))

    assert named("source", "target") is not None
    assert named("de", "en") is not None
    assert named("document", "summary", "id") is not None
    assert named("text", "label") is None
    assert named("en", "label") is None
    classes = pa.table({"source": ["a", "b", "c", "d"], "target": ["yes", "no", "yes", "no"]})
    assert TextToText.arranged(classes) is None


@pytest.mark.parametrize("pair", [("en", "de"), ("de", "en"), ("target", "source")])
def test_languages_go_from_the_first_column_to_the_second(pair, tmp_path):
    path = write_csv(tmp_path / "pairs.csv", [(f"a film {i}", f"ein Film {i}") for i in range(6)], pair)
    source, target = sorted(pair) if "source" in pair else pair
    for task in (
        {"name": "text-to-text"},
        {"name": "auto"},
        {"name": "text-to-text", "text": source},
        {"name": "text-to-text", "label": target},
    ):
        known = read_rows(Recipe.build({"base": "scratch:t5-tiny", "data": {"train": str(path)}, "task": task}, ""), print).schema
        assert (known.text, known.label) == (source, target)


def test_a_frozen_base_has_no_head_to_train(tmp_path):
    pairs = write_csv(tmp_path / "pairs.csv", [("a film", "a book")] * 3, ("source", "target"))
    with pytest.raises(RecipeError, match="feature-extraction trains a fresh head"):
        rs.adapt(pairs, method="feature-extraction", base="scratch:t5-tiny", task="text-to-text")


@pytest.fixture
def pairs(tmp_path):
    """Sources of a telling word and another, whose target is the other word and what the first tells."""
    rows = []
    for text, label in rows_of(60):
        told = next(word for word in text.split() if word in WORDS[:10])
        other = next(word for word in text.split() if word not in WORDS[:10])
        rows.append((f"{told} {other}", f"{other} {'good' if label == 'positive' else 'bad'}"))
    return write_csv(tmp_path / "pairs.csv", rows, ("source", "target"))


@pytest.mark.parametrize("method", ["full", pytest.param("lora", marks=pytest.mark.slow)])
def test_from_a_file_to_written_texts(pairs, tmp_path, method):
    base = tiny_models.saved(tiny_models.seq2seq_model(strength=1.0), make_tokenizer(), tmp_path / "t5")
    settings = {"epochs": 12, "rate": 1e-2, "batch_tokens": 64}
    run = rs.adapt(
        pairs,
        task="text-to-text",
        base=str(base),
        method=method,
        out=tmp_path / "run",
        training=settings,
        accept=["duplicates", "overlap"],
        merge=method == "lora",
    )
    assert run.recipe.task["name"] == "text-to-text"
    assert (run.recipe.task["text"], run.recipe.task["label"]) == ("source", "target")
    assert run.metrics["baselines"]["copy"]["exact_match"] == 0
    assert run.metrics["signatures"]["bleu"].startswith("nrefs:1")
    assert set(run.metrics["intervals"]) == set(run.metrics["metrics"]) > {"bleu", "chrf"}
    if method == "full":
        assert run.metrics["metrics"]["exact_match"] > 0.8
        assert run.predict("good the") == ["the good"]
    found = run.evaluate(str(pairs))
    assert found["metrics"]["exact_match"] == pytest.approx(run.metrics["metrics"]["exact_match"], abs=0.3)
    card = (run.path / "README.md").read_text()
    assert "pipeline_tag: text2text-generation" in card
    assert "AutoModelForSeq2SeqLM" in card
    assert "label" not in json.loads((run.path / "ledger.json").read_text())["labels"]
    assert "Copying the source" in (run.path / "report.html").read_text()
