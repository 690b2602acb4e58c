"""The verb compare: a toy comparison from the command line, and each thing that can be wrong."""

import json

import numpy as np
import pytest
from tests.conftest import WORDS, make_tokenizer, rows_of, write_csv

TOY = "--objectives masked-lm=bert/config.json --tokenizer tok --tokens 2000 --rows 40 --seeds 1 --rates 1e-2 --set training.epochs=1"
BERT = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparing")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 30)) for _ in range(60)]
    (folder / "corpus.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    write_csv(folder / "reviews.csv", [(text, label, 1) for text, label in rows_of(100)], ("review", "stars", "label"))
    write_csv(folder / "copied.csv", [(text, number % 2) for number, text in enumerate(texts)])
    write_csv(folder / "bare.csv", [(text,) for text in texts], ("text",))
    make_tokenizer().save_pretrained(folder / "tok")
    (folder / "bert").mkdir()
    (folder / "bert" / "config.json").write_text(json.dumps(BERT | {"max_position_embeddings": 64}))
    (folder / "other" / "data").mkdir(parents=True)
    (folder / "other" / "data" / "thesis.txt").write_text("years of work")
    return folder


@pytest.fixture(autouse=True)
def at(place, monkeypatch):
    monkeypatch.chdir(place)


def test_a_comparison_from_the_command_line(command, place):
    line = f"compare corpus.jsonl --downstream reviews.csv --columns reviews.label=stars {TOY} --out out"
    code, out, err = command(f"{line} --json")
    assert code == 0, err
    found = json.loads(out)
    assert found == json.loads((place / "out" / "compare.json").read_text())
    assert found["tasks"]["reviews"] == {"file": "reviews.csv", "task": "text-classification", "test_rows": 20, "pool_rows": 80} | {
        "overlap": {"contaminated": 0, "of": 20, "checked": found["tasks"]["reviews"]["overlap"]["checked"]}
    }
    assert [each["objective"] for each in found["gains"]] == ["masked-lm"]
    assert "1 of 2  masked-lm/reviews/40-0" in err
    code, out, _ = command(line)
    assert code == 0
    assert "by chance alone\n\nreport    out/compare.html" in out
    code, _, err = command(line.replace("bert/config.json", "bert-tiny"))
    assert (code, "another architecture for masked-lm" in err, "--overwrite" in err) == (2, True, True)
    assert (place / "out" / "compare.html").exists()


CASES = [
    ("--downstream nowhere.csv", "nowhere.csv"),
    ("--downstream reviews.csv,reviews.csv", "reviews.csv is named twice"),
    ("--downstream bare.csv", "bare.csv: no column looks like a label", "--columns bare.text=COLUMN --columns bare.label=COLUMN"),
    ("--downstream reviews.csv --columns reviews.label=star", "reviews.csv: there is no column 'star'", "did you mean 'stars'"),
    ("--downstream reviews.csv --columns review.label=stars", "no downstream file named 'review'", "did you mean 'reviews'"),
    ("--downstream reviews.csv --columns reviews.lable=stars", "no part of a row named 'lable'", "did you mean 'label'"),
    ("--downstream reviews.csv --columns label=stars", "--columns label=stars", "such as --columns reviews.label=COLUMN"),
    ("--downstream reviews.csv --objectives masked-lm,masked-lm=bert-mini", "--objectives names masked-lm twice"),
    ("--downstream reviews.csv --objectives masked-lm --evolution", "--evolution and --objectives are given"),
    ("--downstream reviews.csv --set seed=3", "the comparison sets seed itself", "--seeds"),
    ("--downstream reviews.csv --set training.rate=1", "the comparison sets training.rate itself", "--rates"),
    ("--downstream reviews.csv --set 'training={rate: 1}'", "the comparison sets training.rate itself"),
    ("--downstream reviews.csv --set data.rows=10", "the comparison sets data itself", "--rows"),
    ("--downstream reviews.csv --set training.epoch=1", "unknown key 'training.epoch'", "did you mean 'epochs'"),
    ("--downstream reviews.csv --pretrain-set training.steps=9", "--pretrain-set training.steps", "the budget"),
    ("--downstream reviews.csv --accept overlp", "no finding named 'overlp'", "did you mean 'overlap'"),
    ("--downstream reviews.csv --columns reviews.label=label", "reviews: ", "one class only", "--columns reviews.label=COLUMN"),
    ("--downstream reviews.csv --out corpus.jsonl", "corpus.jsonl is a file"),
    ("--downstream reviews.csv --out tok/compare", "tok/compare and tok lie in one another"),
    ("--downstream reviews.csv --out other --overwrite", "other holds other files: data"),
    ("--downstream reviews.csv --out other --dry-run", "other holds other files: data"),
]


@pytest.mark.parametrize(("line", "said"), [(line, said) for line, *said in CASES], ids=[each[0] for each in CASES])
def test_what_is_wrong_is_said(command, place, line, said):
    code, out, err = command(f"compare corpus.jsonl {TOY} {line}")
    assert (code, out) == (2, ""), err
    for part in said:
        assert part in err
    assert "Traceback" not in err
    assert (place / "other" / "data" / "thesis.txt").read_text() == "years of work"


def test_test_rows_in_the_corpus_are_refused_unless_they_are_accepted(command):
    line = f"compare corpus.jsonl --downstream copied.csv {TOY} --out copied --dry-run"
    code, _, err = command(line)
    assert code == 3
    assert "copied: 12 of 12 test rows stand in the corpus (100.0%, limit 1%)" in err
    assert "rootstock corpus build SOURCES --out FOLDER --decontaminate copied.csv" in err
    code, _, err = command(f"{line} --accept overlap")
    assert code == 0, err
