"""Ctrl-C, SIGTERM, closed pipes, and limits of memory and disk: what needs a process of its own."""

import functools
import io
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

from rootstock.core.errors import Interrupted
from rootstock.corpus import build as building
from rootstock.loop.train import Training
from rootstock.run import labelled

LONG = ["--method", "full", "--epochs", "12", "--set", "training.batch_tokens=64", "--set", "training.evaluations=1"]


@pytest.fixture
def start(desk, tmp_path):
    """Start the command in its own process, in a folder of its own."""
    started = []

    def run(*arguments, **more):
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | more.pop("env", {})
        line = [sys.executable, "-m", "rootstock", *map(str, arguments)]
        with (tmp_path / "out.txt").open("w") as out, (tmp_path / "err.txt").open("w") as err:
            # A suite that runs in the background hands down an ignored SIGINT, which the command rightly respects.
            default = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
            settings = {"stdout": out, "stderr": err, "preexec_fn": default, "cwd": tmp_path} | more
            started.append(subprocess.Popen(line, env=environment, **settings))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()


@pytest.fixture
def end(tmp_path):
    """Wait for a started command; gives its exit code, stdout and stderr."""

    def wait(process, seconds=90):
        code = process.wait(seconds)
        return code, *((tmp_path / name).read_text() for name in ("out.txt", "err.txt"))

    return wait


def wait_until(process, happened):
    deadline = time.monotonic() + 60
    while not happened():
        assert process.poll() is None, "it ended first"
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def trains(run):
    path = run / "history.jsonl"
    return path.exists() and '"event": "step"' in path.read_text()


@pytest.fixture
def heard():
    """Signals as a shell's foreground command gets them: its background jobs ignore Ctrl-C, and so would the verb."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, id="ctrl-c"), pytest.param(signal.SIGTERM, id="sigterm", marks=pytest.mark.slow)]
)
def test_the_first_signal_saves_and_resume_gives_the_very_same_run(desk, start, end, tmp_path, number, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = ["adapt", desk / "good.csv", "--base", desk / "base", *LONG, "--out"]
    process = start(*line, "run")
    wait_until(process, lambda: trains(tmp_path / "run"))
    process.send_signal(number)
    code, out, err = end(process)
    assert code == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "a checkpoint was saved" in err
    assert "go on with: rootstock run run/recipe.yaml --resume" in err
    assert "\r" not in err
    if number == signal.SIGTERM:
        return
    assert command("predict run 'a film'")[0] == 2
    code, _, err = command(["run", "run/recipe.yaml", "--resume", "--set", "training.rate=0.5"])
    assert code == 3
    assert "belongs to another recipe" in err
    code, _, err = command("run run/recipe.yaml --resume")
    assert code == 0, err
    assert "resumed   from step" in err
    assert command([*line, "straight"])[0] == 0
    first, second = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("run", "straight"))
    assert all(first[name].equal(second[name]) for name in second)
    same = command("diff run straight")[1]
    assert "the runs took the same steps" in same


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_in_an_update_saves_after_it_and_a_second_one_does_not_wait(desk, heard, command, monkeypatch, tmp_path, number):
    real, ended = Training._gradients, []

    def asked(times):
        def gradients(self, rows):
            for _ in range(times if self.at.step == 1 else 0):
                signal.raise_signal(number)
            made = real(self, rows)
            ended.append(self.at.step)
            return made

        return gradients

    for times in (1, 2):
        monkeypatch.setattr(Training, "_gradients", asked(times))
        run = tmp_path / str(times)
        code, out, err = command(["adapt", desk / "good.csv", "--base", desk / "base", *LONG, "--out", run])
        assert (code, out) == (130, ""), err
        assert "stopping after the next update" in err
        assert f"{run}/recipe.yaml --resume" in err
        assert ended == ([0, 1] if times == 1 else [0, 1, 0])
        assert ("a checkpoint was saved" in err) == (times == 1) == bool(list(run.glob("checkpoints/step-*")))


@pytest.mark.slow
def test_the_second_signal_stops_at_once(desk, start, end, tmp_path):
    # One update of several seconds: the first signal would have to wait for its end.
    rows = [(" ".join([text] * 5), label) for text, label in rows_of(4000)]
    data = write_csv(tmp_path / "many.csv", rows)
    more = ["--accept", "truncation", "--set", "training.batch_tokens=500000", "--set", "training.checkpoint_steps=1"]
    process = start("adapt", data, "--base", desk / "base", "--method", "full", "--epochs", "300", *more, "--out", "run")
    wait_until(process, lambda: trains(tmp_path / "run"))
    process.send_signal(signal.SIGINT)
    wait_until(process, lambda: "stopping after" in (tmp_path / "err.txt").read_text())
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    code, _, err = end(process)
    assert code == 130, err
    assert time.monotonic() - started < 20
    assert "Traceback" not in err
    assert "rootstock run run/recipe.yaml --resume" in err


def test_a_signal_in_a_verb_that_does_not_train_ends_it_at_once(desk, heard, command, monkeypatch):
    def interrupted(*_, **__):
        signal.raise_signal(signal.SIGINT)
        pytest.fail("it went on")

    monkeypatch.setattr(labelled, "read_rows", interrupted)
    code, out, err = command(["inspect", desk / "good.csv", "--base", desk / "base"])
    assert (code, out) == (130, "")
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_signal_while_a_verb_waits_for_its_rows_ends_it_at_once(desk, start, end, tmp_path):
    process = start("inspect", "/dev/stdin", "--base", desk / "base", stdin=subprocess.PIPE)
    wait_until(process, lambda: "base " in (tmp_path / "err.txt").read_text())
    process.send_signal(signal.SIGINT)
    code, _, err = end(process)
    assert code == 130, err
    assert "Traceback" not in err


def test_a_corpus_says_that_it_stops_after_a_part(command, heard, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "one.txt").write_text("A film that was good and long. " * 20)

    def interrupted(settings, out, watch, *, overwrite):
        signal.raise_signal(signal.SIGINT)
        assert watch.stop()
        raise Interrupted("interrupted")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(building, "build", interrupted)
        code, _, err = command(["corpus", "build", tmp_path / "texts", "--out", tmp_path / "corpus"])
    assert code == 130
    assert "stopping after this part of the corpus;" in err


@pytest.mark.parametrize("line", [["tasks"], pytest.param(["predict", "one", "--file", "good.csv"], marks=pytest.mark.slow)], ids=" ".join)
def test_a_reader_that_leaves_early_is_no_traceback(desk, start, end, line):
    read, write = os.pipe()
    process = start(*line, stdout=write, cwd=desk)
    os.close(write)
    os.close(read)
    code, _, err = end(process)
    assert code == 141, err
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


def test_notes_that_nobody_reads_are_let_go(desk, command, monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        monkeypatch.setattr(sys, "stderr", closed)
        code, out, _ = command(["predict", desk / "one", "--file", desk / "good.csv", "--json"])
    assert code == 0
    assert len(json.loads(out)) == 60


@pytest.mark.slow
def test_notes_that_nobody_reads_do_not_end_a_command(desk, start, end):
    read, write = os.pipe()
    process = start("predict", desk / "one", "--file", desk / "good.csv", "--json", stderr=write)
    os.close(write)
    os.close(read)
    code, out, _ = end(process)
    assert code == 0
    assert len(json.loads(out)) == 60


def test_an_old_terminal_still_gets_every_label(desk, tmp_path, command, monkeypatch):
    rows = [(text, "süß ✓" if label == "positive" else "нет") for text, label in rows_of(40)]
    data = write_csv(tmp_path / "data.csv", rows)
    assert command(["adapt", data, "--base", desk / "base", "--method", "full", "--epochs", "1", "--out", tmp_path / "run"])[0] == 0
    shown = io.BytesIO()
    with io.TextIOWrapper(shown, encoding="ascii") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        code, _, err = command(["predict", tmp_path / "run", "a film"])
        assert code == 0, err
        terminal.flush()
        assert b"\\u" in shown.getvalue() or b"\\x" in shown.getvalue()


@pytest.mark.slow
def test_no_memory_left_is_one_message(desk, start, end):
    rows = [("good film " * 6, "a" if i % 2 else "b") for i in range(40)]
    data = write_csv(desk / "wide.csv", [(f"{text} {i}", label) for i, (text, label) in enumerate(rows)])

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))

    line = ["--base", desk / "base", "--method", "lora", "--set", "method.r=4000000", "--epochs", "1", "--out", "run"]
    process = start("adapt", data, *line, preexec_fn=limit)
    code, _, err = end(process)
    assert code == 1, err
    assert "memory" in err.splitlines()[-2] + err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_disk_that_fills_up_keeps_what_was_saved(desk, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = ["adapt", desk / "good.csv", "--base", desk / "base", "--method", "full", "--epochs", "4", "--out", "run"]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        code, _, err = command([*line, "--set", "training.checkpoint_steps=1"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 1
    assert "could not write" in err
    assert "free some space" in err
    assert not list((tmp_path / "run").rglob("*.part"))
    code, _, err = command("run run/recipe.yaml --resume")
    assert code == 0, err
