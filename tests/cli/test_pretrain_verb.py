"""The verb pretrain: what it says while it learns, and every bad input as one clear message."""

import json
import re

import pytest
from tests.conftest import make_tokenizer, rows_of

BASE = "--base base --epochs 1"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory, tiny_base):
    """A folder with base/, tok/, texts/ (20 texts), and sources that are wrong in one way each."""
    folder = tmp_path_factory.mktemp("shelf")
    (folder / "base").symlink_to(tiny_base)
    make_tokenizer().save_pretrained(folder / "tok")
    texts = [". ".join(text for text, _ in rows_of(6, seed=number)) for number in range(20)]
    for name in ("texts", "binary", "nothing"):
        (folder / name).mkdir()
    for number, text in enumerate(texts):
        (folder / "texts" / f"{number:02}.txt").write_text(text)
    (folder / "binary" / "a.txt").write_bytes(b"\x7fELF\0\1\2\0" * 40)
    (folder / "blank.txt").write_text("  \n")
    lines = [json.dumps({"text": text, "language": "de" if number % 2 else "en"}) for number, text in enumerate(texts)]
    (folder / "good.jsonl").write_text("\n".join(lines))
    (folder / "broken.jsonl").write_text("\n".join([*lines[:6], '{"text": "a warm', *lines[6:]]))
    return folder


@pytest.fixture(autouse=True)
def at(shelf, monkeypatch):
    monkeypatch.chdir(shelf)


CASES = [
    (f"pretrain nowhere {BASE}", "nowhere does not exist", "a folder, or a file that ends in .txt"),
    (f"pretrain nothing {BASE}", "nothing holds no file with text", "name another folder"),
    (f"pretrain blank.txt {BASE}", "blank.txt: 0 rows to learn from and 0 held out", "fix: add documents"),
    (f"pretrain binary {BASE}", "binary: 0 rows to learn from and 0 held out; 1 left out as binary", "fix: add documents"),
    (
        f"pretrain texts {BASE} --length 600",
        "training.length is 600",
        "at most 64",
        "--set training.length=64, or a base with more positions",
    ),
    ("pretrain texts --tokenizer tok --base scratch:gpt2-tiny", "no masked language model", "fix: choose"),
    (f"pretrain texts {BASE} --task regression", "regression reads its labels from the data", "fix: use rootstock adapt"),
    (f"pretrain texts {BASE} --set task.name=text-classification", "text-classification reads its labels", "fix: use rootstock adapt"),
    (f"pretrain texts {BASE} --task auto", "--task is auto", "wanted: an objective", "fix: name one, such as --task masked-lm"),
    (f"pretrain texts {BASE} --task maskd-lm", "no task named 'maskd-lm'", "did you mean 'masked-lm'"),
    (f"pretrain texts good.jsonl {BASE} --mix 0", "data.mix is 0.0", "a temperature above 0"),
    (f"pretrain texts good.jsonl {BASE} --mix -1", "data.mix is -1.0", "a temperature above 0"),
    (f"pretrain texts good.jsonl {BASE} --mix nan", "data.mix is nan"),
    (f"pretrain texts good.jsonl {BASE} --mix much,more", "--mix is 'much,more'", "weights such as 2,1"),
    (f"pretrain texts good.jsonl {BASE} --mix 1,2,3", "data.mix gives 3 weights", "2, one for each"),
    (f"pretrain texts texts {BASE}", "texts is named twice", "fix: name it once, and raise its share with --mix"),
    (f"pretrain texts {BASE} --set data.quoting=no", "data.quoting is no, which means nothing for documents", "leave data.quoting out"),
    (f"pretrain texts {BASE} --languages en", "texts holds no text in en; its languages: none named", "rootstock corpus build"),
    (f"pretrain good.jsonl {BASE} --languages fr,it", "good.jsonl holds no text in fr, it; its languages: en, de"),
    ("adapt good.jsonl --base base --set task.name=masked-lm", "masked-lm is learned without labels", "fix: use rootstock pretrain"),
    ("adapt good.jsonl --base base --label language --set data.mix=equal", "data.mix is equal, which means nothing for labelled rows"),
]


@pytest.mark.parametrize(("line", "said"), [(line, said) for line, *said in CASES], ids=[each[0] for each in CASES])
def test_what_is_wrong_is_said(command, line, said, tmp_path):
    code, out, err = command(f"{line} --out {tmp_path / 'run'}")
    assert (code, out) == (2, ""), err
    for part in said:
        assert part in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_a_broken_line_is_counted_shown_and_skipped(command, tmp_path):
    code, _, err = command(f"pretrain broken.jsonl {BASE} --out {tmp_path / 'run'}")
    assert code == 0, err
    assert "left out: 1 no JSON" in err
    shown = next(line for line in err.splitlines() if line.startswith("corpus    left out: "))
    assert "broken.jsonl:7: no JSON" in shown
    assert '{"text": "a warm' in shown
    ledger = json.loads((tmp_path / "run" / "ledger.json").read_text())
    assert ledger["broken"] == {"no JSON": 1}
    assert len(ledger["broken_examples"]) == 1


def test_results_go_to_stdout_as_json_and_what_decides_comes_first_in_every_line(command, tmp_path):
    code, out, err = command(
        f"pretrain good.jsonl {BASE} --task causal-lm --base scratch:gpt2-tiny --tokenizer tok --languages de --json "
        f"--set training.length=16 --out {tmp_path / 'run'}"
    )
    assert code == 0, err
    found = json.loads(out)
    assert {"loss", "perplexity", "bits_per_byte"} <= set(found["metrics"])
    lines = [line for line in err.splitlines() if line.startswith("evaluate")]
    figures = r"evaluate  step \d+  epoch 1\.00  loss (\d+\.\d{4})  bits_per_byte \d+\.\d{4}  accuracy \d\.\d{4}  \(best\)"
    assert float(re.fullmatch(figures, lines[-1])[1]) == pytest.approx(found["metrics"]["loss"], abs=1e-3)
    ledger = json.loads((tmp_path / "run" / "ledger.json").read_text())
    assert ledger["broken"] == {"in another language": 10}
