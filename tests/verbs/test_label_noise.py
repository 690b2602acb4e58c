"""Labels that were made wrong are found, written down, and trained without."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from tests import tiny_models
from tests.conftest import rows_of, write_csv

from rootstock.core.errors import DataError, UsageError
from rootstock.core.recipe import Recipe
from rootstock.core.watch import Watch
from rootstock.data import exclude
from rootstock.evaluation import label_noise as found_by
from rootstock.run.prepare import prepare
from rootstock.verbs import label_noise

OTHER = {"positive": "negative", "negative": "positive"}


@pytest.fixture
def noisy(tmp_path):
    """120 reviews, six of them with the other label, and the lines of these."""
    rows = [(f"{text} {i}", label) for i, (text, label) in enumerate(rows_of(120))]
    wrong = {5, 24, 43, 62, 81, 100}
    flipped = [(text, OTHER[label] if i in wrong else label) for i, (text, label) in enumerate(rows)]
    return write_csv(tmp_path / "noisy.csv", flipped), {i + 2 for i in wrong}


def recipe(path, base, **data):
    return Recipe.build({"base": str(base), "data": {"train": str(path), **data}}, "")


def blobs(count=120):
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    return (4 * np.eye(3)[labels] + rng.normal(size=(count, 3))).astype(np.float32), labels


def test_no_row_is_judged_by_a_model_that_saw_it_or_its_twin():
    """A row whose twin has the other label: a model that saw the twin would be sure of it."""
    features, labels = blobs()
    keys = [str(i) for i in range(120)]
    twins = [*keys[:60], *keys[:60]]
    doubled, other = np.concatenate([features[:60]] * 2), np.concatenate([labels[:60], (labels[:60] + 1) % 3])
    apart = found_by.out_of_sight(doubled, other, twins)
    assert apart.shape == (120, 3)
    np.testing.assert_allclose(apart.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(apart[:60], apart[60:], atol=1e-6)
    with pytest.raises(DataError, match="4 different texts"):
        found_by.out_of_sight(features, labels, [str(i % 4) for i in range(120)])


def test_planted_labels_are_found_by_confident_learning():
    pytest.importorskip("cleanlab")
    features, labels = blobs()
    wrong = np.arange(0, 120, 20)
    given = labels.copy()
    given[wrong] = (given[wrong] + 1) % 3
    found = found_by.suspects(features, given, [str(i) for i in range(120)])
    assert len(np.intersect1d(found.places, wrong)) >= 5
    assert len(found.places) <= 9
    assert (found.suggested[wrong] == labels[wrong]).mean() > 0.8
    assert (np.diff(found.scores[found.places]) >= 0).all(), "the most certain first"


def test_suspects_are_listed_written_and_left_out(noisy, decided_base, adapt, tmp_path):
    pytest.importorskip("cleanlab")
    path, _ = noisy
    found = label_noise.find(recipe(path, decided_base), Watch())
    assert {"row", "label", "suggested", "score", "digest", "text"} == set(found["suspects"][0])
    assert found["rows"] == 120
    assert "labels are probably wrong" in label_noise.as_text(found)
    label_noise.write(found, tmp_path / "suspects.csv")
    listed = [int(row["row"]) for row in csv.DictReader((tmp_path / "suspects.csv").read_text("utf-8").splitlines())]
    assert listed, "what is found in random features is left to the test above"
    run = adapt(data=path, exclude=str(tmp_path / "suspects.csv"), training={"epochs": 1})
    counts = json.loads((run.path / "ledger.json").read_text())["rows"]
    plain = json.loads((adapt(data=path, out="plain", training={"epochs": 1}).path / "ledger.json").read_text())["rows"]
    assert counts["read"] == plain["read"] == 120
    assert counts["excluded"] == plain["train"] - counts["train"] > 0
    assert counts["validation"] == plain["validation"], "validation rows stay"
    assert "excluded by a list" in (run.path / "README.md").read_text()


@pytest.fixture
def decided_base(tmp_path):
    from tests.conftest import make_base

    return make_base(tmp_path / "decided", initializer_range=0.3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("line,label\n3,positive\n", "has no column 'row'"),
        ("row\nthree\n", "row is 'three'"),
        ("row\n5000\n", "lists row 5000"),
        ("row,label\n2,nonsense\n", "says that row 2 is 'nonsense'"),
        ("", "is empty"),
    ],
)
def test_a_list_that_does_not_belong_is_refused(adapt, tmp_path, text, said):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        adapt(exclude=str(tmp_path / "list.csv"))
    with pytest.raises(DataError):
        adapt(exclude=str(tmp_path / "missing.csv"))


def test_a_list_may_hold_whatever_a_text_may(tmp_path):
    place = tmp_path / "list.csv"
    place.write_text('row,text\n2,a\u2028b\n3,"c\nd"\n', encoding="utf-8")
    assert set(exclude.read(str(place)).rows) == {2, 3}
    place.write_text(f"row,text\n2,{'x' * 200_000}\n")
    with pytest.raises(DataError, match="no whole CSV"):
        exclude.read(str(place))


def test_labels_of_few_rows_each_are_refused():
    with pytest.raises(DataError, match="no label has more than 2 rows"):
        found_by.out_of_sight(np.eye(20, 4, dtype=np.float32), np.repeat(np.arange(10), 2), [str(i) for i in range(20)])


def test_rows_that_an_augmentation_makes_are_no_suspects(noisy, decided_base):
    pytest.importorskip("cleanlab")
    asked = recipe(noisy[0], decided_base).model_copy(update={"augment": {"name": "eda"}})
    assert label_noise.find(asked, Watch())["rows"] == 120


def test_only_single_classes_have_suspects(tiny_base, tmp_path):
    pytest.importorskip("cleanlab")
    numbers = write_csv(tmp_path / "numbers.csv", [(f"a film {i}", i + 0.5) for i in range(40)])
    with pytest.raises(UsageError, match="one class a row"):
        label_noise.find(recipe(numbers, tiny_base), Watch())


def test_images_in_the_wrong_folder_are_suspects_and_left_out(tmp_path):
    pytest.importorskip("cleanlab")
    rng, rows = np.random.default_rng(0), tmp_path / "pictures"
    for name, shade in (("bright", 200), ("dark", 40)):
        (rows / name).mkdir(parents=True)
        for number in range(30):
            other = 240 - shade if number in (3, 17) else shade
            pixels = np.clip(rng.normal(other, 20, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(rows / name / f"{number:02}.png")
    (rows / "dark" / "broken.png").write_bytes(b"\x89PNG no more")
    base = tiny_models.vit_model().save_pretrained(tmp_path / "eye") or tmp_path / "eye"
    found = label_noise.find(recipe(rows, base), Watch())
    wrong = {f"{name}/{number}.png" for name in ("bright", "dark") for number in ("03", "17")}
    assert found["rows"] == 60
    assert {each["text"] for each in found["suspects"]} == wrong
    label_noise.write(found, tmp_path / "suspects.csv")
    said = []
    prepared = prepare(recipe(rows, base, exclude=str(tmp_path / "suspects.csv")), said.append)
    left = prepared.train.column("text").to_pylist()
    assert not wrong & set(left)
    assert prepared.ledger["rows"]["excluded"] == 54 - len(left) > 0
    assert prepared.sources["exclude"]["name"].endswith("suspects.csv")
    assert any(line.startswith("exclude   ") for line in said)
    few = recipe(rows, base, rows=40)
    drawn = prepare(few, said.append).train
    one = dict(zip(drawn.column("text").to_pylist(), drawn.column("row").to_pylist(), strict=True))["bright/02.png"]
    assert one == 3  # of all images, and not of those that were drawn
    (tmp_path / "list.csv").write_text("row,label\n3,bright\n")
    left = prepare(recipe(rows, base, exclude=str(tmp_path / "list.csv"), rows=40), said.append).train
    assert set(drawn.column("text").to_pylist()) - set(left.column("text").to_pylist()) == {"bright/02.png"}
    (rows / "bright" / "00.png").unlink()
    with pytest.raises(DataError, match="is another than when"):
        prepare(recipe(rows, base, exclude=str(tmp_path / "suspects.csv")), said.append)


def test_without_the_package_its_extra_is_named(noisy, tiny_base, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(UsageError, match=r"rootstock\[noise\]"):
        label_noise.find(recipe(noisy[0], tiny_base), Watch())
