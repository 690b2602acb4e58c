"""The shape of a transformer, all that a plan for many devices needs of it: given, or by a rule for a size alone."""

import math
import re
from dataclasses import dataclass

from rootstock.core.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Shape:
    """blocks: how many; width: of the residual stream; queries, keys: widths of attention's projections (values are as keys).

    head: width of one. inner: of the feed-forward part; gated: whether that has three matrices. vocabulary: words.
    block: parameters of one; root: all others. windowed: blocks whose attention sees `window` tokens at most. splits: whether its class
    brings a plan for tensor parallelism.
    """

    name: str
    blocks: int
    width: int
    queries: int
    keys: int
    head: int
    inner: int
    gated: bool
    vocabulary: int
    block: int
    root: int
    windowed: int = 0
    window: int = 0
    splits: bool = True

    @property
    def parameters(self) -> int:
        """All of them: N."""
        return self.blocks * self.block + self.root

    def flops(self, length: int) -> float:
        """Of a token, forward and backward: 6 N + 12 L d s (Chowdhery et al. 2022, appendix B; Kaplan et al. 2020)."""
        return 6 * self.parameters + 12 * self.queries * self._seen(length)

    def again(self, length: int) -> float:
        """Of a token, where blocks are computed once more for the backward pass: their forward part, 2 N + 4 L d s."""
        return 2 * self.blocks * self.block + 4 * self.queries * self._seen(length)

    def _seen(self, length: int) -> int:
        """Tokens that attention weighs for one, summed over blocks: L s, less where a window is shorter."""
        return (self.blocks - self.windowed) * length + self.windowed * min(length, self.window)


def llama(name: str, sizes: tuple[int, int, int, int, int], vocabulary: int = 32_000) -> Shape:
    """A shape of Llama's kind: RMS norms without biases, three feed-forward matrices, an output layer of its own.

    sizes: blocks, width, inner width, and numbers of heads of queries and of keys.
    """
    blocks, width, inner, heads, pairs = sizes
    keys = width // heads * pairs
    block = 2 * width * width + 2 * width * keys + 3 * width * inner + 2 * width
    root = 2 * vocabulary * width + width
    return Shape(
        name=name,
        blocks=blocks,
        width=width,
        queries=width,
        keys=keys,
        head=width // heads,
        inner=inner,
        gated=True,
        vocabulary=vocabulary,
        block=block,
        root=root,
    )


PUBLISHED = (
    llama("TinyLlama 1.1B (Zhang et al. 2024)", (22, 2048, 5632, 32, 4)),
    llama("OpenLLaMA 3B (Geng and Liu 2023)", (26, 3200, 8640, 32, 32)),
    llama("Llama 7B (Touvron et al. 2023)", (32, 4096, 11_008, 32, 32)),
    llama("Llama 13B (Touvron et al. 2023)", (40, 5120, 13_824, 40, 40)),
    llama("Llama 33B (Touvron et al. 2023)", (60, 6656, 17_920, 52, 52)),
    llama("Llama 2 34B (Rozière et al. 2023: Code Llama 34B)", (48, 8192, 22_016, 64, 8)),
    llama("Llama 65B (Touvron et al. 2023)", (80, 8192, 22_016, 64, 64)),
    llama("Llama 2 70B (Touvron et al. 2023)", (80, 8192, 28_672, 64, 8)),
    llama("Llama 3.1 405B (Grattafiori et al. 2024)", (126, 16_384, 53_248, 128, 8), 128_256),
)
"""From the smallest; their counts are those of the published weights."""
_NEAR = 0.05
"""A size within so much of a published one is that one: 70b is the 68,976,648,192 of Llama 2 70B."""
_LEAST, _MOST = 1e8, 2e12
_UNITS = {"m": 1e6, "b": 1e9, "t": 1e12}


def of_size(text: str) -> Shape:
    """The shape of a size such as 70b: the published one within 5 %, else by `between`. UsageError for what is no size."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mbt])", text.strip().lower())
    wanted = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not _LEAST <= wanted <= _MOST:
        raise UsageError(
            f"--model is {text}", wanted="a number of parameters from 100m to 2t, such as 70b", fix="or name a config with --base"
        )
    near = min(PUBLISHED, key=lambda each: abs(math.log(each.parameters / wanted)))
    return near if abs(near.parameters / wanted - 1) <= _NEAR else between(text.strip().lower(), wanted)


def between(name: str, wanted: float) -> Shape:
    """Of Llama's kind: the width lies on the line (of logarithms) through the two published sizes around it, in whole heads of 128.

    Feed-forward parts are 8/3 as wide, in steps of 256; there are as many blocks as come nearest to the size. Outside of all the nearest
    two give the line.
    """
    place = next((at for at, each in enumerate(PUBLISHED[1:-1], 1) if each.parameters >= wanted), len(PUBLISHED) - 1)
    low, high = PUBLISHED[place - 1], PUBLISHED[place]
    slope = math.log(high.width / low.width) / math.log(high.parameters / low.parameters)
    width = max(128, 128 * round(low.width * (wanted / low.parameters) ** slope / 128))
    inner, heads = 256 * math.ceil(8 * width / 3 / 256), width // 128
    one = llama(name, (1, width, inner, heads, heads))
    return llama(name, (max(1, round((wanted - one.root) / one.block)), width, inner, heads, heads))
