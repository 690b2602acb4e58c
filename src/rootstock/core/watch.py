"""How a run talks and is talked to."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Say = Callable[[str], None]
Event = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Notes for a person, events for a progress line, and the question whether to stop. started: time.monotonic()."""

    say: Say = lambda text: None
    event: Callable[[Event], None] = lambda event: None
    stop: Callable[[], bool] = lambda: False
    started: float = field(default_factory=time.monotonic)
