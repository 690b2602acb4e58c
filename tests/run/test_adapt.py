"""A run end to end on a tiny base: what it leaves behind loads without Rootstock and says the same."""

import json
import logging
import os
import shutil
import signal

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from tests.conftest import ONCE, make_base, rows_of, write_csv

import rootstock as rs
from rootstock import catalog
from rootstock.core import artifact
from rootstock.core.errors import ContractRefused, DataError, Interrupted, LedgerRefused, MergeRefused, RecipeError, UsageError


def tensors(run):
    from safetensors.torch import load_file

    return {path.name: load_file(path) for path in run.folder.model.glob("*.safetensors")}


def logits_of(model, run, texts):
    tokenizer = transformers.AutoTokenizer.from_pretrained(run.folder.model)
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**{key: batch[key] for key in ("input_ids", "attention_mask")}).logits


def test_a_run_learns_and_leaves_everything(learned):
    run = learned()
    assert run.metrics["metrics"]["accuracy"] == 1.0
    names = {path.name for path in run.path.iterdir()}
    wanted = {
        "recipe.yaml",
        "manifest.json",
        "ledger.json",
        "plan.json",
        "history.jsonl",
        "metrics.json",
        "predictions.parquet",
        "model",
        "README.md",
        "report.html",
    }
    assert wanted <= names
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest["files"] == {name: artifact.digest_file(run.path / name) for name in manifest["files"]}
    assert {"recipe.yaml", "model/model.safetensors", "report.html"} <= set(manifest["files"])
    plan = json.loads((run.path / "plan.json").read_text())
    assert plan["predicted"]["steps"] == plan["measured"]["steps"]


@pytest.fixture
def saving(learned):
    """A run that kept checkpoints on its way."""
    return learned(training=ONCE | {"checkpoint_steps": 2}, method="lora")


def test_no_file_of_a_run_is_a_pickle(saving):
    run = saving
    for path in run.path.rglob("*"):
        if path.is_file():
            head = path.read_bytes()[:4]
            assert head[:2] != b"\x80\x04", path
            assert head != b"PK\x03\x04", path


def test_the_file_that_tells_of_an_adapter_lists_by_name_and_once(adapt):
    """peft keeps its lists as sets, whose order is another one in every process."""
    names = ["value", "query", "key", "intermediate.dense", "attention.output.dense", "attention.self.query"]
    run = adapt(training={"steps": 1}, method=catalog.find("methods", "lora")(targets=names))
    told = json.loads((run.folder.model / "adapter_config.json").read_text("utf-8"))
    for key in ("target_modules", "modules_to_save"):
        assert told[key] == sorted(set(told[key])), key
    assert len(told["target_modules"]) == len(names)


PRECISIONS = pytest.mark.parametrize(("precision", "apart"), [("fp32", 1e-5), pytest.param("bf16", 0.02, marks=pytest.mark.slow)])
"""Number formats of products, and how far a probability may then lie from plain transformers' in fp32."""


@PRECISIONS
def test_plain_transformers_loads_the_model_and_agrees(adapt, precision, apart):
    run = adapt(training={"epochs": 4, "rate": 3e-3, "batch_tokens": 64, "precision": precision})
    model = transformers.AutoModelForSequenceClassification.from_pretrained(run.folder.model)
    assert model.config.id2label == {0: "negative", 1: "positive"}
    table = pq.read_table(run.path / "predictions.parquet").to_pylist()
    scores = logits_of(model, run, [row["text"] for row in table]).softmax(-1)
    np.testing.assert_allclose(scores[:, 1], [row["p(positive)"] for row in table], atol=apart)
    assert run.predict(["a good film", "a bad film"]) == ["positive", "negative"]
    assert run.predict("a lovely song") == ["positive"]


@pytest.fixture
def merged(learned):
    """merged(precision) is an adapter with a merge beside it."""
    training = {"epochs": 4, "rate": 3e-2, "batch_tokens": 64}
    return lambda precision: learned(method=rs.LoRA(r=4), merge=True, training=training | {"precision": precision})


@PRECISIONS
def test_the_adapter_loads_in_plain_peft_and_agrees(merged, tiny_base, precision, apart):
    from peft import PeftModel

    run = merged(precision)
    base = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_base, num_labels=2)
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
        model = PeftModel.from_pretrained(base, run.folder.model)
    table = pq.read_table(run.path / "predictions.parquet").to_pylist()
    scores = logits_of(model, run, [row["text"] for row in table]).softmax(-1)
    np.testing.assert_allclose(scores[:, 1], [row["p(positive)"] for row in table], atol=apart)
    assert rs.Run(run.path).predict([row["text"] for row in table]) == [row["predicted"] for row in table]


def test_an_adapter_refuses_another_base(adapt, tiny_base, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    run = adapt(method="lora", base=str(base), training=ONCE)
    moved = tmp_path / "elsewhere"
    shutil.copytree(base, moved)
    make_base(base, num_hidden_layers=1)
    with pytest.raises(ContractRefused, match="digest"):
        rs.Run(run.path).predict(["a film"])
    shutil.rmtree(base)
    shutil.move(moved, base)
    assert rs.Run(run.path).predict(["a film"])


def test_a_changed_tokenizer_is_refused(learned, tmp_path):
    run = rs.Run(shutil.copytree(learned().path, tmp_path / "run"))
    path = run.folder.model / "tokenizer.json"
    path.write_text(path.read_text().replace('"good"', '"gold"'))
    with pytest.raises(ContractRefused, match="tokenizer"):
        rs.Run(run.path).predict(["a film"])


@PRECISIONS
def test_merge_writes_a_plain_model_that_agrees(merged, precision, apart):
    run = merged(precision)
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(run.path / "merged")
    table = pq.read_table(run.path / "predictions.parquet").to_pylist()
    scores = logits_of(plain, run, [row["text"] for row in table]).softmax(-1)
    np.testing.assert_allclose(scores[:, 1], [row["p(positive)"] for row in table], atol=max(apart, 1e-4))
    assert json.loads((run.path / "merged" / "merge.json").read_text())["largest_move"] < 1e-3


def test_a_merge_that_changes_answers_is_refused(adapt, monkeypatch, tmp_path):
    from rootstock.methods import _peft

    good = _peft.merged

    def broken(model):
        plain = good(model)
        with torch.no_grad():
            weight = plain.base_model.encoder.layer[0].attention.output.dense.weight
            weight.add_(torch.randn_like(weight))
        return plain

    monkeypatch.setattr(_peft, "merged", broken)
    with pytest.raises(MergeRefused, match="move an answer"):
        adapt(method="lora", merge=True, out="refused", training=ONCE | {"checkpoint_steps": 1})
    run = rs.Run(tmp_path / "refused")
    assert run.predict(["a good film"]), "the adapter can be used"
    assert not run.folder.checkpoints.exists(), "nothing is left to go on with"


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_features_are_computed_once_and_the_kept_model_is_plain(adapt, tmp_path, monkeypatch, family):
    base = make_base(tmp_path / family, family)
    settings = {"base": str(base), "method": "feature-extraction", "training": {"epochs": 20, "rate": 3e-2, "precision": "fp32"}}
    first = adapt(out="first", **settings)
    from rootstock.loop import infer
    from rootstock.run import features

    used = []
    real = infer.infer

    def spy(model, rows, answer, **more):
        used.append(answer)
        return real(model, rows, answer, **more)

    monkeypatch.setattr(infer, "infer", spy)
    second = adapt(out="second", **settings)
    assert features._vectors not in used
    assert first.metrics["metrics"] == second.metrics["metrics"]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(second.folder.model)
    table = pq.read_table(second.path / "predictions.parquet").to_pylist()
    scores = logits_of(model, second, [row["text"] for row in table]).softmax(-1)
    np.testing.assert_allclose(scores[:, 1], [row["p(positive)"] for row in table], atol=1e-3)


def test_the_same_recipe_gives_the_same_weights(adapt):
    first, second = adapt(out="a", training=ONCE), adapt(out="b", training=ONCE)
    for name, held in tensors(first).items():
        for key, value in held.items():
            assert torch.equal(value, tensors(second)[name][key]), key
    assert json.loads((first.path / "metrics.json").read_text()) == json.loads((second.path / "metrics.json").read_text())
    other = adapt(out="c", seed=7, training={"steps": 1})
    assert not torch.equal(
        tensors(first)["model.safetensors"]["classifier.weight"], tensors(other)["model.safetensors"]["classifier.weight"]
    )


def test_evaluate_gives_the_very_numbers_of_the_run(adapt, tmp_path):
    held = write_csv(tmp_path / "dev.csv", rows_of(50, seed=3))
    run = adapt(validation=str(held), training={"epochs": 1, "rate": 1e-3, "batch_tokens": 64})
    again = rs.Run(run.path).evaluate(str(held))
    assert again["metrics"] == run.metrics["metrics"]
    assert again["intervals"] == run.metrics["intervals"]
    assert again["chose_rows"] == 50 - again["leakage"]["overlap_rows"], "rows that chose the best state are not untouched"
    fresh = run.evaluate(str(write_csv(tmp_path / "fresh.csv", [(f"{text} truly", label) for text, label in rows_of(20, seed=5)])))
    assert fresh["chose_rows"] == 0


def test_scores_with_and_without_rows_that_were_trained_on(adapt, tmp_path):
    train = rows_of(100)
    held = [*rows_of(40, seed=9), *train[:10]]
    files = write_csv(tmp_path / "t.csv", train), write_csv(tmp_path / "v.csv", held)
    run = adapt(data=files[0], validation=str(files[1]), accept=["overlap"], training={"epochs": 1})
    leakage = run.metrics["leakage"]
    assert leakage["overlap_rows"] >= 10
    assert leakage["without"] is not None


def test_planted_overlap_stops_the_run(adapt, tmp_path):
    train = rows_of(100)
    files = write_csv(tmp_path / "t.csv", train), write_csv(tmp_path / "v.csv", train[:30])
    with pytest.raises(LedgerRefused, match="overlap"):
        adapt(data=files[0], validation=str(files[1]))


def test_truncation_stops_the_run_unless_accepted(adapt, tmp_path):
    rows = [(" ".join([text] * 12), label) for text, label in rows_of(60)]
    data = write_csv(tmp_path / "long.csv", rows)
    with pytest.raises(LedgerRefused, match="truncation"):
        adapt(data=data)
    run = adapt(data=data, accept=["truncation"], training={"epochs": 1})
    assert rs.Run(run.path).predict(["a good film"]) == run.predict(["a good film"])
    ledger = json.loads((run.path / "ledger.json").read_text())
    assert ledger["findings"]["truncation"]["count"] > 0
    assert ledger["findings"]["truncation"]["examples"]


def test_numbers_are_learned_in_their_own_unit(adapt, tmp_path):
    rows = [(text, 5000.5 if label == "positive" else 1000.25) for text, label in rows_of(150)]
    run = adapt(data=write_csv(tmp_path / "price.csv", rows, ("text", "score")), training={"epochs": 6, "rate": 3e-3, "batch_tokens": 64})
    assert run.recipe.task["name"] == "regression"
    assert run.metrics["metrics"]["pearson"] > 0.9
    model = transformers.AutoModelForSequenceClassification.from_pretrained(run.folder.model)
    low, high = logits_of(model, run, ["a bad film", "a good film"])[:, 0].tolist()
    assert abs(low - 1000.25) < 1000
    assert abs(high - 5000.5) < 1000
    np.testing.assert_allclose(run.predict(["a bad film", "a good film"]), [low, high], rtol=1e-3)


def test_pairs_and_several_labels(adapt, tmp_path):
    mates = rows_of(80, seed=4)
    np.random.default_rng(0).shuffle(mates)
    pairs = [
        (text, other, "same" if label == mate else "different") for (text, label), (other, mate) in zip(rows_of(80), mates, strict=True)
    ]
    data = write_csv(tmp_path / "pairs.csv", pairs, ("sentence1", "sentence2", "label"))
    run = adapt(data=data, out="pairs", accept=["contradictions"], training=ONCE)
    assert run.recipe.task["text_pair"] == "sentence2"
    assert run.predict([("a good film", "a fine song")])[0] in ("same", "different")
    rows = [(text, "film|praise" if label == "positive" else "film") for text, label in rows_of(80)]
    rows += [("a twin", "film|praise"), ("a twin", "praise|film")]
    run = adapt(data=write_csv(tmp_path / "tags.csv", rows, ("text", "label")), out="tags")
    assert run.metrics["metrics"]["micro_f1"] > 0.5
    assert {"macro_precision", "macro_recall"} <= set(run.metrics["metrics"])
    assert isinstance(run.predict(["a good film"])[0], list)
    book = json.loads((run.path / "ledger.json").read_text())
    assert book["findings"]["contradictions"]["count"] == 0, "the same labels in another order are no contradiction"
    assert set(book["labels"]) == {"film", "praise"}


def test_a_folder_that_holds_a_run_is_not_written_over(adapt, tmp_path):
    short = {"epochs": 1}
    adapt(training=short)
    with pytest.raises(UsageError, match="already holds a finished run"):
        adapt(training=short)
    assert adapt(training=short, overwrite=True).metrics
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="other files"):
        adapt(out="mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_labels_that_training_never_shows_are_named(adapt, tmp_path):
    held = write_csv(tmp_path / "dev.csv", [*rows_of(20, seed=3), ("a film", "mixed")])
    with pytest.raises(DataError, match="'mixed'"):
        adapt(validation=str(held))
    with pytest.raises(DataError, match="one class only"):
        adapt(data=write_csv(tmp_path / "one.csv", [(f"film {i}", "good") for i in range(20)]))


def test_early_stopping_keeps_the_best(adapt, tmp_path):
    told = [(text, ("positive", "negative")[i % 3 == 0]) for i, (text, _) in enumerate(rows_of(40, seed=3))]
    held = str(write_csv(tmp_path / "noise.csv", told))
    run = adapt(validation=held, training={"epochs": 30, "rate": 3e-3, "batch_tokens": 64, "patience": 2})
    steps = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    evaluations = [event for event in steps if event["event"] == "evaluation"]
    assert len(evaluations) < 30
    assert run.metrics["best_step"] == max(evaluations, key=lambda e: (e["accuracy"], -e["log_loss"]))["step"]


def test_minutes_are_honoured_and_the_rate_reaches_its_end(adapt):
    import time

    started = time.monotonic()
    run = adapt(training={"epochs": 10_000, "rate": 1e-3, "batch_tokens": 64, "evaluations": 1}, budget={"minutes": 0.06})
    assert time.monotonic() - started < 20
    steps = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines() if '"step"' in line]
    rates = [event["rate"] for event in steps if event["event"] == "step"]
    assert rates[-1] < 0.1 * max(rates)


def test_a_budget_too_short_for_the_features_is_said_before_they_are_computed(adapt, monkeypatch):
    import itertools
    import time
    from types import SimpleNamespace

    from rootstock.run import features

    ticks = itertools.count(0, 50)  # every measurement takes 50 seconds, so both parts together take 100
    monkeypatch.setattr(features, "time", SimpleNamespace(perf_counter=lambda: next(ticks), monotonic=time.monotonic))
    with pytest.raises(UsageError, match="the base takes about 100 s for 120 rows") as told:
        adapt(method="feature-extraction", training={"epochs": 1}, budget={"minutes": 1})
    assert "--minutes 4" in told.value.fix
    assert "data.rows=" in told.value.fix
    assert adapt(method="feature-extraction", training={"epochs": 1}, budget={"minutes": 10}).metrics


def test_a_rehearsal_of_features_computes_and_keeps_none(tiny_base, reviews, tmp_path):
    from rootstock.core.recipe import Recipe
    from rootstock.core.resources import cache_folder
    from rootstock.core.watch import Watch
    from rootstock.verbs import api

    values = {"base": str(tiny_base), "data": {"train": str(reviews)}, "method": {"name": "feature-extraction"}}
    said = []
    plan = api.rehearse(Recipe.build(values, ""), Watch(say=said.append))
    assert plan["seconds"] > 0
    assert any("will take about" in line for line in said)
    assert not (cache_folder() / "features").exists()


def test_features_can_be_interrupted(adapt, monkeypatch):
    from rootstock.core.recipe import Recipe
    from rootstock.core.watch import Watch
    from rootstock.verbs import api

    run = adapt(method="feature-extraction", training={"epochs": 1})
    values = run.recipe.plain() | {"data": run.recipe.plain()["data"] | {"rows": 50}}
    seen = []
    watch = Watch(event=seen.append, stop=lambda: True)
    monkeypatch.setenv("ROOTSTOCK_CACHE", str(run.path.parent / "cache"))
    with pytest.raises(Interrupted, match="nothing was learned"):
        api.carry_out(Recipe.build(values | {"training": values["training"] | {"micro_tokens": 64}}, ""), run.path.parent / "other", watch)
    assert [event["event"] for event in seen] == ["features"]


def test_a_numeric_label_has_one_name_everywhere(adapt, tmp_path):
    rows = [{"text": text, "label": 1.0 if label == "positive" else 0.0} for text, label in rows_of(80)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run = adapt(data=tmp_path / "rows.jsonl", task="text-classification", training={"epochs": 1})
    assert set(json.loads((run.path / "ledger.json").read_text())["labels"]) == set(run.contract["labels"]) == {"0", "1"}


def test_a_labelled_file_keeps_its_columns(learned, tmp_path):
    from rootstock.verbs import labelling

    run = learned()
    rows = [(7, "a good film", "yes", "x"), (8, "a bad film", "no", "y")]
    path = write_csv(tmp_path / "texts.csv", rows, ("id", "text", "predicted", "row"))
    table = labelling.label_file(run, str(path)).table
    assert list(table)[:6] == ["id", "text", "predicted", "row_1", "predicted_2", "confidence"]
    assert table["predicted"].to_pylist() == ["yes", "no"]
    assert table["predicted_2"] == ["positive", "negative"]
    labelling.write(table, tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").column_names == list(table)


def test_values_of_a_labelled_file_come_out_as_they_went_in(learned, tmp_path):
    from rootstock.verbs import labelling

    run = learned()
    rows = [
        {"text": "a good film", "price": 1234.56789, "tags": [1, 2], "note": None},
        {"text": "a bad film", "price": 5.0, "tags": [], "note": "x"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    table = labelling.label_file(run, str(tmp_path / "rows.jsonl")).table
    for ending in (".csv", ".jsonl", ".parquet"):
        labelling.write(table, tmp_path / f"out{ending}")
    first = (tmp_path / "out.csv").read_text().splitlines()[1].split(",")
    assert first[:4] == ["a good film", "1234.56789", "1|2", ""]
    assert [json.loads(line)["price"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [1234.56789, 5.0]
    assert pq.read_table(tmp_path / "out.parquet")["price"].to_pylist() == [1234.56789, 5.0]


def test_what_the_gate_ignores_is_said(tiny_base, reviews, tmp_path):
    from rootstock.core.recipe import Recipe
    from rootstock.run.prepare import prepare

    shutil.copytree(tiny_base, tmp_path / "base")
    (tmp_path / "base" / "modeling_odd.py").write_text("raise SystemExit")
    said = []
    prepare(Recipe.build({"base": str(tmp_path / "base"), "data": {"train": str(reviews)}, "method": {"name": "full"}}, ""), said.append)
    assert any("modeling_odd.py" in line and "ignored" in line for line in said)


def test_few_rows_are_seen_more_often_where_the_method_needs_it(tiny_base, reviews):
    from rootstock.core.recipe import Recipe
    from rootstock.run.prepare import prepare

    def epochs(method, **training):
        said = []
        values = {"base": str(tiny_base), "data": {"train": str(reviews)}, "method": {"name": method}, "training": training}
        return prepare(Recipe.build(values, ""), said.append).recipe.training.epochs, any(line.startswith("training") for line in said)

    assert epochs("lora") == (20, True)  # 120 short rows are one update: the most that is ever chosen
    assert epochs("feature-extraction") == (10, False)
    assert epochs("lora", epochs=2) == (2, False)
    assert epochs("lora", batch_tokens=8) == (3, False)


def test_settings_that_do_not_exist_are_errors(adapt):
    with pytest.raises(RecipeError, match="did you mean 'epochs'"):
        adapt(training={"epoch": 3})
    with pytest.raises(RecipeError, match="did you mean 'alpha'"):
        catalog.find("methods", "lora").build({"alhpa": 1}, "method")


def test_balanced_weights_reach_the_recipe(adapt):
    run = adapt(task=rs.TextClassification(class_weights="balanced"), training={"epochs": 1})
    assert run.recipe.task["class_weights"] == "balanced"
    assert len(run.recipe.task["weights"]) == 2


@pytest.mark.parametrize("method", ["full", "lora", "feature-extraction"])
def test_bf16_runs_with_every_method_and_agrees_with_itself(adapt, tmp_path, method):
    """Emulated where the processor lacks it: slow, but the same code."""
    held = write_csv(tmp_path / "dev.csv", rows_of(30, seed=3))
    run = adapt(method=method, validation=str(held), training=ONCE | {"precision": "bf16"})
    again = rs.Run(run.path).evaluate(str(held))
    for name, value in run.metrics["metrics"].items():
        assert again["metrics"][name] == pytest.approx(value, abs=0.05), name


LLAMA_LORA = pytest.param("llama", "lora", marks=pytest.mark.slow)


@pytest.mark.parametrize(("family", "method"), [("llama", "full"), LLAMA_LORA, ("llama", "feature-extraction"), ("roberta", "lora")])
def test_other_families_train_and_predict(adapt, tmp_path, family, method):
    base = make_base(tmp_path / family, family)
    run = adapt(base=str(base), method=method, training=ONCE)
    assert rs.Run(run.path).predict(["a good film", "a bad film"])
    table = pq.read_table(run.path / "predictions.parquet").to_pylist()
    assert rs.Run(run.path).predict([row["text"] for row in table]) == [row["predicted"] for row in table]


def test_a_number_needs_a_head_with_a_bias(adapt, tmp_path):
    base = make_base(tmp_path / "llama", "llama")
    data = write_csv(tmp_path / "n.csv", [(text, 1.5 + i) for i, (text, _) in enumerate(rows_of(40))])
    with pytest.raises(rs.RootstockError, match="no bias"):
        adapt(base=str(base), data=data)


def test_a_base_without_a_pooler_keeps_what_was_measured(adapt, tmp_path):
    torch.manual_seed(0)
    folder = make_base(tmp_path / "poolerless")
    from safetensors.torch import load_file, save_file

    tensors = {name: value for name, value in load_file(folder / "model.safetensors").items() if "pooler" not in name}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for method in ("feature-extraction", "lora"):
        run = adapt(out=method, base=str(folder), method=method, training=ONCE)
        table = pq.read_table(run.path / "predictions.parquet").to_pylist()
        assert rs.Run(run.path).predict([row["text"] for row in table]) == [row["predicted"] for row in table]


def test_a_kept_model_that_answers_otherwise_is_an_error(adapt, monkeypatch):
    from rootstock.methods import _pooling

    real = _pooling.graft

    def broken(model):
        real(model)
        with torch.no_grad():
            model.base_model.encoder.layer[-1].attention.self.value.weight.mul_(-1)

    monkeypatch.setattr(_pooling, "graft", broken)
    with pytest.raises(rs.RootstockError, match="answers otherwise"):
        adapt(method="feature-extraction", training={"epochs": 20, "rate": 3e-2})


def test_a_refused_merge_leaves_a_usable_run(adapt, monkeypatch, tmp_path):
    from rootstock.run import merge

    monkeypatch.setattr(merge, "TOLERANCE", -1.0)
    with pytest.raises(MergeRefused):
        adapt(method="lora", merge=True, training=ONCE)
    assert rs.Run(tmp_path / "run").predict(["a good film"])


def test_a_finished_run_keeps_no_checkpoints(saving):
    assert not saving.folder.checkpoints.exists()


def test_a_name_of_ours_is_not_shadowed_by_a_folder(tmp_path, monkeypatch):
    (tmp_path / "minilm").mkdir()
    recipe = rs.Recipe.build({"base": "minilm", "data": {"train": "rows.csv"}}, "").anchored(tmp_path)
    assert recipe.base == "minilm"


def test_a_method_of_nobody_is_told_how_to_become_one(adapt):
    from rootstock.methods.full import Full

    class Mine(Full):
        """A method in no file of the catalog."""

    with pytest.raises(UsageError, match=r"Mine is no method that the catalog knows(.|\n)*docs/extending\.md"):
        adapt(method=Mine())


def test_what_goes_on_is_said_with_examples(tmp_path, tiny_base):
    """Nothing is silently dropped or cut: below its limit, or accepted, a finding is told before training."""
    from rootstock.core.recipe import Recipe
    from rootstock.core.watch import Watch
    from rootstock.verbs import api

    rows = rows_of(60)
    data = write_csv(tmp_path / "mine.csv", [*rows, rows[3], ("a good film is a good film", "positive"), ("a lovely song", "")])
    held = write_csv(tmp_path / "held.csv", [*rows_of(20, seed=5), ("a bad bad film", "")])
    values = {"base": str(tiny_base), "method": {"name": "full"}, "training": {"length": 6, "steps": 1}}
    values["accept"] = ["unlabelled", "truncation"]
    said = []
    recipe = Recipe.build(values | {"data": {"train": str(data), "validation": str(held), "rows": 50}}, "")
    run = api.carry_out(recipe, tmp_path / "run", Watch(say=said.append))
    told = [line for line in said if line.startswith("ledger")]
    (lost,) = (line for line in told if "unlabelled: rows have no label and are left out: 2" in line)
    assert "row 64; row 22 of validation" in lost
    assert any("truncation: rows are longer than what is kept" in line for line in told)
    assert any("padding: " in line and "of an epoch's tokens" in line for line in told)
    assert any("50 of 62 rows are drawn" in line for line in said)
    counted = run.folder.json("ledger.json")["rows"]
    assert counted["not_drawn"] == 12
    assert counted["read"] == 63 + 21
    with pytest.warns(UserWarning, match="1 row is longer than 6 tokens and was cut"):
        run.predict(["a good film is a good film is a good film"])
    long = write_csv(tmp_path / "long.csv", [("a good film is a good film is a good film", "positive"), ("a bad film", "negative")])
    assert run.evaluate(str(long))["truncated_rows"] == 1


def test_a_merge_with_nothing_to_fold_says_so(learned, tmp_path):
    from rootstock.core.watch import Watch
    from rootstock.verbs import api

    recipe = learned(training={"epochs": 1}).recipe.model_copy(update={"merge": True})
    said = []
    api.carry_out(recipe, tmp_path / "merged", Watch(say=said.append))
    assert any(line.startswith("merge ") and "nothing to fold" in line for line in said)


def test_metrics_say_what_chose_the_best_state(learned):
    run = learned()
    assert run.metrics["best_by"] == ["accuracy", "log_loss"]
    events = [json.loads(line) for line in run.folder.history.read_text().splitlines()]
    measured = [(event["accuracy"], -event["log_loss"], event["step"]) for event in events if event["event"] == "evaluation"]
    assert run.metrics["best_step"] == max(measured)[2]


def test_files_are_read_as_asked(adapt, tmp_path):
    from rootstock.core.errors import DataError, UsageError
    from rootstock.run.use import Reading

    run = adapt(format="csv", training={"epochs": 1})
    lines = tmp_path / "dev.jsonl"
    rows = rows_of(12, seed=3)
    lines.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    assert run.evaluate(str(lines))["rows"] == 12, "a name that tells its format is believed"
    odd = tmp_path / "odd.csv"
    odd.write_bytes("text,label\nein schöner film,positive\na bad film,\na good film,positive\n".encode("latin-1"))
    reading = {"data.encoding": "latin-1"}
    with pytest.raises(DataError, match="odd"):
        run.evaluate(str(odd), reading=Reading(settings=reading))
    said = []
    found = run.evaluate(str(odd), reading=Reading(settings=reading, unlabelled=True), say=said.append)
    assert found["rows"] == 2
    assert any("1 of 3 rows have no label and are left out" in line for line in said)
    for key in ("training.epochs", "data.rows"):
        with pytest.raises(UsageError, match=f"{key} means nothing"):
            run.evaluate(str(odd), reading=Reading(settings={key: 3}))


def test_metrics_are_mirrored_to_a_tracker(adapt):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = adapt(track="tensorboard", training=ONCE)
    (folder,) = {path.parent for path in (run.path / "track").rglob("events.out.*")}
    held = EventAccumulator(str(folder))
    held.Reload()
    events = [json.loads(line) for line in run.folder.history.read_text().splitlines()]
    told = {event.step: event.value for event in held.Scalars("loss")}
    assert told == pytest.approx({event["step"]: event["loss"] for event in events if event["event"] == "step"}, rel=1e-4)
    assert len(held.Scalars("accuracy")) == sum(event["event"] == "evaluation" for event in events)


def test_from_python_decisions_and_findings_are_logged(adapt, caplog):
    with caplog.at_level("INFO", logger="rootstock"):
        adapt(training={"epochs": 1})
    assert any(line.startswith("columns   text: column 'text'") for line in caplog.messages)
    assert any(line.startswith("ledger    padding") for line in caplog.messages)


def test_ctrl_c_in_python_saves_and_says_how_to_go_on(reviews, tiny_base, tmp_path):
    path, outer = tmp_path / "run", signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite that runs in the background hands down an ignored one

    class Press(logging.Handler):
        def emit(self, record):
            if record.getMessage().startswith("plan "):
                os.kill(os.getpid(), signal.SIGINT)

    logger, press = logging.getLogger("rootstock"), Press()
    logger.addHandler(press)
    logger.setLevel(logging.INFO)
    try:
        with pytest.raises(Interrupted, match="a checkpoint was saved") as stopped:
            rs.adapt(str(reviews), base=str(tiny_base), method="full", out=path, training={"epochs": 3})
    finally:
        logger.removeHandler(press)
        logger.setLevel(logging.NOTSET)
        after = signal.signal(signal.SIGINT, outer)
    assert "--resume" in stopped.value.fix
    assert [each.name for each in (path / "checkpoints").iterdir()] == ["step-000001"]
    assert after is signal.default_int_handler


def test_a_second_run_on_cached_features_reads_neither_model_nor_tokenizer(adapt, monkeypatch):
    from rootstock.bases import load

    settings = {"method": "feature-extraction", "training": {"epochs": 2}}
    first = adapt("first", **settings)

    def never(*_, **__):
        raise AssertionError("it was all computed before")

    monkeypatch.setattr(load, "load", never)
    monkeypatch.setattr(load, "tokenizer", never)
    assert adapt("second", **settings).metrics["metrics"] == first.metrics["metrics"]
