"""scan --backdoor: a classifier, a tagger or a model that writes, searched for triggers; told in words and figures, or on a page."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rootstock.core import artifact
from rootstock.core.errors import GateRefused, UsageError
from rootstock.core.recipe import DataSettings
from rootstock.core.rows import TEXT, column
from rootstock.core.runfolder import RunFolder
from rootstock.core.watch import Watch
from rootstock.data import schema, source
from rootstock.report.backdoor import as_text, render
from rootstock.run import headless
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
    if _headless(paths[0]):
        return _encoder(paths[0], data[0], options, watch)
    scanner = BackdoorScanner(options.get("budget") or "standard", base=options.get("base"), seed=options.get("seed") or 0)
    found = scanner.scan(model=paths[0], test_inputs=data[0], trigger_patterns=options.get("trigger") or [], watch=watch)
    value = {"model": paths[0], "data": data[0], **found.as_json()}
    if page is not None:
        artifact.write_text(Path(page), render(value))
    return Scanned(value, as_text(value), partial(_refuse, found))


def _headless(place: str) -> bool:
    """Whether this is an encoder without a classifier: no run, and no checkpoint of one."""
    return not RunFolder(Path(place)).complete and headless.bare(place)


def _encoder(place: str, data: str, options: Mapping[str, Any], watch: Watch) -> Scanned:
    """Task-agnostic backdoors: a token that makes every text's vector the same."""
    for name in ("trigger", "report", "budget"):
        if options.get(name) is not None:
            fix = f"leave --{name} out, or name a classifier"
            raise UsageError(f"--{name} is given, and {place} is an encoder without a classifier", fix=fix)
    read = source.read(data, DataSettings(train=data))
    texts = list(dict.fromkeys(column(schema.canonical(read, schema.recognise(read, labelled=False)).rows, TEXT)))
    found = headless.searched(place, texts, reference=options.get("base"), seed=options.get("seed") or 0, say=watch.say)

    def refuse() -> None:
        if found.backdoor_detected:
            raise GateRefused(
                f"evidence of a backdoor in the encoder {place}", fix="do not fine-tune it; fetch the encoder from its publisher"
            )

    return Scanned({"model": place, "data": data, **found.as_json()}, "\n".join(found.lines()), refuse)


def _refuse(found: Result) -> None:
    """Raises GateRefused where there is evidence."""
    if found.backdoor_detected:
        first = found.indicators[0]
        raise GateRefused(
            f"evidence of a backdoor: {first.trigger!r} makes {first.rate:.0%} of {found.unit} {first.label!r}",
            wanted=f"at most {first.reference_rate or 0:.0%}, as in clean models of the same base",
            fix="do not use the model; try the examples above in `rootstock predict`, and train again from rows that you know",
        )
