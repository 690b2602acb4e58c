"""Checks on files that come from elsewhere, and on what models do."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def scan(
    paths: Annotated[list[str] | None, Argument(help="Files, folders or archives; with --bias a run or a language model.")] = None,
    form: Annotated[str, Option("--format", help="text, json or sarif.")] = "text",
    policy: Annotated[str, Option(help="strict, standard, permissive, or a file ending in .yaml.")] = "standard",
    bias: Annotated[bool, Option("--bias", help="What answers do when a group in the text is exchanged.")] = False,
    advisories: Annotated[bool, Option("--advisories", help="Known holes of installed packages, and of bases where named.")] = False,
    data: Annotated[list[str] | None, Option(help="Rows of your own; of language models a published set; repeatable.")] = None,
    terms: Annotated[list[str] | None, Option(help="With --bias: a list by name, or a .yaml file of yours; repeatable.")] = None,
    limit: Annotated[float | None, Option(help="With --bias: refuse (exit code 3) where a larger gap is shown.")] = None,
    database: Annotated[list[Path] | None, Option(help="With --advisories: OSV file, folder or zip [asks osv.dev]; repeatable.")] = None,
    report: Annotated[Path | None, Option(help="Write a page with charts.")] = None,
    seed: Annotated[int | None, Option(help="Draws rows and resamples [0].")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Scan models and the files around them without loading anything. Exit code 0: none found, 3: found, 2: wrong usage."""
    from rootstock.cli import _scan

    chosen = [name for name, asked in (("bias", bias), ("advisories", advisories)) if asked]
    options = {"data": data, "terms": terms, "limit": limit, "database": database, "report": report, "seed": seed}
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
