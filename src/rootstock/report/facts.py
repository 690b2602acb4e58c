"""What a run knows of itself, read without stumbling over what it does not know."""

from collections.abc import Iterator
from typing import Any

from rootstock.report import words

Facts = dict[str, Any]
_HEADLINE = {
    "class": ("accuracy", "macro_f1"),
    "classes": ("micro_f1", "macro_f1", "subset_accuracy"),
    "number": ("spearman", "pearson"),
    "tags": ("f1", "accuracy"),
    "span": ("f1", "exact_match"),
    "choice": ("accuracy",),
    "text": ("bleu", "chrf", "rouge1", "rouge2", "rougeL", "exact_match"),
    "completion": ("loss", "perplexity", "token_accuracy"),
    "preference": ("accuracy", "margin", "loss"),
    "similarity": ("spearman", "pearson"),
    "retrieval": ("ndcg@10", "mrr@10", "accuracy@1", "recall@10"),
}
AMOUNTS = ("number", "similarity")
"""Kinds whose labels are amounts."""
SIMPLE = ("majority", "unigram")
"""Baselines that give the same answer to every row."""
_MANY = 12


def dig(value: Any, *path: str, default: Any = None) -> Any:
    """The value at a path of keys; `default` where a key is missing or holds null."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            return default
    return value


def figures(facts: Facts) -> dict[str, float]:
    """Every figure of the model on the validation rows."""
    found: dict[str, float] = dig(facts, "metrics", "metrics", default={})
    return found


def headline(facts: Facts) -> list[str]:
    """Names of the figures that lead, the deciding one first; of runs that do not say which, those with an interval, or the usual ones."""
    known, between = figures(facts), dig(facts, "metrics", "headline") or dig(facts, "metrics", "intervals", default={})
    first = [dig(each, "figure") for each in dig(facts, "metrics", "differences", default={}).values()]
    usual = _HEADLINE.get(dig(facts, "kind", default=""), ())
    wanted = [*first[:1], *(name for name in usual if name in between), *between] if between else [*first[:1], *(usual or list(known)[:2])]
    return [name for name in dict.fromkeys(wanted) if name in known]


def strong_baseline(facts: Facts) -> str:
    """The baseline that looks at what is asked, or the only one there is."""
    held = [] if dig(facts, "kind") == "tokens" else sorted(dig(facts, "metrics", "baselines", default={}), key=SIMPLE.__contains__)
    return next(iter(held), "tfidf")


def events(facts: Facts, kind: str) -> list[dict[str, Any]]:
    """The steps or the evaluations of the history, in order."""
    return [event for event in dig(facts, "history", default=[]) if event.get("event") == kind and isinstance(event.get("step"), int)]


def name(facts: Facts) -> str:
    """What the run is called."""
    return str(dig(facts, "name", default="run"))


def settings(facts: Facts) -> Iterator[tuple[str, str]]:
    """Every key of the recipe with its value as text; a long list only by its length."""
    yield from _flat("", dig(facts, "recipe", default={}))


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{path}.{key}" if path else str(key), inner)
    elif isinstance(value, list) and len(value) > _MANY:
        yield path, f"{len(value):,} values"
    elif isinstance(value, list):
        yield path, ", ".join(map(words.plain, value)) or "none"
    else:
        yield path, words.plain(value)


def sources(facts: Facts) -> list[tuple[str, str, str, str]]:
    """Side, file name without its folders, format and digest of each file of rows."""
    found = dig(facts, "manifest", "data", default={})
    return [
        (
            side,
            base_name(str(dig(each, "name", default="unknown"))),
            str(dig(each, "format", default="")),
            str(dig(each, "sha256", default="")),
        )
        for side, each in found.items()
    ]


def ancestors(facts: Facts) -> Iterator[tuple[str, Facts]]:
    """The runs that the base came from, the nearest first: the name of each as a base, and what its manifest says of it."""
    base = dig(facts, "manifest", "base", default={})
    while isinstance(run := base.get("run"), dict):
        yield base_name(str(base.get("name") or "base")), {"manifest": run}
        base = run.get("base") or {}


def base_name(path: str) -> str:
    """The last part of a path, of each of parallel files: a folder's name tells nothing to others, and may tell too much."""
    if "+/" in path:
        return "+".join(map(base_name, path.split("+")))
    return path if path.startswith("hf:") else path.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1] or path
