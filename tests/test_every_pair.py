"""Every task with every method, found by file name, on a tiny base: what tests a newcomer before it has a test of its own."""

import copy
import itertools

import numpy as np
import pyarrow as pa
import pytest
import torch

from rootstock import catalog
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import MergeRefused, RecipeError
from rootstock.core.method import learning
from rootstock.core.rows import Encoded
from rootstock.core.seed import Draw
from rootstock.core.task import Labelled, inputs
from rootstock.run import choices
from tests.conftest import make_base, rows_of

TASKS, METHODS = [name for name in catalog.names("tasks") if issubclass(catalog.find("tasks", name), Labelled)], catalog.names("methods")
PAIRS = list(itertools.product(TASKS, METHODS))
ROWS = rows_of(12)


def table(task_name):
    labels = [float(i % 5) for i in range(12)] if task_name == "regression" else [label for _, label in ROWS]
    return pa.table({"text": [text for text, _ in ROWS], "label": labels, "row": list(range(1, 13))})


@pytest.fixture(scope="module")
def decided_base(tmp_path_factory):
    """Weights so wide that what is frozen tells rows apart."""
    return make_base(tmp_path_factory.mktemp("base"), initializer_range=0.3)


def unfit(method, head, config):
    """Skip a pair that is refused, which must happen before anything is loaded and say what would fit."""
    try:
        method.check(head, config)
    except RecipeError as error:
        refused = error
    else:
        return
    assert refused.wanted
    assert "choose --method" in refused.fix
    pytest.skip(str(refused))


@pytest.fixture
def setup(decided_base):
    def make(task_name, method_name="full"):
        rows, base = table(task_name), resolve(str(decided_base))
        task = catalog.find("tasks", task_name)().fit(rows, rows)
        method = catalog.find("methods", method_name)()
        unfit(method, task.head(), choices.config(base))
        tokenizer = bases.tokenizer(base)
        loaded = bases.load(base, task.head(), seed=1, dropout=0.0)
        model = method.apply(loaded)
        encoded = task.encode(rows, tokenizer, None)
        tap = method.tap(model, loaded)
        if tap:
            batch = task.collate(encoded, np.arange(12), tokenizer, Draw(0))
            with torch.no_grad():
                vectors = tap.body(**inputs(batch)).numpy()
            encoded = Encoded({}, {**encoded.dense, "features": vectors}, np.ones(12, dtype=np.int64))
        return task, method, loaded, model, tap, encoded, tokenizer

    return make


def batch_of(task, encoded, rows, tokenizer):
    if encoded.tokens:
        return task.collate(encoded, rows, tokenizer, Draw(0))
    return {name: torch.from_numpy(array[rows]) for name, array in encoded.dense.items()}


@pytest.mark.parametrize("task_name", TASKS)
def test_loss_adds_up_over_micro_batches(setup, task_name):
    task, _, _, model, _, encoded, tokenizer = setup(task_name)
    model.eval()

    def gradients(parts):
        model.zero_grad()
        count = 0
        for part in parts:
            loss = task.loss(model, batch_of(task, encoded, part, tokenizer))
            loss.total.backward()
            count += loss.count
        return [p.grad / count for p in model.parameters() if p.grad is not None]

    whole, parts = gradients([np.arange(12)]), gradients([np.arange(3), np.arange(3, 12)])
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("task_name", "method_name"), PAIRS)
def test_frozen_stays_fresh_learns_and_the_loss_falls(setup, task_name, method_name):
    task, method, loaded, model, tap, encoded, tokenizer = setup(task_name, method_name)
    learner = tap.head if tap else model
    names = [name for group in method.groups(learner, 1e-2) for name in group["names"]]
    assert sorted(names) == sorted(name for name, _ in learning(learner))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for _, p in learning(learner)], lr=1e-2)
    losses = []
    for _ in range(12):
        loss = task.loss(learner, batch_of(task, encoded, np.arange(12), tokenizer))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(loss.total.item())
    assert losses[-1] < losses[0]
    changed = {name for name, p in model.named_parameters() if not torch.equal(before[name], p)}
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert not changed & frozen
    plain = {method.original(name) for name in changed}
    assert loaded.fresh <= plain, f"random and never learned: {loaded.fresh - plain}"


@pytest.mark.parametrize(("task_name", "method_name"), PAIRS)
def test_what_is_kept_and_what_is_merged_answers_the_same(setup, task_name, method_name):
    task, method, _, model, tap, encoded, tokenizer = setup(task_name, method_name)
    with torch.no_grad():
        for _, parameter in learning(model):
            parameter.add_(0.05 * torch.randn_like(parameter))
    learner = (tap.head if tap else model).eval()
    answers = task.decode(learner, batch_of(task, encoded, np.arange(12), tokenizer))["scores"]
    plain = task.encode(table(task_name), tokenizer, None)
    if not method.folds:
        with pytest.raises(MergeRefused):
            method.merge(copy.deepcopy(model))
    for make in (method.keep, method.merge) if method.folds else (method.keep,):
        made = make(copy.deepcopy(model)).eval()
        names = {name for name, _ in made.named_parameters()}
        assert make == method.keep or not [name for name in names if method.original(name) != name], "merged, and no plain model"
        scores = task.decode(made, task.collate(plain, np.arange(12), tokenizer, Draw(0)))["scores"]
        np.testing.assert_allclose(scores, answers, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("task_name", TASKS)
def test_metrics_readable_and_details_speak_of_every_row(setup, task_name):
    task, _, _, model, _, encoded, tokenizer = setup(task_name)
    rows = table(task_name)
    columns = task.decode(model.eval(), task.collate(encoded, np.arange(12), tokenizer, Draw(0))) | {"answers": task.answers(rows)}
    metrics = task.metrics(columns)
    assert set(task.headline[:1]) <= set(metrics)
    assert task.metrics(columns, task.headline[:1]) == {task.headline[0]: metrics[task.headline[0]]}
    assert all(len(values) == 12 for values in task.readable(columns).values())
    assert isinstance(task.details(columns), dict)
    assert task.claims(rows.column("label").to_pylist()) > 0
