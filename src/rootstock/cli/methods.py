"""Which parameters can learn."""

from typing import Annotated

from typer import Option


def methods(as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False) -> None:
    """List the methods."""
    from rootstock import catalog
    from rootstock.cli.console import show

    found = {name: catalog.summary("methods", name) for name in catalog.names("methods")}
    found["auto"] = "Pick one of these by rows, time and memory, and say why."
    show(found, "\n".join(f"{name:<22}{text}" for name, text in found.items()), as_json=as_json)
