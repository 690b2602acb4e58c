"""What is replaced is back, or the new one can be gone on with, wherever a process was killed: told by stand-ins that die at each step."""

import errno
import shutil
from pathlib import Path

import pytest
from tests.folders import contents, laid

from rootstock.core import aside
from rootstock.core.errors import Interrupted, WriteFailed
from rootstock.core.runfolder import RunFolder
from rootstock.core.watch import Watch

OLD = {"manifest.json": "{}", "recipe.yaml": "old", "ledger.json": "{}", "history.jsonl": '{"event": "step"}', "model/weights": "old"}
NEW = ("recipe.yaml", "ledger.json", "history.jsonl", "manifest.json")


class Killed(BaseException):
    """What no handler of the process that is killed may mend."""


@pytest.fixture
def run(tmp_path):
    return laid(tmp_path / "run", OLD)


@pytest.fixture
def dying(monkeypatch):
    """From the given operation on nothing is renamed, made or removed any more; a folder that goes then is half gone."""

    def patched(at):
        left = [at]

        def dies(name, real):
            def tried(path, *args, **more):
                if not left[0]:
                    if name == "rmtree" and (held := sorted(each for each in Path(path).rglob("*") if each.is_file())):
                        held[0].open("w").close()
                    raise Killed
                left[0] -= 1
                return real(path, *args, **more)

            return tried

        context = pytest.MonkeyPatch.context()
        patch = context.__enter__()
        for owner, name in ((Path, "rename"), (Path, "mkdir"), (Path, "rmdir"), (Path, "unlink"), (shutil, "rmtree")):
            patch.setattr(owner, name, dies(name, getattr(owner, name)))
        return context, left

    return patched


def begin(place, watch):
    """What a run writes, from its first file to its last."""
    (place / "recipe.yaml").write_text("new")
    (place / "ledger.json").write_text("{}")
    (place / "history.jsonl").write_text('{"event": "step"}')
    watch.event({"event": "step"})
    (place / "manifest.json").write_text("{}")


def replaced(place):
    aside.put(place)
    with aside.kept(place) as heard:
        begin(place, heard)


def broken(place, error, *, written=(), learned=False):
    """A run that fails once it has written so much."""
    with aside.kept(place) as heard:
        for name in written:
            (place / name).write_text("new")
        if learned:
            heard.event({"event": "step"})
        raise error


def mended(place):
    folder = RunFolder(place)
    aside.mend(place, begun=folder.begun, learned=folder.begun and folder.learned)
    return contents(place)


def test_what_is_replaced_goes_with_the_first_update(run):
    aside.put(run)
    with aside.kept(run) as heard:
        (run / "recipe.yaml").write_text("new")
        heard.event({"event": "memory"})
        assert aside.waits(run)
        heard.event({"event": "step"})
        assert contents(run) == {"recipe.yaml": "new"}


def test_what_is_fitted_at_once_has_learned_when_it_is_measured(run):
    told = []
    aside.put(run)
    with aside.kept(run, Watch(judged=told.append)) as heard:
        heard.judged({})
        assert not aside.waits(run)
    assert told == [{}]


@pytest.mark.parametrize("written", range(len(NEW)))
@pytest.mark.parametrize(
    "error", [WriteFailed("full"), KeyboardInterrupt(), Interrupted("stopped", fix="go on")], ids=lambda each: type(each).__name__
)
def test_what_fails_before_the_first_update_brings_it_back(run, written, error):
    aside.put(run)
    with pytest.raises(type(error)) as raised:
        broken(run, error, written=NEW[:written])
    assert contents(run) == OLD
    assert [each.name for each in run.iterdir() if each.name.endswith(".part")] == []
    if isinstance(error, Interrupted):
        assert raised.value.fix == "what lay there before is back; give the same command again"


def test_what_fails_after_it_leaves_the_new_one(run):
    aside.put(run)
    with pytest.raises(WriteFailed):
        broken(run, WriteFailed("full"), written=NEW[:1], learned=True)
    assert contents(run) == {"recipe.yaml": "new"}


def test_killed_anywhere_it_is_the_old_one_or_the_new_one_that_can_go_on(run, dying, tmp_path):
    shutil.copytree(run, tmp_path / "kept")
    ends, at, left = set(), 0, [0]
    while not left[0]:
        shutil.rmtree(run)
        shutil.copytree(tmp_path / "kept", run)
        context, left = dying(at)
        try:
            replaced(run)
        except Killed:
            pass
        finally:
            context.__exit__(None, None, None)
        found = mended(run)
        if found == OLD:
            ends.add("old")
        else:
            new = {name: text for name, text in found.items() if ".part/" not in name}
            assert RunFolder(run).begun
            assert new["recipe.yaml"] == "new"
            assert "model/weights" not in new
            ends.add("new")
        at += 1
    assert ends == {"old", "new"}
    assert at > len(OLD)


def test_killed_while_it_comes_back_it_comes_back_at_the_next_call(run, dying, tmp_path):
    shutil.copytree(run, tmp_path / "kept")
    at, left = 0, [0]
    while not left[0]:
        shutil.rmtree(run)
        shutil.copytree(tmp_path / "kept", run)
        aside.put(run)
        (run / "recipe.yaml").write_text("new")
        (run / "model").mkdir()
        (run / "model" / "weights").write_text("new")
        context, left = dying(at)
        try:
            aside.back(run)
        except Killed:
            pass
        finally:
            context.__exit__(None, None, None)
        assert mended(run) == OLD, at
        at += 1
    assert at > len(OLD)


def test_a_new_one_that_never_learned_may_be_replaced_as_well(run):
    aside.put(run)
    (run / "recipe.yaml").write_text("second")
    (run / "ledger.json").write_text("{}")
    assert mended(run)["recipe.yaml"] == "second", "it can be gone on with"
    aside.put(run)
    with pytest.raises(WriteFailed):
        broken(run, WriteFailed("full"), written=NEW[:1])
    assert contents(run) == OLD


def test_a_reader_finds_what_a_kill_left_half_moved(run, dying):
    context, _ = dying(3)
    with pytest.raises(Killed):
        aside.put(run)
    context.__exit__(None, None, None)
    assert not RunFolder(run).complete
    aside.restore(run, begun=RunFolder(run).begun)
    assert contents(run) == OLD


def test_what_can_not_be_moved_leaves_all_in_its_place(run, monkeypatch):
    real = Path.rename

    def rename(path, target):
        if path == run / "model":
            raise OSError(errno.EBUSY, "a disk of its own")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(WriteFailed, match="a disk of its own"):
        aside.put(run)
    assert contents(run) == OLD
    assert not [each.name for each in run.iterdir() if each.name.endswith(".part")]


def test_what_lies_in_the_target_of_a_link_stays_on_its_disk(run, tmp_path):
    (tmp_path / "link").symlink_to(run)
    replaced(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert set(contents(run)) == set(NEW)
