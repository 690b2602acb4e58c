"""A local page over all runs."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def studio(
    runs: Annotated[Path, Argument(help="The folder that holds your runs, at any depth.")] = Path("runs"),
    port: Annotated[int, Option(help="Where it listens on this machine; 0 takes a free port.")] = 8700,
    no_open: Annotated[bool, Option("--no-open", help="Don't open a browser.")] = False,
) -> None:
    """Show all runs on a local page: live curves, comparisons, reports, scans, lineage, and a playground. Ctrl-C ends it."""
    import webbrowser

    from rootstock.cli.console import Console, show
    from rootstock.verbs import studio as verb

    server = verb.opened(runs, port)
    show(None, server.address, as_json=False)
    Console().say("studio    only this machine reaches it; Ctrl-C ends it")
    server.run(lambda: None if no_open else webbrowser.open(server.address) and None)
