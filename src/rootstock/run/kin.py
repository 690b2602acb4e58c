"""The base that a model grew from, recognised by its embeddings where nobody names it."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import nn

from rootstock.bases.resolve import KNOWN, Resolved, resolve
from rootstock.core.errors import BaseError, ContractRefused, RootstockError, UnknownName
from rootstock.core.watch import Say
from rootstock.run.use import Run
from rootstock.sentinel.weights.rows import apart

NEAR = 0.2
"""Median distance of embeddings, relative to their lengths, within which a model grew from a base, or from a near relative of it that
serves as well: fine-tuning leaves some per cent, and tables that were trained apart are at 1 or more."""


def named(base: str, say: Say) -> Resolved:
    """The base that somebody names."""
    found = resolve(base)
    say(f"base      {found.name}, as named")
    return found


def own(run: Run, say: Say) -> Resolved | None:
    """The base that a run names, as it was; None where it is not here, or another by now, which is said."""
    try:
        return run.base("run was trained from")
    except (BaseError, ContractRefused, UnknownName) as error:
        say(f"base      is not here as the run names it ({error.found})")
        return None


def recognised(rows_VH: np.ndarray | None, hint: str | None, say: Say) -> Resolved | None:
    """The nearest of the bases that are here, None where none is near.

    rows_VH: the model's embeddings. hint: what its config names as the model that it came from.
    """
    if rows_VH is None:
        return None
    near: list[tuple[float, Resolved]] = []
    for reference in _candidates(hint):
        try:
            found = resolve(reference)
            distance = apart(rows_VH, found.folder) if found.folder else None
        except RootstockError as error:
            say(f"base      {reference} can't be compared with ({error.found})")
            continue
        if distance is not None and distance <= NEAR:
            near.append((distance, found))
    if not near:
        hinted = f"; the model's config names {hint}" if hint else ""
        say(f"base      not known, so there are no clean references: name it with --base{hinted}")
        return None
    distance, found = min(near, key=lambda each: each[0])
    say(f"base      {found.name}, recognised: the model's embeddings are {distance:.1%} from its own in the median")
    return found


def itself(model: nn.Module, place: str) -> bool:
    """Whether a folder holds this very model, every tensor with the same numbers: a poisoned model is no clean base of itself."""
    try:
        folder = resolve(place).folder
    except RootstockError:
        return False  # who compares says why
    own, met = model.state_dict(), set[str]()
    for path in sorted(folder.glob("*.safetensors")) if folder else ():
        with safe_open(path, "pt") as held:
            for name in held.keys():  # noqa: SIM118  (it is no mapping)
                if name not in own or not torch.equal(own[name].float().cpu(), held.get_tensor(name).float()):
                    return False
                met.add(name)
    return bool(met) and {name for name, _ in model.named_parameters()} <= met


def _candidates(hint: str | None) -> Iterator[str]:
    """Bases that installed packages carry, and what the config names where that is a folder here; nothing is fetched."""
    yield from (name for name, known in KNOWN.items() if find_spec(known.package))
    if hint and Path(hint).expanduser().is_dir():
        yield hint
