"""From image files, with captions or without, to rows that an objective can learn from; and what its model needs to read others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rootstock.bases import load as bases
from rootstock.bases.resolve import Resolved
from rootstock.core import artifact
from rootstock.core.errors import BaseError, DataError, RecipeError
from rootstock.core.objective import Objective
from rootstock.core.recipe import Recipe
from rootstock.core.rows import SOURCE
from rootstock.core.seed import stream
from rootstock.core.settings import Settings
from rootstock.core.task import Task
from rootstock.core.watch import Say
from rootstock.data import images
from rootstock.data import unlabelled as documents
from rootstock.data.cache import Arrays, remembered
from rootstock.data.gallery import hang
from rootstock.data.images import Shelf
from rootstock.run import choices
from rootstock.run.sides import Sides

READS = ("images", "captions")
"""What of a task's `reads` is read here."""
Fitted = TypeVar("Fitted", bound=Settings)
_PLAIN = (0.5, 0.5, 0.5)
_CELL = 8
"""Pixels to a side that count as one token where a model has no patches."""
_CAPTION = 77
"""Tokens that CLIP reads where its config does not say: the default of transformers."""


@dataclass(frozen=True, kw_only=True)
class Pictured:
    """Images made ready. task: with what the base says filled in. length: tokens of a caption, or of an image where there is none.

    found: each source with what tells it from others.
    """

    task: Objective
    tokens: Callable[[], Any]
    length: int
    found: dict[str, dict[str, Any]]
    sides: Sides


@dataclass(frozen=True)
class _Cut:
    """How rows are made of images. length: tokens of a caption. share: held out."""

    length: int
    share: float
    seed: int


def pictured(recipe: Recipe, task: Objective, base: Resolved, *, share: float, say: Say) -> Pictured:
    """Read, hold out and encode; kept by the digests of files, tokenizer and task. share: of the images to hold out."""
    task = fitted(task, base)
    captioned = task.reads == "captions"
    tokens: Callable[[], Any] = cache(partial(bases.tokenizer, base)) if captioned else nothing
    length = choices.kept_length(recipe, _room(base), longest=_room(base)) if captioned else _told(task)["cost"]
    names = (recipe.data.train,) if isinstance(recipe.data.train, str) else recipe.data.train
    whole = {name: _shelf(name, task, recipe) for name in names}
    shelves = {name: some(shelf, recipe) for name, shelf in whole.items()}
    key = {
        "images": [[shelf.digest, artifact.digest_json([shelf.names, shelf.texts])] for shelf in shelves.values()],
        "tokenizer": artifact.digest_bytes(tokens().backend_tokenizer.to_str().encode()) if captioned else None,
        "task": [recipe.task["name"], _told(task), length],
        "held": [share, recipe.seed],
        "versions": [version("pillow"), version("rootstock")],
    }
    arrays, _ = remembered("pictures", key, lambda: _arrays(task, tokens(), list(shelves.values()), _Cut(length, share, recipe.seed)))
    found = {name: {"name": name, "format": task.reads, "sha256": shelf.digest} for name, shelf in shelves.items()}
    made = Sides.of_arrays(arrays)
    not_drawn = sum(len(whole[name].names) - len(shelf.names) for name, shelf in shelves.items())
    sides = replace(made, account=documents.of_drawn(made.account, not_drawn))
    _say(sides.account, say)
    return Pictured(task=task, tokens=tokens, length=length, found=found, sides=sides)


def fitted(task: Fitted, base: Resolved) -> Fitted:
    """The task with the size, colours and cost that the base reads. Raises BaseError where the base says nothing of images."""
    files = ("preprocessor_config.json", "processor_config.json")
    processor = next((found for name in files if (found := choices.config_file(base, name))), {})
    return as_read(task, base.name, choices.config(base), processor)


def as_read(task: Fitted, name: str, config: Mapping[str, Any], processor: Mapping[str, Any]) -> Fitted:
    """The same by a base's config and its own image processor alone; the latter is empty where there is none. name: the base's."""
    processor = processor.get("image_processor", processor)
    eye, told = config.get("vision_config", config), _told(task)
    own = _side(eye.get("image_size"))
    size = told["size"] or _side(processor.get("crop_size") or processor.get("size")) or own
    if not size:
        texts = eye is config and "vocab_size" in config
        raise BaseError(
            f"{name} reads texts, and these are images" if texts else f"{name} does not say how large its images are",
            wanted="a base that reads images",
            fix="choose --base scratch:vit-tiny or scratch:clip-tiny" + ("" if texts else ", or give the size with --set task.size=32"),
        )
    if eye is not config and own and size != own:
        raise RecipeError(f"task.size is {size}", wanted=f"{own}, which is what {name} reads", fix="leave task.size out")
    patch = _side(eye.get("patch_size"))
    cost = (size // patch) ** 2 + 1 if patch else max(1, size // _CELL) ** 2
    colours = {each: tuple(told[each] or processor.get(f"image_{each}") or _PLAIN) for each in ("mean", "std")}
    return task.model_copy(update={**colours, "size": size, "cost": told["cost"] or cost})


def save_processor(task: Task, folder: Path) -> None:
    """What plain transformers' AutoImageProcessor needs to make the same of an image file."""
    told = _told(task)
    steps = dict.fromkeys(("do_convert_rgb", "do_resize", "do_center_crop", "do_rescale", "do_normalize"), True)
    shape = {"size": {"shortest_edge": told["size"]}, "crop_size": {"height": told["size"], "width": told["size"]}}
    numbers = {"resample": 3, "rescale_factor": 1 / 255, "image_mean": list(told["mean"]), "image_std": list(told["std"])}
    artifact.write_json(folder / "preprocessor_config.json", {"image_processor_type": "CLIPImageProcessor", **steps, **shape, **numbers})


def _told(task: Settings) -> dict[str, Any]:
    """The task's settings by name: which objective it is decides what there is."""
    return task.plain()


def nothing() -> None:
    """The tokenizer of a model that reads no text."""


def _shelf(name: str, task: Objective, recipe: Recipe) -> Shelf:
    """The image files of a reference, with a caption each where the objective wants one."""
    if task.reads == "images":
        return images.shelf(name)
    told = _told(task)
    if images.is_table(name):
        return images.captions(name, recipe.data, image=told["image"], text=told["text"])
    shelf = images.shelf(name)
    if not shelf.classes:
        raise DataError(
            f"{name} holds images that lie in no class folders",
            wanted="a table of image files and captions, or class folders whose names can be said",
            fix="write a CSV with the columns image and caption",
        )
    return replace(shelf, texts=tuple(told["caption"].replace("{}", each.replace("_", " ")) if each else "" for each in shelf.texts))


def some(shelf: Shelf, recipe: Recipe) -> Shelf:
    """As many of the files as the recipe asks for."""
    count = len(shelf.names)
    if recipe.data.rows is None or recipe.data.rows >= count:
        return shelf
    return shelf.only(stream(recipe.seed, "rows").choice(count, recipe.data.rows, replace=False).tolist())


def _arrays(task: Objective, tokenizer: Any, shelves: list[Shelf], cut: _Cut) -> Arrays:
    """Both sides encoded, and the account of them."""
    captioned = task.reads == "captions"
    gallery = hang(shelves, _told(task)["size"], captioned=captioned)
    held_N = documents.held_out(gallery.digests(), cut.share, cut.seed)
    account = gallery.account(held_N, captioned=captioned)
    rows = account["rows"]
    if not rows["train"] or not rows["validation"]:
        raise DataError(
            f"{', '.join(str(shelf.place) for shelf in shelves)}: {rows['read']} images, {rows['dropped']} of them left out: "
            f"{rows['train']} to learn from, {rows['validation']} held out",
            wanted="images for both",
            fix="add images, or hold out another share with --validation",
        )
    if captioned:
        account["findings"]["truncation"] = documents.cut_short((gallery.texts,), tokenizer, cut.length, gallery.told)
    made = []
    for chosen in (np.flatnonzero(~held_N), np.flatnonzero(held_N)):
        encoded = task.encode(gallery.table(chosen), tokenizer, cut.length)
        made.append(replace(encoded, dense={**encoded.dense, SOURCE: gallery.source[chosen]}))
    return Sides(made[0], made[1], account).arrays()


def _room(base: Resolved) -> int:
    """The most tokens of a caption that the base takes."""
    said = choices.config(base).get("text_config", {}).get("max_position_embeddings", _CAPTION)
    return min(int(said), choices.room(base))


def _side(value: Any) -> int | None:
    """The side of a square, however a config writes it."""
    if isinstance(value, Mapping):
        value = value.get("height", value.get("shortest_edge"))
    if isinstance(value, list | tuple) and value:
        value = value[0]
    return value if isinstance(value, int) and value > 0 else None


def _say(account: dict[str, Any], say: Say) -> None:
    rows, lost = account["rows"], account["broken"]
    left_out = "; left out: " + ", ".join(f"{count:,} {reason}" for reason, count in lost.items()) if lost else ""
    say(f"images    {rows['train']:,} to learn from, {rows['validation']:,} held out{documents.undrawn(rows)}{left_out}")
    for example in account["broken_examples"]:
        say(f"images    left out: {example['file']} is {example['reason']}")
