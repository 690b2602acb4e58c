"""The short form of bench/chaos.py: single bits of checkpoints and caches, turned at random places; and who reads a clock that jumps."""

import random
import re
import sys
from pathlib import Path

import pytest

import rootstock

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


NOTES = {
    "run/paired.py": "when a run ended, in the user's ledger of plans",
    "serving/app.py": "since when a model is served, as OpenAI's clients want it",
    "serving/openai.py": "when an answer was made, likewise",
    "serving/journal.py": "when something happened, in the server's journal",
    "serving/studio/index.py": "how old a run's last file is, where nobody saw it written",
}
"""Who may read the clock of the wall, and for what: nothing is decided by it but how the studio calls a run that it has just met."""
WALL = re.compile(
    r"\b(?:time|datetime|date)\.(?:time|time_ns|localtime|gmtime|ctime|now|utcnow|today)\(|^from time import .*\b(?:time|localtime)\b", re.M
)


def test_only_notes_read_the_clock_of_the_wall():
    root = Path(rootstock.__file__).parent
    found = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if WALL.search(path.read_text("utf-8"))}
    assert found == set(NOTES)


def test_what_is_counted_as_wrong_is_wrong(flips, tmp_path):
    (tmp_path / "plain").write_bytes(b"no digest guards this")
    counts = flips.tried([tmp_path / "plain"], (tmp_path / "plain").read_bytes, 5, random.Random(0))
    assert counts == {"wrong": 5}
