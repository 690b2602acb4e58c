from collections import Counter

import pytest

from rootstock.core.errors import DataError
from rootstock.core.recipe import DataSettings
from rootstock.data import stdlib_docs
from rootstock.data.source import read


@pytest.fixture(scope="module")
def source():
    return read("stdlib-docs", DataSettings(train="stdlib-docs"))


def test_it_is_large_and_balanced_enough_to_learn_from(source):
    labels = Counter(source.table.column("label").to_pylist())
    assert source.table.num_rows > 1500
    assert set(labels) == set(stdlib_docs.AREAS)
    assert min(labels.values()) >= 50
    assert max(labels.values()) < source.table.num_rows / 2


def test_texts_are_short_paragraphs_and_differ(source):
    texts = source.table.column("text").to_pylist()
    assert len({text.casefold() for text in texts}) == len(texts)
    assert all(len(text.split()) >= 5 and text == " ".join(text.split()) for text in texts)


def test_it_is_the_same_each_time(source, monkeypatch):
    assert f"{source.table.num_rows:,} docstrings" in source.notes[0]
    first = next(iter(stdlib_docs.AREAS))
    monkeypatch.setattr(stdlib_docs, "AREAS", {first: stdlib_docs.AREAS[first]})
    again = stdlib_docs.rows()
    assert again.num_rows >= 50
    assert again.equals(source.table.select(["text", "label"]).slice(0, again.num_rows))


def test_no_module_belongs_to_two_areas():
    modules = [module for names in stdlib_docs.AREAS.values() for module in names.split()]
    assert len(set(modules)) == len(modules)


def test_a_python_without_sources_is_explained(monkeypatch, tmp_path):
    monkeypatch.setattr(stdlib_docs.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(DataError, match="without the sources"):
        stdlib_docs.rows()
