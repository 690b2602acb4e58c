"""The short form of bench/chaos.py: single bits of checkpoints and caches, turned at random places."""

import random
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def flips(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import chaos_flips

    yield chaos_flips
    for name in ("chaos_flips", "chaos_stages", "chaos_forked"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("kind", ["checkpoint", "cache"])
def test_a_turned_bit_is_found_or_makes_no_difference(flips, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("ROOTSTOCK_CACHE", str(tmp_path / "cache"))
    files, look = flips._checkpoint(tmp_path) if kind == "checkpoint" else flips._cache(tmp_path)
    counts = flips.tried(files, look, 60, random.Random(1))
    assert sum(counts.values()) == 60
    assert set(counts) <= {"found", "harmless"}, counts
    assert counts["found"] >= 50


def test_what_is_counted_as_wrong_is_wrong(flips, tmp_path):
    (tmp_path / "plain").write_bytes(b"no digest guards this")
    counts = flips.tried([tmp_path / "plain"], (tmp_path / "plain").read_bytes, 5, random.Random(0))
    assert counts == {"wrong": 5}
