"""Numbers and names as a person reads them."""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

_FIGURES = {
    "macro_f1": "Macro F1",
    "micro_f1": "Micro F1",
    "weighted_f1": "Weighted F1",
    "samples_f1": "F1 per row",
    "matthews": "Matthews correlation",
    "bits_per_byte": "Bits per byte",
    "roc_auc": "ROC-AUC",
    "r2": "R²",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "bleu": "BLEU",
    "chrf": "chrF",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "ndcg@10": "nDCG@10",
    "mrr@10": "MRR@10",
    "calibration_error": "Calibration error (ECE)",
}
_BASELINES = {
    "class": {
        "tfidf": "TF-IDF + logistic regression",
        "majority": "Always the most frequent class",
        "pixels": "Logistic regression on thumbnails",
    },
    "classes": {"tfidf": "TF-IDF + logistic regression", "majority": "Always the most frequent labels"},
    "number": {"tfidf": "TF-IDF + ridge regression", "majority": "Always the mean"},
    "tags": {"dictionary": "Each word's most frequent tag", "majority": "Always the most frequent tag"},
    "span": {"sentence": "The sentence with most of the question's words", "majority": "Always no answer"},
    "choice": {"words": "The choice that shares most words with what is asked", "majority": "Always the most frequent place"},
    "text": {"copy": "Copying the source"},
    "completion": {"unigram": "Guessing by frequency alone"},
    "preference": {"length": "Going by length alone"},
    "similarity": {"base": "The base before training", "tfidf": "Cosine of TF-IDF"},
    "retrieval": {"base": "The base before training", "tfidf": "The nearest by TF-IDF"},
    "tokens": {"unigram": "Guessing by frequency alone"},
}
_SHORT = {
    "tfidf": "TF-IDF",
    "base": "the base before training",
    "majority": "the simplest answer",
    "copy": "copying the source",
    "length": "going by length alone",
    "unigram": "guessing by frequency alone",
    "dictionary": "a dictionary of tags",
    "sentence": "the sentence that shares most words",
    "words": "counting shared words",
    "pixels": "a linear model of the pixels",
}
"""Baselines in a few words."""
_UNKNOWN = "–"


def figure_name(name: str) -> str:
    """A figure's name: macro_f1 is Macro F1."""
    return _FIGURES.get(name) or name.replace("_", " ").capitalize()


def baseline_name(name: str, kind: str) -> str:
    """What a baseline does."""
    return _BASELINES.get(kind, _BASELINES["class"]).get(name, name)


def baseline_short(name: str) -> str:
    """A baseline in a few words."""
    return _SHORT.get(name, name)


def baseline_plain(name: str) -> str:
    """A baseline as it stands within a sentence that no figure of its kind explains."""
    return {"majority": "always the same answer", "tfidf": "TF-IDF and a linear model"}.get(name) or baseline_short(name)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def figure(value: Any, missing: str = _UNKNOWN) -> str:
    """A score with three decimals; a large quantity with fewer."""
    if not is_number(value):
        return missing
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.1f}"


def between(low_high: Any, mark: str = " to ") -> str:
    """Both ends of an interval; nothing where there is none."""
    return mark.join(figure(end) for end in low_high) if isinstance(low_high, list | tuple) and len(low_high) == 2 else ""


def within(value: Any, low_high: Any, missing: str = _UNKNOWN) -> str:
    """A figure with its interval, where it has one: 0.812 (0.790 to 0.833)."""
    ends = between(low_high)
    return f"{figure(value, missing)} ({ends})" if ends and is_number(value) else figure(value, missing)


def share(figure: Any) -> str:
    """A figure with its interval: 0.812 (0.790 to 0.833)."""
    if figure["value"] is None:
        return _UNKNOWN
    return f"{figure['value']:.3f} ({figure['interval'][0]:.3f} to {figure['interval'][1]:.3f})"


def count(value: Any) -> str:
    """A whole number with its thousands set off."""
    return f"{value:,.0f}" if is_number(value) else _UNKNOWN


def percent(value: Any, decimals: int = 1) -> str:
    """A share of one in percent."""
    return f"{100 * value:.{decimals}f} %" if is_number(value) else _UNKNOWN


def amount(value: Any) -> str:
    """A large number as it is spoken of: 8.4 million."""
    if not is_number(value) or value < 1e6:
        return count(value)
    name, unit = next((name, unit) for name, unit in (("trillion", 1e12), ("billion", 1e9), ("million", 1e6)) if value >= unit)
    return f"{value / unit:.3g} {name}"


def span(seconds: Any) -> str:
    """A time in the unit that suits it."""
    if not is_number(seconds):
        return _UNKNOWN
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(held: Any) -> str:
    """Bytes in MB, GB or TB (powers of ten)."""
    if not is_number(held):
        return _UNKNOWN
    return f"{held / 1e12:,.2f} TB" if held >= 1e12 else f"{held / 1e9:.2f} GB" if held >= 1e9 else f"{held / 1e6:.0f} MB"


def short(text: str, letters: int = 28) -> str:
    """A long name with its middle left out."""
    half = letters // 2
    return text if len(text) <= letters else f"{text[: half - 1]}…{text[-half:]}"


def plain(value: Any) -> str:
    """A setting's value as text."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def several(number: int, noun: str) -> str:
    """A count with its noun: 1 row, 2 rows."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def aligned(rows: Iterable[Sequence[str]], *, left: Collection[int] | None = None) -> Iterator[str]:
    """Cells under one another. left: places of columns whose cells begin together, as words do (None: all); others end together."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    words = {place % len(widths) for place in (range(len(widths)) if left is None else left)}
    for row in rows:
        cells = (cell.ljust(width) if at in words else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths, strict=True)))
        yield "  ".join(cells).rstrip()
