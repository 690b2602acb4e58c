"""--overwrite of every kind of verb: what it replaces is back where the new one never learned, told by stand-ins that fail at each step."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.folders import contents, laid

from rootstock.core import aside
from rootstock.core.errors import Interrupted, RunFailed, UsageError, WriteFailed
from rootstock.core.recipe import Recipe
from rootstock.core.runfolder import RunFolder, built
from rootstock.core.watch import Watch
from rootstock.corpus import build
from rootstock.corpus.pipeline import CorpusSettings
from rootstock.run.use import Run
from rootstock.verbs import api, arms_results, compare_methods, compare_place, stages

OLD = {"manifest.json": "{}", "recipe.yaml": "old", "ledger.json": "{}", "model/weights": "old"}


@pytest.fixture
def run(tmp_path):
    return laid(tmp_path / "run", OLD)


def breaking(at):
    """A run that fails at one of its steps, or not at all."""

    def execute(prepared, folder, watch, **_):
        if at == "at once":
            raise WriteFailed("the disk is full")
        (folder.path / "recipe.yaml").write_text("new")
        (folder.path / "ledger.json").write_text("{}")
        if at == "begun":
            raise WriteFailed("the disk is full")
        if at == "stopped":
            raise Interrupted("stopped")
        if at == "stopped at once":
            raise KeyboardInterrupt
        watch.event({"event": "step", "step": 1})
        if at == "learning":
            raise RunFailed("it broke")
        (folder.path / "manifest.json").write_text("{}")

    return execute


@pytest.mark.parametrize("at", ["at once", "begun", "stopped", "stopped at once", "learning", "never"])
def test_a_run_is_back_until_the_new_one_has_learned(run, monkeypatch, at):
    before, base = contents(run), SimpleNamespace(base=SimpleNamespace(folder=None))
    monkeypatch.setattr(api, "admitted", lambda recipe, watch: base)
    monkeypatch.setattr(api, "execute", breaking(at))
    recipe = Recipe.build({"base": "scratch:bert-tiny", "data": {"train": "reviews.csv"}}, "")
    if at == "never":
        api.carry_out(recipe, run, Watch(), overwrite=True)
    else:
        with pytest.raises((WriteFailed, RunFailed, Interrupted, KeyboardInterrupt)):
            api.carry_out(recipe, run, Watch(), overwrite=True)
    if at in ("learning", "never"):
        assert (run / "recipe.yaml").read_text() == "new"
        assert not (run / "model").exists()
    else:
        assert contents(run) == before
    assert not [each for each in run.iterdir() if each.name.endswith(".part")]


def test_a_run_that_starts_from_what_it_would_replace_is_refused(run, monkeypatch):
    before, base = contents(run), SimpleNamespace(base=SimpleNamespace(folder=(run / "model").resolve()))
    monkeypatch.setattr(api, "admitted", lambda recipe, watch: base)
    with pytest.raises(UsageError, match="base of this very run"):
        api.carry_out(Recipe.build({"data": {"train": "reviews.csv"}}, ""), run, Watch(), overwrite=True)
    assert contents(run) == before


def test_a_kill_before_the_first_update_leaves_a_run_that_can_go_on_or_be_replaced(run, monkeypatch):
    before = contents(run)
    aside.put(run)
    (run / "recipe.yaml").write_text("new")
    (run / "ledger.json").write_text("{}")
    monkeypatch.setattr(api, "admitted", lambda recipe, watch: SimpleNamespace(base=SimpleNamespace(folder=None)))
    recipe = Recipe.build({"base": "scratch:bert-tiny", "data": {"train": "reviews.csv"}}, "")
    with pytest.raises(UsageError, match="a run that has not ended"):
        api.carry_out(recipe, run, Watch())
    assert aside.waits(run), "a refusal decides nothing"
    monkeypatch.setattr(api, "execute", breaking("at once"))
    with pytest.raises(WriteFailed):
        api.carry_out(recipe, run, Watch(), resume=True)
    assert contents(run) == before


@pytest.mark.parametrize("learns", [False, True])
def test_stages_replace_a_run_once_the_first_has_learned(run, monkeypatch, learns):
    def carried_out(recipe, state, watch):
        (run / "stages" / "1-a").mkdir(parents=True)
        if learns:
            watch.event({"event": "step", "step": 1})
        raise RunFailed("it broke")

    before = contents(run)
    for name in ("_check_begun", "_try"):
        monkeypatch.setattr(stages, name, lambda *_: None)
    monkeypatch.setattr(stages, "_carry_all_out", carried_out)
    one = {"task": {"name": "masked-lm"}, "data": {"train": "texts.txt"}}
    recipe = built({"base": "scratch:bert-tiny", "stages": [one, {"data": {"train": "reviews.csv"}}]})
    with pytest.raises(RunFailed):
        stages.carry_out(recipe, run, Watch(), overwrite=True)
    assert (contents(run) == before) != learns
    assert RunFolder(run).begun


@dataclass(frozen=True)
class _Settled:
    folder: Path


@pytest.mark.parametrize("at", ["settling", "racing", "learning"])
def test_a_comparison_is_back_until_the_new_one_has_learned(tmp_path, monkeypatch, at):
    out = tmp_path / "compare"
    (out / "data").mkdir(parents=True)
    for name in (compare_place.STATE, "compare.json", "data/rows"):
        (out / name).write_text("old")
    before = contents(out)

    def settle(plan, folder, watch):
        (folder / "data").mkdir()
        (folder / compare_place.STATE).write_text("new")
        if at == "settling":
            raise WriteFailed("the disk is full")
        return _Settled(folder)

    class Race:
        def __init__(self, settled, watch):
            self.watch = watch

        def run(self):
            assert (out / compare_place.STATE).read_text() == "new"
            if at == "learning":
                self.watch.event({"event": "step", "step": 1})
            raise WriteFailed("the disk is full")

    for name, stand_in in (("check_place", lambda *_: True), ("settle", settle), ("Race", Race)):
        monkeypatch.setattr(compare_methods, name, stand_in)
    with pytest.raises(WriteFailed):
        compare_methods.compare(None, out, Watch(), overwrite=True)
    assert (contents(out) == before) == (at != "learning")
    assert not [each for each in out.iterdir() if each.name.endswith(".part")]


@pytest.mark.parametrize("learns", [False, True])
def test_a_comparison_is_back_where_nothing_of_the_new_one_came_to_its_end(tmp_path, monkeypatch, learns):
    out = tmp_path / "compare"
    out.mkdir()
    for name in (compare_place.STATE, "compare.json"):
        (out / name).write_text("old")
    before = contents(out)

    def settle(plan, folder, watch):
        (folder / compare_place.STATE).write_text("new")
        return _Settled(folder)

    class Race:
        failed, left = {("full", None): "no memory left"}, ()

        def __init__(self, settled, watch):
            self.settled, self.watch = SimpleNamespace(points=(None,), arms=(SimpleNamespace(key="full", name="full"),)), watch

        def run(self):
            if learns:
                self.watch.event({"event": "step", "step": 1})

        def winner(self, rows):
            return None

    for name, stand_in in (("check_place", lambda *_: True), ("settle", settle), ("Race", Race)):
        monkeypatch.setattr(compare_methods, name, stand_in)
    for owner, name, made in ((arms_results, "found", {}), (arms_results, "table", ""), (compare_methods.page, "render", "")):
        monkeypatch.setattr(owner, name, lambda _, made=made: made)
    with pytest.raises(RunFailed, match="full: no memory left") as raised:
        compare_methods.compare(SimpleNamespace(keep=None), out, Watch(), overwrite=True)
    assert (contents(out) == before) != learns
    assert ("before is back" in raised.value.fix) != learns
    assert not [each for each in out.iterdir() if each.name.endswith(".part")]


@pytest.mark.parametrize("at", ["reading", "second part"])
def test_a_corpus_is_back_until_the_first_part_of_the_new_one_is_there(tmp_path, monkeypatch, at):
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_text("\n\n".join(f"A {name} sentence that is long enough to stay, number {i}." for i in range(4)))
    out, plain = tmp_path / "corpus", {"quality": "none", "near_duplicates": 0, "languages": ()}
    build.build(CorpusSettings(sources=(str(tmp_path / "one.txt"),), **plain), out, Watch())
    before, real = contents(out), build.parts.write

    def broken(*args):
        if at == "second part":
            real(*args)
        raise WriteFailed("the disk is full")

    monkeypatch.setattr(build.parts, "write", broken)
    other = CorpusSettings(sources=(str(tmp_path / "two.txt"),), **plain)
    with pytest.raises(WriteFailed):
        build.build(other, out, Watch(), overwrite=True)
    assert (contents(out) == before) == (at == "reading")
    monkeypatch.undo()
    build.build(other, out, Watch(), overwrite=True)
    assert not [each for each in out.iterdir() if each.name.endswith(".part")]


def test_what_waits_in_a_folder_of_another_kind_is_left_to_those_who_put_it_there(run, tmp_path):
    compared = tmp_path / "compared"
    (compared / aside.OLD).mkdir(parents=True)
    for name in (compare_place.STATE, "mine.txt", f"{aside.OLD}/{compare_place.STATE}"):
        (compared / name).write_text("{}")
    before = contents(compared)
    with pytest.raises(UsageError):
        Run(compared)
    assert contents(compared) == before
    aside.put(run)
    (run / "recipe.yaml").write_text("new")
    before = contents(run)
    compare_place.mend(run)
    assert contents(run) == before
