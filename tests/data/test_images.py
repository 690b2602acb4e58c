"""Image files: in folders, in a .tar, named by a table; what is broken is counted and shown."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from rootstock.core.errors import DataError
from rootstock.core.recipe import DataSettings
from rootstock.core.rows import column
from rootstock.data import gallery, images, pixels

RNG = np.random.default_rng(0)


def picture(high=20, wide=24):
    return RNG.integers(0, 256, (high, wide, 3)).astype(np.uint8)


def coded(array, kind="PNG", **more):
    held = io.BytesIO()
    Image.fromarray(array).save(held, kind, **more)
    return held.getvalue()


@pytest.fixture
def held(tmp_path):
    """Two class folders with two images each, a stray text and a hidden file."""
    arrays = {}
    for label in ("red_fox", "hare"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in (1, 2):
            arrays[f"{label}/{number}.png"] = picture(8, 8)
            (tmp_path / "set" / label / f"{number}.png").write_bytes(coded(arrays[f"{label}/{number}.png"]))
    (tmp_path / "set" / "notes.txt").write_text("no image")
    (tmp_path / "set" / "hare" / "._1.png").write_text("another program's own")
    return tmp_path / "set", arrays


def test_a_folder_gives_its_images_and_their_classes_in_order(held):
    folder, arrays = held
    shelf = images.shelf(str(folder))
    assert shelf.names == ("hare/1.png", "hare/2.png", "red_fox/1.png", "red_fox/2.png")
    assert shelf.texts == ("hare", "hare", "red_fox", "red_fox")
    assert shelf.classes == ["hare", "red_fox"]
    assert shelf.others == 2
    found = pixels.read(shelf, 8)
    np.testing.assert_array_equal(found.pixels, np.stack([arrays[name] for name in shelf.names]))
    assert not found.broken


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz"])
def test_a_tar_is_read_as_its_folder(held, tmp_path, kind):
    folder, _ = held
    path = tmp_path / f"set.{kind}"
    with tarfile.open(path, f"w:{kind.partition('.')[2]}") as packed:
        packed.add(folder, "set")
    one, other = images.shelf(str(path)), images.shelf(str(folder))
    assert one.texts == other.texts
    np.testing.assert_array_equal(pixels.read(one, 8).pixels, pixels.read(other, 8).pixels)
    some = one.only([3, 1])
    assert some.names == (one.names[1], one.names[3])
    np.testing.assert_array_equal(pixels.read(some, 8).pixels, pixels.read(one, 8).pixels[[1, 3]])


def test_the_digest_changes_with_a_byte_and_with_a_name(held):
    folder, _ = held
    before = images.shelf(str(folder)).digest
    assert images.shelf(str(folder)).digest == before
    (folder / "hare" / "1.png").write_bytes(coded(picture(8, 8)))
    changed = images.shelf(str(folder)).digest
    (folder / "hare" / "1.png").rename(folder / "hare" / "0.png")
    assert len({before, changed, images.shelf(str(folder)).digest}) == 3


def test_sizes_are_made_equal_as_transformers_does(tmp_path):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    (tmp_path / "set").mkdir()
    for number, (high, wide) in enumerate([(20, 33), (41, 17), (16, 16), (9, 9)]):
        (tmp_path / "set" / f"{number}.png").write_bytes(coded(picture(high, wide)))
    shelf = images.shelf(str(tmp_path / "set"))
    found = pixels.read(shelf, 16).pixels
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}, resample=3, do_rescale=False, do_normalize=False
    )
    wanted = processor([Image.open(tmp_path / "set" / name) for name in shelf.names], return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(found, wanted.transpose(0, 2, 3, 1))


def test_colours_of_all_kinds_become_red_green_and_blue(tmp_path):
    grey = np.full((8, 8), 77, np.uint8)
    for name, image in {
        "a_grey.png": Image.fromarray(grey),
        "b_palette.gif": Image.fromarray(grey).convert("P"),
        "c_alpha.png": Image.fromarray(np.dstack([grey, grey, grey, grey])),
        "d_cmyk.jpg": Image.fromarray(np.dstack([grey, grey, grey])).convert("CMYK"),
    }.items():
        image.save(tmp_path / name)
    turned = Image.fromarray(np.concatenate([np.zeros((4, 8, 3), np.uint8), np.full((4, 8, 3), 255, np.uint8)]))
    exif = Image.Exif()
    exif[0x0112] = 3
    turned.save(tmp_path / "e_upside_down.png", exif=exif)
    found = pixels.read(images.shelf(str(tmp_path)), 8).pixels
    assert found.shape == (5, 8, 8, 3)
    assert np.abs(found[:4].astype(int) - 77).max() <= 3
    assert found[4, :4].min() == 255
    assert found[4, 4:].max() == 0


def test_broken_files_are_counted_shown_and_left_out(held, tmp_path):
    folder, _ = held
    whole = coded(picture(64, 64), "JPEG")
    (folder / "hare" / "3.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "hare" / "4.jpg").write_bytes(b"")
    (folder / "hare" / "5.jpg").write_bytes(b"this is a text")
    (folder / "hare" / "6.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    shelf = images.shelf(str(folder))
    found = pixels.read(shelf, 8)
    assert dict(found.broken) == {"damaged": 1, "empty": 1, "no image": 2}
    assert found.examples[0] == {"file": "hare/3.jpg", "reason": "damaged"}
    assert len(found.examples) == 3
    assert [shelf.names[place] for place in found.places] == ["hare/1.png", "hare/2.png", "red_fox/1.png", "red_fox/2.png"]
    account = gallery.hang([shelf], 8, captioned=False).account(np.array([False, True, False, False]), captioned=False)
    assert account["rows"] == {"read": 8, "dropped": 4, "train": 3, "validation": 1}
    assert account["broken"] == {"damaged": 1, "empty": 1, "no image": 2}


def test_a_picture_that_would_fill_the_memory_is_too_large(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(coded(picture(40, 40)))
    (tmp_path / "b.png").write_bytes(coded(picture(8, 8)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    assert dict(pixels.read(images.shelf(str(tmp_path)), 8).broken) == {"too large": 1}
    monkeypatch.setattr(pixels, "total_memory", lambda: 100)
    with pytest.raises(DataError, match=r"2 images of 8 x 8 pixels take .* GB") as refused:
        pixels.read(images.shelf(str(tmp_path)), 8)
    assert "data.rows" in refused.value.fix


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_table_names_files_and_captions(held, kind):
    folder, arrays = held
    pairs = [
        ("hare/2.png", "a hare, running"),
        ("red_fox/1.png", "a fox"),
        ("gone.png", "nothing"),
        ("hare/2.png", "it runs"),
        ("hare/1.png", ""),
    ]
    lines = {
        "csv": ["file_name,caption", *(f'{name},"{text}"' for name, text in pairs)],
        "jsonl": [json.dumps({"image": name, "caption": text}) for name, text in pairs],
    }[kind]
    path = folder / f"captions.{kind}"
    path.write_text("\n".join(lines) + "\n")
    shelf = images.captions(str(path), DataSettings(train=str(path)))
    assert shelf.texts[:2] == ("a hare, running", "a fox")
    made = gallery.hang([shelf], 8, captioned=True)
    assert made.names == ("hare/2.png", "red_fox/1.png", "hare/2.png")
    assert made.texts == ("a hare, running", "a fox", "it runs")
    assert dict(made.broken) == {"not there": 1, "without a caption": 1}
    np.testing.assert_array_equal(made.pixels[2], arrays["hare/2.png"])
    table = made.table(np.array([1, 2]))
    assert column(table, "text") == ["a fox", "it runs"]
    np.testing.assert_array_equal(table.column("pixels").combine_chunks().to_numpy_ndarray()[0], arrays["red_fox/1.png"])
    by_pixels, by_both = made.digests(), made.digests(with_text=True)
    assert by_pixels[0] == by_pixels[2], "one image is held out as one, whatever is said of it"
    assert len(set(by_both.tolist())) == 3
    (folder / "hare" / "2.png").write_bytes(coded(picture(8, 8)))
    assert images.captions(str(path), DataSettings(train=str(path))).digest != shelf.digest


def test_repeats_are_found(held):
    folder, arrays = held
    (folder / "hare" / "9.png").write_bytes(coded(arrays["hare/1.png"]))
    made = gallery.hang([images.shelf(str(folder))], 8, captioned=False)
    account = made.account(np.zeros(5, bool), captioned=False)
    assert account["findings"]["duplicates"]["count"] == 1
    assert account["findings"]["duplicates"]["examples"][0]["text"].startswith("hare/9.png")


def test_bad_input_is_said_clearly(held, tmp_path):
    folder, _ = held
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").write_text("text")
    with pytest.raises(DataError, match="holds no images, and 1 other files"):
        images.shelf(str(tmp_path / "empty"))
    with pytest.raises(DataError, match="does not exist"):
        images.shelf(str(tmp_path / "nowhere"))
    (tmp_path / "bad.tar.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(DataError, match=r"can't be read as a \.tar"):
        images.shelf(str(tmp_path / "bad.tar.gz"))
    with tarfile.open(tmp_path / "whole.tar.gz", "w:gz") as packed:
        packed.add(folder, "set")
    whole = (tmp_path / "whole.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cut off or damaged"):
        images.shelf(str(tmp_path / "cut.tar.gz"))
    table = tmp_path / "table.csv"
    table.write_text("picture,words\na.png,hello there\nb.png,good bye\n")
    settings = DataSettings(train=str(table))
    with pytest.raises(DataError, match=r"no column that is known to hold the text") as refused:
        images.captions(str(table), settings)
    assert "task.text" in refused.value.fix
    assert images.captions(str(table), settings, text="words").texts == ("hello there", "good bye")
    with pytest.raises(DataError, match="no column 'img'"):
        images.captions(str(table), settings, image="img")


def test_a_real_set_is_read_from_its_archive(data_folder):
    shelf = images.shelf(str(data_folder / "cifar10_images" / "test.tar.gz"))
    assert len(shelf.names) == 10_000
    assert len(shelf.classes) == 10
    some = shelf.only(range(0, 10_000, 100))
    found = pixels.read(some, 32)
    assert found.pixels.shape == (100, 32, 32, 3)
    assert not found.broken
    assert 90 < found.pixels.mean() < 150
