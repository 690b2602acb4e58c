"""Feature extraction on bases whose classifier is more than one layer: the base still runs once a row."""

import pyarrow.parquet as pq
import pytest
from tests.conftest import make_base, rows_of, write_csv

import rootstock
from rootstock.run import features
from rootstock.run.use import table_of

FAMILIES = [("bert", {}), ("roberta", {}), ("distilbert", {}), ("deberta-v2", {}), ("modernbert", {}), ("llama", {})]
MEAN = ("modernbert", {"classifier_pooling": "mean"})


@pytest.mark.parametrize(("family", "changes"), [*FAMILIES, MEAN])
def test_the_base_runs_once_and_the_saved_model_answers_as_measured(tmp_path, family, changes, monkeypatch):
    data = write_csv(tmp_path / "rows.csv", rows_of(60))
    calls, real = [], features.compute
    monkeypatch.setattr(features, "compute", lambda *args: calls.append(1) or real(*args))
    base = make_base(tmp_path / "base", family, **changes)
    run = rootstock.adapt(data, base=str(base), method="feature-extraction", out=tmp_path / "run", training={"epochs": 2})
    assert calls == [1], "the base was not run apart from its head"
    measured = pq.read_table(run.path / "predictions.parquet").to_pydict()
    again = rootstock.Run(run.path).predictions(table_of(measured["text"], pair=False)).table
    assert again["predicted"] == measured["predicted"]
    assert again["confidence"] == pytest.approx(measured["confidence"], abs=2e-3)
    assert len(set(measured["confidence"])) > 1
