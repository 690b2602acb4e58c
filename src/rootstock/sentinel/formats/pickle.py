"""Pickles of all protocols, alone or several in a row: .pkl, .bin, .pt of old, .joblib, .dill."""

import math
from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding
from rootstock.sentinel.limits import Limits
from rootstock.sentinel.pickles import read
from rootstock.sentinel.source import Probe, Source, Tree

_TRIAL = Context(Limits(), lambda source, context: iter(()), lambda tree, source, context: _none(tree), math.inf)


def _none(tree: Tree) -> Iterator[Finding]:
    return iter(())


def recognises(probe: Probe) -> bool:
    """Whether the first bytes run as a pickle. A zip's first two letters would ask for an object by identity, which pickle.load refuses."""
    return not probe.head.startswith(b"PK\x03\x04") and read.looks_like_one(probe.head, probe.size, _TRIAL)


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """What the pickles import, call and set, and how they are built."""
    return read.scan(source, context)
