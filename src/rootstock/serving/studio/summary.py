"""One run in a line of a list, read from its JSON files alone. A missing or damaged file leaves its part empty."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from rootstock.core.figures import ERRORS
from rootstock.core.runfolder import RunFolder

State = Literal["running", "ended", "interrupted"]
Interval = tuple[float, float]
MOST_BYTES = 64 << 20
"""A JSON file that is larger is no run's, and is not read."""
FILES = ("manifest.json", "metrics.json", "plan.json", "recipe.yaml", "ledger.json", "contract.json")
"""What a line is made of: a change in one of these makes it anew."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A run as the list shows it. id: its path below the runs' folder. figure: the headline, score its value. lower: less of it is better.

    measured_on: digest of what the score was measured on; two scores compare only where it is the same. seconds: of training.
    bytes: of model/. when: of the last change, seconds since 1970. figures: each that has an interval, as value, low, high.
    """

    id: str
    name: str
    state: State
    when: float
    alone: bool = False
    task: str = ""
    method: str = ""
    base: str = ""
    data: str = ""
    measured_on: str = ""
    figure: str = ""
    score: float | None = None
    interval: Interval | None = None
    lower: bool = False
    verdict: str = ""
    seconds: float | None = None
    bytes: int | None = None
    rows: int | None = None
    figures: Mapping[str, tuple[float, float | None, float | None]] = field(default_factory=dict)


def summary(path: Path, name: str, *, state: State, when: float) -> Seen:
    """The line of a run folder or of a model alone. name: its path below the runs' folder."""
    folder = RunFolder(path)
    if folder.alone:
        return _alone(path, name, when)
    manifest, recipe = read(path / "manifest.json"), {}
    if not manifest:
        recipe = _recipe(folder.recipe)
    figures, metrics = _figures(path)
    first = next(iter(figures), "")
    value, low, high = figures.get(first, (None, None, None))
    measured = dig(read(path / "plan.json"), "measured", "seconds")
    return Seen(
        id=name,
        name=path.name,
        state=state,
        when=when,
        **_what(manifest, recipe),
        figure=first,
        score=value,
        interval=None if low is None or high is None else (low, high),
        lower=first in ERRORS,
        verdict=words(metrics.get("verdict")),
        seconds=number(measured),
        bytes=_size(path / "model"),
        rows=whole(metrics.get("rows")),
        figures=figures,
    )


def _what(manifest: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Task, method, base, data, and what it was measured on."""
    last = manifest["stages"][-1] if isinstance(manifest.get("stages"), list) and manifest["stages"] else {}
    sides = dig(manifest, "data")
    sides = sides if isinstance(sides, dict) else {}
    base = dig(manifest, "base", "name") or recipe.get("base")
    train = dig(sides, "train", "name") or dig(recipe, "data", "train")
    held = dig(sides, "validation", "sha256") or dig(sides, "train", "sha256")
    rows = dig(manifest, "rows", "validation")
    return {
        "task": words(manifest.get("task") or dig(last, "task") or dig(recipe, "task", "name")),
        "method": words(manifest.get("method") or dig(last, "method") or dig(recipe, "method", "name")),
        "base": _short(base),
        "data": _short(train),
        "measured_on": f"{held[:16]}:{rows}:{dig(manifest, 'seed')}" if isinstance(held, str) else "",
    }


def _alone(path: Path, name: str, when: float) -> Seen:
    """A model that came without its run: its contract is all that is known."""
    told = read(path / "contract.json")
    return Seen(
        id=name,
        name=path.name,
        state="ended",
        when=when,
        alone=True,
        task=words(dig(told, "task", "name")),
        method=words(dig(told, "method", "name")),
        base=_short(dig(told, "base", "reference")),
        bytes=_size(path),
    )


def _figures(path: Path) -> tuple[dict[str, tuple[float, float | None, float | None]], dict[str, Any]]:
    """Each figure that leads, the one that decides first; where none does, the first that there is. And the whole metrics.

    Runs from before all figures had intervals do not say which of them lead: there, those with an interval do.
    """
    metrics = read(path / "metrics.json")
    values, bounds = (each if isinstance(each := metrics.get(key), dict) else {} for key in ("metrics", "intervals"))
    differences = metrics.get("differences")
    deciding = [dig(each, "figure") for each in differences.values()] if isinstance(differences, dict) else []
    known = [name for name in values if number(values[name]) is not None]
    leads = metrics.get("headline")
    leading = list(map(str, leads)) if isinstance(leads, list) else list(bounds)
    names = [name for name in dict.fromkeys([*map(str, deciding[:1]), *leading]) if name in known] or known[:1]
    found: dict[str, tuple[float, float | None, float | None]] = {}
    for name in names:
        ends = bounds.get(name)
        low, high = map(number, ends) if isinstance(ends, list) and len(ends) == 2 else (None, None)
        found[name] = (float(values[name]), low, high)
    return found, metrics


def read(path: Path) -> dict[str, Any]:
    """A JSON object of a run; empty where there is none that can be read."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return {}
        found = json.loads(path.read_bytes(), parse_constant=lambda _: None)
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _recipe(path: Path) -> dict[str, Any]:
    """A recipe as it stands, unchecked; the quick reader of YAML where there is one."""
    loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        found = yaml.load(path.read_bytes(), loader) if path.stat().st_size < 1 << 20 else {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def dig(value: Any, *path: str) -> Any:
    """The value at a path of keys; None where there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def number(value: Any) -> float | None:
    """A finite number, else None."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300 and math.isfinite(value)
    return float(value) if good else None


def whole(value: Any) -> int | None:
    """A whole number, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def words(value: Any) -> str:
    """A text of a length that a page takes, else nothing."""
    return value[:500] if isinstance(value, str) else ""


def _short(value: Any) -> str:
    """The last part of a path, of several the first with a mark."""
    if isinstance(value, list) and value:
        return _short(value[0]) + (" …" if len(value) > 1 else "")
    text = words(value)
    return text if text.startswith(("hf:", "scratch:")) else text.rstrip("/").rsplit("/", 1)[-1]


def _size(model: Path) -> int | None:
    """Bytes of the files in a model's folder."""
    try:
        return sum(each.stat().st_size for each in model.iterdir() if each.is_file())
    except OSError:
        return None
