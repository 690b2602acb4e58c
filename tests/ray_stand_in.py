"""Stands in for Ray where tasks are given, waited for, lost and cancelled."""

from contextlib import contextmanager
from threading import Thread
from types import SimpleNamespace


class Lost(Exception):
    """What the stand-in raises in Ray's name."""


class Died(Lost):
    """The same, where a process has died."""


class StandIn:
    """Of Ray what is asked of it. Tasks run when they are waited for, the last given first; `broken` are lost instead."""

    exceptions = SimpleNamespace(RayError=Lost, WorkerCrashedError=Died, NodeDiedError=Died, OutOfMemoryError=Died)

    def __init__(self, broken=(), dead=()):
        self.given, self.cancelled, self.broken, self.dead, self.made = [], [], broken, dead, {}

    def remote(self, **settings):
        assert settings == {"num_cpus": 1, "max_calls": 1, "max_retries": 0}

        def task(function):
            def given(order):
                self.given.append((len(self.given), function, str(order)))
                return len(self.given) - 1

            return SimpleNamespace(remote=given)

        return task

    def wait(self, tasks, *, num_returns, timeout):
        assert num_returns == 1
        last = max(tasks)
        if last not in (*self.broken, *self.dead):
            _, function, order = self.given[last]
            self.made[last] = function(order)
        return [last], [each for each in tasks if each != last]

    def cluster_resources(self):
        return {"CPU": 2.0}

    def get(self, task):
        if task in self.dead:
            raise Died("The worker died unexpectedly")
        if task in self.broken:
            raise Lost("in Ray\nthe machine is gone")
        return self.made[task]

    def cancel(self, task, *, force):
        self.cancelled.append((task, force))


class InTurn(StandIn):
    """The same, whose tasks run in a thread while they are waited for, the first given first: two at once would share a process's state."""

    def __init__(self, dead=()):
        super().__init__(dead=dead)
        self.running = {}

    def wait(self, tasks, *, num_returns, timeout):
        first = min(tasks)
        if first not in self.running:
            self.running[first] = Thread(target=self._run, args=(first,), daemon=True)
            self.running[first].start()
        self.running[first].join(0.05)
        ended = [] if self.running[first].is_alive() else [first]
        return ended, [each for each in tasks if each not in ended]

    def _run(self, task):
        if task not in self.dead:
            _, function, order = self.given[task]
            self.made[task] = function(order)


def session(ray):
    """What gives it in place of corpus/on_ray.py's."""

    @contextmanager
    def opened():
        yield ray

    return opened
