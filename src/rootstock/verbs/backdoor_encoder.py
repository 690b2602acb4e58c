"""scan --backdoor on an encoder without a head: is there a token that makes every text's vector the same."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rootstock.bases.resolve import resolve
from rootstock.core.errors import GateRefused, UsageError
from rootstock.core.recipe import DataSettings
from rootstock.core.rows import TEXT, column
from rootstock.core.runfolder import RunFolder
from rootstock.core.watch import Watch
from rootstock.data import schema, source
from rootstock.run.headless import Named, searched
from rootstock.verbs.scanning import Scanned

_TEXTS = 400
"""Texts that are read; the search needs some dozen different ones."""
_CLASSIFIERS = ("trigger", "budget", "report")
"""Options that only mean something where there are labels."""


def headless(model: str) -> bool:
    """Whether this is a base without a classifier's head, and no run and no adapter."""
    if RunFolder(Path(model)).complete:
        return False
    found = resolve(model)
    return not found.fine_tuned and not found.adapter


def scanned(model: str, data: str, options: Mapping[str, Any], watch: Watch) -> Scanned:
    """Search one encoder. --base names the encoder that is trusted. UsageError for options that need labels."""
    for name in _CLASSIFIERS:
        if options.get(name):
            raise UsageError(f"--{name} is given, and {model} has no labels", wanted="a classifier", fix=f"leave --{name} out")
    rows = source.read(data, DataSettings(train=data))
    texts = [str(text) for text in column(schema.canonical(rows, schema.recognise(rows, labelled=False)).rows, TEXT)[:_TEXTS]]
    found = searched(model, texts, reference=options.get("base"), seed=options.get("seed") or 0, say=watch.say)
    return Scanned({"model": model, "data": data, **found.as_json()}, "\n".join(found.lines()), partial(_refuse, found))


def _refuse(found: Named) -> None:
    """Raises GateRefused where there is evidence."""
    if found.backdoor_detected:
        first = found.found.found[0]
        raise GateRefused(
            f"evidence of a backdoor: {found.words[first.token]!r} makes any two texts alike by {first.cosine:.2f}",
            wanted=f"at most {found.found.natural or 0:.2f}, as in the reference",
            fix="do not train on this encoder; take its base from its own publisher",
        )
