"""The end of a run without labels: figures on held-out documents, the base as plain transformers loads it, card and report."""

import math
from typing import Any

import numpy as np
import torch

from rootstock import catalog
from rootstock.core import artifact
from rootstock.core.errors import MergeRefused
from rootstock.core.objective import Coupled
from rootstock.core.rows import Columns
from rootstock.core.runfolder import RunFolder
from rootstock.evaluation import held_out
from rootstock.evaluation.intervals import bootstrap
from rootstock.loop import precision
from rootstock.loop.history import read
from rootstock.loop.infer import to_device
from rootstock.report import card, page
from rootstock.run import ending, examples
from rootstock.run.build import Built
from rootstock.run.measure import measure
from rootstock.run.merge import TOLERANCE
from rootstock.run.prepared import Prepared, Unlabelled


def conclude(prepared: Prepared, built: Built, folder: RunFolder, facts: dict[str, Any]) -> dict[str, Any]:
    """Measure the best state, write everything else that a run folder holds; returns the content of metrics.json."""
    assert isinstance(prepared, Unlabelled)
    with precision.computing(built.learner, built.dtype, built.fresh):
        columns = measure(prepared, built, prepared.task)
        shown = examples.examples(prepared, built)
    metrics = held_out.score(columns, prepared.task, seed=prepared.recipe.seed, unigram=_unigram(prepared)) | facts
    artifact.write_json(folder.path / "metrics.json", metrics)
    artifact.write_bytes(folder.path / "predictions.parquet", ending.parquet({"row": np.arange(1, len(columns["loss"]) + 1), **columns}))
    contract = ending.contract(prepared, built, prepared.task)
    _check_kept(prepared, built)
    with artifact.whole_folder(folder.model) as beside:
        built.save(beside)
        artifact.write_json(beside / "contract.json", contract)
    told = {"metrics": metrics, "contract": contract, "examples": shown, "model": _model(prepared, built)}
    _write_pages(prepared, folder, told | _rows(prepared, columns))
    return metrics


def _check_kept(prepared: Unlabelled, built: Built) -> None:
    """Fold an adapter into the base; MergeRefused where that would move the loss on held-out rows."""
    if prepared.method.saves != "adapter":
        return
    batch = to_device(
        next(iter(built.feed_validation.micro_batches(np.arange(min(len(prepared.encoded_validation), 32))))), built.accelerator.device
    )
    built.learner.eval()
    with torch.no_grad():
        before = prepared.task.loss(built.learner, batch).total.item()
        assert built.kept is not None
        after = prepared.task.loss(built.kept().eval(), batch).total.item()
    if not math.isclose(before, after, rel_tol=TOLERANCE):
        raise MergeRefused(
            f"merged weights move the loss from {before:.6g} to {after:.6g}", wanted=f"at most {TOLERANCE} of it", fix="use --method full"
        )


def _write_pages(prepared: Unlabelled, folder: RunFolder, told: dict[str, Any]) -> None:
    manifest = ending.manifest(prepared, prepared.task, prepared.counts) | {"parameters": told["model"]["parameters"]}
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
    facts = {"reads": task.reads, "likelihood": task.likelihood, "coupled": isinstance(task, Coupled)}
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
    return {**facts, **tokens, "parameters": sum(each.numel() for each in used)}


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
    between = bootstrap(held, task.metrics, names=["loss"], seed=prepared.recipe.seed) if held_N.any() else {}
    facts = {"rows": int(own_N.sum()), "tokens": int(encoded.lengths[own_N].sum()), "held_rows": int(held_N.sum())}
    assert prepared.shares is not None
    found = {"loss": task.metrics(held).get("loss"), "interval": list(between.get("loss", ()))}
    return {"name": name, "share": prepared.shares[number], **facts, **found}


def _unigram(prepared: Unlabelled) -> float | None:
    """What guessing by frequency would lose, where the loss is a likelihood of tokens."""
    if not prepared.task.likelihood or "input_ids" not in prepared.encoded.tokens:
        return None
    train_N, held_N = (part.tokens["input_ids"].flat for part in (prepared.encoded, prepared.encoded_validation))
    special = prepared.tokenizer.all_special_ids
    train_N, held_N = (ids_N[~np.isin(ids_N, special)] for ids_N in (train_N, held_N))
    return held_out.unigram(train_N, held_N, len(prepared.tokenizer)) if len(held_N) else None
