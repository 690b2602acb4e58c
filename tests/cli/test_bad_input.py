"""Everything that a person can get wrong: one clear message, the right exit code, never a traceback."""

import errno
import json
import os
import shlex
import shutil
import struct

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.conftest import WORDS, make_tokenizer, rows_of, write_csv

from rootstock.cli import main
from rootstock.verbs import verify

ROWS = rows_of(60)
ADAPT = "--base base --method full --epochs 1"


@pytest.fixture(scope="session")
def wrong(desk):
    """The desk with files that are wrong in one way each."""
    texts = {
        "empty.csv": "",
        "header.csv": "text,label\n",
        "ragged.csv": "text,label\na film,good\na film,bad,extra\n",
        "quote.csv": 'text,label\na film,good\n"a book,bad\n',
        "twice.csv": "text,text,label\na,b,good\nc,d,bad\n",
        "nul.csv": "text,label\na film,good\na\0book,bad\n",
        "nolabel.csv": "text\n" + "".join(f"{text}\n" for text, _ in ROWS),
        "cut.jsonl": '{"text": "a", "label": "b"}\n{"text": \n',
        "object.json": "{}",
        "broken.yaml": "base: [minilm\n x: {",
        "list.yaml": "- a\n",
        "empty.yaml": "",
        "nodata.yaml": "base: base\n",
        "twice.yaml": "base: base\nbase: minilm\n",
        "code.yaml": "base: !!python/object/apply:os.system ['true']\n",
        "section.yaml": "base: base\ndata: {train: good.csv}\ntraning: {epochs: 3}\n",
        "key.yaml": "base: base\ndata: {train: good.csv}\nmethod: {name: lora, alhpa: 3}\n",
        "unnamed.yaml": "base: base\ndata: {train: good.csv}\nmethod: {r: 4}\n",
        "good.yaml": "base: base\ndata: {train: good.csv}\nmethod: {name: full}\n",
        "afile": "x",
    }
    for name, text in texts.items():
        (desk / name).write_text(text)
    (desk / "latin.csv").write_bytes("text,label\na film,good\ncaf\xe9,bad\n".encode("latin-1"))
    (desk / "utf16.csv").write_bytes("text,label\na film,good\n".encode("utf-16-le"))
    (desk / "binary.yaml").write_bytes(b"\xff\xfe\0\1")
    (desk / "cut.csv.gz").write_bytes(b"\x1f\x8bzzzz")
    (desk / "cut.parquet").write_bytes(b"PAR1zzzz")
    tables = {
        "one.csv": [(f"film {i}", "good") for i in range(20)],
        "mixed.csv": [*rows_of(20, seed=3), ("a film", "mixed")],
        "missing.csv": [*rows_of(20), ("a film", ""), ("b film", "")],
        "nan.csv": [*((text, i * 1.5) for i, (text, _) in enumerate(rows_of(20))), ("a film", "nan")],
        "infinite.csv": [(text, "inf" if i == 3 else i * 1.5) for i, (text, _) in enumerate(ROWS)],
        "huge.csv": [(text, f"{i}e300") for i, (text, _) in enumerate(ROWS)],
        "stamps.csv": [(text, f"{1.7e9 + i % 7}") for i, (text, _) in enumerate(ROWS)],
        "two.csv": ROWS[:2],
        "own.csv": [(f"{text} {i}", f"row {i}") for i, (text, _) in enumerate(ROWS)],
        "same.csv": [("a film", "good" if i % 2 else "bad") for i in range(30)],
        "singles.csv": [(f"{text} {i}", f"c{i}") for i, (text, _) in enumerate(rows_of(1200))],
        "numbers.csv": [(i, "good") for i in range(20)],
        "blank.csv": [("" if i % 3 == 0 else text, label) for i, (text, label) in enumerate(ROWS)],
        "long.csv": [(" ".join([text] * 30), label) for text, label in ROWS],
    }
    for name, rows in tables.items():
        write_csv(desk / name, rows)
    (desk / "other").mkdir()
    (desk / "other" / "thesis.txt").write_text("years of work")
    (desk / "stopped").mkdir()
    for name in ("recipe.yaml", "ledger.json"):
        shutil.copy(desk / "one" / name, desk / "stopped" / name)
    return desk


DATA = [
    ("missing-reviews.csv", 2, "does not exist", "hf:NAME"),
    ("goood.csv", 2, "did you mean good.csv"),
    ("good.csv --task question-answering", 2, "there is one column of text", "--text QUESTION --text-pair PASSAGE"),
    ("''", 2, "data.train is empty"),
    ("base", 2, "base is a folder without class folders", "name one of its files"),
    ("x" * 300, 2, "name too long"),
    ("empty.csv", 2, "empty.csv is empty"),
    ("header.csv", 2, "only a header", "data.header=no"),
    ("latin.csv", 2, "line 3", "0xe9", "data.encoding=latin-1"),
    ("utf16.csv", 2, "NUL", "utf-16-le"),
    ("nul.csv", 2, "line 3", "NUL"),
    ("ragged.csv", 2, "line 3: found 3 fields", "wanted: 2 fields"),
    ("quote.csv", 2, "line 3", "never closes"),
    ("twice.csv", 2, "'text' more than once"),
    ("nolabel.csv", 2, "no column looks like a label", "--label NAME"),
    ("cut.jsonl", 2, "line 2", "no JSON"),
    ("object.json", 2, "holds an object", "list of objects"),
    ("cut.csv.gz", 2, "cut off"),
    ("cut.parquet", 2, "can't be read as parquet"),
    ("one.csv", 2, "one.csv: the label column holds one class only ('good')"),
    ("missing.csv", 2, "2 of 22 rows have no label (lines 22, 23)", "--accept unlabelled"),
    ("nan.csv", 2, "1 of 21 rows have no label (line 22)", "--accept unlabelled"),
    ("infinite.csv", 2, "row 5: the label 'inf' is no finite number"),
    ("huge.csv", 2, "no finite number of ordinary size"),
    ("stamps.csv --task regression", 2, "spread by 2 around", "subtract a constant"),
    ("one.csv --task regression", 2, "the label 'good' is no finite number"),
    ("two.csv", 2, "too few to hold any out: 2 with 2 different texts"),
    ("same.csv", 2, "too few to hold any out: 30 with 1 different texts"),
    ("singles.csv", 2, "different names", "at most 1,000 classes"),
    ("own.csv", 2, "54 different names in 54 training rows", "check --label"),
    ("good.csv --validation mixed.csv", 2, "mixed.csv: validation row 22 has the label 'mixed'", "wanted: one of 'negative', 'positive'"),
    ("good.csv --validation nowhere.csv", 2, "nowhere.csv does not exist"),
    ("good.csv --validation good.csv", 3, "overlap", "100.0%", "such as row 2", "--accept overlap"),
    ("blank.csv", 3, "empty: rows have no text: 20 (33.3%, limit 1%)", "--accept empty"),
    ("long.csv", 3, "truncation", "such as row 2", "--accept truncation"),
    ("long.csv --accept truncation --set training.length=4000", 2, "training.length is 4000", "at most 64"),
    ("good.csv --text nope", 2, "no column 'nope'", "one of 'text', 'label'"),
    ("good.csv --text labl", 2, "did you mean 'label'"),
    ("good.csv --text label", 2, "no column looks like a label"),
    ("good.csv --text text --text-pair text", 2, "'text' is given two parts"),
    ("good.csv --text text --label text", 2, "'text' is given two parts"),
    ("good.csv --label text", 2, "check the columns"),
]
OPTIONS = [
    ("--base minilmm", 2, "no base named 'minilmm'", "did you mean 'minilm'"),
    ("--base ./bas", 2, "no base named", "did you mean"),
    ("--base scratch:bert-min", 2, "did you mean 'bert-mini'"),
    ("--base ''", 2, "base is empty"),
    ("--base afile", 2, "afile is a file"),
    ("--base adapter", 2, "is an adapter"),
    ("--base scratch:bert-tiny --method lora", 2, "lora keeps the base's weights, which are random", "--method full"),
    ("--method lroa", 2, "no method named 'lroa'", "did you mean 'lora'"),
    ("--task text-clasification", 2, "did you mean 'text-classification'"),
    ("--track wandb", 2, "wandb, which is not installed", "pip install wandb"),
    ("--track tensorbord", 2, "did you mean 'tensorboard'"),
    ("--accept nonsense", 2, "no finding named 'nonsense'", "truncation"),
    ("--accept overlp", 2, "did you mean 'overlap'"),
    ("--epochs -1", 2, "training.epochs is -1.0", "more than 0"),
    ("--epochs nan", 2, "training.epochs is nan", "neither nan nor infinite"),
    ("--epochs many", 2, "--epochs", "valid number"),
    ("--rate nan", 2, "training.rate is nan"),
    ("--rate 0", 2, "training.rate is 0", "more than 0"),
    ("--minutes 0", 2, "budget.minutes is 0.0"),
    ("--minutes inf", 2, "budget.minutes is inf"),
    ("--seed -1", 2, "seed is -1", "0 or more"),
    ("--seed 99999999999", 2, "less than 4294967296"),
    ("--validation 1.5", 2, "data.validation is 1.5", "between 0 and 1"),
    ("--validation 0", 2, "data.validation is 0.0", "between 0 and 1"),
    ("--validation nan", 2, "data.validation is nan"),
    ("--bas base", 2, "No such option: --bas", "--base"),
    ("--set method.r", 2, "--set method.r has no =", "method.r=16"),
    ("--set =3", 2, "has no key"),
    ("--set training.epochs=[", 2, "the value is no YAML"),
    ("--set training=3", 2, "training is 3", "training.epochs=…"),
    ("--set method=lora", 2, "method is lora", "method.name=lora"),
    ("--set accept=truncation", 2, "accept is truncation", "a list, such as [truncation]"),
    ("--set training.epoch=3", 2, "unknown key 'training.epoch'", "did you mean 'epochs'"),
    ("--set epochs=3", 2, "did you mean 'training.epochs'"),
    ("--set datta.train=x", 2, "unknown key 'datta'", "did you mean 'data'"),
    ("--set training.rate.x=3", 2, "training.rate is {'x': 3}", "a number"),
    ("--set training.epochs=yes", 2, "training.epochs is true"),
    ("--set training.schedule=lin", 2, "did you mean 'linear'"),
    ("--set merge=maybe", 2, "merge is maybe", "yes or no"),
    ("--set seed=1.5", 2, "a whole number"),
    ("--set data.rows=1", 2, "data.rows is 1", "2 or more"),
    ("--set data.format=cvs", 2, "did you mean 'csv'"),
    ("--set data.encoding=utf-9", 2, "unknown encoding: utf-9"),
    ("--set task.lable=x", 2, "unknown key 'task.lable'", "did you mean 'label'"),
    ("--set method.name=lroa", 2, "did you mean 'lora'"),
    ("--set method.r=4", 2, "unknown key 'method.r'", "layers"),
    ("--method layer-norm --set method.r=4", 2, "unknown key 'method.r'", "nothing to set here"),
    ("--method auto --set method.r=4", 2, "method.r is set while method.name is auto", "--method lora"),
    ("--method auto --set method.rr=4", 2, "unknown key 'method.rr'"),
    ("--method lora --set method.targets=[nope]", 2, "lora can't be applied to base: No modules were targeted"),
]
VERBS = [
    ("adap good.csv", 2, "Did you mean 'adapt'"),
    ("adapt", 2, "neither rows nor parts", "--part NAME=FILE"),
    ("run nowhere.yaml", 2, "there is no recipe nowhere.yaml", "rootstock recipe show"),
    ("run one", 2, "one is a folder", "did you mean one/recipe.yaml"),
    ("run other", 2, "other is a folder"),
    ("run broken.yaml", 2, "broken.yaml, line 2, column"),
    ("run list.yaml", 2, "holds no keys", "base, task, data"),
    ("run empty.yaml", 2, "holds no keys"),
    ("run binary.yaml", 2, "can't be read"),
    ("run nodata.yaml", 2, "the key 'data.train' is missing"),
    ("run twice.yaml", 2, "line 2, column 1: the key 'base' occurs twice"),
    ("run code.yaml", 2, "could not determine a constructor"),
    ("run section.yaml", 2, "unknown key 'traning'", "did you mean 'training'"),
    ("run key.yaml", 2, "unknown key 'method.alhpa'", "did you mean 'alpha'"),
    ("run unnamed.yaml", 2, "method.r is set while method.name is auto"),
    ("run one/recipe.yaml --set training.epoch=3", 2, "did you mean 'epochs'"),
    ("run one/recipe.yaml --set method.r=16", 2, "unknown key 'method.r'"),
    ("run adapter/recipe.yaml --set method.alhpa=16", 2, "did you mean 'alpha'"),
    ("run one/recipe.yaml --out one", 2, "one already holds a finished run", "--overwrite"),
    ("run stopped/recipe.yaml --out stopped", 2, "a run that has not ended", "rootstock run stopped/recipe.yaml --resume"),
    ("run good.yaml --resume", 2, "holds no run to go on with"),
    ("run stopped/recipe.yaml --resume --out elsewhere", 2, "in the recipe's own folder"),
    ("run stopped/recipe.yaml --resume --overwrite", 2, "in the recipe's own folder"),
    ("verify-resume nowhere.yaml", 2, "there is no recipe"),
    ("verify-resume section.yaml", 2, "did you mean 'training'"),
    ("verify-resume key.yaml", 2, "did you mean 'alpha'"),
    ("verify-resume one/recipe.yaml --steps 1", 2, "--steps", "2"),
    ("predict nowhere x", 2, "nowhere does not exist", "a run folder"),
    ("predict ones x", 2, "ones does not exist", "did you mean one?"),
    ("predict other x", 2, "other holds no run"),
    ("predict afile x", 2, "afile holds no run"),
    ("predict stopped x", 2, "a run that has not ended", "rootstock run stopped/recipe.yaml --resume"),
    ("predict one", 2, "found 0 texts", 'rootstock predict one "a text"'),
    ("predict two a", 2, "found 1 text\n", "two by two", '"a text" "and its partner"'),
    ("predict two a b c", 2, "found 3 texts", "two by two"),
    ("predict one x --file test.csv", 2, "texts and --file"),
    ("predict one --file nowhere.csv", 2, "nowhere.csv does not exist"),
    ("predict one --file empty.csv", 2, "empty.csv is empty"),
    ("predict one --file numbers.csv --text nope", 2, "no column 'nope'"),
    ("predict two --file good.csv", 2, "one text column", "'sentence1' and 'sentence2'", "--text-pair"),
    ("predict one --file test.csv --out labelled.xlsx", 2, ".csv, .tsv, .jsonl, .parquet"),
    ("predict one --file test.csv --out other", 2, "can't write other"),
    ("predict one --file test.csv --out afile/x.csv", 1, "a file stands where a folder is needed"),
    (["predict", "one", "a \udce9 film"], 2, "no letter", "UTF-8"),
    ("evaluate nowhere test.csv", 2, "nowhere does not exist"),
    ("evaluate one mixed.csv", 2, "mixed.csv: row 22 has the label 'mixed', which no training row has", "--accept unseen"),
    ("evaluate one pairs.csv", 2, "pairs.csv: row", "2 such labels: 'other', 'same'"),
    ("evaluate one pairs.csv --accept unseen", 2, "no row has a label that the run has learned"),
    ("evaluate one good.csv --accept unsee", 2, "unsee"),
    ("evaluate one empty.csv", 2, "empty.csv is empty"),
    ("evaluate one nolabel.csv", 2, "no column looks like a label"),
    ("evaluate two good.csv", 2, "one text column"),
    ("diff one nowhere", 2, "nowhere does not exist"),
    ("diff other one", 2, "other holds no run"),
    ("diff one", 2, "Missing argument"),
    ("inspect nowhere.csv --base base", 2, "nowhere.csv does not exist"),
    ("inspect good.csv --base base --label nope", 2, "no column 'nope'"),
    ("inspect good.csv --base base --validation 2", 2, "between 0 and 1"),
    ("recipe shwo", 2, "Did you mean 'show'"),
]
PLACES = [
    ("one", 2, "one already holds a finished run", "--overwrite"),
    ("stopped", 2, "go on with it: rootstock run stopped/recipe.yaml --resume"),
    ("afile", 2, "afile is a file"),
    ("afile/run", 2, "afile is a file"),
    ("other", 2, "other holds other files: thesis.txt"),
    ("other --overwrite", 2, "other holds other files: thesis.txt"),
    ("/proc/rootstock", 1, "could not write /proc/rootstock/", "choose another place with --out"),
    ("x" * 300, 2, "name too long"),
]
CASES = [
    *((f"adapt {line} {ADAPT}", *rest) for line, *rest in DATA),
    *((f"adapt good.csv {ADAPT} {line}", *rest) for line, *rest in OPTIONS),
    *((f"adapt good.csv {ADAPT} --out {line}", *rest) for line, *rest in PLACES),
    *VERBS,
]


def contents(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("line", "code", "words"), [(line, code, words) for line, code, *words in CASES], ids=lambda each: str(each)[:60])
def test_one_clear_message(wrong, command, monkeypatch, line, code, words):
    monkeypatch.chdir(wrong)
    before = contents(wrong)
    found, out, err = command(line)
    assert found == code, err
    assert out == ""
    assert "Traceback" not in err
    assert "Warning" not in err
    for word in words:
        assert word in err
    lines = err.splitlines()
    if not any("Error:" in each for each in lines):  # usage errors of the command line itself have their own form
        start = next(i for i, each in enumerate(lines) if each.startswith("rootstock: "))
        assert all(each.startswith("           ") for each in lines[start + 1 :])
        assert len(lines[start]) < 400
    assert contents(wrong) == before


def test_rows_without_a_label_can_be_left_out(wrong, command, monkeypatch, tmp_path):
    monkeypatch.chdir(wrong)
    for name, rows in (("missing.csv", 22), ("nan.csv", 21)):
        out = tmp_path / name
        code, _, err = command(f"adapt {name} {ADAPT} --accept unlabelled --out {out}")
        assert code == 0, err
        ledger = json.loads((out / "ledger.json").read_text())
        assert ledger["rows"]["read"] == rows
        assert ledger["findings"]["unlabelled"]["count"] == rows - 20


# -- weights and tokenizers ------------------------------------------------------------------------------------------------


def truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def emptied(folder):
    (folder / "model.safetensors").write_bytes(b"")


def long_header(folder):
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**40) + path.read_bytes()[8:])


def reshaped(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["bert.encoder.layer.0.attention.self.query.weight"] = torch.zeros(3, 5)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def changed(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["bert.encoder.layer.0.attention.self.query.weight"].fill_(float("nan"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def pickled(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02x")


def remote_code(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "x.Y"}}))


def gone(name):
    return lambda folder: (folder / name).unlink()


def holding(name, text):
    return lambda folder: (folder / name).write_text(text)


def larger_tokenizer(folder):
    make_tokenizer((*WORDS, *(f"word{i}" for i in range(50)))).save_pretrained(folder)


BASES = [
    (truncated, 2, "model.safetensors is damaged: truncated"),
    (emptied, 2, "in a file of 0"),
    (long_header, 2, "its header claims 1099511627776 bytes"),
    (reshaped, 2, "wrong shapes", "[3, 5]", "wanted: [32, 32]"),
    (pickled, 3, "pytorch_model.bin: pickled", "runs whatever code"),
    (remote_code, 3, "auto_map", "loading would run"),
    (gone("model.safetensors"), 2, "holds no weights"),
    (gone("config.json"), 2, "has no config.json"),
    (holding("config.json", "{"), 2, "config.json is not valid JSON"),
    (holding("config.json", "{}"), 2, "can't be loaded", "model_type"),
    (holding("config.json", '{"model_type": "foo"}'), 2, "can't be loaded", "foo"),
    (gone("tokenizer.json"), 2, "holds no tokenizer"),
    (holding("tokenizer.json", "{}"), 2, "the tokenizer", "can't be read"),
    (larger_tokenizer, 2, "the tokenizer does not fit the model: it gives ids up to 74, and the model has 32"),
]


@pytest.mark.parametrize(("spoil", "code", "words"), [(spoil, code, words) for spoil, code, *words in BASES])
def test_a_base_that_is_spoilt(desk, command, tmp_path, spoil, code, words):
    shutil.copytree(desk / "base", tmp_path / "base")
    spoil(tmp_path / "base")
    found, _, err = command(f"adapt {desk / 'good.csv'} --base {tmp_path / 'base'} --method full --epochs 1 --out {tmp_path / 'run'}")
    assert found == code, err
    assert "Traceback" not in err
    for word in words:
        assert word in err
    assert not (tmp_path / "run" / "manifest.json").exists()


MODELS = [
    ("one", truncated, 2, "model.safetensors is damaged"),
    ("one", long_header, 2, "its header claims"),
    ("one", changed, 3, "model.safetensors"),
    ("one", reshaped, 3, "model.safetensors"),
    ("one", larger_tokenizer, 3, "not the file that the run wrote"),
    ("one", gone("contract.json"), 3, "contract.json is missing"),
    ("one", holding("contract.json", "{}"), 3, "contract.json is not the file that the run wrote"),
    ("one", holding("../recipe.yaml", "base: x\n"), 3, "recipe.yaml is not the file that the run wrote"),
    ("one", holding("../manifest.json", "{"), 2, "manifest.json is damaged"),
    ("adapter", gone("adapter_model.safetensors"), 2, "holds no weights"),
    ("adapter", holding("adapter_config.json", "{}"), 3, "adapter_config.json have the digest"),
]


@pytest.mark.parametrize("verb", ["predict {} 'a film'", "evaluate {} {}"], ids=["predict", "evaluate"])
@pytest.mark.parametrize(("run", "spoil", "code", "word"), MODELS)
def test_a_run_that_is_spoilt(desk, command, tmp_path, run, spoil, code, word, verb):
    shutil.copytree(desk / run, tmp_path / "run")
    spoil(tmp_path / "run" / "model")
    found, out, err = command(verb.format(tmp_path / "run", desk / "test.csv"))
    assert found == code, err
    assert out == ""
    assert word in err


def test_evaluate_and_diff_notice_spoilt_records(desk, command, tmp_path):
    for name, text, line in (
        ("seen.safetensors", "zz", "evaluate run {test}"),
        ("seen.safetensors", None, "evaluate run {test}"),
        ("metrics.json", "{", "diff run {one}"),
        ("manifest.json", "[]", "diff run {one}"),
        ("metrics.json", None, "diff run {one}"),
    ):
        run = tmp_path / f"{name}-{text}"
        shutil.copytree(desk / "one", run)
        (run / name).unlink() if text is None else (run / name).write_text(text)
        code, _, err = command(line.format(test=desk / "test.csv", one=desk / "one").replace(" run ", f" {shlex.quote(str(run))} "))
        assert code in (2, 3), err
        assert name in err


# -- what was there is kept ------------------------------------------------------------------------------------------------


def test_overwrite_keeps_the_old_run_until_the_new_one_is_known_to_be_good(desk, command, tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(desk / "one", run)
    before = contents(run)
    monkeypatch.chdir(desk)
    write_csv(tmp_path / "single.csv", [(f"film {i}", "good") for i in range(20)])
    for line, code in (
        ("adapt nowhere.csv", 2),
        (f"adapt {tmp_path / 'single.csv'}", 2),
        ("adapt good.csv --validation good.csv", 3),
        ("adapt good.csv --set training.epoch=2", 2),
    ):
        assert command(f"{line} {ADAPT} --out {run} --overwrite")[0] == code
        assert contents(run) == before
    (run / "notes.txt").write_text("mine")
    code, _, err = command(f"adapt good.csv {ADAPT} --out {run} --overwrite")
    assert code == 2
    assert "notes.txt" in err
    (run / "notes.txt").unlink()
    code, _, err = command(f"adapt good.csv --base {run} --method full --out {run} --overwrite")
    assert code == 2
    assert "base of this very run" in err
    assert contents(run) == before
    assert command(f"adapt good.csv {ADAPT} --seed 7 --out {run} --overwrite")[0] == 0
    assert json.loads((run / "manifest.json").read_text())["seed"] == 7


@pytest.mark.parametrize("place", [(), (3,), (b"name",)], ids=["nothing", "a number", "bytes"])
def test_an_error_of_a_full_disk_from_anywhere_is_one_clear_line(command, monkeypatch, place):
    def full(**options):
        raise OSError(errno.ENOSPC, "No space left on device", *place)

    monkeypatch.setitem(main.VERBS, "tasks", full)
    code, _, err = command("tasks")
    assert code == 1
    assert err.splitlines()[0] == "rootstock: could not write a file: the disk is full"
    assert "Traceback" not in err


def test_a_full_disk_is_one_clear_line(desk, command, tmp_path, monkeypatch):
    monkeypatch.chdir(desk)

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = command(f"adapt good.csv {ADAPT} --out {tmp_path / 'run'}")
    assert code == 1
    assert "the disk is full" in err
    assert "free some space" in err
    assert "Traceback" not in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(desk, command, tmp_path):
    tmp_path.chmod(0o500)
    code, _, err = command(f"adapt {desk / 'good.csv'} --base {desk / 'base'} --method full --out {tmp_path / 'run'}")
    assert code == 1
    assert "writing is not permitted" in err


def test_no_memory_left_is_a_message(desk, command, tmp_path, monkeypatch):
    from rootstock.loop.train import Training

    monkeypatch.chdir(desk)
    for where, error in (
        ("rehearse", MemoryError()),
        ("rehearse", RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")),
        ("run", RuntimeError("DefaultCPUAllocator: can't allocate memory")),
        ("run", MemoryError()),
    ):

        def fail(*arguments, error=error):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(Training, where, fail)
            code, _, err = command(f"adapt good.csv {ADAPT} --out {tmp_path / 'run'} --overwrite")
        assert code == 1
        assert "memory" in err
        assert "training.micro_tokens" in err
        assert "Traceback" not in err


def test_other_errors_are_not_hidden(desk, command, tmp_path, monkeypatch):
    from rootstock.loop.train import Training

    def fail(*arguments):
        raise RuntimeError("a mistake of ours")

    monkeypatch.chdir(desk)
    monkeypatch.setattr(Training, "run", fail)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        command(f"adapt good.csv {ADAPT} --out {tmp_path / 'run'}")


def test_a_rate_that_is_too_high_says_so(desk, command, tmp_path, monkeypatch):
    monkeypatch.chdir(desk)
    for epochs in (1, 3):
        out = tmp_path / str(epochs)
        code, _, err = command(f"adapt good.csv --base base --method full --epochs {epochs} --rate 1e9 --out {out}")
        assert code == 1
        assert "lower training.rate" in err
        assert "Warning" not in err
        assert not (out / "manifest.json").exists()


# -- names and texts survive -----------------------------------------------------------------------------------------------

NAMES = [
    ('say "yes"', "it's, no"),
    ("ja ✓ süß", "нет 🙂"),
    ("1", "0"),
    ("1.0", "2.0"),
    ("true", "false"),
    ("yes", "no"),
    ("null", "NA"),
    ("a\nb", "c\td"),
    ("x" * 300, "y" * 3000),
    ("<script>alert(1)</script>", "{{ 7 * 7 }}"),
    ("../up", "a/b"),
    ("LABEL_1", "LABEL_0"),
    ("p(positive)", "predicted"),
    ("2024-01-01", "1e5"),
]


OF_THEIR_KIND = ("ja ✓ süß", "1", "1.0", "true", "null", "a\nb", "<script>alert(1)</script>", "p(positive)")
"""Each stands for its kind in the quick suite."""


@pytest.mark.parametrize(
    "names",
    [pytest.param(each, marks=() if each[0] in OF_THEIR_KIND else pytest.mark.slow) for each in NAMES],
    ids=lambda each: each[0][:20],
)
def test_label_names_survive(desk, command, tmp_path, names):
    rows = [(text, names[label == "positive"]) for text, label in ROWS]
    data, run = write_csv(tmp_path / "data.csv", rows), tmp_path / "run"
    code, out, err = command(f"adapt {data} --base {desk / 'base'} --method full --epochs 1 --out {run} --json")
    assert code == 0, err
    assert json.loads(out)["metrics"]
    assert set(json.loads((run / "manifest.json").read_text())["labels"]) == set(names)
    table = pq.read_table(run / "predictions.parquet").to_pylist()
    assert {row["answer"] for row in table} == set(names)
    assert {row["predicted"] for row in table} <= set(names)
    code, out, err = command(["predict", run, "a film", "--json"])
    assert json.loads(out)[0]["predicted"] in names
    assert command(["evaluate", run, data, "--json"])[0] == 0


def test_answers_are_written_as_the_predictions_are(desk, command, tmp_path):
    kinds = {
        "padded": [(text, " good " if label == "positive" else "bad") for text, label in ROWS],
        "several": [(text, "a|b" if label == "positive" else "b") for text, label in ROWS],
        "amount": [(text, i * 1.5) for i, (text, _) in enumerate(ROWS)],
    }
    for name, rows in kinds.items():
        data, run = write_csv(tmp_path / f"{name}.csv", rows), tmp_path / name
        code, _, err = command(f"adapt {data} --base {desk / 'base'} --method full --epochs 1 --out {run}")
        assert code == 0, err
        if name == "several":
            assert "a row can have several (task.several=no" in err
        schema = pq.read_schema(run / "predictions.parquet")
        assert schema.field("answer").type == schema.field("predicted").type
        answers = pq.read_table(run / "predictions.parquet")["answer"].to_pylist()
        wanted = {"padded": ["good", "bad"], "several": [["a", "b"], ["b"]], "amount": [row[1] for row in rows]}[name]
        assert all(answer in wanted for answer in answers)


TEXTS = {
    "newlines": [(text.replace(" ", "\n", 1) + " 🙂\u2028x", label) for text, label in ROWS],
    "one token": [(f"good{'!' * i}" if label == "positive" else f"bad{'!' * i}", label) for i, (_, label) in enumerate(ROWS)],
    "unknown words": [(f"zzz{i}", label) for i, (_, label) in enumerate(ROWS)],
    "three rows": ROWS[:3],
    "many classes": [(f"{text} {i}", f"c{i % 100}") for i, (text, _) in enumerate(rows_of(400))],
    "few amounts": [(text, i * 1.5) for i, (text, _) in enumerate(ROWS)],
}


@pytest.mark.parametrize("name", TEXTS)
def test_odd_texts_are_learned_from(desk, command, tmp_path, name):
    data = write_csv(tmp_path / "data.csv", TEXTS[name])
    code, _, err = command(f"adapt {data} --base {desk / 'base'} --method full --epochs 1 --out {tmp_path / 'run'}")
    assert code == 0, err
    assert "Warning" not in err


SAID = {
    "labels alike": (("text", "label"), lambda i, text, name: (text, name.title() if i % 4 < 2 else f"{name}s"), ()),
    "labels of two cases": (
        ("text", "label"),
        lambda i, text, name: (text, name.title() if i % 4 < 2 else name),
        ("'Negative' and 'negative' are labels of their own", "'Positive' and 'positive'"),
    ),
    "a split": (
        ("text", "label", "split"),
        lambda i, text, name: (text, name, "train" if i % 3 else "Test"),
        ("'split' seems to part the rows (Test, train) and is not followed", "--validation"),
    ),
    "no split": (("text", "label", "set"), lambda i, text, name: (text, name, "train" if i % 3 else "blue"), ()),
}


@pytest.mark.parametrize("name", SAID)
def test_what_is_probably_meant_otherwise_is_said(desk, command, tmp_path, name):
    header, row, words = SAID[name]
    data = write_csv(tmp_path / "data.csv", [row(i, *each) for i, each in enumerate(ROWS)], header)
    code, _, err = command(f"inspect {data} --base {desk / 'base'}")
    assert code == 0, err
    for word in words:
        assert word in err
    assert words or not any(word in err for word in ("labels of their own", "seems to part"))


def test_a_measurement_of_nothing_but_training_rows_says_that_none_is_left(desk, command, tmp_path):
    code, out, err = command(f"evaluate {desk / 'one'} {write_csv(tmp_path / 'one.csv', ROWS[:1])}")
    assert code == 0, err
    assert "1 of 1 rows also occur in training; without these: none is left" in out


# -- stdout belongs to the result ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        f"adapt good.csv {ADAPT} --out OUT --json",
        f"adapt good.csv {ADAPT} --out OUT --json --dry-run",
        "run one/recipe.yaml --out OUT --json",
        "predict one 'a film' 'a book' --json",
        "predict one --file test.csv --json",
        "evaluate one test.csv --json",
        "inspect good.csv --base base --json",
        "diff one adapter --json",
        "verify-resume one/recipe.yaml --steps 2 --json",
        "tasks --json",
        "methods --json",
        "recipe schema",
    ],
)
def test_json_is_all_that_stdout_holds(desk, command, monkeypatch, tmp_path, line):
    monkeypatch.setitem(verify.verify.__kwdefaults__, "restart", verify.go_on)  # a process of its own is tests/run/test_resume.py's
    monkeypatch.chdir(desk)
    code, out, err = command(line.replace("OUT", str(tmp_path / "run")))
    assert code == 0, err
    assert json.loads(out)
    for text in (out, err):
        assert "\r" not in text
        assert "\x1b" not in text


def test_a_dry_run_writes_nothing_and_checks_the_place(desk, command, monkeypatch):
    monkeypatch.chdir(desk)
    before = contents(desk)
    assert command(f"adapt good.csv {ADAPT} --dry-run")[0] == 0
    code, _, err = command(f"adapt good.csv {ADAPT} --dry-run --out one")
    assert code == 2
    assert "already holds" in err
    assert contents(desk) == before


def test_what_a_file_is_read_as_is_said_where_its_columns_are_not_those_learned(desk, command, tmp_path, monkeypatch):
    monkeypatch.chdir(desk)
    data = write_csv(tmp_path / "other.csv", [(text, text + " is", label) for text, label in ROWS], ("question", "answer", "gold"))
    code, _, err = command(f"predict one --file {data} --out {tmp_path / 'out.csv'}")
    assert code == 0
    assert "'question'" in err
    assert "'answer' is not used" in err
    code, out, err = command(f"evaluate one {data} --json")
    assert code == 0, err
    pinned = command(f"evaluate one {data} --text question --label gold --json")
    assert json.loads(pinned[1])["metrics"] == json.loads(out)["metrics"]
    assert command("predict one --file test.csv")[2].count("columns") == 0


def test_predictions_are_written_where_they_are_asked_for(desk, command, tmp_path, monkeypatch):
    monkeypatch.chdir(desk)
    for name in ("a.csv", "a.tsv", "a.jsonl", "a.parquet"):
        code, out, err = command(["predict", "one", "a film", 'a, "quoted" book', "--out", tmp_path / name])
        assert code == 0, err
        assert out == ""
    assert pq.read_table(tmp_path / "a.parquet")["text"].to_pylist() == ["a film", 'a, "quoted" book']
    line = json.loads((tmp_path / "a.jsonl").read_text().splitlines()[1])
    table = json.loads(command(["predict", "one", 'a, "quoted" book', "--json"])[1])[0]
    assert line["predicted"] == table["predicted"]
    np.testing.assert_allclose(line["confidence"], table["confidence"], rtol=1e-3)
