"""Pixels against transformers' own processor, classes from folders to answers, and what can't be used."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tests import cards, plain, tiny_models
from transformers import AutoImageProcessor, AutoModelForImageClassification, ViTModel

import rootstock as rs
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import BaseError, DataError, RecipeError
from rootstock.core.loaded import Head
from rootstock.core.recipe import Recipe
from rootstock.core.seed import Draw
from rootstock.core.watch import Watch
from rootstock.data import images, split
from rootstock.evaluation.baselines import baselines
from rootstock.run import features, labelled_pictures
from rootstock.run.build import build
from rootstock.run.prepare import prepare
from rootstock.tasks.image_classification import ImageClassification
from rootstock.verbs import lineage

SHADES = {"bright": 200, "dark": 40}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Forty images in two class folders, a text file, and one image that is none."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name, shade in SHADES.items():
        (folder / name).mkdir()
        for number in range(20):
            pixels = np.clip(rng.normal(shade, 20, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02}.png")
    (folder / "dark" / "broken.png").write_bytes(b"\x89PNG no more")
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def eye(tmp_path_factory):
    """A tiny base that reads images of 8 pixels."""
    return tiny_models.eye(tmp_path_factory.mktemp("eye"))


SETTINGS = {"epochs": 12, "rate": 3e-3, "batch_tokens": 40}


@pytest.fixture(scope="module")
def run(pictures, eye, tmp_path_factory):
    return rs.adapt(pictures, base=str(eye), method="full", out=tmp_path_factory.mktemp("run") / "run", training=SETTINGS)


def test_from_class_folders_to_answers(run, pictures):
    assert run.recipe.task["name"] == "image-classification"
    assert list(run.recipe.task["labels"]) == ["bright", "dark"]
    assert run.metrics["metrics"]["accuracy"] == 1
    assert run.predict([str(pictures / "dark" / "03.png"), pictures / "bright" / "04.png"]) == ["dark", "bright"]
    assert run.folder.json("ledger.json")["rows"]["dropped"] == 1
    assert run.folder.json("ledger.json")["broken_examples"][0]["file"].endswith("broken.png")


def test_plain_transformers_gives_the_same_answers(run, pictures):
    processor, model = (each.from_pretrained(run.path / "model") for each in (AutoImageProcessor, AutoModelForImageClassification))
    names = [pictures / "dark" / "03.png", pictures / "bright" / "04.png"]
    made = run.predictions(run.rows_of(names)).table
    with torch.no_grad():
        scores = model(**processor([Image.open(name) for name in names], return_tensors="pt")).logits.softmax(-1)
    np.testing.assert_allclose(made["p(dark)"], scores[:, model.config.label2id["dark"]].numpy(), atol=0.02)
    card = (run.path / "README.md").read_text()
    assert "pipeline_tag: image-classification" in card
    assert "AutoImageProcessor" in card
    Image.open(names[0]).save(run.path / "picture.jpg")
    assert cards.said(run).startswith("dark ")


def test_evaluate_counts_and_shows_what_it_cannot_read_and_measures_the_rest(run, pictures, tmp_path):
    said = []
    found = run.evaluate(str(pictures), say=said.append)
    assert (found["rows"], found["broken_images"]) == (40, 1)
    assert any("dark/broken.png is " in line for line in said)
    (tmp_path / "alone" / "dark").mkdir(parents=True)
    (tmp_path / "alone" / "dark" / "broken.png").write_bytes((pictures / "dark" / "broken.png").read_bytes())
    with pytest.raises(DataError, match=r"no image can be read, such as dark/broken.png"):
        run.evaluate(str(tmp_path / "alone"))
    shutil.rmtree(tmp_path / "alone")
    for name in SHADES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "00.png").write_bytes((pictures / name / "00.png").read_bytes())
    found = run.evaluate(str(tmp_path))
    assert found["rows"] == 2
    assert found["metrics"]["accuracy"] == 1
    (tmp_path / "grey").mkdir()
    (tmp_path / "grey" / "00.png").write_bytes((pictures / "dark" / "01.png").read_bytes())
    with pytest.raises(DataError, match="'grey', which no training image has"):
        run.evaluate(str(tmp_path))
    with pytest.raises(DataError, match="not there"):
        run.predict(["nowhere.png"])


def test_the_lineage_of_a_run_on_images_asks_for_no_tokenizer(run):
    told, issues = lineage.told(run.path, "json", None)
    assert told
    assert not [each for each in issues if "tokenizer" in each]


def test_lora_and_a_frozen_base(pictures, eye, tmp_path):
    for method in ("lora", "feature-extraction"):
        made = rs.adapt(pictures, base=str(eye), method=method, out=tmp_path / method, training={**SETTINGS, "rate": 1e-2})
        assert made.metrics["metrics"]["accuracy"] == 1
        assert made.predict([str(pictures / "dark" / "03.png")]) == ["dark"]


@pytest.mark.parametrize("head", ["linear", "logistic-regression", "mlp", "knn"])
def test_a_frozen_base_passes_each_image_once_and_any_head_learns_on_that(pictures, eye, tmp_path, monkeypatch, head):
    method = rs.FeatureExtraction(head=head)
    first = rs.adapt(
        pictures, base=str(eye), method=method, out=tmp_path / "first", training={"rate": 3e-2, "batch_tokens": 5, "epochs": 20}
    )
    assert first.metrics["metrics"]["accuracy"] == 1
    table = pq.read_table(first.path / "predictions.parquet").to_pylist()
    paths = [str(pictures / row["text"]) for row in table]
    assert rs.Run(first.path).predict(paths) == [row["predicted"] for row in table]
    monkeypatch.setattr(features.infer, "infer", lambda *given, **named: pytest.fail("the base ran again"))
    assert build(prepare(first.recipe, lambda text: None), None, Watch()).tapped
    others = first.recipe.data.model_copy(update={"train": str(other_pictures(tmp_path))})
    for changed in ({"task": {**first.recipe.task, "mean": (0.1, 0.2, 0.3)}}, {"data": others}):
        with pytest.raises(pytest.fail.Exception, match="ran again"):
            build(prepare(first.recipe.model_copy(update=changed), lambda text: None), None, Watch())


def other_pictures(folder):
    """As many images of one size in class folders of the same names."""
    for name, shade in SHADES.items():
        (folder / "others" / name).mkdir(parents=True)
        for number in range(20):
            Image.fromarray(np.full((8, 8, 3), shade + number, np.uint8)).save(folder / "others" / name / f"{number:02}.png")
    return folder / "others"


@pytest.mark.parametrize("head", ["mlp", "knn"])
def test_heads_beside_an_eye_load_by_the_lines_of_the_page(pictures, eye, tmp_path, head):
    run = rs.adapt(pictures, base=str(eye), method=rs.FeatureExtraction(head=head), out=tmp_path / "run", training={"epochs": 2})
    table = pq.read_table(run.path / "predictions.parquet").to_pylist()
    given = AutoImageProcessor.from_pretrained(run.folder.model)([Image.open(pictures / row["text"]) for row in table], return_tensors="pt")
    body = ViTModel.from_pretrained(eye, add_pooling_layer=False).eval()
    with torch.no_grad():
        found = plain.lines("head")["with_head"](body, run.folder.model)(**given)
    found = found if head == "knn" else found.softmax(-1)
    np.testing.assert_allclose(found[:, 0], [row["p(bright)"] for row in table], atol=1e-3)


def test_layers_of_an_eye_are_not_mixed(pictures, eye, tmp_path):
    with pytest.raises(RecipeError, match="rows are images"):
        rs.adapt(pictures, base=str(eye), method=rs.FeatureExtraction(layer="mix"), out=tmp_path / "run")


def test_pixels_are_the_processors(pictures, eye):
    task = ImageClassification(size=8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), labels=("bright", "dark"))
    rows = labelled_pictures.of_files([str(pictures / "dark" / "03.png")], task)
    batch = task.collate(task.encode(rows, None, None), np.arange(1), None, Draw(0))
    picture = np.asarray(Image.open(pictures / "dark" / "03.png"), np.float32) / 255
    wanted = ((picture - np.array(task.mean)) / np.array(task.std)).transpose(2, 0, 1)
    np.testing.assert_allclose(batch["pixel_values"][0].numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_the_baseline_looks_at_pixels_never_at_names(pictures):
    task = ImageClassification(size=8)
    shelf = images.shelf(str(pictures))
    hung = labelled_pictures.hung_up(shelf, task)
    train, held = (labelled_pictures.rows(hung, np.arange(40)[start::2]) for start in (0, 1))
    found = baselines(train, held, task.fit(train, held))
    assert set(found.columns) == {"majority", "pixels"}
    assert (found.columns["pixels"]["scores"].argmax(1) == found.columns["pixels"]["answers"]).all()
    assert len(set(split.keys(train))) == 20


def test_what_can_not_be_learned_is_refused(pictures, tiny_base, eye, tmp_path):
    with pytest.raises(DataError, match="lie in no class folder"):
        rs.adapt(pictures / "dark", base=str(eye), task="image-classification", out=tmp_path / "run")
    with pytest.raises(BaseError):
        rs.adapt(pictures, base=str(tiny_base), out=tmp_path / "run")
    text = bases.load(resolve(str(tiny_base)), Head(auto="AutoModel"), seed=0).model
    with pytest.raises(BaseError, match="does not read images"):
        ImageClassification().check(text)


def test_validation_images_that_can_not_be_read_are_counted_too(pictures, eye, tmp_path):
    shutil.copytree(pictures, held := tmp_path / "held")
    (held / "bright" / "torn.png").write_bytes(b"no image")
    (held / "dark" / "broken.png").unlink()
    prepared = prepare(Recipe.build({"base": str(eye), "data": {"train": str(pictures), "validation": str(held)}}, ""), lambda text: None)
    assert prepared.ledger["rows"] == {"read": 82, "dropped": 2, "train": 40, "validation": 40}
    assert sum(prepared.ledger["broken"].values()) == 2
    assert [each["file"].rpartition("/")[2] for each in prepared.ledger["broken_examples"]] == ["broken.png", "torn.png"]
