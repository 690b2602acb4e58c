"""Two writers never meet in a folder, and nobody waits for the dead."""

import os
import signal
import subprocess
import sys
import time

import pytest

from rootstock.core import artifact, lock
from rootstock.core.errors import UsageError

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom rootstock.core.lock import alone\n"
    "with alone(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
)


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "run"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_is_told_who_the_first_is_and_a_dead_one_is_not_waited_for(holder, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_PATIENCE", 0.1)
    with pytest.raises(UsageError, match=f"process {holder.pid} on .* is writing to .*run") as busy, lock.alone(tmp_path / "run"):
        pytest.fail("both write")
    assert busy.value.exit_code == 2
    with lock.alone(tmp_path / "other"):
        pass
    monkeypatch.setattr(lock, "_PATIENCE", 5.0)
    os.kill(holder.pid, signal.SIGKILL)
    begun = time.monotonic()
    with lock.alone(tmp_path / "run"):
        assert time.monotonic() - begun < 2
        assert (tmp_path / ".run.lock").exists()
    assert not list(tmp_path.iterdir()), "nothing is left lying"


def test_in_one_process_too_and_by_whatever_name(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_PATIENCE", 0.0)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "run")
    with lock.alone(tmp_path / "deep" / "run"):
        with pytest.raises(UsageError, match="is writing"), lock.alone(tmp_path / "link"):
            pytest.fail("both write")
        (tmp_path / "deep" / "run").mkdir()
    assert [each.name for each in (tmp_path / "deep").iterdir()] == ["run"]


def test_a_place_where_no_lock_can_be_made_is_no_reason_to_fail(tmp_path):
    (tmp_path / "file").write_text("")
    with lock.alone(tmp_path / "file" / "run"):
        pass


def test_a_kill_while_a_folder_is_replaced_loses_neither(tmp_path, monkeypatch):
    target = tmp_path / "model"
    with artifact.whole_folder(target) as beside:
        (beside / "weights").write_text("old")
    real, names = type(target).rename, []

    def dies(self, new):
        names.append(new.name)
        if len(names) == 2:
            raise KeyboardInterrupt  # the first name is given, the second is not
        return real(self, new)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(target), "rename", dies)
        with pytest.raises(KeyboardInterrupt), artifact.whole_folder(target) as beside:
            (beside / "weights").write_text("new")
    with pytest.raises(ZeroDivisionError), artifact.whole_folder(target) as beside:
        raise ZeroDivisionError
    assert (target / "weights").read_text() == "old"
    with artifact.whole_folder(target) as beside:
        (beside / "weights").write_text("new")
    assert [each.name for each in tmp_path.iterdir()] == ["model"]
    assert (target / "weights").read_text() == "new"
