"""The figures of a probe in every layer, and what pre-training added to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rootstock.data.conllu import SPLITS
from rootstock.evaluation.probes import linear


@dataclass(frozen=True)
class Measured:
    """A layer each: rows, its figures, and rights, whether each test row was right. groups: of the test rows. facts: about all layers."""

    rows: Sequence[dict[str, Any]]
    rights: Sequence[np.ndarray]
    groups: np.ndarray
    facts: dict[str, Any]

    @property
    def best(self) -> int:
        """The layer of least loss on the dev rows: chosen on the test rows, its figure there would flatter."""
        return int(np.argmin([row["dev"]["loss"] for row in self.rows]))


def table(measured: Measured, random: Measured | None, seed: int) -> dict[str, Any]:
    """Facts and layers as JSON. random: the same probe on the same rows with random weights; gain compares the best layer of both."""
    found = {**measured.facts, "best": measured.best, "layers": list(measured.rows)}
    if random is None:
        return found
    right = {"pretrained": measured.rights[measured.best], "random": random.rights[random.best]}
    gain = linear.shares(right, measured.groups, seed=seed, less=("gain", "pretrained", "random"))
    return found | {"random": {"best": random.best, "layers": list(random.rows)}, "gain": gain["gain"]}


def split_at(rows: np.ndarray, ends: np.ndarray) -> dict[str, np.ndarray]:
    """Row numbers of each part, where `ends` says how far train, dev and test reach."""
    return dict(zip(SPLITS, np.split(rows, np.searchsorted(rows, ends[:-1])), strict=True))
