"""Images with classes before a comparison divides them: its parts are tables, with copies of the images beside them that nobody changes."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rootstock.bases.resolve import resolve
from rootstock.core import artifact
from rootstock.core.recipe import Recipe
from rootstock.core.rows import LABEL, ROW, TEXT, column
from rootstock.core.watch import Say
from rootstock.data import images, schema, split
from rootstock.run import labelled_pictures
from rootstock.run.labelled_pictures import Listed
from rootstock.verbs.arms_read import Read, Side, check_same
from rootstock.verbs.compare_transfer import SPLIT_SEED, TEST_SHARE

_IMAGE, _DIGEST, _FOLDER = "image", "digest", "images"
"""Column of the place of an image, by its table's folder; of what tells its pixels from others; and the folder of the copies."""


def read(recipe: Recipe, digests: Mapping[str, str], say: Say) -> Read:
    """Images that can be read, at the size of the recipe's base; the others are counted and said."""
    base, held = resolve(recipe.base), recipe.data.validation
    found = {"train": labelled_pictures.listed(str(recipe.data.train), recipe, base, say)}
    found |= {"validation": labelled_pictures.listed(held, recipe, base, say)} if isinstance(held, str) else {}
    sides = {side: Side(rows=each.rows, raw=_raw(each, side)) for side, each in found.items()}
    with schema.naming(str(recipe.data.train)):
        train, test = split.split(found["train"].rows, TEST_SHARE, SPLIT_SEED, stratify=True)
    return Read(
        task=labelled_pictures.name_of(recipe),
        columns={"image": _IMAGE, "label": LABEL},
        train=Side(rows=train, raw=sides["train"].raw),
        test=test,
        held=sides.get("validation"),
        copy=partial(_copied, recipe, found, digests),
    )


def _raw(found: Listed, side: str) -> pa.Table:
    """The table of which parts are taken. side: what the names of the copies begin with. `file` is where an image came from."""
    rows, names = found.rows, column(found.rows, "file")
    places = [f"{_FOLDER}/{side}-{row:06}{Path(name).suffix.lower()}" for row, name in zip(column(rows, ROW), names, strict=True)]
    told = {_IMAGE: pa.array(places, pa.string()), LABEL: rows.column(LABEL), "file": rows.column("file"), _DIGEST: rows.column(TEXT)}
    return pa.table({**told, ROW: rows.column(ROW)})


def _copied(recipe: Recipe, found: Mapping[str, Listed], digests: Mapping[str, str], tables: Mapping[str, pa.Table], folder: Path) -> None:
    """Write the images of these tables beside them. What is there already stays: who goes on with a comparison has proved it."""
    wanted = {name for table in tables.values() for name in column(table, _IMAGE)}
    for side, each in found.items():
        places = dict(zip((row - 1 for row in column(each.rows, ROW)), column(_raw(each, side), _IMAGE), strict=True))
        missing = {number: folder / name for number, name in places.items() if name in wanted and not (folder / name).exists()}
        for number, content in each.shelf.contents() if missing else ():
            if number in missing and isinstance(content, bytes):
                artifact.write_bytes(missing[number], content)
        if missing:
            check_same(str(getattr(recipe.data, side)), labelled_pictures.digest(str(getattr(recipe.data, side)), recipe), digests[side])


def digest(folder: Path) -> str:
    """Of all copies in a folder of parts, by names and bytes; empty where there are none."""
    place = folder / _FOLDER
    return images.shelf(str(place)).digest if place.is_dir() else ""


def groups(path: Path) -> np.ndarray:
    """Equal numbers for images of equal pixels in a part, [N], whatever size a base reads them in."""
    return np.asarray(np.unique(np.array(column(pq.read_table(path, columns=[_DIGEST]), _DIGEST)), return_inverse=True)[1])
