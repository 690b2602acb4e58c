"""Several workers do what one does: the same losses and weights, every row once, stopped and gone on with by any number of them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import make_base, rows_of, write_csv
from tests.worlds import together

from rootstock.core.errors import DataError, RecipeError
from rootstock.core.recipe import Recipe
from rootstock.core.runfolder import read_recipe, recipe_text
from rootstock.core.watch import Watch
from rootstock.data.batches import Feed
from rootstock.loop.world import World
from rootstock.run import workers
from rootstock.run.prepare import prepare
from rootstock.verbs import api

TRAINING = {"epochs": 1, "rate": 3e-3, "batch_tokens": 160, "micro_tokens": 40, "precision": "fp32", "dropout": 0.0, "checkpoint_steps": 2}


@pytest.fixture
def recipe(tiny_base, reviews):
    def made(strategy="ddp", **more):
        task, data = {"name": "text-classification"}, {"train": str(reviews)}
        values = {"base": str(tiny_base), "data": data, "method": {"name": "full"}, "task": task}
        return Recipe.build(values | {"training": TRAINING, "cluster": {"strategy": strategy}} | more, "")

    return made


@pytest.fixture
def alone(recipe, tmp_path):
    def run(**more):
        return api.carry_out(recipe(**more), tmp_path / "alone", Watch()).folder.path

    return run


def weights(folder):
    return load_file(next((folder / "model").glob("*model.safetensors")))


def events(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text("utf-8").splitlines()]


def assert_same(one, other, tolerance=1e-5):
    """Losses of every update, figures of every evaluation, and weights."""
    told = [[(e["step"], e.get("rows"), e.get("tokens") and e["batch"]) for e in events(each)] for each in (one, other)]
    assert told[0] == told[1]
    for key in ("loss", "gradient_norm", "log_loss"):
        held = [[event[key] for event in events(each) if key in event] for each in (one, other)]
        np.testing.assert_allclose(*held, rtol=tolerance, atol=tolerance, err_msg=key)
    expected, found = weights(one), weights(other)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance, msg=name)


CASES = {
    "ddp-2": (2, {}),
    "ddp-4": (4, {}),
    "fsdp-2": (2, {"strategy": "fsdp"}),
    "fsdp-4": (4, {"strategy": "fsdp"}),
    "fsdp-2-masked-lm": (2, {"strategy": "fsdp", "task": {"name": "masked-lm", "text": "text"}}),
    "fsdp-2-recompute": (2, {"cluster": {"strategy": "fsdp", "recompute": True}}),
    "fsdp-2-offload": (2, {"cluster": {"strategy": "fsdp", "offload": True}}),
    "tensor-2": (2, {"strategy": "tensor"}),
    "tensor-2-causal-lm": (2, {"strategy": "tensor", "task": {"name": "causal-lm", "text": "text"}}),
    "tensor-2-qwen3": (2, {"strategy": "tensor", "task": {"name": "causal-lm", "text": "text"}}),  # norms of single heads
    "tensor-2-recompute": (2, {"cluster": {"strategy": "tensor", "recompute": True}}),
}
QUICK = ("fsdp-2",)
LONG = [pytest.param(name, marks=pytest.mark.slow) for name in CASES if name not in QUICK]


@pytest.mark.parametrize("case", [*QUICK, *LONG])
def test_workers_learn_what_one_learns(recipe, alone, tmp_path, case):
    count, more = CASES[case]
    if case.startswith("tensor"):
        qwen = {"family": "qwen3", "num_key_value_heads": 2, "head_dim": 16} if "qwen3" in case else {"family": "llama"}
        more = more | {"base": str(make_base(tmp_path / "base", **qwen))}
    ended = together(count, recipe(**more), tmp_path / "run")
    assert {name for name, _ in ended} == {"done"}, ended
    assert [bool(said) for _, said in ended] == [True] + [False] * (count - 1), "only the first worker speaks"
    one = alone(**more)
    assert_same(one, tmp_path / "run")
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in (tmp_path / "run").iterdir())
    assert json.loads((tmp_path / "run" / "manifest.json").read_text("utf-8"))["world"]["workers"] == count


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fsdp", "tensor"])
def test_parts_in_bf16_learn_about_what_one_learns_in_bf16(recipe, alone, tmp_path, strategy):
    more = {"training": TRAINING | {"precision": "bf16"}, "base": str(make_base(tmp_path / "llama", "llama"))}
    assert {name for name, _ in together(2, recipe(strategy, **more), tmp_path / "run")} == {"done"}
    one = alone(strategy=strategy, **more)
    held = [[event["loss"] for event in events(each) if "loss" in event] for each in (one, tmp_path / "run")]
    np.testing.assert_allclose(*held, rtol=2e-3)


@pytest.mark.slow
def test_columns_of_two_are_gone_on_with_by_one_and_by_two(recipe, alone, tmp_path):
    more = {"base": str(make_base(tmp_path / "llama", "llama"))}
    made, out = recipe("tensor", **more), tmp_path / "run"
    assert {name for name, _ in together(2, made, out, stop_after=3)} == {"Interrupted"}
    shutil.copytree(out, tmp_path / "one")
    assert {name for name, _ in together(2, made, out, resume=True)} == {"done"}
    api.carry_out(made, tmp_path / "one", Watch(), resume=True)
    straight = alone(strategy="tensor", **more)
    assert_same(straight, out)
    assert_same(straight, tmp_path / "one")


@pytest.mark.slow
def test_a_model_without_a_plan_is_told_which_have_one(recipe, tmp_path):
    (name, said), _ = together(2, recipe("tensor"), tmp_path / "run")
    assert name == "RecipeError"
    assert "brings no plan" in said
    assert "llama, mistral" in said


@pytest.mark.slow
def test_a_text_is_found_among_those_of_all_workers(recipe, alone, tmp_path):
    texts = [text for text, _ in rows_of(60)]
    pairs = write_csv(tmp_path / "pairs.csv", list(zip(texts, (f"{text} very" for text in texts), strict=True)), ("anchor", "positive"))
    more = {"task": {"name": "embedding"}, "data": {"train": str(pairs)}}
    ended = together(2, recipe(**more), tmp_path / "run")
    assert {name for name, _ in ended} == {"done"}, ended
    assert_same(alone(**more), tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_checkpoint_of_four_is_gone_on_with_by_one_and_by_two(recipe, alone, tmp_path, strategy):
    made, out = recipe(strategy), tmp_path / "four"
    ended = together(4, made, out, stop_after=3)
    assert {name for name, _ in ended} == {"Interrupted"}, ended
    newest = out / "checkpoints" / "step-000003"
    assert sorted(path.name for path in newest.glob("trained*")) == [f"trained.{n}-of-4.safetensors" for n in range(1, 5)]
    assert not [path for path in out.rglob("*") if "pickle" in path.name or path.suffix in (".pt", ".bin", ".pth", ".distcp", ".metadata")]
    shutil.copytree(out, tmp_path / "two")
    api.carry_out(made, out, Watch(), resume=True)
    (first, _), _ = ended = together(2, made, tmp_path / "two", resume=True)
    assert first == "done", ended
    straight = alone(strategy=strategy)
    assert_same(straight, out)
    assert_same(straight, tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_one_is_killed_and_all_go_on_to_the_same_bits(recipe, tmp_path, strategy):
    straight = together(2, recipe(strategy), tmp_path / "straight")
    ended = together(2, recipe(strategy), tmp_path / "killed", kill=(1, 4))
    assert [name for name, _ in ended] == ["PeerLost", "killed"]
    again = together(2, recipe(strategy), tmp_path / "killed", restarts=1)
    assert {name for name, _ in (*straight, *again)} == {"done"}, (straight, again)
    assert "from step 2" in again[0][1]
    for name, value in weights(tmp_path / "straight").items():
        assert torch.equal(weights(tmp_path / "killed")[name], value), name


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_loss_of_one_worker_that_is_no_number_takes_all_back(recipe, tmp_path, strategy):
    made = recipe(strategy, training=TRAINING | {"checkpoint_steps": 3})
    (first, said), (second, _) = together(2, made, tmp_path / "run", fault=("nan", 5, 1))
    assert (first, second) == ("done", "done")
    assert said.count("setback ") == 1
    assert "from step 3" in said
    held = events(tmp_path / "run")
    steps = {event["step"]: event["rate"] for event in held if event["event"] == "step"}
    assert list(steps) == list(range(1, len(steps) + 1)), "no step twice, none is missing"
    assert max(rate for step, rate in steps.items() if step > 3) <= TRAINING["rate"] * 0.25
    assert [event["step"] for event in held if event["event"] == "setback"] == [4]
    ended = together(2, made, tmp_path / "other", fault=("nan", 5, 9))
    assert [name for name, _ in ended] == ["Diverged", "Diverged"]
    assert "0.0625 of the rate too" in ended[0][1]


@pytest.mark.parametrize("goes_back", [True, False])
def test_all_go_back_or_none_does(goes_back):
    first = SimpleNamespace(one=lambda *own: own, first=True)
    other = SimpleNamespace(one=lambda *own: (7.0, float(goes_back)), first=False)
    assert workers.heard(Watch(goes_back=goes_back), first).goes_back is goes_back
    told = workers.heard(Watch(goes_back=not goes_back, started=1.0), other)
    assert (told.goes_back, told.started) == (goes_back, 7.0)


@pytest.mark.slow
def test_too_little_memory_of_one_worker_splits_the_update_on_all(recipe, alone, tmp_path):
    (first, said), (second, _) = together(2, recipe(), tmp_path / "run", fault=("scarce", 2, 4))
    assert (first, second) == ("done", "done")
    assert "memory    too little for step" in said
    one, path = alone(), tmp_path / "run" / "history.jsonl"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"event": "memory"' not in line), "utf-8")
    assert 0 < len(lines) - len(events(tmp_path / "run")) <= 3, "what was learned of memory is kept for later updates"
    assert_same(one, tmp_path / "run", tolerance=1e-4)


@pytest.mark.slow
def test_too_little_memory_for_a_shard_ends_with_a_message(recipe, tmp_path):
    _, (name, told) = together(2, recipe("fsdp"), tmp_path / "run", fault=("scarce", 2, 4))
    assert name == "OutOfMemory", told
    assert "lower training.micro_tokens" in told


@pytest.mark.slow
def test_a_worker_that_hangs_is_lost_to_the_others(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("ROOTSTOCK_PATIENCE_MINUTES", "0.05")
    (first, said), (second, _) = together(2, recipe(), tmp_path / "run", kill=(1, 3, int(signal.SIGSTOP)))
    assert (first, second) == ("PeerLost", "stuck")
    assert "hangs: it did not answer in time" in said


@pytest.mark.slow
def test_of_several_workers_the_first_finds_the_batch_for_all(recipe, alone, tmp_path):
    """Tried in a process that is none of them, under each one's budget; then all pass the same, as one would that is told the number."""
    asked = {"budget": {"memory": "3GB"}, "training": {**TRAINING, "micro_tokens": None}}
    assert {name for name, _ in together(2, recipe(**asked), tmp_path / "found")} == {"done"}
    tried = json.loads((tmp_path / "found" / "plan.json").read_text())["found"]["micro_tokens"]
    assert "92% of --memory 3GB" in tried["reason"]
    assert read_recipe(tmp_path / "found" / "recipe.yaml").training.micro_tokens == tried["tokens"]
    assert_same(alone(training={**TRAINING, "micro_tokens": tried["tokens"]}), tmp_path / "found")


def test_a_row_goes_to_one_worker_and_none_is_left_out(recipe):
    prepared = prepare(recipe(), lambda text: None)
    feed: Feed = prepared.feed(prepared.encoded)
    rows = np.concatenate(feed.epoch(0))
    for count in (2, 3, 5):
        taken = np.concatenate([part for batch in feed.epoch(0) for part in feed.shards(batch, count)])
        assert np.array_equal(taken, rows)
        assert all(len(feed.shards(batch, count)) <= count for batch in feed.epoch(0))
    assert sorted(rows) == list(range(len(prepared.encoded)))


@pytest.mark.parametrize(
    ("strategy", "more", "found"),
    [
        ("ddp", {"method": {"name": "feature-extraction", "head": "knn"}}, "fitted to all rows at once"),
        ("ddp", {"method": {"name": "few-shot"}}, "teaches its base before"),
        ("ddp", {"training": {**TRAINING, "rate": "find"}}, "training.rate"),
        ("fsdp", {"training": {**TRAINING, "micro_tokens": "find"}}, "training.micro_tokens"),
        ("fsdp", {"budget": {"memory": "9GB"}, "training": {**TRAINING, "micro_tokens": None}}, "by trying, as budget.memory is set"),
        ("ddp", {"training": {**TRAINING, "cache_layers": "yes"}}, "cache_layers"),
        ("ddp", {"cluster": {"offload": True}}, "cluster.offload"),
        ("tensor", {"method": {"name": "lora"}}, "beside layers that are cut"),
        ("fsdp", {"method": {"name": "adalora"}}, "whole matrices"),
        ("fsdp", {"method": {"name": "feature-extraction"}}, "a head alone"),
        ("fsdp", {"training": {**TRAINING, "adversary": 0.1}}, "passes a batch twice"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_can_not_be_shared_is_refused_in_words(recipe, strategy, more, found):
    prepared = prepare(recipe(strategy, **more), lambda text: None)
    with pytest.raises(RecipeError, match=found) as refused:
        workers.check(prepared, World(rank=0, size=2, strategy=strategy))
    assert refused.value.fix


def started(reviews, base, out):
    """The command line with two workers, once it has saved a first checkpoint; and the workers' process ids."""
    settings = {"training.epochs": 400, "training.batch_tokens": 160, "training.checkpoint_steps": 1, "training.evaluations": 1}
    line = ["adapt", reviews, "--base", base, "--method", "full", "--workers", 2, "--out", out]
    line += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    told = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    process = subprocess.Popen([sys.executable, "-m", "rootstock", *map(str, line)], **told)
    while not list((out / "checkpoints").glob("step-*")) and process.poll() is None:
        time.sleep(0.05)
    return process, [int(path.name) for path in Path("/proc").glob("[0-9]*") if _child(path, process.pid)]


def _child(path, parent):
    with suppress(OSError):
        return _parent(path) == parent and b"worker" in (path / "cmdline").read_bytes().split(b"\0")
    return False


def gone(pids, seconds=60.0):
    """Whether none of these processes is left, at the latest then."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not [pid for pid in pids if Path(f"/proc/{pid}/stat").exists()]:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_ctrl_c_stops_all_workers_with_one_message_and_it_goes_on(reviews, tiny_base, tmp_path):
    out = tmp_path / "run"
    process, workers = started(reviews, tiny_base, out)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 130, said
    assert len(workers) == 2
    assert gone(workers)
    assert said.count("rootstock: ") == 1
    assert "a checkpoint was saved" in said
    assert "Traceback" not in said
    assert "torch" not in said
    assert f"{out}/recipe.yaml --resume" in said


@pytest.mark.slow
def test_workers_go_with_the_process_that_started_them(reviews, tiny_base, tmp_path):
    process, workers = started(reviews, tiny_base, tmp_path / "run")
    process.kill()
    process.communicate()
    assert len(workers) == 2
    assert gone(workers)


def launcher(name):
    """The command of a package that starts workers by itself."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        pytest.skip(f"{name} is not beside {sys.executable}")
    return path


LAUNCHED = {
    "torchrun": ("torchrun", "--standalone", "--nproc-per-node", "2"),
    "torchrun-fsdp": ("torchrun", "--standalone", "--nproc-per-node", "2"),
    "accelerate": ("accelerate", "launch", "--multi_gpu", "--num_processes", "2"),
}


@pytest.mark.slow
@pytest.mark.parametrize("by", LAUNCHED)
def test_workers_that_others_start_learn_what_one_learns(recipe, alone, tmp_path, by):
    """The command line that docs/distributed.md names, in processes of their own."""
    made, (name, *words) = recipe("fsdp" if by.endswith("fsdp") else "ddp"), LAUNCHED[by]
    (tmp_path / "recipe.yaml").write_text(recipe_text(made), "utf-8")
    line = [launcher(name), *words, "-m", "rootstock", "run", tmp_path / "recipe.yaml", "--out", tmp_path / "run"]
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report    ") == 1, "only the first worker speaks"
    assert "Traceback" not in done.stderr
    assert_same(alone(strategy=made.cluster.strategy), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "manifest.json").read_text("utf-8"))["world"]["workers"] == 2


@pytest.mark.slow
def test_torchrun_starts_workers_again_and_they_go_on_by_themselves(recipe, tmp_path):
    made, out, killed = recipe(training=TRAINING | {"checkpoint_steps": 1, "epochs": 6}), tmp_path / "run", []
    (tmp_path / "recipe.yaml").write_text(recipe_text(made), "utf-8")
    line = [launcher("torchrun"), "--standalone", "--nproc-per-node", "2", "--max-restarts", "2", "-m", "rootstock", "run"]
    line += [tmp_path / "recipe.yaml", "--out", out]
    process = subprocess.Popen(list(map(str, line)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killed_once(out, killed, parent=process.pid, word=b"run")
    said = process.communicate(timeout=600)
    assert len(killed) == 1
    assert process.returncode == 0, said
    assert "resumed   from step" in said[1]
    assert together(2, made, tmp_path / "straight")[0][0] == "done"
    for name, value in weights(tmp_path / "straight").items():
        assert torch.equal(weights(out)[name], value), name


def killed_once(out, errors, *, parent=None, word=b"worker"):
    """SIGKILL for the second worker as soon as there is a checkpoint."""
    deadline = time.monotonic() + 600
    while not list((out / "checkpoints").glob("step-*")):
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0")
            ours = b"\0RANK=1\0" in (path / "environ").read_bytes() and _parent(path) == (parent or os.getpid())
            if word in words and ours:
                os.kill(int(path.name), signal.SIGKILL)
                errors.append(path.name)


def _parent(path):
    return int((path / "stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's agent, of its own sockets
def test_a_run_goes_on_by_itself_when_a_worker_is_killed(recipe, tmp_path):
    made = recipe(training=TRAINING | {"checkpoint_steps": 1, "epochs": 3}, cluster={"workers": 2})
    out, said, killed = tmp_path / "run", [], []
    watcher = threading.Thread(target=killed_once, args=(out, killed))
    watcher.start()
    run = api.carry_out(made, out, Watch(say=said.append))
    watcher.join()
    assert len(killed) == 1
    assert [line for line in said if "worker 1 was killed (SIGKILL)" in line and "(1 of 3)" in line], said
    straight = api.carry_out(made, tmp_path / "straight", Watch())
    for name, value in weights(straight.folder.path).items():
        assert torch.equal(weights(run.folder.path)[name], value), name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_ends_a_worker_on_purpose_is_raised_and_not_tried_again(recipe, tmp_path):
    said = []
    rows = [("the same text", "a"), ("the same text", "b")] * 30
    made = recipe(data={"train": str(write_csv(tmp_path / "rows.csv", rows))}, cluster={"workers": 2})
    with pytest.raises(DataError, match="too few"):
        api.carry_out(made, tmp_path / "run", Watch(say=said.append))
    assert not said, "nothing was started again"
