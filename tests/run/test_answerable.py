"""Rows with labels that a run has not learned."""

import pyarrow as pa
import pytest
from tests.conftest import rows_of, write_csv

from rootstock.core.errors import DataError
from rootstock.core.rows import LABEL, ROW
from rootstock.run.answerable import answerable
from rootstock.run.use import Reading
from rootstock.tasks.token_classification import TokenClassification


def test_strange_labels_are_counted_and_left_out_and_the_rest_scored_as_alone(learned, tmp_path):
    run, rows, said = learned(), rows_of(20, seed=3), []
    alone = run.evaluate(str(write_csv(tmp_path / "alone.csv", rows)))
    mixed = write_csv(tmp_path / "mixed.csv", [rows[0], ("a film", "mixed"), *rows[1:], ("b film", "odd")])
    with pytest.raises(DataError, match="accept unseen"):
        run.evaluate(str(mixed))
    found = run.evaluate(str(mixed), reading=Reading(unseen=True), say=said.append)
    assert (found["metrics"], found["rows"], found["unseen_rows"]) == (alone["metrics"], 20, 2)
    told = next(line for line in said if "2 of 22 rows have a label that no training row had" in line)
    assert "row 3: 'mixed'" in told


def test_a_row_goes_for_one_strange_tag():
    task = TokenClassification(labels=("O", "B-PER"))
    rows = pa.table({LABEL: [["O", "B-PER"], ["O", "B-LOC"]], ROW: [1, 2]})
    kept, lost = answerable(rows, task, leave_out=True, say=lambda text: None)
    assert (kept.column(ROW).to_pylist(), lost) == ([1], 1)
    assert answerable(rows, task, leave_out=False, say=print) == (rows, 0)
