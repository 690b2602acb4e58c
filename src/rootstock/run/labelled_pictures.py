"""From image files with classes to labelled rows: as labelled.py does it for texts."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from rootstock import catalog
from rootstock.bases.resolve import Resolved
from rootstock.core import artifact
from rootstock.core.errors import DataError, RecipeError
from rootstock.core.method import Method
from rootstock.core.recipe import DataSettings, Recipe
from rootstock.core.rows import LABEL, PIXELS, ROW, TEXT
from rootstock.core.task import Labelled
from rootstock.core.watch import Say
from rootstock.data import exclude, images, ledger, schema, split
from rootstock.data.cache import Arrays, remembered
from rootstock.data.gallery import Gallery, hang
from rootstock.data.images import Shelf
from rootstock.run import augmented, choices, excluded, pictures
from rootstock.run.prepared import LabelledRows, Teacher

_TASK = "image-classification"


def meant(recipe: Recipe) -> bool:
    """Whether a recipe's rows are images: by its task, or by a folder or .tar of them where the task is to be found."""
    name = recipe.task.get("name", "auto")
    if name == "auto":
        return isinstance(recipe.data.train, str) and images.holds_images(recipe.data.train)
    found = catalog.find("tasks", name)
    return issubclass(found, Labelled) and found.reads == "images"


def prepare(recipe: Recipe, base: Resolved, say: Say, teacher: Teacher | None = None) -> LabelledRows:
    """Read, hold out and encode images; every decision is said."""
    if not isinstance(recipe.data.train, str):
        raise RecipeError(f"data.train names {len(recipe.data.train)} places", wanted="one folder or .tar of images", fix="join them")
    choices.check_unused(recipe, ("canaries",), "images")
    blank = unfitted(recipe, base)
    shelf = _shelf(recipe.data.train, blank, recipe.data)
    drawn = pictures.some(shelf, recipe)
    if len(drawn.names) < len(shelf.names):
        say(f"data      {len(drawn.names):,} of {len(shelf.names):,} images are drawn, as data.rows asks")
    hung = hung_up(drawn, blank)
    train, validation, held = _sides(hung, blank, recipe, say)
    train, validation = numbered(train, shelf), numbered(validation, held.shelf if held else shelf)
    left = _left(recipe, train, validation=None if held else validation, whole=len(drawn.names) == len(shelf.names), say=say)
    train = left.train if left else train
    augmented.check(recipe, blank)
    with schema.naming(recipe.data.train):
        task = blank.fit(train, validation)
    if teacher:
        teacher.check(task, pair=False)
    labels: tuple[str, ...] = getattr(task, "labels", ())
    say(f"task      {name_of(recipe)}, {len(labels)} labels: {', '.join(labels[:8])}{' …' if len(labels) > 8 else ''}")
    encoded, encoded_validation = (task.encode(part, None, None) for part in (train, validation))
    method, why = choices.method_for(recipe, base, encoded, say, task=task, classes=len(labels))
    method = everywhere(method, say)
    epochs = recipe.training.epochs or choices.epochs(recipe, method, encoded.lengths, len(labels), say)
    length = int(encoded.lengths.max())
    return LabelledRows(
        recipe=choices.resolved(recipe, base, task, method, columns={}, usual=choices.usual_of(method, epochs)),
        base=base,
        tokens=pictures.nothing,
        task=task,
        method=method,
        train=train,
        validation=validation,
        learned=train,
        teacher=teacher,
        encoded=encoded,
        encoded_validation=encoded_validation,
        ledger=_account(
            (train, validation),
            task,
            [hung, *([held.hung] if held else [])],
            length=length,
            not_drawn=len(shelf.names) - len(drawn.names),
            left_out=left.excluded if left else 0,
        ),
        length=length,
        sources=_sources({"train": shelf} | ({"validation": held.shelf} if held else {}), left),
        choices={"method": why, "schema": [f"label: the folder of each of {len(train) + len(validation):,} images"]},
    )


def learned_from(recipe: Recipe, task: Labelled) -> tuple[pa.Table, str]:
    """The images that a recipe's run learned from, as rows, and the digest of all that lie there."""
    shelf = _shelf(str(recipe.data.train), task, recipe.data)
    drawn = pictures.some(shelf, recipe)
    hung, apart = hung_up(drawn, task), isinstance(recipe.data.validation, str)
    train, validation = (rows(hung, np.arange(len(hung.names))), None) if apart else _sides(hung, task, recipe, _silent)[:2]
    train, validation = numbered(train, shelf), validation if validation is None else numbered(validation, shelf)
    left = _left(recipe, train, validation=validation, whole=len(drawn.names) == len(shelf.names), say=_silent)
    return left.train if left else train, shelf.digest


def _silent(_: str) -> None:
    pass


def _left(recipe: Recipe, train: pa.Table, *, validation: pa.Table | None, whole: bool, say: Say) -> excluded.Left | None:
    """What the user's list leaves, where one is named. whole: whether every image that can be read is among the rows."""
    if recipe.data.exclude is None:
        return None
    file, elsewhere = str(recipe.data.train), () if whole else None
    return excluded.left(exclude.read(recipe.data.exclude), train, validation=validation, file=file, elsewhere=elsewhere, say=say)


def _sources(shelves: Mapping[str, Shelf], left: excluded.Left | None) -> dict[str, Any]:
    found = {side: {"name": str(each.place), "format": "images", "sha256": each.digest} for side, each in shelves.items()}
    return found | ({"exclude": left.source} if left else {})


def name_of(recipe: Recipe) -> str:
    """The name of the task on images that a recipe means."""
    name = str(recipe.task.get("name", "auto"))
    return _TASK if name == "auto" else name


def unfitted(recipe: Recipe, base: Resolved) -> Labelled:
    """That task with the size and colours that the base reads, before it knows its classes."""
    settings = {key: value for key, value in recipe.task.items() if key != "name"}
    made: Labelled = pictures.fitted(catalog.find("tasks", name_of(recipe)).build(settings, "task"), base)
    return made


class Listed(NamedTuple):
    """The images of a place that can be read. rows: of each a digest of its pixels as text, class, file, and number on the shelf from 1."""

    shelf: Shelf
    rows: pa.Table


def listed(reference: str, recipe: Recipe, base: Resolved, say: Say) -> Listed:
    """The images of a place without their pixels; what can't be read is said. Raises DataError where none can."""
    task = unfitted(recipe, base)
    shelf = _shelf(reference, task, recipe.data)
    hung = _readable(reference, shelf, task, say)
    held = set(hung.names)  # a table may name a file twice, which can be read or not
    numbers = [number for number, name in enumerate(shelf.names) if name in held]
    digests = [f"{each:016x}" for each in hung.digests().tolist()]
    names, classes = (pa.array(told, pa.string()) for told in (hung.names, hung.texts))
    return Listed(shelf, pa.table({TEXT: digests, LABEL: classes, "file": names, ROW: np.array(numbers, dtype=np.int64) + 1}))


def digest(reference: str, recipe: Recipe) -> str:
    """Of the images of a place, by names and bytes, and of the table where one names them."""
    settings = {key: value for key, value in recipe.task.items() if key != "name"}
    return _shelf(reference, catalog.find("tasks", name_of(recipe)).build(settings, "task"), recipe.data).digest


def table(reference: str, task: Labelled, data: DataSettings, say: Say) -> tuple[pa.Table, dict[str, int]]:
    """The images of a folder, a .tar or a table as rows with their classes, and how many could not be read, by reason; these are said.

    Raises DataError where none can be read.
    """
    shelf = _shelf(reference, task, data)
    hung = _readable(reference, shelf, task, say)
    return numbered(rows(hung, np.arange(len(hung.names))), shelf), dict(hung.broken)


def _readable(reference: str, shelf: Shelf, task: Labelled, say: Say) -> Gallery:
    hung = hung_up(shelf, task)
    if hung.broken:
        _say_lost(hung, say)
        if not hung.names:
            example = hung.examples[0]
            raise DataError(
                f"{reference}: no image can be read, such as {example['file']}, which is {example['reason']}",
                wanted="images",
                fix="replace them",
            )
    return hung


def _say_lost(hung: Gallery, say: Say) -> None:
    lost = f"; left out: {', '.join(f'{count:,} {reason}' for reason, count in hung.broken.items())}" if hung.broken else ""
    say(f"images    {len(hung.names):,} read{lost}")
    for example in hung.examples:
        say(f"images    left out: {example['file']} is {example['reason']}")


def of_files(names: list[str], task: Labelled) -> pa.Table:
    """Image files by their paths as rows without classes. Raises DataError for one that can't be read."""
    shelf = Shelf(Path.cwd(), tuple(names), ("",) * len(names), "")
    hung = hang([shelf], _size(task), captioned=False)
    if hung.broken:
        raise DataError(f"{hung.examples[0]['file']} is {hung.examples[0]['reason']}", wanted="image files", fix="check the name")
    return rows(hung, np.arange(len(names))).drop_columns([LABEL])


def rows(hung: Gallery, chosen: np.ndarray) -> pa.Table:
    """Images of these numbers with canonical columns: pixels, file name as text, class folder as label, and number among these from 1."""
    places = chosen.tolist()
    held = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(hung.pixels[chosen]))
    names, classes = ([told[place] for place in places] for told in (hung.names, hung.texts))
    return pa.table({PIXELS: held, TEXT: pa.array(names, pa.string()), LABEL: pa.array(classes, pa.string()), ROW: chosen + 1})


def numbered(images: pa.Table, shelf: Shelf) -> pa.Table:
    """Rows by their numbers on a shelf, from 1, whichever of its images were drawn or can be read: by these a list names them."""
    places: dict[tuple[str, str], int] = {}
    for number, both in enumerate(zip(shelf.names, shelf.texts, strict=True), start=1):
        places.setdefault(both, number)
    told = [places[both] for both in zip(images.column(TEXT).to_pylist(), images.column(LABEL).to_pylist(), strict=True)]
    return images.set_column(images.schema.get_field_index(ROW), ROW, pa.array(told, pa.int64()))


def hung_up(shelf: Shelf, task: Labelled) -> Gallery:
    """The images of a shelf at the task's size, kept between runs: decoding takes longer than an epoch of a small model."""

    def make() -> Arrays:
        hung = hang([shelf], _size(task), captioned=False)
        told = {"names": hung.names, "texts": hung.texts, "broken": dict(hung.broken), "examples": hung.examples}
        return {"pixels": hung.pixels, "told": np.frombuffer(json.dumps(told).encode(), np.uint8)}

    key = {
        "images": [shelf.digest, artifact.digest_json([shelf.names, shelf.texts])],
        "size": _size(task),
        "versions": [version("pillow"), version("rootstock")],
    }
    arrays, _ = remembered("labelled-pictures", key, make)
    told = json.loads(np.asarray(arrays["told"]).tobytes())
    return Gallery(
        pixels=arrays["pixels"],
        names=tuple(told["names"]),
        texts=tuple(told["texts"]),
        source=np.zeros(len(told["names"]), np.int16),
        broken=Counter(told["broken"]),
        examples=tuple(told["examples"]),
    )


def _shelf(reference: str, task: Labelled, data: DataSettings) -> Shelf:
    told = task.plain()
    if images.is_table(reference):
        return images.captions(reference, data, image=told.get("image"), text=told.get("label"))
    return images.shelf(reference)


class _Held(NamedTuple):
    """Validation images that come from a place of their own."""

    shelf: Shelf
    hung: Gallery


def _sides(hung: Gallery, task: Labelled, recipe: Recipe, say: Say) -> tuple[pa.Table, pa.Table, _Held | None]:
    """Training and validation rows, and where the latter come from a place of their own, that."""
    _say_lost(hung, say)
    everything = np.arange(len(hung.names))
    place = recipe.data.validation
    if isinstance(place, str):
        shelf = _shelf(place, task, recipe.data)
        held = _Held(shelf, _readable(place, shelf, task, say))
        return rows(hung, everything), rows(held.hung, np.arange(len(held.hung.names))), held
    digests = [f"{digest:016x}" for digest in hung.digests().tolist()]
    told = pa.table({TEXT: digests, LABEL: pa.array(hung.texts, pa.string()), ROW: everything})
    with schema.naming(str(recipe.data.train)):
        parts = split.split(told, place, recipe.seed, stratify=True)
    train, validation = (rows(hung, part.column(ROW).to_numpy()) for part in parts)
    share = f"{100 * place:.3g} %, stratified, duplicates kept together"
    say(f"split     {len(train):,} images to train, {len(validation):,} to validate ({share})")
    return train, validation, None


def _account(
    parts: tuple[pa.Table, pa.Table], task: Labelled, read: Sequence[Gallery], *, length: int, not_drawn: int, left_out: int
) -> dict[str, Any]:
    """The ledger, with the images that could not be read among those dropped. parts: both sides. read: each place that they come from.

    left_out: how many a list excludes.
    """
    train_N, validation_N = (np.full(len(part), length, dtype=np.int64) for part in parts)
    facts = ledger.Facts(
        train_lengths=train_N,
        validation_lengths=validation_N,
        length=length,
        kind=task.kind,
        names=task.names,
        not_drawn=not_drawn,
        excluded=left_out,
    )
    broken = sum((hung.broken for hung in read), Counter[str]())
    found, lost = ledger.account(*parts, facts), sum(broken.values())
    counts = found["rows"] | {"read": found["rows"]["read"] + lost, "dropped": found["rows"]["dropped"] + lost}
    return found | {
        "rows": counts,
        "truncation": [],
        "broken": dict(broken),
        "broken_examples": [each for hung in read for each in hung.examples],
    }


def everywhere(method: Method, say: Say) -> Method:
    """A method that adapts chosen modules, told to adapt every matrix: which ones suit is written down for models of texts only."""
    if "targets" not in type(method).model_fields or method.plain()["targets"]:
        return method
    say("method    every matrix is adapted, as method.targets names none")
    return method.model_copy(update={"targets": ("all-linear",)})


def _size(task: Labelled) -> int:
    size: int = task.plain()["size"]
    return size
