"""Class folders of images, and what the frozen vectors of an image model tell of them: by a linear probe, and by captions alone.

Shape letters: N images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rootstock import catalog
from rootstock.core.errors import DataError
from rootstock.core.runfolder import RunFolder, read_recipe
from rootstock.core.seed import stream
from rootstock.core.watch import Say
from rootstock.data import images
from rootstock.data.gallery import Gallery, hang
from rootstock.data.images import Shelf
from rootstock.data.unlabelled import held_out
from rootstock.evaluation.images import Colours, Images, has_captions, linear_probe, zero_shot
from rootstock.run import pictures
from rootstock.run.opened import Opened

IMAGES = {"train": 50, "test": 20}
"""Images of each part for one unit of the limit, about: the pixels decide which part an image is in."""
CAPTION = "a photo of a {}"
_FEWEST = 2


@dataclass(frozen=True)
class Shown:
    """Images to learn from and to measure on, the names of their classes, how the model wants its colours, and facts as JSON."""

    train: Images
    test: Images
    classes: Sequence[str]
    colours: Colours
    facts: dict[str, Any]


def read(place: Path, opened: Opened, *, limit: int, seed: int) -> Shown:
    """Class folders (or a .tar of them), drawn with the seed, in the size that the model reads. Raises DataError where they can't be used.

    What the model's own run held out of these files is what is measured; of other files the pixels decide, so copies are on one side.
    """
    shelf = images.shelf(str(place))
    named = np.array([number for number, text in enumerate(shelf.texts) if text], dtype=np.int64)
    if len(shelf.classes) < _FEWEST:
        raise DataError(
            f"{place} holds images of {len(shelf.classes)} classes", wanted="a folder of images for each class", fix="name the folder above"
        )
    chosen = stream(seed, "images").permutation(named)[: limit * sum(IMAGES.values())]
    eye = pictures.fitted(catalog.find("tasks", "contrastive-image")(), opened.base).plain()
    gallery = hang([shelf.only(chosen.tolist())], eye["size"], captioned=False)
    share, salt, own = _rule(opened, shelf, seed)
    held_N = held_out(gallery.digests(), share, salt)
    classes = sorted(set(gallery.texts))
    labels_N = np.array([classes.index(text) for text in gallery.texts], dtype=np.int64)
    train, test = (Images(gallery.pixels[side_N], labels_N[side_N]) for side_N in (~held_N, held_N))
    facts = {
        "images": {"train": len(train.labels), "test": len(test.labels)},
        "classes": len(classes),
        "size": eye["size"],
        "held_out_by_its_run": own,
        "may_be_trained_on": not own and opened.base.folder is not None,
        "left_out": _left_out(gallery, shelf, named),
        "most_frequent": _most_frequent(train.labels, test.labels),
    }
    return Shown(train, test, classes, Colours(tuple(eye["mean"]), tuple(eye["std"])), facts)


def measure(shown: Shown, opened: Opened, random: Opened | None, *, caption: str | None, seed: int) -> dict[str, Any]:
    """Accuracy of a linear probe, beside random weights; and of captions alone where the model reads them."""
    models = {"accuracy": opened.model} | ({"random": random.model} if random else {})
    gain = ("accuracy", "random") if random else None
    found = shown.facts | linear_probe(models, shown.train, shown.test, colours=shown.colours, seed=seed, gain=gain)
    return found | _by_captions(shown, opened, caption or _own_caption(opened) or CAPTION, seed) if has_captions(opened.model) else found


def told(shown: Shown, say: Say) -> None:
    """How many images there are, and what was left out."""
    rows, lost = shown.facts["images"], shown.facts["left_out"]
    left_out = "; left out: " + ", ".join(f"{count:,} {reason}" for reason, count in lost.items()) if lost else ""
    say(f"images    {rows['train']:,} to learn from, {rows['test']:,} to measure, of {shown.facts['classes']} classes{left_out}")


def _by_captions(shown: Shown, opened: Opened, caption: str, seed: int) -> dict[str, Any]:
    """Zero-shot accuracy, and the captions that it rests on. cut: captions that the model takes only a part of."""
    captions = [caption.replace("{}", name.replace("_", " ")) for name in shown.classes]
    cut = sum(len(ids) > opened.room for ids in opened.tokens(captions, verbose=False)["input_ids"])
    ids = opened.tokens(captions, padding=True, truncation=True, max_length=opened.room, return_tensors="pt")
    found = zero_shot(opened.model, ids, shown.test, colours=shown.colours, seed=seed)
    return {"zero_shot": {**found["zero_shot"], "template": caption, "captions": captions, "cut": cut}}


def _run(opened: Opened) -> RunFolder | None:
    """The run that the model is from, where it is from one."""
    folder = RunFolder(Path(opened.base.reference).expanduser())
    return folder if folder.complete and folder.recipe.exists() else None


def _rule(opened: Opened, shelf: Shelf, seed: int) -> tuple[float, int, bool]:
    """Share and seed by which images are held out, and whether they are those of the model's own run on these very files."""
    if (run := _run(opened)) is not None:
        recipe = read_recipe(run.recipe)
        known = {source.get("sha256") for source in run.json("manifest.json")["data"].values()}
        if shelf.digest in known and isinstance(recipe.data.validation, float):
            return recipe.data.validation, recipe.seed, True
    return IMAGES["test"] / sum(IMAGES.values()), seed, False


def _own_caption(opened: Opened) -> str | None:
    """What the model's run said of the images of a class."""
    run = _run(opened)
    said = read_recipe(run.recipe).task.get("caption") if run else None
    return str(said) if said else None


def _left_out(gallery: Gallery, shelf: Shelf, named: np.ndarray) -> dict[str, int]:
    stray = len(shelf.names) - len(named)
    return dict(gallery.broken) | ({"in no class folder": stray} if stray else {})


def _most_frequent(train_N: np.ndarray, test_N: np.ndarray) -> float | None:
    """Accuracy on the test images of always saying the class that is most frequent among the others."""
    if not len(train_N) or not len(test_N):
        return None
    return float((test_N == np.bincount(train_N).argmax()).mean())
