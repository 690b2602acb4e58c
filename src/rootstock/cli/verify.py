"""Where a model came from, and whether it is whole."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def verify(
    model: Annotated[Path, Argument(help="A run, a model's folder, or a safetensors file.")],
    source: Annotated[str | None, Option(help="The publisher that it should come from, such as meta-llama.")] = None,
    signature: Annotated[Path | None, Option(help="The public key, or the root certificate, by which it must be signed (PEM).")] = None,
    identity: Annotated[str | None, Option(help="The sigstore identity that must have signed it; asks the network.")] = None,
    issuer: Annotated[str | None, Option(help="The issuer of the identity.")] = None,
    trust: Annotated[Path | None, Option(help="Trust store, in place of your own.")] = None,
    reference: Annotated[str | None, Option(help="A base or folder to compare with, tensor by tensor.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON, with statistics of every tensor.")] = False,
) -> None:
    """Check digests, shapes, numbers and origin of a model. Exit code 0: none found, 3: found, 2: wrong usage."""
    from rootstock.cli.console import show
    from rootstock.verbs import verifying

    asked = verifying.Asked(source=source, key=signature, identity=identity, issuer=issuer, trust=trust, reference=reference)
    told = verifying.verify(model, asked)
    words = told.pop("words")
    show(told, words, as_json=as_json)
    verifying.refuse(told, model)
