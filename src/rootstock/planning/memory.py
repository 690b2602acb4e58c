"""What a training holds, part by part, by what the loop does with a model's parameters."""

from dataclasses import asdict, dataclass

from torch import nn

from rootstock.core.method import Method, learning
from rootstock.planning.rehearse import Step

_FP32, _BF16, _MOMENTS = 4, 2, 8
_BEHIND = ".original_module."
"""In the names of modules that peft keeps behind the head that learns."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Parameters. base: all that the checkpoint brings, and the task's head. embeddings: those in tables, of the base's.

    learning: those that learn, the fresh head and what the method adds among them. added: by the method. matrices: of the weight
    matrices that added ones stand beside. frozen_matrices: those that a method which packs would pack.
    """

    base: int
    embeddings: int
    learning: int
    added: int
    fresh: int
    matrices: int
    frozen_matrices: int

    @property
    def whole(self) -> int:
        """Of the base with its head and what the method adds."""
        return self.base + self.added

    @property
    def share(self) -> float:
        """Of all that there is, what learns."""
        return self.learning / self.whole


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one training on one device.

    weights: in fp32, from which the run is saved. copy: the bf16 one that computes. gradients: of all that learns, and their fp32 sum.
    optimizer: AdamW's two moments. best: the best values so far. activations: what a micro-batch keeps for its backward pass.
    process: Python and its libraries, on a processor.
    """

    weights: int
    copy: int
    gradients: int
    optimizer: int
    best: int
    activations: int
    process: int = 0

    @property
    def total(self) -> int:
        """All at once: what a step holds at its fullest."""
        return sum(asdict(self).values())


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


def memory(counts: Counted, step: Step, *, precision: str, members: int, packed: float | None, process: int = 0) -> Memory:
    """Bytes of a training. members: how many copies of the model share an update, each with activations and gradients of its own.

    packed: bytes of a frozen weight in a method that packs, None in others.
    """
    bf16 = precision == "bf16"
    whole, exact = counts.whole, counts.fresh
    in_full = whole - counts.frozen_matrices if packed else whole
    each = _BF16 if bf16 else _FP32
    sums = _FP32 * counts.learning if bf16 else 0
    return Memory(
        weights=_FP32 * in_full + int((packed or 0) * (whole - in_full)),
        copy=_BF16 * (in_full - exact) if bf16 else 0,
        gradients=each * counts.learning * members + sums,
        optimizer=_MOMENTS * counts.learning,
        best=_FP32 * counts.learning,
        activations=(step.peak_bytes - step.gradient_bytes) * members,
        process=process,
    )
