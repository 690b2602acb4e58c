"""What bench/growth.py says of a curve: its exponents, what more adds, where it bends, and what it comes to on paper."""

import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def growth(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import growth

    yield growth
    sys.modules.pop("growth", None)


SIZES = (1, 10, 100, 1000, 10_000)


def test_a_power_is_straight(growth):
    exponents, _, bends = growth.slopes([(x, 3 * x**1.1) for x in SIZES])
    assert exponents == pytest.approx([1.1] * 4)
    assert bends == []
    assert growth.beyond([(x, 3 * x**1.1) for x in SIZES], 100_000) == pytest.approx(3 * 100_000**1.1), "a line would say too little"


def test_a_fixed_part_and_one_in_proportion_do_not_bend(growth):
    points = [(x, 500 + 0.2 * x) for x in SIZES]
    exponents, added, bends = growth.slopes(points)
    assert exponents[0] < 0.01
    assert exponents[-1] > 0.5, "though the exponents tell of nothing else"
    assert added == pytest.approx([0.2] * 4)
    assert bends == []
    assert growth.beyond(points, 100_000) == pytest.approx(500 + 20_000), "a power would say too little"


def test_a_bend_is_named(growth):
    points = [(x, 500 + 0.2 * x + (0.8 * (x - 100) if x > 100 else 0)) for x in SIZES]
    assert growth.slopes(points)[2] == [100]
    assert growth.slopes([(1, 10.0), (10, 100.0), (100, 100.0), (1000, 100.0)])[2] == [10]
    assert growth.slopes([(1, 5.0), (10, 5.0), (100, 5.0)])[2] == [], "what stays as it is"


def test_noise_of_a_level_is_no_bend(growth):
    assert growth.slopes([(1000, 410.0), (3000, 402.0), (10_000, 415.0), (30_000, 408.0)])[2] == []


def test_the_table_has_a_line_a_curve(growth):
    held = {"runs": [{"runs": n, **{key: {"cpu_s": n * 1e-3} for key in ("first_look", "next_look", "free_name")}} for n in (10, 100)]}
    lines = growth.table(held).splitlines()
    assert "| runs listed | 10 runs: 0.01 s | 100 runs: 0.1 s | 1.00, 1.00 | 1 s a thousand runs | nowhere |  |" in lines
    paper = [line for line in lines if line.startswith("| near duplicates, time")]
    assert "10,000,000 documents" in paper[0]
