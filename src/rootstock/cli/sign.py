"""Signatures over runs and models."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def sign(
    run: Annotated[Path, Argument(help="A run, or a model's folder.")],
    key: Annotated[Path, Option(help="Private key in PEM; ROOTSTOCK_KEY_PASSWORD holds the password of an encrypted one.")],
    certificate: Annotated[Path | None, Option(help="Certificate of the key in PEM, behind it those that lead to a root.")] = None,
    out: Annotated[Path | None, Option(help="Where the signature goes; by default model.sig in the folder.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Sign all files of a folder by OpenSSF Model Signing, offline."""
    from rootstock.cli.console import show
    from rootstock.verbs import verifying

    told = verifying.sign(run, key, out, certificate=certificate)
    show(told, f"signed {run}: {told['signature']}", as_json=as_json)
