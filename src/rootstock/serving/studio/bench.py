"""What the studio asks of the rooms above it: `verbs/studio.py` passes these functions in, and they alone open models."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Plain = dict[str, Any]
"""JSON."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Each takes a run's folder first. What a person got wrong is a RootstockError, whose message is shown.

    curves: charts of a history, however far it has come. account: what the run saw. lineage: what it grew from, and the issues.
    asks: what the run wants to be asked. answer: its answer to texts. explain: which tokens the answer rests on.
    write: pieces of what it writes, as it writes them; the second function says whether anybody still listens.
    """

    curves: Callable[[Path], list[Plain]]
    account: Callable[[Path], Plain]
    lineage: Callable[[Path], Plain]
    asks: Callable[[Path], Plain]
    answer: Callable[[Path, Plain], Plain]
    explain: Callable[[Path, Plain], Plain]
    write: Callable[[Path, Plain, Callable[[], bool]], Iterator[str]]
