"""Shapes of tensors against the config beside them: exactly, where somebody knows the architecture's, else as far as its numbers tell."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rootstock.sentinel.convert.values import TORCH
from rootstock.sentinel.integrity.tensors import ROUNDING, Stored

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_WIDTH = ("hidden_size", "n_embd", "d_model", "dim")
_LAYER = re.compile(r"(?:^|\.)(?:layer|layers|h|block)\.(\d+)\.")
_WORDS = re.compile(r"(word_embeddings|embed_tokens|wte|tok_embeddings)\.weight$")


@dataclass(frozen=True)
class Expected:
    """What an architecture of this config holds, by somebody who can build it without memory.

    shapes: by name, tied names each. tied: groups of names of one tensor. prefix: that of the body, which files may lack or have.
    """

    shapes: Mapping[str, tuple[int, ...]]
    tied: tuple[tuple[str, ...], ...] = ()
    prefix: str = ""


def config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """The config beside weights; empty where there is none, or where it is no object."""
    try:
        found = json.loads((folder / name).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def exact(tensors: Mapping[str, Stored], expected: Expected) -> tuple[list[str], list[str]]:
    """Issues and notes: tensors of another shape, missing ones, and what the architecture does not know."""
    names = {name: _known(name, expected) for name in tensors}
    known = {found: tensors[name] for name, found in names.items() if found}
    strange = [name for name, found in names.items() if not found]
    if len(known) < len(expected.shapes) / 2:
        return [], [f"{len(known):,} of {len(expected.shapes):,} tensors have the names that the architecture gives: shapes not compared"]
    issues = [
        f"Wrong shape: {each.name} is {list(each.shape)}, the config asks for {list(expected.shapes[name])}"
        for name, each in known.items()
        if each.shape != tuple(expected.shapes[name])
    ]
    held = set(known) | {name for group in expected.tied if set(group) & set(known) for name in group}
    issues += [f"Missing tensor: {name}" for name in expected.shapes if name not in held]
    issues += list(_untied(known, expected))
    return issues, [f"{len(strange):,} tensors are unknown to the architecture: {', '.join(strange[:8])}"] if strange else []


def _known(name: str, expected: Expected) -> str | None:
    name = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name)) if "LayerNorm" in name else name
    tried = (name, f"{expected.prefix}.{name}", name.removeprefix(f"{expected.prefix}."))
    return next((each for each in tried if each in expected.shapes), None)


def _untied(known: Mapping[str, Stored], expected: Expected) -> Iterator[str]:
    """Tensors that the config ties and the file holds twice with different numbers."""
    for group in expected.tied:
        held = [known[name] for name in group if name in known]
        for other in held[1:]:
            if held[0].shape == other.shape and held[0].rows().tobytes() != other.rows().tobytes():
                yield f"Tied weights differ: {held[0].name} and {other.name} should be one tensor, and loading would keep one of them"


def told(tensors: Mapping[str, Stored], values: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What the numbers of a config tell without knowing its architecture: vocabulary, width, layers, labels, dtype."""
    issues = list(_words(tensors, values)) + list(_count(tensors, values))
    labels = values.get("num_labels") or len(values.get("id2label") or ())
    for name, each in tensors.items():
        if labels and re.search(r"(^|\.)(classifier|score|classifier\.out_proj)\.weight$", name) and each.shape[0] != labels:
            issues.append(f"Wrong shape: {name} has {each.shape[0]} rows, the config names {labels} labels")
    wanted = TORCH.get(str(values.get("dtype") or values.get("torch_dtype")))
    kinds = {each.dtype for each in tensors.values() if each.floating}
    other = bool(kinds) and wanted in ROUNDING and wanted not in kinds
    return issues, [f"the weights are {', '.join(sorted(kinds))}, the config says {wanted}"] if other else []


def _words(tensors: Mapping[str, Stored], values: Mapping[str, Any]) -> Iterator[str]:
    width = next((values[key] for key in _WIDTH if isinstance(values.get(key), int)), None)
    for name, each in tensors.items():
        if _WORDS.search(name) and len(each.shape) == 2:
            wanted = values.get("vocab_size"), values.get("embedding_size") or width
            for length, asked, what in zip(each.shape, wanted, ("rows", "columns"), strict=True):
                if isinstance(asked, int) and length != asked:
                    yield f"Wrong shape: {name} has {length:,} {what}, the config asks for {asked:,}"


def _count(tensors: Mapping[str, Stored], values: Mapping[str, Any]) -> Iterator[str]:
    wanted = next((values[key] for key in _LAYERS if isinstance(values.get(key), int)), None)
    found = {int(place[1]) for name in tensors if (place := _LAYER.search(name))}
    if wanted is not None and found and found != set(range(wanted)) and not values.get("is_encoder_decoder"):
        lacking = sorted(set(range(wanted)) - found)
        yield f"Wrong layers: {len(found)} are there, the config asks for {wanted}" + (f"; {lacking} lack" if lacking else "")


def adapter(tensors: Mapping[str, Stored], values: Mapping[str, Any]) -> list[str]:
    """Issues of an adapter's rank: what adapter_config.json says is what the matrices have, unless it has patterns of ranks."""
    rank = values.get("r")
    if not isinstance(rank, int) or values.get("rank_pattern") or str(values.get("peft_type", "")).upper() != "LORA":
        return []
    sides = ((".lora_A.weight", 0), (".lora_B.weight", 1))
    return [
        f"Wrong shape: {name} has the rank {each.shape[place]}, adapter_config.json says {rank}"
        for name, each in tensors.items()
        for side, place in sides
        if name.endswith(side) and len(each.shape) == 2 and each.shape[place] != rank
    ]
