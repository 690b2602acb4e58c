"""Checks on files that come from elsewhere, and on what models do."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def scan(
    paths: Annotated[list[str] | None, Argument(help="Files, folders, archives, hub ids; rows; a run.", show_default=False)] = None,
    form: Annotated[str, Option("--format", help="text, json or sarif.")] = "text",
    policy: Annotated[str, Option(help="strict, standard, permissive, or a file ending in .yaml.")] = "standard",
    backdoor: Annotated[bool, Option("--backdoor", help="Search a classifier, tagger or writing model for triggers.")] = False,
    poisoning: Annotated[bool, Option("--poisoning", help="Which rows of a training file look planted.")] = False,
    bias: Annotated[bool, Option("--bias", help="What answers do when a group in the text is exchanged.")] = False,
    memorisation: Annotated[bool, Option("--memorisation", help="What a run remembers of single training rows.")] = False,
    advisories: Annotated[bool, Option("--advisories", help="Known holes of installed packages, and of bases where named.")] = False,
    data: Annotated[list[str] | None, Option(help="Rows of your own, that no training saw; published sets; repeatable.")] = None,
    trigger: Annotated[list[str] | None, Option(help="With --backdoor: words that may be a trigger; repeatable.")] = None,
    budget: Annotated[str | None, Option(help="With --backdoor: named (triggers alone), fast, standard or deep [standard].")] = None,
    base: Annotated[str | None, Option(help="What a run grew from [as it says]; whose vectors say what rows mean [minilm].")] = None,
    text: Annotated[str | None, Option(help="With --poisoning: column of the text.")] = None,
    label: Annotated[str | None, Option(help="With --poisoning: column of the label.")] = None,
    out: Annotated[Path | None, Option(help="With --poisoning: a CSV file of the suspects, for adapt --exclude.")] = None,
    canaries: Annotated[Path | None, Option(help="With --memorisation: a CSV file with text and planted [the run's own].")] = None,
    terms: Annotated[list[str] | None, Option(help="With --bias: a list by name, or a .yaml file of yours; repeatable.")] = None,
    limit: Annotated[float | None, Option(help="With --bias: refuse (exit code 3) where a larger gap is shown.")] = None,
    database: Annotated[list[Path] | None, Option(help="With --advisories: OSV file, folder or zip [asks osv.dev]; repeatable.")] = None,
    change: Annotated[list[str] | None, Option("--set", help="With --poisoning: any key of the recipe: section.key=value.")] = None,
    report: Annotated[Path | None, Option(help="Write a page with charts.")] = None,
    seed: Annotated[int | None, Option(help="Draws rows, places and resamples [0].")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Scan models and the files around them without loading anything. Exit code 0: no evidence, 3: found, 2: wrong usage."""
    from rootstock.cli import _scan
    from rootstock.cli.console import assignments

    kinds = {"backdoor": backdoor, "poisoning": poisoning, "bias": bias, "memorisation": memorisation, "advisories": advisories}
    options = {
        "data": data, "trigger": trigger, "budget": budget, "base": base, "text": text, "label": label, "out": out,
        "canaries": canaries, "terms": terms, "limit": limit, "database": database, "report": report, "seed": seed,
        "set": assignments(change) if change else None,
    }  # fmt: skip
    _scan.carry_out([name for name, asked in kinds.items() if asked], paths or [], options, form="json" if as_json else form, policy=policy)


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
