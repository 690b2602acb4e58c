"""Where two runs part: settings, data, versions, then the first step at which batches or losses differ."""

from pathlib import Path
from typing import Any

from rootstock.core.runfolder import RunFolder, no_run, read_any, read_recipe
from rootstock.loop.history import read

_CONTRACT = ("tokenizer_sha256", "labels", "length")
"""What a model must meet again, beside its base."""
_STEP_KEYS = ("batch", "loss", "gradient_norm", "rate")


def compare(first: Path, second: Path) -> dict[str, Any]:
    """What differs between two run folders, from causes to effects."""
    folders = [RunFolder(path) for path in (first, second)]
    for folder in folders:
        if not folder.begun:
            raise no_run(folder)
    staged = [folder.stages.is_dir() for folder in folders]
    if all(staged):
        return _staged(*folders)
    if any(staged):
        folders = [folder.last for folder in folders]
    return _alone(*folders)


def _staged(first: RunFolder, second: RunFolder) -> dict[str, Any]:
    """Stage by stage, as far as both have begun; settings are those of the whole."""
    recipes = [flat(read_any(folder.recipe).plain()) for folder in (first, second)]
    names = [[each.name for each in sorted(folder.stages.iterdir()) if RunFolder(each).begun] for folder in (first, second)]
    shared = [name for name in names[0] if name in names[1]]
    return {
        "settings": _differences(*recipes),
        "stages": {name: _alone(RunFolder(first.stages / name), RunFolder(second.stages / name)) for name in shared},
        "only": [
            f"{folder.path}: {name}" for folder, held in zip((first, second), names, strict=True) for name in held if name not in shared
        ],
    }


def _alone(first: RunFolder, second: RunFolder) -> dict[str, Any]:
    """What differs between two runs of one recipe each."""
    folders = [first, second]
    recipes = [flat(read_recipe(folder.recipe).plain()) for folder in folders]
    unfinished = [str(folder.path) for folder in folders if not folder.complete]
    aspects: dict[str, Any] = {"base": {}, "contract": {}, "data": {}, "versions": {}, "hardware": {}, "metrics": {}}
    if not unfinished:
        manifests = [folder.json("manifest.json") for folder in folders]
        aspects = {name: _differences(*(flat(manifest.get(name, {})) for manifest in manifests)) for name in aspects}
        # A run that learned several tasks by adapters has no model of all of them.
        held = [folder.json("model/contract.json") if folder.model.is_dir() or not folder.parts else {} for folder in folders]
        aspects["contract"] = _differences(*({key: each.get(key) for key in _CONTRACT} for each in held))
        aspects["metrics"] = _differences(*(folder.json("metrics.json")["metrics"] for folder in folders))
    return {"settings": _differences(*recipes), **aspects, "first_step": _parting(*folders), "unfinished": unfinished}


def as_text(found: dict[str, Any]) -> str:
    """The differences for a person."""
    if "stages" in found:
        lines = [f"{'settings':<10}{key}: {_shown(a)} → {_shown(b)}" for key, (a, b) in found["settings"].items()]
        lines += [f"{'only in':<10}{each}" for each in found["only"]]
        return "\n".join(lines + [f"{name}\n{as_text(each)}" for name, each in found["stages"].items()])
    lines = [f"{path} has not ended: only settings and steps are compared" for path in found["unfinished"]]
    for aspect, differences in found.items():
        if aspect not in ("first_step", "unfinished"):
            lines += [f"{aspect:<10}{key}: {_shown(a)} → {_shown(b)}" for key, (a, b) in differences.items()]
    parting = found["first_step"]
    if parting is None:
        return "\n".join([*lines, "the runs took the same steps: every batch, loss and gradient norm is equal"])
    return "\n".join(
        [
            *lines,
            f"{'parts at':<10}step {parting['step']}: {parting['key']} {_shown(parting['values'][0])} → {_shown(parting['values'][1])}",
        ]
    )


def _parting(first: RunFolder, second: RunFolder) -> dict[str, Any] | None:
    steps = [[event for event in read(folder.history) if event["event"] == "step"] for folder in (first, second)]
    for a, b in zip(*steps, strict=False):
        for key in _STEP_KEYS:
            if a[key] != b[key]:
                return {"step": a["step"], "key": key, "values": [a[key], b[key]]}
    if len(steps[0]) != len(steps[1]):
        return {"step": min(map(len, steps)) + 1, "key": "number of steps", "values": [len(steps[0]), len(steps[1])]}
    return None


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested values by section.key; members of a list of sections by their number, from 1 on."""
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        value = {str(number): each for number, each in enumerate(value, 1)}
    if not isinstance(value, dict):
        return {path: value}
    return {key: held for name, part in value.items() for key, held in flat(part, f"{path}.{name}" if path else str(name)).items()}


def _differences(first: dict[str, Any], second: dict[str, Any]) -> dict[str, list[Any]]:
    return {
        key: [first.get(key), second.get(key)]
        for key in [*first, *(k for k in second if k not in first)]
        if first.get(key) != second.get(key)
    }


def _shown(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
