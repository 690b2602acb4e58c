"""Which steps a build takes, in which order, and one batch's way through them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from rootstock.core.errors import UnknownName, UsageError
from rootstock.core.modules import only_class
from rootstock.core.settings import Settings
from rootstock.corpus import funnel
from rootstock.corpus.step import ID, LANGUAGE, SCHEMA, SOURCE, TEXT, Counting, Remembering, Step

WEB = re.compile(r"\.(x?html?|warc)(\.(gz|bz2|xz|zstd?))?(:\d+( .*)?)?$", re.IGNORECASE)
"""How the id of what was a web page ends: the quality rules of web corpora are made for it."""
ORDER = (
    "repair",
    "language",
    "c4",
    "gopher",
    "fineweb",
    "exact-duplicates",
    "block-list",
    "decontamination",
    "personal-data",
)
"""Texts are made comparable first; copies go after the rules that look at where a text came from, or none of them might stay; placeholders
are put in last, so that no rule counts them and quoted evaluation text is still found; near duplicates need all documents."""
_QUALITY = ("c4", "gopher", "fineweb")


class CorpusSettings(Settings):
    """What a build reads and which steps it takes."""

    sources: tuple[str, ...]
    """Files, folders, hf:NAME or stdlib-docs, in the order in which of two equal texts the first is kept."""
    text: str | None = None
    """Field or column of the text in tables. None: found by name."""
    languages: tuple[str, ...] = ()
    """ISO 639-1 codes of the languages to keep. Empty: all, each document with its language noted."""
    quality: Literal["auto", "web", "none"] = "auto"
    """The rules of Gopher, C4 and FineWeb. auto: for what was a web page, as notes and books are seldom like one; web: for all."""
    personal_data: Literal["replace", "keep"] = "replace"
    """E-mail addresses, telephone, card and national-id numbers and the like become placeholders."""
    block_list: str | None = None
    """A file of words and phrases, one a line; documents that hold one are dropped."""
    decontaminate: tuple[str, ...] = ()
    """Evaluation files; documents that share text with a row of them are dropped."""
    near_duplicates: float = Field(default=0.8, ge=0, le=1)
    """Jaccard similarity of word n-grams from which two documents count as the same; 0 leaves the step out. 0.8 is what the field uses."""
    licences: dict[str, str] = Field(default_factory=dict)
    """Licence of each source, for the manifest."""
    steps: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Settings of single steps by name, such as {gopher: {least_words: 20}}."""
    engine: Literal["local", "ray"] = "local"
    """Where the steps run: in this process, or as tasks of Ray, on its cluster or on every core here. The corpus is the same."""

    def decisive(self) -> dict[str, Any]:
        """The settings that decide what a corpus holds, as JSON values: all but the engine, so that each goes on with the other's build."""
        return {key: value for key, value in self.plain().items() if key != "engine"}


@dataclass(frozen=True)
class Stage:
    """A step under its name. web: only documents that were web pages pass through it."""

    name: str
    step: Step
    web: bool = False


def stages(settings: CorpusSettings) -> list[Stage]:
    """The steps in their order. UnknownName for settings of a step that does not exist."""
    for name in settings.steps:
        if name not in (*ORDER, "near-duplicates"):
            raise UnknownName("step", name, [*ORDER, "near-duplicates"])
    given: dict[str, dict[str, Any]] = {"language": {"keep": settings.languages}}
    left_out = set(_QUALITY) if settings.quality == "none" else set()
    left_out |= set() if settings.personal_data == "replace" else {"personal-data"}
    for name, files in (("block-list", settings.block_list), ("decontamination", settings.decontaminate)):
        if files:
            given[name] = {"files": (files,) if isinstance(files, str) else files}
        else:
            left_out.add(name)
    unused = sorted(set(settings.steps) & (left_out | (set() if settings.near_duplicates else {"near-duplicates"})))
    if unused:
        raise UsageError(f"steps.{unused[0]} is set, but this build takes no such step", wanted="settings of steps that are taken")
    if strangers := sorted(set(settings.licences) - set(settings.sources)):
        raise UnknownName("source", strangers[0], settings.sources)
    made = {name: find(name).build(given.get(name, {}) | settings.steps.get(name, {}), name) for name in ORDER if name not in left_out}
    return [Stage(name, step, web=settings.quality == "auto" and name in _QUALITY) for name, step in made.items()]


def rehearse(chosen: Sequence[Stage]) -> None:
    """One text through every step that keeps nothing of it, so that a missing package or file is met before anything is read."""
    one = table({ID: ["rehearsal"], TEXT: ["A first text."], LANGUAGE: [""], SOURCE: [0]})
    for stage in chosen:
        if not isinstance(stage.step, Remembering):
            stage.step.apply(one)
        if isinstance(stage.step, Counting):
            stage.step.covers()


def find(name: str) -> Any:
    """The one step that a file of steps/ holds."""
    return only_class(f"rootstock.corpus.steps.{name.replace('-', '_')}", Step)


def through(documents: pa.Table, chosen: Sequence[Stage]) -> tuple[pa.Table, list[funnel.Line]]:
    """The documents that pass every step, and a line of the funnel for each."""
    lines = []
    for stage in chosen:
        documents, line = _pass(documents, stage)
        lines.append(line)
    return documents, lines


def _pass(documents: pa.Table, stage: Stage) -> tuple[pa.Table, funnel.Line]:
    line = funnel.line(stage.name)
    columns: Mapping[str, list[Any]] = documents.to_pydict()
    subject = [i for i, identity in enumerate(columns[ID]) if not stage.web or was_web_page(identity)]
    before = [columns[TEXT][i] for i in subject]
    funnel.see(line, before)
    if not subject:
        return documents, line
    applied = stage.step.apply(documents.take(subject))
    funnel.change(line, applied.changed)
    dropped = set()
    for place, text, reason, old in zip(subject, applied.texts, applied.reasons, before, strict=True):
        columns[TEXT][place] = text
        if reason is not None:
            rule, _, more = reason.removeprefix(f"{stage.name}: ").partition(": ")
            funnel.drop(line, rule, columns[ID][place], old, more=more)
            dropped.add(place)
    for place, language in zip(subject, applied.languages or (), strict=bool(applied.languages)):
        columns[LANGUAGE][place] = language
    kept = [i for i in range(len(columns[ID])) if i not in dropped]
    return table({name: [values[i] for i in kept] for name, values in columns.items()}), line


def was_web_page(identity: str) -> bool:
    """Whether a document's id names a web page or a crawl."""
    return WEB.search(identity) is not None


def table(columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Columns of documents as a table."""
    return pa.table({name: columns[name] for name in (ID, TEXT, LANGUAGE, SOURCE)}, schema=SCHEMA)
