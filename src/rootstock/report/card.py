"""README.md of a run: a model card in the ecosystem's format, with the facts filled in."""

import json
import re
import shlex
from functools import cache
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from rootstock.report import costs, loaders, pretraining, summary, words
from rootstock.report import facts as read
from rootstock.report.facts import Facts, dig

_HUB_METRICS = {
    "macro_f1": "f1",
    "micro_f1": "f1",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "subset_accuracy": "accuracy",
    "mean_absolute_error": "mae",
}
"""What the hub calls a figure; the others go by their own names."""
_LABELS = 30
"""Most labels listed in the card; the report has all."""


def render(facts: Facts) -> str:
    """The card as Markdown with YAML front matter; what the facts do not hold is said to be unknown or left out."""
    unlabelled = dig(facts, "kind") == "tokens"
    shown = _pretrained(facts) if unlabelled else _identity(facts) | _training(facts) | _measured(facts)
    return written("pretraining.md.j2" if unlabelled else "card.md.j2", front_matter(facts), shown)


def written(template: str, front: dict[str, Any], shown: dict[str, Any]) -> str:
    """A template with these values, under its front matter."""
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{head}---\n\n" + markdown(template, shown)


def markdown(template: str, shown: dict[str, Any]) -> str:
    """A template of Markdown with these values."""
    return re.sub(r"\n{3,}", "\n\n", _environment().get_template(template).render(**shown)).strip() + "\n"


def cell(value: Any) -> str:
    """Text that stays text inside a Markdown line or table cell."""
    flat = " ".join(str(value).split())
    for mark, safe in (("\\", "\\\\"), ("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), *((mark, f"\\{mark}") for mark in "|*[]`~$")):
        flat = flat.replace(mark, safe)
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", flat)  # an underscore within a word means nothing


def _code(value: Any) -> str:
    return " ".join(str(value).replace("`", "").split())


_PIPELINES = {
    "tags": "token-classification",
    "span": "question-answering",
    "choice": "multiple-choice",
    "images": "image-classification",
    "text": "text2text-generation",
    "completion": "text-generation",
    "preference": "text-generation",
    "similarity": "sentence-similarity",
    "retrieval": "sentence-similarity",
}
"""What the hub calls a task, by its form, where it is no text classification."""
_CLASSES = {"tags": "AutoModelForTokenClassification", "span": "AutoModelForQuestionAnswering", "choice": "AutoModelForMultipleChoice"} | {
    "images": "AutoModelForImageClassification",
    "similarity": "AutoModel",
    "retrieval": "AutoModel",
}
"""The class of transformers that loads such a model, where it is no classifier of sequences."""


def front_matter(facts: Facts) -> dict[str, Any]:
    """What the hub reads; language and data sets are left out because nobody has said them."""
    base, adapter = dig(facts, "manifest", "base", "hub_id"), dig(facts, "contract", "saves") in ("adapter", "head")
    relation = {"base_model": base, "base_model_relation": "adapter" if adapter else "finetune"} if base else {}
    names, unlabelled = read.headline(facts), dig(facts, "kind") == "tokens"
    library = "rootstock" if unlabelled and loaders.own_module(facts) else "transformers"
    found = {
        "license": (dig(facts, "manifest", "base", "licence") or "unknown").lower(),
        **relation,
        "library_name": "rootstock"
        if dig(facts, "contract", "saves") == "head" or _method(facts) in _BESIDE
        else "peft"
        if adapter
        else library,
        "pipeline_tag": _pipeline(facts),
        "tags": [tag for tag in ("rootstock", _task(facts) if unlabelled else "", _method(facts)) if tag],
    }
    if not names:
        return found
    return found | {"metrics": list(dict.fromkeys(_HUB_METRICS.get(name, name) for name in names)), "model-index": [_index(facts, names)]}


def _pipeline(facts: Facts) -> str:
    kind = dig(facts, "kind", default="")
    return loaders.loader(facts).tag if kind == "tokens" else _PIPELINES.get(_form(facts), "text-classification")


def _form(facts: Facts) -> str:
    """What a model is to a reader: the kind of its answers, or that it reads images."""
    return "images" if dig(facts, "reads") == "images" else str(dig(facts, "kind", default=""))


@cache
def _environment() -> Environment:
    # Markdown, not HTML: every value from outside passes through the filter `cell` or `code` instead of autoescape
    made = Environment(
        loader=PackageLoader("rootstock.report"), autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {"cell": cell, "code": _code, "count": words.count, "percent": words.percent, "amount": words.amount}
    return made


def _index(facts: Facts, names: list[str]) -> dict[str, Any]:
    held = [name for side, name, _, _ in read.sources(facts) if side == "validation"]
    known = held or [name for _, name, _, _ in read.sources(facts)] or ["unknown"]
    data = ", ".join(known) if dig(facts, "kind") == "tokens" else known[0]
    figures = [
        {"type": _HUB_METRICS.get(name, name), "name": words.figure_name(name), "value": round(read.figures(facts)[name], 6)}
        for name in names
    ]
    task = {"type": _pipeline(facts), "name": _task(facts).replace("-", " ").capitalize() or "Text classification"}
    return {
        "name": read.name(facts),
        "results": [{"task": task, "dataset": {"name": data, "type": data, "split": "validation"}, "metrics": figures}],
    }


def _task(facts: Facts) -> str:
    return str(dig(facts, "manifest", "task") or dig(facts, "recipe", "task", "name", default=""))


def _method(facts: Facts) -> str:
    return str(dig(facts, "manifest", "method") or dig(facts, "contract", "method", "name", default=""))


def _identity(facts: Facts) -> dict[str, Any]:
    base = dig(facts, "manifest", "base", default={})
    labels = dig(facts, "contract", "labels") or dig(facts, "manifest", "labels", default=[])
    called = base.get("hub_id") or read.base_name(str(base.get("name") or base.get("reference") or ""))
    return {
        "name": read.name(facts),
        "path": shlex.quote(" ".join(read.name(facts).split())),
        "kind": dig(facts, "kind", default=""),
        "form": _form(facts),
        "reader": "AutoImageProcessor" if _form(facts) == "images" else "AutoTokenizer",
        "auto": _CLASSES.get(_form(facts), "AutoModelForSequenceClassification"),
        "parted": bool(dig(facts, "ledger", "lengths", "parted")),
        "task": _task(facts),
        "method": _method(facts),
        "base": called,
        "base_python": json.dumps(called or "the base model"),
        "revision_python": json.dumps(base["revision"]) if base.get("revision") else "",
        "licence": base.get("licence"),
        "labels": [str(label) for label in labels[:_LABELS]],
        "label_count": len(labels),
        "outputs": 2 if dig(facts, "kind") == "span" else max(len(labels), 1),
        "longest_answer": dig(facts, "recipe", "task", "longest_answer", default=30),
        "adapter": dig(facts, "contract", "saves") == "adapter",
        "added": dig(facts, "contract", "added", default=[]),
        "new_rows": bool(dig(facts, "contract", "added")) and _method(facts) not in _HOLD_ROWS,
        "before": dig(facts, "contract", "method", "tokens", default=0) if _method(facts) in _BEFORE else 0,
        "head": dig(facts, "contract", "saves") == "head" or _method(facts) in _BESIDE,
        "pair": bool(dig(facts, "recipe", "task", "text_pair") or dig(facts, "contract", "task", "text_pair")),
        "prefix_python": json.dumps(dig(facts, "recipe", "task", "prefix", default=""), ensure_ascii=False),
        "max_tokens": dig(facts, "recipe", "task", "max_tokens", default=128),
        "beams": dig(facts, "recipe", "task", "beams", default=1),
        "chat": dig(facts, "recipe", "task", "form") == "chat",
        "pool": dig(facts, "recipe", "task", "pool", default="mean"),
        "length": dig(facts, "contract", "length") or dig(facts, "recipe", "training", "length"),
    }


_HOLD_ROWS = ("lora", "dora", "rslora", "qlora", "compose", "adalora")
"""Methods whose format in peft has a place for the rows of new tokens."""
_BESIDE = ("adapter", "reft")
"""Methods whose adapters peft does not know."""
_BEFORE = ("prompt", "p-tuning")
"""Methods of which peft gives answers to the vectors before a row as well."""


def _training(facts: Facts) -> dict[str, Any]:
    counts, held = (dig(facts, "ledger", name, default={}) for name in ("labels", "validation_labels"))
    findings = dig(facts, "ledger", "findings", default={})
    return {
        "rows": dig(facts, "ledger", "rows") or dig(facts, "manifest", "rows", default={}),
        "learned_with": dig(facts, "metrics", "learned_with", default=[]),
        "sources": read.sources(facts),
        "balance": [(label, train, held.get(label)) for label, train in list(counts.items())[:_LABELS]],
        "balance_count": len(counts),
        "checked": bool(findings),
        "findings": [(name, found.get("count"), found.get("share")) for name, found in findings.items() if found.get("count")],
        "settings": [(key, _shared(key, value)) for key, value in read.settings(facts)],
        "teacher": _teacher(facts),
        "base_facts": costs.base(facts),
        "lineage": costs.lineage(facts),
        "versions": costs.versions(facts),
        "pace": costs.pace(facts),
    }


def _teacher(facts: Facts) -> dict[str, Any] | None:
    """The run whose answers were learned as well: its name, base and method, and how much they counted."""
    found = dig(facts, "manifest", "teacher")
    told = dig(facts, "recipe", "teacher", default={})
    return (
        {**found, "base": _without_folder(str(found.get("base", ""))), **told, "alone": dig(facts, "ledger", "rows", "taught")}
        if found
        else None
    )


def _shared(key: str, value: str) -> str:
    """A setting without the folders of the machine it was made on."""
    if key not in ("base", "tokenizer", "data.train", "data.validation", "teacher.run") and not key.startswith("augment."):
        return value
    return ", ".join(_without_folder(each) for each in value.split(", "))


def _without_folder(path: str) -> str:
    start = pretraining.SCRATCH if path.startswith(pretraining.SCRATCH) else ""
    return start + read.base_name(path) if path.removeprefix(start).startswith(("/", "~")) else path


def _pretrained(facts: Facts) -> dict[str, Any]:
    judgement = summary.judgement(facts)
    return {
        **pretraining.identity(facts),
        **pretraining.score(facts),
        **pretraining.data(facts),
        "warning": judgement if judgement and judgement.tone != "good" else None,
        "figures": summary.all_figures(facts),
        "per_byte": "bits_per_byte" in read.figures(facts),
        "summary": str(dig(facts, "objective", "summary", default="")),
        "objective": pretraining.objective(facts),
        "done": [row for row in pretraining.done(facts) if not row[1].endswith("a second")],  # the pace has it
        "pace": costs.pace(facts),
        "settings": [(key, _shared(key, value)) for key, value in read.settings(facts)],
        "scratch": pretraining.from_scratch(facts),
        "base_facts": pretraining.base_facts(facts),
        "lineage": pretraining.lineage(facts),
        "versions": costs.versions(facts),
    }


def _measured(facts: Facts) -> dict[str, Any]:
    judgement = summary.judgement(facts)
    leakage, leakage_table = summary.leakage(facts)
    return {
        "verdict": str(dig(facts, "metrics", "verdict", default="")).rstrip("."),
        "warning": judgement if judgement and judgement.tone != "good" else None,
        "figures": summary.all_figures(facts),
        "signatures": dig(facts, "metrics", "signatures", default={}),
        "optimism": summary.optimism(facts),
        "leakage": leakage,
        "leakage_table": leakage_table,
        "measured_rows": dig(facts, "metrics", "rows"),
    }
