"""CoNLL-U: words with their places in the text, contractions, documents, parts, and what is no CoNLL-U."""

import gzip

import pytest

from rootstock.core.errors import DataError
from rootstock.data import conllu


def line(number, form, tag="X", misc="_"):
    return f"{number}\t{form}\t_\t{tag}\t_\t_\t_\t_\t_\t{misc}\n"


TWO = (
    "# newdoc id = one\n# text = I don't, no.\n"
    + line(1, "I", "PRON")
    + line("2-3", "don't", "_", "SpaceAfter=No")
    + line(2, "do", "AUX")
    + line(3, "n't", "PART")
    + line(4, ",", "PUNCT")
    + line("4.1", "will", "VERB")
    + line(5, "no", "INTJ", "SpaceAfter=No")
    + line(6, ".", "PUNCT")
    + "\n# newdoc id = two\n"
    + line("1-2", "du", "_")
    + line(1, "de", "ADP")
    + line(2, "le", "DET")
    + line(3, "vin", "NOUN")
)


def write(place, text):
    place.write_text(text, "utf-8")
    return place


def test_words_lie_where_they_were_written(tmp_path):
    first, second = conllu.read(write(tmp_path / "a.conllu", TWO))
    assert first.text == "I don't, no."
    assert first.words == ("I", "do", "n't", ",", "no", ".")
    assert first.tags == ("PRON", "AUX", "PART", "PUNCT", "INTJ", "PUNCT")
    assert [first.text[a:b] for a, b in first.spans] == ["I", "do", "n't", ",", "no", "."]
    assert [second.text[a:b] for a, b in second.spans] == ["du", "du", "vin"]
    assert (first.document, second.document) == ("one", "two")


def test_windows_line_ends_and_gzip_change_nothing(tmp_path):
    (tmp_path / "a.conllu.gz").write_bytes(gzip.compress(TWO.replace("\n", "\r\n").encode()))
    assert conllu.read(tmp_path / "a.conllu.gz") == conllu.read(write(tmp_path / "b.conllu", TWO))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1\tword\tNOUN\n", "line 1: found 3 columns"),
        (TWO + line("x", "word"), "found 'x' as a word's number"),
        ("# only = a comment\n", "holds no sentence"),
        ("", "is empty"),
    ],
)
def test_what_is_no_conllu_is_said(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        conllu.read(write(tmp_path / "a.conllu", text))


def test_a_folder_is_divided_by_its_names(tmp_path):
    for split in conllu.SPLITS:
        write(tmp_path / f"en_x-ud-{split}.conllu", TWO)
    (tmp_path / "LICENSE.txt").write_text("free")
    found = conllu.treebank(tmp_path, seed=0)
    assert {split: len(each) for split, each in found.parts.items()} == {"train": 2, "dev": 2, "test": 2}
    assert conllu.holds_treebank(tmp_path)
    (tmp_path / "en_x-ud-dev.conllu").unlink()
    with pytest.raises(DataError, match="dev: 0"):
        conllu.treebank(tmp_path, seed=0)


def test_one_file_is_divided_by_document(tmp_path):
    text = "".join(f"# newdoc id = d{i}\n{line(1, f'a{i}')}\n{line(1, f'b{i}')}\n" for i in range(20))
    found = conllu.treebank(write(tmp_path / "a.conllu", text), seed=0)
    documents = [{each.document for each in part} for part in found.parts.values()]
    assert list(map(len, documents)) == [14, 3, 3]
    assert len(set.union(*documents)) == 20
    assert all(len(part) == 2 * len(held) for part, held in zip(found.parts.values(), documents, strict=True))
    assert "document" in found.divided
    with pytest.raises(DataError, match="found 2 documents"):
        conllu.treebank(write(tmp_path / "b.conllu", TWO), seed=0)


def test_the_english_web_treebank_has_the_sizes_that_it_states(data_folder):
    place = data_folder / "ud_english_ewt"
    if not place.is_dir():
        pytest.skip("no ud_english_ewt in the folder of data")
    found = conllu.treebank(place, seed=0)
    assert {split: (len(part), sum(len(each.words) for each in part)) for split, part in found.parts.items()} == {
        "train": (12544, 204577),
        "dev": (2001, 25147),
        "test": (2077, 25094),
    }
    stated = [
        each[9:]
        for each in gzip.decompress((place / "en_ewt-ud-test.conllu.gz").read_bytes()).decode().split("\n")
        if each[:9] == "# text = "
    ]
    # one sentence of the set holds a no-break space where its words are joined by a plain one
    assert sum(a != b.text for a, b in zip(stated, found.parts["test"], strict=True)) == 1
