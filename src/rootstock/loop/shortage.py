"""An update that does not fit in memory is made again in smaller parts: a loss is a sum and a count, so its gradients are the same sums."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from rootstock.core.errors import OutOfMemory, is_memory_shortage
from rootstock.loop.job import Feed

Done = TypeVar("Done")

_LESS = "use a smaller base, --method lora or feature-extraction, or a lower training.length"


class Room:
    """beside: how many micro-batches must fit in memory at once. It doubles where they do not, and stays so for the updates that follow.

    splits: whether an update may be made again, which takes all workers; not where others wait for this one in the middle of a pass.
    """

    def __init__(self, beside: int, *, splits: bool = True) -> None:
        self.beside, self._splits = beside, splits

    def made(self, work: Callable[[], Done], rows: np.ndarray, *, feed: Feed, forget: Callable[[], None]) -> tuple[Done, int]:
        """What the work on these rows gives, and in how many parts, where it took more than before, else 0. forget: begun gradients.

        Raises OutOfMemory where there are no smaller parts, or none may be made.
        """
        before = self.beside
        while True:
            try:
                made = work()
                return made, feed.passes(rows, self.beside) if self.beside > before else 0
            except (MemoryError, RuntimeError) as error:
                if not is_memory_shortage(error):
                    raise
            forget()  # only here, where the error no longer holds what the pass had left in memory
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if not self._splits:
                raise OutOfMemory("a step does not fit in memory", fix=f"lower training.micro_tokens, or {_LESS}")
            self._halve(partial(feed.passes, rows))

    def _halve(self, parts: Callable[[int], int]) -> None:
        """The next smaller parts that there are."""
        now, tried = parts(self.beside), self.beside
        for _ in range(40):  # past any number of tokens
            tried *= 2
            if parts(tried) > now:
                self.beside = tried
                return
        raise OutOfMemory("a step does not fit in memory, not even row by row", fix=_LESS)
