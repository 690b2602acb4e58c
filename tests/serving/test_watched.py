"""A folder of models is kept in step: what appears, changes, is refused, or goes."""

import io
import json
import shutil
from types import SimpleNamespace

import pytest
from tests.serving.fake_engine import FakeEngine

from rootstock.core.errors import UsageError
from rootstock.serving import watched
from rootstock.serving.journal import Journal
from rootstock.serving.watched import Watched


@pytest.fixture
def place(tmp_path):
    lines = io.StringIO()
    journal, engine = Journal(lines), FakeEngine()
    engine.held.clear()

    class Place:
        folder, held = tmp_path, engine.held
        watched = Watched(tmp_path, engine, journal, taken=["mine"])

        def run(self, name, content="{}"):
            (tmp_path / name / "model").mkdir(parents=True, exist_ok=True)
            (tmp_path / name / "manifest.json").write_text(content)
            return tmp_path / name

        def looks(self, count=1):
            for _ in range(count):
                self.watched.look()
            return sorted(engine.held)

        def log(self):
            journal.close()
            return [(line["event"], line["model"]) for line in map(json.loads, lines.getvalue().splitlines())]

    return Place()


def test_what_is_there_at_first_is_served_at_once(place):
    for name in ("a", "b", "mine", "a:b", ".part"):
        place.run(name)
    (place.folder / "half").mkdir()
    assert place.looks() == ["a", "b"]


def test_what_appears_changes_and_goes(place):
    assert place.looks() == []
    place.run("a")
    assert place.looks() == []  # it may still be copied
    assert place.looks() == ["a"]
    before = place.held["a"]
    place.run("a", "{ }")
    place.looks()
    assert place.held["a"] is before
    place.looks()
    assert place.held["a"] is not before
    again = place.held["a"]
    place.looks(3)
    assert place.held["a"] is again
    shutil.rmtree(place.folder / "a")
    assert place.looks() == []
    assert place.log() == [("model_added", "a"), ("model_changed", "a"), ("model_gone", "a")]


def test_what_is_refused_is_tried_again_when_it_changes(place):
    place.looks()
    run = place.run("a")
    (run / "refused").touch()
    assert place.looks(5) == []
    (run / "refused").unlink()
    assert place.looks(2) == ["a"]
    (run / "refused").touch()
    assert place.looks(5) == ["a"]  # what was served still is
    assert place.log() == [("model_refused", "a"), ("model_added", "a"), ("model_refused", "a")]


def test_a_folder_that_goes_away_as_a_whole(place):
    place.run("a")
    assert place.looks() == ["a"]
    shutil.rmtree(place.folder)
    assert place.looks() == []


@pytest.mark.parametrize("gone", ["while it is read", "later"])
def test_what_was_refused_and_went_away_is_read_when_it_is_back_as_it_was(place, monkeypatch, gone):
    place.looks()
    run, aside = place.run("a"), place.folder / ".aside"
    place.looks()
    with monkeypatch.context() as patch:

        def refuse(engine, name, folder):
            if gone == "while it is read":
                run.rename(aside)
            raise UsageError("its files are not there")

        patch.setattr(FakeEngine, "add", refuse)
        place.looks()
    if gone == "later":
        run.rename(aside)
        place.looks()
    aside.rename(run)
    assert place.looks(2) == ["a"]


def test_looks_that_take_long_are_further_apart(place, monkeypatch):
    clock = iter([0.0, 0.01, 5.0, 5.2])
    monkeypatch.setattr(watched, "time", SimpleNamespace(thread_time=lambda: next(clock)))
    pauses = [place.watched.look() or place.watched.pause for _ in range(2)]
    assert pauses == [1.0, pytest.approx(4.0)], "a twentieth of a core at most"
