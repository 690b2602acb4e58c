"""A worker knows who started it: it goes with that process, and tells a launch that is not what was meant."""

import os
import signal
import subprocess
import sys
import time

import pytest

from rootstock.core import worker
from rootstock.core.errors import UsageError

_WORKER = "import sys, time; from rootstock.core.worker import bound; bound(int(sys.argv[1])); print(1, flush=True); time.sleep(60)"
_STARTER = """
import os, subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdout=subprocess.PIPE)
worker.stdout.readline()
print(worker.pid, flush=True)
worker.wait()
"""


def test_a_worker_ends_with_the_process_that_started_it():
    starter = subprocess.Popen([sys.executable, "-c", _STARTER, _WORKER], stdout=subprocess.PIPE, text=True)
    child = int(starter.stdout.readline())
    os.kill(child, 0)
    starter.kill()
    starter.wait()
    until = time.monotonic() + 20
    while _runs(child) and time.monotonic() < until:
        time.sleep(0.02)
    gone = not _runs(child)
    if not gone:
        os.kill(child, signal.SIGKILL)
    starter.stdout.close()
    assert gone, "it would go on writing where the next one begins"


def _runs(pid):
    """Whether there is such a process that has not ended: one that nobody has waited for yet has."""
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_patience_is_a_number_of_minutes(monkeypatch):
    monkeypatch.delenv(worker.PATIENCE, raising=False)
    assert worker.patience_minutes() == 30
    monkeypatch.setenv(worker.PATIENCE, "0.5")
    assert worker.patience_minutes() == 0.5
    for wrong in ("soon", "0", "-1", "nan", "inf", "1e12", "10080.1"):
        monkeypatch.setenv(worker.PATIENCE, wrong)
        with pytest.raises(UsageError, match=worker.PATIENCE):
            worker.patience_minutes()


@pytest.mark.parametrize(
    ("told", "warned"),
    [
        ({"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"}, True),
        ({"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1", "RANK": "0"}, False),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, False),
        ({"MASTER_ADDR": "127.0.0.1"}, False),
    ],
    ids=["one-of-several", "a-worker", "one-as-meant", "no-accelerate"],
)
def test_one_process_where_several_were_asked_for_is_said(monkeypatch, told, warned):
    for name in ("ACCELERATE_MIXED_PRECISION", "MASTER_ADDR", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert ("--multi_gpu" in worker.misled()) == warned
