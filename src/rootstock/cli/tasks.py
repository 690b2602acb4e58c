"""What can be learned."""

from typing import Annotated

from typer import Option


def tasks(as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False) -> None:
    """List the tasks."""
    from rootstock import catalog
    from rootstock.cli.console import show

    found = {name: catalog.summary("tasks", name) for name in catalog.names("tasks")}
    width = max(map(len, found)) + 2
    show(found, "\n".join(f"{name:<{width}}{text}" for name, text in found.items()), as_json=as_json)
