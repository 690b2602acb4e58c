"""CoNLL files: sentences, columns, documents, contractions, and what is no sentence."""

import pytest

from rootstock.core.errors import DataError
from rootstock.core.recipe import DataSettings
from rootstock.core.rows import ROW
from rootstock.data import source
from rootstock.data.conll import is_conll, read_conll

TWO = "Rome B-place\nfell O\n\n-DOCSTART- O\n\nAnn B-person\nwaits O\n"
UNIVERSAL = (
    "# sent_id = 1\n# text = du pain\n"
    "1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "1\tde\tde\tADP\tP\t_\t3\tcase\t_\t_\n2\tle\tle\tDET\tD\t_\t3\tdet\t_\t_\n3\tpain\tpain\tNOUN\tN\t_\t0\troot\t_\t_\n\n"
)


def test_a_sentence_is_a_row_and_knows_its_line():
    found = read_conll(TWO, "a").table
    assert found.column("words").to_pylist() == [["Rome", "fell"], ["Ann", "waits"]]
    assert found.column("tags").to_pylist() == [["B-place", "O"], ["B-person", "O"]]
    assert found.column(ROW).to_pylist() == [1, 6]


def test_columns_between_word_and_tag_have_numbers():
    found = read_conll("Rome NNP B-NP\nfell VBD B-VP\n", "a").table
    assert found.column_names == ["words", "column_2", "tags", ROW]


def test_a_treebank_has_its_words_without_contractions():
    found = read_conll(UNIVERSAL, "a").table
    assert found.column("words").to_pylist() == [["de", "le", "pain"]]
    assert found.column("upos").to_pylist() == [["ADP", "DET", "NOUN"]]


def test_a_treebank_without_comments_has_its_words_without_contractions():
    bare = "".join(line + "\n" for line in UNIVERSAL.split("\n") if not line.startswith("#"))
    assert read_conll(bare, "a").table.column("words").to_pylist() == [["de", "le", "pain"]]


def test_a_word_that_begins_with_a_hash_is_a_word():
    assert read_conll("#ff O\n# O\n", "a").table.column("words").to_pylist() == [["#ff", "#"]]
    assert read_conll("# # B-NP\n100 CD I-NP\n", "a").table.column("words").to_pylist() == [["#", "100"]], "first of its sentence"


def test_a_number_below_a_comment_is_a_word():
    found = read_conll("# id 12 domain=en\n2.5\tO\nAnn\tB-person\n", "a").table
    assert found.column("words").to_pylist() == [["2.5", "Ann"]]
    assert found.column(ROW).to_pylist() == [2]


def test_only_line_ends_end_a_line_and_only_blanks_part_fields():
    text = "a\u2028b O\nc\xa0d O\r\n\r\ne\x85f B-x\n"
    assert is_conll(text)
    assert read_conll(text, "a").table.column("words").to_pylist() == [["a\u2028b", "c\xa0d"], ["e\x85f"]]


def test_a_line_of_another_width_is_named():
    with pytest.raises(DataError, match=r"a\.conll, line 2: found 1 field\n"):
        read_conll("Rome O\nfell\n", "a.conll")
    with pytest.raises(DataError, match=r"a, line 3: found 9 fields"):
        read_conll("1-2\t_" + 8 * "\t_" + "\n1\tde" + 8 * "\t_" + "\n2\tle" + 7 * "\t_" + "\n", "a")
    with pytest.raises(DataError, match="holds no sentences"):
        read_conll("\n\n", "a.conll")


def test_it_is_known_by_its_tags_alone(tmp_path):
    assert is_conll(TWO)
    assert not is_conll("a good film\tO\na bad one\tO\n"), "without a blank line it is a table"
    assert not is_conll("text label\n\nfine good\n")
    path = tmp_path / "train.txt"
    path.write_text(TWO)
    assert source.read(str(path), DataSettings(train=str(path))).format == "conll"
