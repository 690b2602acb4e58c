"""rootstock deploy --ray: what Ray is asked for, what is refused before, and, where Ray is there, the application itself."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from rootstock.cli.main import main
from rootstock.core.errors import RunFailed, UsageError
from rootstock.serving.limits import Limits
from rootstock.serving.settings import EngineSettings
from rootstock.verbs import deploy as verb
from rootstock.verbs.deploy import Plan, Size
from rootstock.verbs.serving import Asked


def told(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["rootstock", "deploy", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().err


def test_how_many():
    assert [Size.read(text) for text in ("1", "3", "1-8", "0-2")] == [
        Size(least=1, most=1), Size(least=3, most=3), Size(least=1, most=8), Size(least=0, most=2)
    ]  # fmt: skip
    for wrong in ("", "0", "-1", "8-1", "1-", "-", "a", "1.5", "1-8-9", "²"):
        with pytest.raises(UsageError, match="--replicas"):
            Size.read(wrong)


def test_what_ray_is_asked_for():
    plan = Plan(asked=Asked(runs=["a"]), size=Size(least=1, most=8), cpus=4, ongoing=16)
    options = plan.models_options()
    assert options["autoscaling_config"] == {"min_replicas": 1, "initial_replicas": 1, "max_replicas": 8, "target_ongoing_requests": 16}
    assert options["ray_actor_options"] == {"num_cpus": 4, "num_gpus": 0}
    assert options["max_queued_requests"] == options["max_ongoing_requests"] == Limits().requests
    assert plan.engine == EngineSettings(threads=4)
    assert plan.door_options()["autoscaling_config"]["max_replicas"] == 8
    counted = Plan(asked=Asked(runs=["a"], limits=Limits(rate=60), engine=EngineSettings(threads=2)), size=Size(least=2, most=2), cpus=4)
    assert (counted.engine.threads, counted.models_options()["num_replicas"], counted.door_options()["num_replicas"]) == (2, 2, 1)


def test_wrong_usage(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert "wanted: --ray" in told(monkeypatch, capsys, tmp_path)[1]
    for words, said in (
        ((), "there is nothing to serve"),
        ((tmp_path, "--detach"), "RAY_ADDRESS"),
        ((tmp_path, "--replicas", "8-1"), "--replicas 8-1"),
        ((tmp_path, "--cpus", "0"), "--cpus is 0"),
        ((tmp_path, "--set", "deadline=5"), "deadline_ms"),
    ):
        code, error = told(monkeypatch, capsys, "--ray", *words)
        assert (code, said in error) == (2, True), error


def test_without_ray_it_is_said_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, error = told(monkeypatch, capsys, tmp_path, "--ray")
    assert code == 2
    assert "pip install 'rootstock[ray]'" in error


@pytest.mark.parametrize(("detach", "gone"), [(False, ["rootstock"]), (True, [])])
def test_what_does_not_come_up_is_left_on_no_cluster(monkeypatch, tmp_path, detach, gone):
    deleted = []

    def run(made, **named):
        raise RuntimeError("a deployment is not healthy")

    stand_in(monkeypatch, {}, run=run, delete=deleted.append)
    with pytest.raises(RunFailed, match="a deployment is not healthy"):
        verb.deploy(Plan(asked=Asked(runs=[str(tmp_path)]), detach=detach), print)
    assert deleted == gone


def stand_in(monkeypatch, running, **doing):
    """In place of Ray Serve on a cluster where these applications run."""
    serve = SimpleNamespace(start=lambda **settings: None, status=lambda: SimpleNamespace(applications=running), **doing)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    monkeypatch.setattr(verb, "needed", lambda name, *_, **more: serve)
    monkeypatch.setattr(verb.on_ray, "session", lambda ray, **more: nullcontext())
    for name in ("_folders", "_looked_at", "_check_room", "application"):
        monkeypatch.setattr(verb, name, lambda *_: [])


@pytest.mark.parametrize("detach", [False, True])
def test_what_runs_on_a_cluster_is_replaced_only_where_that_is_asked_for(monkeypatch, tmp_path, detach):
    done = []
    stand_in(monkeypatch, {"rootstock": "RUNNING"}, run=lambda made, **named: done.append("run"), delete=lambda name: done.append("delete"))
    monkeypatch.setattr(verb, "_until_told", lambda: None)
    plan = Plan(asked=Asked(runs=[str(tmp_path)]), detach=detach)
    with pytest.raises(UsageError, match=r"a deployment runs on 127\.0\.0\.1:6379 already"):
        verb.deploy(plan, print)
    assert not done, "neither replaced nor ended"
    verb.deploy(replace(plan, overwrite=True), print)
    assert done == (["run"] if detach else ["run", "delete"])


def test_folders_are_absolute_and_bases_keep_their_names(monkeypatch, tmp_path):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    found = verb._folders(Asked(runs=["runs/a", "vectors=minilm"]))
    assert found == {"a": tmp_path / "runs" / "a", "vectors": Path("minilm")}


def asked(port, path, body):
    content = json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_the_application_itself(desk, tmp_path):
    if find_spec("ray") is None:  # imported here it would not yet know that tokens are asked for, and later tests start it
        pytest.skip("needs the extra ray")
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    words = [sys.executable, "-m", "rootstock", "deploy", "--ray", desk / "one", desk / "adapter", "--port", port]
    with (tmp_path / "said").open("w") as said:
        started = subprocess.Popen([str(word) for word in words], env=environment, stderr=said)
    try:
        while "serving" not in (told := (tmp_path / "said").read_text()):
            assert started.poll() is None, told
            time.sleep(0.2)
        from rootstock.run.use import Run

        for name in ("one", "adapter"):
            found = asked(port, f"/v1/models/{name}:predict", {"inputs": ["a good film"]})
            assert found["predictions"][0]["predicted"] == Run(desk / name).predict(["a good film"])[0]
    finally:
        started.send_signal(signal.SIGTERM)
        assert started.wait(120) == 0, Path(tmp_path / "said").read_text()
