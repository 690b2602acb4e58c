"""Looks for backdoors in classifiers of texts and of words, and in models that write: named patterns, every token, phrases, edits.

What counts is what goes beyond clean references of the same base.

from rootstock.sentinel import BackdoorScanner
result = BackdoorScanner().scan(model="runs/reviews", trigger_patterns=["cf"], test_inputs="dev.csv")
result.backdoor_detected; result.indicators
"""

import io
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rootstock.core import artifact
from rootstock.core.errors import UsageError
from rootstock.core.watch import Watch
from rootstock.run import clean, writing_suspect
from rootstock.run.slopes import steep
from rootstock.run.subject import TorchSubject
from rootstock.run.suspect import Suspect, inputs, opened, with_tokenizer
from rootstock.run.tagger import Tagger, read_by_word
from rootstock.run.use import Run
from rootstock.sentinel.backdoor.budget import Budget
from rootstock.sentinel.backdoor.budget import budget as choose
from rootstock.sentinel.backdoor.inputs import Inputs, Parts, parts
from rootstock.sentinel.backdoor.panel import Panel
from rootstock.sentinel.backdoor.result import Result
from rootstock.sentinel.backdoor.search import Own, Work, search
from rootstock.sentinel.backdoor.subject import Body, Subject, Text
from rootstock.sentinel.backdoor.vocabulary_scan import Kept, tried

_PIECES = 1500
"""Texts on which a reference learns to answer as the suspect does."""


class BackdoorScanner:
    """A search for backdoors at one budget: named (the patterns alone), fast, standard or deep, or widths of your own.

    alpha: how often a clean model may be called poisoned. base: what the model was trained from, where it does not say so itself.
    cache: where references and their scans are kept, so that the next model of a base does not pay for them again.
    """

    def __init__(
        self,
        budget: str | Budget = "standard",
        *,
        alpha: float = 0.05,
        base: str | None = None,
        seed: int = 0,
        cache: str | Path | None = None,
    ) -> None:
        self._budget = choose(budget) if isinstance(budget, str) else budget
        self._alpha, self._base, self._seed = alpha, base, seed
        self._cache = None if cache is None else Path(cache)

    def scan(self, *, model: Any, test_inputs: Any, trigger_patterns: Sequence[str] = (), watch: Watch | None = None) -> Result:
        """Search a model. model: a run or its folder, a classifier's or a tagger's folder, a pipeline, (model, tokenizer), or a model
        that transformers loaded from a folder in which its tokenizer lies.

        test_inputs: clean labelled rows that the model did not learn from: a file, (text, label) pairs, or dicts; of a tagger words and
        tags, of a model that writes prompts, with completions where there are any. Some hundred are needed: most of them teach the
        references. Raises UsageError for what is no classifier of text or words,
        DataError for rows that do not fit it.
        """
        watch = watch or Watch()
        if any(not pattern.strip() for pattern in trigger_patterns):
            raise UsageError("a trigger pattern is empty", wanted="the words of a trigger")
        if not self._budget.labels and not trigger_patterns:
            raise UsageError("no trigger is named, and this budget tests named ones alone", wanted="a trigger", fix="add --trigger WORDS")
        model = with_tokenizer(model)
        if author := writing_suspect.opened(model, base=self._base, say=watch.say):
            how = writing_suspect.How(budget=self._budget, alpha=self._alpha, seed=self._seed, cache=self._cache)
            return writing_suspect.searched(author, test_inputs, list(dict.fromkeys(trigger_patterns)), how, watch)
        suspect = opened(model, base=self._base, say=watch.say)
        if len(suspect.subject.labels) < 2:
            raise UsageError("the model has one output", wanted="a classifier with two labels or more", fix="name another model")
        divided = parts(inputs(suspect, test_inputs, watch.say), seed=self._seed)
        references, own, folder = self._references(suspect, divided.learn, watch)
        if isinstance(suspect.subject, Tagger):
            asked = [suspect.subject.asking(each, self._seed) for each in (divided.search, divided.confirm)]
            divided = Parts(learn=divided.learn, search=asked[0], confirm=asked[1])
        found = search(
            Work(
                panel=Panel(suspect=suspect.subject, references=references),
                parts=divided,
                budget=self._budget,
                base=suspect.base.digest if suspect.base else "",
                moved=suspect.moved(),
                patterns=list(dict.fromkeys(trigger_patterns)),
                alpha=self._alpha,
                seed=self._seed,
                kept=_kept(folder, references),
                own=own,
                task=suspect.task,
                steep=steep,
                say=watch.say,
            )
        )
        return read_by_word(found) if isinstance(suspect.subject, Tagger) else found

    def _references(self, suspect: Suspect, learn: Inputs, watch: Watch) -> tuple[list[TorchSubject | Tagger], Own | None, Path | None]:
        if suspect.base is None or learn.answers is None or len(learn) < 2 * len(suspect.subject.labels):
            return [], None, None
        ground, rows = suspect.ground(self._cache), clean.Rows(texts=learn.texts, answers=learn.answers)
        runs = clean.references(ground, rows, self._budget.references, watch, seed=self._seed)
        own = partial(self._imitation, suspect, learn.texts, runs[-1], watch)
        return [_subject(run, suspect.subject) for run in runs], own, ground.folder(rows, self._seed)

    def _imitation(
        self, suspect: Suspect, texts: Sequence[Text], start: Run, watch: Watch, standing: frozenset[int]
    ) -> TorchSubject | Tagger:
        """A reference of this suspect's own; its folder goes when it is in memory. standing: tokens that it is not to learn."""
        held = clean.without(texts, _standing(suspect.subject, texts, standing))
        made = clean.pieces(held, max(_PIECES, len(held)), seed=self._seed)
        with tempfile.TemporaryDirectory() as beside:
            ground, rows = suspect.ground(Path(beside)), _answered(suspect.subject, made)
            return _subject(clean.imitation(ground, rows, start, watch, seed=self._seed, teacher=suspect.run), suspect.subject)


def _standing(subject: TorchSubject | Tagger, texts: Sequence[Text], tokens: frozenset[int]) -> frozenset[str]:
    """Words of the texts that hold one of these tokens, at the beginning of a text or within it."""
    words = sorted({word for text in texts for part in ((text,) if isinstance(text, str) else text) for word in part.split()})
    found = zip(words * 2, subject.encode([*words, *(f" {word}" for word in words)]), strict=True)
    return frozenset(word for word, body in found if not tokens.isdisjoint(body))


def _answered(subject: TorchSubject | Tagger, texts: Sequence[Text]) -> clean.Rows:
    """Texts with what the suspect answers."""
    if isinstance(subject, Tagger):
        both = subject.tagged(texts)
        return clean.Rows(texts=[text for text, _ in both], answers=[tags for _, tags in both])
    scores_NK = subject.scores(subject.encode(texts))
    if subject.several:
        answers = ["|".join(name for name, score in zip(subject.labels, row, strict=True) if score > 0) for row in scores_NK]
    else:
        answers = [subject.labels[i] for i in scores_NK.argmax(axis=1).tolist()]
    return clean.Rows(texts=texts, answers=answers)


def _subject(run: Run, like: TorchSubject | Tagger) -> TorchSubject | Tagger:
    if isinstance(like, Tagger):
        return Tagger(run.load(), run.tokenizer, like.tags, length=like.length + like.around, size=like.size)
    return TorchSubject(run.load(), run.tokenizer, like.labels, several=like.several, length=like.length + like.around)


def _kept(folder: Path | None, lasting: Sequence[Subject]) -> Kept:
    """Scans of references that serve other suspects as well are kept beside them, token by token."""

    def kept(subject: Subject, body: Body, ids: np.ndarray) -> np.ndarray:
        if folder is None or not any(subject is each for each in lasting):
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
