"""Several tasks as one: whose loss a batch gives, what decides, how turns are drawn."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.conftest import make_base, rows_of

from rootstock.bases import heads as bases
from rootstock.bases import load
from rootstock.bases.resolve import resolve
from rootstock.core.errors import RecipeError
from rootstock.core.seed import Draw
from rootstock.data.batches import Feed
from rootstock.run.several import _joined
from rootstock.tasks.multi_task import MultiTask
from rootstock.tasks.regression import Regression
from rootstock.tasks.text_classification import TextClassification
from rootstock.tasks.text_generation import TextGeneration
from rootstock.tasks.text_to_text import TextToText

PARTS = {"mood": {"data": {"train": "a.csv"}}, "size": {"data": {"train": "b.csv"}, "weight": 3.0}}


def table(count, numbers=False):
    rows = rows_of(count)
    labels = [float(len(text)) for text, _ in rows] if numbers else [label for _, label in rows]
    return pa.table({"text": [text for text, _ in rows], "label": labels, "row": list(range(1, count + 1))})


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    base = resolve(str(make_base(tmp_path_factory.mktemp("base"), initializer_range=0.3)))
    rows = {"mood": table(20), "size": table(60, numbers=True)}
    tasks = {"mood": TextClassification().fit(rows["mood"], rows["mood"]), "size": Regression().fit(rows["size"], rows["size"])}
    tokenizer = load.tokenizer(base)
    encoded = {name: tasks[name].encode(rows[name], tokenizer, None) for name in tasks}
    task = MultiTask.build({"parts": PARTS}, "task").joined(tasks)
    loaded = bases.load(base, task.head(), seed=1, dropout=0.0)
    return task, tasks, encoded, _joined(list(encoded.values())), tokenizer, loaded


def test_a_batch_is_of_one_part_and_gives_its_loss_times_its_weight(setup):
    task, tasks, encoded, joined, tokenizer, loaded = setup
    for name, begun in (("mood", 0), ("size", 20)):
        own = tasks[name].collate(encoded[name], np.arange(3, 9), tokenizer, Draw(0))
        both = task.collate(joined, begun + np.arange(3, 9), tokenizer, Draw(0))
        assert torch.equal(own["input_ids"], both["input_ids"])
        assert torch.equal(own["labels"], both["labels"])
        wanted, found = tasks[name].loss(loaded.model.alone(name), own), task.loss(loaded.model, both)
        torch.testing.assert_close(found.total, wanted.total * task.parts[name].weight)
        assert found.count == wanted.count


def test_the_head_of_another_part_has_no_gradient(setup):
    task, _, _, joined, tokenizer, loaded = setup
    loaded.model.zero_grad()
    task.loss(loaded.model, task.collate(joined, np.arange(4), tokenizer, Draw(0))).total.backward()
    assert loaded.model.part("mood").classifier.weight.grad.abs().sum() > 0
    assert loaded.model.part("size").classifier.weight.grad is None


def test_fresh_are_the_heads_of_all_parts(setup):
    loaded = setup[5]
    assert loaded.fresh == {f"parts.on_{name}.classifier.{each}" for name in ("mood", "size") for each in ("weight", "bias")}


def feed(setup, shares, budget=40):
    task, _, _, joined, tokenizer, _ = setup
    return Feed(joined, task, tokenizer, budget, 8192, 7, shares=shares), joined


def test_batches_hold_rows_of_one_part_and_all_rows_come_where_proportional(setup):
    joined = setup[3]
    held = np.bincount(joined.dense["source"], joined.lengths)
    made, _ = feed(setup, tuple(held / held.sum()))
    for number in range(2):
        plan = made.epoch(number)
        assert all(len({joined.dense["source"][row] for row in rows}) == 1 for rows in plan)
        assert sorted(np.concatenate(plan)) == list(range(80))
    assert [list(rows) for rows in made.epoch(0)] != [list(rows) for rows in made.epoch(1)]
    firsts = [joined.dense["source"][rows[0]] for rows in made.epoch(0)]
    assert firsts != sorted(firsts), "turns are drawn"


def test_equal_shares_give_each_part_as_many_tokens(setup):
    made, joined = feed(setup, (0.5, 0.5))
    spent = np.zeros(2)
    for rows in made.epoch(0):
        spent[joined.dense["source"][rows[0]]] += joined.lengths[rows].sum()
    assert abs(spent[0] - spent[1]) < 0.03 * spent.sum()


def test_the_longest_batch_and_the_order_of_measuring_are_of_one_part_too(setup):
    made, joined = feed(setup, (0.5, 0.5))
    assert len(set(joined.dense["source"][made.longest()])) == 1
    order = made.in_order()
    assert all(len(set(joined.dense["source"][rows])) == 1 for rows in order)
    assert sorted(np.concatenate(order)) == list(range(80))


def test_what_decides_is_the_mean_over_parts(setup):
    task = setup[0]
    figures = task.figures({"mood": {"accuracy": 0.5, "log_loss": 2.0}, "size": {"spearman": 0.9, "root_mean_squared_error": 4.0}})
    assert figures["mean_of_parts"] == pytest.approx(0.7)
    assert figures["size/spearman"] == 0.9
    assert task.merit(figures) == pytest.approx((2, 0.7, 2, -3.0))
    assert not task.less


def test_a_part_without_its_figure_is_never_the_best(setup):
    task, whole = setup[0], {"mood": {"accuracy": 0.5, "log_loss": 9.0}, "size": {"spearman": -0.9, "root_mean_squared_error": 90.0}}
    without = {"mood": {"accuracy": 0.5, "log_loss": 9.0}, "size": {"spearman": -0.9}}
    assert task.merit(task.figures(without)) < task.merit(task.figures(whole))
    constant = task.figures({"mood": {"accuracy": 0.5}, "size": {"root_mean_squared_error": 1.0}})
    assert constant["mean_of_parts"] == 0.25, "a correlation that is not defined is none"
    assert np.isfinite(task.merit(constant)).all(), "a checkpoint keeps it as JSON"
    better = task.figures({"mood": {"accuracy": 0.6}, "size": {"root_mean_squared_error": 1.0}})
    assert task.merit(better) > task.merit(constant), "what the other part reached still counts"


def test_a_mean_of_losses_is_not_made_of_those_that_are_there():
    rows = table(12)
    tasks = {name: TextToText(prefix=f"{name}: ").fit(rows, rows) for name in ("mood", "size")}
    task = MultiTask.build({"parts": PARTS}, "task").joined(tasks)
    assert "mean_of_parts" not in task.figures({"mood": {"loss": 1.0}, "size": {}})


def test_where_losses_decide_less_is_better():
    rows = table(12)
    tasks = {name: TextToText(prefix=f"{name}: ").fit(rows, rows) for name in ("mood", "size")}
    task = MultiTask.build({"parts": PARTS}, "task").joined(tasks)
    assert task.writes
    assert task.less
    assert task.head().auto == "AutoModelForSeq2SeqLM"
    worse, better = (task.figures({"mood": {"loss": 1.0}, "size": {"loss": each}}) for each in (3.0, 2.0))
    assert task.merit(better) > task.merit(worse)


@pytest.mark.parametrize("second", [TextClassification, TextGeneration])
def test_one_output_layer_for_all_or_a_head_for_each(second):
    rows = table(12)
    tasks = {"mood": TextToText().fit(rows, rows), "size": second().fit(rows, rows)}
    with pytest.raises(RecipeError, match="size needs another"):
        MultiTask.build({"parts": PARTS}, "task").joined(tasks)


@pytest.mark.parametrize("name", ["a.b", "a/b", "a b", "", "ä"])
def test_a_name_that_is_no_folder_is_refused(name):
    with pytest.raises(RecipeError, match=r"task\.parts"):
        MultiTask.build({"parts": {name: {}}}, "task")


def test_a_wrong_key_of_a_part_is_named_with_its_place():
    with pytest.raises(RecipeError, match=r"task\.parts\.mood\.weigt'.*\n.*\n.*did you mean 'weight'"):
        MultiTask.build({"parts": {"mood": {"weigt": 2}}}, "task")
    with pytest.raises(RecipeError, match=r"task\.parts\.mood\.weight is 0"):
        MultiTask.build({"parts": {"mood": {"weight": 0}}}, "task")
