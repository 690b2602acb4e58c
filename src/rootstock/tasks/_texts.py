"""Texts against the texts that were wanted: what BLEU, chrF and ROUGE add up, a row each, and the figures of any rows.

A corpus figure of sacrebleu is a function of counts that add up, so a thousand resamples cost sums, and no text is read twice.
Shape letters: N rows, S counts of a row.
"""

from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

from rootstock.core.rows import Columns
from rootstock.core.tally import Sums

Wanted = Literal["translation", "summarisation", "match"]
HEADLINES: dict[str, tuple[str, ...]] = {
    "translation": ("bleu", "chrf"),
    "summarisation": ("rouge1", "rouge2", "rougeL"),
    "match": ("exact_match",),
}
_STEMMED = True


def counted(said: np.ndarray, wanted: np.ndarray, figures: Wanted, tokenize: str) -> dict[str, np.ndarray]:
    """What the figures add up, of texts [N] against texts [N]."""
    pairs = list(zip(map(str, said), map(str, wanted), strict=True))
    found = {"exact_match": np.array([float(_plain(a) == _plain(b)) for a, b in pairs])}
    if figures == "translation":
        for name, metric in (("bleu", _bleu(tokenize)), ("chrf", _chrf())):
            found[name] = np.array([metric._extract_corpus_statistics([a], [[b]])[0] for a, b in pairs], dtype=np.int64)
    elif figures == "summarisation":
        scores = [_rouge().score(b, a) for a, b in pairs]
        found |= {name: np.array([each[name].fmeasure for each in scores]) for name in HEADLINES["summarisation"]}
    return found


def _plain(text: str) -> str:
    return " ".join(text.split())


def figures(columns: Columns, tokenize: str) -> dict[str, Callable[[Sums], np.ndarray]]:
    """Figures of what `counted` gave: BLEU and chrF from 0 to 100, as sacrebleu has them; ROUGE and exact match from 0 to 1."""
    made: dict[str, Callable[[list[int]], float]] = {
        "bleu": lambda counts_S: float(_bleu(tokenize)._compute_score_from_stats(counts_S).score),
        "chrf": lambda counts_S: float(_chrf()._compute_f_score(counts_S)),
    }
    order = (*HEADLINES["translation"], *HEADLINES["summarisation"], "exact_match")
    return {name: _of_sums(name, made[name]) if name in made else _mean(name) for name in order if name in columns and len(columns[name])}


def _of_sums(name: str, made: Callable[[list[int]], float]) -> Callable[[Sums], np.ndarray]:
    def of(sums: Sums) -> np.ndarray:
        found_R = np.array([made(counts_S.tolist()) for counts_S in np.rint(sums(name)).astype(np.int64)])
        return np.where(sums.times.sum(1) > 0, found_R, np.nan)

    return of


def _mean(name: str) -> Callable[[Sums], np.ndarray]:
    return lambda sums: sums.mean(name)


def signatures(wanted: Wanted, tokenize: str) -> dict[str, str]:
    """How the figures are counted, as their libraries say it."""
    if wanted == "translation":
        found = {"bleu": _bleu(tokenize), "chrf": _chrf()}
        for metric in found.values():
            metric.corpus_score(["a"], [["a"]])  # only then it knows the number of its references
        return {name: str(metric.get_signature()) for name, metric in found.items()}
    if wanted == "summarisation":
        return {"rouge": f"rouge-score {version('rouge-score')}, F1, {'stemmed' if _STEMMED else 'unstemmed'}"}
    return {}


@cache
def _bleu(tokenize: str) -> Any:
    from sacrebleu.metrics import BLEU

    return BLEU(tokenize=tokenize)


@cache
def _chrf() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(HEADLINES["summarisation"]), use_stemmer=_STEMMED)
