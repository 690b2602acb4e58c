"""Does a model come from whom it is said to come from: signatures and pinned digests prove it, all else only declares it."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rootstock.sentinel.integrity.configured import config
from rootstock.sentinel.provenance import claims, digests, signatures, trust
from rootstock.sentinel.provenance.trust import Identity, Publisher


@dataclass(kw_only=True)
class Provenance:
    """declared: what the files say of themselves. proven: what keys and pinned digests say of the bytes. source: the publisher proven.

    pinned: files whose digest is in the trust store.
    """

    issues: list[str] = field(default_factory=list)
    declared: dict[str, str] = field(default_factory=dict)
    proven: list[str] = field(default_factory=list)
    source: str | None = None
    pinned: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def verified(self) -> bool:
        """Something proves the origin, and nothing speaks against it."""
        return bool(self.proven) and not self.issues

    def as_json(self) -> dict[str, Any]:
        """All of it, with the verdict."""
        return {"verified": self.verified, **asdict(self)}


class ModelProvenanceChecker:
    """Checks with the trust store at `trust`, else the user's own, and the publishers that are known without one."""

    def __init__(self, *, trust_store: str | os.PathLike[str] | None = None) -> None:
        self.store = trust.load(None if trust_store is None else Path(trust_store))

    def verify(
        self,
        model_path: str | os.PathLike[str],
        expected_source: str | None = None,
        *,
        check_signature: bool = True,
        signer: Path | Identity | None = None,
        held: Mapping[str, str] | None = None,
    ) -> Provenance:
        """Compare a model with what is known of its publisher.

        expected_source: a publisher, such as meta-llama, or a hub id. check_signature: ask for one, unless pins prove the weights.
        signer: a key or identity that must have signed, whoever the publisher. held: digests, where they are known already.
        Raises UsageError where the path is missing, or where a signature can't be checked for want of a package.
        """
        place = Path(model_path)
        result = Provenance(files=dict(held) if held is not None else digests.each(place, digests.files(place)))
        _declare(place, result)
        _compare(place, result)
        pinned = self._pins(result)
        if check_signature or signer is not None:
            self._signature(place, expected_source, signer, result, pinned=pinned)
        if expected_source is not None:
            self._source(expected_source, result)
        return result

    def _pins(self, result: Provenance) -> bool:
        """Look every file up in the pinned digests; True where all weights are found at one publisher."""
        weights = {name: digest for name, digest in result.files.items() if name.endswith(".safetensors")}
        for each in self.store.values():
            pins = each.pins()
            found = {name: pins[digest] for name, digest in weights.items() if digest in pins}
            if weights and len(found) == len(weights):
                result.source, result.pinned = each.name, list(found)
                result.proven += [f"{name} has the digest that {each.name} published ({where})" for name, where in found.items()]
                return True
        return False

    def _signature(self, place: Path, source: str | None, signer: Path | Identity | None, result: Provenance, *, pinned: bool) -> None:
        path = signatures.signature_of(place)
        if path is None:
            if signer is not None or not pinned:
                result.issues.append(f"Missing signature: there is no {digests.SIGNATURE} in {place} and no {place.name}.sig beside it")
            return
        tried = [(None, signer)] if signer is not None else self._signers(source)
        if not tried:
            what = f"of {source}" if source else "at all"
            result.issues.append(f"Signature not checked: {path.name} is there, and the trust store has no key or identity {what}")
            return
        said: list[str] = []
        for publisher, by in tried:
            found = signatures.check(place, path, by)
            if isinstance(found, signatures.Signed):
                _signed(found, publisher, by, result)
                if signer is not None and source is not None:  # whoever names the key says that it is the publisher's
                    result.source = source.split("/")[0]
                return
            said.append(found)
        result.issues.append(said[0] if len(set(said)) == 1 else f"Signature mismatch: none of {len(said)} keys: {said[0]}")

    def _signers(self, source: str | None) -> list[tuple[Publisher | None, Path | Identity]]:
        """Keys and identities of the publisher that is meant, or of all."""
        meant = [trust.publisher(source, self.store)] if source else list(self.store.values())
        return [(each, by) for each in meant if each is not None for by in [*each.signers]]

    def _source(self, expected: str, result: Provenance) -> None:
        """What speaks for and against the publisher that is expected."""
        wanted = expected.split("/", maxsplit=1)[0]
        said = result.declared.get("repository")
        compared = (said or "") if "/" in expected else (said or "").split("/")[0]
        if said and compared.lower() != expected.lower():
            result.issues.append(f"Source mismatch: the hub's cache names {said}, expected {expected}")
        if result.source is None:
            known = "" if trust.publisher(wanted, self.store) else f"; the trust store does not know {wanted}"
            result.issues.append(f"Unknown source: nothing proves that these bytes come from {wanted}{known}")
        elif result.source.lower() != wanted.lower():
            result.issues.append(f"Source mismatch: the bytes are those of {result.source}, expected {wanted}")


def _declare(place: Path, result: Provenance) -> None:
    """What the folder says of itself, which anybody can write."""
    values = config(place)
    if isinstance(name := values.get("_name_or_path"), str) and name:
        result.declared["name in config.json"] = name
    if hub := claims.hub(place) if place.is_dir() else None:
        result.declared |= {key: value for key, value in (("repository", hub.repository), ("revision", hub.revision)) if value}


def _compare(place: Path, result: Provenance) -> None:
    compared = claims.compare(place, claims.gather(place), result.files)
    result.issues += compared.issues
    by = sorted({each for said in compared.confirmed.values() for each in said})
    result.declared |= {f"digests in {each}": "agree" for each in by if not any(each in issue for issue in compared.issues)}


def _signed(found: signatures.Signed, publisher: Publisher | None, by: Path | Identity, result: Provenance) -> None:
    whose = publisher.name if publisher else by.identity if isinstance(by, Identity) else str(by)
    if publisher is not None:
        result.source = publisher.name
    result.proven.append(f"signed by {whose}: {len(found.files):,} files")
    uncovered = [name for name in result.files if name not in found.files and not name.startswith(("checkpoints/", "track/"))]
    if uncovered:
        result.issues.append(f"Not signed: {', '.join(uncovered[:8])} lie here and the signature does not cover them")
    changed = [name for name, digest in found.files.items() if result.files.get(name, digest) != digest]
    if changed:
        result.issues.append(f"Signature mismatch: {', '.join(changed)} are others than were signed")
