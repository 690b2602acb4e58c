"""The verb scaling: a table or finished runs to a law, a page and a plan, and each thing that can be wrong."""

import csv
import json

import pytest


def law(parameters, tokens):
    return 1.7 + 400 / parameters**0.34 + 1500 / tokens**0.31


PAIRS = [(size, tokens) for size in (2e7, 1e8, 5e8, 3e9) for tokens in (1e9, 5e9, 2e10, 1e11)]
ROWS = [(size, tokens, law(size, tokens)) for size, tokens in PAIRS]


def table(path, header, rows):
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def made_run(folder, size, tokens, **more):
    """What a pre-training run leaves behind, as far as a scaling law reads it."""
    folder.mkdir(parents=True)
    written = {
        "manifest.json": {"task": "causal-lm", "parameters": int(size)},
        "plan.json": {"measured": {"tokens": int(tokens)}},
        "metrics.json": {"metrics": {"loss": law(size, tokens)}},
    } | more
    for name, value in written.items():
        (folder / name).write_text(json.dumps(value))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scaling")
    table(folder / "runs.csv", ("Model Size", "Training FLOP", "loss"), [(n, 6 * n * d, loss) for n, d, loss in ROWS])
    table(folder / "<b>.csv", ("N", "D", "val_loss", "train_loss"), [(n, d, loss, 9) for n, d, loss in ROWS])
    holes = [("70M", "1.4B", ""), ("", "1e9", 3), ("1e8", -5, 3), ("1e8", "1e9", "oops"), ("1e8", "1e9", "inf"), (0, "1e9", 3)]
    table(folder / "holes.csv", ("params", "tokens", "loss"), [*ROWS, *holes])
    letters = [(f"{n / 1e6:,.0f} M", f"{d / 1e9:g}B", loss) for n, d, loss in ROWS]
    table(folder / "letters.csv", ("n", "d", "loss"), letters)
    table(folder / "broken.csv", ("N", "D", "loss"), [("x", "y", "z")] * 8)
    table(folder / "five.csv", ("N", "D", "loss"), ROWS[:5])
    table(folder / "one.csv", ("N", "D", "loss"), [(1e8, (i + 1) * 1e9, law(1e8, (i + 1) * 1e9)) for i in range(8)])
    table(folder / "unnamed.csv", ("width", "depth", "score"), ROWS)
    table(folder / "outlier.csv", ("N", "D", "loss"), [*ROWS, (1e8, 1e9, 50.0)])
    for i, (size, tokens) in enumerate(PAIRS):
        made_run(folder / "runs" / f"r{i}", size, tokens)
    made_run(folder / "sizeless", 1e8, 1e9, **{"manifest.json": {"task": "causal-lm"}})
    made_run(folder / "lossless", 1e8, 1e9, **{"metrics.json": {"metrics": {"accuracy": 0.5}}})
    made_run(folder / "masked", 1e8, 1e9, **{"manifest.json": {"task": "masked-lm", "parameters": 10**8}})
    for i, (size, tokens) in enumerate(PAIRS):
        facts = {
            "task": "causal-lm",
            "parameters": int(3 * size),
            "body_parameters": int(size),
            "data": {"train": {"sha256": "abc"[i % 3]}},
        }
        facts["learned"] = {"tokens": int(tokens), "passes": 9.5 if i == 3 else 1.0}
        made_run(
            folder / "bare" / f"b{i}", size, tokens, **{"manifest.json": facts, "plan.json": {"measured": {"tokens": int(2 * tokens)}}}
        )
    for name in ("one", "another"):
        made_run(folder / "tokens" / name, 1e8, 1e9)
        (folder / "tokens" / name / "model").mkdir()
        (folder / "tokens" / name / "model" / "contract.json").write_text(json.dumps({"tokenizer_sha256": 16 * name}))
    (folder / "other").mkdir()
    (folder / "other" / "thesis.txt").write_text("years of work")
    (folder / "nofit.json").write_text("{}")
    return folder


@pytest.fixture
def at(place, monkeypatch):
    monkeypatch.chdir(place)


@pytest.fixture(scope="module")
def runs():
    return " ".join(f"runs/r{i}" for i in range(len(PAIRS)))


def fitted(command, line):
    code, out, err = command(f"scaling fit {line} --resamples 0 --json")
    assert code == 0, err
    return json.loads(out)


@pytest.mark.usefixtures("at")
@pytest.mark.parametrize("source", ["runs.csv", "'<b>.csv'", "letters.csv", "folders", "unnamed.csv"])
def test_the_law_is_found_whatever_the_source_is_called(command, runs, source):
    named = {"folders": runs, "unnamed.csv": "unnamed.csv --columns parameters=width --columns tokens=depth --columns loss=score"}
    found = fitted(command, named.get(source, source))
    assert found["law"]["alpha"] == pytest.approx(0.34, rel=1e-3)
    assert found["law"]["B"] == pytest.approx(1500, rel=2e-3)
    assert [run["parameters"] for run in found["runs"]] == pytest.approx([size for size, _ in PAIRS])
    assert [run["tokens"] for run in found["runs"]] == pytest.approx([tokens for _, tokens in PAIRS])
    assert found["skipped"] == found["left_out"] == []


@pytest.mark.usefixtures("at")
def test_a_fit_is_written_and_planned_with(command, place):
    code, out, err = command("scaling fit '<b>.csv' --resamples 4 --out fits/one")
    assert code == 0, err
    assert "L = 1.7000 + 400 / N^0.3400 + 1500 / D^0.3100" in out
    assert "columns   <b>.csv: parameters = N, tokens = D, loss = val_loss" in out
    assert "4 bootstrap samples" in out
    page = (place / "fits/one/scaling.html").read_text()
    assert page.count('class="plot"') == page.count('<script type="application/json"') == 3
    assert "&lt;b&gt;.csv" in page
    assert "<b>.csv" not in page
    assert "//cdn" not in page[: page.index("<script>")]
    code, out, err = command("scaling plan --flops 1e20 --fit fits/one --json")
    found = json.loads(out)
    assert (code, err, found["fit"]) == (0, "", "fits/one/scaling.json")
    assert found["loss"] == pytest.approx(law(found["parameters"], found["tokens"]), rel=1e-6)
    assert found["intervals"]["loss"][0] <= found["loss"] + 1e-5
    code, _, err = command("scaling fit runs.csv --resamples 0 --out fits/one")
    assert code == 2
    assert "fits/one already holds a fit" in err
    code, _, err = command("scaling fit runs.csv --resamples 0 --out fits/one --overwrite")
    assert code == 0, err
    assert json.loads((place / "fits/one/scaling.json").read_text())["sources"][0]["name"] == "runs.csv"


@pytest.mark.usefixtures("at")
def test_runs_give_their_body_and_real_tokens_and_say_what_a_law_does_not_know(command, runs):
    bare = " ".join(f"bare/b{i}" for i in range(len(PAIRS)))
    found = fitted(command, bare)
    assert [(run["parameters"], run["tokens"]) for run in found["runs"]] == PAIRS
    assert any("learned from different data" in note for note in found["notes"])
    assert any(note.startswith("bare/b3 saw the same text more than 4 times (up to 9.5)") for note in found["notes"])
    assert not any("with embeddings" in note for note in found["notes"])
    notes = fitted(command, runs)["notes"]
    assert any("runs/r0, runs/r1, runs/r2 and 13 others: sizes with embeddings and tokens with padding" in note for note in notes)


@pytest.mark.usefixtures("at")
def test_rows_that_are_no_runs_are_counted_shown_and_skipped(command):
    found = fitted(command, "holes.csv")
    reasons = {each["where"].rsplit(" ", 1)[1]: each["reason"] for each in found["skipped"]}
    told = ["loss is missing", "params is missing", "tokens is -5", "loss is no number", "loss is inf", "params is 0"]
    assert reasons == {str(18 + i): reason for i, reason in enumerate(told)}
    assert found["points"] == len(ROWS)
    code, out, _ = command("scaling fit holes.csv --resamples 0")
    assert code == 0
    assert "skipped   6 rows" in out
    assert "holes.csv, line 20: tokens is -5" in out


@pytest.mark.usefixtures("at")
def test_the_highest_losses_are_left_out_only_when_asked(command):
    assert fitted(command, "outlier.csv")["left_out"] == []
    found = fitted(command, "outlier.csv --leave-out-highest 1")
    assert [run["loss"] for run in found["left_out"]] == [50.0]
    assert found["points"] == len(ROWS)
    assert found["law"]["alpha"] == pytest.approx(0.34, rel=1e-3)


def test_a_plan_without_a_fit_says_whose_law_it_uses(command):
    code, out, err = command("scaling plan --flops 5.76e23")
    assert code == 0
    assert "Besiroglu" in err
    assert "no intervals" in err
    assert [line.split()[-1] for line in out.splitlines() if line.startswith(("FLOPs", "tokens per", "expected"))] == [
        "5.76e23",
        "18.3",
        "1.9740",
    ]
    code, out, _ = command("scaling plan --parameters 70B --tokens '1,400B' --json")
    found = json.loads(out)
    assert (found["fit"], found["flops"]) == ("published", pytest.approx(5.88e23))


CASES = [
    ("fit five.csv", "found 5 usable runs", "6 or more"),
    ("fit one.csv", "the 8 runs differ too little: 1 size", "other sizes"),
    ("fit broken.csv", "found 0 usable runs (8 rows were skipped: broken.csv, line 2: N is no number"),
    ("fit runs.csv --leave-out-highest 12", "found 4 usable runs (12 were left out)"),
    ("fit unnamed.csv", "no column for parameters and loss and tokens (or flops)", "width, depth, score", "--columns"),
    ("fit runs.csv --columns loss=los", "column in runs.csv named 'los'", "did you mean 'loss'"),
    ("fit runs.csv --columns los=loss", "no quantity named 'los'", "did you mean 'loss'"),
    ("fit runs.csv --columns loss", "--columns loss names no column"),
    ("fit runs.csv --columns loss=x --columns loss=y", "--columns loss=y comes twice"),
    ("fit runs.csv --leave-out-highest -1", "--leave-out-highest is -1"),
    ("fit runs.csv --resamples -1", "--resamples is -1"),
    ("fit nowhere.csv", "nowhere.csv does not exist"),
    ("fit runs", "runs is no run that has ended", "runs/r0"),
    ("fit sizeless", "sizeless: parameters is missing in manifest.json"),
    ("fit lossless", "lossless: loss is missing in metrics.json"),
    ("fit runs/r0 masked", "different tasks: runs/r0 (causal-lm), masked (masked-lm)"),
    ("fit tokens/one tokens/another", "different tokenizers: tokens/one (oneoneon), tokens/another (anothera)", "runs of one tokenizer"),
    ("fit runs.csv --out other", "other holds other files: thesis.txt"),
    ("fit runs.csv --out five.csv", "five.csv is a file"),
    ("fit", "Missing argument"),
    ("plan", "found none of --flops, --parameters and --tokens"),
    ("plan --flops 1e21 --tokens 1e9 --parameters 1e9", "found all three"),
    ("plan --flops many", "--flops is 'many'", "7B"),
    ("plan --flops 0", "--flops is 0"),
    ("plan --flops 1e21 --fit nowhere", "nowhere does not exist"),
    ("plan --flops 1e21 --fit other", "other has no scaling.json"),
    ("plan --flops 1e21 --fit nofit.json", "nofit.json holds no fit"),
    ("plan --flops 1e21 --fit runs.csv", "runs.csv is damaged"),
]


@pytest.mark.parametrize(("line", "said"), [(line, said) for line, *said in CASES], ids=[each[0] for each in CASES])
@pytest.mark.usefixtures("at")
def test_what_is_wrong_is_said(command, line, said):
    code, out, err = command(f"scaling {line}")
    assert code == 2, err
    assert out == ""
    for part in said:
        assert part in err
    assert "Traceback" not in err
