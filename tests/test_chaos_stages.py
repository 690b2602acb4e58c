"""bench/chaos.py on tiny stages: a short form of it always, every fault of every stage among the slow ones. No promise is broken."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.worlds import _CONTEXT

BENCH = Path(__file__).parents[1] / "bench"
OURS = ("chaos", "chaos_clock", "chaos_faults", "chaos_flips", "chaos_stages", "chaos_forked", "words")


class Child:
    """As bench/chaos_forked.py's, but forked from the process of these tests that has everything imported."""

    def __init__(self, line, environment, before=None):
        self._said = [Path(environment["ROOTSTOCK_CACHE"]).with_name(f"said-{time.monotonic_ns()}.{number}") for number in (1, 2)]
        given = [str(word) for word in line], environment, [str(path) for path in self._said], before
        self._process = _CONTEXT.Process(target=_become, args=given)
        self._process.start()
        self.pid = self._process.pid
        self.returncode = None

    def send_signal(self, number):
        """To all that it has started as well."""
        while self.poll() is None and os.getpgid(self.pid) != self.pid:
            time.sleep(0.001)
        if self.poll() is None:
            os.killpg(self.pid, number)

    def poll(self):
        """Its exit code, or a signal's number, negative."""
        self.returncode = self._process.exitcode
        return self.returncode

    def communicate(self, timeout=600):
        """What it wrote."""
        self._process.join(timeout)
        if self.poll() is None:
            self.send_signal(signal.SIGKILL)
            raise TimeoutError(f"not ended after {timeout} s")
        texts = [path.read_text("utf-8", errors="replace") if path.exists() else "" for path in self._said]
        for path in self._said:
            path.unlink(missing_ok=True)
        return texts


def _become(line, environment, paths, before):
    import chaos_forked

    said = [Path(path).open("wb") for path in paths]  # noqa: SIM115  # of the command that this becomes
    chaos_forked._become(line, environment, said, before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("chaos")


@pytest.fixture
def chaos(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import chaos
    import chaos_stages

    monkeypatch.setattr(chaos_stages, "Child", Child)
    yield chaos
    for name in OURS:
        sys.modules.pop(name, None)


def tried(chaos, folder, fault, names, *, times=1):
    asked = argparse.Namespace(times=times, seed=3, folder=folder)
    found = chaos.FAULTS[fault](chaos.straight(folder, names), asked)
    assert sum(map(len, found.values())) >= len(names) * times, found
    assert chaos.broken(fault, found) == 0, found
    return found


SHORT = [("kills", ["tokenizer"]), ("two", ["tokenizer"]), ("shrink", ["corpus"])]


@pytest.mark.parametrize(("fault", "names"), SHORT, ids=[fault for fault, _ in SHORT])
def test_no_promise_is_broken(chaos, folder, fault, names):
    found = tried(chaos, folder, fault, names)
    assert not [each["left"] for some in found.values() for each in some if each.get("left")], "nothing half-written stays"


def test_a_broken_promise_is_counted(chaos):
    fine = {"outcome": "equal", "code": 0, "message": True}
    wrong = [fine | {"outcome": "other files: a"}, fine | {"message": False}, fine | {"code": 3}, fine | {"whole": "other files: b"}]
    assert chaos.broken("kills", {"adapt": [fine, fine]}) == 0
    assert chaos.broken("kills", {"adapt": [fine, *wrong]}) == len(wrong)
    assert chaos.broken("flips", {"cache": {"found": 9, "harmless": 2, "wrong": 1, "no message: KeyError": 1}}) == 2


TRAINED, ARMS = ["pretrain", "adapt"], ["compare", "search", "benchmark"]
STAGES = ["corpus", "tokenizer", *TRAINED, "export", *ARMS]
ALL = {
    "kills": STAGES,
    "two": STAGES,
    "disk": STAGES,
    "readonly": STAGES,
    "clock": STAGES,
    "shrink": ["corpus", "adapt", *ARMS],
    "memory": TRAINED,
    "nan": [*TRAINED, *ARMS],
    "hang": ["adapt"],
}


def mounts():
    """Whether small file systems can be made here."""
    return shutil.which("mount") and subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "name"), [(fault, name) for fault, names in ALL.items() for name in names])
def test_no_promise_is_broken_at_any_stage(chaos, folder, fault, name, monkeypatch):
    if fault in ("disk", "readonly") and not mounts():
        pytest.skip("needs the right to mount file systems")
    monkeypatch.setenv("ROOTSTOCK_PATIENCE_MINUTES", os.environ.get("ROOTSTOCK_PATIENCE_MINUTES", "30"))  # `hang` sets it
    tried(chaos, folder, fault, [name])
