import ctypes
import os
import subprocess
import sys

import pytest

from rootstock.core import resources

HOLES = """
import rootstock
import torch

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

del_first = torch.ones(6 << 20)  # 24 MB, after whose free glibc by itself would keep what is smaller
del del_first
before, large, small = resident(), [], []
for _ in range(20):
    large.append(torch.ones(2 << 20))
    small.append(torch.ones(1 << 10))
most = resident()
del large
print(most - before, resident() - before)
"""

THREADS = """
import threading
import rootstock
import torch

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def held():
    tensors = [torch.ones(1 << 17) for _ in range(64)]  # 32 MB in pieces that no threshold touches
    del tensors
    freed.release()
    over.wait()

before, freed, over = resident(), threading.Semaphore(0), threading.Event()
threads = [threading.Thread(target=held) for _ in range(8)]
for each in threads:
    each.start()
    freed.acquire()
print(resident() - before)
over.set()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's")
@pytest.mark.parametrize(("chosen", "given_back"), [({}, True), pytest.param({"MALLOC_ARENA_MAX": "8"}, False, marks=pytest.mark.slow)])
def test_freed_tensors_go_back_to_the_system_unless_the_user_chose(chosen, given_back):
    found = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True, env={**os.environ, **chosen})
    most, left = map(int, found.stdout.split())
    assert most > 150e6
    assert (left < 0.1 * most) == given_back


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's")
@pytest.mark.skipif(resources.usable_cores() > 4, reason="there are as many arenas as threads")
def test_what_one_thread_freed_serves_the_next():
    found = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 8 * 32e6 / 2


KEPT = """
import rootstock
import torch

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

pieces = [torch.ones(1 << 17) for _ in range(128)]  # 64 MB in pieces that no threshold touches
last, before = torch.ones(1 << 10), resident()
del pieces
kept = before - resident()
rootstock.core.resources.give_back()
print(kept, before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's")
def test_what_is_kept_of_freed_memory_is_given_back_when_asked():
    found = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    kept, given = map(int, found.stdout.split())
    assert kept < 16e6 < 48e6 < given


def test_what_the_user_chose_of_the_allocator_stays(monkeypatch):
    told = []
    library = type("C", (), {"mallopt": lambda self, *given: told.append(given)})
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library())
    monkeypatch.setattr(resources.platform, "system", lambda: "Linux")
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    resources.prepare_memory()
    assert len(told) == 3
    monkeypatch.setenv("MALLOC_ARENA_MAX", "8")
    resources.prepare_memory()
    assert len(told) == 3
