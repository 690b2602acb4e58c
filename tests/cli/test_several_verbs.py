"""Several tasks on the command line: said by --part, asked for by --part."""

import json

import pytest
from tests.conftest import rows_of, write_csv
from typer.testing import CliRunner

from rootstock.cli import _start
from rootstock.cli.main import app
from rootstock.core.errors import UsageError


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def run(tiny_base, tmp_path_factory):
    place = tmp_path_factory.mktemp("several")
    mood = write_csv(place / "mood.csv", rows_of(60))
    size = write_csv(place / "size.csv", [(text, len(text) / 2) for text, _ in rows_of(60, seed=1)], header=("text", "size"))
    out = place / "run"
    made = call(
        *("adapt", "--part", f"mood={mood}", "--part", f"size={size}", "--set", "task.parts.size.weight=0.5", "--mix", "equal"),
        *("--base", tiny_base, "--method", "full", "--epochs", "1", "--out", out, "--json"),
    )
    assert made.exit_code == 0, made.output
    return out, mood, json.loads(made.stdout[made.stdout.index("{") :])


def test_parts_and_their_keys_come_from_the_command_line(run):
    out, _, metrics = run
    assert list(metrics["parts"]) == ["mood", "size"]
    assert metrics["parts"]["size"]["best_by"][0] == "spearman"
    recipe = (out / "recipe.yaml").read_text()
    assert "weight: 0.5" in recipe
    assert "mix: equal" in recipe


def test_predict_and_evaluate_take_a_part(run):
    out, mood, _ = run
    said = call("predict", out, "--part", "mood", "a good film")
    assert said.exit_code == 0
    assert said.stdout.split("\t")[0] in ("positive", "negative")
    found = call("evaluate", out, "--part", "mood", mood, "--json")
    assert json.loads(found.stdout)["rows"] == 60


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("predict", "RUN", "a film"), "learned several tasks"),
        (("evaluate", "RUN", "MOOD"), "learned several tasks"),
        (("predict", "RUN", "--part", "mod", "a film"), "did you mean 'mood'?"),
        (("adapt",), "neither rows nor parts"),
        (("adapt", "MOOD", "--part", "mood=MOOD"), "and --part"),
        (("adapt", "--part", "mood"), "wanted: NAME=FILE"),
        (("adapt", "--part", "a.b=MOOD"), "wanted: NAME=FILE"),
        (("adapt", "--part", "mood=MOOD", "--part", "mood=MOOD"), "names mood twice"),
        (("adapt", "--part", "mood=MOOD"), "names 1 part"),
        (("adapt", "--part", "mood=MOOD", "--part", "b=MOOD", "--text", "text"), "unknown key 'task.text'"),
        (("adapt", "--part", "mood=MOOD", "--part", "b=MOOD", "--method", "feature-extraction"), "share nothing that learns"),
        (("adapt", "--part", "mood=MOOD", "--part", "b=missing.csv"), "b: "),
    ],
)
def test_what_does_not_fit_says_so(run, tmp_path, monkeypatch, words, said):
    out, mood, _ = run
    monkeypatch.chdir(tmp_path)
    made = call(*(word.replace("RUN", str(out)).replace("MOOD", str(mood)) for word in words))
    shown = str(made.exception or "") + made.output
    assert made.exit_code in (1, 2)
    assert said in shown
    assert not list(tmp_path.iterdir())


def test_parts_are_keys_of_the_recipe():
    assert _start.parts(["a=x.csv", "b=y=z.csv"]) == {"task.parts.a.data.train": "x.csv", "task.parts.b.data.train": "y=z.csv"}
    with pytest.raises(UsageError):
        _start.parts(["=x.csv"])
