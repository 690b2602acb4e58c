"""`rootstock serve` before it serves: what makes no sense is told first; signatures; and answers of a real run over HTTP."""

# ruff: noqa: E402  (packages that may be missing come first)

import asyncio
import io
from types import SimpleNamespace

import pytest
from tests.conftest import ONCE

pytest.importorskip("fastapi", reason="needs the extra serve")
httpx = pytest.importorskip("httpx", reason="needs httpx")

from rootstock.core.errors import ContractRefused, GateRefused, UsageError
from rootstock.run import served
from rootstock.serving.app import front
from rootstock.serving.door import Rules
from rootstock.serving.journal import Journal
from rootstock.serving.limits import Limits
from rootstock.serving.settings import EngineSettings
from rootstock.verbs import serving
from rootstock.verbs.serving import Asked

NONSENSE = {
    "nothing": ({}, "nothing to serve"),
    "watch": ({"runs": ["a"], "watch": True}, "--watch without --models"),
    "folder": ({"models": "no/such"}, "there is no folder"),
    "trust": ({"runs": ["a"], "trust": "t.yaml"}, "--trust without"),
    "origin": ({"runs": ["a"], "origins": ("*",)}, "--cors-origin"),
    "key": ({"runs": ["a"], "key": "k.pem"}, "needs its key"),
    "tokens": ({"runs": ["a"], "token_file": "no/such"}, "can't be read"),
    "twice": ({"runs": ["a/x", "b/x"]}, "two models are called x"),
    "name": ({"runs": ["a b"]}, "can't be the name"),
}


@pytest.mark.parametrize("name", sorted(NONSENSE))
def test_what_makes_no_sense_is_told_first(tmp_path, monkeypatch, name):
    monkeypatch.setattr(serving, "Engine", None)
    values, told = NONSENSE[name]
    paths = {key: tmp_path / value for key, value in values.items() if key in ("models", "trust", "key", "token_file")}
    with pytest.raises(UsageError, match=told):
        serving.serve(Asked(**values | paths, port=0), lambda text: None)


def test_sizes_limits_and_settings():
    assert [serving.size(text) for text in ("5", "2KB", "1.5MB", "1gb")] == [5, 2000, 1_500_000, 10**9], (
        "a megabyte is what it is for --memory"
    )
    for text in ("", "MB", "-1", "1XB", "nan"):
        with pytest.raises(UsageError, match="max-body"):
            serving.size(text)
    with pytest.raises(UsageError, match="max-rows is 0"):
        Limits(rows=0)
    assert serving.engine_settings({"deadline_ms": 5}).deadline_ms == 5
    with pytest.raises(UsageError, match="deadline_msec") as raised:
        serving.engine_settings({"deadline_msec": 5})
    assert "did you mean 'deadline_ms'?" in str(raised.value)
    with pytest.raises(UsageError, match="queue_rows is 'many'"):
        serving.engine_settings({"queue_rows": "many"})


def test_names_of_models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a=b", "x"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert {name: str(folder) for name, folder in serving.named_folders(["runs/x", "y=runs/x"]).items()} == {"x": "runs/x", "y": "runs/x"}
    with pytest.raises(UsageError, match="can't be the name"):
        serving.named_folders(["runs/a=b"])
    with pytest.raises(UsageError, match="there is no folder runs/xx") as raised:
        serving.named_folders(["runs/xx"])
    assert "did you mean runs/x?" in str(raised.value)
    with pytest.raises(UsageError, match="there is no folder"):
        serving.named_folders(["y=/no/such"])
    assert list(serving.named_folders(["minilm", "somebody/base"])) == ["minilm", "base"], "names of bases"


def test_a_model_without_a_signature_is_not_opened(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(served, "opened", opened.append)
    verdict = SimpleNamespace(verified=False, issues=["Missing signature"])
    opener = serving.Opener(SimpleNamespace(verify=lambda folder, check_signature: verdict))
    with pytest.raises(GateRefused, match="Missing signature"):
        opener(tmp_path)
    assert opened == []
    verdict.verified = True
    opener(tmp_path)
    assert opened == [tmp_path]


def test_of_a_run_on_several_tasks_the_parts_are_named(tmp_path):
    for name in ("mood", "tags"):
        (tmp_path / "both" / "parts" / name).mkdir(parents=True)
        (tmp_path / "both" / "parts" / name / "manifest.json").write_text("{}")
    (tmp_path / "both" / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match="learned several tasks") as raised:
        served.opened(tmp_path / "both")
    assert "both/parts/mood" in str(raised.value)


def test_a_run_without_its_model_is_told_so(tmp_path):
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "manifest.json").write_text("{}")
    with pytest.raises(ContractRefused, match="lost/model is missing"):
        served.Served(tmp_path / "lost").admitted


def test_answers_are_those_of_predict(adapt, tmp_path):
    run = adapt(out="reviews", training=ONCE)
    texts = ["a good film", "the dull book was very cold", "song"]
    engine = served.engine(EngineSettings(threads=1, precision="float32"))
    journal = Journal(io.StringIO())
    try:
        engine.load("reviews", tmp_path / "reviews")
        app = front(engine, Rules(), journal).app

        async def ask():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
                told = await client.post("/v1/models/reviews:predict", json={"inputs": texts})
                models = await client.get("/v1/models/reviews")
                figures = await client.get("/metrics")
                await engine.drain()
                return told.json(), models.json(), figures.text, await client.post("/v1/models/reviews:predict", json={"inputs": texts})

        told, model, figures, late = asyncio.run(ask())
    finally:
        engine.close()
        journal.close()
    assert [each["predicted"] for each in told["predictions"]] == run.predict(texts)
    assert (model["task"], model["labels"]) == ("text-classification", ["negative", "positive"])
    assert 'rootstock_engine_rows_by_model_total{of="reviews"} 3.0' in figures
    assert late.status_code == 503
