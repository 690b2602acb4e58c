import pyarrow as pa
import pytest

from rootstock.core import rows
from rootstock.core.errors import DataError
from rootstock.data.columns import look
from rootstock.data.schema import canonical, infer
from rootstock.data.source import Source


def table(**columns):
    return pa.table(columns | {rows.ROW: range(2, 2 + len(next(iter(columns.values()))))})


def source(**columns):
    return Source(table(**columns), "a.csv", "csv", "", ())


TEXTS = [f"sentence number {i} of some length" for i in range(30)]
MORE = [f"another {i}" for i in range(30)]
IDS = [str(1000 + 7 * i) for i in range(30)]
TWO = ["yes", "no"] * 15
NUMBERS = [str(i / 7) for i in range(30)]

NAMED = {
    ("sentence", None, "label"): {"idx": IDS, "sentence": TEXTS, "label": TWO},
    ("review", None, "stars"): {"review": TEXTS, "title": MORE, "stars": TWO},
    ("sentence1", "sentence2", "score"): {"genre": TWO, "sentence1": TEXTS, "sentence2": MORE, "score": NUMBERS},
    ("#1 String", "#2 String", "Quality"): {"Quality": TWO, "#1 ID": IDS, "#2 ID": IDS, "#1 String": TEXTS, "#2 String": MORE},
    ("Premise", "Hypothesis", "gold_label"): {"gold_label": TWO, "Premise": TEXTS, "Hypothesis": MORE},
    ("question", "answer", "label"): {"question": TEXTS, "answer": MORE, "label": TWO},
    ("question", None, "answer"): {"question": TEXTS, "answer": TWO},  # a pair would leave no label
    ("text", None, "category"): {"text": TEXTS, "category": MORE, "class_size": NUMBERS},
}


@pytest.mark.parametrize("expected", NAMED)
def test_columns_are_found_by_name(expected):
    found = infer(table(**NAMED[expected]))
    assert (found.text, found.text_pair, found.label) == expected
    assert all(f"'{name}'" in " ".join(found.reasons) for name in NAMED[expected])


CONTENT = {
    ("column_1", "column_2"): {"column_1": TEXTS, "column_2": TWO},
    ("b", "c"): {"a": IDS, "b": TEXTS, "c": TWO},
    ("x", "w"): {"w": NUMBERS, "x": TEXTS, "v": MORE},  # numbers, where nothing has few values
    ("long", "kind"): {"boilerplate": ["the same long words on every row of this file " * 3] * 30, "long": TEXTS, "kind": TWO},
}


@pytest.mark.parametrize("expected", CONTENT)
def test_columns_are_found_by_content(expected):
    found = infer(table(**CONTENT[expected]))
    assert (found.text, found.label) == expected
    assert found.text_pair is None


def test_overrides_win():
    columns = {"text": TEXTS, "other": MORE, "label": TWO, "kind": TWO}
    found = infer(table(**columns), text="other", label="kind")
    assert (found.text, found.text_pair, found.label) == ("other", None, "kind")
    assert infer(table(**columns), text_pair="text").text == "other"
    assert infer(table(**columns), text="text", text_pair="other").text_pair == "other"
    assert infer(table(sentence1=TEXTS, sentence2=MORE, label=TWO), text="sentence1").text_pair is None


def test_wrong_overrides_are_explained():
    with pytest.raises(DataError, match="did you mean 'label'"):
        infer(table(text=TEXTS, label=TWO), label="lable")
    with pytest.raises(DataError, match="two parts"):
        infer(table(text=TEXTS, label=TWO), text="text", label="text")
    with pytest.raises(DataError, match="no column 'row'"):
        infer(table(text=TEXTS, label=TWO), label="row")


def test_no_label_lists_the_columns():
    with pytest.raises(DataError) as caught:
        infer(table(id=IDS, text=TEXTS, note=MORE))
    message = str(caught.value)
    assert "--label NAME" in message
    assert "id: number, 30 different values, such as '1000', '1007', '1014', only numbers the rows" in message
    assert "note: text" in message


def test_no_text_lists_the_columns():
    with pytest.raises(DataError, match=r"no column holds texts(.|\n)*--text NAME"):
        infer(table(id=IDS, label=TWO))


def test_files_to_predict_on_need_no_label():
    found = infer(table(text=MORE, label=TEXTS), labelled=False)
    assert (found.text, found.label) == ("text", None)
    assert infer(table(text=MORE, mark=TWO), label="mark", labelled=False).label == "mark"
    only = source(text=["a", None])
    assert canonical(only, infer(only.table, labelled=False)).rows.to_pydict() == {"text": ["a", ""], "row": [2, 3]}


def rows_of(label, text=None, **more):
    data = source(text=text or ["a"] * len(label), label=label)
    return canonical(data, infer(data.table, text="text", label="label"), **more)


KINDS = {
    pa.string(): (["1", "b"], ["1", "b"]),
    pa.int32(): ([1, 2], [1, 2]),
    pa.float32(): ([0.5, 1.0], [0.5, 1.0]),
    pa.bool_(): ([True, False], ["true", "false"]),
    pa.list_(pa.string()): ([["a", "b"], []], [["a", "b"], []]),
    pa.list_(pa.int64()): ([[1], [2, 3]], [["1"], ["2", "3"]]),
}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_labels_keep_their_kind(kind):
    given, expected = KINDS[kind]
    assert rows_of(pa.array(given, kind)).rows.column(rows.LABEL).to_pylist() == expected


def test_objects_are_no_labels_and_lists_of_lists_no_texts():
    with pytest.raises(DataError, match="column 'label' holds struct"):
        rows_of([{"a": 1}])
    with pytest.raises(DataError, match="column 'text' holds list"):
        rows_of(["a"], text=[[["a"]]])


def test_a_list_of_words_is_a_text_of_words():
    found = rows_of(["a", "b", "b"], text=[["Rome", "fell"], [], None]).rows
    assert found.column(rows.TEXT).to_pylist() == ["Rome fell", "", ""]
    assert found.column(rows.WORDS).to_pylist() == [["Rome", "fell"], [], []]


def test_columns_that_only_some_tasks_read_are_found_by_name_or_given():
    columns = {"text": TEXTS, "label": TWO, "other": MORE}
    held = table(**columns)
    found = infer(held, further={"rejected": ("loser", "other")})
    assert found.further == {"rejected": "other"}
    assert "rejected: column 'other'" in found.reasons
    assert infer(held, further={"rejected": "text"}).text == "other"
    assert infer(held, further={"rejected": ("loser",)}).further == {}
    assert canonical(source(**columns), found).rows.column("rejected").to_pylist() == MORE


def test_texts_become_strings():
    assert rows_of(["a", "b"], text=[1, None]).rows.column(rows.TEXT).to_pylist() == ["1", ""]


MISSING = {
    "blank": (["a", "", " "], (3, 4)),
    "none": ([None, "b", "c"], (2,)),
    "nan": ([1.0, float("nan"), 2.0], (3,)),
    "words among numbers": (["1", "NaN", "null"], (3, 4)),
    "lists": ([["a"], None, [None]], (3, 4)),
}


@pytest.mark.parametrize("name", MISSING)
def test_missing_labels_stop_or_are_counted(name):
    labels, places = MISSING[name]
    with pytest.raises(DataError, match=rf"a\.csv: {len(places)} of 3 rows have no label \(lines? {places[0]}(.|\n)*--accept unlabelled"):
        rows_of(labels)
    found = rows_of(labels, unlabelled=True)
    assert found.dropped == places
    assert found.rows.column(rows.ROW).to_pylist() == [row for row in (2, 3, 4) if row not in places]


def test_none_and_na_may_be_names():
    assert rows_of(["none", "na", "some"]).dropped == ()


def test_a_file_without_any_label_is_refused_even_when_accepted():
    with pytest.raises(DataError, match="no row has a label"):
        rows_of([None, None], unlabelled=True)


def test_a_schema_of_another_file_names_what_is_missing():
    schema = infer(table(review=TEXTS, label=TWO))
    with pytest.raises(DataError, match=r"a\.csv: there is no column 'review'(?s:.*)wanted: one of 'text', 'label'(?s:.*)fix: rename it"):
        canonical(source(text=TEXTS, label=TWO), schema)


def test_a_column_of_lists_is_told_by_what_stands_in_them():
    tags = pa.chunked_array([[["O", "O", "B"], ["O"]]] * 600)
    assert look(tags, "tags").values == "1,200 lists of values, such as 'O', 'B'"
    assert look(pa.chunked_array([[[], []]], pa.list_(pa.string())), "tags").values == "2 lists of values, such as []"
