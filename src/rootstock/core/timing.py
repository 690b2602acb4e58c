"""How long a piece of work takes."""

import time
from collections.abc import Callable
from typing import TypeVar

Made = TypeVar("Made")


def timed(work: Callable[[], Made]) -> tuple[Made, float]:
    """What it gives, and the seconds that it took."""
    started = time.monotonic()
    return work(), time.monotonic() - started
