"""Checks on files that come from elsewhere, and on what models do."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def scan(
    paths: Annotated[list[str] | None, Argument(help="Files, folders or archives; a run.", show_default=False)] = None,
    form: Annotated[str, Option("--format", help="text, json or sarif.")] = "text",
    policy: Annotated[str, Option(help="strict, standard, permissive, or a file ending in .yaml.")] = "standard",
    backdoor: Annotated[bool, Option("--backdoor", help="Search a classifier for triggers of a backdoor.")] = False,
    data: Annotated[list[str] | None, Option(help="Rows of your own, that no training saw; repeatable.")] = None,
    trigger: Annotated[list[str] | None, Option(help="With --backdoor: words that may be a trigger; repeatable.")] = None,
    base: Annotated[str | None, Option(help="With --backdoor: what it was trained from [what the run says].")] = None,
    budget: Annotated[str | None, Option(help="With --backdoor: fast, standard or deep [standard].")] = None,
    seed: Annotated[int | None, Option(help="Draws rows and places [0].")] = None,
    report: Annotated[Path | None, Option(help="Write a page with charts.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Scan models and the files around them without loading anything. Exit code 0: none found, 3: found, 2: wrong usage."""
    from rootstock.cli import _scan

    chosen = [name for name, asked in (("backdoor", backdoor),) if asked]
    options = {"data": data, "trigger": trigger, "base": base, "budget": budget, "seed": seed, "report": report}
    _scan.carry_out(chosen, paths or [], options, form="json" if as_json else form, policy=policy)


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
