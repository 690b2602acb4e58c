"""Runs as ONNX graphs, in 32 bits or 8: written, read by onnxruntime, and compared with the run on real rows before they are kept."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from rootstock.bases import graph
from rootstock.core import artifact
from rootstock.core.coupled import Coupled
from rootstock.core.errors import MergeRefused, UsageError
from rootstock.core.task import Batch, Labelled
from rootstock.core.watch import Say
from rootstock.data.batches import Feed
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
    ports = _traced(run, feed, model, place / NAME)
    allowed = TOLERANCE if options.tolerance is None else options.tolerance
    moved = gate.largest_move(before, gate.answers(run.task, feed, graph.Session(place / NAME, model, threads=torch.get_num_threads())))
    if not moved <= allowed:
        raise MergeRefused(
            f"the graph moves an answer by {moved:.2g} of their spread", wanted=f"at most {allowed:g}", fix="use the run, or --to merged"
        )
    compared = {"rows": len(feed.encoded), "largest_move": moved, "tolerance": allowed}
    return _beside(run, ports, place, {"to": "onnx", "compared": compared})


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
    if run.task.writes or run.task.reads != "texts":
        fix = "--to gguf or --to vllm" if run.task.writes else "--to merged"
        raise UsageError(f"{run.recipe.task['name']} --to {form}", wanted="a run that reads texts and writes none", fix=f"export it {fix}")
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


def _beside(run: Run, ports: graph.Ports, place: Path, found: dict[str, Any]) -> Exported:
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
    }
    told = exporting.told(run) | {"pair": bool(run.recipe.task.get("text_pair")) and not run.task.singly}
    return Exported(facts=facts, card=lambda name: graph_card.render(facts | told | {"name": name}))
