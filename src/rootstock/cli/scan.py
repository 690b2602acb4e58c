"""Checks on files that come from elsewhere, and on what models do."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def scan(
    paths: Annotated[list[str] | None, Argument(help="Files, folders or archives; labelled rows, or a run.", show_default=False)] = None,
    form: Annotated[str, Option("--format", help="text, json or sarif.")] = "text",
    policy: Annotated[str, Option(help="strict, standard, permissive, or a file ending in .yaml.")] = "standard",
    poisoning: Annotated[bool, Option("--poisoning", help="Which rows of a training file look planted.")] = False,
    memorisation: Annotated[bool, Option("--memorisation", help="What a run remembers of single training rows.")] = False,
    base: Annotated[str | None, Option(help="With --poisoning: whose vectors tell what texts mean [minilm].")] = None,
    text: Annotated[str | None, Option(help="With --poisoning: column of the text.")] = None,
    label: Annotated[str | None, Option(help="With --poisoning: column of the label.")] = None,
    out: Annotated[Path | None, Option(help="With --poisoning: a CSV file of the suspects, for adapt --exclude.")] = None,
    data: Annotated[list[str] | None, Option(help="Rows of your own, that no training saw; repeatable.")] = None,
    canaries: Annotated[Path | None, Option(help="With --memorisation: a CSV file with text and planted [the run's own].")] = None,
    change: Annotated[list[str] | None, Option("--set", help="With --poisoning: any key of the recipe: section.key=value.")] = None,
    report: Annotated[Path | None, Option(help="Write a page with charts.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Scan models and the files around them without loading anything. Exit code 0: none found, 3: found, 2: wrong usage."""
    from rootstock.cli import _scan
    from rootstock.cli.console import assignments

    chosen = [name for name, asked in (("poisoning", poisoning), ("memorisation", memorisation)) if asked]
    options: dict[str, object] = {
        "set": assignments(change) if change else None,
        "data": data,
        "report": report,
        "base": base,
        "text": text,
        "label": label,
        "out": out,
        "canaries": canaries,
    }
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
