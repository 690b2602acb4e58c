"""Two files with a line each for the other."""

import gzip

import pytest

from rootstock.core.errors import DataError
from rootstock.core.recipe import DataSettings, Recipe
from rootstock.data import source

SETTINGS = DataSettings(train="unused")


def write(folder, **texts):
    for name, text in texts.items():
        (folder / f"train.{name}.gz").write_bytes(gzip.compress(text.encode()))
    return "+".join(str(folder / f"train.{name}.gz") for name in texts)


def test_lines_of_one_number_are_a_row(tmp_path):
    found = source.read(write(tmp_path, en='one, "two"\n\nthree\u2028four\n', de="eins\n\ndrei\tvier\n"), SETTINGS)
    assert found.table.column("en").to_pylist() == ['one, "two"', "three\u2028four"]
    assert found.table.column("de").to_pylist() == ["eins", "drei\tvier"]
    assert found.table.column("row").to_pylist() == [1, 3]
    assert found.unit == "line"


def test_files_of_different_length_are_refused(tmp_path):
    with pytest.raises(DataError, match="different numbers of lines"):
        source.read(write(tmp_path, en="a\nb\n", de="a\n"), SETTINGS)


def test_a_file_with_a_plus_in_its_name_is_one_file(tmp_path):
    path = tmp_path / "a+b.csv"
    path.write_text("text,label\nx,1\ny,2\n")
    assert source.read(str(path), SETTINGS).table.column("text").to_pylist() == ["x", "y"]


def test_names_that_tell_nothing_are_source_and_target(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "text.txt").write_text("a\n")
    found = source.read(f"{tmp_path / 'one' / 'text.txt'}+{tmp_path / 'two' / 'text.txt'}", SETTINGS)
    assert found.table.column_names == ["source", "target", "row"]


def test_each_file_is_found_from_the_recipes_folder(tmp_path):
    write(tmp_path, en="a\n", de="b\n")
    recipe = Recipe.build({"data": {"train": "train.en.gz+train.de.gz", "validation": "a+b.csv"}}, "").anchored(tmp_path)
    assert recipe.data.train == f"{tmp_path / 'train.en.gz'}+{tmp_path / 'train.de.gz'}"
    assert recipe.data.validation == "a+b.csv"


def test_a_text_a_line_where_commas_part_nothing(tmp_path):
    (tmp_path / "texts.txt").write_text("one, two\n\nthree\n")
    found = source.read(str(tmp_path / "texts.txt"), DataSettings(train="unused", format="lines"))
    assert found.table.column("text").to_pylist() == ["one, two", "three"]
    assert found.table.column("row").to_pylist() == [1, 3]
