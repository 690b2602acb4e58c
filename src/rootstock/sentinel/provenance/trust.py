"""Whom a user trusts, in one readable file: publishers with their keys, sigstore identities and pinned digests."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from rootstock.core.errors import UnknownName, UsageError

PLACE = "ROOTSTOCK_TRUST"
_KEYS = {"keys", "identities", "digests"}
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Identity:
    """Somebody whom an issuer of sigstore knows."""

    identity: str
    issuer: str


@dataclass(frozen=True)
class Publisher:
    """keys: files of public keys, or of root certificates. digests: model to file name to sha256."""

    name: str
    keys: tuple[Path, ...] = ()
    identities: tuple[Identity, ...] = ()
    digests: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def signers(self) -> tuple[Path | Identity, ...]:
        """Keys and identities, of which any may sign."""
        return (*self.keys, *self.identities)

    def pins(self) -> dict[str, str]:
        """sha256 to model and file, of all that is pinned."""
        return {digest: f"{model}: {name}" for model, held in self.digests.items() for name, digest in held.items()}


def default_place() -> Path:
    """The user's own store: what ROOTSTOCK_TRUST names, else trust.yaml in the user's configuration."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    return Path(os.environ.get(PLACE) or home / "rootstock" / "trust.yaml").expanduser()


def load(path: Path | None = None) -> dict[str, Publisher]:
    """Publishers by name: the shipped ones, then the user's own. Raises UsageError for a named file that is missing, or a wrong one."""
    shipped = yaml.safe_load(files("rootstock.sentinel").joinpath("known/trust.yaml").read_text("utf-8"))
    found = _publishers(shipped, Path("known/trust.yaml"))
    own = path or default_place()
    if own.is_file():
        found |= _publishers(_read(own), own)
    elif path is not None or os.environ.get(PLACE):
        raise UsageError(f"there is no trust store {own}", wanted="a YAML file with publishers", fix="see docs/provenance.md")
    return found


def publisher(name: str, store: Mapping[str, Publisher]) -> Publisher | None:
    """A publisher by its name, or by the name before the slash of a hub id; None where the store has none."""
    wanted = name.split("/", maxsplit=1)[0].lower()
    return next((each for key, each in store.items() if key.lower() == wanted), None)


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"the trust store {path} can't be read: {' '.join(str(error).split())}", wanted="YAML in UTF-8") from None


def _publishers(held: Any, path: Path) -> dict[str, Publisher]:
    named = held.get("publishers") if isinstance(held, dict) else None
    if not isinstance(named, dict) or set(held) != {"publishers"}:
        raise UsageError(f"the trust store {path} has no publishers", wanted="one key, publishers: a mapping of names")
    return {str(name): _publisher(str(name), values or {}, path) for name, values in named.items()}


def _publisher(name: str, values: Any, path: Path) -> Publisher:
    if not isinstance(values, dict):
        raise _wrong(path, name, "is no mapping", "keys, identities and digests")
    if strange := sorted(set(map(str, values)) - _KEYS):
        raise UnknownName(f"key of the publisher {name} in {path}", strange[0], _KEYS)
    keys = values.get("keys") or []
    identities = values.get("identities") or []
    if not isinstance(keys, list) or not all(isinstance(each, str) for each in keys):
        raise _wrong(path, name, "has keys that are no list of files", "files of public keys, relative to the store")
    if not isinstance(identities, list) or not all(isinstance(each, dict) and set(each) == {"identity", "issuer"} for each in identities):
        raise _wrong(path, name, "has identities that are no list", "entries with identity and issuer")
    places = tuple(path.parent / Path(each).expanduser() for each in keys)
    return Publisher(name, places, tuple(Identity(**each) for each in identities), _digests(values.get("digests") or {}, name, path))


def _digests(held: Any, name: str, path: Path) -> dict[str, dict[str, str]]:
    fine = isinstance(held, dict) and all(
        isinstance(files, dict) and all(_SHA256.fullmatch(str(digest)) for digest in files.values()) for files in held.values()
    )
    if not fine:
        raise _wrong(path, name, "has digests of another form", "model: {file: 64 hexadecimal digits}")
    return {str(model): {str(file): str(digest) for file, digest in files.items()} for model, files in held.items()}


def _wrong(path: Path, name: str, what: str, wanted: str) -> UsageError:
    return UsageError(f"the trust store {path}: the publisher {name} {what}", wanted=wanted, fix="see docs/provenance.md")
