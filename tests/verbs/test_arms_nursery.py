"""The process that forks one for each training: what it says of their ends, and that nothing of them stays."""

import os
import time
from pathlib import Path

import pytest

from rootstock.core.watch import Watch
from rootstock.verbs import arms_nursery

CODE = """
import os, signal, sys, types
import rootstock.verbs
from rootstock.verbs import arms_nursery
made = types.ModuleType("rootstock.verbs.arms_child")
def main(order):
    what = order["what"]
    tell = lambda text: os.write(1, (text + "\\n").encode())
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "cut short":
        os.write(1, b'{"event": {"ev')
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "broken":
        raise ValueError("broken by itself")
    if what == "stop":
        tell('{"event": {"event": "step"}}')
        heard = os.read(0, 64).strip().decode()
        tell('{"done": {"heard": "%s"}}' % heard)
    elif what == "waits":
        tell('{"event": {"event": "step", "pid": %d}}' % os.getpid())
        os.read(0, 64)
    else:
        print("said beside", file=sys.stderr)
        tell('{"done": {"pid": %d, "from": %d}}' % (os.getpid(), os.getppid()))
made.main = main
sys.modules[made.__name__] = rootstock.verbs.arms_child = made
arms_nursery._LIBRARIES = ()
arms_nursery.main()
"""


@pytest.fixture
def nursery(monkeypatch):
    monkeypatch.setattr(arms_nursery, "_CODE", CODE)
    found = arms_nursery.Nursery()
    yield found
    found._end(kill=True)


def test_each_order_has_a_process_of_its_own_from_the_same_one(nursery, tmp_path):
    told = [nursery.carried_out({"what": "it"}, tmp_path / f"{number}.stderr", Watch()) for number in range(2)]
    assert [code for _, code in told] == [0, 0]
    first, second = (last["done"] for last, _ in told)
    assert first["pid"] != second["pid"]
    assert first["from"] == second["from"] != os.getpid()
    assert (tmp_path / "1.stderr").read_text() == "said beside\n"


def test_one_that_ends_without_a_word_is_told_by_its_code_and_the_next_goes_on(nursery, tmp_path):
    assert nursery.carried_out({"what": "killed"}, tmp_path / "a", Watch()) == ({}, -9)
    assert nursery.carried_out({"what": "cut short"}, tmp_path / "a", Watch()) == ({}, -9)
    assert nursery.carried_out({"what": "broken"}, tmp_path / "b", Watch()) == ({}, 1)
    assert (tmp_path / "b").read_text().endswith("ValueError: broken by itself\n")
    assert "done" in nursery.carried_out({"what": "it"}, tmp_path / "c", Watch())[0]


def test_who_is_asked_to_stop_hears_it_once(nursery, tmp_path):
    assert nursery.carried_out({"what": "stop"}, tmp_path / "a", Watch(stop=lambda: True)) == ({"done": {"heard": "stop"}}, 0)
    assert "done" in nursery.carried_out({"what": "it"}, tmp_path / "b", Watch(stop=lambda: True))[0]
    assert "done" in nursery.carried_out({"what": "it"}, tmp_path / "c", Watch())[0]


def test_what_breaks_here_leaves_no_process_behind(nursery, tmp_path):
    seen = []

    def broken(told):
        seen.append(told["pid"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nursery.carried_out({"what": "waits"}, tmp_path / "a", Watch(event=broken))
    deadline = time.monotonic() + 20  # whoever adopts it has to bury it first
    while _alive(seen[0]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _alive(seen[0])


def _alive(pid):
    line = Path(f"/proc/{pid}/cmdline")
    try:
        return bool(line.read_bytes())
    except OSError:
        return False


def test_a_reader_of_events_that_has_gone_is_no_end_of_the_training(nursery, tmp_path):
    def gone(told):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        nursery.carried_out({"what": "stop"}, tmp_path / "a", Watch(event=gone))
    assert "done" in nursery.carried_out({"what": "it"}, tmp_path / "b", Watch())[0]


def test_another_environment_has_another_process(nursery, tmp_path, monkeypatch):
    first, _ = nursery.carried_out({"what": "it"}, tmp_path / "a", Watch())
    monkeypatch.setenv("ROOTSTOCK_TRIED", "1")
    second, _ = nursery.carried_out({"what": "it"}, tmp_path / "b", Watch())
    assert first["done"]["from"] != second["done"]["from"]


def test_a_late_stop_is_no_order(nursery, tmp_path):
    process = nursery._ready(tmp_path / "a")
    process.stdin.write("stop\n")
    assert "done" in nursery.carried_out({"what": "it"}, tmp_path / "a", Watch())[0]
