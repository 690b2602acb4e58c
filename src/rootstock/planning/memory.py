"""What a training holds, part by part, by what the loop does with a model's parameters and what its libraries keep beside them."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from rootstock.core import first_token
from rootstock.core.method import Method, learning
from rootstock.planning.rehearse import Step

_FP32, _BF16, _MOMENTS = 4, 2, 8
PRODUCT_BYTES = 720_000
"""What oneDNN's code for a product in bf16 takes: 0.64 to 0.77 MB were measured for MiniLM's matrices (1.03 for one weight's gradient),
0.67 to 0.73 for attention and 0.61 to 0.68 for the pooler (torch 2.13, AVX-512 with bf16), each over 35 to 50 sizes that leave a rest, and
0 in fp32. It is other code on another processor: what it differs by is in what --this-machine measures."""
ENDING_BYTES = 60_000_000
"""Allowed for scikit-learn, scipy and the report's libraries, which are imported when the training has ended. In the few runs that were
looked at the end added 12 to 56 MiB (docs/log.md), least where the copy in bf16 had gone before."""
_BEHIND = ".original_module."
"""In the names of modules that peft keeps behind the head that learns."""
_POOLER = ".pooler."
"""In the names of modules that see one vector of each row."""
_OF_ATTENTION = 3
"""Products of a shape of their own in the loop's attention, forward and backward: of six, three are the others again with other values."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Parameters. base: all that the checkpoint brings, and the task's head. embeddings: those in tables, of the base's.

    learning: those that learn, the fresh head and what the method adds among them. added: by the method. matrices: of the weight
    matrices that added ones stand beside. frozen_matrices: those that a method which packs would pack. idle: of those that learn, the
    embeddings of tokens that no row holds, which the loop leaves out; known where rows are. kept: the embeddings that it takes out for it.
    """

    base: int
    embeddings: int
    learning: int
    added: int
    fresh: int
    matrices: int
    frozen_matrices: int
    idle: int = 0
    kept: int = 0

    @property
    def whole(self) -> int:
        """Of the base with its head and what the method adds."""
        return self.base + self.added

    @property
    def share(self) -> float:
        """Of all that there is, what learns."""
        return self.learning / self.whole


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Bytes beside a step's tensors. process: Python, the libraries of a run and their threads. products: see `Products`.

    rows: tokens, texts and features. answering: what an evaluation holds at once on all cores.
    """

    process: int = 0
    products: int = 0
    rows: int = 0
    answering: int = 0


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one training on one device, its evaluations and its end included.

    weights: in fp32, from which the run is saved. copy: the bf16 one that computes. gradients: of all that learns, and their fp32 sum.
    optimizer: AdamW's two moments. best: the best values so far. activations: what a micro-batch keeps for its backward pass.
    evaluation: what one holds beyond the room of these. ending: the libraries of figures and report beyond the room of the copy, which is
    gone by then. The other three are those of `Beside`.

    Saving takes no room of its own: a tensor is written from where it lies.
    """

    weights: int
    copy: int
    gradients: int
    optimizer: int
    best: int
    activations: int
    evaluation: int = 0
    ending: int = 0
    products: int = 0
    rows: int = 0
    process: int = 0

    @property
    def total(self) -> int:
        """All at once: what a step holds at its fullest."""
        return sum(asdict(self).values())


@dataclass(frozen=True, kw_only=True)
class Products:
    """How many products oneDNN makes code for, and keeps it, each time that bf16 rows come in numbers that it has not met.

    learning: of a number of tokens that is learned from. attention: of rows and tokens together. answering: of a number of tokens in a
    pass without gradients, whose attention is torch's own. pooled: of a number of rows, by the matrices that see one vector a row; and
    pooled_answering the same without gradients. alone, alone_answering: of a number of rows filled up, where the last block is
    for first tokens alone.
    """

    learning: int = 0
    attention: int = 0
    answering: int = 0
    pooled: int = 0
    pooled_answering: int = 0
    alone: int = 0
    alone_answering: int = 0

    def count(self, learned: Collection[tuple[int, int]], answered: Collection[tuple[int, int]], *, most: int) -> int:
        """Of batches of these rows and tokens, `most` at most: so many does oneDNN keep."""
        numbers = [len({rows * tokens for rows, tokens in shapes}) for shapes in (learned, answered)]
        rows = [{rows for rows, _ in shapes} for shapes in (learned, answered)]
        found = self.learning * numbers[0] + self.attention * len(set(learned)) + self.answering * numbers[1]
        found += self.pooled * len(rows[0]) + self.pooled_answering * len(rows[1])
        filled = [len({first_token.filled(each) for each in some}) for some in rows]
        return min(most, found + self.alone * filled[0] + self.alone_answering * filled[1])


def products(model: Any, *, learns: bool = True) -> Products:
    """Those of a model whose parameters are in the numbers of their products; none where these are fp32, which needs no such code."""
    table = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    multiplied = {name: each for name, each in model.named_modules() if each is not table and not isinstance(each, nn.Embedding)}
    first = {id(p) for each in first_token.narrowed(model) for p in each.parameters(recurse=False)}
    own = ((f".{name}.", p) for name, each in multiplied.items() for p in each.parameters(recurse=False))
    matrices = [(_POOLER in name, id(p) in first, p) for name, p in own if p.dim() == 2 and p.dtype == torch.bfloat16]
    kinds = ((False, False), (True, False), (False, True))
    tokens, pooled, alone = ([p for pools, one, p in matrices if (pools, one) == kind] for kind in kinds)
    if not matrices:
        return Products()
    return Products(
        learning=_with_gradients(tokens) if learns else 0,
        attention=_OF_ATTENTION * (2 if alone else 1) if learns else 0,  # one token looks at all in other products than all do
        answering=len(_shapes(tokens)),
        pooled=_with_gradients(pooled) if learns else 0,
        pooled_answering=len(_shapes(pooled)),
        alone=_with_gradients(alone) if learns else 0,
        alone_answering=len(_shapes(alone)),
    )


def _shapes(matrices: Sequence[nn.Parameter]) -> set[tuple[int, ...]]:
    return {tuple(p.shape) for p in matrices}


def _with_gradients(matrices: Sequence[nn.Parameter]) -> int:
    """Forward, the input's gradient, and of those that learn the weight's."""
    return 2 * len(_shapes(matrices)) + len(_shapes([p for p in matrices if p.requires_grad]))


def counted(model: nn.Module, fresh: int, before: dict[str, int], method: Method) -> Counted:
    """Parameters of a model under its method. before: sizes of the plain model's parameters by name; fresh: of its fresh ones."""
    held = {name: p for name, p in model.named_parameters() if _BEHIND not in name}
    tables = {id(each.weight) for each in model.modules() if isinstance(each, nn.Embedding)}
    names = {method.original(name): name for name in held}
    added = sum(p.numel() for name, p in held.items() if method.original(name) not in before)
    beside = {name.rsplit(".lora_", 1)[0] for name in held if ".lora_" in name}
    matrices = sum(held[f"{each}.base_layer.weight"].numel() for each in beside if f"{each}.base_layer.weight" in held)
    frozen = (p for p in held.values() if not p.requires_grad and p.dim() == 2 and id(p) not in tables)
    return Counted(
        base=sum(before.values()),
        embeddings=sum(before[name] for name, own in names.items() if name in before and id(held[own]) in tables),
        learning=sum(p.numel() for name, p in learning(model) if _BEHIND not in name),
        added=added,
        fresh=fresh,
        matrices=matrices,
        frozen_matrices=sum(p.numel() for p in frozen),
    )


def later(learns: int, *, bf16: bool) -> int:
    """Bytes that come after the first step: the gradients' fp32 sum where products are in bf16, and the best values. learns: parameters."""
    return _FP32 * learns * (2 if bf16 else 1)


def ending(copy: int) -> int:
    """Bytes of the end of a run beyond the room of the copy in bf16."""
    return max(0, ENDING_BYTES - copy)


def memory(counts: Counted, step: Step, *, precision: str, members: int, packed: float | None, beside: Beside | None = None) -> Memory:
    """Bytes of a training. members: how many copies of the model share an update, each with activations and gradients of its own.

    packed: bytes of a frozen weight in a method that packs, None in others.
    """
    bf16, beside = precision == "bf16", beside or Beside()
    whole, exact, learns = counts.whole, counts.fresh, counts.learning - counts.idle
    in_full = whole - counts.frozen_matrices if packed else whole
    copy = _BF16 * (in_full - exact - counts.idle) if bf16 else 0
    best, after = _FP32 * learns, later(learns, bf16=bf16)
    activations = (step.peak_bytes - step.gradient_bytes) * members
    return Memory(
        weights=_FP32 * (in_full + counts.kept) + int((packed or 0) * (whole - in_full)),
        copy=copy,
        gradients=(_BF16 if bf16 else _FP32) * learns * members + after - best,
        optimizer=_MOMENTS * learns,
        best=best,
        activations=activations,
        evaluation=max(0, beside.answering - activations),
        ending=ending(copy) if beside.process else 0,
        products=beside.products,
        rows=beside.rows,
        process=beside.process,
    )
