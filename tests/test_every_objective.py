"""Every objective on the first architecture that takes it: what tests a newcomer before it has a test of its own."""

import contextlib
import copy
import hashlib
import itertools
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch

from rootstock import catalog
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.bases.scratch import ARCHITECTURES, facts, takes_text
from rootstock.core.errors import BaseError
from rootstock.core.loaded import Loaded
from rootstock.core.method import learning
from rootstock.core.objective import Contrastive, Objective, in_groups
from rootstock.core.rows import PART, PIXELS, TEXT
from rootstock.core.seed import Draw
from rootstock.run import pictures
from tests.conftest import WORDS, make_tokenizer, rows_of

OBJECTIVES = [name for name in catalog.names("tasks") if issubclass(catalog.find("tasks", name), Objective)]
SMALL = [name for name in ARCHITECTURES if name.endswith(("-tiny", "-small")) or "-" not in name]
ONE_LAYER = ("num_hidden_layers", "n_layer", "num_layers", "encoder_layers", "decoder_layers")
DOCUMENTS = pa.table({TEXT: [". ".join(text for text, _ in rows_of(10, seed=number)) + "." for number in range(8)]})
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3)).astype(np.uint8).repeat(4, 1).repeat(4, 2)
PICTURES = pa.table({PIXELS: pa.FixedShapeTensorArray.from_numpy_ndarray(IMAGES), TEXT: [text for text, _ in rows_of(12)]})


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
    """An objective with rows, a model that it takes with what the objective added as fresh, and its tokenizer."""
    taken = {}

    def one_layer(config):
        if config.get("model_type") == "rootstock-elmo":
            config = config | {"cells": 32, "hidden_size": 16, "filters": [[1, 8], [2, 8]]}
        parts = {key: one_layer(value) for key, value in config.items() if isinstance(value, dict)}
        return config | parts | {key: 1 for key in ONE_LAYER if key in config}

    def tried(name, architecture):
        path = tmp_path_factory.mktemp("configs") / "config.json"
        path.write_text(json.dumps(one_layer(facts(architecture))))
        task = catalog.find("tasks", name)()
        base = resolve(f"scratch:{path}", tokenizer=tokens if takes_text(architecture) else None)
        pictured = task.reads in pictures.READS
        task = pictures.fitted(task, base) if pictured else task
        loaded = bases.load(base, task.head(), seed=1, dropout=task.dropout)
        task.check(loaded.model)
        tokenizer = bases.tokenizer(base) if takes_text(architecture) else None
        if tokenizer is not None:
            bases.fit(tokenizer, loaded.model)
        made = task.outfit(loaded)
        encoded = task.encode(PICTURES if pictured else DOCUMENTS, tokenizer, 32)
        return task.fit(encoded), Loaded(made.model, made.head, made.fresh - loaded.fresh), encoded, tokenizer

    def make(name):
        for architecture in [taken[name]] if name in taken else SMALL:
            with contextlib.suppress(BaseError):
                made = tried(name, architecture)
                taken[name] = architecture
                return made
        raise AssertionError(f"no architecture of {SMALL} takes {name}")

    return make


@pytest.mark.parametrize("name", OBJECTIVES)
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


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if catalog.find("tasks", name).reads == "documents"])
def test_rows_know_their_text_and_one_without_tokens_makes_none(setup, name):
    task, _, encoded, tokenizer = setup(name)
    task.check_rows(encoded)
    assert sorted(set(encoded.dense[PART].tolist())) == list(range(len(DOCUMENTS)))
    one, two = DOCUMENTS[TEXT].to_pylist()[:2]
    assert set(task.encode(pa.table({TEXT: ["", one, " ", two]}), tokenizer, 32).dense[PART].tolist()) == {1, 3}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_falls_adds_up_and_its_figures_are_those_of_the_results(setup, name):
    task, loaded, encoded, tokenizer = setup(name)
    model, rows = loaded.model.requires_grad_(True), np.arange(len(encoded))
    whole = task.collate(encoded, rows, tokenizer, Draw(3, 0))
    model.eval()
    with torch.no_grad():
        before = task.loss(model, whole)
        columns = task.decode(model, whole)
        figures = task.metrics(in_groups(task, model, columns["vectors"]) if isinstance(task, Contrastive) else columns)
        if not isinstance(task, Contrastive):
            parts = [task.loss(model, task.collate(encoded, part, tokenizer, Draw(3, 0))) for part in np.array_split(rows, 3)]
            assert sum(part.total.item() for part in parts) == pytest.approx(before.total.item(), rel=1e-3)
            assert sum(part.count for part in parts) == before.count
    assert figures["loss"] == pytest.approx(before.total.item() / before.count, rel=1e-4)
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


PLAIN = """
import hashlib, json, sys
from pathlib import Path
from transformers import AutoModel

def loaded(path):
    try:
        state = AutoModel.from_pretrained(path).state_dict()
    except ValueError as error:
        return str(error)
    return {key: hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest() for key, value in state.items()}

folders = sorted(Path(sys.argv[1]).iterdir())
plain = {path.name: loaded(path) for path in folders}
assert "rootstock" not in sys.modules
import rootstock.bases.cbow, rootstock.bases.elmo
imported = {path.name: loaded(path) for path in folders if isinstance(plain[path.name], str)}
print(json.dumps([plain, imported]))
"""
OUR_OWN = {"cbow": "rootstock-cbow", "bidirectional-lm": "rootstock-elmo"}
"""Objectives whose architecture transformers lacks, and its model_type: docs/bases.md says what they need."""
SAVED = [pair for pair in itertools.product(OBJECTIVES, ["full", "lora"]) if pair[1] == "full" or pair[0] not in OUR_OWN]
"""peft knows no default targets in an architecture of our own."""


FOLDING = [
    name
    for name in catalog.names("methods")
    if (found := catalog.find("methods", name)).saves == "adapter" and found.folds and "on" not in found.model_fields
]
"""compose builds on adapters that there are, and has a test of its own."""
FOLDED = [(name, "lora") for name in OBJECTIVES if name not in OUR_OWN] + [("masked-lm", name) for name in FOLDING if name != "lora"]
"""Every objective with one method, and one objective with every method that folds."""


@pytest.mark.parametrize(("name", "method_name"), FOLDED)
@torch.no_grad()
def test_an_adapter_that_is_folded_in_loses_the_same_and_is_left_with_nothing_of_the_objective(setup, name, method_name):
    task, loaded, encoded, tokenizer = setup(name)
    found = catalog.find("methods", method_name)
    method = found.build({"targets": ["all-linear"]} if "targets" in found.model_fields else {}, "method")
    torch.manual_seed(0)  # what an adapter starts from is drawn, and must not depend on the tests before
    model = method.apply(loaded).eval()
    assert loaded.fresh <= {method.original(key) for key, _ in learning(model)}, "random and never learned"
    batch = task.collate(encoded, np.arange(len(encoded)), tokenizer, Draw(3))
    start = task.loss(model, batch).total.item()
    before = start
    for seed in range(8):  # a step at random can leave the sum nearly where it was
        for _, parameter in learning(model):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
        before = task.loss(model, batch).total.item()
        if abs(before - start) > 5e-4 * start:
            break
    assert before != pytest.approx(start, rel=5e-4)
    batch = task.decided(model, batch)
    before = task.loss(model, batch).total.item()
    whole = method.merge(model).eval()
    assert task.loss(whole, batch).total.item() == pytest.approx(before, rel=2e-5)
    names = {key for key, _ in task.bare(whole).named_parameters()}
    assert not names & loaded.fresh
    assert not [key for key in names if method.original(key) != key]


def read_elsewhere(setup, folder):
    """What was saved under each objective and method, and the digests of what a process that has plain transformers only reads of it."""
    held = {}
    made = {name: setup(name)[:2] for name in OBJECTIVES}
    for name, method_name in SAVED:
        task, loaded = made[name]
        method = catalog.find("methods", method_name).build({"targets": ["all-linear"]} if method_name == "lora" else {}, "method")
        model = method.apply(Loaded(copy.deepcopy(loaded.model), loaded.head, loaded.fresh))
        assert list(learning(model))
        kept = task.bare(method.merge(model) if method_name == "lora" else method.keep(model))
        kept.save_pretrained(folder / f"{name}-{method_name}")
        state = {key: hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest() for key, value in kept.state_dict().items()}
        held[name, method_name] = state, f"{kept.base_model_prefix}."
    out = subprocess.run([sys.executable, "-c", PLAIN, str(folder)], capture_output=True, text=True, check=True, timeout=120).stdout
    plain, imported = json.loads(out.splitlines()[-1])
    return held, plain, imported


def test_what_is_saved_is_a_plain_model(setup, tmp_path):
    """All in one test: another process reads them, and two workers of the suite would each start one."""
    held, plain, imported = read_elsewhere(setup, tmp_path)
    for (name, method_name), (state, within) in held.items():
        saved = f"{name}-{method_name}"
        read = plain[saved]
        if name in OUR_OWN:
            assert isinstance(read, str), f"{saved}: docs/bases.md says that transformers does not know it"
            assert OUR_OWN[name] in read
            read = imported[saved]
        assert isinstance(read, dict), f"{saved}: {read}"
        prefix = within if any(key.startswith(within) for key in state) else ""
        shared = [key for key in read if prefix + key in state]
        assert len(shared) > 0.8 * len(read), f"{saved}: weights that AutoModel did not find"
        assert all(read[key] == state[prefix + key] for key in shared), saved
