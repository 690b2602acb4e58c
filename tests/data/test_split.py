from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.conftest import examples

from rootstock.core import rows
from rootstock.core.errors import DataError
from rootstock.data.split import draw, keys, split


def table(texts, labels=None, pairs=None):
    columns = {rows.TEXT: texts, rows.PAIR: pairs, rows.LABEL: labels, rows.ROW: range(1, len(texts) + 1)}
    return pa.table({name: values for name, values in columns.items() if values is not None})


def places(part):
    return part.column(rows.ROW).to_pylist()


def test_keys_fold_case_and_blanks():
    assert keys(table([" A  film\n", "a FILM", "Straße", "a film."])) == ["a film", "a film", "strasse", "a film."]
    assert keys(table(["a", "a b"], pairs=["b c", "C"])) == ["a\tb c", "a b\tc"]


def test_draw_keeps_the_order_of_the_file():
    data = table([str(i) for i in range(100)])
    drawn = places(draw(data, 30, 1))
    assert drawn == sorted(drawn)
    assert len(set(drawn)) == 30
    assert drawn == places(draw(data, 30, 1)) != places(draw(data, 30, 2))
    assert draw(data, 200, 1) is data


def test_shares_are_exact_where_all_rows_differ():
    data = table([str(i) for i in range(1000)], ["a"] * 700 + ["b"] * 290 + ["c"] * 10)
    train, validation = split(data, 0.1, 7, stratify=True)
    assert validation.num_rows == 100
    assert Counter(validation.column(rows.LABEL).to_pylist()) == {"a": 70, "b": 29, "c": 1}
    assert places(train) == sorted(places(train))


def test_the_same_seed_gives_the_same_rows_on_every_machine():
    data = table([str(i) for i in range(40)], ["a", "b"] * 20)
    assert places(split(data, 0.2, 42, stratify=True)[1]) == GOLDEN
    assert places(split(data, 0.2, 43, stratify=True)[1]) != GOLDEN


GOLDEN = [15, 16, 18, 19, 20, 29, 31, 38]


def test_a_rare_label_gets_its_place_on_both_sides():
    data = table([str(i) for i in range(200)], ["a"] * 190 + ["b"] * 10)
    train, validation = split(data, 0.1, 0, stratify=True)
    assert Counter(validation.column(rows.LABEL).to_pylist()) == {"a": 19, "b": 1}
    assert Counter(train.column(rows.LABEL).to_pylist()) == {"a": 171, "b": 9}


def test_too_few_rows_are_refused():
    for texts in (["a"], ["a", "A "]):
        with pytest.raises(DataError, match="too few"):
            split(table(texts, ["x"] * len(texts)), 0.5, 0, stratify=True)
    with pytest.raises(DataError, match="too few"):
        split(table(["a", "b"], ["x", "y"]), 0.5, 0, stratify=True)  # each label has one text, which train needs
    with pytest.raises(DataError, match="no rows"):
        split(table([], []), 0.5, 0, stratify=True)
    for share in (0.0, 1.0, -1.0, 3.0):
        with pytest.raises(DataError, match="a share in"):
            split(table(["a", "b"]), share, 0, stratify=False)


TEXTS = st.lists(st.text("aAbB \n", max_size=3), min_size=2, max_size=40)
ONE, SEVERAL = st.sampled_from("xyz"), st.lists(st.sampled_from("xyz"), max_size=3, unique=True)


@settings(max_examples=examples(150), deadline=None)
@given(
    texts=TEXTS, share=st.floats(0.05, 0.95), seed=st.integers(0, 2**32 - 1), several=st.booleans(), stratify=st.booleans(), data=st.data()
)
def test_any_split_keeps_its_promises(texts, share, seed, several, stratify, data):
    labels = data.draw(st.lists(SEVERAL if several else ONE, min_size=len(texts), max_size=len(texts)))
    whole = table(texts, pa.array(labels, pa.list_(pa.string())) if several else labels)
    try:
        train, validation = split(whole, share, seed, stratify=stratify)
    except DataError:
        assume(False)
    assert sorted(places(train) + places(validation)) == places(whole)
    assert not set(keys(train)) & set(keys(validation))
    assert train.num_rows
    assert 0 < validation.num_rows <= max(1, round(share * len(texts)))
    again = split(whole, share, seed, stratify=stratify)
    assert places(again[1]) == places(validation)
    if stratify:
        left, held = (
            {label for each in part.column(rows.LABEL).to_pylist() for label in (each if several else [each])}
            for part in (train, validation)
        )
        assert held <= left
