"""scan --backdoor: a classifier searched for triggers, told in words and figures, with a page where one is asked for."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rootstock.core import artifact
from rootstock.core.errors import GateRefused, UsageError
from rootstock.core.watch import Watch
from rootstock.report.backdoor import as_text, render
from rootstock.run.backdoor import BackdoorScanner
from rootstock.sentinel.backdoor.result import Result
from rootstock.verbs.scanning import Scanned

TAKES = ("data", "trigger", "base", "budget", "report", "seed")
"""Options that this kind of scan reads."""


def scanned(paths: Sequence[str], options: Mapping[str, Any], watch: Watch) -> Scanned:
    """Scan one run or folder. UsageError before anything is loaded where the command says too little or too much."""
    if len(paths) != 1:
        raise UsageError(f"{len(paths)} models are named", wanted="one run, or the folder of a classifier", fix="scan them one by one")
    data = options.get("data") or []
    if len(data) != 1:
        wanted = "one file of clean labelled rows that the model did not learn from"
        raise UsageError(
            f"{len(data)} files are given with --data", wanted=wanted, fix=f"rootstock scan {paths[0]} --backdoor --data dev.csv"
        )
    page = options.get("report")
    if page is not None and Path(page).is_dir():
        raise UsageError(f"{page} is a folder", wanted="the name of an HTML file", fix="choose another --report")
    scanner = BackdoorScanner(options.get("budget") or "standard", base=options.get("base"), seed=options.get("seed") or 0)
    found = scanner.scan(model=paths[0], test_inputs=data[0], trigger_patterns=options.get("trigger") or [], watch=watch)
    value = {"model": paths[0], "data": data[0], **found.as_json()}
    if page is not None:
        artifact.write_text(Path(page), render(value))
    return Scanned(value, as_text(value), partial(_refuse, found))


def _refuse(found: Result) -> None:
    """Raises GateRefused where there is evidence."""
    if found.backdoor_detected:
        first = found.indicators[0]
        raise GateRefused(
            f"evidence of a backdoor: {first.trigger!r} makes {first.rate:.0%} of texts {first.label!r}",
            wanted=f"at most {first.reference_rate or 0:.0%}, as in clean models of the same base",
            fix="do not use the model; try the examples above in `rootstock predict`, and train again from rows that you know",
        )
