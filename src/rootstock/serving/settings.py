"""What decides how an engine batches, and how much it keeps in memory."""

from dataclasses import dataclass
from typing import Literal

from rootstock.core.errors import UsageError

Precision = Literal["auto", "float32", "bfloat16", "int8"]


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Raises UsageError for a number below its least."""

    max_batch_tokens: int = 4096
    """Padded tokens that pass through a base at once, all workers together; 4096 fills a processor's vector units, and more only waits."""
    max_batch_rows: int = 256
    """Rows of one batch."""
    deadline_ms: float = 2.0
    """How long the first row of a batch waits for others where a worker is free. While all are busy rows gather by themselves."""
    queue_rows: int = 2048
    """Rows that may wait or be worked on; a request beyond them is Overloaded."""
    max_loaded: int = 128
    """Models in memory; of others the least recently used go back to disk, and come again when they are asked for."""
    precision: Precision = "auto"
    """Numbers of the base's products. auto: bfloat16 where a short measurement finds it quicker than float32. int8: only when asked for."""
    threads: int = 0
    """Workers, each of one core. 0: as many as this process has cores."""

    def __post_init__(self) -> None:
        for name in ("max_batch_tokens", "max_batch_rows", "queue_rows", "max_loaded"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", wanted="1 or more")
        for name in ("deadline_ms", "threads"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is {getattr(self, name):g}", wanted="0 or more")
        if self.precision not in ("auto", "float32", "bfloat16", "int8"):
            raise UsageError(f"precision is {self.precision!r}", wanted="auto, float32, bfloat16 or int8")
