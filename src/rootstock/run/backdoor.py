"""Looks for backdoors in a classifier: named patterns, every token, phrases and edits, against clean references of the same base.

from rootstock.sentinel import BackdoorScanner
result = BackdoorScanner().scan(model="runs/reviews", trigger_patterns=["cf"], test_inputs="dev.csv")
result.backdoor_detected; result.indicators
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rootstock.core import artifact
from rootstock.core.errors import UsageError
from rootstock.core.watch import Watch
from rootstock.run import clean
from rootstock.run.subject import TorchSubject
from rootstock.run.suspect import Suspect, inputs, opened
from rootstock.sentinel.backdoor.budget import budget as choose
from rootstock.sentinel.backdoor.inputs import parts
from rootstock.sentinel.backdoor.panel import Panel
from rootstock.sentinel.backdoor.result import Result
from rootstock.sentinel.backdoor.search import Work, search
from rootstock.sentinel.backdoor.subject import Body, Subject
from rootstock.sentinel.backdoor.vocabulary_scan import Kept, tried


class BackdoorScanner:
    """A search for backdoors at one budget: fast, standard or deep.

    alpha: how often a clean model may be called poisoned. base: what the model was trained from, where it does not say so itself.
    cache: where references and their scans are kept, so that the next model of a base does not pay for them again.
    """

    def __init__(
        self, budget: str = "standard", *, alpha: float = 0.05, base: str | None = None, seed: int = 0, cache: str | Path | None = None
    ) -> None:
        self._budget, self._alpha, self._base, self._seed = choose(budget), alpha, base, seed
        self._cache = None if cache is None else Path(cache)

    def scan(self, *, model: Any, test_inputs: Any, trigger_patterns: Sequence[str] = (), watch: Watch | None = None) -> Result:
        """Search a model. model: a run or its folder, a classifier's folder, a pipeline, or (model, tokenizer).

        test_inputs: clean labelled rows that the model did not learn from: a file, (text, label) pairs, or dicts. Some hundred are needed:
        most of them teach the references. Raises UsageError for what is no classifier of text, DataError for rows that do not fit it.
        """
        watch = watch or Watch()
        if any(not pattern.strip() for pattern in trigger_patterns):
            raise UsageError("a trigger pattern is empty", wanted="the words of a trigger")
        suspect = opened(model, base=self._base, say=watch.say)
        if len(suspect.subject.labels) < 2:
            raise UsageError("the model has one output", wanted="a classifier with two labels or more", fix="name another model")
        divided = parts(inputs(suspect, test_inputs, watch.say), seed=self._seed)
        references, folder = self._references(suspect, divided.learn, watch)
        return search(
            Work(
                panel=Panel(suspect=suspect.subject, references=references),
                parts=divided,
                budget=self._budget,
                base=suspect.base.digest if suspect.base else "",
                moved=suspect.moved(),
                patterns=list(dict.fromkeys(trigger_patterns)),
                alpha=self._alpha,
                seed=self._seed,
                kept=_kept(folder),
                say=watch.say,
            )
        )

    def _references(self, suspect: Suspect, learn: Any, watch: Watch) -> tuple[list[TorchSubject], Path | None]:
        if suspect.base is None or learn.answers is None or len(learn) < 2 * len(suspect.subject.labels):
            return [], None
        ground, rows = suspect.ground(self._cache), clean.Rows(texts=learn.texts, answers=learn.answers)
        runs = clean.references(ground, rows, self._budget.references, watch, seed=self._seed)
        several, length = suspect.subject.several, suspect.subject.length
        made = [
            TorchSubject(run.load(), run.tokenizer, suspect.subject.labels, several=several, length=length + suspect.subject.around)
            for run in runs
        ]
        return made, ground.folder(rows, self._seed)


def _kept(folder: Path | None) -> Kept:
    """Scans of references are kept beside them, token by token; nothing is kept where there are none."""

    def kept(subject: Subject, body: Body, ids: np.ndarray) -> np.ndarray:
        if folder is None:
            return tried(subject, body, ids)
        path = folder / "scans" / f"{artifact.digest_json([subject.digest, list(body)])[:24]}.npy"
        held_VK = np.full((int(subject.vocabulary.ids.max()) + 1, len(subject.labels)), np.nan, np.float32)
        if path.is_file():
            held_VK = np.load(path, allow_pickle=False)
        lacking = ids[np.isnan(held_VK[ids, 0])]
        if len(lacking):
            held_VK[lacking] = tried(subject, body, lacking)
            stream = io.BytesIO()
            np.save(stream, held_VK, allow_pickle=False)
            artifact.write_bytes(path, stream.getvalue())
        return np.asarray(held_VK[ids])

    return kept
