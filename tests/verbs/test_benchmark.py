"""A suite measured on a tiny base: the figures are scikit-learn's and scipy's, what ended is not done again, what is missing is said."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import ModelCard
from safetensors.numpy import load_file
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from tests.conftest import rows_of

from rootstock.core.errors import DataError, Interrupted, RecipeError, UnknownName, UsageError, WriteFailed
from rootstock.core.watch import Watch
from rootstock.evaluation import suite as suites
from rootstock.report import benchmark as page
from rootstock.verbs import benchmark, benchmark_units
from rootstock.verbs.benchmark import Plan
from rootstock.verbs.benchmark_rows import Places, gathered, measured

GLUE = suites.find("glue")
NLI = ("entailment", "neutral", "contradiction")


def tsv(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(map(str, row)) for row in rows]
    path.write_text("\n".join([*(["\t".join(header)] if header else []), *lines]) + "\n", "utf-8")


@pytest.fixture(scope="module")
def glue(tmp_path_factory):
    """Tasks of GLUE in the layout of its downloads, a few rows each."""
    folder = tmp_path_factory.mktemp("GLUE")
    texts, others = [text for text, _ in rows_of(400)], [text for text, _ in rows_of(400, seed=9)]
    for split, part in (("train", slice(0, 60)), ("dev", slice(60, 100))):
        rows = list(enumerate(zip(texts[part], others[part], strict=True)))
        tsv(folder / "CoLA" / f"{split}.tsv", None, [("gj04", i % 2, "*" if i % 3 else "", f'"{a}') for i, (a, _) in rows])
        tsv(
            folder / "MRPC" / f"{split}.tsv",
            ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
            [(int(i % 3 > 0), i, i, a, b) for i, (a, b) in rows],
        )
        tsv(
            folder / "STS-B" / f"{split}.tsv",
            ["index", "genre", "sentence1", "sentence2", "score"],
            [(i, "news", a, b, (i % 11) / 2) for i, (a, b) in rows],
        )
    header = ["index", "promptID", "sentence1", "sentence2", "label1", "gold_label"]
    for split, start in (("train", 0), ("dev_matched", 60), ("dev_mismatched", 100)):
        rows = [(i, i, texts[start + i], others[start + i], "neutral", "-" if i == 3 else NLI[i % 3]) for i in range(40)]
        tsv(folder / "MNLI" / f"{split}.tsv", header, rows)
    tsv(folder / "AX" / "diagnostic.tsv", ["index", "sentence1", "sentence2"], [(i, texts[i], others[i]) for i in range(7)])
    tsv(
        folder / "MRPC" / "test.tsv",
        ["index", "#1 ID", "#2 ID", "#1 String", "#2 String"],
        [(i, i, i, texts[-i], others[i]) for i in range(5)],
    )
    tsv(folder / "STS-B" / "test.tsv", ["index", "sentence1", "sentence2"], [(i, texts[-i], others[i]) for i in range(5)])
    return folder


@pytest.fixture
def plan(tiny_base, glue):
    def make(tasks="cola,mrpc,stsb", **more):
        training = {"training.epochs": 1, "training.batch_tokens": 256, "method.name": "full"}
        values = {"base": str(tiny_base), "data": (str(glue),), "changes": training, **more}
        return Plan(suite=GLUE, tasks=GLUE.chosen(tasks), **values)

    return make


# -- facts ------------------------------------------------------------------------------------------------------------


def test_glue_has_its_ten_tasks_its_figures_and_the_files_of_its_server():
    assert list(GLUE.tasks) == ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli", "ax"]
    assert {name: set(each.metrics) for name, each in GLUE.tasks.items() if each.metrics != ("accuracy",)} == {
        "cola": {"matthews"}, "ax": {"matthews"}, "mrpc": {"accuracy", "f1"}, "qqp": {"accuracy", "f1"}, "stsb": {"pearson", "spearman"},
    }  # fmt: skip
    names = [name for each in GLUE.tasks.values() for name in each.submission.values()]
    assert sorted(names) == sorted(
        f"{name}.tsv" for name in ("CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI-m", "MNLI-mm", "QNLI", "RTE", "WNLI", "AX")
    )
    assert set(GLUE.averaged) == set(GLUE.tasks) - {"ax"}
    assert GLUE.chosen("ax") == ("mnli", "ax"), "the diagnostic rows are answered by the model of MNLI"


def test_a_suite_is_a_file(tmp_path):
    facts = {"title": "Mine", "tasks": {"one": {"title": "One", "task": "regression", "text": ["text"], "metrics": ["pearson"]}}}
    place = tmp_path / "mine.yaml"
    place.write_text(yaml.safe_dump(facts))
    assert suites.find(str(place)).tasks["one"].metrics == ("pearson",)
    place.write_text(yaml.safe_dump(facts | {"averaged": ["two"]}))
    with pytest.raises(UsageError, match="a task called 'two' among them"):
        suites.find(str(place))
    place.write_text(yaml.safe_dump({**facts, "tasks": {"one": facts["tasks"]["one"] | {"task": "text-classification"}}}))
    with pytest.raises(UsageError, match="two classes or more, each with its spellings"):
        suites.find(str(place))
    with pytest.raises(UnknownName, match="no benchmark named 'gleu'"):
        suites.find("gleu")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"task": "text-classification", "metrics": ["acc"], "labels": [["a"], ["b"]]}, "one has no figure 'acc' of 2 classes"),
        ({"task": "text-classification", "metrics": ["f1"], "labels": [["a"], ["b"], ["c"]]}, "no figure 'f1' of 3 classes"),
        ({"task": "regression", "metrics": ["r2", "accuracy"]}, "one has no figure 'accuracy'"),
    ],
)
def test_a_figure_that_is_not_there_is_refused_before_anything_is_learned(values, said):
    with pytest.raises(RecipeError, match=said):
        benchmark_units.check_figures("one", suites.Member.build({"title": "One", "text": ["text"], **values}, ""))


def test_every_figure_of_the_suites_that_come_along_is_there():
    for name, member in GLUE.tasks.items():
        benchmark_units.check_figures(name, member)


# -- rows -------------------------------------------------------------------------------------------------------------


def test_the_downloads_own_files_are_read(glue, tmp_path):
    cola = gathered(GLUE, "cola", str(glue / "CoLA"), tmp_path / "cola")
    rows = cola["train"].table(labelled=True)
    assert (len(rows), set(rows.column("label").to_pylist())) == (60, {"0", "1"})
    assert rows.column("text")[0].as_py().startswith('"'), "quotes are letters in these files"
    mnli = gathered(GLUE, "mnli", str(glue / "MNLI"), tmp_path / "mnli")
    assert {split: (each.rows, each.unlabelled) for split, each in mnli.items()} == dict.fromkeys(
        ("train", "validation_matched", "validation_mismatched"), (40, 1)
    )
    assert measured(GLUE.tasks["mnli"], mnli) == ("validation_matched", "validation_mismatched")
    ax = gathered(GLUE, "ax", str(glue / "AX"), tmp_path / "ax")
    assert (ax["test"].rows, ax["test"].labelled) == (7, 0)


def test_the_hubs_files_give_the_same_rows(tmp_path):
    """As nyu-mll/glue has them: numbers of classes, -1 for rows whose answer is kept back, Parquet in shards."""
    place = tmp_path / "rte"
    place.mkdir()
    for shard in range(2):
        table = pa.table(
            {"sentence1": ["a film"] * 4, "sentence2": ["a book"] * 4, "label": [0, 1, 1, 0], "idx": [4 * shard + i for i in range(4)]}
        )
        pq.write_table(table, place / f"train-0000{shard}-of-00002.parquet")
    (place / "validation.jsonl").write_text("\n".join(json.dumps({"sentence1": "a", "sentence2": "b", "label": i}) for i in (0, 1, -1)))
    found = gathered(GLUE, "rte", str(place), tmp_path / "out")
    assert (
        found["train"].table(labelled=True).column("label").to_pylist()
        == ["entailment", "not_entailment", "not_entailment", "entailment"] * 2
    )
    assert found["train"].table(labelled=True).column("index").to_pylist() == list(map(str, range(8)))
    assert found["validation"].unlabelled == 1


def test_what_is_wrong_with_rows_is_said(glue, tmp_path):
    with pytest.raises(DataError, match="has no rows of rte"):
        Places.told([str(glue)], GLUE).of("rte", GLUE.tasks["rte"])
    with pytest.raises(UnknownName, match="'mrcp'"):
        Places.told([f"mrcp={glue}"], GLUE)
    for word in ("cola=", f"cola={tmp_path / 'gone'}"):
        with pytest.raises(DataError, match="there is no folder"):
            Places.told([word], GLUE)
    bad = tmp_path / "CoLA"
    shutil.copytree(glue / "CoLA", bad)
    text = (bad / "dev.tsv").read_text().splitlines()
    (bad / "dev.tsv").write_text("\n".join([*text[:4], text[4].replace("\t0\t", "\tgood\t"), *text[5:]]))
    with pytest.raises(DataError, match=r"dev\.tsv, line 5: the answer is 'good'"):
        gathered(GLUE, "cola", str(bad), tmp_path / "out")
    (bad / "train.csv").write_text("sentence,label\na,1\n")
    with pytest.raises(DataError, match="several files of train"):
        gathered(GLUE, "cola", str(bad), tmp_path / "out")
    (bad / "train.csv").unlink()
    (bad / "train.tsv").unlink()
    with pytest.raises(DataError, match="has no rows of train"):
        gathered(GLUE, "cola", str(bad), tmp_path / "out")


# -- figures ----------------------------------------------------------------------------------------------------------


def test_the_figures_are_the_libraries_own_and_the_average_is_the_mean_of_tasks(plan, tmp_path):
    found = benchmark.benchmark(plan(seeds=2), tmp_path / "out", Watch())
    kept = {
        name: [load_file(tmp_path / f"out/answers/{name}-{seed}.{name}.validation.safetensors") for seed in (0, 1)]
        for name in found["tasks"]
    }
    theirs = {
        "cola": {"matthews": matthews_corrcoef},
        "mrpc": {"f1": f1_score, "accuracy": accuracy_score},
        "stsb": {"pearson": lambda a, b: pearsonr(a, b)[0], "spearman": lambda a, b: spearmanr(a, b)[0]},
    }
    scores = {}
    for name, figures in theirs.items():
        held = found["tasks"][name]["splits"]["validation"]
        for figure, by in figures.items():
            said = [each["scores"][:, 0] if name == "stsb" else each["scores"].argmax(1) for each in kept[name]]
            wanted = [by(each["answers"], answer) for each, answer in zip(kept[name], said, strict=True)]
            assert held["figures"][figure]["seeds"] == pytest.approx(wanted, rel=1e-5), "scores are kept in fp32"
            low, high = held["figures"][figure]["interval"]
            assert held["figures"][figure]["value"] == pytest.approx(np.mean(wanted))
            assert low <= np.mean(wanted) <= high
        scores[name] = np.mean([held["figures"][figure]["value"] for figure in figures])
        assert found["tasks"][name]["score"]["value"] == pytest.approx(scores[name])
    assert found["average"]["value"] == pytest.approx(np.mean(list(scores.values())))
    assert found["average"]["partial"]
    assert set(found["average"]["missing"]) == set(GLUE.averaged) - set(scores)
    text = page.as_text(found)
    assert "3 of 9 tasks only: not comparable" in text
    assert "validation has 40 rows, the published one 1,043" in text


def test_what_leaderboards_read_is_what_they_can_read(plan, tmp_path):
    found = benchmark.benchmark(plan("mrpc"), tmp_path / "out", Watch())
    results = ModelCard.load(tmp_path / "out/README.md").data.eval_results
    value = {each.metric_type: each.metric_value for each in results}
    figures = found["tasks"]["mrpc"]["splits"]["validation"]["figures"]
    assert value == {name: pytest.approx(each["value"], abs=1e-6) for name, each in figures.items()}
    assert {each.dataset_type for each in results} == {"GLUE"}, "forty rows are not nyu-mll/glue's"
    layout = json.loads((tmp_path / "out/lm_eval.json").read_text())
    assert layout["results"]["mrpc"]["acc,none"] == figures["accuracy"]["value"]
    assert layout["results"]["mrpc"]["f1_stderr,none"] == figures["f1"]["error"]
    assert {"results", "configs", "versions", "n-shot", "higher_is_better", "n-samples", "config"} <= set(layout)


def test_lm_eval_prints_our_results_as_its_own():
    utils = pytest.importorskip("lm_eval.utils")
    each = {"value": 0.5, "interval": [0.4, 0.6], "error": 0.05}
    found = {"tasks": {"rte": {"splits": {"validation": {"rows": 99, "figures": {"accuracy": each}}}}}, "format": 1}
    found |= {"suite": {"hub": "nyu-mll/glue"}, "base": {"reference": "minilm", "name": "minilm"}}
    assert "|rte  |      1|none  |     0|acc" in utils.make_table(page.harness(found))


def test_matched_and_mismatched_are_one_task_and_its_model_answers_the_diagnostic_rows(plan, tmp_path):
    found = benchmark.benchmark(plan("ax", submission=True), tmp_path / "out", Watch())
    mnli = found["tasks"]["mnli"]
    assert {split: each["rows"] for split, each in mnli["splits"].items()} == {"validation_matched": 39, "validation_mismatched": 39}
    assert mnli["score"]["value"] == pytest.approx(np.mean([each["figures"]["accuracy"]["value"] for each in mnli["splits"].values()]))
    assert found["tasks"]["ax"]["splits"] == {}
    lines = (tmp_path / "out/submission/AX.tsv").read_text().splitlines()
    assert lines[0] == "index\tprediction"
    assert [line.split("\t")[0] for line in lines[1:]] == list(map(str, range(7)))
    assert {line.split("\t")[1] for line in lines[1:]} <= set(NLI)
    assert "QQP.tsv" in found["submission"]["missing"]


def test_numbers_are_submitted_within_what_an_answer_can_be(plan, tmp_path):
    found = benchmark.benchmark(plan("stsb,mrpc", submission=True), tmp_path / "out", Watch())
    assert set(found["submission"]["files"]) == {"MRPC.tsv", "STS-B.tsv"}
    said = [line.split("\t")[1] for line in (tmp_path / "out/submission/STS-B.tsv").read_text().splitlines()[1:]]
    assert all(0 <= float(each) <= 5 and len(each.partition(".")[2]) == 3 for each in said)
    assert {line.split("\t")[1] for line in (tmp_path / "out/submission/MRPC.tsv").read_text().splitlines()[1:]} <= {"0", "1"}


# -- going on, and what is refused ----------------------------------------------------------------------------------------


def test_what_has_ended_is_not_done_again(plan, tmp_path, monkeypatch):
    out, asked = tmp_path / "out", []
    real = benchmark_units.carried_out

    def counted(trained, answers, watch, **how):
        asked.append((trained.name, trained.seed))
        return real(trained, answers, watch, **how)

    monkeypatch.setattr(benchmark_units, "carried_out", counted)
    with pytest.raises(Interrupted, match="stopped after 1 of 2 trainings"):
        benchmark.benchmark(plan("cola,mrpc"), out, Watch(stop=(out / "answers/cola-0.json").exists))
    assert asked == [("cola", 0)]
    with pytest.raises(Interrupted, match="mrpc-0: interrupted after step 1"):
        benchmark.benchmark(plan("cola,mrpc"), out, Watch(stop=(out / "runs/mrpc-0/history.jsonl").exists))
    whole = benchmark.benchmark(plan("cola,mrpc"), out, Watch())
    assert asked == [("cola", 0), ("mrpc", 0), ("mrpc", 0)]
    apart = benchmark.benchmark(plan("cola,mrpc"), tmp_path / "apart", Watch())
    assert apart["average"] == whole["average"], "stopped and gone on with, or in one go: the same figures"
    del asked[:]
    (out / "runs/cola-0/model").mkdir(parents=True)  # what a kill leaves that falls into the removing of a run
    more = benchmark.benchmark(plan("cola,mrpc,stsb", seeds=2), out, Watch())
    assert asked == [("cola", 1), ("mrpc", 1), ("stsb", 0), ("stsb", 1)]
    assert (
        more["tasks"]["cola"]["splits"]["validation"]["figures"]["matthews"]["seeds"][0]
        == (whole["tasks"]["cola"]["splits"]["validation"]["figures"]["matthews"]["value"])
    )
    assert not list((out / "runs").iterdir())


@pytest.mark.parametrize("at", ["settling", "training", "learning"])
def test_what_it_replaces_is_back_until_a_training_has_learned(plan, tmp_path, monkeypatch, at):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("state.json", "benchmark.json", "lm_eval.json", "README.md"):
        (out / name).write_text("{}")

    def broken(*given):
        if at == "learning":
            given[1].event({"event": "step", "step": 1})
        raise WriteFailed("the disk is full")

    monkeypatch.setattr(benchmark, "check_trainable" if at == "settling" else "_trained", broken)
    with pytest.raises(WriteFailed):
        benchmark.benchmark(plan("cola"), out, Watch(), overwrite=True)
    assert (out / "benchmark.json").exists() == (at != "learning")
    assert (out / "data").exists() == (at == "learning")
    assert not [each for each in out.iterdir() if each.name.endswith(".part")]


def test_another_plan_or_place_is_refused(plan, tmp_path):
    out = tmp_path / "out"
    benchmark.benchmark(plan("cola"), out, Watch())
    with pytest.raises(UsageError, match="begun with another changes"):
        benchmark.benchmark(plan("cola", changes={"training.epochs": 2}), out, Watch())
    with pytest.raises(UsageError, match="begun with another base"):
        benchmark.benchmark(plan("cola", base="scratch:bert-tiny"), out, Watch())
    (out / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds other files: mine\.txt"):
        benchmark.benchmark(plan("cola"), out, Watch(), overwrite=True)
    assert (out / "benchmark.json").exists()
    (out / "mine.txt").unlink()
    (tmp_path / "bad" / "CoLA").mkdir(parents=True)
    with pytest.raises(DataError, match="has no rows of train"):
        benchmark.benchmark(plan("cola", data=(str(tmp_path / "bad"),)), out, Watch(), overwrite=True)
    assert (out / "benchmark.json").exists(), "results go when the new rows are known to be good"
    for minutes in (0.0, -1.0, float("nan")):
        with pytest.raises(RecipeError, match=r"budget\.minutes"):
            plan(minutes=minutes)
    for key in ("base", "seed", "task.label", "data.train", "budget.minutes"):
        with pytest.raises(UsageError, match="the benchmark sets"):
            plan(changes={key: 1})


def test_a_run_as_base_is_told_with_the_rows_that_it_knew(plan, glue, tmp_path, adapt):
    lines = (glue / "CoLA" / "dev.tsv").read_text().splitlines()[:30]
    known = tmp_path / "known.tsv"
    known.write_text("\n".join(["label\tsentence", *("\t".join(line.split("\t")[1::2]) for line in lines)]))
    run = adapt(out="before", data=known, training={"epochs": 1}, accept=("contradictions", "duplicates"))
    found = benchmark.benchmark(plan("cola", base=str(run.path)), tmp_path / "out", Watch())
    assert found["base"]["run"]["task"] == "text-classification"
    held = found["tasks"]["cola"]["splits"]["validation"]
    assert held["known"]["rows"] >= 25
    text = page.as_text(found)
    assert "the base is a run: text-classification with full" in text
    assert f"{held['known']['rows']} of 40 rows were learned by the base before" in text


def test_minutes_are_shared_out(plan, tmp_path, monkeypatch):
    given = []
    real = benchmark_units.carried_out

    def noted(trained, answers, watch, *, minutes, keep):
        given.append(minutes)
        return real(trained, answers, watch, minutes=None, keep=keep) | {"seconds": 60.0}

    monkeypatch.setattr(benchmark_units, "carried_out", noted)
    benchmark.benchmark(plan("cola,mrpc,stsb", minutes=9.0), tmp_path / "out", Watch())
    assert given == pytest.approx([3.0, 4.0, 7.0]), "what one training leaves, those after it share"
