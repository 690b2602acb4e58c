"""The verb tokenizer: learn one, look at a text, report on a file, and each thing that can be wrong."""

import json

import pytest
import transformers


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with texts, a CSV in two languages, a folder of somebody's files, and files that are wrong."""
    folder = tmp_path_factory.mktemp("tokenizers")
    (folder / "notes").mkdir()
    (folder / "notes" / "one.txt").write_text("graft roots and grafted shoots, root and shoot\n" * 20)
    (folder / "two.csv").write_text('language,text\nen,"graft, roots"\nen,shoots\nde,Wurzel\n')
    (folder / "other").mkdir()
    (folder / "other" / "thesis.txt").write_text("years of work")
    (folder / "blank").mkdir()
    (folder / "blank" / "one.txt").write_text(" \n")
    (folder / "empty").mkdir()
    (folder / "empty" / "none.txt").touch()
    (folder / "damaged").mkdir()
    (folder / "damaged" / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def at(place, monkeypatch):
    monkeypatch.chdir(place)


@pytest.mark.usefixtures("at")
def test_a_tokenizer_is_learned_shown_and_loaded(command):
    code, out, err = command("tokenizer train notes --size 80 --out tok --overwrite")
    assert (code, err) == (0, "")
    assert out == "tok  42 tokens (wordpiece, bert) from 1 text; 80 were asked for, and these texts hold no more\n"
    assert len(transformers.AutoTokenizer.from_pretrained("tok")) == 42
    code, out, _ = command("tokenizer show tok 'graft root' --json")
    found = json.loads(out)
    assert code == 0
    assert [each["token"] for each in found] == ["[CLS]", "graft", "root", "[SEP]"]
    assert found[2]["place"] == [6, 10]
    code, out, _ = command("tokenizer show tok 'graft root'")
    assert [line.split() for line in out.splitlines()][1:3] == [
        [str(found[1]["id"]), "0-5", "graft"],
        [str(found[2]["id"]), "6-10", "root"],
    ]
    code, out, _ = command("tokenizer show tok --file two.csv --json")
    told = json.loads(out)["languages"]
    assert {name: each["texts"] for name, each in told.items()} == {"en": 2, "de": 1}
    assert told["en"]["whole_words"] == 1
    assert told["de"]["unknown"] == 1
    code, out, _ = command("tokenizer show tok --file notes")
    assert out.splitlines()[1].split()[0] == "all"


CASES = [
    ("train notes --kind wordpeice --out new", 2, "kind is wordpeice", "did you mean 'wordpiece'"),
    ("train notes --size 10 --out new", 2, "a size of 10 is too small", "--size"),
    ("train notes --size -3 --out new", 2, "size is -3", "1 or more"),
    ("train notes --kind bpe --coverage 2 --out new", 2, "coverage is 2.0"),
    ("train notes --family gpt --out new", 2, "wordpiece does not go with the family gpt"),
    ("train blank --out new", 2, "no text to learn from"),
    ("train empty --out new", 2, "no text to learn from; left out, empty file: 1"),
    ("train nowhere --out new", 2, "nowhere does not exist"),
    ("train notes --out other", 2, "other holds other files: thesis.txt"),
    ("train notes --out other --overwrite", 2, "other holds other files: thesis.txt"),
    ("train notes --out two.csv", 2, "two.csv is a file"),
    ("train notes --out damaged", 2, "damaged already holds a tokenizer", "--overwrite"),
    ("train notes", 2, "--out"),
    ("show nowhere x", 2, "nowhere holds no tokenizer", "tokenizer.json"),
    ("show other x", 2, "other holds no tokenizer"),
    ("show damaged x", 2, "damaged/tokenizer.json can't be read"),
    ("show damaged", 2, "neither a text nor --file"),
    ("show damaged x --file two.csv", 2, "a text and --file"),
    ("trian notes", 2, "train"),
]


@pytest.mark.parametrize(("line", "expected", "said"), [(line, code, said) for line, code, *said in CASES], ids=[each[0] for each in CASES])
@pytest.mark.usefixtures("at")
def test_what_is_wrong_is_said(command, place, line, expected, said):
    code, out, err = command(f"tokenizer {line}")
    assert code == expected, err
    assert out == ""
    for part in said:
        assert part in err
    assert "Traceback" not in err
    assert not (place / "new").exists()
