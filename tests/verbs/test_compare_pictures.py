"""Images compared and planned: class folders, a .tar and a table of files, copies that nobody may change, and what can't be read."""

import json
import shutil
import tarfile
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests import tiny_models

import rootstock as rs
from rootstock.core.errors import ContractRefused, DataError, UsageError
from rootstock.core.watch import Watch
from rootstock.planning import ledger
from rootstock.verbs import arms_child, arms_pictures, arms_plan, arms_rows, arms_unit, compare_methods
from rootstock.verbs.plan import Asked, device_of, forecast_of, method_of, of_data, plan, work_of

SHADES = {"bright": 200, "dark": 40}
SETTINGS = {"training.epochs": 2, "training.rate": 3e-3, "training.batch_tokens": 80}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Sixty images in two class folders, two of them equal, and one that is none."""
    folder, rng = tmp_path_factory.mktemp("pictures") / "set", np.random.default_rng(0)
    for name, shade in SHADES.items():
        (folder / name).mkdir(parents=True)
        for number in range(30):
            pixels = np.clip(rng.normal(shade, 60, (9, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02}.png")
    shutil.copy(folder / "dark" / "00.png", folder / "dark" / "again.png")
    (folder / "dark" / "broken.png").write_bytes(b"\x89PNG no more")
    return folder


@pytest.fixture(scope="module")
def eye(tmp_path_factory):
    """A tiny base that reads images of 8 pixels."""
    return tiny_models.eye(tmp_path_factory.mktemp("eye"))


def asked(data, eye, changes=(), **given):
    usual = {"methods": "full,feature-extraction", "bases": str(eye), "sweep": None, "learning_curve": None, "keep": None, "seeds": 1}
    return arms_plan.asked(str(data), {**usual, "minutes": None, "halving": True, **given}, {**SETTINGS, **dict(changes)})


@pytest.fixture(scope="module")
def done(pictures, eye, tmp_path_factory):
    """A comparison with few images beside all, and what was said."""
    out, said = tmp_path_factory.mktemp("out") / "compare", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROOTSTOCK_CACHE", str(out.parent / "cache"))
        patch.setattr(arms_unit, "_told", inside)
        plan = asked(pictures, eye, {"accept": ["duplicates"]}, learning_curve="20,all", keep="best", methods="full,scratch")
        found = compare_methods.compare(plan, out, Watch(say=said.append))
    return out, found, said, plan


def inside(unit, watch, rival):
    return arms_child.carried_out(json.loads(json.dumps(arms_unit.order(unit, rival))), watch)


def held(out, part):
    return pq.read_table(out / "data" / f"{part}.parquet").to_pydict()


def test_images_run_the_same_race_as_texts(done):
    out, found, said, _ = done
    assert (found["task"], found["figure"]) == ("image-classification", "accuracy")
    assert [each["rows"] for each in found["points"]] == [found["rows"]["train"], 20]
    for point in found["points"]:
        assert {each["arm"] for each in point["arms"]} == {"full", "scratch"}
        assert set(point["baselines"]) == {"majority", "pixels"}
        assert all(each["per_class"] for each in point["arms"])
    assert any("dark/broken.png" in line for line in said), "what can't be read is named"
    assert sum(found["rows"].values()) == 61
    kept = rs.Run(found["kept"]["run"])
    assert kept.predict([str(out / "data" / held(out, "test")["image"][0])])[0] in SHADES
    assert "thumbnails" in (out / "compare.html").read_text()


def test_no_image_is_on_two_sides_and_copies_are_what_they_were(done, pictures):
    out, _, _, _ = done
    digests = {part: set(held(out, part)["digest"]) for part in ("train", "validation", "test", "train-20-0")}
    assert not digests["test"] & (digests["train"] | digests["validation"])
    assert not digests["validation"] & digests["train"]
    assert digests["train-20-0"] < digests["train"]
    for part in ("train", "validation", "test"):
        for place, file, label in zip(*(held(out, part)[name] for name in ("image", "file", "label")), strict=True):
            assert (out / "data" / place).read_bytes() == (pictures / file).read_bytes()
            assert file.startswith(f"{label}/")


def test_equal_images_are_one(done, tmp_path):
    table = held(done[0], "test")
    path = tmp_path / "test.parquet"
    digests = [table["digest"][0], *table["digest"][:-1]]
    pq.write_table(pq.read_table(done[0] / "data" / "test.parquet").drop_columns(["digest"]).append_column("digest", [digests]), path)
    assert len(set(arms_pictures.groups(path).tolist())) == len(digests) - 1


def test_who_goes_on_learns_nothing_twice_and_finds_an_image_that_was_changed(done, tmp_path, monkeypatch):
    out, found, _, plan = done
    monkeypatch.setattr(arms_unit, "_told", lambda *given: pytest.fail("it had learned before"))
    assert compare_methods.compare(plan, out, Watch())["points"] == found["points"]
    shutil.copytree(out, other := tmp_path / "compare")
    image = other / "data" / held(other, "test")["image"][0]
    Image.new("RGB", (8, 8)).save(image)
    with pytest.raises(ContractRefused, match="are not those that the comparison copied"):
        compare_methods.compare(plan, other, Watch())


def test_a_tar_and_a_table_of_files_give_the_same_parts(done, pictures, eye, tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as packed:
        packed.add(pictures, "set")
    names = [(path.relative_to(pictures.parent), path.parent.name) for path in sorted(pictures.rglob("*.png"))]
    table = tmp_path / "files.csv"
    table.write_text("image,label\n" + "".join(f"{pictures.parent / name},{label}\n" for name, label in names))
    for data, changes in ((tmp_path / "set.tar", {}), (table, {"task.name": "image-classification"})):
        plan = asked(data, eye, {"accept": ["duplicates"], **changes})
        recipe = plan.recipe.model_copy(update={"base": str(eye)})
        place = tmp_path / data.stem
        parts = arms_rows.divided(recipe, place, points=(None,), seeds=1, digests=arms_rows.digests(recipe), say=lambda text: None)
        assert {part: held(place, part)["digest"] for part in parts.files} == {
            part: held(done[0], part)["digest"] for part in parts.files
        }, data


def test_images_of_a_place_of_their_own_validate(pictures, eye, tmp_path):
    apart = tmp_path / "held"
    for name in SHADES:
        (apart / name).mkdir(parents=True)
        for number in range(5):
            shutil.copy(pictures / name / f"{number:02}.png", apart / name / f"{number}.png")
    found = compare_methods.rehearse(
        asked(pictures, eye, {"data.validation": str(apart), "accept": ["duplicates", "overlap"]}), tmp_path / "o", Watch()
    )
    assert found["rows"]["validation"] == 10
    assert found["rows"]["train"] + found["rows"]["test"] < 61, "test images that validate are left out"


def test_what_can_not_be_compared_on_is_said(pictures, eye, tiny_base, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="holds images, and no base is named"):
        asked(pictures, eye, bases=None)
    for bases in (f"{eye},{tiny_base}", f"{tiny_base},{eye}"):
        plan = asked(pictures, eye, {"accept": ["duplicates"]}, bases=bases, methods="full")
        found = compare_methods.rehearse(plan, tmp_path / "o", Watch())
        assert "reads texts, and these are images" in next(iter(found["skipped"].values()))
    with pytest.raises(UsageError, match=r"reads texts, and these are images[\s\S]*--bases scratch:vit-tiny"):
        compare_methods.rehearse(asked(pictures, eye, bases=str(tiny_base)), tmp_path / "o", Watch())
    with pytest.raises(DataError, match="lie in no class folder"):
        compare_methods.rehearse(asked(pictures / "dark", eye), tmp_path / "o", Watch())
    plan = asked(pictures, eye)
    recipe = plan.recipe.model_copy(update={"base": str(eye)})
    with pytest.raises(DataError, match="has changed while it was read"):
        arms_rows.divided(recipe, tmp_path / "other", points=(None,), seeds=1, digests={"train": "another"}, say=lambda text: None)


def test_a_plan_of_images_counts_what_their_run_holds(pictures, eye, tmp_path):
    settings = {"epochs": 2.0, "batch": 80, "precision": "fp32"}
    given = of_data(Asked(base=str(eye), methods=("full",), **settings), str(pictures), lambda text: None, base_given=True)
    assert (given.task, given.labels) == ("image-classification", 2)
    work = work_of(given, method_of(given, "full"), device_of(given))
    found = forecast_of(given, "full", device_of(given), None)
    training = {"epochs": 2, "rate": 3e-3, "batch_tokens": 80, "precision": "fp32"}
    run = rs.adapt(pictures, base=str(eye), method="full", out=tmp_path / "run", training=training, accept=["duplicates"])
    (entry,) = ledger.read(ledger.place()).entries
    assert (work.tokens * work.epochs, work.updates) == (5 * entry["work"]["tokens"], entry["work"]["updates"]), "an image is one there"
    model = sum(each.numel() for each in run.load().parameters())
    assert found.counts.base == found.counts.learning == model
    assert plan(given)["work"] == {"rows": work.rows, "length": 5, "micro_tokens": 8192, "size": 8}


def test_images_are_planned_by_the_size_that_their_base_reads(eye):
    asked = Asked(base=str(eye), task="image-classification", device="rtx-3090", rows=3_000)
    told = plan(asked)
    assert (told["work"]["length"], told["work"]["size"]) == (5, 8)
    counts = {each["method"]: each["counts"] for each in told["methods"]}
    assert counts["lora"]["matrices"] >= 2 * (4 * 32**2 + 2 * 32 * 64), "every matrix of the blocks is adapted, as in a run"
    held = [plan(replace(asked, methods=("full",), micro=micro, batch=micro))["methods"][0]["memory"] for micro in (4096, 8192)]
    assert held[1]["activations"] == pytest.approx(2 * held[0]["activations"], rel=0.05)
    assert [each["about"] for each in told["advice"]] == ["method", "warm-up", "epochs"], "neither words nor rates of texts are advised"


def test_a_base_of_images_is_advised_where_none_is_named(pictures):
    said = []
    found = of_data(Asked(device="t4"), str(pictures), said.append, base_given=False)
    assert found.base == "facebook/deit-tiny-patch16-224"
    assert found.length == 197
