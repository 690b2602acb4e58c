"""The verbs verify and sign: is a model whole, and does it come from whom it is said to come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rootstock.core.errors import BaseError, GateRefused, UsageError
from rootstock.report.words import several
from rootstock.sentinel.integrity import difference, validator
from rootstock.sentinel.integrity.configured import Expected
from rootstock.sentinel.integrity.validator import WeightIntegrityValidator
from rootstock.sentinel.provenance import signatures
from rootstock.sentinel.provenance.checker import ModelProvenanceChecker, Provenance
from rootstock.sentinel.provenance.trust import Identity

_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a person asks of a model. source: its publisher. key, identity and issuer: who signed. trust: a store other than the user's."""

    source: str | None = None
    key: Path | None = None
    identity: str | None = None
    issuer: str | None = None
    trust: Path | None = None
    reference: str | None = None

    @property
    def signer(self) -> Path | Identity | None:
        """Who must have signed. Raises UsageError for half of an identity, or both ways at once."""
        if (self.identity is None) != (self.issuer is None):
            raise UsageError("an identity needs its issuer", wanted="--identity and --issuer", fix="give both, or --signature key.pub")
        if self.key is not None and self.identity is not None:
            raise UsageError("a key and an identity were given", wanted="one of them", fix="leave one out")
        if self.identity is not None and self.issuer is not None:
            return Identity(self.identity, self.issuer)
        if self.key is not None and not self.key.is_file():
            raise UsageError(f"there is no public key or certificate {self.key}", wanted="a file in PEM", fix="check the path")
        return self.key


def verify(place: Path, asked: Asked) -> dict[str, Any]:
    """Every check that can be made; `issues` holds what was found. Raises UsageError where there is nothing to check."""
    checker, signer = ModelProvenanceChecker(trust_store=asked.trust), asked.signer
    if not place.exists():
        raise UsageError(f"there is no {place}", wanted="a model's folder, a run, or a safetensors file", fix="check the path")
    shapes = _Shapes()
    whole = WeightIntegrityValidator(expected=shapes.of).validate(place, reference=_folder_of(asked.reference))
    there, keys = signatures.signature_of(place), any(each.keys or each.identities for each in checker.store.values())
    wanted = asked.source is not None or signer is not None or (there is not None and keys)
    whole.notes += [f"{there} was not checked: give --signature, or a trust store with keys"] if there and not wanted else []
    origin = checker.verify(place, asked.source, check_signature=wanted, signer=signer, held=whole.files)
    issues = [*whole.issues, *(each for each in origin.issues if each not in whole.issues)]
    whole.notes += shapes.notes
    whole.unclaimed = [name for name in whole.unclaimed if name not in origin.pinned]
    told = validator.as_json(whole) | {"issues": issues, "clean": not issues}
    return {**told, "provenance": origin.as_json(), "words": _words(place, whole, origin, issues)}


class _Shapes:
    """Exact shapes of model folders; notes: of those where the config's own numbers have to do."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def of(self, folder: Path) -> Expected | None:
        """The shapes of a folder's architecture, or None with a note."""
        from rootstock.bases.expected import expected

        try:
            found = expected(folder)
        except (BaseError, GateRefused) as error:
            self.notes.append(f"shapes compared with the numbers of config.json only: {error.found}")
            return None
        if found is None:
            self.notes.append(f"shapes in {folder} compared with the numbers of config.json only: transformers has no class for it")
        return found


def _folder_of(reference: str | None) -> Path | None:
    """The folder of a reference base: a path, or any base that can be resolved."""
    if reference is None or Path(reference).exists():
        return None if reference is None else Path(reference)
    from rootstock.bases.resolve import resolve

    found = resolve(reference).folder
    if found is None:
        raise UsageError(f"{reference} has random weights", wanted="a base with weights", fix="name a folder or a base")
    return found


def _words(place: Path, whole: validator.Integrity, origin: Provenance, issues: list[str]) -> str:
    tensors = sum(map(len, whole.statistics.values()))
    lines = [f"{place}: {len(whole.files):,} files, tree sha256 {whole.tree}; {tensors:,} tensors read to the last number"]
    confirmed = sorted({by for said in whole.confirmed.values() for by in said})
    lines += [f"digests   {len(whole.confirmed):,} files agree with {', '.join(confirmed[:6])}"] if confirmed else []
    lines += [f"declared  {key}: {value}" for key, value in origin.declared.items() if not key.startswith("digests")]
    lines += [f"proven    {each}" for each in origin.proven]
    if whole.difference is not None:
        lines += [f"changed   {each}" for each in whole.difference.summary()]
        lines += [f"changed   {_change(each)}" for each in whole.difference.changed[:_SHOWN]]
        if (more := len(whole.difference.changed) - _SHOWN) > 0:
            lines.append(f"changed   and {more:,} more; --json has all")
    lines += [f"note      {each}" for each in whole.notes]
    if whole.unclaimed:
        lines.append(f"note      no digest is known of {', '.join(whole.unclaimed)}: a bit that flipped in it can't be found")
    lines += [f"found     {each}" for each in issues]
    verdict = f"{several(len(issues), 'issue')} found" if issues else "none found by these checks"
    proof = "" if origin.proven else "; nothing proves who made it"
    return "\n".join([*lines, f"verdict   {verdict}{proof}"])


def _change(each: difference.Change) -> str:
    rank = "" if each.rank is None else f", rank {each.rank if each.rank <= 64 else 'above 64'}"
    rows = f", {each.changed_rows:,} of {each.shape[0]:,} rows" if len(each.shape) > 1 else ""
    return f"{each.name} ({each.part}): by {each.relative:.2g} of its norm{rows}{rank}"


def refuse(told: dict[str, Any], place: Path) -> None:
    """Raises GateRefused where anything was found."""
    if told["issues"]:
        raise GateRefused(
            f"{place} has {several(len(told['issues']), 'issue')}", fix="read them above; docs/provenance.md says what each means"
        )


def sign(place: Path, key: Path, out: Path | None, *, certificate: Path | None = None) -> dict[str, Any]:
    """Sign a run or a model's folder, and say where the signature lies."""
    return {"signature": str(signatures.sign(place, key, out, certificate=certificate)), "signed": str(place)}
