"""Whether test rows stand in what the bases learn from: looked for as `corpus build --decontaminate` does, by their n-grams of words."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import pyarrow as pa

from rootstock.core.errors import DataError, LedgerRefused
from rootstock.corpus.labelled import labelled
from rootstock.corpus.step import TEXT
from rootstock.corpus.steps.decontamination import Decontamination

LIMIT = 0.01
"""Largest share of a file's test rows that may stand in the corpus."""
_AT_ONCE = 256


def met(tests: Mapping[str, tuple[Path, int]], corpora: Iterable[str], text: str | None) -> dict[str, dict[str, int]]:
    """By downstream file: its test rows met in the corpora, of how many, and how many were long enough to be looked for.

    tests: file and number of rows. text: the corpora's field or column.
    """
    steps = {name: Decontamination(files=(str(path),)) for name, (path, _) in tests.items()}
    searched = {name: step for name, step in steps.items() if _has_words(step)}
    for texts in _batches(each for corpus in corpora for _, each in labelled(corpus, text)) if searched else ():
        for step in searched.values():
            step.apply(texts)
    counts = {name: next(iter(step.covers().values())) for name, step in searched.items()}
    found = {name: counts.get(name, {"found": 0, "checked": 0}) for name in tests}
    return {name: {"contaminated": each["found"], "of": tests[name][1], "checked": each["checked"]} for name, each in found.items()}


def refuse(found: Mapping[str, Mapping[str, int]], files: Mapping[str, str], accept: Collection[str]) -> None:
    """Raise LedgerRefused where more test rows stand in the corpus than may, unless `overlap` is accepted. files: as they were named."""
    over = {name: each for name, each in found.items() if each["contaminated"] > LIMIT * each["of"]}
    if not over or "overlap" in accept:
        return
    lines = (f"\n  {name}: {told(each)} ({each['contaminated'] / each['of']:.1%}, limit {LIMIT:.0%})" for name, each in over.items())
    build = "rootstock corpus build SOURCES --out FOLDER" + "".join(f" --decontaminate {files[name]}" for name in over)
    raise LedgerRefused(
        "the bases would learn from rows that they are measured on:" + "".join(lines),
        wanted="test rows that no pre-training sees",
        fix=f"{build}, and compare on that folder; or go on knowingly with --accept overlap",
    )


def told(found: Mapping[str, int]) -> str:
    """One file's overlap in words."""
    return f"{found['contaminated']:,} of {found['of']:,} test rows stand in the corpus"


def _has_words(step: Decontamination) -> bool:
    """Whether some text is long enough to be looked for."""
    try:
        step.covers()
    except DataError:
        return False
    return True


def _batches(texts: Iterable[str]) -> Iterator[pa.Table]:
    texts = iter(texts)
    while found := list(islice(texts, _AT_ONCE)):
        yield pa.table({TEXT: pa.array(found, pa.large_string())})
