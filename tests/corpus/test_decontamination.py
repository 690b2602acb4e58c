import json
import random
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from tests.conftest import write_csv

from rootstock.core.errors import DataError, RecipeError
from rootstock.corpus.step import SCHEMA
from rootstock.corpus.steps import _ngrams
from rootstock.corpus.steps.decontamination import Decontamination

RNG = random.Random(11)
VOCABULARY = [f"{a}{b}{c}" for a in "bdfgklm" for b in "aeiou" for c in "lnrst"]


def sentence(count, rng=RNG):
    return " ".join(rng.choices(VOCABULARY, k=count))


def documents(texts):
    return pa.table(
        {"id": list(map(str, range(len(texts)))), "text": texts, "language": [""] * len(texts), "source": [0] * len(texts)}, SCHEMA
    )


def reasons(step, *texts):
    return list(step.apply(documents(list(texts))).reasons)


@pytest.fixture
def against(tmp_path):
    """A step against a CSV of these texts, and the CSV's name."""

    def make(texts, **settings):
        path = write_csv(tmp_path / "test.csv", [(text, "positive") for text in texts])
        return Decontamination(files=(str(path),), **settings), str(path)

    return make


def test_planted_overlaps_are_found_and_near_misses_are_not(against):
    texts = [sentence(20), sentence(13), sentence(8), sentence(6), sentence(5)]
    step, name = against(texts)
    long = texts[0].split()
    cases = {
        f"{sentence(50)} {' '.join(long[3:16])} {sentence(50)}": f"contaminated by {name}: row 2",
        f"{sentence(50)} {' '.join(long[3:15])} xx {sentence(50)}": None,  # 12 words
        " ".join([*long[:6], "xx", *long[7:19]]): None,
        f"Oh: “{texts[1].upper().replace(' ', '  —  ')}!”": f"contaminated by {name}: row 3",
        f"x {texts[2]} x": f"contaminated by {name}: row 4",
        f"x {' '.join(texts[2].split()[:7])} x": None,  # a short text must be there whole
        f"x {texts[3]}": f"contaminated by {name}: row 5",
        texts[4]: None,  # under `shortest`
        "": None,
    }
    assert reasons(step, *cases) == list(cases.values())


def test_the_same_as_a_set_of_ngrams(against):
    rng = random.Random(4)
    texts = [" ".join(rng.choices("abcd", k=rng.randint(4, 12))) for _ in range(10)]
    step, name = against(texts, n=5, shortest=4)
    grams = [{tuple(t.split()[i : i + 5]) for i in range(max(1, len(t.split()) - 4))} for t in texts]
    bodies = [" ".join(rng.choices("abcde", k=rng.randint(0, 20))) for _ in range(300)]
    expected = []
    for words in map(str.split, bodies):
        first = next(
            (
                min(row for row, found in enumerate(grams) if part in found)
                for start in range(len(words))
                for length in (4, 5)
                if (part := tuple(words[start : start + length])) and any(part in found for found in grams)
            ),
            None,
        )
        expected.append(None if first is None else f"contaminated by {name}: row {first + 2}")
    assert {each is None for each in expected} == {True, False}
    assert reasons(step, *bodies) == expected
    singly = [reason for body in bodies for reason in reasons(step, body)]
    assert singly == expected


def test_a_hash_alone_is_not_believed(against, monkeypatch):
    monkeypatch.setattr(_ngrams, "_longer", lambda hashes, numbers: np.zeros(len(hashes), np.uint64))  # all n-grams collide
    texts = [sentence(15), sentence(9)]
    step, name = against(texts)
    mixed = " ".join(reversed(texts[0].split()))
    assert reasons(step, mixed, texts[1], texts[0]) == [None, f"contaminated by {name}: row 3", f"contaminated by {name}: row 2"]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet", "txt"])
def test_every_format_is_read(tmp_path, kind):
    texts = [sentence(15), sentence(16), f"{sentence(7)}, {sentence(8)}"]
    path = tmp_path / f"test.{kind}"
    if kind == "parquet":
        parquet.write_table(pa.table({"question": texts, "n": [1, 2, 3]}), path)
    elif kind == "json":
        path.write_text(
            json.dumps({"data": [{"title": "t", "paragraphs": [{"context": "of it", "qas": [{"question": each}]}]} for each in texts]})
        )
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps({"question": each, "choices": ["a", "b"]}) for each in texts))
    elif kind == "tsv":
        path.write_text("text\tlabel\n" + "".join(f"{each}\ta\n" for each in texts))
    elif kind == "csv":
        write_csv(path, [(each, "a") for each in texts])
    else:
        path.write_text("\n".join(texts))
    shift = 2 if kind in ("csv", "tsv") else 1  # a header is line 1
    step = Decontamination(files=(str(path),))
    found = reasons(step, *texts, sentence(40))
    assert found == [*(f"contaminated by {path}: row {place + shift}" for place in range(3)), None]
    assert step.covers() == {str(path): {"rows": 3, "checked": 3, "found": 3}}


def test_what_is_found_is_counted_and_survives_a_kill(against):
    texts = [*(sentence(15) for _ in range(5)), "yes", sentence(15)]
    texts[4] = texts[3]  # the same text in two rows: both are found
    step, name = against(texts)
    reasons(step, texts[0], texts[0], sentence(30))
    kept = [step.new()]
    reasons(step, texts[0], texts[3])
    kept.append(step.new())
    assert [each.tolist() for each in kept] == [[0], [3, 4]]
    resumed = Decontamination(files=(name,))
    for each in kept:
        resumed.load(each)
    reasons(resumed, texts[6])
    assert resumed.covers() == {name: {"rows": 7, "checked": 6, "found": 4}}
    assert resumed.new().tolist() == [6]
    for wrong in (np.array([7], np.int64), np.array([-1], np.int64), np.array([1.0])):
        with pytest.raises(DataError, match="does not fit"):
            resumed.load(wrong)


def test_masking_cuts_the_overlap_and_its_window(against):
    shared = sentence(13)
    step, name = against([shared], action="mask", window=10)
    before, after = "Left, " * 20, " right." * 20
    applied = step.apply(documents([f"{before}{shared}{after}", "clean", f"short {shared} short"]))
    assert applied.texts[0] == f"{before[:-10].strip()}\n\n{after[10:].strip()}"
    assert applied.texts[1] == "clean"
    assert list(applied.reasons) == [None, None, f"contaminated by {name}: row 2"]  # nothing of ten letters is left
    assert applied.changed == {"overlap cut out": 1}


def test_masking_joins_cuts_that_touch_and_drops_what_falls_apart(against):
    shared = [sentence(13), sentence(13)]
    step, name = against(shared, action="mask", window=5)
    gap = " – und jetzt etwas ganz anderes – "
    applied = step.apply(documents([gap + shared[0] + " , " + shared[1] + gap, gap.join([shared[0]] * 9), gap.join([shared[0]] * 12)]))
    assert applied.texts[0] == f"{gap[:-5].strip()}\n\n{gap[5:].strip()}"
    assert applied.texts[1] == "\n\n".join([gap[5:-5].strip()] * 8)
    assert list(applied.reasons) == [None, None, f"contaminated by {name}: row 2"]
    assert applied.changed == {"overlap cut out": 10}


def test_scripts_without_blanks_go_by_letters(against):
    text = "今天天气很好我们一起去公园散步吧"
    step, name = against([text])
    assert reasons(step, f"他说{text[:13]}。", f"他说{text[:12]}。") == [f"contaminated by {name}: row 2", None]


def test_the_quick_way_for_ascii_finds_the_same_words():
    rng = random.Random(9)
    for _ in range(200):
        text = "".join(rng.choices([chr(code) for code in range(128)], k=60))
        assert _ngrams.words(f"{text} é")[:-1] == _ngrams.words(text)
    assert _ngrams.words("Don't_stop, 2.5 KB!") == ["don", "t", "stop", "2", "5", "kb"]


def test_coding_makes_no_difference(against):
    text = "Ça coûte très cher à l’été où il a plu sur la forêt près du château"
    step, _ = against([text])
    assert None not in reasons(step, unicodedata.normalize("NFD", text), text.replace("’", "'").upper())


def test_bad_files(tmp_path, against):
    with pytest.raises(DataError, match="does not exist"):
        reasons(Decontamination(files=(str(tmp_path / "none.csv"),)), "a")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(DataError, match="is empty"):
        reasons(Decontamination(files=(str(tmp_path / "empty.txt"),)), "a")
    with pytest.raises(DataError, match="no text of 6 words or more"):
        reasons(against(["one two", "three"])[0], "a")
    with pytest.raises(RecipeError, match="files"):
        Decontamination.build({"files": []}, "decontamination")
    with pytest.raises(RecipeError, match="action"):
        Decontamination.build({"files": ["a"], "action": "cut"}, "decontamination")


def test_real_evaluation_texts_are_found_in_themselves_only(data_folder):
    path = data_folder / "sst2" / "test.tsv"
    train = data_folder / "sst2" / "dev.tsv"
    step = Decontamination(files=(str(path),))
    own = [line.split("\t")[0] for line in path.read_text("utf-8").splitlines()]
    found = reasons(step, *own)
    assert all((reason is not None) == (len(_ngrams.words(text)) >= 6) for reason, text in zip(found, own, strict=True))
    others = [line.split("\t")[0] for line in train.read_text("utf-8").splitlines()]
    assert sum(reason is not None for reason in reasons(step, *others)) <= 10
