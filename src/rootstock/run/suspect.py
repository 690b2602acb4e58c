"""What a person names as a model under test, opened: a run, the folder of a model, or a model with its tokenizer; and its base."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import nn

from rootstock import catalog
from rootstock.bases import load as bases
from rootstock.bases.resolve import KNOWN, Resolved, resolve
from rootstock.core.errors import DataError, MergeRefused, RootstockError, UsageError
from rootstock.core.loaded import Head
from rootstock.core.method import Method
from rootstock.core.recipe import DataSettings
from rootstock.core.rows import LABEL, PAIR, TEXT, WORDS, column
from rootstock.core.runfolder import RunFolder
from rootstock.core.watch import Say
from rootstock.data import schema, source
from rootstock.run import clean, kin
from rootstock.run.choices import config_file, room
from rootstock.run.label_names import matched
from rootstock.run.subject import TorchSubject, most_tokens
from rootstock.run.tagger import MARK, Tagger
from rootstock.run.use import Run
from rootstock.sentinel.backdoor.inputs import Inputs
from rootstock.sentinel.integrity import opened as held
from rootstock.sentinel.weights.rows import distances

CLASSES, TAGS = "text-classification", "token-classification"
_OF_TAGS = {"batch_tokens": 512}
"""Each word has an answer, most of them the same: few large updates learn that one alone."""
_AUTO, _AUTO_OF_TAGS = "AutoModelForSequenceClassification", "AutoModelForTokenClassification"
_HEADS = ("classifier.weight", "score.weight", "out_proj.weight")
"""What architectures call the last layer of a classifier."""
_JOINED = "|"
"""Between the labels of a text that has several, as rows write them."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A model under test. base: None where it is not known."""

    subject: TorchSubject | Tagger
    base: Resolved | None = None
    pair: bool = False
    run: Run | None = None

    @property
    def task(self) -> str:
        """What it learned."""
        return TAGS if isinstance(self.subject, Tagger) else CLASSES

    def ground(self, cache: Path | None) -> clean.Ground:
        """What its clean references grow from."""
        assert self.base is not None
        if isinstance(self.subject, Tagger):
            settings: dict[str, Any] = {"text": "words", "label": "tags", "labels": list(self.subject.tags)}
            return clean.Ground(
                base=self.base.reference, digest=self.base.digest, task=self.task, settings=settings, cache=cache, training=_OF_TAGS
            )
        settings = {"text": "text", "label": "label", "labels": list(self.subject.labels)}
        settings |= {"several": "yes" if self.subject.several else "no"} | ({"text_pair": "text_pair"} if self.pair else {})
        return clean.Ground(base=self.base.reference, digest=self.base.digest, task=self.task, settings=settings, cache=cache)

    def moved(self) -> np.ndarray | None:
        """How far the embedding of each token is from the base's, [V]; those that the base lacks are as far as the furthest."""
        if self.base is None or self.base.folder is None or self.subject.rows is None:
            return None
        return distances(self.subject.rows, self.base.folder)


def opened(model: Any, *, base: str | None, say: Say) -> Suspect:
    """A run (or its folder), the folder of a classifier, a pair of model and tokenizer, or what has both as attributes.

    base: what it was trained from, where it does not say so itself. Raises UsageError for what is no classifier of text or its words.
    """
    if isinstance(model, Run):
        return _of_run(model, base, say)
    if isinstance(model, str | Path):
        place = Path(model)
        if RunFolder(place).complete:
            return _of_run(Run(place), base, say)
        return _of_folder(str(model), base, say)
    if isinstance(model, tuple) and len(model) == 2:
        return _of_parts(*model, base, say)
    if isinstance(getattr(model, "model", None), nn.Module) and getattr(model, "tokenizer", None) is not None:
        return _of_parts(model.model, model.tokenizer, base, say)
    raise UsageError(
        f"found {type(model).__name__}",
        wanted="a run, a folder, a pipeline, or a pair (model, tokenizer)",
        fix="scan(model=(model, tokenizer))",
    )


def with_tokenizer(model: Any) -> Any:
    """A model of transformers together with the tokenizer of the folder or base that it was loaded from; anything else as it is.

    Raises UsageError for one that does not say where it was loaded from, or whose place has no tokenizer.
    """
    config = getattr(model, "config", None)
    if not isinstance(model, nn.Module) or config is None or getattr(model, "tokenizer", None) is not None:
        return model
    place = str(getattr(config, "_name_or_path", None) or "")
    try:
        return (model, bases.tokenizer(resolve(place))) if place else model
    except RootstockError as error:
        raise UsageError(
            f"the tokenizer of this {type(model).__name__} is not known: {error.found}",
            wanted="a model that was loaded from a folder with its tokenizer",
            fix="scan(model=(model, tokenizer))",
        ) from error


def _of_run(run: Run, base: str | None, say: Say) -> Suspect:
    task, name = run.task, run.recipe.task["name"]
    if name not in (CLASSES, TAGS):
        raise UsageError(f"{run.path} learned {name}", wanted=f"a run of {CLASSES} or {TAGS}", fix="name another run")
    model = run.load()
    try:
        model = run.method.merge(model)
    except MergeRefused as refused:
        say(f"adapter   stays unmerged: {refused.found}")
    length, labels = int(run.contract.get("length") or 512), getattr(task, "labels", ())
    subject: TorchSubject | Tagger
    if name == TAGS:
        subject = Tagger(model, run.tokenizer, labels, length=length)
    else:
        subject = TorchSubject(model, run.tokenizer, labels, several=task.kind == "classes", length=length)
    found = kin.named(base, say) if base else kin.own(run, say) or kin.recognised(subject.rows, None, say)
    return Suspect(subject=subject, base=found, pair=bool(run.recipe.task.get("text_pair")), run=run)


def _of_folder(reference: str, base: str | None, say: Say) -> Suspect:
    found = resolve(reference)
    if found.adapter:
        return _of_adapter(found, base, say)
    settings = config_file(found, "config.json")
    tags = any(str(each).endswith("ForTokenClassification") for each in settings.get("architectures") or ())
    if not found.fine_tuned and not tags:
        raise UsageError(f"{reference} is no classifier", wanted="a run, or a checkpoint that classifies texts or tokens")
    names = settings.get("id2label") or {}
    labels = [str(names[key]) for key in sorted(names, key=int)] or ["0", "1"]
    options = {"num_labels": len(labels), "id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    loaded = bases.load(found, Head(auto=_AUTO_OF_TAGS if tags else _AUTO, options=options), seed=0)
    subject = _of_torch(loaded.model, bases.tokenizer(found), labels, length=room(found), tags=tags)
    return Suspect(subject=subject, base=kin.named(base, say) if base else kin.recognised(subject.rows, _origin(loaded.model), say))


def _of_adapter(found: Resolved, base: str | None, say: Say) -> Suspect:
    """peft's folder of an adapter for sequence classification, on the base that it names or that somebody names."""
    config = config_file(found, "adapter_config.json")
    named = base or str(config.get("base_model_name_or_path") or "")
    assert found.folder is not None
    heads = [each.shape[0] for name, each in held.model(found.folder).items() if name.endswith(_HEADS)]
    if config.get("task_type") != "SEQ_CLS" or not named or not heads:
        raise UsageError(
            f"{found.reference} is an adapter ({config.get('peft_type')}, {config.get('task_type')})",
            wanted="one of a classifier, with its head and the name of its base",
            fix="name the base with --base",
        )
    ground = kin.named(next((name for name, known in KNOWN.items() if known.hub_id == named), named), say)
    loaded = bases.load(ground, Head(auto=_AUTO, options={"num_labels": heads[0]}), seed=0)
    labels = [str(i) for i in range(heads[0])]
    method: Method = catalog.find("methods", "peft").build({}, "method")  # any tuner's folder says itself of what kind it is
    model = method.merge(method.restore(loaded, found.folder))
    return Suspect(subject=TorchSubject(model, bases.tokenizer(ground), labels, length=room(ground)), base=ground)


def _of_torch(model: nn.Module, tokens: Any, labels: Sequence[str], *, length: int, tags: bool) -> TorchSubject | Tagger:
    if tags:
        return Tagger(model, tokens, labels, length=length)
    several = getattr(getattr(model, "config", None), "problem_type", None) == "multi_label_classification"
    return TorchSubject(model, tokens, labels, several=several, length=length)


def _of_parts(model: Any, tokens: Any, base: str | None, say: Say) -> Suspect:
    config = getattr(model, "config", None)
    names = getattr(config, "id2label", None)
    if not names or not isinstance(model, nn.Module):
        raise UsageError(f"found {type(model).__name__}", wanted="a classifier whose config names its labels", fix="set config.id2label")
    length, labels = most_tokens(model), [str(names[i]) for i in sorted(names)]
    subject = _of_torch(model.float(), tokens, labels, length=length, tags=type(model).__name__.endswith("ForTokenClassification"))
    return Suspect(subject=subject, base=kin.named(base, say) if base else kin.recognised(subject.rows, _origin(model), say))


def _origin(model: Any) -> str | None:
    """What a model's config names as the model that it came from; a model that was read from a folder names that folder: itself."""
    named = getattr(model.config, "_name_or_path", None) or None
    return None if named and Path(named).is_dir() and kin.itself(model, named) else named


def inputs(suspect: Suspect, given: Any, say: Say) -> Inputs:
    """Clean texts, with labels where there are any: a file, a table, texts, or pairs and dicts of a text and its label."""
    if isinstance(given, str | Path):
        found = _of_rows(suspect, _file(suspect, str(given), say))
    elif isinstance(given, pa.Table):
        found = _of_rows(suspect, given)
    else:
        found = _of_items(list(given))
    if isinstance(suspect.subject, Tagger):
        return _tagged(suspect.subject, found, say)
    if found.answers and not suspect.subject.several:
        answers = matched(suspect.subject, found.texts, found.answers, say)
        if answers is None:
            strange = sorted(set(found.answers) - set(suspect.subject.labels))[0]
            raise DataError(f"the label {strange!r} is none of the model's", wanted=f"one of {', '.join(suspect.subject.labels)}")
        found = replace(found, answers=answers)
    if not found.texts:
        raise DataError("there are no clean texts", wanted="some hundred, with their labels", fix="name a file with --data")
    return found


def _file(suspect: Suspect, path: str, say: Say) -> pa.Table:
    if suspect.run is not None:
        return suspect.run.read(path, labelled=True, say=say).rows
    found = source.read(path, DataSettings(train=path))
    return schema.canonical(found, schema.recognise(found, labelled=True)).rows


def _tagged(subject: Tagger, found: Inputs, say: Say) -> Inputs:
    """Texts and as many tags, with a blank between; what is nothing of the kind is left out, and said."""
    wanted = "words with a tag each"
    if found.answers is None or not found.texts:
        raise DataError("the rows of a tagger have no tags" if found.texts else "there are no clean texts", wanted=wanted)
    strange = sorted({tag for each in found.answers for tag in each.split()} - set(subject.tags))
    if strange:
        raise DataError(f"the tag {strange[0]!r} is none of the model's", wanted=f"one of {', '.join(subject.tags)}")
    both = zip(found.texts, found.answers, strict=True)
    kept = [i for i, (text, tags) in enumerate(both) if 0 < len(str(text).split()) == len(tags.split()) and MARK not in text]
    if not kept:
        raise DataError("no row has as many words as tags", wanted=wanted, fix="write no blanks within a word or a tag")
    if left := len(found) - len(kept):
        say(f"data      {left} of {len(found)} rows have other words than tags, or a blank within a word, and are left out")
    return found.take(kept)


def _of_rows(suspect: Suspect, rows: pa.Table) -> Inputs:
    texts: Sequence[Any] = column(rows, TEXT)
    if PAIR in rows.column_names:
        texts = list(zip(texts, column(rows, PAIR), strict=True))
    if WORDS in rows.column_names and isinstance(suspect.subject, Tagger):
        texts = [" ".join(words) for words in column(rows, WORDS)]
    if LABEL not in rows.column_names:
        return Inputs(texts=texts)
    if isinstance(suspect.subject, Tagger):
        return Inputs(texts=texts, answers=[" ".join(map(str, tags)) if isinstance(tags, list) else "" for tags in column(rows, LABEL)])
    spoken: Callable[[Any], str] = lambda value: _JOINED.join(map(str, value)) if isinstance(value, list) else str(value)  # noqa: E731
    task = suspect.run.task if suspect.run else None
    answers = task.truth(rows) if task is not None and hasattr(task, "truth") else column(rows, LABEL)
    return Inputs(texts=texts, answers=[spoken(value) for value in answers])


def _of_items(items: Sequence[Any]) -> Inputs:
    if all(isinstance(each, str) for each in items):
        return Inputs(texts=items)
    if all(isinstance(each, dict) and "text" in each for each in items):
        labelled = all("label" in each for each in items)
        return Inputs(texts=[each["text"] for each in items], answers=[str(each["label"]) for each in items] if labelled else None)
    if all(isinstance(each, dict) and {"words", "tags"} <= {*each} for each in items):
        items = [(each["words"], each["tags"]) for each in items]
    if all(isinstance(each, tuple | list) and len(each) == 2 and not isinstance(each[0], str) for each in items):
        return Inputs(texts=[" ".join(words) for words, _ in items], answers=[" ".join(map(str, tags)) for _, tags in items])
    if all(isinstance(each, tuple | list) and len(each) == 2 for each in items):
        return Inputs(texts=[text for text, _ in items], answers=[str(label) for _, label in items])
    raise UsageError("test_inputs of mixed kinds", wanted="a file, texts, pairs, or dicts with text and label or words and tags")
