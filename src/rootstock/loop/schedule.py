"""The learning rate's factor over a run's progress."""

import math


def factor(kind: str, progress: float, warmup: float) -> float:
    """Factor on the peak rate at a share of training done, in [0, 1]: up to 1 during warm-up, then down as `kind` says."""
    if progress < warmup:
        return progress / warmup
    rest = min((progress - warmup) / (1 - warmup), 1.0)
    return {"linear": 1 - rest, "cosine": 0.5 * (1 + math.cos(math.pi * rest)), "constant": 1.0}[kind]
