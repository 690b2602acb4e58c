"""What can be learned."""

from typing import Annotated

from typer import Option

_HEADINGS = {True: "for adapt: learned from labels", False: "for pretrain: learned without labels", None: "from other packages"}


def tasks(as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False) -> None:
    """List the tasks by the verb that they are for."""
    from rootstock import catalog
    from rootstock.cli.console import show

    found = {name: catalog.summary("tasks", name) for name in catalog.names("tasks")}
    width = max(map(len, found)) + 4
    lines = []
    for kind, heading in _HEADINGS.items():
        held = [f"{'  ' + name:<{width}}{text}" for name, text in found.items() if catalog.reads_labels(name) is kind]
        lines += [heading, *held] if held else []
    show(found, "\n".join(lines), as_json=as_json)
