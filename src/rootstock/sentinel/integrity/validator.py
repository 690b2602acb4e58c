"""Is this model whole: digests, structure, shapes, numbers, and what differs from a reference."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rootstock.core.errors import UsageError
from rootstock.sentinel.findings import Malformed
from rootstock.sentinel.integrity import configured, difference, numbers, opened
from rootstock.sentinel.integrity.configured import Expected
from rootstock.sentinel.integrity.difference import Difference
from rootstock.sentinel.integrity.tensors import Stored, stored
from rootstock.sentinel.provenance import claims, digests
from rootstock.sentinel.weights.adapter import audit_adapter
from rootstock.sentinel.weights.rows import rows_moved

_INDEX = "model.safetensors.index.json"
_HUGE = 1e6
"""An absolute value that no trained weight has; a flipped bit of an exponent makes it."""


@dataclass(kw_only=True)
class Integrity:
    """What was found. issues: it is not whole. notes: of interest. unclaimed: weights of which no digest is known."""

    issues: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unclaimed: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    confirmed: dict[str, list[str]] = field(default_factory=dict)
    statistics: dict[str, list[numbers.Statistics]] = field(default_factory=dict)
    difference: Difference | None = None

    @property
    def whole(self) -> bool:
        """Whether no issue was found; it does not say that there is none."""
        return not self.issues

    @property
    def tree(self) -> str:
        """One digest of all files."""
        return digests.tree(self.files)


class WeightIntegrityValidator:
    """Checks a model's folder, a run's, or one safetensors file. Reads by memory map in blocks, so the size does not matter.

    expected: gives the exact shapes of a folder, by a caller that can build its architecture, or None; then the config's own numbers count.
    claimed: more digests that files should have.
    """

    def __init__(self, *, expected: Callable[[Path], Expected | None] | None = None, claimed: Iterable[claims.Claim] = ()) -> None:
        self.expected, self.claimed = expected, tuple(claimed)

    def validate(self, path: str | os.PathLike[str], *, reference: str | os.PathLike[str] | None = None) -> Integrity:
        """All checks. Raises UsageError where there is no safetensors file; damage is an issue, not an error."""
        place = Path(path)
        held = digests.each(place, digests.files(place))
        result = Integrity(files=held)
        compared = claims.compare(place, [*claims.gather(place), *self.claimed], held)
        result.issues += compared.issues
        result.confirmed, result.unclaimed = compared.confirmed, compared.unclaimed
        weights = [name for name in held if name.endswith(".safetensors") and not name.startswith("checkpoints/")]
        if not weights:
            raise UsageError(
                f"{place} holds no safetensors weights", wanted="a model's folder", fix="convert older files: rootstock convert"
            )
        root = place if place.is_dir() else place.parent
        for folder in dict.fromkeys((root / name).parent for name in weights):
            self._folder(folder, [root / name for name in weights if (root / name).parent == folder], result)
        if reference is not None:
            self._compare(place, Path(reference), result)
        return result

    def _folder(self, folder: Path, paths: list[Path], result: Integrity) -> None:
        """The weights that lie in one folder."""
        held: dict[str, dict[str, Stored]] = {}
        for path in paths:
            try:
                held[path.name] = stored(path)
            except Malformed as damage:
                result.issues.append(f"Damaged: {path}: {damage.what}")
        result.issues += _sharded(folder, held)
        every = {name: each for tensors in held.values() for name, each in tensors.items()}
        if len(held) == len(paths):
            self._shapes(folder, held, result)
        found = [numbers.of(each) for each in every.values() if each.readable]
        if unread := [name for name, each in every.items() if not each.readable]:
            result.notes.append(f"{len(unread):,} tensors of 8 bits or fewer have no statistics: {', '.join(unread[:4])}")
        result.statistics[str(folder)] = found
        adapter = any(name.startswith("adapter") for name in held)
        for each in found:
            _judge(each, result, strict=not adapter)
        result.notes += [f"unlike its sisters: {text}" for text in numbers.unlike_their_sisters(found)]

    def _shapes(self, folder: Path, held: Mapping[str, dict[str, Stored]], result: Integrity) -> None:
        adapters = held.get("adapter_model.safetensors", {})
        result.issues += configured.adapter(adapters, configured.config(folder, "adapter_config.json"))
        if adapters and configured.config(folder, "adapter_config.json"):
            result.notes += audit_adapter(folder).issues
        model = {key: each for name, part in held.items() if name.startswith(("model", "pytorch_model")) for key, each in part.items()}
        values = configured.config(folder)
        if not model or not values:
            return
        shapes = self.expected(folder) if self.expected else None
        told = configured.exact(model, shapes) if shapes else ([], [])
        plain = configured.told(model, values)
        # What both find is told once, in the words of the exact check.
        result.issues += told[0] or plain[0]
        result.notes += told[1] + plain[1]

    def _compare(self, place: Path, reference: Path, result: Integrity) -> None:
        mine, theirs = opened.model(place), opened.model(reference)
        found = difference.between(mine, theirs)
        result.difference = found
        words = opened.vocabulary(place)
        if (apart := rows_moved(place, reference)).alone:
            result.notes.append(f"rows of {apart.table} that moved alone, weak evidence of planted words: {apart.named}")
        for each in found.changed:
            if each.edited:
                rows = ", ".join(f"{row} ({words[row]!r})" if row in words else str(row) for row in each.named)
                result.issues.append(
                    f"Edited rows: {each.name} differs from the reference in {each.changed_rows} of {each.shape[0]:,}: {rows}"
                )


def _judge(each: numbers.Statistics, result: Integrity, *, strict: bool) -> None:
    """Issues and notes of one tensor. strict: a constant matrix is an issue; a fresh adapter has one by design."""
    if each.nans or each.infinite:
        result.issues.append(f"Not finite: {each.name} holds {each.nans:,} NaN and {each.infinite:,} infinite of its numbers")
    if each.constant and each.matrix and strict:
        result.issues.append(f"Constant: all numbers of {each.name} {list(each.shape)} are {each.least:g}")
    elif each.constant and each.matrix:
        result.notes.append(f"all numbers of {each.name} are {each.least:g}: never trained, or removed")
    if max(abs(each.least), abs(each.most)) > _HUGE and each.dtype.startswith(("F", "BF")):
        result.notes.append(f"{each.name} holds {max(each.least, each.most, key=abs):.3g}: larger than trained weights are")


def _sharded(folder: Path, held: Mapping[str, dict[str, Stored]]) -> list[str]:
    """An index against the shards: each tensor lies where it says, and all of its shards are there."""
    mapping = configured.config(folder, _INDEX).get("weight_map")
    if not isinstance(mapping, dict):
        return []
    issues = [f"Missing file: {name} is in {_INDEX} and not here" for name in sorted(set(map(str, mapping.values())) - set(held))]
    for name, shard in mapping.items():
        if shard in held and name not in held[shard]:
            other = next((place for place, tensors in held.items() if name in tensors), None)
            issues.append(f"Wrong shard: {name} should lie in {shard}" + (f" and lies in {other}: swapped files" if other else ""))
    shards = set(mapping.values())
    known = {name for place, tensors in held.items() if place in shards for name in tensors}
    return issues + [f"Unlisted tensor: {name} lies in a shard and not in {_INDEX}" for name in sorted(known - set(mapping))]


def as_json(found: Integrity) -> dict[str, Any]:
    """All of it for machines."""
    return {
        "whole": found.whole,
        "issues": found.issues,
        "notes": found.notes,
        "without_a_digest": found.unclaimed,
        "tree_sha256": found.tree,
        "files": found.files,
        "confirmed": found.confirmed,
        "statistics": {place: [each.as_json() for each in every] for place, every in found.statistics.items()},
        "difference": difference.as_json(found.difference) if found.difference else None,
    }
