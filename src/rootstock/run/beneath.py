"""Adapters of other runs that a method builds on: held to their contracts before anything is loaded."""

from dataclasses import replace
from pathlib import Path

from rootstock.bases import load as bases
from rootstock.bases.resolve import Resolved, resolve
from rootstock.core.errors import ContractRefused, UsageError
from rootstock.core.method import Method
from rootstock.core.runfolder import RunFolder, read_contract


def check(method: Method, base: Resolved) -> dict[str, str]:
    """Name to digest of each adapter that the method builds on.

    Raises UsageError for a folder that is none, ContractRefused with both digests for one over another base or tokenizer.
    """
    found = {reference: _adapter(reference) for reference in method.builds_on}
    tokenizer = (
        bases.tokenizer_digest(bases.tokenizer(base)) if any(each.contract.get("tokenizer_sha256") for each in found.values()) else ""
    )
    for reference, each in found.items():
        wanted = {"base": base.digest, "tokenizer": tokenizer}
        held = {"base": each.contract["base"]["sha256"], "tokenizer": each.contract["tokenizer_sha256"]}
        for what, digest in held.items():
            if digest != wanted[what]:
                raise ContractRefused(
                    f"{reference} was trained with the {what} {digest}",
                    wanted=f"{wanted[what]}, the {what} of {base.name}",
                    fix="start from the base of these adapters: --base",
                )
    return {reference: each.digest for reference, each in found.items()}


def _adapter(reference: str) -> Resolved:
    if not Path(reference).is_dir():
        raise UsageError(f"method.on names {reference}, and there is no such folder", wanted="the folder of a run", fix="correct the name")
    place = RunFolder(Path(reference)).model  # not merged/, where a run holds both
    found = resolve(str(place) if place.is_dir() else reference)
    if not found.adapter or not found.contract:
        what = "a whole model" if not found.adapter else "an adapter without its contract.json"
        raise UsageError(f"{reference} holds {what}", wanted="a run that left an adapter", fix="name a run with --method lora")
    assert found.folder is not None
    return replace(found, contract=read_contract(found.folder))
