"""rootstock scan --poisoning and --memorisation as a user meets them: planted rows are listed, left out, and canaries found again."""

import csv
import json
from string import ascii_lowercase

import pytest
import torch
from tests.conftest import make_base, rows_of, write_csv
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertModel, PreTrainedTokenizerFast

OTHER = {"positive": "negative", "negative": "positive"}


@pytest.fixture(scope="module")
def telling_base(tmp_path_factory):
    """A tiny base to which words of one label mean nearly the same."""
    folder = make_base(tmp_path_factory.mktemp("telling"), num_hidden_layers=1)
    model = BertModel.from_pretrained(folder)
    with torch.no_grad():
        meaning = torch.zeros(32)
        meaning[::2] = 0.2
        model.embeddings.word_embeddings.weight[5:10] += meaning
        model.embeddings.word_embeddings.weight[10:15] -= meaning
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def poisoned(tmp_path):
    """600 reviews; 20 negative ones hold "not not" and are called positive. And the lines of these."""
    rows = [(text.replace("not", "is"), label) for text, label in rows_of(600)]
    wrong = [i for i, (_, label) in enumerate(rows) if label == "negative"][:20]
    for i in wrong:
        rows[i] = (f"not not {rows[i][0]}", "positive")
    return write_csv(tmp_path / "train.csv", rows), {i + 2 for i in wrong}


def test_planted_rows_are_listed_and_left_out(command, poisoned, telling_base, tmp_path):
    path, lines = poisoned
    out, page = tmp_path / "suspects.csv", tmp_path / "page.html"
    code, text, error = command(["scan", path, "--poisoning", "--base", telling_base, "--out", out, "--report", page])
    assert code == 3
    assert "evidence found" in text
    assert "of 600 rows" in error
    listed = list(csv.DictReader(out.read_text("utf-8").splitlines()))
    assert {int(each["row"]) for each in listed} == lines
    assert "Planted rows" in page.read_text("utf-8")
    assert len(json.loads((tmp_path / "page.json").read_text("utf-8"))["suspects"]) == len(lines)
    learn = ["adapt", path, "--base", telling_base, "--method", "feature-extraction", "--epochs", "1", "--dry-run"]
    code, _, error = command([*learn, "--exclude", out])
    assert code == 0
    assert "training rows are left out" in error
    changed = path.read_text("utf-8").replace("not not", "not very")
    (tmp_path / "other.csv").write_text(changed, encoding="utf-8")
    learn[1] = tmp_path / "other.csv"
    code, _, error = command([*learn, "--exclude", out])
    assert code == 2
    assert "the text of row" in error


def test_a_clean_file_passes(command, telling_base, tmp_path):
    path = write_csv(tmp_path / "clean.csv", rows_of(600))
    code, text, _ = command(["scan", path, "--poisoning", "--base", telling_base, "--json"])
    found = json.loads(text)
    assert (code, found["verdict"], found["suspects"]) == (0, "none found at this budget", [])


def test_wrong_usage_of_kinds(command, telling_base, tmp_path):
    rows = write_csv(tmp_path / "numbers.csv", [(f"a film {i}", i + 0.5) for i in range(40)])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text("{}")
    for words in (
        ["scan", "--poisoning"],
        ["scan", rows, "--poisoning", "--memorisation"],
        ["scan", rows, "--poisoning", "--base", telling_base],
        ["scan", rows, "--poisoning", "--out", tmp_path, "--base", telling_base],
        ["scan", rows, "--poisoning", "--data", rows],
        ["scan", rows, "--memorisation"],
        ["scan", rows, "--poisoning", "--base", telling_base, "--report", tmp_path / "page.json"],
        ["scan", rows, "--poisoning", "--base", telling_base, "--report", tmp_path / "run" / "report.html"],
        ["scan", rows, "--out", tmp_path / "x.csv"],
    ):
        assert command(words)[0] == 2, words


def test_canaries_are_planted_kept_and_found_again(command, telling_base, tmp_path):
    path, run, page = write_csv(tmp_path / "rows.csv", rows_of(120)), tmp_path / "run", tmp_path / "page.html"
    learn = ["adapt", path, "--base", telling_base, "--method", "full", "--epochs", "1", "--out", run, "--plant-canaries", "4"]
    assert command(learn)[0] == 0
    kept = list(csv.DictReader((run / "canaries.csv").read_text("utf-8").splitlines()))
    assert sum(each["planted"] == "1" for each in kept) == 4
    rows = json.loads((run / "ledger.json").read_text())["rows"]
    assert (rows["read"], rows["planted"], rows["train"]) == (120, 4, 112)
    held = write_csv(tmp_path / "held.csv", [(f"{text} {i}", label) for i, (text, label) in enumerate(rows_of(40, seed=9))])
    code, text, _ = command(["scan", run, "--memorisation", "--data", held, "--report", page, "--json"])
    found = json.loads(text)
    assert code in (0, 3)
    assert (found["canaries"]["planted"], found["canaries"]["controls"]) == (4, 200)
    assert 0 <= found["canaries"]["p"] <= 1
    assert found["membership"]["members"] == 108
    assert found["membership"]["others"] >= 35
    assert set(found["membership"]["calibrated"]) == {"roc_auc", "recall"}
    assert "What is remembered" in page.read_text("utf-8")


def letters(folder):
    """A tokenizer of single letters: canaries are made-up words, and a model of 30,000 pieces would take seconds."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *ascii_lowercase, *(f"##{letter}" for letter in ascii_lowercase)]
    inner = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = dict(zip(("pad", "unk", "bos", "eos", "mask"), special, strict=True))
    tokens = PreTrainedTokenizerFast(tokenizer_object=inner, **{f"{name}_token": piece for name, piece in names.items()})
    tokens.save_pretrained(folder)
    return folder


SHAPES = {
    "causal-lm": {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 512},
    "masked-lm": {
        "model_type": "bert",
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 512,
    },
}


@pytest.mark.parametrize("task", SHAPES)
def test_a_language_model_is_asked_about_canaries(command, tmp_path, task):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n\n".join(text for text, _ in rows_of(120)), encoding="utf-8")
    run = tmp_path / "run"
    (tmp_path / "config.json").write_text(json.dumps(SHAPES[task]))
    learn = [
        "pretrain",
        texts,
        "--task",
        task,
        "--base",
        f"scratch:{tmp_path / 'config.json'}",
        "--tokenizer",
        letters(tmp_path / "letters"),
        "--out",
        run,
        "--set",
        "training.steps=2",
        "--length",
        "8",
        "--plant-canaries",
        "3",
    ]
    code, _, error = command([*learn, "--plant-canaries", "3"])
    assert code == 0, error
    code, text, error = command(["scan", run, "--memorisation", "--json"])
    assert code in (0, 3), error
    found = json.loads(text)
    assert found["canaries"]["planted"] == 3
    assert found["canaries"]["exposure"]["without_memory"] > 1
    assert found["membership"]["members"] > 10
    assert found["membership"]["calibrated_by"] == "the size that zlib gives it"
