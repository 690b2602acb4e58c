"""Every task with every method, found by file name, on a tiny base: what tests a newcomer before it has a test of its own."""

import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from rootstock import catalog
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.method import learning
from rootstock.core.rows import Encoded
from rootstock.core.seed import Draw
from rootstock.core.task import Labelled, inputs
from rootstock.run import choices
from tests import tiny_rows

TASKS, METHODS = [name for name in catalog.names("tasks") if issubclass(catalog.find("tasks", name), Labelled)], catalog.names("methods")
PAIRS = [
    (task, method)
    for task, method in itertools.product(TASKS, METHODS)
    if choices.fits(catalog.find("tasks", task), catalog.find("methods", method))
]


def table(task_name):
    return tiny_rows.table(catalog.find("tasks", task_name))


@pytest.fixture
def setup(tiny_base, tmp_path):
    def make(task_name, method_name="full"):
        rows = table(task_name)
        task = catalog.find("tasks", task_name)().fit(rows, rows)
        base = resolve(str(tiny_rows.base(task, tiny_base, tmp_path)))
        method = catalog.find("methods", method_name)()
        tokenizer = task.ready(bases.tokenizer(base))
        loaded = bases.load(base, task.head(), seed=1, dropout=0.0)
        encoded = tiny_rows.known(task, loaded.model, task.encode(rows, tokenizer, None), tokenizer)
        model = method.apply(loaded)
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


def figures_of(columns):
    """Every number among results, one after the other."""
    found = [np.concatenate([np.ravel(each) for each in values]) for _, values in sorted(columns.items())]
    return np.concatenate([values.astype(np.float64) for values in found if values.dtype.kind == "f"])


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
    plain = {name.replace(".modules_to_save.default", "").replace("base_model.model.", "") for name in changed}
    assert loaded.fresh <= plain, f"random and never learned: {loaded.fresh - plain}"


@pytest.mark.parametrize(("task_name", "method_name"), PAIRS)
def test_what_is_kept_and_what_is_merged_answers_the_same(setup, task_name, method_name):
    task, method, _, model, tap, encoded, tokenizer = setup(task_name, method_name)
    with torch.no_grad():
        for _, parameter in learning(model):
            parameter.add_(0.05 * torch.randn_like(parameter))
    learner = (tap.head if tap else model).eval()
    answers = figures_of(task.decode(learner, batch_of(task, encoded, np.arange(12), tokenizer)))
    plain = task.encode(table(task_name), tokenizer, None)
    said = {name: values for name, values in encoded.dense.items() if name.startswith("reference")}
    plain = replace(plain, dense={**plain.dense, **said})
    for make in (method.keep, method.merge):
        made = make(copy.deepcopy(model)).eval()
        found = figures_of(task.decode(made, task.collate(plain, np.arange(12), tokenizer, Draw(0))))
        np.testing.assert_allclose(found, answers, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("task_name", TASKS)
def test_metrics_readable_and_details_speak_of_every_row(setup, task_name):
    task, _, _, model, _, encoded, tokenizer = setup(task_name)
    rows = table(task_name)
    found = task.decode(model.eval(), task.collate(encoded, np.arange(12), tokenizer, Draw(0)))
    columns = {**task.told(found, encoded, rows, tokenizer), "answers": task.answers(rows)}
    judged = task.judged(columns)
    assert all(len(values) == 12 for values in judged.values())
    metrics = task.metrics(judged)
    assert set(task.headline[:1]) <= set(metrics)
    assert task.metrics(judged, task.headline[:1]) == {task.headline[0]: metrics[task.headline[0]]}
    assert all(len(values) == 12 for values in task.readable(columns).values())
    assert isinstance(task.details(columns), dict)
    assert len(task.truth(rows)) == 12
    assert 0 <= task.claims(rows) <= 1
