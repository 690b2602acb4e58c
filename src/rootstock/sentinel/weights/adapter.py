"""The audit of a LoRA adapter from its files: the spectrum of each update, how they are spread, and what no adapter should carry.

The update alpha/r · B·A is never made: with B = Q·R and Aᵀ = P·S, its singular values are those of the small R·Sᵀ.
Shape letters: O outputs, I inputs, R the rank.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from rootstock.core.errors import UsageError
from rootstock.sentinel.integrity import configured, difference, opened
from rootstock.sentinel.integrity.tensors import Stored

_SIDE = re.compile(r"^(?:base_model\.model\.)?(.+)\.lora_(?:embedding_)?([AB])(?:\.default)?(?:\.weight)?$")
_OURS = ("lora_magnitude_vector", "lora_E", "ranknum")
_HEADS = ("classifier", "score", "pre_classifier", "qa_outputs")
"""Fresh heads, which peft keeps with the adapter of a classifier without being told."""
_LONE = 0.9
"""Share of the first singular value above which an update of rank 4 or more is one direction."""


@dataclass(frozen=True)
class Update:
    """What an adapter adds to one matrix.

    strength: Frobenius norm over the root of the count of numbers. first: its largest singular value, share: over the sum of all.
    entropy: of the spectrum, 0 for one direction and 1 for all alike.
    """

    module: str
    rank: int
    strength: float
    first: float
    share: float
    entropy: float


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found. issues: what the adapter's own config does not say. spread: standard deviation of the strengths over their mean."""

    updates: tuple[Update, ...] = ()
    spread: float | None = None
    issues: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """What a person would say of it."""
        strongest = sorted(self.updates, key=lambda each: -each.strength)[:3]
        named = ", ".join(f"{each.module} ({each.strength:.2g})" for each in strongest)
        head = [f"{len(self.updates)} matrices are updated, most: {named}"] if self.updates else []
        head += [f"strengths differ by {self.spread:.0%} of their mean"] if self.spread is not None else []
        return [*head, *self.issues, *self.notes]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def audit_adapter(folder: str | Path) -> Audit:
    """The adapter in a folder, or in a run's model/. Raises UsageError where there is none that can be read.

    Issues are what the config does not declare; whether a spectrum is that of a poison no single adapter tells, so those are notes.
    """
    place = Path(folder)
    place = place / "model" if (place / "model").is_dir() else place
    values = configured.config(place, "adapter_config.json")
    if not values:
        raise UsageError(f"{place} has no adapter_config.json", wanted="the folder of an adapter", fix="check the path")
    tensors = opened.model(place)
    pairs, others = _sorted(tensors)
    broken = {module: why for module, sides in sorted(pairs.items()) if (why := _broken(sides))}
    updates = tuple(_update(module, sides, values) for module, sides in sorted(pairs.items()) if module not in broken)
    strengths = np.array([each.strength for each in updates if each.strength])
    spread = float(strengths.std() / strengths.mean()) if len(strengths) > 1 else None
    issues = [*(f"{why}: {module}" for module, why in broken.items()), *_undeclared(pairs, values), *_passengers(others, values)]
    return Audit(updates=updates, spread=spread, issues=issues, notes=[*_tables(others), *_shapes(updates)])


def _sorted(tensors: Mapping[str, Stored]) -> tuple[dict[str, dict[str, Stored]], list[str]]:
    """The two sides of each updated matrix by its name, and the names of all other tensors."""
    pairs: dict[str, dict[str, Stored]] = {}
    others: list[str] = []
    for name, each in tensors.items():
        if (found := _SIDE.match(name)) and len(each.shape) == 2 and each.readable:
            pairs.setdefault(found[1], {})[found[2]] = each
        elif not any(part in name for part in _OURS):
            others.append(name.removeprefix("base_model.model."))
    return pairs, others


def _broken(sides: Mapping[str, Stored]) -> str:
    """Why two sides make no update; empty where they do."""
    if len(sides) == 1:
        return f"Half an update, lora_{next(iter(sides))} only"
    if sides["A"].shape[0] != sides["B"].shape[1] or not sides["A"].size * sides["B"].size:
        return f"No common rank, A has {sides['A'].shape[0]} rows and B {sides['B'].shape[1]} columns"
    return "" if all(np.isfinite(block).all() for each in sides.values() for _, block in each.blocks()) else "Not finite"


def _update(module: str, sides: Mapping[str, Stored], values: Mapping[str, Any]) -> Update:
    a_RI, b_OR = (_matrix(sides[side]) for side in "AB")
    rank = len(a_RI)
    spectrum = scale(values, module, rank) * singular(a_RI, b_OR)
    total = float(spectrum.sum())
    parts = spectrum[spectrum > 0] / total if total else np.zeros(0)
    entropy = float(-(parts * np.log(parts)).sum() / np.log(rank)) if rank > 1 and total else 0.0
    strength = float(np.sqrt(np.square(spectrum).sum())) / sqrt(a_RI.shape[1] * b_OR.shape[0])
    return Update(module, rank, strength, float(spectrum[0]), float(spectrum[0] / total) if total else 0.0, entropy)


def singular(a_RI: np.ndarray, b_OR: np.ndarray) -> np.ndarray:
    """Singular values of B·A, largest first, without making it."""
    return np.linalg.svd(np.linalg.qr(b_OR)[1] @ np.linalg.qr(a_RI.T)[1].T, compute_uv=False)


def scale(values: Mapping[str, Any], module: str, rank: int) -> float:
    """alpha / r of a module, or alpha over the root of r; by its own alpha where a pattern names one."""
    patterns = values.get("alpha_pattern") or {}
    own = [alpha for pattern, alpha in patterns.items() if module == pattern or module.endswith(f".{pattern}")]
    alpha = float((own or [values.get("lora_alpha") or rank])[0])
    return alpha / (sqrt(rank) if values.get("use_rslora") else rank)


def _matrix(each: Stored) -> np.ndarray:
    return np.concatenate([np.asarray(block, np.float64) for _, block in each.blocks()])


def _undeclared(pairs: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """Updated matrices that target_modules does not name; it is a list of endings, a pattern, or all-linear."""
    declared = values.get("target_modules")
    if declared is None or declared == "all-linear":
        return []
    if isinstance(declared, str):
        strangers = [module for module in pairs if not _matches(declared, module)]
    else:
        strangers = [module for module in pairs if not any(module == each or module.endswith(f".{each}") for each in map(str, declared))]
    return [f"Undeclared target: {module} is updated, adapter_config.json does not name it" for module in strangers]


def _matches(pattern: str, module: str) -> bool:
    try:
        return bool(re.fullmatch(pattern, module))
    except re.error:
        return False


def _passengers(others: list[str], values: Mapping[str, Any]) -> list[str]:
    """Whole tensors that travel with the adapter and that modules_to_save does not name; a classifier's fresh head is expected."""
    declared = {*map(str, values.get("modules_to_save") or ()), *(_HEADS if values.get("task_type") not in (None, "CAUSAL_LM") else ())}
    strangers = [name for name in others if not declared & set(name.split("."))]
    return [f"Undeclared tensor: {name} travels with the adapter, adapter_config.json does not name it" for name in strangers]


def _tables(others: list[str]) -> list[str]:
    return [
        f"the adapter replaces the whole table {name}: compare its rows with the base's"
        for name in others
        if difference.EMBEDDING.search(name)
    ]


def _shapes(updates: tuple[Update, ...]) -> list[str]:
    still = [each.module for each in updates if not each.strength]
    lone = [each.module for each in updates if each.rank >= 4 and each.share > _LONE]
    notes = [f"{len(still)} updates are zero: never trained" for _ in still[:1]]
    return notes + [f"{len(lone)} updates are nearly one direction: {', '.join(lone[:4])}" for _ in lone[:1]]
