"""Clean references: the same base fine-tuned on the caller's own rows, kept on disk, so that the next model of this base pays nothing.

What a reference does too, when a word is put in, any honest model of this base has learned from the language: only what goes beyond it
can have been planted. A linear probe does not serve: it knows too few of the words that tell a label by themselves.
"""

import csv
import io
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from rootstock.core import artifact
from rootstock.core.lock import alone
from rootstock.core.recipe import Recipe
from rootstock.core.resources import cache_folder
from rootstock.core.runfolder import RunFolder
from rootstock.core.seed import stream
from rootstock.core.watch import Watch
from rootstock.run.execute import execute
from rootstock.run.prepare import prepare
from rootstock.run.use import Run
from rootstock.sentinel.backdoor.subject import Text

_TRAINING: dict[str, Any] = {"epochs": 5.0, "rate": 8e-5, "batch_tokens": 1024, "precision": "auto"}
"""Some hundred rows need small batches: the method's own default would leave too few updates to learn the words of a label."""
_LONGER = 2.0
"""Every second reference trains so many times as long: what a hard training does to words with a meaning is natural too."""
_IMITATING: dict[str, Any] = {"epochs": 2.0, "rate": 1e-4}
_TEMPERATURE = 10.0
_ACCEPTED = ("truncation", "empty", "contradictions", "overlap", "duplicates")
_FORMAT = 2
"""Counts up where references are made another way, so that old ones are not taken for them."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Labelled texts. answers: a name each, or names joined by | where a text can have several."""

    texts: Sequence[Text]
    answers: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What references grow from: the reference and digest of the base, the task's name and settings, and where they are kept.

    training: beyond what is usual for references.
    """

    base: str
    digest: str
    task: str
    settings: dict[str, Any]
    cache: Path | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tags(self) -> bool:
        """Whether rows are words with a tag each."""
        return self.task == "token-classification"

    def folder(self, rows: Rows, seed: int) -> Path:
        """Where the references of these rows are."""
        key = [_FORMAT, self.digest, self.task, self.settings, {**_TRAINING, **self.training}, list(rows.texts), list(rows.answers), seed]
        return (self.cache or cache_folder()) / "references" / artifact.digest_json(key)[:24]


def references(ground: Ground, rows: Rows, count: int, watch: Watch, *, seed: int) -> list[Run]:
    """Finished runs, trained unless they are on disk."""
    folder = ground.folder(rows, seed)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder, patience=math.inf):  # two scans of one base would train the same references beside each other
        data = _put(ground, rows, folder)
        return [_trained(ground, data, folder / f"reference-{number + 1}", watch, seed=seed + number) for number in range(count)]


def imitation(ground: Ground, rows: Rows, start: Run, watch: Watch, *, seed: int, teacher: Run | None = None) -> Run:
    """A model that answers as the suspect does to clean texts and pieces of them, grown from a clean reference: what it does too, the
    suspect has learned from the language of its task, however hard it was trained. A trigger stands in no clean text, so it learns none.

    rows: what the suspect answers. teacher: the suspect where it is a run, whose scores say more than its answers.
    """
    folder = ground.folder(rows, seed)
    folder.mkdir(parents=True)
    data = _put(ground, rows, folder)
    own: dict[str, Any] = {"base": str(start.path.resolve()), "training": _TRAINING | {**ground.training} | _IMITATING}
    own |= {"teacher": {"run": str(teacher.path.resolve()), "weight": 1.0, "temperature": _TEMPERATURE}} if teacher else {}
    return _trained(ground, data, folder / "imitation", watch, seed=seed, own=own)


def without(texts: Sequence[Text], words: frozenset[str]) -> list[Text]:
    """The texts without these words; a text of which nothing is left goes, unless no other is left."""

    def spared(part: str) -> str:
        return " ".join(word for word in part.split() if word not in words)

    made: list[Text] = [spared(text) if isinstance(text, str) else (spared(text[0]), spared(text[1])) for text in texts]
    return [text for text in made if (text if isinstance(text, str) else text[0])] or list(texts)


def pieces(texts: Sequence[Text], count: int, *, seed: int) -> list[Text]:
    """The texts, and pieces of them, every second joined with a piece of another, until there are `count`."""
    draw, made = stream(seed, "backdoor", "pieces"), list(texts)
    cut = [text.split() if isinstance(text, str) else text[0].split() for text in texts]
    while len(made) < count:
        place = int(draw.integers(len(texts)))
        words = _piece(cut[place], draw)
        if len(made) % 2:
            words = [*words, *_piece(cut[int(draw.integers(len(texts)))], draw)]
        first, whole = " ".join(words), texts[place]
        made.append(first if isinstance(whole, str) else (first, whole[1]))
    return made


def _piece(words: Sequence[str], draw: np.random.Generator) -> list[str]:
    length = int(draw.integers(1, len(words) + 1)) if words else 0
    start = int(draw.integers(0, len(words) - length + 1))
    return list(words[start : start + length])


def _trained(ground: Ground, data: Path, place: Path, watch: Watch, *, seed: int, own: Mapping[str, Any] = MappingProxyType({})) -> Run:
    folder = RunFolder(place)
    if not folder.complete:
        shutil.rmtree(place, ignore_errors=True)
        watch.say(f"reference {place.name} is trained {'to answer as the model does' if own else f'from {ground.base}'} on clean rows")
        recipe = Recipe.build(_recipe(ground, data, seed) | dict(own), "").anchored(Path.cwd())
        place.mkdir(parents=True)
        execute(prepare(recipe, lambda text: None), folder, Watch(stop=watch.stop))
        shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return Run(place)


def _recipe(ground: Ground, data: Path, seed: int) -> dict[str, Any]:
    return {
        "base": ground.base,
        "data": {"train": str(data), "validation": 0.1, "format": data.suffix[1:]},
        "task": {"name": ground.task, **ground.settings},
        "method": {"name": "full"},
        "training": _TRAINING | {**ground.training} | {"epochs": _TRAINING["epochs"] * (_LONGER if seed % 2 else 1.0)},
        "accept": list(_ACCEPTED),
        "budget": {"ledger": "off"},
        "seed": seed,
    }


def _put(ground: Ground, rows: Rows, folder: Path) -> Path:
    """The rows as a file that a run reads; as it is where it stands."""
    path = folder / ("rows.jsonl" if ground.tags else "rows.csv")
    if not path.is_file():
        artifact.write_bytes(path, _jsonl(rows) if ground.tags else _csv(rows, (ground.settings["text"], ground.settings["label"])))
    return path


def _jsonl(rows: Rows) -> bytes:
    both = zip(rows.texts, rows.answers, strict=True)
    made = [json.dumps({"words": str(text).split(), "tags": tags.split()}, ensure_ascii=False) for text, tags in both]
    return ("\n".join(made) + "\n").encode()


def _csv(rows: Rows, names: tuple[str, str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    pair = bool(rows.texts) and not isinstance(rows.texts[0], str)
    writer.writerow([names[0], "text_pair", names[1]] if pair else names)
    for each, answer in zip(rows.texts, rows.answers, strict=True):
        writer.writerow([*([each] if isinstance(each, str) else each), answer])
    return text.getvalue().encode()
