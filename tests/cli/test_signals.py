"""Ctrl-C, SIGTERM, closed pipes, and limits of memory and disk: what needs a process of its own."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file
from tests.conftest import rows_of, write_csv

LONG = ["--method", "full", "--epochs", "400", "--set", "training.batch_tokens=64", "--set", "training.evaluations=1"]


@pytest.fixture
def start(desk, tmp_path):
    """Start the command in its own process, in a folder of its own."""
    started = []

    def run(*arguments, **more):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"} | more.pop("env", {})
        line = [sys.executable, "-m", "rootstock", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
        started.append(subprocess.Popen(line, cwd=tmp_path, env=environment, text=True, **pipes))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def steps(run):
    path = run / "history.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}") and '"step", "step"' not in line and '"event": "step"' in line]


def training_begins(process, run):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if steps(run):
            return
        time.sleep(0.05)
    pytest.fail(f"no training: {process.communicate()[1]}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_the_first_signal_saves_and_resume_gives_the_very_same_run(desk, start, tmp_path, number, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = ["adapt", desk / "good.csv", "--base", desk / "base", *LONG, "--out"]
    process = start(*line, "run")
    training_begins(process, tmp_path / "run")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "a checkpoint was saved" in err
    assert "go on with: rootstock run run/recipe.yaml --resume" in err
    assert "\r" not in err
    assert command("predict run 'a film'")[0] == 2
    code, _, err = command(["run", "run/recipe.yaml", "--resume", "--set", "training.rate=0.5"])
    assert code == 3
    assert "belongs to another recipe" in err
    code, _, err = command("run run/recipe.yaml --resume")
    assert code == 0, err
    assert "resumed   from step" in err
    if number == signal.SIGTERM:
        return
    assert command([*line, "straight"])[0] == 0
    first, second = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("run", "straight"))
    assert all(first[name].equal(second[name]) for name in second)
    same = command("diff run straight")[1]
    assert "the runs took the same steps" in same


def test_the_second_signal_stops_at_once(desk, start, tmp_path):
    # One update of several seconds: the first signal would have to wait for its end.
    rows = [(" ".join([text] * 5), label) for text, label in rows_of(6000)]
    data = write_csv(tmp_path / "many.csv", rows)
    more = ["--accept", "truncation", "--set", "training.batch_tokens=500000", "--set", "training.checkpoint_steps=1"]
    process = start("adapt", data, "--base", desk / "base", "--method", "full", "--epochs", "300", *more, "--out", "run")
    training_begins(process, tmp_path / "run")
    process.send_signal(signal.SIGINT)
    while "stopping after" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130, err
    assert time.monotonic() - started < 20
    assert "Traceback" not in err
    assert "rootstock run run/recipe.yaml --resume" in err


def test_a_signal_before_training_or_in_another_verb_ends_it_at_once(desk, start):
    process = start("predict", desk / "one", "--file", "/dev/stdin", stdin=subprocess.PIPE)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode in (130, -signal.SIGINT), err
    assert "Traceback" not in err or "site-packages" not in err


def test_a_reader_that_leaves_early_is_no_traceback(desk, start):
    lines = (["tasks"], ["recipe", "show"], ["recipe", "schema"], ["predict", desk / "one", "--file", desk / "good.csv"])
    for line in lines:
        read, write = os.pipe()
        process = start(*line, stdout=write)
        os.close(write)
        os.close(read)
        err = process.communicate(timeout=60)[1]
        assert process.returncode == 141, (line, err)
        assert "Traceback" not in err
        assert "BrokenPipe" not in err


def test_notes_that_nobody_reads_do_not_end_a_run(desk, start, tmp_path):
    read, write = os.pipe()
    line = ["adapt", desk / "good.csv", "--base", desk / "base", "--method", "full", "--epochs", "2", "--out", "run", "--json"]
    process = start(*line, stderr=write)
    os.close(write)
    os.close(read)
    out = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert json.loads(out)["metrics"]


def test_an_old_terminal_still_gets_every_label(desk, start, tmp_path):
    rows = [(text, "süß ✓" if label == "positive" else "нет") for text, label in rows_of(40)]
    data = write_csv(tmp_path / "data.csv", rows)
    environment = {"PYTHONIOENCODING": "ascii"}
    process = start("adapt", data, "--base", desk / "base", "--method", "full", "--epochs", "1", "--out", "run", env=environment)
    assert process.communicate(timeout=60)[1].count("Traceback") == 0
    assert process.returncode == 0
    process = start("predict", "run", "a film", env=environment)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "\\u" in out or "\\x" in out


def test_no_memory_left_is_one_message(desk, start):
    rows = [("good film " * 6, "a" if i % 2 else "b") for i in range(40)]
    data = write_csv(desk / "wide.csv", [(f"{text} {i}", label) for i, (text, label) in enumerate(rows)])

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))

    line = ["--base", desk / "base", "--method", "lora", "--set", "method.r=4000000", "--epochs", "1", "--out", "run"]
    process = start("adapt", data, *line, preexec_fn=limit)
    err = process.communicate(timeout=120)[1]
    assert process.returncode == 1, err
    assert "memory" in err.splitlines()[-2] + err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_disk_that_fills_up_keeps_what_was_saved(desk, start, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    line = ["adapt", desk / "good.csv", "--base", desk / "base", "--method", "full", "--epochs", "4", "--out", "run"]
    process = start(*line, "--set", "training.checkpoint_steps=1", preexec_fn=limit)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 1, err
    assert "could not write" in err
    assert "Traceback" not in err
    assert not list((tmp_path / "run").rglob("*.part"))
    code, _, err = command("run run/recipe.yaml --resume")
    assert code == 0, err
