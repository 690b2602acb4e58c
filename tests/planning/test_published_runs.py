"""Device-hours of published trainings against what a plan says of them; docs/planning.md holds the same table."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rootstock.planning import cluster, devices, links, shapes
from rootstock.planning.shapes import PUBLISHED, Shape

LLAMA = dict(zip(("1.1b", "3b", "7b", "13b", "33b", "34b", "65b", "70b", "405b"), PUBLISHED, strict=True))
DOCS = Path(__file__).parents[2] / "docs" / "planning.md"


def plain(name, sizes, *, vocabulary, rest=0):
    """Two feed-forward matrices, the table as output layer, no biases: MPT's kind; BERT's to a thousandth."""
    blocks, width, inner, heads = sizes
    block = 4 * width * width + 2 * width * inner + 2 * width
    return Shape(
        name=name, blocks=blocks, width=width, queries=width, keys=width, head=width // heads, inner=inner, gated=False,
        vocabulary=vocabulary, block=block, root=vocabulary * width + width + rest,
    )  # fmt: skip


OLMO_7B = replace(shapes.llama("Olmo 3 7B", (32, 4096, 11_008, 32, 32), 100_278), windowed=24, window=4096)
OLMO_32B = replace(shapes.llama("Olmo 3 32B", (64, 5120, 27_648, 40, 8), 100_278), windowed=48, window=4096)
BERT = plain("BERT-Base", (12, 768, 3072, 12), vocabulary=30_522, rest=(512 + 2 + 768) * 768)


@dataclass(frozen=True)
class Published:
    """hours: of all devices. way: the strategy that the source states; None: the plan's quickest."""

    name: str
    shape: Shape
    device: str
    workers: int
    row: tuple[int, int]
    tokens: float
    hours: float
    way: str | None = None


FOUR_M = 2**22
SETTLED_ON = [
    Published("LLaMA 7B", LLAMA["7b"], "a100-80gb", 2048, (2048, FOUR_M), 1e12, 82_432),
    Published("LLaMA 13B", LLAMA["13b"], "a100-80gb", 2048, (2048, FOUR_M), 1e12, 135_168),
    Published("LLaMA 33B", LLAMA["33b"], "a100-80gb", 2048, (2048, FOUR_M), 1.4e12, 530_432),
    Published("LLaMA 65B", LLAMA["65b"], "a100-80gb", 2048, (2048, FOUR_M), 1.4e12, 1_022_362),
]
KEPT_OUT = [
    Published("Llama 2 7B", LLAMA["7b"], "a100-80gb", 1024, (4096, FOUR_M), 2e12, 184_320),
    Published("Llama 2 13B", LLAMA["13b"], "a100-80gb", 1024, (4096, FOUR_M), 2e12, 368_640),
    Published("Llama 2 34B", LLAMA["34b"], "a100-80gb", 1024, (4096, FOUR_M), 2e12, 1_038_336),
    Published("Llama 2 70B", LLAMA["70b"], "a100-80gb", 1024, (4096, FOUR_M), 2e12, 1_720_320),
    Published("MPT-7B", plain("MPT-7B", (32, 4096, 16_384, 32), vocabulary=50_432), "a100-40gb", 440, (2048, 1760 * 2048), 1e12,
              440 * 9.5 * 24, "fsdp + recompute"),
    Published("MPT-30B", plain("MPT-30B", (48, 7168, 28_672, 64), vocabulary=50_432), "a100-40gb", 128, (2048, 768 * 2048), 1e12,
              1e12 / 865 / 3600, "fsdp + recompute"),
    Published("Olmo 3 7B", OLMO_7B, "h100", 512, (8192, FOUR_M), 5.9e12, 234_000),
    Published("Olmo 3 32B", OLMO_32B, "h100", 1024, (8192, 2 * FOUR_M), 5.5e12, 1_050_000),
    Published("BERT-Base", BERT, "a100-80gb", 8, (128, 4096 * 128), 286_720_000 * 128, 11.5 * 8),
]  # fmt: skip
OUTSIDE = {"MPT-30B", "BERT-Base"}
"""Known to be missed: what was measured for the first were some steps alone, and the second is small."""
SAME_ON_BOTH = [(42.57, 53.33), (36.15, 48.56), (38.11, 55.30), (39.79, 59.57), (46.44, 64.23), (41.82, 59.86), (34.90, 56.85)]
"""MFU of an H100 and of an A100 80 GB in percent: 70B on 64 and on 32 devices, 30B, 13B, 7B, 1B and 760M on eight, at 2,048 tokens."""


def planned(run):
    length, batch = run.row
    place = cluster.Place(device=devices.find(run.device), links=links.of(run.device), workers=run.workers, precision="bf16", hourly=None)
    found = cluster.outlooks(cluster.Job(shape=run.shape, length=length, batch=batch, tokens=run.tokens), place)
    chosen = next((each for each in found if each.way.name == run.way), None) or cluster.quickest(found)
    assert chosen is not None
    assert chosen.fits
    return chosen


def mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def test_the_utilisation_is_that_of_the_runs_that_it_was_settled_on():
    reached = [run.tokens * run.shape.flops(run.row[0]) / (run.hours * 3600 * 312e12) for run in SETTLED_ON]
    assert round(mean(reached), 2) == cluster.UTILISATION
    assert round(mean([new / old for new, old in SAME_ON_BOTH]), 2) == cluster.LATER


def test_shapes_have_the_published_counts():
    mpt = next(run.shape for run in KEPT_OUT if run.name == "MPT-7B")
    assert mpt.parameters == 6_649_286_656
    assert abs(BERT.parameters / 109_482_240 - 1) < 2e-3


@pytest.mark.parametrize("run", KEPT_OUT, ids=lambda run: run.name)
def test_device_hours_of_trainings_that_were_kept_out(run):
    ratio = planned(run).device_hours / run.hours
    assert (0.8 <= ratio <= 1.25) == (run.name not in OUTSIDE), ratio


@pytest.mark.parametrize("run", [*SETTLED_ON, *KEPT_OUT], ids=lambda run: run.name)
def test_the_table_of_the_docs_is_this_one(run):
    found = planned(run)
    (line,) = [line for line in DOCS.read_text("utf-8").splitlines() if line.startswith(f"| {run.name} |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[-4:] == [found.way.name, f"{found.device_hours:,.0f}", f"{run.hours:,.0f}", f"{found.device_hours / run.hours:.2f}"]
