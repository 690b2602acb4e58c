"""Raw text to a corpus: read, pass every step, drop near duplicates, write shards, with a record of every removal.

Memory holds one part (a few thousand documents) and, of all documents, some hundred bytes each: digests and signatures. A killed build goes
on after its last whole part, and the shards are those that it would have written anyway, byte for byte.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import unidata_version

import numpy as np
import pyarrow as pa

from rootstock.core import artifact, aside
from rootstock.core.errors import DataError, Interrupted
from rootstock.core.lock import alone
from rootstock.core.watch import Watch
from rootstock.corpus import card, engine, funnel, near, on_ray, parts, pipeline, place, sources
from rootstock.corpus.engine import Batch, Item
from rootstock.corpus.minhash import Near
from rootstock.corpus.pipeline import CorpusSettings, Stage
from rootstock.corpus.step import ID, LANGUAGE, TEXT, Counting, TextStep

PART_DOCUMENTS = 4000
"""Documents read for a part: what a kill can cost."""
PART_LETTERS = 16_000_000
"""Letters that end a part earlier: what is held in memory of long documents."""
SHARD_BYTES = 128 * 2**20
"""Text of a shard, before compression."""


def build(settings: CorpusSettings, out: Path, watch: Watch, *, overwrite: bool = False) -> dict[str, Any]:
    """Build a corpus into a folder, or go on with the build that lies there; returns the funnel.

    Raises UsageError where the folder holds something else, DataError where nothing is left, Interrupted after a whole part.
    """
    with alone(out), aside.kept(out):
        aside.mend(out, begun=any((out / "parts").glob("part-*")), learned=True)
        stages, facts = _checked(settings, out)
        key = artifact.digest_json([settings.decisive(), [fact.digest for fact in facts], *_beside(stages)])
        if place.finished(out, key, overwrite=overwrite):
            watch.say(f"corpus    {out} was built from this already")
            return read_funnel(out)
        for fact in facts:
            if fact.skipped:
                watch.say(
                    f"skipped   {fact.skipped:,} files of {fact.reference} that are no text, such as {', '.join(fact.skipped_examples)}"
                )
        found = parts.written(out / "parts", key)
        if found:
            watch.say(f"resumed   after {len(found)} part{'s' if len(found) > 1 else ''}")
        steps = engine.Steps.of(stages, near_settings(settings))
        found = _read_all(settings, _Place(out / "parts", key, found), steps, watch)
        _check_unchanged(facts, out / "parts")
        kept, line = _without_near_duplicates(settings, found, watch)
        lines = _masked(funnel.added([part.account["steps"] for part in found]) + ([line] if line else []), stages)
        lines = funnel.asked(lines, {stage.name: stage.step.rules for stage in stages})
        covered = next((stage.step.covers() for stage in stages if isinstance(stage.step, Counting)), {})
        described = [fact.plain() | {"licence": settings.licences.get(fact.reference)} for fact in facts]
        manifest = {"format": 1, "settings": settings.decisive(), "sources": described, "key": key}
        return _write(out, _Result(found, kept, lines, covered), manifest)


def rehearse(settings: CorpusSettings, out: Path) -> dict[str, Any]:
    """What a build would read and do, as JSON, after every check that comes before the first document; writes nothing.

    Raises as build() does, but for what lies in the folder.
    """
    stages, facts = _checked(settings, out)
    read = [
        {"reference": fact.reference, "format": fact.format, "files": len(fact.files), "bytes": sum(file.bytes for file in fact.files)}
        | {"skipped": fact.skipped, "licence": settings.licences.get(fact.reference)}
        for fact in facts
    ]
    steps = [stage.name for stage in stages] + (["near-duplicates"] if near_settings(settings) else [])
    return {"out": str(out), "sources": read, "steps": steps, "settings": settings.plain()}


def _checked(settings: CorpusSettings, out: Path) -> tuple[list[Stage], list[sources.SourceFacts]]:
    """Steps and sources, where nothing speaks against them."""
    if settings.engine == "ray":
        on_ray.needed_here()
    stages = pipeline.stages(settings)
    near_settings(settings)
    place.check_apart(out, [*settings.sources, *(file for stage in stages for file in files(stage))])
    pipeline.rehearse(stages)
    return stages, [sources.describe(reference, settings.text) for reference in settings.sources]


def read_funnel(folder: Path) -> dict[str, Any]:
    """The record of a finished build; UsageError where the folder holds none."""
    return artifact.read_json(folder / "funnel.json", wanted="the folder of a corpus", fix="name the --out of rootstock corpus build")


def files(stage: Stage) -> tuple[str, ...]:
    """The files that a step works with."""
    return tuple(getattr(stage.step, "files", ()))


def _beside(stages: list[Stage]) -> list[Any]:
    """What decides the outcome beside settings and sources: files of the steps, and versions of the libraries that do the work."""
    digests = [artifact.digest_file(Path(file)) for stage in stages for file in files(stage) if Path(file).is_file()]
    return [digests, engine.libraries(), unidata_version]


def _masked(lines: list[funnel.Line], stages: list[Stage]) -> list[funnel.Line]:
    """The record with placeholders in its examples too, where personal data is replaced."""
    step = next((stage.step for stage in stages if stage.name == "personal-data" and isinstance(stage.step, TextStep)), None)
    for shown in (shown for line in lines for shown in line["examples"].values()):
        shown[:] = [each | {"text": step.judge(each["text"]).text if step else each["text"]} for each in shown]
    return lines


def _check_unchanged(facts: list[sources.SourceFacts], read: Path) -> None:
    """Raises DataError, and drops what was read, where a source is another one now: its digest would stand for a corpus of two files."""
    try:
        for fact in facts:
            sources.check_unchanged(fact)
    except DataError:
        shutil.rmtree(read)
        raise


def _batches(settings: CorpusSettings, following: tuple[int, int], stream: Callable[..., Iterator[Item]]) -> Iterator[Batch[Item]]:
    """All records from a position (source, place) on."""
    source, place = following
    for number in range(source, len(settings.sources)):
        held: list[Item] = []
        size = 0
        for record in stream(settings.sources[number], settings.text, start=place if number == source else 0):
            held.append(record)
            size += record.size
            if len(held) >= PART_DOCUMENTS or size >= PART_LETTERS:
                yield Batch(number, held, (number, record.place + 1))
                held, size = [], 0
        if held:
            yield Batch(number, held, (number + 1, 0))


def _passed(settings: CorpusSettings, following: tuple[int, int], steps: engine.Steps) -> Generator[engine.Done, None, None]:
    """Batches from a position on, through all steps, by the engine of the settings."""
    if settings.engine == "ray":
        yield from on_ray.passed(_batches(settings, following, sources.raw), steps)
    else:
        yield from engine.local(_batches(settings, following, sources.records), steps)


def _read_all(settings: CorpusSettings, place: "_Place", steps: engine.Steps, watch: Watch) -> list[parts.Part]:
    """Every part: those that lie there, and the rest."""
    found = list(place.found)
    for part in found:
        steps.load(part.arrays())
    following = tuple(found[-1].account["next"]) if found else (0, 0)
    total = sum(part.account["steps"][0]["documents"] for part in found)
    with closing(_passed(settings, following, steps)) as passed:
        for done in passed:
            found.append(place.write(done, len(found)))
            total += done.records
            watch.event({"event": "corpus", "rows": total, "unit": "documents", "seconds": time.monotonic() - watch.started})
            if watch.stop():
                raise Interrupted(f"interrupted after {total:,} documents", fix="give the same command again to go on")
    return found


@dataclass(frozen=True)
class _Place:
    """Where the parts of a build lie, the build's key, and the parts that an earlier run left."""

    folder: Path
    key: str
    found: list[parts.Part]

    def write(self, done: engine.Done, number: int) -> parts.Part:
        """Put a finished batch on the disk."""
        documents = done.finished.documents
        account = {"key": self.key, "next": list(done.following), "steps": done.finished.lines, "documents": len(documents)}
        return parts.write(self.folder, number, documents, done.finished.arrays, account)


def near_settings(settings: CorpusSettings) -> Near | None:
    """How near duplicates are found, or None where they are left in."""
    if not settings.near_duplicates:
        return None
    given = {"threshold": settings.near_duplicates} | settings.steps.get("near-duplicates", {})
    return Near.build(given, "near-duplicates")


def _without_near_duplicates(settings: CorpusSettings, found: list[parts.Part], watch: Watch) -> tuple[np.ndarray, funnel.Line | None]:
    """Which of all documents stay, [N] of bool, and the step's line of the funnel."""
    chosen, texts = near_settings(settings), _Texts(found)
    if chosen is None or not texts.count:
        return np.ones(texts.count, bool), None
    signed = np.empty((texts.count, chosen.width), np.uint32)  # filled part by part: joining them would hold them twice
    for part, start in zip(found, texts.starts, strict=False):
        signed[start : start + part.account["documents"]] = part.arrays()["signatures"]
    watch.say(f"near      looking for near duplicates among {texts.count:,} documents")
    first = near.merged(near.candidates(signed, chosen), texts.of, chosen, count=texts.count)
    kept = first == np.arange(texts.count)
    line = funnel.line("near-duplicates")
    for part in found:
        funnel.see(line, part.documents().column(TEXT).to_pylist())
    gone = np.flatnonzero(~kept)
    shown = texts.rows(np.concatenate([gone[: funnel.EXAMPLES], first[gone[: funnel.EXAMPLES]]]))
    for number, document in enumerate(gone):
        here, of = shown.get(int(document), ("", "")), shown.get(int(first[document]), ("", ""))
        funnel.drop(line, "near duplicate", here[0], here[1], more=f"of {of[0]}" if number < funnel.EXAMPLES else "")
    return kept, line


class _Texts:
    """Any documents of the parts by their number, with one part in memory at a time."""

    def __init__(self, found: list[parts.Part]) -> None:
        self.found = found
        self.starts = np.concatenate([[0], np.cumsum([part.account["documents"] for part in found])]).astype(np.int64)
        self.count = int(self.starts[-1])

    def rows(self, numbers: np.ndarray) -> dict[int, tuple[str, str]]:
        """Id and text of each number."""
        held: dict[int, tuple[str, str]] = {}
        wanted = np.unique(numbers)
        owner = np.searchsorted(self.starts, wanted, side="right") - 1
        for part in np.unique(owner):
            inside = wanted[owner == part]
            taken = self.found[part].documents().take(inside - self.starts[part])
            texts = zip(taken.column(ID).to_pylist(), taken.column(TEXT).to_pylist(), strict=True)
            held |= dict(zip(inside.tolist(), texts, strict=True))
        return held

    def of(self, numbers: np.ndarray) -> list[str]:
        """Their texts, in the order asked for."""
        held = self.rows(numbers)
        return [held[int(number)][1] for number in numbers]


@dataclass(frozen=True)
class _Result:
    """All parts, which of their documents stay, the funnel's lines, and by evaluation file how many of its rows were met."""

    found: list[parts.Part]
    kept: np.ndarray
    lines: list[funnel.Line]
    covered: dict[str, dict[str, int]]

    def tables(self) -> Iterator[pa.Table]:
        """The documents that stay, part by part."""
        start = 0
        for part in self.found:
            documents = part.documents()
            yield documents.filter(pa.array(self.kept[start : start + len(documents)]))
            start += len(documents)


def _write(out: Path, result: _Result, manifest: dict[str, Any]) -> dict[str, Any]:
    """Shards, funnel, card, and the manifest last; then the parts go."""
    languages: Counter[str] = Counter()
    documents = letters = 0
    for table in result.tables():
        languages.update(table.column(LANGUAGE).to_pylist())
        documents, letters = documents + len(table), letters + sum(map(len, table.column(TEXT).to_pylist()))
    if not documents:
        shutil.rmtree(out / "parts")  # nothing to go on with: other sources may be tried in the same place
        with suppress(OSError):  # something else lies there
            out.rmdir()
        raise DataError("no document is left of these sources", wanted="at least one", fix=_most_dropped(result.lines))
    names = parts.shards(result.tables(), out, size=SHARD_BYTES)
    kept = {"documents": documents, "characters": letters, "shards": len(names), "languages": dict(languages.most_common())}
    skipped = {source["reference"]: source["skipped"] for source in manifest["sources"] if source["skipped"]}
    record = {"skipped": skipped, "steps": funnel.with_shares(result.lines), "kept": kept, "covered": result.covered}
    artifact.write_json(out / "funnel.json", record)
    artifact.write_text(out / "README.md", card.render(record, manifest))
    files = {name: artifact.digest_file(out / name) for name in (*names, "funnel.json", "README.md")}
    artifact.write_json(out / "manifest.json", manifest | {"files": files})
    shutil.rmtree(out / "parts")
    return record


def _most_dropped(lines: list[funnel.Line]) -> str:
    """Which rule took most, as what to look at."""
    counts = [(count, f"{line['name']}: {rule}") for line in lines for rule, count in line["dropped"].items()]
    if not counts:
        return "name other sources"
    most, rule = max(counts)
    mend = "name sources that hold text" if rule.startswith("read: ") else "change that step with --set"
    return f"most went by {rule!r} ({most:,}); {mend}"
