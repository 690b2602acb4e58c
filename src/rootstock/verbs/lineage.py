"""The verb lineage: from a model back to all that it grew from, each link held against the bytes at hand."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rootstock import __version__
from rootstock.core.errors import GateRefused, RootstockError, UnknownName
from rootstock.core.recipe import DataSettings
from rootstock.core.runfolder import RunFolder, no_run, read_recipe
from rootstock.report.words import several
from rootstock.sentinel.provenance import claims, digests, licences
from rootstock.sentinel.provenance.chain import Link, State, as_tree

FORMATS = ("tree", "json", "cyclonedx", "spdx")
_LEFT_OUT = ("checkpoints/", "track/", "stages/", "parts/")
_DEPTH = 32
"""Links above one another, at most."""


def told(place: Path, form: str, policy: Path | None) -> tuple[str, list[str]]:
    """The chain in a form, and the issues. Raises UsageError for a wrong form, policy or place before anything is measured."""
    if form not in FORMATS:
        raise UnknownName("format", form, FORMATS)
    chosen = licences.policy(policy)
    if not RunFolder(place).complete:
        raise no_run(RunFolder(place))
    root = walk(place)
    judged = licences.judge(root, chosen)
    issues = [f"{each.state}: {each.role} {each.name}: {each.why}" for each in root.every() if each.state == "changed"] + judged.issues
    return _formed(root, form, _metrics(place), issues, judged.notes), issues


def refuse(issues: list[str], place: Path) -> None:
    """Raises GateRefused where a link is another than declared, or a licence does not fit."""
    if issues:
        raise GateRefused(f"the lineage of {place} has {several(len(issues), 'issue')}", fix="; ".join(issues[:4]))


def _formed(root: Link, form: str, metrics: dict[str, Any], issues: list[str], notes: list[str]) -> str:
    if form == "tree":
        lines = [as_tree(root), *(f"note   {each}" for each in notes), *(f"found  {each}" for each in issues)]
        counts = {state: sum(each.state == state for each in root.every()) for state in ("verified", "unchecked", "missing", "changed")}
        return "\n".join([*lines, ", ".join(f"{count} {state}" for state, count in counts.items() if count)])
    if form == "cyclonedx":
        from rootstock.sentinel.provenance.bom import as_cyclonedx

        return json.dumps(as_cyclonedx(root, __version__, metrics), indent=2, ensure_ascii=False)
    if form == "spdx":
        from rootstock.sentinel.provenance.spdx import as_spdx

        return json.dumps(as_spdx(root, __version__), indent=2, ensure_ascii=False)
    return json.dumps({"issues": issues, "notes": notes, "lineage": root.as_json()}, indent=2, ensure_ascii=False)


def _metrics(place: Path) -> dict[str, Any]:
    """The run's figures with their intervals, where it has any."""
    path = place / "metrics.json"
    held = RunFolder(place).json("metrics.json") if path.is_file() else {}
    found, bounds = held.get("metrics") or {}, held.get("intervals") or {}
    plain = {name: value for name, value in found.items() if isinstance(value, int | float)} if isinstance(found, dict) else {}
    return {name: [value, *bounds[name]] if isinstance(bounds.get(name), list) else value for name, value in plain.items()}


def walk(place: Path, *, declared: str | None = None, depth: int = 0) -> Link:
    """The chain of a run that has ended. declared: the digest that the one above gives it."""
    folder = RunFolder(place)
    made = folder.json("manifest.json")
    compared = claims.compare(place, claims.gather(place), held := digests.each(place, digests.files(place)))
    measured = _digest(str(place)) if declared else None
    apart = declared is not None and measured is not None and declared != measured
    why = f"its weights have the digest {measured}" if apart else "; ".join(compared.issues[:3])
    below = _below(folder, made, depth) if depth < _DEPTH else ()
    run = Link(
        role="adapter" if (folder.model / "adapter_config.json").is_file() else "run",
        name=place.resolve().name,
        state="changed" if why else "verified",
        why=why,
        declared=declared,
        measured=measured or digests.tree({name: each for name, each in held.items() if not name.startswith(_LEFT_OUT)}),
        licence=_card_licence(place / "README.md"),
        facts={key: made[key] for key in ("task", "method", "seed") if made.get(key) is not None},
        files={name: digest for name, digest in held.items() if name.startswith("model/")},
        grew_from=below,
    )
    return _merged(run, place, held) if (place / "merged").is_dir() else run


def _merged(run: Link, place: Path, held: Mapping[str, str]) -> Link:
    """The export that a run's adapter was folded into, on top of the run."""
    files = {name: digest for name, digest in held.items() if name.startswith("merged/")}
    state, why = run.state, f"{run.name}: {run.why}" if run.why else ""
    return Link(
        role="merged export", name=f"{run.name}/merged", state=state, why=why, measured=digests.tree(files),
        licence=run.licence, facts=run.facts, files=files, grew_from=(run,),
    )  # fmt: skip


def _below(folder: RunFolder, made: Mapping[str, Any], depth: int) -> tuple[Link, ...]:
    if made.get("stages") and folder.stages.is_dir():
        return (walk(folder.last.path, depth=depth + 1),)
    return (*_base(folder, made.get("base") or {}, depth), *_tokenizer(folder), *_rows(folder, made.get("data") or {}), *_teacher(made))


def _base(folder: RunFolder, base: Mapping[str, Any], depth: int) -> tuple[Link, ...]:
    """What a run started from: another run, a folder, a known base, an architecture."""
    reference, wanted = str(base.get("reference") or ""), base.get("sha256")
    if not reference:
        return ()
    place = _moved(folder, Path(reference))
    if place.is_dir() and RunFolder(place).complete:
        return (walk(place, declared=wanted, depth=depth + 1),)
    facts = {key: base.get(key) for key in ("reference", "hub_id", "revision", "parameters") if base.get(key) is not None}
    role = "architecture" if reference.startswith("scratch:") else "base"
    recipe = read_recipe(folder.recipe) if folder.recipe.is_file() else None
    near = place.is_dir() or role == "architecture" or "/" not in reference
    measured = _digest(str(place) if place.is_dir() else reference, tokenizer=recipe.tokenizer if recipe else None) if near else None
    files = _weights(place) if place.is_dir() else {}
    name, licence = str(base.get("name") or reference), base.get("licence")
    state, why = _state(wanted, measured, f"{reference} is not here")
    return (
        Link(role=role, name=name, state=state, why=why, declared=wanted, measured=measured, licence=licence, facts=facts, files=files,
             grew_from=_told(base.get("run"))),
    )  # fmt: skip


def _told(run: Any) -> tuple[Link, ...]:
    """What a manifest above tells of the run that made a base which is not here any more."""
    if not isinstance(run, dict):
        return ()
    why, found = "told by the manifest above", []
    if isinstance(base := run.get("base"), dict):
        found.append(
            Link(role="base", name=str(base.get("name")), state="unchecked", why=why, declared=base.get("sha256"),
                 licence=base.get("licence"), grew_from=_told(base.get("run")))
        )  # fmt: skip
    for side, source in (run.get("data") or {}).items():
        name, facts = str(source.get("name")), {"side": side}
        found.append(Link(role="data", name=name, state="unchecked", why=why, declared=source.get("sha256"), facts=facts))
    return tuple(found)


def _tokenizer(folder: RunFolder) -> tuple[Link, ...]:
    if not (folder.model / "contract.json").is_file() or not folder.model.is_dir():
        return ()
    wanted = folder.json(f"{folder.model.relative_to(folder.path).as_posix()}/contract.json").get("tokenizer_sha256")
    if not wanted:
        return ()
    from rootstock.bases.load import tokenizer, tokenizer_digest
    from rootstock.bases.resolve import resolve

    if wanted == tokenizer_digest(None):
        return ()  # it reads images
    try:
        measured, said = tokenizer_digest(tokenizer(resolve(str(folder.model)))), ""
    except RootstockError as error:
        measured, said = None, error.found
    state, why = _state(wanted, measured, said)
    if said:  # what opens models refuses another tokenizer itself; where it refuses the weights, nothing is known of the tokenizer
        state = "changed" if "tokenizer" in said else "unchecked"
    return (Link(role="tokenizer", name=f"of {folder.path.name}", state=state, why=why, declared=wanted, measured=measured),)


def _rows(folder: RunFolder, data: Mapping[str, Any]) -> tuple[Link, ...]:
    """The rows or corpora that a run learned from, and what corpora were built from."""
    settings = read_recipe(folder.recipe).data if folder.recipe.is_file() else DataSettings()
    return tuple(_source(side, source, settings, folder) for side, source in data.items())


def _source(side: str, source: Mapping[str, Any], settings: DataSettings, folder: RunFolder) -> Link:
    name, wanted = str(source.get("name")), source.get("sha256")
    place = _moved(folder, Path(name))
    measured, said = None, f"{name} is not here"
    if not name.startswith("hf:") and (place.exists() or not Path(name).is_absolute()):
        try:
            measured = _rows_digest(str(place) if place.exists() else name, str(source.get("format")), settings)
        except (RootstockError, OSError) as error:
            said = error.found if isinstance(error, RootstockError) else str(error)
    state, why = _state(wanted, measured, said)
    role, below = ("corpus", _sources(place)) if (place / "manifest.json").is_file() else ("data", ())
    facts = {"side": side, "format": source.get("format")}
    return Link(role=role, name=name, state=state, why=why, declared=wanted, measured=measured, facts=facts, grew_from=below)


def _rows_digest(reference: str, form: str, settings: DataSettings) -> str:
    if form in ("documents", "corpus"):
        from rootstock.corpus import labelled, sources

        return labelled.corpus_digest(reference) or sources.describe(reference, None).digest
    from rootstock.data.source import read

    return read(reference, settings).digest


def _sources(corpus: Path) -> tuple[Link, ...]:
    """What a corpus was built from, as its manifest tells."""
    from rootstock.corpus.sources import describe

    found = []
    for each in RunFolder(corpus).json("manifest.json").get("sources") or ():
        name, wanted = str(each.get("reference")), each.get("digest")
        try:
            measured = describe(name, None).digest if Path(name).exists() else None
        except (RootstockError, OSError):
            measured = None
        state, why = _state(wanted, measured, f"{name} is not here")
        found.append(Link(role="source", name=name, state=state, why=why, declared=wanted, measured=measured, licence=each.get("licence")))
    return tuple(found)


def _teacher(made: Mapping[str, Any]) -> tuple[Link, ...]:
    told = made.get("teacher")
    if not isinstance(told, dict):
        return ()
    facts = {key: told.get(key) for key in ("task", "method", "base")}
    why = "a manifest names its teacher without a place"
    return (Link(role="teacher", name=str(told.get("name")), state="unchecked", why=why, declared=told.get("sha256"), facts=facts),)


def _state(wanted: str | None, measured: str | None, missing: str) -> tuple[State, str]:
    if measured is None:
        return "missing", missing
    if wanted is None:
        return "unchecked", "no digest is declared"
    return ("verified", "") if wanted == measured else ("changed", f"its digest is {measured}, declared was {wanted}")


def _digest(reference: str, *, tokenizer: str | None = None) -> str | None:
    """The digest of a base as runs declare it; None where it is not here, or is refused."""
    from rootstock.bases.resolve import resolve

    try:
        return resolve(reference, tokenizer=tokenizer if reference.startswith("scratch:") else None).digest
    except RootstockError:
        return None


def _weights(place: Path) -> dict[str, str]:
    return digests.each(place, [name for name in digests.files(place) if "/" not in name])


def _moved(folder: RunFolder, place: Path) -> Path:
    """A thing where it was, else beside the run or its stages under the same name: folders are moved together."""
    if place.exists() or not place.is_absolute():
        return place
    return next((near for near in (folder.path.parent / place.name, folder.path.parent.parent / place.name) if near.exists()), place)


def _card_licence(card: Path) -> str | None:
    """The licence in a card's front matter."""
    if not card.is_file():
        return None
    for line in card.read_text("utf-8", errors="replace").split("\n---", 1)[0].splitlines():
        if line.startswith("license:"):
            return line.removeprefix("license:").strip().strip("'\"") or None
    return None
