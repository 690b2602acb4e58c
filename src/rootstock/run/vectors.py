"""Frozen vectors of a user's own rows, of the last layer or of every one, with what they cost: by the path and cache of feature extraction.

Shape letters: N rows, L layers with the embeddings, H width.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from rootstock import catalog
from rootstock.bases import heads
from rootstock.bases.resolve import Resolved
from rootstock.core import layers
from rootstock.core.errors import UsageError
from rootstock.core.loaded import Loaded
from rootstock.core.recipe import Recipe
from rootstock.core.resources import peak_since, restart_peak
from rootstock.core.rows import TEXT, column
from rootstock.core.settings import changed, check_free
from rootstock.core.watch import Say, Watch
from rootstock.data.split import keys
from rootstock.evaluation.frozen import Labels
from rootstock.evaluation.intervals import FEWEST
from rootstock.loop import precision
from rootstock.run import choices, features, labelled
from rootstock.run.opened import randomised
from rootstock.run.prepared import LabelledRows, Place

_KINDS = ("class", "number")
_OWN = {
    "base": "name bases before --data",
    "data.train": "--data names the rows",
    "method.name": "leave it out: vectors are those of feature-extraction",
    "method.head": "leave it out: no head is trained",
    "training.rate": "leave it out: nothing is trained",
}
"""Keys of the recipe that this sets itself, and what to do instead."""


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """features: [N, H], or [N, L * H] of every layer. cached: nothing had to be computed. tokens: that pass the base.

    blocks: of the whole model, a decoder's too. peak_bytes: most memory while they were computed; None where they came from the cache.
    """

    features: np.ndarray
    layers: int
    blocks: int
    parameters: int
    seconds: float
    cached: bool
    peak_bytes: int | None

    def layer(self, number: int) -> np.ndarray:
        """One layer's, [N, H]."""
        return np.asarray(np.split(self.features, self.layers, axis=1)[number])


def prepare(base: Resolved, data: str, say: Say, *, changes: Mapping[str, Any], every: bool = False) -> LabelledRows:
    """The rows of a file under this base. every: of each layer, not the last alone.

    Raises UsageError for labels that are neither classes nor numbers, for random weights, and for a key that is set here.
    """
    check_free(changes, _OWN | ({"method.layer": "leave it out: every layer is asked"} if every else {}), "this command")
    if base.scratch:
        raise UsageError(
            f"{base.reference} has random weights", wanted="a base that was trained", fix="leave it out: it has learned nothing yet"
        )
    settings = {key.removeprefix("method."): value for key, value in changes.items() if key.startswith("method.")}
    method = catalog.find("methods", "feature-extraction").build({**({"layer": "mix"} if every else {"head": "mlp"}), **settings}, "method")
    others = {key: value for key, value in changes.items() if not key.startswith("method.")}
    # full refuses no task, so that what is wrong with the labels is said in words of their own; no step is ever taken
    values = {
        "base": base.reference,
        "data": {"train": data},
        "method": {"name": "full"},
        "training": {"steps": 1},
        "accept": ["unlabelled"],
    }
    prepared = labelled.prepare(Recipe.build(changed(values, others), "").anchored(Path.cwd()), say, base)
    if prepared.task.kind not in _KINDS or prepared.task.reads != "texts":
        raise UsageError(
            f"the labels are {prepared.task.kind} of {prepared.task.reads}",
            wanted="one class or one number a text, or a pair of texts",
            fix="name the label's column: --set task.label=COLUMN; for tags of words there is rootstock probe --suite pos",
        )
    method.check(prepared.task.head(), choices.config(base))
    return replace(prepared, method=method)


def table(prepared: LabelledRows) -> pa.Table:
    """The rows in the order of their vectors."""
    return pa.concat_tables([prepared.train, prepared.validation])


def groups(rows: pa.Table) -> np.ndarray:
    """Equal numbers for rows of equal texts, [N]: they are no two rows where one is learned from and the other measured."""
    return np.asarray(np.unique(np.array(keys(rows)), return_inverse=True)[1])


def labels(prepared: LabelledRows, rows: pa.Table) -> Labels:
    """The answers of the rows, and which of them are equal texts. UsageError where they are too few for any interval."""
    if len(rows) < FEWEST:
        raise UsageError(f"there are {len(rows)} labelled rows", wanted=f"{FEWEST} or more", fix="add rows")
    classes = len(getattr(prepared.task, "labels", ())) if prepared.task.kind == "class" else 0
    return Labels(prepared.task.answers(rows), groups(rows), classes, prepared.recipe.seed)


def first_words(rows: pa.Table) -> list[str]:
    """The first word of each text."""
    return [(text.split() or [""])[0].lower() for text in column(rows, TEXT)]


def of(prepared: LabelledRows, watch: Watch, *, random: int | None = None) -> Vectors:
    """Vectors of all rows, from the cache or in one pass. random: a seed of random weights in place of the base's own."""
    started = time.monotonic()
    restart_peak()
    loaded = heads.load(prepared.base, prepared.task.head(), seed=prepared.recipe.seed, dropout=0.0)
    heads.fit(prepared.tokenizer, loaded.model)
    if random is not None:
        loaded = Loaded(randomised(loaded.model, random), loaded.head, loaded.fresh)
    tap = prepared.method.tap(prepared.method.apply(loaded), loaded)
    assert tap is not None  # a head beside its base always has a border
    tap = tap if random is None else replace(tap, key=f"{tap.key} random={random}")
    device = torch.device(prepared.device)
    tap.body.to(device)
    place = Place(device=device, dtype=precision.choose(prepared.recipe.training.precision, device.type))
    found = features.remembered(prepared, tap.key, place)
    cached, started = found is not None, time.monotonic() if found is None else started
    parts = found or features.compute(prepared, tap, place, watch)
    joined_NF = np.concatenate([part.dense["features"] for part in parts])
    return Vectors(
        features=joined_NF,
        layers=joined_NF.shape[1] // loaded.width,
        blocks=len(layers.blocks(loaded.model)),
        parameters=sum(each.numel() for each in tap.body.parameters()),
        seconds=time.monotonic() - started,
        cached=cached,
        peak_bytes=None if cached else peak_since(),
    )
