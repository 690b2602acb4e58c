"""One seed, many independent streams."""

import hashlib
import random
from dataclasses import dataclass

import numpy as np

HELD_OUT = -1
"""The epoch of rows that are measured: their masks are the same in every evaluation."""
_ODD = np.uint64(0x9E3779B97F4A7C15)


def derive(seed: int, *names: object) -> int:
    """A seed in [0, 2**32) for one named purpose, so that no two purposes share a stream."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def stream(seed: int, *names: object) -> np.random.Generator:
    """A NumPy generator for one named purpose."""
    return np.random.default_rng(derive(seed, *names))


@dataclass(frozen=True)
class Draw:
    """Random numbers for the rows of one epoch. A row's numbers depend on seed, epoch, round, purpose and the row alone.

    So batches may be cut, shared out to cores and gone on with after a kill, and each row still gets the same masks.
    round: of an epoch in which rows come again; the first is 0, and each has numbers of its own.
    """

    seed: int
    epoch: int = HELD_OUT
    round: int = 0

    def uniform(self, purpose: str, rows_B: np.ndarray, width: int) -> np.ndarray:
        """Numbers in [0, 1), [B, width] of float64; a longer width begins with the numbers of a shorter one."""
        start = np.uint64(derive(self.seed, purpose, *self._when()))
        keys_B = _mixed(rows_B.astype(np.uint64) * _ODD + start)
        places_T = np.arange(1, width + 1, dtype=np.uint64) * _ODD
        return np.asarray((_mixed(keys_B[:, None] + places_T) >> np.uint64(11)) * 2.0**-53)

    def generator(self, purpose: str, row: int) -> np.random.Generator:
        """A generator of one row's own, where numbers alone are not enough."""
        return stream(self.seed, purpose, *self._when(), row)

    def _when(self) -> tuple[object, ...]:
        """Epoch and round; of the first round the epoch alone, with one name so that no row stands for a round."""
        return (self.epoch,) if not self.round else (f"{self.epoch}.{self.round}",)


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele et al. 2014): 64 bits, each of which depends on all that went in."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(numbers ^ (numbers >> np.uint64(31)))


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
