"""From image files, with captions or without, to rows that an objective can learn from; and what its model needs to read others.

Shape letters: N images.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from rootstock.bases import load as bases
from rootstock.bases.resolve import Resolved
from rootstock.bases.scratch import facts
from rootstock.core import artifact
from rootstock.core.errors import BaseError, DataError, RecipeError
from rootstock.core.objective import Objective
from rootstock.core.recipe import Recipe
from rootstock.core.rows import TEXT, Encoded
from rootstock.core.seed import stream
from rootstock.data import images, ledger, pixels
from rootstock.data import unlabelled as documents
from rootstock.data.cache import Arrays, remembered
from rootstock.data.images import Shelf
from rootstock.run import choices

READS = ("images", "captions")
PIXELS = "pixels"
_PLAIN = (0.5, 0.5, 0.5)
_CELL = 8
"""Pixels to a side that count as one token where a model has no patches."""


@dataclass(frozen=True)
class Pictured:
    """Images made ready. task: with what the base says filled in. length: tokens of a caption, or of an image where there is none.

    found: each source with what tells it from others.
    """

    task: Objective
    tokens: Callable[[], Any]
    length: int
    found: dict[str, dict[str, Any]]
    train: Encoded
    validation: Encoded
    account: dict[str, Any]


@dataclass(frozen=True)
class _Seen:
    """Images that could be read, with the text and the source of each, and the digests of pixels and text, all [N]."""

    pixels: np.ndarray
    texts: list[str]
    source: np.ndarray
    digests: np.ndarray

    def table(self, chosen_N: np.ndarray) -> pa.Table:
        """Some of the images as rows."""
        kept = np.flatnonzero(chosen_N)
        held = pa.FixedShapeTensorArray.from_numpy_ndarray(self.pixels[kept])
        return pa.table({PIXELS: held, TEXT: pa.array([self.texts[i] for i in kept.tolist()], pa.string())})


def pictured(recipe: Recipe, task: Objective, base: Resolved, share: float) -> Pictured:
    """Read, hold out and encode; kept by the digests of files, tokenizer and task. share: of the images to hold out."""
    task = fitted(task, base)
    tokens = cache(partial(bases.tokenizer, base)) if task.reads == "captions" else lambda: None
    length = choices.kept_length(recipe, _room(base), longest=_room(base)) if task.reads == "captions" else _setting(task, "cost")
    names = (recipe.data.train,) if isinstance(recipe.data.train, str) else recipe.data.train
    shelves = {name: _chosen(_shelf(name, task), recipe) for name in names}
    settings = {name: value for name, value in task.plain().items() if name != "image"}
    key = {
        "images": [[shelf.digest, artifact.digest_json([shelf.names, shelf.texts])] for shelf in shelves.values()],
        "tokenizer": artifact.digest_bytes(tokens().backend_tokenizer.to_str().encode()) if task.reads == "captions" else None,
        "task": [recipe.task["name"], settings, length],
        "held": [share, recipe.seed],
        "versions": [version("pillow"), version("rootstock")],
    }
    arrays, _ = remembered("pictures", key, lambda: _arrays(task, tokens(), shelves, _Cut(length, share, recipe.seed)))
    sides = {side: {name.removeprefix(f"{side}:"): array for name, array in arrays.items() if name.startswith(side)} for side in _SIDES}
    found = {name: {"name": name, "format": task.reads, "sha256": shelf.digest} for name, shelf in shelves.items()}
    train, held = (Encoded.of_arrays(sides[side]) for side in _SIDES)
    return Pictured(task, tokens, length, found, train, held, json.loads(arrays["account"].tobytes()))


def fitted(task: Objective, base: Resolved) -> Objective:
    """The task with the size, colours and cost that the base reads. Raises BaseError where the base says nothing of images."""
    config = facts(base.scratch) if base.scratch else choices.config_file(base, "config.json")
    eye = config.get("vision_config", config)
    processor = _processor(base)
    own = eye.get("image_size")
    size = _setting(task, "size") or _side(processor) or _side({"size": own})
    if not size:
        raise BaseError(
            f"{base.name} does not say how large its images are",
            wanted="a base that reads images",
            fix="choose --base scratch:vit-tiny or scratch:clip-tiny, or give the size with --set task.size=32",
        )
    if eye is not config and own and size != own:
        raise RecipeError(f"task.size is {size}", wanted=f"{own}, which is what {base.name} reads", fix="leave task.size out")
    patch = eye.get("patch_size")
    cost = (size // patch) ** 2 + 1 if isinstance(patch, int) and patch <= size else max(1, size // _CELL) ** 2
    filled = {
        "size": size,
        "mean": _setting(task, "mean") or tuple(processor.get("image_mean") or _PLAIN),
        "std": _setting(task, "std") or tuple(processor.get("image_std") or _PLAIN),
        "cost": _setting(task, "cost") or cost,
    }
    return task.model_copy(update=filled)


def save_processor(task: Objective, folder: Path) -> None:
    """What plain transformers' AutoImageProcessor needs to make the same of an image file."""
    size = _setting(task, "size")
    square = {"height": size, "width": size}
    steps = dict.fromkeys(("do_convert_rgb", "do_resize", "do_center_crop", "do_rescale", "do_normalize"), True)
    colours = {f"image_{name}": list(_setting(task, name)) for name in ("mean", "std")}
    shape = {"size": {"shortest_edge": size}, "crop_size": square, "resample": 3, "rescale_factor": 1 / 255}
    artifact.write_json(folder / "preprocessor_config.json", {"image_processor_type": "CLIPImageProcessor", **steps, **shape, **colours})


_SIDES = ("train", "held")


@dataclass(frozen=True)
class _Cut:
    """How rows are made of images. length: tokens of a caption. share: held out."""

    length: int
    share: float
    seed: int


def _arrays(task: Objective, tokenizer: Any, shelves: dict[str, Shelf], cut: _Cut) -> Arrays:
    """Both sides encoded, and the account of them."""
    size = _setting(task, "size")
    read = [pixels.read(shelf, size) for shelf in shelves.values()]
    kept = [[place for place in each.places.tolist()] for each in read]
    texts = [shelf.texts[place] for shelf, places in zip(shelves.values(), kept, strict=True) for place in places]
    source_N = np.repeat(np.arange(len(read), dtype=np.int16), [len(places) for places in kept])
    seen = _Seen(np.concatenate([each.pixels for each in read]), texts, source_N, np.empty(0, np.uint64))
    digest_N = documents.digests_of(seen.pixels)
    return {}
