"""Which method for these rows on this machine: a rule that says its reason, and what each would cost."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from rootstock.core.method import Method

FEW_ROWS = 500
"""Below this many training rows a frozen base with a fresh head is the safer choice: there is too little to move 20 million weights by."""
PATIENCE_SECONDS = 30 * 60
"""What auto may spend where no budget is given."""


@dataclass(frozen=True)
class Cost:
    """What a run is expected to take. memory_bytes counts weights, gradients, optimizer and activations, not Python and its libraries."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Size:
    """What decides the cost. parameters: of the base without embeddings; embeddings: theirs; tokens: of one epoch; micro: at once."""

    parameters: int
    embeddings: int
    tokens: int
    micro: int
    layers: int
    hidden: int


def estimate(method: type[Method], size: Size, *, epochs: float, speed: float, bytes_each: int, twins: int = 1) -> Cost:
    """Seconds and bytes of a training. speed: operations a second that products reach here; half of it is what training sees.

    twins: how many share an update, each with gradients of its own.
    """
    passes = epochs if method.flops > 2 else 1
    seconds = method.flops * size.parameters * size.tokens * passes / (0.5 * speed)
    weights = (4 + (12 + 4 * twins) * method.trained) * (size.parameters + size.embeddings)
    kept = 18 if method.flops > 2 else 4
    activations = kept * bytes_each * size.micro * size.hidden * (size.layers if method.flops > 2 else 1)
    return Cost(seconds, int(weights + activations))


def choose(rows: int, costs: Mapping[str, Cost], *, memory_bytes: int, seconds: float | None) -> tuple[str, str]:
    """A method's name and the reason. costs: of the methods to choose from, best quality first, quickest last."""
    quickest = list(costs)[-1]
    if rows < FEW_ROWS and "feature-extraction" in costs:
        return quickest, f"{rows:,} training rows are fewer than {FEW_ROWS}: a frozen base with a fresh head is the safer choice"
    limit = seconds if seconds is not None else PATIENCE_SECONDS
    reasons = []
    for name, cost in costs.items():
        if cost.memory_bytes > 0.7 * memory_bytes:
            reasons.append(f"{name} needs about {cost.memory_bytes / 1e9:.1f} GB")
        elif cost.seconds > limit:
            reasons.append(f"{name} takes about {cost.seconds / 60:.0f} min")
        else:
            return name, "; ".join([f"{rows:,} training rows are enough for {name}", *reasons])
    return quickest, f"{'; '.join(reasons)}: {quickest} is the quickest"


def speed(device: str, dtype: torch.dtype) -> float:
    """Operations a second of a product of the usual shape, measured in about a tenth of a second."""
    a, b = (torch.randn(shape, device=device).to(dtype) for shape in ((1024, 384), (1536, 384)))
    times = []
    for _ in range(7):
        started = time.perf_counter()
        torch.nn.functional.linear(a, b)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return 2 * 1024 * 384 * 1536 / statistics.median(times)


def size_of(config: Mapping[str, Any], parameters: int, tokens: int, micro: int) -> Size:
    """The size of a base from its config.json. parameters: all of them."""
    hidden = int(config.get("hidden_size") or config.get("d_model") or config.get("n_embd") or 768)
    layers = int(config.get("num_hidden_layers") or config.get("n_layer") or config.get("num_layers") or 12)
    embeddings = int(config.get("vocab_size") or 0) * hidden
    return Size(max(parameters - embeddings, 1), embeddings, tokens, micro, layers, hidden)


def span(seconds: float) -> str:
    """A time in seconds or minutes, for a person."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
