"""From a finished run to a student of it: answers once, labels by name, rows without a label, hidden states, and every refusal."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tests.conftest import ONCE, make_base, rows_of, write_csv

import rootstock
from rootstock.core.errors import ContractRefused, Interrupted, RecipeError, UsageError
from rootstock.core.recipe import Recipe
from rootstock.core.watch import Watch
from rootstock.run import execute, use
from rootstock.run.prepare import prepare
from rootstock.verbs import api, verify

SMALL = {"epochs": 3, "rate": 3e-3, "batch_tokens": 64}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory, tiny_base):
    place = tmp_path_factory.mktemp("teacher")
    rows, training = write_csv(place / "reviews.csv", rows_of(120)), SMALL | {"epochs": 4}
    return rootstock.adapt(rows, base=str(tiny_base), method="full", out=place / "teacher", training=training)


@pytest.fixture
def learn(adapt, tmp_path, teacher):
    """A student of 16 dimensions on the reviews."""
    base = make_base(tmp_path / "small", hidden_size=16, intermediate_size=32)

    def run(out="student", **more):
        return adapt(out, **({"base": str(base), "training": SMALL, "teacher": {"run": str(teacher.path)}} | more))

    return run


def test_a_student_learns_what_its_teacher_says_and_says_who_it_was(teacher, learn):
    alone = learn("alone", teacher={"run": str(teacher.path), "weight": 1.0, "temperature": 1.0}, training=SMALL | {"epochs": 10})
    rows = [text for text, _ in rows_of(120)]
    agree = np.mean([a == b for a, b in zip(alone.predict(rows), teacher.predict(rows), strict=True)])
    assert agree > 0.95
    manifest = alone.folder.json("manifest.json")
    assert manifest["teacher"]["name"] == "teacher"
    assert len(manifest["teacher"]["sha256"]) == 64
    assert manifest["teacher"]["sha256"] in (alone.path / "report.html").read_text("utf-8")
    card = (alone.path / "README.md").read_text("utf-8")
    assert "distillation" in card
    assert str(teacher.path.parent) not in card
    assert set(load_file(alone.path / "model/model.safetensors")) == set(load_file(teacher.path / "model/model.safetensors"))


def test_its_answers_are_computed_once_for_the_same_rows(teacher, learn, monkeypatch):
    first = learn("one", training=ONCE)
    monkeypatch.setattr(use.Run, "load", lambda self: pytest.fail("the teacher was read again"))
    second = learn("two", teacher={"run": str(teacher.path), "weight": 0.9}, method="feature-extraction", training=ONCE)
    assert second.metrics["rows"] == first.metrics["rows"]


def test_labels_are_matched_by_name_whatever_their_order(teacher, learn, reviews, tmp_path):
    task, told = rootstock.TextClassification(labels=("positive", "negative")), {"run": str(teacher.path), "weight": 1.0}
    said = learn("said", task=task, teacher=told, training=SMALL | {"epochs": 10})
    assert said.task.labels == ("positive", "negative") != teacher.task.labels
    assert said.metrics["metrics"]["accuracy"] > 0.9
    other = write_csv(tmp_path / "other.csv", [(text, {"positive": "yes", "negative": "no"}[label]) for text, label in rows_of(60)])
    with pytest.raises(ContractRefused, match="'negative', 'positive'") as refused:
        learn("other", data=other)
    assert "'no', 'yes'" in refused.value.wanted


def test_rows_without_a_label_are_learned_from_the_teacher_and_counted(teacher, learn, tmp_path):
    rows = [(text, label if number < 40 else "") for number, (text, label) in enumerate(rows_of(120))]
    some = write_csv(tmp_path / "some.csv", rows)
    run = learn("some", data=some, training=ONCE)
    told = run.folder.json("ledger.json")["rows"]
    assert told == {"read": 120, "dropped": 0, "train": 36, "validation": 4, "taught": 80}
    steps = [json.loads(line) for line in run.folder.history.read_text().splitlines()]
    assert sum(each["rows"] for each in steps if each["event"] == "step") == 116
    assert "80 rows without a label" in (run.path / "README.md").read_text("utf-8")
    assert run.evaluate(str(write_csv(tmp_path / "taught.csv", rows_of(120)[50:60])))["leakage"]["overlap_rows"] == 10
    left = learn("left", data=some, accept=["unlabelled"], training={"steps": 1}).folder.json("ledger.json")["rows"]
    assert (left["dropped"], left.get("taught")) == (80, None)


@pytest.mark.parametrize("method", ["full", pytest.param("lora", marks=pytest.mark.slow)])
def test_hidden_states_are_learned_and_their_maps_thrown_away(teacher, learn, method):
    run = learn("hidden", teacher={"run": str(teacher.path), "hidden": 1.0, "layers": [[1, 1], [2, 2]]}, method=method)
    assert not [name for path in (run.path / "model").glob("*.safetensors") for name in load_file(path) if "maps" in name]
    losses = [event["loss"] for event in map(json.loads, run.folder.history.read_text().splitlines()) if event["event"] == "step"]
    assert losses[-1] < 0.9 * losses[0]
    assert len(run.predict(["a good film"])) == 1


def test_the_maps_are_those_of_the_seed_whatever_was_drawn_before(teacher, learn, monkeypatch):
    load, drawn = use.Run.load, iter((1, 7))
    monkeypatch.setattr(use.Run, "load", lambda self: (torch.rand(next(drawn)), load(self))[1])
    runs = [learn(name, teacher={"run": str(teacher.path), "hidden": 1.0}, training=ONCE) for name in ("one", "two")]
    first, second = (load_file(run.path / "model/model.safetensors") for run in runs)
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_student_goes_on_bit_for_bit(teacher, learn):
    run = learn("whole", teacher={"run": str(teacher.path), "hidden": 0.5}, training=ONCE)
    found = verify.verify(run.folder.recipe, 4, lambda text: None, restart=verify.go_on)
    assert found["identical"], found["verdict"]


@pytest.mark.slow
def test_numbers_tags_and_choices_are_taught_as_well(tiny_base, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = [text.split() for text, _ in rows_of(40)]
    pq.write_table(
        pa.table({"words": words, "tags": [["B-x" if len(w) > 4 else "O" for w in row] for row in words]}), tmp_path / "tags.parquet"
    )
    write_csv(tmp_path / "numbers.csv", [(text, 1.5 * len(text)) for text, _ in rows_of(60)])
    choices = [
        {"question": text, "choices": ["good", "bad", "cold"][: 2 + i % 2], "answer": i % 2} for i, (text, _) in enumerate(rows_of(40))
    ]
    (tmp_path / "choices.jsonl").write_text("".join(json.dumps(each) + "\n" for each in choices))
    for name, task in (("tags.parquet", "token-classification"), ("numbers.csv", "regression"), ("choices.jsonl", "multiple-choice")):
        common = {"base": str(tiny_base), "task": task, "method": "full", "training": {"steps": 3, "rate": 1e-3}}
        big = rootstock.adapt(tmp_path / name, out=tmp_path / f"{task}-big", **common)
        run = rootstock.adapt(tmp_path / name, out=tmp_path / f"{task}-small", teacher={"run": str(big.path), "weight": 1.0}, **common)
        assert run.folder.complete
        losses = [json.loads(line).get("loss") for line in run.folder.history.read_text().splitlines()]
        assert all(np.isfinite(loss) for loss in losses if loss is not None)
        again = {"steps": 1, "rate": 1e-9, "precision": "fp32"}
        same = rootstock.adapt(
            tmp_path / name, base=str(big.path), out=tmp_path / f"{task}-same", teacher={"run": str(big.path), "weight": 1.0},
            task=task, method="full", training=again,
        )  # fmt: skip
        first = json.loads(same.folder.history.read_text().splitlines()[0])
        assert first["loss"] < 1e-3 or task == "regression", f"{task}: a copy of the teacher has nothing to learn"


def test_what_does_not_fit_is_refused_before_anything_is_learned(teacher, learn, adapt, tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        learn("a", teacher={"run": str(tmp_path / "nowhere")})
    numbers = write_csv(tmp_path / "numbers.csv", [(text, 1.5 * len(text)) for text, _ in rows_of(40)])
    with pytest.raises(RecipeError, match="learned text-classification"):
        learn("b", data=numbers, task="regression")
    with pytest.raises(RecipeError, match="leaves the hidden states as they are"):
        learn("c", teacher={"run": str(teacher.path), "hidden": 1.0}, method="feature-extraction")
    with pytest.raises(RecipeError, match=r"teacher\.weight"):
        learn("d", teacher={"run": str(teacher.path), "weight": 1.5})
    texts = tmp_path / "texts.txt"
    texts.write_text("good a b c " * 40)
    recipe = {
        "base": str(teacher.path),
        "task": {"name": "masked-lm"},
        "data": {"train": str(texts)},
        "teacher": {"run": str(teacher.path)},
    }
    with pytest.raises(RecipeError, match="no labels to teach"):
        api.carry_out(Recipe.build(recipe, ""), tmp_path / "e", Watch())


def test_asked_to_stop_it_stops_before_learning(teacher, learn, tmp_path):
    recipe = learn("whole", training=ONCE).recipe
    recipe = recipe.model_copy(update={"teacher": recipe.teacher.model_copy(update={"run": str(teacher.path)}), "seed": 7})
    with pytest.raises(Interrupted):
        api.carry_out(recipe, tmp_path / "stopped", Watch(stop=lambda: True))
    assert not (tmp_path / "stopped" / "manifest.json").exists()


def test_a_checkpoint_belongs_to_its_teacher_and_a_rehearsal_asks_it_for_nothing(teacher, learn, tmp_path, monkeypatch):
    recipe = learn("whole", method="top-layers", training={"steps": 1, "dropout": 0.0, "cache_layers": "yes"}).recipe
    prepared = prepare(recipe, lambda text: None)
    other = replace(prepared.teacher, settings=prepared.teacher.settings)
    monkeypatch.setattr(type(other), "digest", property(lambda self: "another" if self is other else "first"))
    assert execute._key(prepared) != execute._key(replace(prepared, teacher=other))
    monkeypatch.setenv("ROOTSTOCK_CACHE", str(tmp_path / "empty"))
    assert api.rehearse(recipe, Watch())["steps"] == 1
    assert not (tmp_path / "empty/teacher").exists()


def test_rows_that_the_teacher_does_not_read_whole_are_counted(learn, tiny_base, tmp_path, caplog):
    rows = rows_of(40)
    held = write_csv(tmp_path / "rows.csv", rows)
    few = {"steps": 1, "length": 6}
    short = rootstock.adapt(held, base=str(tiny_base), method="full", out=tmp_path / "short", training=few, accept=["truncation"])
    with caplog.at_level("INFO", logger="rootstock"):
        learn(data=held, validation=str(held), teacher={"run": str(short.path)}, training={"steps": 1}, accept=["overlap"])
    (said,) = [line for line in caplog.messages if line.endswith("for the teacher")]
    assert said.startswith(f"teacher   {sum(len(text.split()) + 2 > 6 for text, _ in rows)} rows")
