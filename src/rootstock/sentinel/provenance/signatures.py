"""Signatures by OpenSSF Model Signing, made and checked through the package model-signing.

A key or a certificate signs and is checked without a network; an identity of sigstore asks its transparency log.
"""

import base64
import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rootstock.core.artifact import whole_file
from rootstock.core.errors import UsageError
from rootstock.core.modules import needed
from rootstock.sentinel.provenance.digests import SIGNATURE
from rootstock.sentinel.provenance.trust import Identity
from rootstock.sentinel.scanner import SLIPS

_LEFT_OUT = ("checkpoints", "track", ".cache", SIGNATURE)
"""What a run may lose or gain after its end."""
_EXTRA = "security"
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
TRUST_CONFIG = "ROOTSTOCK_SIGSTORE_TRUST"
"""Names a file in place of sigstore's own root of trust, which is asked for over the network."""


@dataclass(frozen=True)
class Signed:
    """A signature that holds: files by name, with the digest that was signed."""

    files: Mapping[str, str]


def signature_of(folder: Path) -> Path | None:
    """The signature within a folder, or beside a folder or file under its name with .sig."""
    beside = folder.absolute()
    tried = (folder / SIGNATURE, beside.with_name(f"{beside.name}.sig"))
    return next((path for path in tried if path.is_file()), None)


def sign(folder: Path, key: Path, out: Path | None = None, *, certificate: Path | None = None) -> Path:
    """Sign every file of a folder with a private key in PEM (curves P-256, P-384, P-521); returns the place of the signature.

    certificate: of this key, and behind it in the same file those that lead to a root; whoever checks needs the root alone. The password of
    an encrypted key is read from ROOTSTOCK_KEY_PASSWORD. Raises UsageError for a key, a certificate or a folder that won't do.
    """
    _present(key, "private key")
    if certificate is not None:
        _present(certificate, "certificate")
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", wanted="a run, or a model's folder", fix="check the path")
    signing, hashing = needed("model_signing.signing", "a signature", extra=_EXTRA), needed("model_signing.hashing", "it", extra=_EXTRA)
    target = out or folder / SIGNATURE
    here, there = folder.absolute(), target.absolute()
    left_out = [Path(name) for name in _LEFT_OUT] + ([there.relative_to(here)] if there.is_relative_to(here) else [])  # names within it
    how = hashing.Config().set_ignored_paths(paths=left_out, ignore_git_paths=True)
    try:
        signer = _signer(signing, key, certificate)
        with whole_file(target) as beside:
            signer.set_hashing_config(how).sign(folder, beside)
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{folder} can't be signed with {key}: {'it is no key of an elliptic curve' if isinstance(error, AttributeError) else error}",
            wanted="a private key in PEM on P-256, P-384 or P-521, and a folder without links",
            fix="make a key: openssl ecparam -name prime256v1 -genkey -noout -out key.pem",
        ) from error
    return target


def _signer(signing: Any, key: Path, certificate: Path | None) -> Any:
    password = os.environ.get("ROOTSTOCK_KEY_PASSWORD") or None
    if certificate is None:
        return signing.Config().use_elliptic_key_signer(private_key=key, password=password)
    if password is not None:
        raise ValueError("with a certificate the key must not be encrypted: the package that signs takes no password for it")
    return signing.Config().use_certificate_signer(private_key=key, signing_certificate=certificate, certificate_chain=[certificate])


def check(folder: Path, signature: Path, by: Path | Identity) -> Signed | str:
    """The files that are signed, where the signature holds for them and for all others that are here; else what is wrong.

    by: a public key or the certificates of roots in PEM, or an identity of sigstore. Raises UsageError where the extra is missing or the
    key can't be read.
    """
    verifying = needed("model_signing.verifying", "the check of a signature", extra=_EXTRA)
    config = _verifier(verifying, by)
    bad: type[Exception] = needed("cryptography.exceptions", "the check of a signature", extra=_EXTRA).InvalidSignature
    untrusted: type[Exception] = needed("OpenSSL.crypto", "the check of a signature", extra=_EXTRA).X509StoreContextError
    errors: tuple[type[Exception], ...] = (bad, untrusted, OSError, *SLIPS, *_of_sigstore(by))
    try:
        with contextlib.redirect_stdout(None):  # the package prints a remark about old formats
            config.verify(folder, signature)
        return Signed(_files(signature))
    except errors as error:
        said = " ".join(str(error).split())
        told = said.removeprefix("Signature mismatch: ")
        return f"Signature mismatch: {told or 'it was not made by this key for these files'}"


def _verifier(verifying: Any, by: Path | Identity) -> Any:
    if isinstance(by, Identity):
        return _identity(verifying, by)
    _present(by, "public key")
    certified = _CERTIFICATE in by.read_bytes()
    try:
        if certified:
            return verifying.Config().use_certificate_verifier(certificate_chain=[by])
        return verifying.Config().use_elliptic_key_verifier(public_key=by)
    except (ValueError, TypeError, AttributeError) as error:
        what = "certificate" if certified else "public key"
        said = "it is of no elliptic curve" if isinstance(error, AttributeError) else error
        raise UsageError(f"{by} is no {what} that can be used: {said}", wanted="PEM, on P-256, P-384 or P-521") from error


def _identity(verifying: Any, by: Identity) -> Any:
    """What checks an identity: with the root of trust that ROOTSTOCK_SIGSTORE_TRUST names, else with sigstore's own, which is fetched."""
    named = os.environ.get(TRUST_CONFIG)
    config = Path(named).expanduser() if named else None
    fix = f"name a file with sigstore's trust configuration in {TRUST_CONFIG}, or check by a key: --signature key.pub"
    try:
        return verifying.Config().use_sigstore_verifier(identity=by.identity, oidc_issuer=by.issuer, trust_config=config)
    except _of_sigstore(by) as error:
        why = f"sigstore's root of trust can't be had: {' '.join(str(error).split())}"
        raise UsageError(f"the identity {by.identity} can't be checked: {why}", wanted="a network", fix=fix) from error
    except (OSError, ValueError) as error:
        wanted = "a ClientTrustConfig in JSON"
        raise UsageError(f"{config} is no trust configuration: {' '.join(str(error).split())[:200]}", wanted=wanted, fix=fix) from error


def _of_sigstore(by: Path | Identity) -> tuple[type[Exception], ...]:
    return (needed("sigstore.errors", "an identity", extra=_EXTRA).Error,) if isinstance(by, Identity) else ()


def _files(signature: Path) -> dict[str, str]:
    """Names and digests in the statement of a signature that was found to hold."""
    held = json.loads(signature.read_text("utf-8"))
    statement = json.loads(base64.b64decode(held["dsseEnvelope"]["payload"]))
    return {each["name"]: each["digest"] for each in statement["predicate"]["resources"]}


def _present(path: Path, what: str) -> None:
    if not path.is_file():
        raise UsageError(f"there is no {what} {path}", wanted="a file in PEM", fix="check the path")
