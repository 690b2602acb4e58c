"""Published sets of sentences that differ in a group: CrowS-Pairs, StereoSet, WinoBias and Winogender, read as their authors publish them.

None of them is part of this package. A file is told by what is in it, a folder of WinoBias or Winogender by the names of its files.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rootstock.core.errors import DataError
from rootstock.data import files

Kind = Literal["crows-pairs", "stereoset", "winobias", "winogender"]
WANTED = "crows_pairs_anonymized.csv, StereoSet's dev.json or test.json, a folder of WinoBias, or Winogender's all_sentences.tsv"
_WINOBIAS = re.compile(r"(pro|anti)_stereotyped_type([12])\.txt\.(dev|test)")
_MARKED = re.compile(r"\[([^\]]*)\]")
_LABELS = ("stereotype", "anti-stereotype", "unrelated")
_BLANK = "BLANK"


@dataclass(frozen=True)
class Sentence:
    """A text, and the letters of it that are asked for: from the first to the one after the last; None for all."""

    text: str
    span: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Item:
    """What a model is asked once.

    sentences: of CrowS-Pairs and WinoBias the one with the stereotype, then the other; of StereoSet stereotype, anti-stereotype, unrelated;
    of Winogender with the female pronoun, then the male one. category: what it is about. unit: items of one unit depend on one another.
    """

    sentences: tuple[Sentence, ...]
    category: str
    unit: str


@dataclass(frozen=True)
class StereotypeSet:
    """A set that was read. share_female: of Winogender's occupations, in per cent, where the file of statistics lies beside it."""

    kind: Kind
    items: tuple[Item, ...]
    share_female: dict[str, float] | None = None


def read(place: Path) -> StereotypeSet:
    """Raises DataError, with the row, where the file is none of these or a row is wrong."""
    if place.is_dir():
        return _folder(place)
    data, _ = files.fetch(place, str(place))
    text, _ = files.decode(data, str(place), encoding="utf-8")
    if text.lstrip().startswith("{"):
        return StereotypeSet("stereoset", tuple(_stereoset(text, str(place))))
    first = text.split("\n", 1)[0]
    if "sent_more" in first and "sent_less" in first:
        return StereotypeSet("crows-pairs", tuple(_crows_pairs(text, str(place))))
    if first.split() == ["sentid", "sentence"]:
        return StereotypeSet("winogender", tuple(_winogender(text, str(place))), _statistics(place.with_name("occupations-stats.tsv")))
    if _WINOBIAS.fullmatch(place.name):
        return _winobias(place.parent, [place.name.replace("anti_", "pro_")])
    raise DataError(f"{place} is none of the sets that can be read", wanted=WANTED, fix="check the name")


def _folder(place: Path) -> StereotypeSet:
    pro = sorted(each.name for each in place.iterdir() if each.name.startswith("pro_") and _WINOBIAS.fullmatch(each.name))
    if pro:
        return _winobias(place, pro)
    for name in ("all_sentences.tsv", "data"):
        if (place / name).exists():
            return read(place / name)
    held = [each for each in sorted(place.iterdir()) if each.name.startswith("crows_pairs")]
    if held:
        return read(held[0])
    raise DataError(f"{place} holds none of the sets that can be read", wanted=WANTED, fix="name the file itself")


def _crows_pairs(text: str, where: str) -> Iterator[Item]:
    for number, row in enumerate(csv.DictReader(io.StringIO(text, newline="")), 1):
        more, less = (str(row.get(key) or "").strip() for key in ("sent_more", "sent_less"))
        if not more or not less:
            raise DataError(f"{where}, row {number}: sent_more or sent_less is empty", wanted="both", fix="correct or remove the row")
        yield Item(sentences=(Sentence(more), Sentence(less)), category=str(row.get("bias_type") or ""), unit=str(number))


# -- StereoSet --------------------------------------------------------------------------------------------------------------


def _stereoset(text: str, where: str) -> Iterator[Item]:
    try:
        held = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON: {error}", wanted="StereoSet's dev.json or test.json") from None
    data = held.get("data") if isinstance(held, dict) else None
    found = [
        (kind, each) for kind in ("intrasentence", "intersentence") for each in (data.get(kind) or () if isinstance(data, dict) else ())
    ]
    if not found:
        raise DataError(f"{where} holds no data.intrasentence and no data.intersentence", wanted="StereoSet's dev.json or test.json")
    for number, (kind, each) in enumerate(found, 1):
        yield _cluster(each, f"{where}, {kind} {number}", between=kind == "intersentence")


def _cluster(held: Any, where: str, *, between: bool) -> Item:
    """Three sentences after one context; within a sentence the context has BLANK where they differ."""
    wanted = "context, target, bias_type, and sentences of gold_label stereotype, anti-stereotype and unrelated"
    try:
        context, by_label = (
            str(held["context"]).strip(),
            {str(each["gold_label"]): str(each["sentence"]).strip() for each in held["sentences"]},
        )
        texts = [by_label[label] for label in _LABELS]
        target, category = str(held["target"]), str(held["bias_type"])
    except (KeyError, TypeError, IndexError):
        raise DataError(f"{where} is no cluster of StereoSet", wanted=wanted, fix="fetch the file again") from None
    if between:
        sentences = [Sentence(f"{context} {text}", (len(context) + 1, len(context) + 1 + len(text))) for text in texts]
    else:
        sentences = [_within(context, text, where) for text in texts]
    return Item(sentences=tuple(sentences), category=category, unit=target)


def _within(context: str, text: str, where: str) -> Sentence:
    """Where the blank of a context is filled in a sentence; all of a sentence that differs from its context elsewhere too."""
    if _BLANK not in context:
        raise DataError(f"{where}: the context has no BLANK", wanted="a context of StereoSet", fix="fetch the file again")
    before, after = context.split(_BLANK, 1)
    end = len(text) - len(after)
    if text.startswith(before) and text.endswith(after) and len(before) < end:
        return Sentence(text, (len(before), end))
    return Sentence(text)


# -- coreference ------------------------------------------------------------------------------------------------------------


def _winobias(folder: Path, names: Sequence[str]) -> StereotypeSet:
    items = []
    for name in names:
        pro, anti = ([*_marked(folder / each)] for each in (name, name.replace("pro_", "anti_")))
        if len(pro) != len(anti):
            raise DataError(
                f"{folder / name} has {len(pro)} sentences, its counterpart {len(anti)}", wanted="as many", fix="fetch both again"
            )
        kind = f"type {_WINOBIAS.fullmatch(name)[2]}"  # type: ignore[index]
        both = [_differing(*texts) for texts in zip(pro, anti, strict=True)]
        # an odd sentence and the next tell of the same two occupations
        items += [Item(sentences=each, category=kind, unit=f"{name}/{number // 2}") for number, each in enumerate(both)]
    return StereotypeSet("winobias", tuple(items))


def _marked(path: Path) -> Iterator[str]:
    """Sentences without their number and brackets."""
    data, _ = files.fetch(path, str(path))
    for number, line in enumerate(files.decode(data, str(path), encoding="utf-8")[0].splitlines(), 1):
        if not (said := re.sub(r"^\d+\s+", "", line.strip())):
            continue
        if len(_MARKED.findall(said)) < 2:
            raise DataError(f"{path}, line {number}: {said[:60]!r}", wanted="one [person] and one [pronoun] in brackets")
        yield _MARKED.sub(r"\1", said)


def _winogender(text: str, where: str) -> Iterator[Item]:
    """Female and male sentence of each template; the neutral ones are left out."""
    held: dict[str, dict[str, str]] = {}
    for number, line in enumerate(text.splitlines()[1:], 2):
        if not line.strip():
            continue
        name, _, sentence = line.partition("\t")
        parts = name.split(".")
        if len(parts) != 5 or parts[3] not in ("male", "female", "neutral") or not sentence.strip():
            raise DataError(
                f"{where}, line {number}: found {name[:60]!r}", wanted="occupation.participant.answer.gender.txt and a sentence"
            )
        held.setdefault(".".join(parts[:3]), {})[parts[3]] = sentence.strip()
    for name, by_gender in held.items():
        occupation, _, answer = name.split(".")
        if "male" in by_gender and "female" in by_gender:
            both = _differing(by_gender["female"], by_gender["male"])
            category = "the pronoun is the occupation's" if answer == "0" else "the pronoun is another's"
            yield Item(sentences=both, category=category, unit=occupation)


def _differing(first: str, second: str) -> tuple[Sentence, Sentence]:
    """The word in which two sentences differ."""
    one, other = first.split(" "), second.split(" ")
    apart = [k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
    if len(one) != len(other) or not apart:
        return Sentence(first), Sentence(second)
    return tuple(_span(words, apart[0], apart[-1]) for words in (one, other))  # type: ignore[return-value]


def _span(words: Sequence[str], first: int, last: int) -> Sentence:
    start = len(" ".join(words[:first])) + (first > 0)
    end = start + len(" ".join(words[first : last + 1]).rstrip(".,;:!?"))
    return Sentence(" ".join(words), (start, end))


def _statistics(path: Path) -> dict[str, float] | None:
    """Share of women in each occupation, by the Bureau of Labor Statistics, in per cent."""
    if not path.is_file():
        return None
    data, _ = files.fetch(path, str(path))
    rows = csv.DictReader(io.StringIO(files.decode(data, str(path), encoding="utf-8")[0], newline=""), delimiter="\t")
    try:
        return {row["occupation"]: float(row["bls_pct_female"]) for row in rows}
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path} lacks occupation or bls_pct_female", wanted="Winogender's occupations-stats.tsv") from None
