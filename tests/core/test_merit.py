"""How good a state is: a figure that it lacks is worse than any, of errors too."""

import json

import pytest

from rootstock.core.figures import ERRORS
from rootstock.tasks.preference import Preference
from rootstock.tasks.question_answering import QuestionAnswering
from rootstock.tasks.regression import Regression
from rootstock.tasks.text_classification import TextClassification

TASKS = (Regression(), TextClassification(labels=("no", "yes"), several="no"), QuestionAnswering(), Preference())


@pytest.mark.parametrize("task", TASKS, ids=[type(task).__name__ for task in TASKS])
def test_a_missing_figure_is_below_the_worst_one(task):
    worst = {name: 1e9 if name in ERRORS else -1.0 for name in task.chosen_by}
    assert task.merit({}) < task.merit(worst)
    for name in task.chosen_by:
        lacking = {each: value for each, value in worst.items() if each != name}
        assert task.merit(lacking) < task.merit(worst), name
        assert json.dumps(task.merit(lacking), allow_nan=False), "a checkpoint keeps it as JSON"


def test_of_errors_less_is_better_and_ties_go_to_the_next():
    task = Regression()
    figure, error = task.chosen_by
    assert error in ERRORS
    assert task.merit({figure: 0.5, error: 1.0}) > task.merit({figure: 0.5, error: 2.0})
    assert task.merit({figure: 0.6, error: 2.0}) > task.merit({figure: 0.5, error: 1.0})
