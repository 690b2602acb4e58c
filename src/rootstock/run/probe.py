"""What a model learned: minimal pairs, parts of speech and sentence order, beside random weights, written down."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rootstock.core import artifact
from rootstock.core.errors import BaseError, DataError, UnknownName, UsageError
from rootstock.core.watch import Watch
from rootstock.data import conllu, minimal_pairs
from rootstock.evaluation.probes import blimp, hidden, layers, order, pos
from rootstock.evaluation.probes.likelihood import Masking, Scorer
from rootstock.run.opened import Opened, open_base

SUITES = ("blimp", "pos", "order")
FILES = "probes.json", "probes.html"
FOLDER = "ROOTSTOCK_DATA"
"""Names a folder of data sets; what `_SETS` names in it is used where --data says nothing."""
_SETS = {"blimp": "blimp", "pos": "ud_english_ewt", "order": "ud_english_ewt"}
_HINT = "--data blimp=BLiMP.zip --data pos=FOLDER of CoNLL-U files"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to ask. data: suite to file or folder. asked: suites that were named, which must not be left out. limit: pairs of a paradigm,
    which the sizes of the other suites follow."""

    data: Mapping[str, Path]
    asked: bool
    limit: int
    masking: Masking
    beside_random: bool
    seed: int


def told(suites: str | None, data: Sequence[str], **more: Any) -> Plan:
    """A plan from what a person said: suites by name, and SUITE=PATH or a PATH that shows what it is for.

    Raises UnknownName, UsageError or DataError for what can't be meant.
    """
    named = [each.strip() for each in suites.split(",") if each.strip()] if suites else []
    for name in named:
        if name not in SUITES:
            raise UnknownName("suite", name, SUITES)
    if more["limit"] < 1:
        raise UsageError(f"--limit is {more['limit']}", wanted="1 or more")
    if more["masking"] not in ("word", "token"):
        raise UnknownName("masking", more["masking"], ("word", "token"))
    places = _standing() | {suite: place for each in data for suite, place in _place(each).items()}
    chosen = named or [suite for suite in SUITES if suite in places]
    missing = [suite for suite in chosen if suite not in places]
    if missing or not chosen:
        raise UsageError(
            f"no data for {', '.join(missing) or 'any suite'}", wanted=_HINT, fix=f"give --data, or name a folder of both in {FOLDER}"
        )
    return Plan(data={suite: places[suite] for suite in SUITES if suite in chosen}, asked=bool(named), **more)


def probe(reference: str, plan: Plan, watch: Watch) -> dict[str, Any]:
    """Every suite of the plan on a base or run, as JSON; `skipped` says why one was left out."""
    opened = open_base(reference)
    watch.say(f"base      {opened.base.name}, {opened.architecture}")
    read, skipped = {}, _unfit(opened, plan)
    for suite, reason in skipped.items():
        watch.say(f"{suite:<10}left out: {reason}")
    for suite in plan.data:
        if suite not in skipped:
            read[suite] = _READ[suite](plan)  # all data is read before the first long wait
    random = opened.randomised(plan.seed) if plan.beside_random and opened.base.folder is not None else None
    found = {suite: _MEASURE[suite](_Models(opened, random, plan, watch), held) for suite, held in read.items()}
    return {
        "base": {"name": opened.base.name, "reference": reference, "sha256": opened.base.digest, "architecture": opened.architecture},
        "seed": plan.seed,
        "limit": plan.limit,
        "data": {suite: str(plan.data[suite]) for suite in read},
        "suites": found,
        "skipped": skipped,
    }


def check_place(folder: Path, *, overwrite: bool) -> None:
    """Raises UsageError where probes can't be written: a file, somebody's files, or older probes without overwrite."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", wanted="a folder for the probes", fix="choose another --out")
    held = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if strangers := [name for name in held if name not in FILES]:
        raise UsageError(f"{folder} holds other files: {', '.join(strangers[:3])}", wanted="a new folder", fix="choose another --out")
    if held and not overwrite:
        raise UsageError(f"{folder} already holds probes", wanted="a new folder", fix="choose another --out, or give --overwrite")


def write(found: Mapping[str, Any], folder: Path) -> None:
    """probes.json and probes.html."""
    from rootstock.report import probes

    page = probes.render(dict(found))
    artifact.write_text(folder / FILES[1], page)
    artifact.write_json(folder / FILES[0], found)


# -- data -------------------------------------------------------------------------------------------------------------------


def _standing() -> dict[str, Path]:
    """The sets in the folder that the environment names."""
    named = os.environ.get(FOLDER)
    places = {suite: Path(named) / folder for suite, folder in _SETS.items()} if named else {}
    return {suite: place for suite, place in places.items() if place.exists()}


def _place(said: str) -> dict[str, Path]:
    """The suites that one --data speaks of. A treebank serves two."""
    suites: tuple[str, ...] = ()
    name, sign, rest = said.partition("=")
    if sign and "/" not in name and not Path(said).exists():
        if name not in SUITES:
            raise UnknownName("suite", name, SUITES)
        place, suites = Path(rest).expanduser(), ("pos", "order") if name == "pos" else (name,)
    else:
        place = Path(said).expanduser()
    if not place.exists():
        raise DataError(f"{place} does not exist", wanted=_HINT, fix="check the name")
    suites = suites or (("pos", "order") if conllu.holds_treebank(place) else ("blimp",) if minimal_pairs.holds_pairs(place) else ())
    if not suites:
        raise DataError(f"{place} holds neither a treebank nor minimal pairs, by its names", wanted=".conllu, .jsonl or .zip", fix=_HINT)
    return dict.fromkeys(suites, place)


def _unfit(opened: Opened, plan: Plan) -> dict[str, str]:
    """Suites that the model can't answer. Raises BaseError where one of them was asked for by name, or nothing else is left."""
    if "blimp" not in plan.data or opened.kind in ("masked", "causal"):
        return {}
    reason = f"{opened.architecture} has no head that says how likely a sentence is"
    if plan.asked or len(plan.data) == 1:
        raise BaseError(
            f"blimp: {opened.base.name}: {reason}", wanted="…ForMaskedLM, …ForCausalLM or …LMHeadModel", fix="leave blimp out of --suite"
        )
    return {"blimp": reason}


# -- suites -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Models:
    """Who is asked, and who stands beside."""

    opened: Opened
    random: Opened | None
    plan: Plan
    watch: Watch

    def progress(self) -> Callable[[int, int], None]:
        """Tells of parts done."""
        started = time.perf_counter()

        def passed(done: int, total: int) -> None:
            spent = time.perf_counter() - started
            self.watch.event({"event": "features", "progress": done / max(1, total), "rows": done, "seconds": spent})

        return passed


def _blimp(models: _Models, pairs: Sequence[minimal_pairs.Pair]) -> dict[str, Any]:
    def ask(opened: Opened, label: str) -> dict[str, Any]:
        models.watch.say(f"blimp     {len(pairs):,} pairs, {label}")
        scorer = Scorer(
            model=opened.model,
            tokens=opened.tokens,
            masked=opened.kind == "masked",
            room=opened.room,
            masking=models.plan.masking,
            passed=models.progress(),
        )
        return blimp.measure(scorer, pairs)

    masked = models.opened.kind == "masked"
    found = {"score": f"pseudo-log-likelihood, masking {models.plan.masking}" if masked else "log-likelihood"} | ask(
        models.opened, "trained"
    )
    return found | ({"random": ask(models.random, "random weights")} if models.random else {})


def _layered(name: str, measure: Callable[..., layers.Measured]) -> Callable[[_Models, Any], dict[str, Any]]:
    """The suite whose figures come layer by layer."""

    def ask(opened: Opened, models: _Models, held: Any, label: str) -> layers.Measured:
        models.watch.say(f"{name:<10}each layer, {label}")
        reader = hidden.Reader(body=opened.body, tokens=opened.tokens, room=opened.room, passed=models.progress())
        return measure(reader, held, models.plan.seed, models.progress())

    def carry_out(models: _Models, held: tuple[Any, str]) -> dict[str, Any]:
        chosen, divided = held
        first = ask(models.opened, models, chosen, "trained weights")
        second = ask(models.random, models, chosen, "random weights") if models.random else None
        return layers.table(first, second, models.plan.seed) | ({"divided": divided} if divided else {})

    return carry_out


def _pairs(plan: Plan) -> Sequence[minimal_pairs.Pair]:
    return minimal_pairs.sample(minimal_pairs.read(plan.data["blimp"]), plan.limit, plan.seed)


def _chosen(name: str, choose: Callable[..., Any]) -> Callable[[Plan], Any]:
    def read(plan: Plan) -> Any:
        bank = conllu.treebank(plan.data[name], plan.seed)
        return choose(bank, plan.limit, plan.seed), bank.divided

    return read


_READ: dict[str, Callable[[Plan], Any]] = {"blimp": _pairs, "pos": _chosen("pos", pos.choose), "order": _chosen("order", order.choose)}
_MEASURE: dict[str, Callable[[_Models, Any], dict[str, Any]]] = {
    "blimp": _blimp,
    "pos": _layered("pos", pos.measure),
    "order": _layered("order", order.measure),
}
