"""Options that serve and deploy have in common."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

Runs = Annotated[list[str] | None, Argument(help="Run folders, each served under its name; or NAME=FOLDER.")]
Host = Annotated[str, Option(help="Address to listen on; 0.0.0.0: all.")]
TokenFile = Annotated[Path | None, Option(help="Tokens that may ask, one a line: TOKEN, NAME: TOKEN or NAME: sha256:DIGEST.")]
Signed = Annotated[bool, Option("--require-signature", help="Only models that somebody in the trust store signed.")]
Rate = Annotated[int | None, Option(help="Requests a minute for each token (without tokens: each address) [no limit].")]
MaxBody = Annotated[str, Option(help="Largest body.")]
Change = Annotated[list[str] | None, Option("--set", help="How batches are made, such as deadline_ms=5.")]
