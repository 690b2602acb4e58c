"""A budget of time: how far a training is in it, and what is kept of it for what has to come after.

What comes after is counted by what was measured: a pass over the validation rows takes as long as the last one took.
"""

_LEAST = 0.1
"""Share of the budget that learning gets whatever else there is to do."""


class Clock:
    """Of one training. seconds: the whole budget, None for as long as it takes. `spent` counts from the start of the budget."""

    def __init__(self, seconds: float | None) -> None:
        self.limit = seconds
        self._fixed, self._passes, self._pass = 0.0, 0, 0.0
        self._least = _LEAST * (seconds or 0.0)
        self._update, self._far = 0.0, 0.0

    def reserve(self, fixed: float, *, passes: int, each: float, begun: float) -> None:
        """Keep `fixed` seconds, and so many passes over the validation rows of `each` seconds until one is measured.

        begun: spent before the first update; of what is left then, learning gets a tenth of the budget in any case.
        """
        self._fixed, self._passes, self._pass = fixed, passes, each
        self._least += begun

    def measured(self, seconds: float) -> None:
        """A pass over the validation rows took so long."""
        self._pass = seconds

    def updated(self, seconds: float) -> None:
        """An update took so long."""
        self._update = seconds if not self._update else 0.8 * self._update + 0.2 * seconds

    @property
    def seconds(self) -> float:
        """When learning ends."""
        assert self.limit is not None, "there is a budget"
        return max(self.limit - self._fixed - self._passes * self._pass, self._least)

    @property
    def share(self) -> float:
        """Of learning, that one update takes."""
        return 0.0 if self.limit is None else self._update / self.seconds

    def progress(self, spent: float) -> float:
        """Share of learning done; it never falls, whatever is measured. The end is the update's that lies nearest."""
        if self.limit is None:
            return 0.0
        now = spent / self.seconds
        self._far = max(self._far, 1.0 if now + self.share / 2 >= 1 else now)
        return self._far

    def fits(self, spent: float) -> bool:
        """Whether there is time for one more pass and an update after it; one at the end comes in any case."""
        return self.limit is None or spent + self._pass + self._update < self.seconds
