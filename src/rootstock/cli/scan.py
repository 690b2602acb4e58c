"""Static checks on files that come from elsewhere."""

from typing import Annotated

from typer import Argument, Option


def scan(
    paths: Annotated[list[str], Argument(help="Files, folders or archives.")],
    form: Annotated[str, Option("--format", help="text, json or sarif.")] = "text",
    policy: Annotated[str, Option(help="strict, standard, permissive, or a file ending in .yaml.")] = "standard",
) -> None:
    """Scan models and the files around them without loading anything. Exit code 0: none found, 3: found, 2: wrong usage."""
    import sys

    from rootstock.verbs import scanning

    text, report = scanning.check(paths, form, policy)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    scanning.refuse(report)


def plainly(words: list[str]) -> dict[str, object] | None:
    """The options of a plain call, for which typer is not needed: its checks of values take longer than a small scan. None: ask typer."""
    given: dict[str, object] = {"paths": []}
    names, rest = {"--format": "form", "--policy": "policy"}, iter(words)
    for word in rest:
        key, equals, value = word.partition("=")
        if not word.startswith("-"):
            given["paths"] = [*given["paths"], word]  # type: ignore[misc]
        elif key not in names or (not equals and (value := next(rest, "")) == ""):
            return None
        else:
            given[names[key]] = value
    return given if given["paths"] else None
