"""What a model learned: minimal pairs, parts of speech, sentence order, classes of images, a user's own task; beside random weights."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rootstock.core import artifact, place
from rootstock.core.errors import BaseError, DataError, UnknownName, UsageError
from rootstock.core.runfolder import RunFolder
from rootstock.core.watch import Say, Watch
from rootstock.data import conllu, formats, images, minimal_pairs
from rootstock.evaluation.probes import blimp, hidden, layers, order, pos
from rootstock.evaluation.probes.likelihood import Masking, Scorer
from rootstock.run import ending
from rootstock.run.opened import Opened, open_base
from rootstock.verbs import probe_images, probe_rows

SUITES = ("blimp", "pos", "order", "images", "task")
FILES = "probes.json", "probes.html"
FOLDER = "ROOTSTOCK_DATA"
"""Names a folder of data sets; what `_SETS` names in it is used where --data says nothing."""
_SETS = {"blimp": "blimp", "pos": "ud_english_ewt", "order": "ud_english_ewt"}
_HINT = "--data blimp=BLiMP.zip --data pos=FOLDER of CoNLL-U files, --data images=FOLDER of class folders, or --data task=LABELLED.csv"

_WANTED = {"blimp": "…ForMaskedLM, …ForCausalLM or …LMHeadModel", "images": "a model of images, such as scratch:vit-tiny"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to ask. data: suite to file or folder. asked: suites that were named, which must not be left out. limit: pairs of a paradigm,
    which the sizes of the other suites follow. caption: said of a class of images, {} is its name. changes: keys of the recipe by which
    the user's own rows are read."""

    data: Mapping[str, Path]
    asked: bool
    limit: int
    masking: Masking
    beside_random: bool
    seed: int
    caption: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


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
    if more.get("caption") is not None and "{}" not in more["caption"]:
        raise UsageError(f"--caption is {more['caption']!r}", wanted='{} where the name of the class goes, as in "a photo of a {}"')
    given = {suite: place for each in data for suite, place in _place(each).items()}
    places = given if "task" in given and not named else _standing() | given
    if more.get("changes") and "task" not in places:
        raise UsageError("--set is for labelled rows of one's own, and none are named", wanted="--data task=FILE", fix="leave --set out")
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
            read[suite] = _READ[suite](opened, plan, watch.say)  # all data is read before the first long wait
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


def check_place(folder: Path, reference: str, *, overwrite: bool) -> None:
    """Raises UsageError where probes can't be written: a file, somebody's files, or older probes without overwrite.

    The folder of the very run that is asked may take them in.
    """
    of_run = RunFolder(folder).complete and folder.resolve() == Path(reference).expanduser().resolve()
    held = place.held(folder, "probes", own=FILES, wanted="a new folder, or the run's own", also=of_run)
    if set(held) & set(FILES) and not overwrite:
        raise place.already(folder, "probes")


def write(found: Mapping[str, Any], folder: Path) -> None:
    """probes.json and probes.html; in the folder of a run its report then leads there, and its manifest knows them."""
    from rootstock.report import probes

    artifact.write_text(folder / FILES[1], probes.render(dict(found)))
    artifact.write_json(folder / FILES[0], found)
    run = RunFolder(folder)
    if not run.complete:
        return
    if (report := folder / "report.html").exists():
        artifact.write_text(report, probes.linked(report.read_text("utf-8")))
    ending.add(run, [*FILES, *([report.name] if report.exists() else [])])


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
    if not (suites := suites or _for(place)):
        raise DataError(
            f"{place} holds neither a treebank nor minimal pairs nor images, by its names",
            wanted=".conllu, .jsonl, .zip or images",
            fix=_HINT,
        )
    return dict.fromkeys(suites, place)


def _for(place: Path) -> tuple[str, ...]:
    """The suites that files are for, by their names."""
    if conllu.holds_treebank(place):
        return "pos", "order"
    if minimal_pairs.holds_pairs(place):
        return ("blimp",)
    if place.is_file() and images.is_table(str(place)) and formats.named("auto", place):
        return ("task",)
    inside = place.rglob("*") if place.is_dir() else ()
    return ("images",) if any(images.is_image(each.name) for each in inside) or _is_tar(place) else ()


def _is_tar(place: Path) -> bool:
    return place.is_file() and not images.is_table(str(place))


def _unfit(opened: Opened, plan: Plan) -> dict[str, str]:
    """Suites that the model can't answer. Raises BaseError where one of them was asked for by name, or nothing else is left."""
    found = {suite: reason for suite in plan.data if (reason := _lack(opened, suite))}
    if found and (plan.asked or len(found) == len(plan.data)):
        suite, reason = next(iter(found.items()))
        other = _HINT if len(found) == len(plan.data) else f"leave {suite} out of --suite"
        raise BaseError(f"{suite}: {opened.base.name}: {reason}", wanted=_WANTED.get(suite, "a model of text"), fix=other)
    return found


def _lack(opened: Opened, suite: str) -> str:
    """Why a model can't answer a suite; empty where it can."""
    if (suite == "images") != (opened.kind == "vision"):
        return f"{opened.architecture} reads {'images' if opened.kind == 'vision' else 'no images'}"
    if suite == "blimp" and opened.kind not in ("masked", "causal"):
        return f"{opened.architecture} has no head that says how likely a sentence is"
    return ""


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


def _images(models: _Models, shown: probe_images.Shown) -> dict[str, Any]:
    probe_images.told(shown, models.watch.say)
    return probe_images.measure(shown, models.opened, models.random, caption=models.plan.caption, seed=models.plan.seed)


def _task(models: _Models, asked: probe_rows.Asked) -> dict[str, Any]:
    return probe_rows.measure(asked, models.watch, models.progress(), beside_random=models.random is not None)


def _asked(opened: Opened, plan: Plan, say: Say) -> probe_rows.Asked:
    return probe_rows.read(plan.data["task"], opened, say, limit=plan.limit, seed=plan.seed, changes=plan.changes)


def _shown(opened: Opened, plan: Plan, _: Say) -> probe_images.Shown:
    return probe_images.read(plan.data["images"], opened, limit=plan.limit, seed=plan.seed)


def _pairs(_: Opened, plan: Plan, __: Say) -> Sequence[minimal_pairs.Pair]:
    return minimal_pairs.sample(minimal_pairs.read(plan.data["blimp"]), plan.limit, plan.seed)


def _chosen(name: str, choose: Callable[..., Any]) -> Callable[[Opened, Plan, Say], Any]:
    def read(_: Opened, plan: Plan, __: Say) -> Any:
        bank = conllu.treebank(plan.data[name], plan.seed)
        return choose(bank, plan.limit, plan.seed), bank.divided

    return read


_READ: dict[str, Callable[[Opened, Plan, Say], Any]] = {
    "blimp": _pairs,
    "pos": _chosen("pos", pos.choose),
    "order": _chosen("order", order.choose),
    "images": _shown,
    "task": _asked,
}
_MEASURE: dict[str, Callable[[_Models, Any], dict[str, Any]]] = {
    "blimp": _blimp,
    "pos": _layered("pos", pos.measure),
    "order": _layered("order", order.measure),
    "images": _images,
    "task": _task,
}
