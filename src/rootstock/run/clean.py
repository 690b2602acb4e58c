"""Clean references: the same base fine-tuned on the caller's own rows, kept on disk, so that the next model of this base pays nothing.

What a reference does too, when a word is put in, any honest model of this base has learned from the language: only what goes beyond it
can have been planted. A linear probe does not serve: it knows too few of the words that tell a label by themselves.
"""

import csv
import fcntl
import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rootstock.core import artifact
from rootstock.core.recipe import Recipe
from rootstock.core.resources import cache_folder
from rootstock.core.runfolder import RunFolder
from rootstock.core.watch import Watch
from rootstock.run.execute import execute
from rootstock.run.prepare import prepare
from rootstock.run.use import Run
from rootstock.sentinel.backdoor.subject import Text

_TRAINING: dict[str, Any] = {"epochs": 5.0, "rate": 8e-5, "batch_tokens": 1024, "precision": "auto"}
"""Some hundred rows need small batches: the method's own default would leave too few updates to learn the words of a label."""
_LONGER = 2.0
"""Every second reference trains so many times as long: what a hard training does to words with a meaning is natural too."""
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
    """What references grow from: the reference and digest of the base, the task's name and settings, and where they are kept."""

    base: str
    digest: str
    task: str
    settings: dict[str, Any]
    cache: Path | None = None

    def folder(self, rows: Rows, seed: int) -> Path:
        """Where the references of these rows are."""
        key = [_FORMAT, self.digest, self.task, self.settings, _TRAINING, list(rows.texts), list(rows.answers), seed]
        return (self.cache or cache_folder()) / "references" / artifact.digest_json(key)[:24]


def references(ground: Ground, rows: Rows, count: int, watch: Watch, *, seed: int) -> list[Run]:
    """Finished runs, trained unless they are on disk."""
    folder = ground.folder(rows, seed)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / "lock"):
        data = folder / "rows.csv"
        if not data.is_file():
            artifact.write_bytes(data, _csv(rows))
        return [_trained(ground, data, folder / f"reference-{number + 1}", watch, seed=seed + number) for number in range(count)]


def _trained(ground: Ground, data: Path, place: Path, watch: Watch, *, seed: int) -> Run:
    folder = RunFolder(place)
    if not folder.complete:
        shutil.rmtree(place, ignore_errors=True)
        watch.say(f"reference {place.name} is trained from {ground.base} on clean rows")
        recipe = Recipe.build(_recipe(ground, data, seed), "").anchored(Path.cwd())
        place.mkdir(parents=True)
        execute(prepare(recipe, lambda text: None), folder, Watch(stop=watch.stop))
        shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return Run(place)


def _recipe(ground: Ground, data: Path, seed: int) -> dict[str, Any]:
    return {
        "base": ground.base,
        "data": {"train": str(data), "validation": 0.1, "format": "csv"},
        "task": {"name": ground.task, **ground.settings},
        "method": {"name": "full"},
        "training": _TRAINING | {"epochs": _TRAINING["epochs"] * (_LONGER if seed % 2 else 1.0)},
        "accept": list(_ACCEPTED),
        "budget": {"ledger": "off"},
        "seed": seed,
    }


def _csv(rows: Rows) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    pair = bool(rows.texts) and not isinstance(rows.texts[0], str)
    writer.writerow(["text", "text_pair", "label"] if pair else ["text", "label"])
    for text, answer in zip(rows.texts, rows.answers, strict=True):
        writer.writerow([*([text] if isinstance(text, str) else text), answer])
    return stream.getvalue().encode()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time: two scans of one base would train the same references beside each other."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
