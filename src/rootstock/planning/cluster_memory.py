"""What one of many devices holds, part by part in closed form, under each way of sharing a training.

As in the loop: weights in fp32 and their sums, a copy in bf16 that computes, two moments, the best values so far. Letters of the formulas:
N parameters, B of one block, R of the rest, L blocks, d width, W workers, t devices of a tensor group, D = W / t, M = L B / t + R, T tokens
at once, q width of attention's queries, f inner width, V vocabulary, c bytes of a computed number (bf16 2, fp32 4).
"""

from dataclasses import dataclass

from rootstock.planning.shapes import Shape

_SCORED = 512
"""Positions whose scores over the vocabulary exist at once (tasks/_vocabulary.py)."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way of sharing. shards: parameters, gradients and moments are cut over the data groups (FSDP2, ZeRO's stage 3).

    recompute: blocks keep their input alone. offload: shards lie in the machine's memory. tensor: devices that share each matrix.
    here: whether Rootstock's own loop carries it out.
    """

    name: str
    shards: bool = True
    recompute: bool = False
    offload: bool = False
    tensor: int = 1
    here: bool = True


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing that is held."""

    name: str
    bytes: int
    formula: str


@dataclass(frozen=True, kw_only=True)
class Held:
    """Of one device, and of the machine's memory for it."""

    parts: tuple[Part, ...]
    host: int

    @property
    def total(self) -> int:
        """On the device, at its fullest."""
        return sum(each.bytes for each in self.parts)


def held(shape: Shape, way: Way, workers: int, *, tokens: int, computed: int) -> Held:
    """Bytes of a device. tokens: that pass at once; computed: bytes of a number that is computed with, 2 or 4."""
    states = _whole(shape, way, computed) if not way.shards else _shards(shape, way, workers)
    host = sum(each.bytes for each in states) if way.offload else 0
    beside = _beside(shape, way, computed) if way.shards else _scores(shape, computed)
    return Held(parts=(*(() if way.offload else states), *beside, _activations(shape, way, tokens, computed)), host=host)


def _whole(shape: Shape, way: Way, computed: int) -> tuple[Part, ...]:
    """Of a tensor group each device has its part of the blocks, and all that lies in none: tasks read that beside the model's passes."""
    half, n = computed == 2, "N" if way.tensor == 1 else "M"
    many = shape.blocks * shape.block // way.tensor + shape.root
    return (
        Part(name="parameters", bytes=(4 + 2 * half) * many, formula=f"4{n} + 2{n} (copy in bf16)" if half else f"4{n}"),
        Part(name="gradients", bytes=(4 + 2 * half) * many, formula=f"2{n} + 4{n} (their sum)" if half else f"4{n}"),
        Part(name="optimizer", bytes=8 * many, formula=f"8{n}"),
        Part(name="best", bytes=4 * many, formula=f"4{n}"),
    )


def _shards(shape: Shape, way: Way, workers: int) -> tuple[Part, ...]:
    each, over = shape.parameters / workers, "W" if way.tensor == 1 else "(t D)"
    sizes = (("parameters", 4), ("gradients", 4), ("optimizer", 8), ("best", 4))
    return tuple(Part(name=name, bytes=int(size * each), formula=f"{size}N / {over}") for name, size in sizes)


def _beside(shape: Shape, way: Way, computed: int) -> tuple[Part, ...]:
    """The block at work and the one that is fetched meanwhile, all that lies in no block, and the gradient that is on its way."""
    block, root = shape.block / way.tensor, shape.root / way.tensor
    gathered = computed * (2 * block + root) + (computed + 4) * max(block, root)
    over = "" if way.tensor == 1 else " / t"
    formula = f"(c (2B + R) + (c + 4) max(B, R)){over}"
    return (Part(name="gathered", bytes=int(gathered), formula=formula), *_scores(shape, computed))


def _scores(shape: Shape, computed: int) -> tuple[Part, ...]:
    return (Part(name="scores", bytes=_SCORED * shape.vocabulary * (computed + 8), formula=f"{_SCORED} V (c + 8)"),)


def _activations(shape: Shape, way: Way, tokens: int, computed: int) -> Part:
    """Korthikanti et al. 2022 (arXiv:2205.05198), without dropout and with attention that keeps no scores (FlashAttention).

    As the loop's models have it: grouped keys and values are repeated for all queries, and Llama's kind of norm keeps its input in fp32.
    """
    wide, norms = (4, 8 * shape.width) if shape.gated else (2, 0)
    block = computed * (4 * shape.width + (4 * shape.queries + wide * shape.inner) / way.tensor) + norms
    split = f"4q + {wide}f" if way.tensor == 1 else f"(4q + {wide}f) / t"
    each = f"(c (4d + {split}){' + 8d' if norms else ''})"
    if way.recompute:
        kept = tokens * (shape.blocks * computed * shape.width + block)
        return Part(name="activations", bytes=int(kept), formula=f"T (L c d + {each[1:-1]})")
    return Part(name="activations", bytes=int(tokens * shape.blocks * block), formula=f"T L {each}")
