"""Advice: every rule that is given stands in docs/advice.md with its source, and each case gets its own."""

import re
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest

from rootstock import catalog
from rootstock.planning.rules import Case, base_for, recommend

PAGE = (Path(__file__).parents[2] / "docs" / "advice.md").read_text("utf-8")
DAY = 86_400


def costs(base=110_000_000, *, fits=True, seconds=3600.0):
    def cost(saved, fits=fits):
        counts = SimpleNamespace(base=base, share=0.01)
        return SimpleNamespace(counts=counts, fits=fits, seconds=seconds, saved_bytes=saved, updates=225)

    return {"full": cost(4 * base), "lora": cost(4 * base // 100, fits=True), "feature-extraction": cost(4 * base, fits=True)}


def told(rows=100_000, *, kind="class", forecasts=None, **case):
    found = recommend(Case(rows=rows, classes=2, kind=kind, machine=16 * 10**9, **case), forecasts or costs())
    return {each.about: each for each in found}


EVERY = [
    told(rows, forecasts=costs(base, fits=fits), **more)
    for rows, base, fits, more in product(
        (40, 500, 5_000, 100_000), (22_000_000, 110_000_000), (True, False), ({}, {"images": True}, {"tasks": 20, "disk_bytes": 10**9})
    )
]
BASES = [
    base_for(Case(rows=rows, classes=2, kind=kind, machine=machine, images=images))
    for rows, kind, machine, images in product((500, 5_000), ("class", "text", "completion"), (10**9, 10**10), (False, True))
    if not (images and kind != "class")
]


@pytest.mark.parametrize("advice", {each.source: each for case in EVERY for each in case.values()}.values(), ids=lambda each: each.source)
def test_every_source_stands_in_the_page_of_rules(advice):
    papers = re.findall(r"arXiv:\d+\.\d+", advice.source)
    assert papers or "forecast" in advice.source
    assert all(paper in PAGE for paper in papers)


@pytest.mark.parametrize("advice", {each.choice: each for each in BASES}.values(), ids=lambda each: each.choice)
def test_every_base_that_is_advised_stands_there_with_its_source(advice):
    family = {"google-t5/t5-base": "T5", "Qwen/Qwen2.5-0.5B": "decoder"}.get(advice.choice, advice.choice)
    (line,) = [line for line in PAGE.splitlines() if line.startswith("|") and family in line]
    assert advice.source.split(",")[0].split(";")[0] in line


def test_each_case_gets_its_own():
    assert told(seconds=3 * DAY)["method"].choice == "full"
    assert "epochs" not in told()
    assert told(forecasts=costs(seconds=4 * DAY), seconds=3 * DAY)["method"].reason == "full takes 96.0 hours"
    assert told(forecasts=costs(fits=False))["method"].choice == "lora"
    assert told(40)["method"].choice == "feature-extraction"
    assert "rate" not in told(40), "a head's rate is no matter of the base"
    few = told(500)
    assert (few["method"].choice, few["augmentation"].choice, few["rate"].choice[:4]) == ("lora", "eda", "4e-4")
    assert (told()["rate"].choice[:4], told(forecasts=costs(22_000_000))["rate"].choice[:4]) == ("3e-5", "2e-4")
    assert told(500, forecasts=costs(22_000_000))["rate"].choice[:4] == "1e-3"
    for name, rows in (("full", 100_000), ("lora", 500)):  # what is advised is what adapt takes
        method = catalog.find("methods", name)
        for size, wanted in ((22_000_000, method.rate), (110_000_000, method.large_rate)):
            assert float(told(rows, forecasts=costs(size))["rate"].choice[:4]) == wanted
    assert "one base with 20 adapters" in told(tasks=20, disk_bytes=10**9)["method"].reason
    assert set(told(500, images=True)) == {"method", "warm-up"}, "neither words nor rates of texts for images"
