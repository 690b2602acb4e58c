"""What a comparison is asked for: the plan, and its parts as a person writes them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rootstock.core.errors import UnknownName, UsageError
from rootstock.core.recipe import Recipe
from rootstock.core.rows import LABEL, PAIR, TEXT
from rootstock.core.settings import changed, check_free
from rootstock.core.sizes import amount
from rootstock.data import ledger
from rootstock.planning.compute import Budget

_PARTS = (TEXT, PAIR, LABEL)
_VARIED = {
    "seed": "--seeds says how many are tried, from 0 on",
    "base": "--objectives names objectives and their architectures",
    "tokenizer": "--tokenizer names the one that all of them share",
    "task": "it goes by the labels, which --columns can name",
    "data": "--downstream names the files, --columns their columns, --rows how many learn",
    "training.rate": "--rates names those that each base tries",
}
"""Keys of the recipe of adapting that the comparison sets itself, and what to use instead."""
_SHARED_OUT = ("training.steps", "training.epochs")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to compare. architectures: by objective. rows: labelled rows of each point of the curve, None for all.

    columns: by downstream file, those of its text, text_pair and label where they are not found by themselves. changes: keys of the
    recipe of every adaptation, set to other values. rates: of them, tried for every arm. pretraining: keys of every pre-training's recipe.
    Raises UsageError for a key that the comparison sets itself.
    """

    corpora: tuple[str, ...]
    architectures: Mapping[str, str]
    downstream: Mapping[str, str]
    budget: Budget
    rows: tuple[int | None, ...] = (100, 500, None)
    seeds: int = 3
    tokenizer: Path | None = None
    text: str | None = None
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    rates: tuple[float, ...] = (2e-4, 1e-3)
    pretraining: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_free(self.changes, _VARIED, "the comparison")
        for key in self.pretraining:
            if key != "seed" and (not key.startswith("training.") or key in _SHARED_OUT):
                found = f"--pretrain-set {key}: the comparison sets it itself"
                raise UsageError(found, wanted="seed, or training.KEY but for steps and epochs", fix="the budget says how long to learn")
        for changes in (self.changes, self.pretraining):
            Recipe.build(changed({"data": {"train": "rows"}}, changes), "")
        ledger.check_names(self.accept)

    @property
    def accept(self) -> tuple[str, ...]:
        """Findings that may exceed their limits."""
        return tuple(self.changes.get("accept", ()))

    @property
    def inputs(self) -> list[str]:
        """Everything that is read."""
        configs = [each for each in self.architectures.values() if each.endswith(".json")]
        return [*self.corpora, *self.downstream.values(), *configs, *([str(self.tokenizer)] if self.tokenizer else [])]


def budget(minutes: float | None, flops: str | None, tokens: str | None) -> Budget:
    """The budget that options name; an hour for all of it where none does."""
    given = {name: value for name, value in (("minutes", minutes), ("flops", flops), ("tokens", tokens)) if value is not None}
    if len(given) > 1:
        raise UsageError(f"{' and '.join('--' + name for name in given)} are given", wanted="one budget", fix="leave out the others")
    try:
        if flops is not None or tokens is not None:
            return Budget("flops" if flops is not None else "tokens", amount(str(flops or tokens)))
    except ValueError:
        raise UsageError(f"the budget is {flops or tokens!r}", wanted="a number, such as 1e15 or 20M") from None
    return Budget("seconds", 60 * (60.0 if minutes is None else minutes))


def rates(text: str) -> tuple[float, ...]:
    """Learning rates as a person writes them: 2e-4,1e-3."""
    try:
        found = tuple(dict.fromkeys(float(each) for each in text.split(",")))
    except ValueError:
        found = ()
    if not found or not min(found) > 0:
        raise UsageError(f"--rates is {text!r}", wanted="numbers above zero with commas between: 2e-4,1e-3")
    return found


def counts(text: str, option: str = "--rows") -> tuple[int | None, ...]:
    """Numbers of rows as a person writes them: 100,500,all."""
    found = []
    for each in listed(text):
        if each != "all" and not (each.isdecimal() and int(each) >= 10):
            raise UsageError(f"{option} holds {each!r}", wanted="numbers from 10 on, or all, with commas between: 100,500,all")
        found.append(None if each == "all" else int(each))
    if not found:
        raise UsageError(f"{option} is empty", wanted="100,500,all")
    return tuple(dict.fromkeys(found))


def listed(text: str) -> list[str]:
    """What stands between commas."""
    return [each for each in (part.strip() for part in text.split(",")) if each]


def names(files: Sequence[str]) -> dict[str, str]:
    """File by a short name of its own."""
    found: dict[str, str] = {}
    for file in files:
        stem = Path(file).name.split(".")[0] or "task"
        name = stem if stem not in found else f"{Path(file).resolve().parent.name}-{stem}"
        if name in found or file in found.values():
            raise UsageError(f"{file} is named twice", fix="name each file once")
        found[name] = file
    if not found:
        raise UsageError("--downstream names no file", wanted="labelled files with commas between")
    return found


def columns(pairs: Sequence[str], known: Collection[str]) -> dict[str, dict[str, str]]:
    """Columns of downstream files as a person writes them: reviews.label=stars. known: names of the files."""
    found: dict[str, dict[str, str]] = {}
    for pair in pairs:
        key, _, column = pair.partition("=")
        name, _, part = key.rpartition(".")
        if not (name and column):
            example = f"--columns {next(iter(known))}.label=COLUMN"
            raise UsageError(f"--columns {pair}", wanted=f"FILE.PART=COLUMN with a part of {', '.join(_PARTS)}", fix=f"such as {example}")
        if name not in known:
            raise UnknownName("downstream file", name, known)
        if part not in _PARTS:
            raise UnknownName("part of a row", part, _PARTS)
        found.setdefault(name, {})[part] = column
    return found
