"""Orders carried out side by side as tasks of Ray, each in a process of its own; one whose process dies is begun again and goes on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rootstock.core.errors import RunFailed, UsageError
from rootstock.core.recipe import ClusterSettings
from rootstock.core.watch import Say
from rootstock.verbs import api
from rootstock.verbs.launch import RESTARTS

Key = TypeVar("Key")

ENGINES = ("torch", "ray")
"""Who carries out the trainings of a comparison or a search: torch here, or Ray side by side."""
_LOOKS_SECONDS = 0.5
"""How long a wait takes at most before it comes back to ask whether the user wants to stop."""


def check(engine: str, cluster: ClusterSettings) -> str:
    """The engine; UsageError for one that there is not, and for tasks that would wait for workers on the very cores that tasks hold."""
    if engine not in ENGINES:
        raise UsageError(f"--engine is {engine}", wanted=f"one of {', '.join(ENGINES)}")
    if engine == cluster.engine == "ray":
        wanted = "trainings side by side on Ray, or the workers of each"
        raise UsageError("--engine ray and cluster.engine ray", wanted=wanted, fix="leave one out")
    return engine


@dataclass(frozen=True)
class _Given(Generic[Key]):
    """One order that is under way. lost: how often its process has died."""

    key: Key
    order: str
    spoken: str
    lost: int = 0


class Tasks(Generic[Key]):
    """What is under way. work: does an order in a process of Ray's, and must go on where another has ended before it."""

    def __init__(self, ray: Any, work: Callable[[str], str], say: Say) -> None:
        # A process each, or the peak of one would be another's; begun again here and not by Ray, so that it is said.
        self._ray, self._say = ray, say
        self._task = ray.remote(num_cpus=1, max_calls=1, max_retries=0)(work)
        self._waiting: dict[Any, _Given[Key]] = {}

    def give(self, key: Key, order: str, spoken: str) -> None:
        """Begin an order. spoken: what it is, for a person."""
        self._waiting[self._task.remote(order)] = _Given(key, order, spoken)

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Key]:
        return (given.key for given in self._waiting.values())

    def ended(self) -> tuple[Key, Callable[[], str]] | None:
        """One that has ended, with what tells what came of it; None where none has in half a second.

        That raises RunFailed where its process died too often, or by something that would come again.
        """
        done, _ = self._ray.wait(list(self._waiting), num_returns=1, timeout=_LOOKS_SECONDS)
        return self._come(done[0]) if done else None

    def _come(self, task: Any) -> tuple[Key, Callable[[], str]] | None:
        given = self._waiting.pop(task)
        try:
            text = str(self._ray.get(task))
        except self._ray.exceptions.RayError as error:
            told = self._lost(given, error)
            return (given.key, told) if told else None
        return given.key, lambda: text

    def _lost(self, given: _Given[Key], error: Exception) -> Callable[[], str] | None:
        """Begin it again, or raise when asked."""
        kinds, lost = self._ray.exceptions, given.lost + 1
        reason = str(error).strip().splitlines()[-1]
        if isinstance(error, kinds.WorkerCrashedError | kinds.NodeDiedError | kinds.OutOfMemoryError) and lost <= RESTARTS:
            self._say(f"restart   {given.spoken}: its process died; it goes on from its last checkpoint ({lost} of {RESTARTS})")
            self._waiting[self._task.remote(given.order)] = _Given(given.key, given.order, given.spoken, lost)
            return None

        def fails() -> str:
            raise RunFailed(f"Ray lost it: {reason}", fix=f"see Ray's logs; {api.AGAIN}") from error

        return fails

    def cancel(self) -> None:
        """End what is still under way at once."""
        for each in self._waiting:
            self._ray.cancel(each, force=True)
