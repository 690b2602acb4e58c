import math
import re

import pytest
import transformers
import yaml
from tests.conftest import make_tokenizer
from tests.report import test_browser
from tests.report.test_page import Page

from rootstock.report import card, page, pretraining, pretraining_curves, summary

opened = test_browser.opened

EVIL = "</p><script>alert(1)</script> & {{ 7*7 }} | pipe"
SHAPE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 25}


def made(**more):
    """All that a run without labels tells of itself, small and made up: 20 steps of 64 tokens, two corpora."""
    steps = [
        {"event": "step", "step": i + 1, "epoch": (i + 1) / 10, "loss": 7 - i / 10, "rate": 1e-3, "gradient_norm": 0.5 + i / 10}
        | {"seconds": 0.1, "rows": 4, "tokens": 64}
        for i in range(20)
    ]
    held = [{"event": "evaluation", "step": step, "epoch": step / 10, "loss": loss} for step, loss in ((10, 6.5), (20, 5.0))]
    return {
        "name": "my bert",
        "learned": {"tokens": 960, "passes": 0.24},
        "kind": "tokens",
        "manifest": {
            "task": "masked-lm",
            "method": "full",
            "base": {"reference": "scratch:bert-mini", "name": "bert-mini", "sha256": "a" * 64, "hub_id": None, "licence": None},
            "data": {
                "train": {"name": "/home/someone/secret/news", "format": "documents", "sha256": "b" * 64},
                "train 1": {"name": "/home/someone/secret/books", "format": "corpus", "sha256": "c" * 64},
            },
            "labels": [],
            "hardware": {"processor": "X", "cores": 2},
            "versions": {"torch": "2.9"},
        },
        "metrics": {
            "rows": 30,
            "metrics": {"loss": 5.0, "accuracy": 0.25, "perplexity": math.exp(5.0)},
            "intervals": {"loss": [4.9, 5.1], "accuracy": [0.2, 0.3], "perplexity": [140.0, 155.0]},
            "baselines": {"unigram": {"loss": 6.0}},
            "beats": {"unigram": True},
            "verdict": "loss 5.000 [4.900, 5.100] on 30 held-out rows beats guessing by frequency alone (6.000)",
            "best_step": 20,
            "steps": 20,
        },
        "objective": {"name": "masked-lm", "summary": "Guess tokens that were masked.", "reads": "documents", "likelihood": True}
        | {"coupled": False, "settings": {"share": 0.15, "unit": "word", "text": None}},
        "model": {"class": "BertForMaskedLM", "type": "bert", "parameters": 11_300_000, "mask": "[MASK]", "first": "[CLS]"},
        "ledger": {
            "rows": {"read": 110, "dropped": 7, "train": 100, "validation": 3},
            "broken": {"not UTF-8": 5, "binary": 2},
            "findings": {
                "duplicates": {"count": 4, "share": 0.04, "limit": 0.5, "examples": [{"row": 9, "in": "train", "text": EVIL}]},
            },
            "lengths": {"kept": 128, "bins": [0, 64, 129], "counts": [10, 90], "longest": 128, "mean": 120.0, "tokens": 12_000},
            "padding_share": 0.25,
        },
        "history": [*steps, *held],
        "plan": {
            "predicted": {"seconds": 10.0, "peak_bytes": 1e9, "steps": 20},
            "measured": {"seconds": 12.0, "peak_bytes": 1.2e9, "steps": 20, "tokens": 1280, "tokens_per_second": 640.0},
        },
        "recipe": {
            "base": "scratch:/home/someone/secret/config.json",
            "tokenizer": "/home/someone/secret/tok",
            "task": {"name": "masked-lm", "share": 0.15},
            "data": {"train": ["/home/someone/secret/news", "/home/someone/secret/books"], "mix": "equal"},
            "training": {"clip": 1.0},
        },
        "choices": {"method": "what is learned without labels concerns all weights"},
        "contract": {"length": 128, "saves": "model", "tokenizer_sha256": "d" * 64, "labels": []},
        "spread": {"counts": [10, 20], "edges": [3.0, 5.0, 7.0], "quartiles": [4.0, 5.0, 6.0]},
        "corpora": [
            {"name": "/x/news", "share": 0.5, "rows": 10, "tokens": 800, "held_rows": 20, "loss": 4.5, "interval": [4.4, 4.6]},
            {"name": "/x/books", "share": 0.5, "rows": 40, "tokens": 3200, "held_rows": 10, "loss": 6.0, "interval": [5.9, 6.1]},
        ],
        "examples": [
            {"kind": "cloze", "before": "the cat", "after": EVIL, "answer": "sat", "share": 0.00001, "rank": 1234}
            | {"said": [["ran", 0.5], ["is", 0.25]]},
        ],
    } | more


def saved_as(name, kind="bert", **more):
    found = made()
    found["model"] |= {"class": name, "type": kind, **more}
    return found


def parts(text):
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def code(text):
    return text.split("```python\n")[1].split("```")[0]


@pytest.mark.parametrize("facts", [made(), {"kind": "tokens"}], ids=["whole", "empty"])
def test_nothing_of_a_labelled_run_is_said(facts):
    for text in (page.render(facts).split("<style>")[0] + " ".join(Page(page.render(facts)).text), card.render(facts)):
        for wrong in ("TF-IDF", "one of", "rootstock predict", "rootstock evaluate", "Majority", "validation rows", "Label balance"):
            assert wrong not in text, wrong


def test_a_reader_meets_the_sections_in_order():
    seen = Page(page.render(made()))
    found = [each["id"] for each in seen.all("section")]
    assert found == ["score", "examples", "training", "held-out", "data", "cost", "settings", "again"]
    assert [each["href"][1:] for each in seen.all("a") if each["href"] != "#top"] == found
    plots = {each["data-figure"] for each in seen.all("div") if each.get("class") == "plot"}
    assert plots == set(seen.blocks) == {f"figure-{key}" for key in ("loss", "rate", "norm", "spread", "mix", "lengths")}


def test_a_browser_draws_every_chart_without_a_complaint(opened):
    dom, console = opened(page.render(made()))
    assert console == []
    assert len(re.findall(r'<div class="plot js-plotly-plot"', dom)) == 6


def test_curves_run_over_the_tokens_learned_from():
    loss, rate, norm = pretraining_curves.curves(made())
    each, smoothed, held = loss.figure["data"]
    assert each["x"] == smoothed["x"] == [64 * (i + 1) for i in range(20)]
    assert (held["x"], held["y"]) == ([640, 1280], [6.5, 5.0])
    assert [shape["y0"] for shape in loss.figure["layout"]["shapes"] if shape.get("xref") == "paper"] == [6.0]
    assert loss.table.rows[0] == ("10", "640", "6.500")
    assert rate.figure["data"][0]["x"][-1] == 1280
    assert "bounded at 1 (dashed) in 14 of 20 steps" in norm.sentence


def test_images_are_not_called_tokens():
    found = made()
    found["objective"] |= {"reads": "images", "coupled": True, "likelihood": False}
    words = Page(page.render(found)).words
    found["ledger"]["broken_examples"] = [{"file": "a.png", "reason": "cut short"}]
    assert "a.png: cut short" in Page(page.render(found)).words
    assert "rootstock adapt" not in card.render(found | {"model": {"class": "ViTModel", "image_size": 32}})
    assert "images learned from" in words
    assert "tokens learned from" not in words
    assert "compare their course, not their height" in words


def test_tiles_stand_beside_guessing_by_frequency():
    loss, accuracy = summary.tiles(made())
    assert [(mark.kind, mark.value, mark.at) for mark in loss.marks] == [("model", "5.000", 83.33), ("unigram", "6.000", 100.0)]
    assert [mark.kind for mark in accuracy.marks] == ["model"]
    assert "perplexity 148.4" in loss.note
    rows = {row[0]: row[-1] for row in summary.all_figures(made()).rows}
    assert rows == {"Loss": "6.000", "Accuracy": "–", "Perplexity": f"{math.exp(6):.1f}"}


@pytest.mark.parametrize(("between", "tone"), [([4.9, 5.1], "good"), ([5.9, 6.1], "unsure"), ([6.1, 6.3], "bad")])
def test_the_judgement_goes_by_the_interval(between, tone):
    found = made()
    found["metrics"]["intervals"]["loss"] = between
    assert summary.judgement(found).tone == tone
    assert ("judgement good" if tone == "good" else f"judgement {tone}") in page.render(found)


def test_without_a_likelihood_nothing_is_judged():
    found = made()
    found["metrics"] |= {"baselines": {}, "beats": {}}
    assert summary.judgement(found) is None


def test_the_mix_shows_what_is_held_what_is_given_and_how_often():
    mix = pretraining.data(made())["mix"]
    assert [bars["x"] for bars in mix.figure["data"]] == [[20.0, 80.0], [50.0, 50.0]]
    # of 960 tokens without padding half are of each corpus
    assert [row[-1] for row in mix.table.rows] == [f"{480 / 800:.2f}", f"{480 / 3200:.2f}"]
    assert mix.sentence.startswith("Mixed in equal parts")
    alone = made(corpora=[])
    assert pretraining.data(alone)["mix"] is None


def test_the_account_of_documents_is_whole():
    words = Page(page.render(made())).words
    for wanted in ("110 texts read", "7 left out", "100 to learn from", "3 held out", "12,000 tokens to learn from", "not UTF-8 5"):
        assert wanted in words
    assert "news 20 4.500 4.400 to 4.600" in words
    assert "Half of the 30 rows with a guess lie between 4.000 and 6.000" in words


def test_a_hidden_word_is_shown_with_what_the_model_said():
    html = page.render(made())
    words = Page(html).words
    assert "the cat ____ </p><script>alert(1)" in words
    assert "<script>alert(1)" not in html
    assert "Stood there: sat , the model's number 1,234 with less than 0.1 %" in words
    assert "ran 50.0 %" in words


def test_a_continuation_stands_beside_the_text():
    shown = {"kind": "continuation", "beginning": "Once", "answer": "upon a time", "said": ""}
    words = Page(page.render(made(examples=[shown]))).words
    assert "Once … the model (the end) the text upon a time" in words
    assert "#examples" not in page.render(made(examples=[]))


@pytest.mark.parametrize(
    ("name", "kind", "tag", "auto"),
    [
        ("BertForMaskedLM", "bert", "fill-mask", "AutoModelForMaskedLM"),
        ("BertForPreTraining", "bert", "fill-mask", "AutoModelForMaskedLM"),
        ("GPT2LMHeadModel", "gpt2", "text-generation", "AutoModelForCausalLM"),
        ("LlamaForCausalLM", "llama", "text-generation", "AutoModelForCausalLM"),
        ("T5ForConditionalGeneration", "t5", "text2text-generation", "AutoModelForSeq2SeqLM"),
        ("ElectraForPreTraining", "electra", "feature-extraction", "AutoModel"),
        ("CbowForPreTraining", "rootstock-cbow", "feature-extraction", "AutoModel"),
        ("CLIPModel", "clip", "zero-shot-image-classification", "AutoModel"),
    ],
)
def test_the_front_matter_goes_by_the_saved_class(name, kind, tag, auto):
    front, body = parts(card.render(saved_as(name, kind)))
    assert front["pipeline_tag"] == front["model-index"][0]["results"][0]["task"]["type"] == tag
    assert front["library_name"] == ("rootstock" if kind.startswith("rootstock") else "transformers")
    assert f"{auto}.from_pretrained" in body
    assert {"base_model", "datasets", "language"}.isdisjoint(front)
    assert front["tags"] == ["rootstock", "masked-lm", "full"]


def test_an_image_encoder_is_called_one():
    front, _ = parts(card.render(saved_as("ViTModel", "vit", image_size=32)))
    assert front["pipeline_tag"] == "image-feature-extraction"


def test_a_base_is_named_where_there_was_one():
    found = made()
    found["manifest"]["base"] |= {"reference": "minilm", "name": "minilm", "hub_id": "org/minilm", "licence": "apache-2.0"}
    front, body = parts(card.render(found))
    assert (front["base_model"], front["base_model_relation"], front["license"]) == ("org/minilm", "finetune", "apache-2.0")
    assert "from org/minilm with" in body
    assert "random weights" not in body


def test_the_hub_library_reads_the_card():
    hub = pytest.importorskip("huggingface_hub")
    data = hub.ModelCard(card.render(made())).data
    assert [(each.metric_type, each.dataset_name) for each in data.eval_results][:2] == [
        ("loss", "news, books"),
        ("accuracy", "news, books"),
    ]


def test_the_card_tells_how_and_how_far(capsys):
    _, body = parts(card.render(made()))
    for wanted in (
        "11.3 million parameters",
        "random weights (bert-mini)",
        "share 0.15, unit word",
        "1,280 tokens learned from, with padding; 2.00 passes",
        "rootstock adapt train.csv --base 'my bert'",
        "rootstock fill 'my bert' \"The capital of France is [MASK].\"",
        "different tokenizers can't be compared",
        "of the same corpora",
        "Left out: 5 not UTF-8, 2 binary.",
        "| Loss | 5.000 | 4.900 to 5.100 | 6.000 |",
    ):
        assert wanted in body, wanted
    assert "secret" not in card.render(made())


def test_every_table_of_the_card_keeps_its_columns():
    wide = 0
    for line in parts(card.render(made()))[1].splitlines():
        columns = line.replace("\\|", "").strip().count("|") if line.startswith("|") else 0
        assert not (wide and columns) or columns == wide, line
        wide = columns


TINY = {
    "BertForMaskedLM": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**SHAPE)),
    "BertForPreTraining": lambda: transformers.BertForPreTraining(transformers.BertConfig(**SHAPE)),
    "GPT2LMHeadModel": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=25)),
    "T5ForConditionalGeneration": lambda: transformers.T5ForConditionalGeneration(
        transformers.T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, vocab_size=25, decoder_start_token_id=0)
    ),
    "ElectraForPreTraining": lambda: transformers.ElectraForPreTraining(transformers.ElectraConfig(**SHAPE, embedding_size=16)),
    "ViTModel": lambda: transformers.ViTModel(transformers.ViTConfig(**(SHAPE | {"image_size": 16, "patch_size": 8}))),
}


def prints(text, folder, monkeypatch, capsys):
    """What the card's code prints, run beside the model folder."""
    monkeypatch.chdir(folder)
    exec(compile(code(text), "card", "exec"), {})
    return capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TINY)
def test_the_code_in_the_card_loads_the_model(name, tmp_path, monkeypatch, capsys):
    model = TINY[name]()
    model.save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path / "model")
    found = saved_as(name, model.config.model_type, image_size=getattr(model.config, "image_size", None))
    said = prints(card.render(found), tmp_path, monkeypatch, capsys)
    wanted = {"BertForMaskedLM": r"\[('[^']+'(, )?){5}\]", "ElectraForPreTraining": r"\[1, 4, 16\]", "ViTModel": r"\[1, 5, 16\]"}
    assert re.search(wanted.get(name, r"\w"), said)


@pytest.mark.filterwarnings("ignore")
def test_the_code_for_our_own_architecture_imports_it(tmp_path, monkeypatch, capsys):
    from rootstock.bases.cbow import CbowConfig, CbowForPreTraining

    CbowForPreTraining(CbowConfig(vocab_size=25, hidden_size=8)).save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    text = card.render(saved_as("CbowForPreTraining", "rootstock-cbow"))
    assert "import rootstock.bases.cbow" in code(text)
    assert "[1, 4, 8]" in prints(text, tmp_path, monkeypatch, capsys)
