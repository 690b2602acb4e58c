"""Every objective on the first architecture that takes it: what tests a newcomer before it has a test of its own."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from rootstock import catalog
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.bases.scratch import ARCHITECTURES, facts
from rootstock.core.errors import BaseError
from rootstock.core.loaded import Loaded
from rootstock.core.method import learning
from rootstock.core.objective import Coupled, Objective
from rootstock.core.rows import TEXT
from rootstock.core.seed import Draw
from tests.conftest import WORDS, make_tokenizer, rows_of

OBJECTIVES = [name for name in catalog.names("tasks") if issubclass(catalog.find("tasks", name), Objective)]
ON_TEXT = [name for name in OBJECTIVES if catalog.find("tasks", name).reads == "documents"]
SMALL = [name for name in ARCHITECTURES if name.endswith(("-tiny", "-small")) or "-" not in name]
ONE_LAYER = ("num_hidden_layers", "n_layer", "num_layers", "encoder_layers", "decoder_layers")
DOCUMENTS = pa.table({TEXT: [". ".join(text for text, _ in rows_of(10, seed=number)) + "." for number in range(8)]})


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """A folder of a tokenizer with every special token that an objective asks for."""
    folder = tmp_path_factory.mktemp("tokens")
    made = make_tokenizer((*WORDS, ".", *(f"<extra_id_{number}>" for number in reversed(range(20)))))
    made.add_special_tokens(
        {"additional_special_tokens": [f"<extra_id_{number}>" for number in range(20)], "eos_token": "[SEP]", "bos_token": "[CLS]"}
    )
    made.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def setup(tokens, tmp_path_factory):
    """An objective with rows, a model that it takes, and its tokenizer."""

    def one_layer(architecture):
        config = facts(architecture)
        if config["model_type"] == "rootstock-elmo":
            config = config | {"cells": 32, "hidden_size": 16, "filters": [[1, 8], [2, 8]]}
        path = tmp_path_factory.mktemp("configs") / "config.json"
        path.write_text(json.dumps(config | {key: 1 for key in ONE_LAYER if key in config}))
        return path

    def make(name):
        task = catalog.find("tasks", name)()
        for architecture in SMALL:
            try:
                base = resolve(f"scratch:{one_layer(architecture)}", tokenizer=tokens)
                loaded = bases.load(base, task.head(), seed=1, dropout=task.dropout)
                bases.fit(tokenizer := bases.tokenizer(base), loaded.model)
                task.check(loaded.model)
            except BaseError:
                continue
            return task, task.outfit(loaded), task.encode(DOCUMENTS, tokenizer, 32), tokenizer
        raise AssertionError(f"no architecture of {SMALL} takes {name}")

    return make


@pytest.mark.parametrize("name", ON_TEXT)
def test_a_row_gets_the_same_masks_in_any_batch_and_others_in_the_next_epoch(setup, name):
    task, _, encoded, tokenizer = setup(name)
    rows = np.arange(len(encoded))
    one, again, other = (task.collate(encoded, rows, tokenizer, Draw(3, epoch)) for epoch in (0, 0, 1))
    assert all(torch.equal(one[key], again[key]) for key in one)
    part = task.collate(encoded, rows[2:4], tokenizer, Draw(3, 0))
    for key, value in part.items():
        if len(value) == 2:  # one entry a row; narrower where only other rows are long
            assert torch.equal(value, one[key][2:4][tuple(slice(0, size) for size in value.shape)]), key
    if any(one[key].shape != other[key].shape or not torch.equal(one[key], other[key]) for key in one):
        return
    assert name in ("causal-lm", "bidirectional-lm", "contrastive-text"), "nothing is drawn anew in each epoch"


@pytest.mark.parametrize("name", ON_TEXT)
def test_loss_falls_adds_up_and_its_figures_are_those_of_the_results(setup, name):
    task, loaded, encoded, tokenizer = setup(name)
    model, rows = loaded.model.requires_grad_(True), np.arange(len(encoded))
    whole = task.collate(encoded, rows, tokenizer, Draw(3, 0))
    model.eval()
    with torch.no_grad():
        before = task.loss(model, whole)
        figures = task.metrics(task.decode(model, whole))
        if not isinstance(task, Coupled):
            parts = [task.loss(model, task.collate(encoded, part, tokenizer, Draw(3, 0))) for part in np.array_split(rows, 3)]
            assert sum(part.total.item() for part in parts) == pytest.approx(before.total.item(), rel=1e-3)
            assert sum(part.count for part in parts) == before.count
    assert {"loss", "accuracy"} <= set(figures)
    assert 0 <= figures["accuracy"] <= 1
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(8):
        optimizer.zero_grad()
        loss = task.loss(model, whole)
        (loss.total / loss.count).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        assert task.loss(model, whole).total.item() < before.total.item()


@pytest.mark.parametrize(("name", "method_name"), list(itertools.product(ON_TEXT, ["full", "lora"])))
def test_what_is_saved_is_a_plain_model(setup, name, method_name, tmp_path):
    import transformers

    task, loaded, _, _ = setup(name)
    if method_name == "lora" and loaded.model.config.model_type.startswith("rootstock"):
        pytest.skip("peft knows no default targets in an architecture of our own")
    settings = {"targets": ["all-linear"]} if method_name == "lora" else {}
    method = catalog.find("methods", method_name).build(settings, "method")
    model = method.apply(Loaded(loaded.model, loaded.head, frozenset()))
    assert list(learning(model))
    kept = task.bare(method.merge(model) if method_name == "lora" else method.keep(model))
    kept.save_pretrained(tmp_path)
    read = transformers.AutoModel.from_pretrained(tmp_path).state_dict()
    held = kept.state_dict()
    prefix = next((f"{kept.base_model_prefix}." for _ in "x" if any(key.startswith(f"{kept.base_model_prefix}.") for key in held)), "")
    shared = [key for key in read if prefix + key in held]
    assert len(shared) > 0.8 * len(read), "weights that AutoModel did not find"
    assert all(torch.equal(read[key], held[prefix + key]) for key in shared)
