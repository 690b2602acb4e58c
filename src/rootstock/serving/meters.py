"""Figures of a server for Prometheus: requests by route and status, seconds, rows by model, and what the engine counts."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from rootstock.serving.visit import Visit

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_GAUGES = frozenset(("queue_rows", "rows_in_flight", "loaded", "on_disk", "streams", "workers"))
"""Of the engine's figures those that fall as well; all other numbers only grow."""


class Meters:
    """Counts of one server, in a registry of its own."""

    def __init__(self, figures: Callable[[], Mapping[str, Any]], busy: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        kwargs: dict[str, Any] = {"registry": self.registry}
        self._requests = Counter("rootstock_requests", "Answered requests.", ("route", "status"), **kwargs)
        self._seconds = Histogram("rootstock_request_seconds", "From head to answer.", ("route",), buckets=_SECONDS, **kwargs)
        Gauge("rootstock_requests_in_progress", "Requests being answered.", **kwargs).set_function(busy)
        self.registry.register(_OfEngine(figures))
        self._children: dict[tuple[str, int], tuple[Any, Any]] = {}

    def count(self, visit: Visit, seconds: float) -> None:
        """A request that has its answer."""
        key = visit.path, visit.status
        if key not in self._children:
            self._children[key] = self._requests.labels(key[0], str(key[1])), self._seconds.labels(key[0])
        requests, timed = self._children[key]
        requests.inc()
        timed.observe(seconds)

    def page(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)


class _OfEngine:
    """The engine's figures at the moment when they are asked for."""

    def __init__(self, figures: Callable[[], Mapping[str, Any]]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """A family a figure; those by model or stage with a label; a word, which is no number, as one."""
        for name, value in self._figures().items():
            if isinstance(value, Mapping):
                family = CounterMetricFamily(f"rootstock_engine_{name}", f"The engine's {name}.", labels=["of"])
                for key, number in value.items():
                    family.add_metric([str(key)], float(number))
                yield family
            elif isinstance(value, str):
                yield InfoMetricFamily(f"rootstock_engine_{name}", f"The engine's {name}.", {"is": value})
            elif isinstance(value, int | float):
                kind = GaugeMetricFamily if name in _GAUGES else CounterMetricFamily
                yield kind(f"rootstock_engine_{name}", f"The engine's {name}.", value=float(value))
