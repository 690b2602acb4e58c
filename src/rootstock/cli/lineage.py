"""What a model grew from."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def lineage(
    run: Annotated[Path, Argument(help="The folder of a run that has ended.")],
    form: Annotated[str, Option("--format", help="tree, json, cyclonedx (1.6) or spdx (3.0.1).")] = "tree",
    policy: Annotated[Path | None, Option(help="Licences to allow and deny, a YAML file.")] = None,
) -> None:
    """Walk back to corpus and base, each link checked against its bytes. Exit code 0: fits, 3: changed or not permitted, 2: wrong usage."""
    import sys

    from rootstock.verbs import lineage as verb

    text, issues = verb.told(run, form, policy)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    verb.refuse(issues, run)
