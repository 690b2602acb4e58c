"""A run on several tasks, from files to folders: each part is a run that stands alone, and all share one body."""

import json

import numpy as np
import pytest
import torch
from peft import PeftModel
from tests import tiny_models
from tests.conftest import make_tokenizer, rows_of, write_csv
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

import rootstock as rs
from rootstock.core.errors import BaseError, Interrupted, LedgerRefused, RecipeError, UsageError
from rootstock.core.recipe import Recipe
from rootstock.core.runfolder import read_recipe
from rootstock.core.watch import Watch
from rootstock.run import several
from rootstock.run.use import Run
from rootstock.tasks.multi_task import MultiTask
from rootstock.tasks.token_classification import TokenClassification
from rootstock.verbs import api, verify

TRAINING = {"epochs": 2, "rate": 3e-3, "batch_tokens": 64}


def written(place):
    """Texts with a mood, and words with tags."""
    mood = write_csv(place / "mood.csv", rows_of(80))
    words = [text.split() for text, _ in rows_of(60, seed=1)]
    rows = [{"words": each, "tags": ["B-long" if len(word) > 4 else "O" for word in each]} for each in words]
    tags = place / "tags.jsonl"
    tags.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"mood": mood, "tags": tags}


@pytest.fixture
def files(tmp_path):
    return written(tmp_path)


@pytest.fixture(scope="module")
def whole(tiny_base, tmp_path_factory):
    """A run that the tests below only look at, and its rows."""
    place = tmp_path_factory.mktemp("whole")
    rows = written(place)
    training = TRAINING | {"precision": "fp32"}
    return rs.adapt(rows, base=str(tiny_base), method="full", training=training, accept=["duplicates", "overlap"], out=place / "run"), rows


@pytest.fixture
def both(files, tiny_base, tmp_path):
    def run(out="run", data=None, **more):
        settings = {"base": str(tiny_base), "method": "full", "training": TRAINING, "accept": ["duplicates", "overlap"]}
        return rs.adapt(data or files, out=tmp_path / out, **(settings | more))

    return run


def logits(model, tokenizer, text):
    with torch.no_grad():
        return model.eval()(**tokenizer(text, return_tensors="pt")).logits[0]


def test_each_part_loads_in_plain_transformers_and_all_share_one_file(whole):
    run, _ = whole
    place = run.path / "parts"
    tokenizer = AutoTokenizer.from_pretrained(place / "mood" / "model")
    made = {
        name: kind.from_pretrained(place / name / "model", output_loading_info=True)
        for name, kind in (("mood", AutoModelForSequenceClassification), ("tags", AutoModelForTokenClassification))
    }
    body, told = AutoModel.from_pretrained(run.path / "model", output_loading_info=True)
    for _, report in (*made.values(), (body, told)):
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
    assert made["tags"][0].config.id2label == {0: "B-long", 1: "O"}
    for name, value in made["tags"][0].bert.state_dict().items():
        assert torch.equal(value, made["mood"][0].bert.state_dict()[name])
        assert torch.equal(value, body.state_dict()[name])
    shared = [folder / "shared.safetensors" for folder in (run.path / "model", place / "mood" / "model", place / "tags" / "model")]
    assert len({path.stat().st_ino for path in shared}) == 1
    said = run.part("mood").predict(["a lovely film"])[0]
    assert said == made["mood"][0].config.id2label[int(logits(made["mood"][0], tokenizer, "a lovely film").argmax())]


def test_both_parts_are_learned_where_neither_drowns_the_other(both):
    task = MultiTask.build({"parts": {"tags": {"weight": 0.01}}}, "task")
    run = both(task=task, training={"epochs": 8, "rate": 3e-3, "batch_tokens": 64})
    parts = run.metrics["parts"]
    assert parts["mood"]["metrics"]["accuracy"] > 0.8
    assert parts["tags"]["metrics"]["accuracy"] > 0.9
    mean = (parts["mood"]["metrics"]["accuracy"] + parts["tags"]["metrics"]["f1"]) / 2
    assert run.metrics["metrics"] == {"mean_of_parts": pytest.approx(mean)}
    low, high = run.metrics["intervals"]["mean_of_parts"]
    assert low <= mean <= high


def test_updates_are_as_small_as_the_part_that_needs_the_smallest_wants_them(files, tiny_base, tmp_path):
    recipe = Recipe.build({"base": str(tiny_base), "method": {"name": "full"}, "accept": ["duplicates", "overlap"]}, "")
    parts = {name: {"data": {"train": str(path)}} for name, path in files.items()}
    prepared = several.prepare(recipe.model_copy(update={"task": {"name": "multi-task", "parts": parts}}), lambda text: None)
    assert prepared.recipe.training.batch_tokens == TokenClassification().batch_tokens
    assert {part.recipe.training.batch_tokens for part in prepared.parts.values()} == {TokenClassification().batch_tokens}


def test_a_part_is_a_run_of_its_own(whole):
    run, files = whole
    for name in ("mood", "tags"):
        part = run.part(name)
        assert part.folder.complete
        assert part.metrics["learned_with"] == [each for each in ("mood", "tags") if each != name]
        found = part.evaluate(str(files[name]))
        assert found["rows"] == (80 if name == "mood" else 60)
        assert 0 < found["leakage"]["overlap_rows"] < found["rows"]
        card = (part.path / "README.md").read_text("utf-8")
        assert "Learned together with" in card
        assert (part.path / "report.html").stat().st_size > 10_000
    page, card = ((run.path / name).read_text("utf-8") for name in ("report.html", "README.md"))
    for name in ("mood", "tags"):
        assert f"parts/{name}/report.html" in page
        assert f"parts/{name}/README.md" in card
    written = json.loads((run.path / "manifest.json").read_text("utf-8"))["files"]
    assert "parts/tags/model/own.safetensors" in written


def test_the_history_of_a_part_holds_its_own_updates_and_figures(whole):
    run, _ = whole

    def steps(path):
        return [event for event in map(json.loads, (path / "history.jsonl").read_text().splitlines()) if event["event"] == "step"]

    whole, parts = steps(run.path), {name: steps(run.part(name).path) for name in ("mood", "tags")}
    assert sorted(event["step"] for each in parts.values() for event in each) == [event["step"] for event in whole]
    assert all(parts.values())
    measured = [json.loads(line) for line in (run.part("tags").path / "history.jsonl").read_text().splitlines()]
    measured = [event for event in measured if event["event"] == "evaluation"]
    assert measured
    assert all("f1" in event and "roc_auc" not in event for event in measured)


def test_what_training_measured_last_is_what_the_run_reports(whole):
    run, _ = whole
    events = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    best = next(e for e in events if e["event"] == "evaluation" and e["step"] == run.metrics["best_step"])
    for name, figure in (("mood", "accuracy"), ("mood", "log_loss"), ("tags", "f1")):
        assert run.metrics["parts"][name]["metrics"][figure] == pytest.approx(best[f"{name}/{figure}"], abs=1e-6)


@pytest.mark.parametrize("method", ["full", pytest.param("lora", marks=pytest.mark.slow)])
def test_stopped_and_resumed_is_the_same_run(both, tmp_path, method):
    training = TRAINING | {"epochs": 1, "checkpoint_steps": 3, "dropout": 0.1}
    straight = both("straight", method=method, training=training)
    recipe = read_recipe(straight.folder.recipe)
    with pytest.raises(Interrupted):
        api.carry_out(recipe, tmp_path / "again", Watch(stop=verify._Countdown(7)))
    again = api.carry_out(recipe, tmp_path / "again", Watch(), resume=True)
    for name in ("mood", "tags"):
        files = sorted(straight.part(name).folder.model.glob("*.safetensors"))
        assert files
        for file in files:
            assert file.read_bytes() == (again.part(name).folder.model / file.name).read_bytes()
    assert again.metrics["metrics"] == straight.metrics["metrics"]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_adapter_of_each_part_loads_in_plain_peft_and_merges(both, tiny_base):
    run = both(method="lora", merge=True)
    assert not run.folder.model.exists()
    place = run.part("mood").path
    config = AutoConfig.from_pretrained(place / "model")
    base = AutoModelForSequenceClassification.from_pretrained(tiny_base, config=config)
    tokenizer = AutoTokenizer.from_pretrained(place / "model")
    found = logits(PeftModel.from_pretrained(base, place / "model"), tokenizer, "a lovely film")
    merged = AutoModelForSequenceClassification.from_pretrained(place / "merged")
    torch.testing.assert_close(logits(merged, tokenizer, "a lovely film"), found, rtol=1e-3, atol=1e-4)
    assert run.part("mood").predict(["a lovely film"])[0] == config.id2label[int(found.argmax())]
    with pytest.raises(BaseError, match="learned several tasks by an adapter"):
        both("further", base=str(run.path))


def test_the_body_is_a_base_to_go_on_from(whole, adapt):
    run, _ = whole
    assert adapt("next", base=str(run.path), training={"steps": 1}).folder.complete


def test_models_that_write_take_a_prefix_for_each_part(files, tmp_path):
    base = tiny_models.saved(tiny_models.seq2seq_model(strength=1.0), make_tokenizer(), tmp_path / "base")
    data = {}
    for name, turned in (("same", False), ("back", True)):
        texts = [text.split() for text, _ in rows_of(30)]
        data[name] = write_csv(tmp_path / f"{name}.csv", [(" ".join(t), " ".join(reversed(t) if turned else t)) for t in texts])
    parts = {
        name: {"task": {"name": "text-to-text", "prefix": f"{word} ", "max_tokens": 6}} for name, word in (("same", "a"), ("back", "the"))
    }
    values = {"task": {"name": "multi-task", "parts": {name: {**parts[name], "data": {"train": str(data[name])}} for name in parts}}}
    values |= {"base": str(base), "method": {"name": "full"}, "training": TRAINING | {"epochs": 1}, "accept": ["overlap", "duplicates"]}
    run = api.carry_out(Recipe.build(values, ""), tmp_path / "run", Watch())
    weights = [path / "model.safetensors" for path in (run.folder.model, *(run.part(name).folder.model for name in parts))]
    assert len({path.stat().st_ino for path in weights}) == 1
    assert run.part("back").recipe.task["prefix"] == "the "
    assert run.metrics["metrics"]["mean_of_parts"] == pytest.approx(
        np.mean([run.metrics["parts"][name]["metrics"]["loss"] for name in parts])
    )


def test_relative_paths_of_parts_are_taken_from_the_recipes_folder(files, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("task: {parts: {mood: {data: {train: mood.csv, validation: 0.2}}, tags: {data: {train: tags.jsonl}}}}\n")
    parts = read_recipe(recipe).task["parts"]
    assert parts["mood"]["data"] == {"train": str(tmp_path / "mood.csv"), "validation": 0.2}
    assert parts["tags"]["data"]["train"] == str(tmp_path / "tags.jsonl")


def test_what_is_said_for_all_holds_for_each_part_that_says_nothing_else(both, files, tmp_path):
    task = {
        "name": "multi-task",
        "parts": {"mood": {"data": {"train": str(files["mood"]), "rows": 40}}, "tags": {"data": {"train": str(files["tags"])}}},
    }
    values = {"task": task, "data": {"validation": 0.5, "rows": 30}, "method": {"name": "full"}}
    from rootstock.run.prepare import prepare

    prepared = prepare(Recipe.build(values, ""), lambda text: None)
    assert {name: len(part.train) + len(part.validation) for name, part in prepared.parts.items()} == {"mood": 40, "tags": 30}
    assert len(prepared.parts["tags"].train) == 15


REFUSED = {
    "one part": ({"mood": {}}, {}, "names 1 part"),
    "frozen": ({"mood": {}, "tags": {}}, {"method": {"name": "feature-extraction"}}, "share nothing that learns"),
    "prompted": ({"mood": {}, "tags": {}}, {"method": {"name": "p-tuning"}}, "p-tuning puts vectors before each row by way of one head"),
    "prompted twice": ({"mood": {}, "again": {}}, {"method": {"name": "prefix"}}, "prefix puts vectors before each row by way of one head"),
    "objective": ({"mood": {}, "tags": {"task": {"name": "masked-lm"}}}, {}, "masked-lm can be no part"),
    "nested": ({"mood": {}, "tags": {"task": {"name": "multi-task"}}}, {}, "multi-task can be no part"),
    "preference": ({"mood": {}, "tags": {"task": {"name": "preference"}}}, {}, "preference can be no part"),
    "rows beside": ({"mood": {}, "tags": {}}, {"data": {"train": "x.csv"}}, "each part brings rows of its own"),
    "weights": ({"mood": {}, "tags": {}}, {"data": {"mix": [1.0, 2.0, 3.0]}}, "data.mix gives 3 weights(.|\n)*2, one for each part"),
    "setting": ({"mood": {"task": {"name": "text-classification", "focl": 1}}, "tags": {}}, {}, "mood: unknown key 'task.focl'"),
    "no rows": ({"mood": {}, "tags": {"data": {"train": []}}}, {}, "'task.parts.tags.data.train' is missing"),
    "objective's key": ({"mood": {"data": {"mix": "equal"}}, "tags": {}}, {}, "data.mix is equal"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_before_a_model_is_built(files, tiny_base, tmp_path, case, monkeypatch):
    parts, more, said = REFUSED[case]
    files = files | {"again": files["mood"]}
    given = {name: {**part, "data": {"train": str(files[name]), **part.get("data", {})}} for name, part in parts.items()}
    monkeypatch.setattr("rootstock.bases.load.load", lambda *_, **__: pytest.fail("a model was built"))
    with pytest.raises((RecipeError, UsageError), match=said):
        api.carry_out(Recipe.build({"base": str(tiny_base), "task": {"parts": given}, **more}, ""), tmp_path / "run", Watch())


def test_the_ledger_of_a_part_can_stop_the_run(both, files):
    write_csv(files["mood"], [*rows_of(40), *[("a good film", "positive"), ("a good film", "negative")] * 10])
    with pytest.raises(LedgerRefused, match="ledger of mood stops"):
        both(accept=[])


def test_parts_are_asked_for_by_name(whole):
    run, _ = whole
    with pytest.raises(UsageError, match="learned several tasks") as stopped:
        run.predict(["a film"])
    assert "--part mood" in stopped.value.fix
    with pytest.raises(UsageError, match="no part 'mod'") as stopped:
        run.part("mod")
    assert "did you mean 'mood'" in stopped.value.fix
    with pytest.raises(UsageError, match="no part 'mood'"):
        Run(run.part("mood").path).part("mood")
