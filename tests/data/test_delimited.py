import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootstock.core.errors import DataError
from rootstock.core.recipe import DataSettings
from rootstock.data.delimited import read_delimited


def parse(text, kind="csv", **settings):
    parsed = read_delimited(text, f"a.{kind}", settings=DataSettings(train="a", **settings), kind=kind)
    columns = parsed.table.to_pydict()
    return columns, columns.pop("row"), parsed


HEADERS = {
    "text,label\na,b\n": True,
    "comment,stars\ngood,4\nbad,1\n": True,  # numbers below, none above
    "Quality\t#1 String\n1\ta\n": True,
    "a stirring , funny film\t1\na dull one\t0\n": False,
    "great film,pos\nbad film,neg\nfine film,pos\n": False,  # pos comes again
    "one two three four five six,x\na,y\n": False,
    "0,1\ngood,pos\nbad,neg\n": True,  # what pandas calls nameless columns
    ",sentence,bias\n0,a,b\n": True,
}


@pytest.mark.parametrize("text", HEADERS)
def test_headers_are_recognised(text):
    columns, _, parsed = parse(text)
    assert ("column_1" not in columns or text.startswith(",")) == HEADERS[text]
    assert ("with a header" in parsed.notes[0]) == HEADERS[text]


def test_header_can_be_set():
    assert parse("text,label\na,b\n", header="no")[0] == {"column_1": ["text", "a"], "column_2": ["label", "b"]}
    assert parse("a,1\nb,2\n", header="yes")[0] == {"a": ["b"], "1": ["2"]}
    with pytest.raises(DataError, match="only a header"):
        parse("a,1\n", header="yes")


def test_lines_are_counted_through_quoted_newlines_and_blank_lines():
    columns, lines, parsed = parse('text,label\n"a\nb",1\n\nc,0\n"d\r\n\r\ne",1\nf,0\n')
    assert columns["text"] == ["a\nb", "c", "d\r\n\r\ne", "f"]
    assert lines == [2, 5, 6, 9]
    assert "1 blank line skipped" in parsed.notes


def test_lines_are_counted_over_many_chunks():
    count = 25_001
    text = "text,label\n" + "".join(f'"row {i}\n",1\n' if i % 7 == 0 else f"row {i},1\n" for i in range(count))
    columns, lines, _ = parse(text)
    assert len(columns["text"]) == count
    expected = [2 + i + (i + 6) // 7 for i in range(count)]
    assert lines == expected
    with pytest.raises(DataError, match=f"line {expected[-1] + 1}: a quote opens here"):
        parse(text + '"open,1\n')


def test_unpaired_quotes_in_tsv_are_letters():
    columns, lines, parsed = parse('text\tlabel\nhe said "no"\t1\n"an open one\t0\nx" \t1\n', "tsv")
    assert columns["text"] == ['he said "no"', '"an open one', 'x" ']
    assert lines == [2, 3, 4]
    assert "quotes are read as letters" in parsed.notes


def test_paired_quotes_in_tsv_quote():
    columns, _, _ = parse('text\tlabel\n"he said ""no"""\t1\n"b"\t0\n', "tsv")
    assert columns["text"] == ['he said "no"', "b"]
    columns, lines, _ = parse('text\tlabel\n"two\nlines\tand a tab"\t1\nb\t0\n', "tsv")
    assert columns["text"] == ["two\nlines\tand a tab", "b"]
    assert lines == [2, 4]


def test_quoting_can_be_set():
    with pytest.raises(DataError, match=r"data\.quoting=no"):
        parse('text,label\n"a" b,1\n')
    assert parse('text,label\n"a" b,1\n', quoting="no")[0]["text"] == ['"a" b']
    assert parse('text\tlabel\n"a"\t1\nb "c"\t1\n', "tsv", quoting="yes")[0]["text"] == ["a", 'b "c"']


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_delimiters_are_found(mark):
    text = f"text{mark}label\na b{mark}1\nc d{mark}0\n"
    assert parse(text)[0] == parse(text, "txt")[0] == {"text": ["a b", "c d"], "label": ["1", "0"]}


def test_sentences_are_no_table():
    columns, _, parsed = parse("Well, that was fine\nSadly, no\n", "txt")
    assert columns == {"column_1": ["Well, that was fine", "Sadly, no"]}
    assert parsed.format == "txt"


def test_very_long_fields_are_read():
    assert parse(f'text,label\n"{"a" * 300_000}",1\n')[0]["text"] == ["a" * 300_000]
    assert csv.field_size_limit() == 131_072


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))] * 2), min_size=1))
def test_what_the_csv_module_writes_is_read_back(rows):
    stream = io.StringIO(newline="")
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    columns, _, _ = parse(stream.getvalue())
    assert list(zip(columns["text"], columns["label"], strict=True)) == rows
