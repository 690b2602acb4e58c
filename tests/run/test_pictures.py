"""From image files to a base, end to end: with captions and without, read again by plain transformers, the same when done twice."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.conftest import make_base, make_tokenizer
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from rootstock.core.errors import BaseError, DataError, Interrupted, LedgerRefused, RecipeError
from rootstock.core.recipe import Recipe
from rootstock.core.runfolder import read_recipe
from rootstock.core.watch import Watch
from rootstock.verbs import api, verify

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
VIT = {"model_type": "vit", **SHAPE, "image_size": 16, "patch_size": 8}
CLIP = {
    "model_type": "clip",
    "projection_dim": 16,
    "text_config": {**SHAPE, "projection_dim": 16, "max_position_embeddings": 12},
    "vision_config": {**SHAPE, "projection_dim": 16, "image_size": 16, "patch_size": 8},
}
TRAINING = {"epochs": 2, "rate": 3e-3, "batch_tokens": 160, "micro_tokens": 80, "checkpoint_steps": 2, "dropout": 0.0}
COLOURS = {"good": (200, 60, 60), "cold": (60, 60, 200), "warm": (200, 180, 60)}


@pytest.fixture
def pictures(tmp_path):
    """Three class folders of twelve images, of other sizes than the model's."""
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(12):
            noisy = np.clip(rng.normal(colour, 40, (20, 22 + number, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(tmp_path / "set" / name / f"{number:02}.png")
    return tmp_path / "set"


@pytest.fixture
def pretrain(pictures, tmp_path):
    """A pre-training on the pictures; keyword arguments override."""
    make_tokenizer().save_pretrained(tmp_path / "tokenizer")

    def run(config=VIT, out="run", *, watch=None, **more):
        path = tmp_path / f"{config['model_type']}.json"
        path.write_text(json.dumps(config))
        captions = config["model_type"] == "clip"
        values = {
            "base": f"scratch:{path}",
            "task": {"name": "contrastive-image-text" if captions else "contrastive-image"},
            "method": {"name": "auto"},
            "tokenizer": str(tmp_path / "tokenizer") if captions else None,
            "data": {"train": str(pictures), "validation": 0.3},
            "training": TRAINING,
        }
        return api.carry_out(Recipe.build(values | more, ""), tmp_path / out, watch or Watch())

    return run


def test_a_base_of_images_is_made_that_plain_transformers_loads(pretrain, pictures):
    (pictures / "good" / "broken.png").write_bytes(b"no image")
    said = []
    run = pretrain(watch=Watch(say=said.append))
    model, report = AutoModel.from_pretrained(run.path / "model", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    processor = AutoImageProcessor.from_pretrained(run.path / "model")
    given = processor(Image.open(pictures / "good" / "00.png"), return_tensors="pt")
    assert model(**given).last_hidden_state.shape == (1, 5, 32)
    assert given["pixel_values"].min() < -0.3, "colours are brought to [-1, 1], as in training"
    assert any("left out: 1 no image" in line for line in said)
    assert any("good/broken.png" in line for line in said)
    ledger = json.loads((run.path / "ledger.json").read_text())
    assert ledger["rows"]["read"] == 37
    assert ledger["rows"]["dropped"] == 1
    assert ledger["rows"]["train"] + ledger["rows"]["validation"] == 36
    assert 0 < run.metrics["metrics"]["loss"] < 4
    task = read_recipe(run.folder.recipe).task
    assert (task["size"], task["cost"], task["mean"]) == (16, 5, [0.5, 0.5, 0.5])
    tokens = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    assert {event["rows"] for event in tokens if event["event"] == "step"} <= set(range(1, 17)), "16 images of 2 x 5 tokens are an update"
    plan = json.loads((run.path / "plan.json").read_text())
    assert plan["predicted"]["seconds_per_token"] < 0.05


def test_a_base_of_images_and_captions_is_made_that_plain_transformers_loads(pretrain, pictures):
    run = pretrain(CLIP)
    model, report = AutoModel.from_pretrained(run.path / "model", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokens = AutoTokenizer.from_pretrained(run.path / "model")(["a good film", "cold"], padding=True, return_tensors="pt")
    pixels = AutoImageProcessor.from_pretrained(run.path / "model")(Image.open(pictures / "good" / "00.png"), return_tensors="pt")
    assert model(**tokens, **pixels).logits_per_image.shape == (1, 2)
    assert read_recipe(run.folder.recipe).training.length == 12


@pytest.mark.parametrize("config", [pytest.param(VIT, marks=pytest.mark.slow), CLIP], ids=["images", "captions"])
def test_stopped_and_resumed_is_the_same_base(pretrain, tmp_path, config):
    straight = pretrain(config, "straight")
    with pytest.raises(Interrupted):
        api.carry_out(read_recipe(straight.folder.recipe), tmp_path / "stopped", Watch(stop=verify._Countdown(3)))
    again = api.carry_out(read_recipe(tmp_path / "stopped" / "recipe.yaml"), tmp_path / "stopped", Watch(), resume=True)
    one, other = (load_file(run.path / "model" / "model.safetensors") for run in (straight, again))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert straight.metrics["metrics"] == again.metrics["metrics"]


def test_a_base_made_here_is_gone_on_with_at_its_own_size_and_colours(pretrain):
    first = pretrain(out="first", task={"name": "contrastive-image", "size": 24, "mean": [0.4, 0.4, 0.4]})
    said = []
    lora = {"name": "lora", "targets": ["all-linear"]}
    second = pretrain(out="second", base=str(first.path), method=lora, watch=Watch(say=said.append))
    task = read_recipe(second.folder.recipe).task
    assert (task["size"], task["mean"], task["cost"]) == (24, [0.4, 0.4, 0.4], 10)
    model, report = AutoModel.from_pretrained(second.path / "model", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.config.image_size == 24
    before, after = (load_file(run.path / "model" / "model.safetensors") for run in (first, second))
    changed = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert len(changed) == 12, "the six matrices of each layer, with the adapter folded in"


def test_rows_are_as_many_as_asked_for_and_captions_too_long_are_counted(pretrain, pictures):
    run = pretrain(data={"train": str(pictures), "validation": 0.3, "rows": 20})
    assert sum(json.loads((run.path / "ledger.json").read_text())["rows"][side] for side in ("train", "validation")) == 20
    lines = [f"{name}/{number:02}.png,{'a very good film ' * 5}" for name in COLOURS for number in range(12)]
    (pictures / "captions.csv").write_text("image,caption\n" + "\n".join(lines) + "\n")
    with pytest.raises(LedgerRefused, match="truncation"):
        pretrain(CLIP, "long", data={"train": str(pictures / "captions.csv"), "validation": 0.3})


@pytest.mark.parametrize("config", [VIT, CLIP], ids=["images", "captions"])
def test_several_sources_are_mixed_and_products_may_be_in_bf16(pretrain, pictures, tmp_path, config):
    (tmp_path / "more").mkdir()
    (pictures / "good").rename(tmp_path / "more" / "good")
    sources = [str(pictures), str(tmp_path / "more")]
    run = pretrain(config, training={**TRAINING, "precision": "bf16"}, data={"train": sources, "validation": 0.3, "mix": "equal"})
    assert np.isfinite(run.metrics["metrics"]["loss"])
    weights = load_file(run.path / "model" / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert len(json.loads((run.path / "manifest.json").read_text())["data"]) == 2


def test_what_does_not_fit_is_said_before_anything_is_spent(pretrain, pictures, tmp_path):
    with pytest.raises(BaseError, match="reads texts, and these are images"):
        pretrain(base=str(make_base(tmp_path / "bert")))
    with pytest.raises(BaseError, match="BertModel does not read images"):
        pretrain(base=str(tmp_path / "bert"), task={"name": "contrastive-image", "size": 16})
    with pytest.raises(RecipeError, match=r"task\.size is 20"):
        pretrain(CLIP, task={"name": "contrastive-image-text", "size": 20})
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted(pictures.rglob("*.png"))):
        path.rename(flat / f"{number}.png")
    with pytest.raises(DataError, match="lie in no class folders"):
        pretrain(CLIP, data={"train": str(flat), "validation": 0.3})
    run = pretrain(data={"train": str(flat), "validation": 0.3})
    assert run.metrics["rows"] > 0, "images without classes are enough where no caption is asked for"
    (tmp_path / "alone").mkdir()
    (flat / "0.png").rename(tmp_path / "alone" / "0.png")
    (tmp_path / "alone" / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="2 images, 1 of them left out: 0 to learn from, 1 held out"):
        pretrain(out="one", data={"train": str(tmp_path / "alone"), "validation": 0.3})
