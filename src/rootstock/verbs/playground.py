"""One question put to one run, and its answer in pieces that a page can show: labels, entities, spans, or text as it is written.

Texts come back cut in pieces, each with what is said of it: letters are counted here only, as no two languages count them alike.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from rootstock import catalog
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import RootstockError, UsageError
from rootstock.core.rows import CHOICES
from rootstock.core.runfolder import RunFolder, no_run
from rootstock.core.task import Labelled
from rootstock.loop.infer import to_device
from rootstock.run.choices import config_file
from rootstock.run.explain import KINDS, Explainer, Explanation
from rootstock.run.opened import Opened, kind_of, open_base
from rootstock.run.prepared import device_name
from rootstock.run.use import Run
from rootstock.verbs import fill
from rootstock.verbs import generate as generating

Plain = dict[str, Any]
_Key = tuple[Path, int]
_Thing = TypeVar("_Thing")
MOST_LETTERS, MOST_TOKENS = 20_000, 1_000
KEPT = 4
"""Runs whose models stay in memory."""
_ONE = threading.RLock()
_WRITES = ("text", "completion", "preference")


class Playground:
    """Runs that were asked lately, with their models. Each is opened as `predict` opens it: through the gate, held to its digests."""

    def __init__(self) -> None:
        self._runs: dict[_Key, Run] = {}
        self._bases: dict[_Key, Opened] = {}
        self._explainers: dict[_Key, Explainer] = {}

    def asks(self, path: Path) -> Plain:
        """What a run wants to be asked, from its recipe alone: nothing is loaded. Raises UsageError for one that has not ended."""
        kind, run = self._kind(path)
        if run is None:
            return {"kind": kind, "parts": ["text"], "explains": False, "streams": kind == "causal"}
        task = run.task
        pair = bool(run.recipe.task.get("text_pair")) or task.kind == "span" or task.singly
        parts = ["text", *(["text_pair"] if pair else []), *(["choices"] if CHOICES in task.further else [])]
        if task.reads != "texts":
            raise UsageError(f"{path.name} reads {task.reads}", wanted="a run on texts", fix="rootstock predict reads images")
        labels = list(getattr(task, "labels", ()))
        single = task.kind in KINDS
        return {"kind": task.kind, "parts": parts, "explains": single, "streams": task.kind in _WRITES, "labels": labels}

    def answer(self, path: Path, asked: Plain) -> Plain:
        """The answer to texts, with every label's probability, entities or span."""
        kind, run = self._kind(path)
        text = _text(asked, "text")
        if kind == "masked":
            return {"kind": kind, "masks": fill.fill(str(path), [text])[0]["masks"]}
        if run is None:
            raise UsageError(f"{path.name} gives no answer to a text", wanted="a run on labelled rows, or a base that fills or writes")
        made = run.predictions(run.rows_of([_question(run, asked)]))
        row = {name: values[0] for name, values in made.table.items() if values}
        said = run.spoken_cut(made.cut) if made.cut else ""
        return {"kind": kind, "note": said, "format": str(run.dtype).removeprefix("torch."), **_SHOWN.get(kind, _plain)(row, asked)}

    def explain(self, path: Path, asked: Plain) -> Plain:
        """Which tokens the answer rests on. target: a label; word: of a tagger, the one whose tag it is."""
        kind, run = self._kind(path)
        if run is None or run.task.kind not in KINDS:
            raise UsageError(f"{path.name} has no one score to explain", wanted="a run that gives labels, tags or a number")
        explainer = _kept(self._explainers, _key(path), lambda: Explainer(run))
        question = _question(run, asked)
        found = explainer.explain(
            question if isinstance(question, tuple) else str(question),
            target=asked.get("target") if isinstance(asked.get("target"), str) else None,
            word=asked["word"] if isinstance(asked.get("word"), int) else 0,
        )
        texts = [question] if isinstance(question, str) else list(question)
        if kind == "tags":
            texts = [" ".join(run.predictions(run.rows_of([question])).table["words"][0])]
        return {
            "target": found.target, "score": found.score, "baseline": found.baseline, "gap": found.gap, "points": found.points,
            "special": sum(value for value, own in zip(found.values, found.special, strict=True) if own), "texts": _pieces(texts, found),
        }  # fmt: skip

    def write(self, path: Path, asked: Plain, gone: Callable[[], bool]) -> Iterator[str]:
        """What a run writes, piece by piece, until it ends or `gone` says that nobody listens."""
        kind, run = self._kind(path)
        text = _text(asked, "text")
        if kind == "causal":
            opened, drawing = _kept(self._bases, _key(path), lambda: open_base(str(path))), _drawing(asked)
            yield from _streamed(opened.model, opened.tokens, lambda: generating.go_on(opened, text, drawing), gone)
        elif run is not None and kind in _WRITES:
            if getattr(run.task, "beams", 1) > 1:  # several beginnings are kept: nothing is sure before the end
                yield str(run.predict([text])[0])
                return
            yield from _streamed(run.model, run.tokenizer, partial(_written, run, text), gone)
        else:
            raise UsageError(f"{path.name} writes no text", wanted="a run that writes")

    def _kind(self, path: Path) -> tuple[str, Run | None]:
        """What a run answers with, and the run; of an objective what its base does, and None."""
        folder = RunFolder(path)
        if not folder.complete:
            raise no_run(folder)
        run = _kept(self._runs, _key(path), lambda: Run(path))
        if run.folder.parts:
            raise UsageError(f"{path.name} learned several tasks", wanted=f"one of its parts: {', '.join(run.folder.parts)}")
        if issubclass(catalog.find("tasks", str(run.recipe.task["name"])), Labelled):
            return run.task.kind, run
        named = config_file(resolve(str(path)), "config.json").get("architectures") or []
        return next((kind for kind in map(kind_of, map(str, named)) if kind != "none"), "none"), None


def _key(path: Path) -> _Key:
    """A run as it stands: another one under the same name is another."""
    folder = RunFolder(path)
    return path, (folder.manifest if folder.manifest.exists() else path / "contract.json").stat().st_mtime_ns


def _kept(held: dict[_Key, _Thing], key: _Key, make: Callable[[], _Thing]) -> _Thing:
    """The thing under a key, made where it is not there; the KEPT last ones stay. Several threads may ask at once."""
    with _ONE:
        found = held.pop(key, None)
        found = make() if found is None else found
        held[key] = found
        while len(held) > KEPT:
            held.pop(next(iter(held)))
    return found


def _text(asked: Plain, part: str) -> str:
    value = asked.get(part)
    if not isinstance(value, str) or not value.strip():
        raise UsageError("there is no text" if part == "text" else "there is no second text", wanted="a text", fix="type one")
    if len(value) > MOST_LETTERS:
        raise UsageError(f"a text of {len(value):,} letters", wanted=f"at most {MOST_LETTERS:,}", fix="rootstock predict --file takes more")
    return value


def _question(run: Run, asked: Plain) -> Any:
    """The text, the pair, or a question with what there is to choose from, as the run wants it."""
    pair = run.recipe.task.get("text_pair") is not None or (run.task.singly and bool(str(asked.get("text_pair") or "").strip()))
    texts = [_text(asked, part) for part in ("text", *(["text_pair"] if pair else []))]
    if CHOICES not in run.task.further:
        return tuple(texts) if pair else texts[0]
    held = asked.get("choices")
    choices = [str(each) for each in held if str(each).strip()] if isinstance(held, list) else []
    if len(choices) < 2:
        raise UsageError("there are fewer than two choices", wanted="a choice a line")
    return (*texts, choices)


def _plain(row: Mapping[str, Any], asked: Plain) -> Plain:
    said = row.get("predicted")
    if isinstance(said, list) and said and isinstance(said[0], float):
        return {"vector": {"width": len(said), "first": said[:8]}}
    return {"predicted": said, "confidence": row.get("confidence")}


def _labels(row: Mapping[str, Any], asked: Plain) -> Plain:
    found = [{"name": name[2:-1], "p": value} for name, value in row.items() if name.startswith("p(")]
    return {"predicted": row["predicted"], "labels": sorted(found, key=lambda each: -each["p"])}


def _tags(row: Mapping[str, Any], asked: Plain) -> Plain:
    """The text in pieces, words of an entity together; word: its place among the words."""
    text, at, pieces = str(asked["text"]), 0, list[Plain]()
    for word, (said, tag) in enumerate(zip(row["words"], row["predicted"], strict=True)):
        begin = text.find(said, at)
        blank, at = text[at:begin], begin + len(said)
        mark, _, kind = tag.partition("-")
        goes_on = mark in ("I", "E", "L") and kind and pieces and pieces[-1].get("kind") == kind
        if goes_on:
            pieces[-1]["text"] += blank + said
            continue
        pieces += [{"text": blank}] if blank else []
        pieces.append({"text": said, "kind": kind or tag, "word": word} if tag not in ("O", "") else {"text": said, "word": word})
    return {"pieces": [*pieces, *([{"text": text[at:]}] if text[at:] else [])], "confidence": row["confidence"]}


def _span(row: Mapping[str, Any], asked: Plain) -> Plain:
    passage, said, begins = str(asked["text_pair"]), str(row["predicted"]), int(row["begins"])
    if not said or begins < 0:
        return {"predicted": "", "confidence": row["confidence"], "pieces": [{"text": passage}]}
    begin = passage.find(said, begins)
    pieces = [{"text": passage[:begin]}, {"text": said, "kind": "answer"}, {"text": passage[begin + len(said) :]}]
    return {"predicted": said, "confidence": row["confidence"], "pieces": [each for each in pieces if each["text"]]}


_SHOWN: dict[str, Callable[[Mapping[str, Any], Plain], Plain]] = {"class": _labels, "classes": _labels, "tags": _tags, "span": _span}


def _pieces(texts: Sequence[str], found: Explanation) -> list[list[Plain]]:
    """Each text in pieces with the share of the token that they are; what is between tokens has none."""
    if all(place is None for place in found.places):
        own = zip(found.tokens, found.values, found.special, strict=True)
        return [[{"text": token, "value": value} for token, value, special in own if not special]]
    told = []
    for number, text in enumerate(texts):
        at, pieces = 0, list[Plain]()
        for place, value in zip(found.places, found.values, strict=True):
            if place is None or place[0] != number:
                continue
            _, begin, end = place
            pieces += [{"text": text[at:begin]}] if begin > at else []
            pieces.append({"text": text[max(at, begin) : end], "value": value})
            at = max(at, end)
        told.append([*pieces, *([{"text": text[at:], "cut": True}] if text[at:] else [])])
    return told


def _streamed(model: Any, tokenizer: Any, write: Callable[[], object], gone: Callable[[], bool]) -> Iterator[str]:
    """What the model writes while `write` has it write, as it comes; it stops soon after `gone` says so. Its error, if it fails."""
    from transformers import StoppingCriteriaList, TextIteratorStreamer

    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    stopping = StoppingCriteriaList([lambda ids_BT, _, **__: torch.full((len(ids_BT),), gone(), device=ids_BT.device)])
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with bases.quiet(), torch.inference_mode(), _heard(model, streamer, stopping):
                write()
        except (RootstockError, RuntimeError, ValueError) as error:
            failed.append(error)
        finally:
            streamer.end()

    writing = threading.Thread(target=work, daemon=True)
    writing.start()
    yield from filter(None, streamer)
    writing.join()
    for error in failed:
        raise error


@contextmanager
def _heard(model: Any, streamer: Any, stopping: Any) -> Iterator[None]:
    """Inside, the model's generate tells a streamer what it writes, and can be stopped."""
    vars(model)["generate"] = partial(model.generate, streamer=streamer, stopping_criteria=stopping)
    try:
        yield
    finally:
        vars(model).pop("generate", None)


def _written(run: Run, text: str) -> None:
    """A run's own way to write."""
    task = run.task
    encoded = task.encode(run.rows_of([text]), run.tokenizer, run.contract["length"])
    batch = next(iter(run.feed(encoded).micro_batches(np.zeros(1, np.int64))))
    task.decode(run.model, to_device(batch, torch.device(device_name())))


def _drawing(asked: Plain) -> generating.Drawing:
    most, temperature = asked.get("max_tokens", 60), asked.get("temperature", 0.8)
    if not isinstance(most, int) or not isinstance(temperature, int | float) or most > MOST_TOKENS:
        raise UsageError(f"max_tokens is {most!r}, temperature {temperature!r}", wanted=f"1 to {MOST_TOKENS:,}, and a number above 0")
    return generating.Drawing(max_tokens=most, temperature=float(temperature), top_p=0.95)
