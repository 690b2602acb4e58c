"""The end of a run without labels: figures on held-out documents, the base as plain transformers loads it, card and report."""

import copy
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rootstock import catalog
from rootstock.bases import vocabulary
from rootstock.core import artifact
from rootstock.core.errors import MergeRefused
from rootstock.core.objective import Contrastive
from rootstock.core.rows import PART, Columns
from rootstock.core.runfolder import RunFolder
from rootstock.evaluation import held_out
from rootstock.loop import precision
from rootstock.loop.history import read
from rootstock.loop.infer import to_device
from rootstock.planning import compute
from rootstock.report import card, page
from rootstock.run import contract as contracts
from rootstock.run import ending, examples, planted
from rootstock.run.build import Built, save_adapter
from rootstock.run.measure import measure
from rootstock.run.merge import TOLERANCE
from rootstock.run.prepared import Prepared, Unlabelled


def conclude(prepared: Prepared, built: Built, folder: RunFolder, facts: dict[str, Any]) -> dict[str, Any]:
    """Measure the best state, write everything else that a run folder holds; returns the content of metrics.json."""
    assert isinstance(prepared, Unlabelled)
    with precision.computing(built.learner, built.dtype, built.fresh):
        columns = measure(prepared, built, prepared.task)
        shown = examples.examples(prepared, built)
    document_N, seed = prepared.encoded_validation.dense.get(PART), prepared.recipe.seed
    metrics = held_out.score(columns, prepared.task, seed=seed, document_N=document_N, unigram=_unigram(prepared)) | facts
    artifact.write_json(folder.path / "metrics.json", metrics)
    artifact.write_bytes(folder.path / "predictions.parquet", ending.parquet({"row": np.arange(1, len(columns["loss"]) + 1), **columns}))
    planted.save(folder, prepared)
    refused, save = _folded(prepared, built)
    contract = contracts.made(prepared, built, prepared.task) | ({"saves": "adapter"} if refused else {})
    with artifact.whole_folder(folder.model) as beside:
        save(beside)
        contracts.write(contract, beside)
    told = {"metrics": metrics, "contract": contract, "examples": shown, "model": _model(prepared, built)}
    told["learned"] = _learned(prepared, built, facts["steps"])
    _write_pages(prepared, folder, told | _rows(prepared, columns))
    if refused:
        raise refused
    return metrics


def _folded(prepared: Unlabelled, built: Built) -> tuple[MergeRefused | None, Callable[[Path], None]]:
    """Fold an adapter into the base, and say what is to be saved: the whole, or the adapter where folding it in moves the loss.

    A refused merge leaves a run that has ended, and an adapter that can be used.
    """
    if prepared.method.saves != "adapter":
        return None, built.save
    adapter = vocabulary.closed(copy.deepcopy(built.learner))  # folding it in leaves nothing of it
    try:
        _check_kept(prepared, built)
    except MergeRefused as refused:
        return refused, partial(save_adapter, prepared, prepared.task.bare(prepared.method.keep(adapter)))
    return None, built.save


def _check_kept(prepared: Unlabelled, built: Built) -> None:
    """Raise MergeRefused where folding the adapter into the base would move the loss on held-out rows."""
    batch = to_device(
        next(iter(built.feed_validation.micro_batches(np.arange(min(len(prepared.encoded_validation), 32))))), built.accelerator.device
    )
    built.learner.eval()
    with torch.no_grad():
        batch = prepared.task.decided(built.learner, batch)
        before = prepared.task.loss(built.learner, batch).total.item()
        assert built.whole is not None
        after = prepared.task.loss(built.whole().eval(), batch).total.item()
    if not math.isclose(before, after, rel_tol=TOLERANCE):
        raise MergeRefused(
            f"merged weights move the loss from {before:.6g} to {after:.6g}",
            wanted=f"at most {TOLERANCE} of it",
            fix="use the adapter, which model/ holds; for a base to build on choose --method full",
        )


def _learned(prepared: Unlabelled, built: Built, steps: int) -> dict[str, float]:
    """Tokens of the texts in these updates without padding, and how often that is all there are: what a scaling law calls D."""
    lengths_N, tokens, epoch, left = prepared.encoded.sizes, 0, 0, steps
    while left > 0:
        plan = built.feed.epoch(epoch)[:left]
        tokens, epoch, left = tokens + sum(int(lengths_N[rows].sum()) for rows in plan), epoch + 1, left - len(plan)
    return {"tokens": tokens, "passes": round(tokens / int(lengths_N.sum()), 4)}


def _write_pages(prepared: Unlabelled, folder: RunFolder, told: dict[str, Any]) -> None:
    size = {name: told["model"][name] for name in ("parameters", "body_parameters")}
    manifest = ending.manifest(prepared, prepared.task, prepared.counts) | size | {"learned": told["learned"]}
    facts = told | {
        "manifest": manifest,
        "objective": _objective(prepared),
        "ledger": prepared.ledger,
        "history": read(folder.history),
        "plan": folder.json("plan.json"),
        "recipe": prepared.recipe.plain(),
        "name": folder.path.name,
        "kind": "tokens",
        "choices": prepared.choices,
    }
    artifact.write_text(folder.path / "README.md", card.render(facts))
    artifact.write_text(folder.path / "report.html", page.render(facts))
    ending.seal(folder, manifest)


def _objective(prepared: Unlabelled) -> dict[str, Any]:
    """What was learned, as card and report tell it. coupled: its loss depends on how many rows stand together."""
    name, task = prepared.recipe.task["name"], prepared.task
    facts = {"reads": task.reads, "likelihood": task.likelihood, "coupled": isinstance(task, Contrastive)}
    return {"name": name, "summary": catalog.summary("tasks", name), "settings": task.plain(), **facts}


def _model(prepared: Unlabelled, built: Built) -> dict[str, Any]:
    """The model that was saved: its class in transformers, its size, the token that stands for a gap, and what rows begin with."""
    from transformers import PreTrainedModel

    assert built.kept is not None, "no objective learns on a frozen base"
    kept = built.kept()
    plain: Any = next(module for module in kept.modules() if isinstance(module, PreTrainedModel))
    ids, tokens = prepared.encoded.tokens.get("input_ids"), {}
    if ids is not None:
        tokens = {"mask": prepared.tokenizer.mask_token, "first": prepared.tokenizer.convert_ids_to_tokens(int(ids.flat[0]))}
    facts = {"class": type(plain).__name__, "type": plain.config.model_type, "image_size": getattr(plain.config, "image_size", None)}
    # peft keeps the module beside its copy that was trained; only the copy is used
    used = [each for name, each in kept.named_parameters() if "original_module" not in name.split(".")]
    sizes = {"parameters": sum(each.numel() for each in used), "body_parameters": sum(each.numel() for _, each in compute.body(plain))}
    return {**facts, **tokens, **sizes}


def _rows(prepared: Unlabelled, columns: Columns) -> dict[str, Any]:
    """How the loss spreads over the held-out rows, and what each corpus holds, gives to an epoch and reaches."""
    asked_N = columns["count"] > 0
    losses_N = columns["loss"][asked_N] / columns["count"][asked_N]
    counts, edges = np.histogram(losses_N, bins=min(40, max(len(losses_N), 1)))
    quartiles = np.quantile(losses_N, [0.25, 0.5, 0.75]).tolist() if len(losses_N) else []
    spread = {"counts": counts.tolist(), "edges": edges.tolist(), "quartiles": quartiles}
    corpora = [_corpus(prepared, columns, number, name) for number, name in enumerate(_names(prepared))] if prepared.shares else []
    return {"spread": spread, "corpora": corpora}


def _names(prepared: Unlabelled) -> list[str]:
    return [str(facts["name"]) for facts in prepared.sources.values()]


def _corpus(prepared: Unlabelled, columns: Columns, number: int, name: str) -> dict[str, Any]:
    encoded, task = prepared.encoded, prepared.task
    own_N, held_N = (part.dense["source"] == number for part in (encoded, prepared.encoded_validation))
    held = {key: values[held_N] for key, values in columns.items()}
    document_N = prepared.encoded_validation.dense.get(PART)
    own = None if document_N is None else document_N[held_N]
    between = held_out.between(held, task, names=["loss"], seed=prepared.recipe.seed, document_N=own)
    facts = {"rows": int(own_N.sum()), "tokens": int(encoded.sizes[own_N].sum()), "held_rows": int(held_N.sum())}
    assert prepared.shares is not None
    found = {"loss": task.metrics(held).get("loss"), "interval": list(between.get("loss", ()))}
    return {"name": name, "share": prepared.shares[number], **facts, **found}


def _unigram(prepared: Unlabelled) -> Columns | None:
    """What guessing by frequency would lose, where the loss is a likelihood of tokens."""
    if not prepared.task.likelihood or "input_ids" not in prepared.encoded.tokens:
        return None
    train, held = (part.tokens["input_ids"] for part in (prepared.encoded, prepared.encoded_validation))
    special = prepared.tokenizer.all_special_ids
    train_N, plain_N = train.flat[~np.isin(train.flat, special)], ~np.isin(held.flat, special)
    row_N = np.repeat(np.arange(len(held)), held.lengths)[plain_N]
    return held_out.guessed(train_N, held.flat[plain_N], row_N, size=len(prepared.tokenizer), rows=len(held)) if len(row_N) else None
