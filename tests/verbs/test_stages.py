"""Stages: each on what the one before left, tried before the first is trained, gone on with wherever they were stopped."""

import json
import re
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tests.conftest import rows_of, write_csv

from rootstock.bases.resolve import resolve
from rootstock.core.errors import (
    BaseError,
    ContractRefused,
    DataError,
    Interrupted,
    MergeRefused,
    RecipeError,
    RootstockError,
    UnknownName,
    UsageError,
)
from rootstock.core.recipe import Recipe
from rootstock.core.runfolder import RunFolder, built, read_any, read_recipe
from rootstock.core.watch import Watch
from rootstock.evaluation.paired import Difference
from rootstock.run import choices
from rootstock.run.use import Reading, Run
from rootstock.verbs import api, differences, stages, stages_told, verify
from rootstock.verbs.stages_state import State, units

TRAINING = {"epochs": 1, "rate": 3e-3, "batch_tokens": 128, "checkpoint_steps": 1}
NAMES = ("1-masked-lm", "2-related", "3-reviews")


class Killed(BaseException):
    """The process is gone: nothing is saved, nothing is said."""


def written(folder, base):
    """Rows of three stages in a folder, and what makes recipes of them; its arguments are changes."""
    texts = folder / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text, _ in rows_of(60, seed=3)))
    related = write_csv(folder / "related.csv", [(text, {"positive": "yes", "negative": "no"}[label]) for text, label in rows_of(40, 1)])
    reviews = write_csv(folder / "reviews.csv", rows_of(60))
    stages = [
        {"task": {"name": "masked-lm"}, "data": {"train": str(texts)}, "training": TRAINING | {"length": 16}},
        {"data": {"train": str(related)}, "method": {"name": "lora"}, "training": TRAINING},
        {"data": {"train": str(reviews), "validation": 0.4}, "method": {"name": "full"}, "training": TRAINING},
    ]

    def made(*changes, **whole):
        found = json.loads(json.dumps({"base": str(base), "stages": stages} | whole))
        for stage, key, value in changes:
            found["stages"][stage - 1][key] = value
        return built(found)

    return made


@pytest.fixture
def recipe(tiny_base, tmp_path):
    """Words without labels, then related rows with an adapter, then the rows that are meant."""
    return written(tmp_path, tiny_base)


def weights(path):
    return {name: value for file in sorted((path / "model").glob("*.safetensors")) for name, value in load_file(file).items()}


def assert_same(first, second):
    for part in ("", *(f"stages/{name}" for name in NAMES)):
        a, b = weights(first / part), weights(second / part)
        assert a
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a), part


@pytest.fixture(scope="module")
def straight(tiny_base, tmp_path_factory):
    """The folder of three stages that nobody disturbed; nothing is changed in it."""
    folder = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROOTSTOCK_CACHE", str(folder / "cache"))
        stages.carry_out(written(folder, tiny_base)(), folder / "done", Watch())
    return folder / "done"


def test_each_stage_stands_on_what_the_one_before_left_and_the_last_answers(straight, tmp_path, tiny_base):
    out = straight
    manifests = [RunFolder(out / "stages" / name).json("manifest.json") for name in NAMES]
    left = [resolve(str(out / "stages" / name)).digest for name in NAMES]
    assert [each["base"]["sha256"] for each in manifests] == [resolve(str(tiny_base)).digest, *left[:2]]
    assert not resolve(str(out / "stages" / NAMES[1])).adapter, "the adapter is folded into its base"
    run = Run(out)
    assert run.path == out / "stages" / NAMES[2]
    assert set(run.predict(["a good film", "a bad book"])) <= {"positive", "negative"}
    reviews = str(straight.parent / "reviews.csv")
    assert run.evaluate(reviews, reading=Reading())["rows"] == 60
    assert resolve(str(out)).digest == left[2]
    again = rootstock_adapt(reviews, base=str(out), out=tmp_path / "further")
    assert again.folder.json("manifest.json")["base"]["sha256"] == left[2]


def rootstock_adapt(data, **more):
    import rootstock

    return rootstock.adapt(data, method="full", training=TRAINING, **more)


def test_the_top_holds_a_model_that_plain_transformers_loads(straight):
    from transformers import AutoModelForSequenceClassification

    out = straight
    _, report = AutoModelForSequenceClassification.from_pretrained(out / "model", output_loading_info=True)
    assert not report["missing_keys"]
    linked, own = out / "model" / "model.safetensors", out / "stages" / NAMES[2] / "model" / "model.safetensors"
    assert linked.read_bytes() == own.read_bytes()
    files = json.loads((out / "manifest.json").read_text())["files"]
    assert {"recipe.yaml", "report.html", "README.md", "model/model.safetensors", f"stages/{NAMES[0]}/manifest.json"} <= set(files)


def test_card_report_and_manifest_tell_where_all_of_it_came_from(straight):
    out = straight
    manifest = RunFolder(out / "stages" / NAMES[2]).json("manifest.json")
    second = manifest["base"]["run"]
    first = second["base"]["run"]
    assert (second["task"], first["task"]) == ("text-classification", "masked-lm")
    digests = [manifest["data"]["train"]["sha256"], second["data"]["train"]["sha256"], first["data"]["train"]["sha256"]]
    assert len(set(digests)) == 3
    own = (out / "stages" / NAMES[2] / "README.md").read_text()
    for text in ((out / "README.md").read_text(), (out / "report.html").read_text()):
        assert all(digest in text for digest in digests)
        assert all(name in text for name in NAMES)
    assert digests[2] in own
    assert "masked-lm (1-masked-lm), then text-classification (2-related)" in own


@pytest.mark.slow
def test_a_run_that_stands_on_a_licensed_base_inherits_the_licence(tiny_base, recipe, tmp_path):
    base = shutil.copytree(tiny_base, tmp_path / "licensed")
    (base / "README.md").write_text("---\nlicense: mit\n---\n")
    out = tmp_path / "out"
    stages.carry_out(recipe(base=str(base)), out, Watch())
    assert [RunFolder(out / "stages" / name).json("manifest.json")["base"]["licence"] for name in NAMES] == ["mit"] * 3
    assert "license: mit" in (out / "README.md").read_text()


def stop_in(number, step):
    """Asks to stop at an update of a stage."""
    at = {"stage": 0, "asked": False}

    def say(text):
        at["stage"] += re.match(r"stage     \d of", text) is not None

    def event(each):
        at["asked"] |= at["stage"] == number and each["event"] == "step" and each["step"] >= step

    return Watch(say=say, event=event, stop=lambda: at["asked"])


@pytest.mark.parametrize("number", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)])
def test_stopped_in_any_stage_it_goes_on_to_the_same_weights(recipe, straight, tmp_path, number):
    out = tmp_path / "stopped"
    with pytest.raises(Interrupted) as stopped:
        stages.carry_out(recipe(), out, stop_in(number, 1))
    assert str(out / "recipe.yaml") in stopped.value.fix
    assert [RunFolder(out / "stages" / name).complete for name in NAMES] == [place < number for place in (1, 2, 3)]
    assert RunFolder(out).begun
    assert not RunFolder(out).complete
    with pytest.raises(UsageError, match="has not ended"):
        Run(out)
    kept = {name: (out / "stages" / name / "manifest.json").stat().st_mtime_ns for name in NAMES[: number - 1]}
    said = []
    stages.carry_out(read_any(out / "recipe.yaml"), out, Watch(say=said.append), resume=True)
    assert kept == {name: (out / "stages" / name / "manifest.json").stat().st_mtime_ns for name in kept}, "what has ended is not repeated"
    assert any("resumed   from step" in line for line in said)
    assert_same(straight, out)


def killed_at(monkeypatch, owner, name, call):
    """The process is gone at the n-th call of a function."""
    real, calls = getattr(owner, name), []

    def die(*arguments, **more):
        calls.append(name)
        if len(calls) == call:
            raise Killed
        return real(*arguments, **more)

    monkeypatch.setattr(owner, name, die)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["trying", "before a stage", "a stage's first look", "a merge", "the end"])
def test_killed_at_any_other_place_it_goes_on_to_the_same_weights(recipe, straight, tmp_path, monkeypatch, place):
    from rootstock.run import finish

    out = tmp_path / "killed"
    owner, name, call = {
        "trying": (stages, "dry_run", 3),
        "before a stage": (api, "part", 2),
        "a stage's first look": (stages_told, "before", 2),
        "a merge": (finish, "write_merged", 1),
        "the end": (stages_told.page, "render", 1),
    }[place]
    with monkeypatch.context() as patched:
        killed_at(patched, owner, name, call)
        with pytest.raises(Killed):
            stages.carry_out(recipe(), out, Watch())
    if place == "trying":
        assert not out.exists()
        stages.carry_out(recipe(), out, Watch())
    else:
        stages.carry_out(read_any(out / "recipe.yaml"), out, Watch(), resume=True)
    assert_same(straight, out)
    assert (out / "stages" / NAMES[1] / "merged").is_dir()
    said = []
    stages.carry_out(recipe(), out, Watch(say=said.append), resume=True)
    assert "had already ended" in said[0]


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ((3, "data", {"train": "missing.csv"}), DataError, "missing.csv"),
        ((3, "data", {"validation": 0.2}), RecipeError, "data.train' is missing"),
        ((3, "task", {"name": "text-classification", "label": "stars"}), DataError, "stars"),
        ((3, "task", {"name": "text-clasification"}), UnknownName, "text-classification"),
        ((3, "method", {"name": "lora", "rank": 3}), RecipeError, "rank"),
        ((3, "task", {"name": "span-corruption"}), BaseError, "span-corruption|there is no"),
        ((3, "task", {"name": "multi-task"}), RecipeError, "several tasks at once"),
        ((3, "task", {"parts": {"a": {}, "b": {}}}), RecipeError, "several tasks at once"),
        ((3, "data", {}), RecipeError, "'data.train' is missing"),
        ((3, "training", {"length": 4096}), RecipeError, "4096"),
    ],
)
def test_a_broken_third_stage_is_refused_before_the_first_is_trained(recipe, tmp_path, change, error, told):
    changed = recipe(change)
    if change[2] == {"name": "span-corruption"}:
        changed = recipe(change, (3, "data", {"train": str(tmp_path / "texts.jsonl")}))
    with pytest.raises(error, match=told) as met:
        stages.carry_out(changed, tmp_path / "out", Watch())
    assert met.value.exit_code == 2
    assert "stage 3-" in str(met.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("feature-extraction", "leaves the base as it was"),
        ("few-shot", "leaves a base that was taught one vector for a whole text"),
        ("prefix", "can't be folded|stays beside"),
    ],
)
def test_a_method_that_leaves_nothing_to_the_next_stage_is_refused(recipe, tmp_path, method, told):
    with pytest.raises(RootstockError, match=told):
        stages.carry_out(recipe((2, "method", {"name": method})), tmp_path / "out", Watch())


def test_a_rehearsal_leaves_nothing(recipe, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    found = stages.rehearse(recipe(gains=True), Watch())
    assert list(found["stages"]) == ["1-masked-lm", "2-related", "3-reviews-from-0", "3-reviews-from-1", "3-reviews"]
    assert found["seconds"] == pytest.approx(sum(each["seconds"] for each in found["stages"].values()), abs=0.1)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_a_teacher_may_go_once_its_stage_has_ended(recipe, tiny_base, tmp_path):
    teacher = rootstock_adapt(tmp_path / "related.csv", base=str(tiny_base), out=tmp_path / "teacher")
    taught, out = recipe((2, "teacher", {"run": str(teacher.path)})), tmp_path / "out"
    with pytest.raises(Interrupted):
        stages.carry_out(taught, out, stop_in(3, 1))
    shutil.rmtree(teacher.path)
    stages.carry_out(taught, out, Watch(), resume=True)
    assert Run(out).metrics["rows"]


def test_what_was_changed_behind_its_back_is_refused(recipe, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(Interrupted):
        stages.carry_out(recipe(), out, stop_in(3, 1))
    with pytest.raises(ContractRefused, match=r"1-masked-lm has begun with training.epochs 1.0, and the recipe says 2.0"):
        stages.carry_out(recipe((1, "training", TRAINING | {"length": 16, "epochs": 2})), out, Watch(), resume=True)
    with pytest.raises(ContractRefused, match="2-related has begun, and the recipe has no such stage"):
        stages.carry_out(recipe((2, "name", "other")), out, Watch(), resume=True)
    related = tmp_path / "related.csv"
    rows = related.read_bytes()
    related.write_bytes(rows + b"a fine song,yes\r\n")
    with pytest.raises(ContractRefused, match="2-related has learned from other train rows"):
        stages.carry_out(recipe(), out, Watch(), resume=True)
    related.write_bytes(rows)
    model = out / "stages" / NAMES[0] / "model" / "model.safetensors"
    raw = bytearray(model.read_bytes())
    model.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(ContractRefused, match=r"the weights .*1-masked-lm.* have the digest"):
        stages.carry_out(recipe(), out, Watch(), resume=True)
    model.write_bytes(raw)
    (tmp_path / "texts.jsonl").unlink()
    said = []
    stages.carry_out(recipe(), out, Watch(say=said.append), resume=True)
    assert any("1-masked-lm has ended; its rows can't be read any more" in line for line in said)
    assert RunFolder(out).complete


@pytest.mark.slow
def test_a_stage_that_has_not_begun_may_be_another_by_now(recipe, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(Interrupted):
        stages.carry_out(recipe(), out, stop_in(1, 1))
    stages.carry_out(recipe((3, "training", TRAINING | {"steps": 2})), out, Watch(), resume=True)
    assert read_recipe(out / "stages" / NAMES[2] / "recipe.yaml").training.steps == 2
    assert read_any(out / "recipe.yaml").stages[2].training.steps == 2


@pytest.mark.slow
def test_nothing_is_written_over_unasked(recipe, straight, tmp_path):
    shutil.copytree(straight, tmp_path / "done")
    with pytest.raises(UsageError, match="already holds a finished run"):
        stages.carry_out(recipe(), tmp_path / "done", Watch())
    stages.carry_out(recipe((1, "name", "words")), tmp_path / "done", Watch(), overwrite=True)
    assert sorted(each.name for each in (tmp_path / "done" / "stages").iterdir()) == ["1-words", "2-related", "3-reviews", "state.json"]


@pytest.mark.slow
def test_a_head_is_kept_for_the_same_labels_only(recipe, tmp_path):
    """Before a stage its base is measured on the stage's rows, which only a head that has learned can be."""
    same = (2, "data", {"train": str(tmp_path / "reviews.csv"), "rows": 30})
    for changes, kept in (((), False), ((same,), True)):
        out = tmp_path / f"kept-{kept}"
        stages.carry_out(recipe(*changes), out, Watch())
        told = RunFolder(out).json("metrics.json")["stages"]
        assert (told[2]["before"] is not None) == kept
        fresh = RunFolder(out / "stages" / told[2]["name"]).json("model/contract.json")["fresh"]
        assert any("classifier" in name for name in fresh) != kept


@pytest.mark.slow
def test_gains_are_paired_differences_of_the_last_stage(recipe, tmp_path):
    out = tmp_path / "out"
    stages.carry_out(recipe(gains=True), out, Watch())
    found = RunFolder(out).json("metrics.json")
    runs = [out / "stages" / name for name in ("3-reviews-from-0", "3-reviews-from-1", "3-reviews")]
    figures = [RunFolder(run).json("metrics.json")["metrics"]["accuracy"] for run in runs]
    gains = {each["stage"]: each for each in found["gains"]}
    assert list(gains) == ["1-masked-lm", "2-related", "all"]
    for name, (earlier, later) in {"1-masked-lm": (0, 1), "2-related": (1, 2), "all": (0, 2)}.items():
        assert gains[name]["gain"] == pytest.approx(figures[later] - figures[earlier])
        assert gains[name]["interval"][0] <= gains[name]["gain"] <= gains[name]["interval"][1]
        for side in ("before", "after"):
            assert gains[name][f"{side}_interval"][0] <= gains[name][side] <= gains[name][f"{side}_interval"][1]
    for each in found["stages"]:
        assert (each["before"] is None) == (each["before_interval"] is None)
        assert each["before"] is None or each["before_interval"][0] < each["before"] < each["before_interval"][1]
    bases = [RunFolder(run).json("manifest.json")["base"]["sha256"] for run in runs]
    assert len(set(bases)) == 3
    page, card = (out / "report.html").read_text(), (out / "README.md").read_text()
    assert "What each stage was worth for the last" in page
    assert "without it" in card
    assert Run(out).path == runs[2]


@pytest.mark.parametrize(("less", "gain", "harm"), [(False, 0.2, False), (False, -0.2, True), (True, -0.2, False), (True, 0.2, True)])
def test_harm_is_called_harm(less, gain, harm):
    from rootstock.report.stages import _sentence

    found = Difference(gain, (gain - 0.1, gain + 0.1), separable=True)
    facts = {"stage": "1-words", "figure": "loss", "gain": found.value, "interval": found.interval, "separable": True, "rows": 50}
    assert ("harm" in _sentence(facts | {"less_is_better": less})) == harm
    unsure = _sentence(facts | {"less_is_better": less, "separable": False})
    assert "not separable" in unsure
    assert unsure.endswith(f"({gain - 0.1:+.3f} to {gain + 0.1:+.3f})"), "where rows can't tell, the interval says how little"


def test_gains_need_labels_in_the_last_stage(recipe, tmp_path):
    last = (3, "task", {"name": "masked-lm"}), (3, "data", {"train": str(tmp_path / "texts.jsonl")})
    with pytest.raises(RecipeError, match="gains"):
        stages.carry_out(recipe(*last, gains=True), tmp_path / "out", Watch())


def test_memory_and_ledger_of_a_stage_are_those_of_all_unless_it_names_its_own(recipe):
    shared = recipe((2, "budget", {"memory": "2GB", "ledger": "own.jsonl"}), budget={"memory": "4GB", "ledger": "off", "minutes": 12})
    budgets = [unit.recipe(shared, shared.base, minutes=5.0).budget for unit in units(shared)]
    assert [each.memory for each in budgets] == ["4GB", "2GB", "4GB"]
    assert [each.ledger for each in budgets] == ["off", "own.jsonl", "off"]
    assert {each.minutes for each in budgets} == {5.0}


def test_a_budget_is_shared_by_the_stages_that_name_none(recipe, tmp_path):
    shared = recipe((2, "budget", {"minutes": 2}), budget={"minutes": 12})
    state = State(RunFolder(tmp_path / "out"), {})
    first, second, third = units(shared)
    assert state._minutes(shared, first, 0) == 5
    assert state._minutes(shared, second, 0) == 2
    assert state._minutes(recipe(), first, 0) is None
    state.held[first.folder] = {}
    assert state._minutes(shared, third, 1) == 9, "what the first did not need is left to the others"
    with pytest.raises(RecipeError, match="12"):
        recipe((2, "budget", {"minutes": 12}), budget={"minutes": 12})
    with pytest.raises(RecipeError, match="for all of them"):
        recipe((3, "budget", {"minutes": 5}), budget={"minutes": 12}, gains=True)


@pytest.mark.slow
def test_the_time_of_a_stage_that_was_killed_is_no_gift_to_the_others(tmp_path):
    state = State(RunFolder(tmp_path), {"1-related": {}, "2-reviews": {}})
    for folder, seconds in (("1-related", [2.0, 3.0]), ("2-reviews", [])):
        place = tmp_path / "stages" / folder
        place.mkdir(parents=True)
        events = [{"event": "step", "step": step, "seconds": each} for step, each in enumerate(seconds, 1)]
        (place / "history.jsonl").write_text("".join(json.dumps(each) + "\n" for each in [*events, {"event": "evaluation", "step": 2}]))
    assert state.spent() == 5.0


def test_all_time_that_went_by_is_spent_also_what_a_kill_left_no_other_trace_of(recipe, tmp_path, monkeypatch):
    """A process tries all stages for 20 s, trains for 35, of which the updates are 6, and is killed; the next one knows what it took."""
    moment, told = [100.0], []
    monkeypatch.setattr(stages.time, "monotonic", lambda: moment[0])
    first, second, _ = units(recipe())
    state = State(RunFolder(tmp_path), {first.folder: {}})
    clock = stages._Clock(state, 100.0, state.spent())
    moment[0] = 120.0
    running = clock.running(first, Watch(event=told.append))
    heard = running.__enter__()
    assert heard.started == 120.0
    for moment[0], number in ((124.0, 1), (131.0, 2), (155.0, 3)):
        heard.event({"event": "step", "step": number, "seconds": 2.0})
    assert [each["step"] for each in told] == [1, 2, 3]
    later = State.read(RunFolder(tmp_path))  # as a process finds it that begins after the kill
    assert later.spent() == 55.0
    place = tmp_path / "stages" / first.folder
    place.mkdir()
    (place / "history.jsonl").write_text(json.dumps({"event": "step", "step": 1, "seconds": 99.0}) + "\n")
    assert later.spent() == 99.0, "at least what its own files tell"
    later.held[second.folder] = {"seconds": 5.0}
    assert later.spent() == 104.0


def test_the_share_of_a_stage_stays_when_it_goes_on(recipe, tmp_path):
    timed, out = recipe(budget={"minutes": 30}), tmp_path / "out"
    with pytest.raises(Interrupted):
        stages.carry_out(timed, out, stop_in(1, 1))
    minutes = read_recipe(out / "stages" / NAMES[0] / "recipe.yaml").budget.minutes
    assert 9 < minutes <= 10
    stages.carry_out(timed, out, Watch(), resume=True)
    assert read_recipe(out / "stages" / NAMES[0] / "recipe.yaml").budget.minutes == minutes


@pytest.mark.slow
def test_a_rate_that_was_found_is_not_looked_for_again(recipe, tmp_path):
    found, out = recipe((2, "training", TRAINING | {"rate": "find"})), tmp_path / "out"
    with pytest.raises(Interrupted):
        stages.carry_out(found, out, stop_in(2, 1))
    rate = read_recipe(out / "stages" / NAMES[1] / "recipe.yaml").training.rate
    said = []
    stages.carry_out(found, out, Watch(say=said.append), resume=True)
    assert read_recipe(out / "stages" / NAMES[1] / "recipe.yaml").training.rate == rate
    assert not any("range test" in line for line in said)


@pytest.mark.slow
def test_a_random_base_learns_in_the_first_stage_and_is_one_to_build_on(recipe, tiny_base, tmp_path):
    out = tmp_path / "out"
    stages.carry_out(recipe(base=f"scratch:{tiny_base / 'config.json'}", tokenizer=str(tiny_base)), out, Watch())
    assert RunFolder(out / "stages" / NAMES[1]).json("manifest.json")["method"] == "lora"


@pytest.mark.slow
def test_a_refused_merge_stops_before_the_next_stage(recipe, tmp_path, monkeypatch):
    from rootstock.run import merge

    monkeypatch.setattr(merge, "TOLERANCE", -1.0)
    out = tmp_path / "out"
    for resume in (False, True):
        with pytest.raises(MergeRefused, match="stage 2-related"):
            stages.carry_out(recipe(), out, Watch(), resume=resume)
    assert not (out / "stages" / NAMES[2]).exists()


@pytest.mark.slow
def test_diff_tells_the_stages_apart(recipe, straight, tmp_path):
    stages.carry_out(recipe((2, "training", TRAINING | {"rate": 1e-3})), tmp_path / "other", Watch())
    found = differences.compare(straight, tmp_path / "other")
    text = differences.as_text(found)
    assert found["settings"].pop("stages.2.training.rate") == [0.003, 0.001]
    assert all(key.endswith("data.train") for key in found["settings"]), "the rows lie elsewhere"
    first, second, third = (found["stages"][name] for name in NAMES)
    assert first["first_step"] is None
    assert second["first_step"]["step"] == 1
    assert third["base"]["sha256"]
    assert "stages.2.training.rate: 0.003 → 0.001" in text
    assert "the runs took the same steps" in text


@pytest.mark.slow
def test_every_stage_is_proven_to_resume(recipe, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe().plain()))
    found = verify.verify(path, 2, lambda text: None, restart=verify.go_on)
    assert found["identical"]
    assert list(found["stages"]) == list(NAMES)
    assert found["verdict"].count("bit for bit") == 3


def test_stages_go_by_their_number_on_the_command_line(recipe, tmp_path):
    path = tmp_path / "chain.yaml"
    path.write_text(yaml.safe_dump(recipe().plain()))
    found = api.again_any(path, {"stages.2.training.epochs": 4, "stages.2.name": "kin", "gains": True})
    assert (found.stages[1].training.epochs, found.folder(2), found.gains) == (4, "2-kin", True)
    assert found.stages[1].method == {"name": "lora"}
    for change, told in (({"stages.4.training.epochs": 1}, "stages.4"), ({"stages.2.trainin.epochs": 1}, "stages.2.trainin")):
        with pytest.raises(UsageError, match=told):
            api.again_any(path, change)
    with pytest.raises(RecipeError, match="lists stages"):
        api.again(path, {})
    with pytest.raises(RecipeError, match=r"did you mean 'stages.task'"):
        built(recipe().plain() | {"task": {"name": "masked-lm"}})


def test_a_relative_path_is_taken_from_the_recipes_folder(recipe, tmp_path):
    values = recipe().plain()
    values["stages"][0]["data"]["train"] = "texts.jsonl"
    (tmp_path / "chain.yaml").write_text(yaml.safe_dump(values))
    assert read_any(tmp_path / "chain.yaml").stages[0].data.train == str(tmp_path / "texts.jsonl")
    values["stages"][2]["method"] = {"name": "compose", "on": ["texts.jsonl"]}
    (tmp_path / "chain.yaml").write_text(yaml.safe_dump(values))
    assert read_any(tmp_path / "chain.yaml").stages[2].method["on"] == (str(tmp_path / "texts.jsonl"),)
    assert isinstance(read_any(tmp_path / "chain.yaml").recipe(1, "minilm", minutes=None, merge=False), Recipe)


def test_every_path_of_a_stage_is_taken_from_the_recipes_folder(tmp_path):
    for name in ("rows.csv", "run", "other"):
        (tmp_path / name).mkdir()
    stage = {"data": {"train": "rows.csv"}, "method": {"name": "compose", "on": ["run", "other"]}, "teacher": {"run": "run"}}
    found = built({"stages": [stage, {"data": {"train": "rows.csv"}}]}).anchored(tmp_path).stages[0]
    assert found.method["on"] == (str(tmp_path / "run"), str(tmp_path / "other"))
    assert (found.data.train, found.teacher.run) == (str(tmp_path / "rows.csv"), str(tmp_path / "run"))


@pytest.mark.parametrize("on", ["run", 3])
def test_adapters_that_are_no_list_are_refused_as_such(tmp_path, on):
    (tmp_path / "run").mkdir()
    found = Recipe.build({"data": {"train": "rows.csv"}, "method": {"name": "compose", "on": on}}, "").anchored(tmp_path)
    with pytest.raises(RecipeError, match=r"method\.on"):
        choices.check(found)


def test_an_adapter_of_the_last_stage_finds_its_base_after_all_were_moved(recipe, tmp_path):
    whole = recipe((3, "method", {"name": "lora"}))
    run = stages.carry_out(whole.model_copy(update={"stages": whole.stages[1:]}), tmp_path / "out", Watch())
    said = run.predict(["good good film"])
    (tmp_path / "out").rename(tmp_path / "moved")
    assert Run(tmp_path / "moved").predict(["good good film"]) == said
