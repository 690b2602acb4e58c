"""Runs as ONNX graphs, in 32 bits or 8: written, read by onnxruntime, and compared with the run on real rows before they are kept.

Shape letters: B rows in a batch, T tokens, V vocabulary.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn
from transformers import PreTrainedModel

from rootstock.bases import graph, graph_causal
from rootstock.core import artifact
from rootstock.core.coupled import Coupled
from rootstock.core.errors import MergeRefused, UsageError
from rootstock.core.rows import boxed
from rootstock.core.task import Batch, Labelled
from rootstock.core.watch import Say
from rootstock.data.batches import Feed
from rootstock.loop import infer
from rootstock.report import graph_card
from rootstock.run import merge as gate
from rootstock.run.use import Run
from rootstock.verbs import export_int8, exporting, merging
from rootstock.verbs.exporting import Exported, Options

TOLERANCE = 1e-4
"""Largest difference of an answer beside the spread of all; sums of fp32 in another order gave 2.5e-7 in a tiny classifier."""
NAME = "model.onnx"


def onnx(runs: Sequence[Run], options: Options, place: Path, say: Say) -> Exported:
    """A graph in 32 bits whose answers are the run's own. Raises MergeRefused where they are not."""
    run, feed, model = _opened(runs, options, "onnx", say)[:3]
    before = gate.answers(run.task, feed, model)
    if run.task.writes:
        return _causal(run, feed, model, before, options.tolerance, place)
    ports = _traced(run, feed, model, place / NAME)
    after = gate.answers(run.task, feed, graph.Session(place / NAME, model, threads=torch.get_num_threads()))
    compared = {"rows": len(feed.encoded), **_moved(before, after, options.tolerance)}
    return _beside(run, ports, place, {"to": "onnx", "compared": compared})


def _moved(before: np.ndarray, after: np.ndarray, tolerance: float | None) -> dict[str, float]:
    """How far the graph's answers lie from the run's. Raises MergeRefused where that is too far."""
    allowed, moved = TOLERANCE if tolerance is None else tolerance, gate.largest_move(before, after)
    if not moved <= allowed:
        raise MergeRefused(
            f"the graph moves an answer by {moved:.2g} of their spread", wanted=f"at most {allowed:g}", fix="use the run, or --to merged"
        )
    return {"largest_move": moved, "tolerance": allowed}


def _causal(run: Run, feed: Feed, model: nn.Module, before: np.ndarray, tolerance: float | None, place: Path) -> Exported:
    """A graph that writes: the losses of the rows' own tokens are the run's, read at once and read in two calls with a memory between."""
    folded = run.method.merge(copy.deepcopy(model)) if run.contract["saves"] == "adapter" and run.method.folds else model
    plain = next(each for each in folded.modules() if isinstance(each, PreTrainedModel))
    shape = graph_causal.shape_of(plain)
    graph_causal.write(plain, shape, place / NAME)
    session = graph_causal.Session(place / NAME, shape, threads=torch.get_num_threads())
    at_once, in_two = (_read(session, feed, cut=cut) for cut in (False, True))
    facts = _moved(before, at_once, tolerance) | {"largest_move_in_two": _moved(before, in_two, tolerance)["largest_move"]}
    ports = graph.Ports(outputs=(graph_causal.LOGITS,), sample={})
    found = {"to": "onnx", "compared": {"rows": len(feed.encoded), **facts}, "keeps": asdict(shape)}
    inputs = {graph_causal.IDS: ["rows", "tokens"], graph_causal.MASK: ["rows", "all_tokens"]}
    return _beside(run, ports, place, found, {"inputs": inputs, "ends": _ends(plain, run.tokenizer)})


def _read(session: graph_causal.Session, feed: Feed, *, cut: bool) -> np.ndarray:
    """Losses of all tokens that are asked, as `gate.answers` has them. cut: with half of the tokens in a call of their own."""
    found = infer.infer(session, feed, lambda member, batch: {"answers": _losses(session, batch, cut=cut)}, device=torch.device("cpu"))
    return np.concatenate(list(found["answers"]))


def _losses(session: graph_causal.Session, batch: Batch, *, cut: bool) -> np.ndarray:
    """Of each row an array."""
    ids_BT = batch[graph_causal.IDS]
    mask_BT = batch.get(graph_causal.MASK, torch.ones_like(ids_BT))
    logits_BTV = torch.from_numpy(session.logits(ids_BT.numpy(), mask_BT.numpy(), cut=ids_BT.shape[1] // 2 if cut else 0))
    losses_BT = nn.functional.cross_entropy(logits_BTV.transpose(1, 2), batch["labels"], reduction="none", ignore_index=-100)
    return boxed([losses_T[labels_T != -100].numpy() for losses_T, labels_T in zip(losses_BT, batch["labels"], strict=True)])


def _ends(plain: Any, tokenizer: Any) -> list[int]:
    """Tokens after which nothing more is written."""
    told = plain.generation_config.eos_token_id
    held = told if isinstance(told, list) else [told]
    return sorted({each for each in (*held, tokenizer.eos_token_id) if each is not None})


def int8(runs: Sequence[Run], options: Options, place: Path, say: Say) -> Exported:
    """The same graph with weights in 8 bits; MergeRefused where too many answers are others, or where it is measurably worse."""
    run, feed, model, rows = _opened(runs, options, "int8", say)
    whole = place / "whole.onnx"
    ports = _traced(run, feed, model, whole)
    graph.quantize(whole, place / NAME)
    threads = torch.get_num_threads()
    sessions = [graph.Session(path, model, threads=threads) for path in (whole, place / NAME)]
    compared = export_int8.compared(run, rows, model, sessions[1])
    export_int8.check(compared, options.tolerance)
    batch = next(iter(feed.micro_batches(feed.in_order()[0][:64])))
    asked = {"the run": model, "onnx": sessions[0], "int8": sessions[1]}
    speed = _speed({name: partial(_answer, run.task, each, batch) for name, each in asked.items()}, len(batch["input_ids"]))
    sizes = {"whole_bytes": whole.stat().st_size}
    whole.unlink()
    return _beside(run, ports, place, {"to": "int8", "compared": compared, "speed": speed | {"threads": threads}, **sizes})


def _opened(runs: Sequence[Run], options: Options, form: str, say: Say) -> tuple[Run, Feed, nn.Module, pa.Table]:
    """The run, the rows to compare on as it reads them, and its own model in fp32."""
    run = exporting.alone(runs, options, form)
    goes_on = run.task.kind == "completion" and form == "onnx"
    if goes_on and run.task.packs:
        raise UsageError(f"{run.path} learned with packing", wanted="a run whose rows have lines of their own", fix="export it --to gguf")
    if (run.task.writes and not goes_on) or run.task.reads != "texts":
        fix = "--to gguf or --to vllm" if run.task.writes else "--to merged"
        wanted = (
            "a run that reads texts and labels them, or goes on with them" if form == "onnx" else "a run that reads texts and writes none"
        )
        raise UsageError(f"{run.recipe.task['name']} --to {form}", wanted=wanted, fix=f"export it {fix}")
    if not hasattr(run.tokenizer, "backend_tokenizer"):
        raise UsageError(f"the tokenizer of {run.path} is no tokenizer.json", wanted="a fast tokenizer", fix="export it --to merged")
    rows = exporting.rows_wanted(run, options.rows, say)
    feed = run.feed(run.task.encode(rows, run.tokenizer, run.contract["length"]))
    return run, feed, run.load().cpu().eval(), rows


def _traced(run: Run, feed: Feed, model: nn.Module, path: Path) -> graph.Ports:
    """Write the graph, an adapter folded where it folds; the task's own code tells on a few rows what goes in."""
    rows = feed.in_order()[0][:2]
    batch = next(iter(feed.micro_batches(np.resize(rows, 2))))
    heard = graph.Listening(model)
    _answer(run.task, heard, batch)
    ports = heard.ports(partial(_vectors, run.task) if isinstance(run.task, Coupled) else None)
    folds = run.contract["saves"] == "adapter" and run.method.folds
    graph.write(run.method.merge(run.load().cpu().eval()) if folds else model, ports, path)
    return ports


def _answer(task: Labelled, model: nn.Module, batch: Batch) -> None:
    with torch.inference_mode():
        task.compared(model, batch)


def _vectors(task: Coupled, model: nn.Module, given: Batch) -> torch.Tensor:
    """Each text's vector, pooled as the task does, of length 1."""
    made = task.embed(model, {name: value[:, None] for name, value in given.items()})[:, 0]
    return nn.functional.normalize(made.float(), dim=-1)


def _speed(asked: dict[str, Callable[[], None]], rows: int, *, turns: int = 5) -> dict[str, Any]:
    """Rows a second of each: the median of turns that alternate, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in asked}
    for turn in range(turns + 1):
        for name, answer in asked.items():
            began = time.perf_counter()
            answer()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {"rows": rows, "rows_per_second": {name: round(rows / float(np.median(each)), 1) for name, each in seconds.items()}}


def _beside(run: Run, ports: graph.Ports, place: Path, found: dict[str, Any], more: dict[str, Any] | None = None) -> Exported:
    """Tokenizer and labels beside the graph, and what the card tells of all."""
    run.tokenizer.backend_tokenizer.save(str(place / "tokenizer.json"))
    artifact.write_json(place / "labels.json", run.contract["labels"])
    facts = found | {
        "sources": [merging.source(run)],
        "opset": graph.OPSET,
        "inputs": {name: list(axes.values()) for name, axes in ports.axes.items()},
        "outputs": list(ports.outputs),
        "labels": run.contract["labels"],
        "read": {"length": run.contract["length"], "pad_id": run.tokenizer.pad_token_id, "pad_token": run.tokenizer.pad_token},
        "bytes": sum(path.stat().st_size for path in place.glob(f"{NAME}*")),
        "versions": {name: version(name) for name in ("torch", "onnx", "onnxruntime")},
        **(more or {}),
    }
    told = exporting.told(run) | {"pair": bool(run.recipe.task.get("text_pair")) and not run.task.singly}
    return Exported(facts=facts, card=lambda name: graph_card.render(facts | told | {"name": name}))
