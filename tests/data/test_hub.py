import sys

import pytest

from rootstock.core.errors import DataError
from rootstock.core.recipe import DataSettings
from rootstock.data.source import read

datasets = pytest.importorskip("datasets")


def get(reference):
    return read(reference, DataSettings(train=reference))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    place = tmp_path / "films"
    place.mkdir()
    (place / "train.csv").write_text("text,label\na fine film,1\na dull film,0\n")
    (place / "test.csv").write_text("text,label\na long film,0\n")
    return place


def test_a_folder_of_files_with_splits(folder):
    train, test = get(f"hf:{folder}"), get(f"hf:{folder}:test")
    assert train.table.to_pydict() == {"text": ["a fine film", "a dull film"], "label": [1, 0], "row": [1, 2]}
    assert test.table.column("text").to_pylist() == ["a long film"]
    assert "split test of train, test" in test.notes[0]
    assert train.digest == get(f"hf:{folder}:train").digest != test.digest
    with pytest.raises(DataError, match=r"did you mean hf:.*:test"):
        get(f"hf:{folder}:tset")


def test_a_saved_data_set_gives_its_label_names(tmp_path):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])})
    datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features).save_to_disk(tmp_path / "saved")
    assert get(f"hf:{tmp_path / 'saved'}").table.column("label").to_pylist() == ["good", "bad"]


def test_a_configuration_is_named_before_the_split(folder):
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: long\n  data_files: test.csv\n- config_name: short\n  data_files: train.csv\n---\n"
    )
    assert get(f"hf:{folder}:long:train").table.column("text").to_pylist() == ["a long film"]
    assert get(f"hf:{folder}:short:train").table.num_rows == 2
    with pytest.raises(DataError, match=r"Config name is missing(.|\n)*CONFIGURATION"):
        get(f"hf:{folder}")
    with pytest.raises(DataError, match="names no data set"):
        get(f"hf:{folder}:a:b:c")


def test_what_cannot_be_loaded_names_the_offline_choices(folder, tmp_path):
    for reference in ("hf:someone/some-set", f"hf:{tmp_path / 'nowhere'}", "hf:a b"):
        with pytest.raises(DataError, match=r"could not be loaded(.|\n)*stdlib-docs"):
            get(reference)
    with pytest.raises(DataError, match="names no data set"):
        get("hf:")


def test_without_the_package_the_error_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"needs the package datasets(.|\n)*stdlib-docs"):
        get("hf:someone/some-set")
