"""One seed, many independent streams."""

import hashlib
import random

import numpy as np


def derive(seed: int, *names: object) -> int:
    """A seed in [0, 2**32) for one named purpose, so that no two purposes share a stream."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def stream(seed: int, *names: object) -> np.random.Generator:
    """A NumPy generator for one named purpose."""
    return np.random.default_rng(derive(seed, *names))


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
