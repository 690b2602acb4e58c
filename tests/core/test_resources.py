import os
import subprocess
import sys

import pytest

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


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's")
@pytest.mark.parametrize(("chosen", "given_back"), [({}, True), ({"MALLOC_ARENA_MAX": "8"}, False)])
def test_freed_tensors_go_back_to_the_system_unless_the_user_chose(chosen, given_back):
    found = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True, env={**os.environ, **chosen})
    most, left = map(int, found.stdout.split())
    assert most > 150e6
    assert (left < 0.1 * most) == given_back
