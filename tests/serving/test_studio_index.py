"""The list of runs, from folders alone; and who may ask."""

import json
import os
import re
import time
from pathlib import Path

import pytest

from rootstock.serving.studio import index as places
from rootstock.serving.studio.index import Index
from rootstock.serving.studio.summary import summary

PAGE = Path(places.__file__).parent / "page"
METRICS = {
    "rows": 40,
    "metrics": {"macro_f1": 0.7, "accuracy": 0.8, "log_loss": 0.5},
    "intervals": {"macro_f1": [0.6, 0.8], "accuracy": [0.7, 0.9]},
    "differences": {"tfidf": {"figure": "accuracy", "difference": [0.1, 0.2]}},
    "verdict": "accuracy 0.800 beats both",
}
MANIFEST = {"task": "text-classification", "method": "lora", "base": {"name": "minilm"}, "rows": {"validation": 40}, "seed": 1}


def ended(folder, **manifest):
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text("task: {name: text-classification}\n")
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    (folder / "manifest.json").write_text(
        json.dumps(MANIFEST | {"data": {"train": {"name": "/a/b/rows.csv", "sha256": "ab" * 32}}} | manifest)
    )
    (folder / "plan.json").write_text(json.dumps({"measured": {"seconds": 12.5}}))
    return folder


def begun(folder, at=None):
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(
        "base: minilm\ntask: {name: regression}\nmethod: {name: full}\ndata: {train: [x/rows.csv, y.csv]}\n"
    )
    (folder / "ledger.json").write_text("{}")
    for each in folder.iterdir() if at else ():
        os.utime(each, (at, at))
    return folder


def test_a_run_that_has_ended_is_told_by_its_deciding_figure(tmp_path):
    seen = summary(ended(tmp_path / "one"), "one", state="ended", when=1.0)
    assert (seen.figure, seen.score, seen.interval, seen.lower) == ("accuracy", 0.8, (0.7, 0.9), False)
    assert list(seen.figures) == ["accuracy", "macro_f1"]
    assert (seen.task, seen.method, seen.base, seen.data) == ("text-classification", "lora", "minilm", "rows.csv")
    assert (seen.seconds, seen.rows) == (12.5, 40)


def test_states_come_from_the_folder(tmp_path, monkeypatch):
    ended(tmp_path / "a" / "done")
    begun(tmp_path / "now")
    begun(tmp_path / "left", at=time.time() - 3600)
    (tmp_path / "nothing").mkdir()
    found = Index(tmp_path)
    assert {seen.id: seen.state for seen in found.runs()} == {"a/done": "ended", "now": "running", "left": "interrupted"}
    assert next(seen for seen in found.runs() if seen.id == "now").data == "rows.csv …"
    with (tmp_path / "left" / "history.jsonl").open("w"):
        os.utime(tmp_path / "left" / "history.jsonl", (1, 1))
        monkeypatch.setattr(places, "_HELD_SECONDS", 0.0)
        held = {seen.id: seen.state for seen in Index(tmp_path).runs()}["left"]
    assert held == ("running" if Path("/proc/self/fd").exists() else "interrupted")


def test_a_clock_that_was_set_does_not_make_a_dead_run_run_nor_a_running_one_stop(tmp_path, monkeypatch):
    """Files from the time to come are those of a clock that was set back; who is seen to write runs, whatever the clock says."""
    ahead = time.time() + 86_400 * 30
    begun(tmp_path / "dead", at=ahead)
    begun(tmp_path / "alive", at=ahead)
    found = Index(tmp_path)
    monkeypatch.setattr(Index, "_open", lambda index: frozenset())  # as on a system that does not tell, or where another machine writes
    assert {seen.id: seen.state for seen in found.runs()} == {"dead": "interrupted", "alive": "interrupted"}
    (tmp_path / "alive" / "ledger.json").write_text('{"rows": 1}')
    os.utime(tmp_path / "alive" / "ledger.json", (ahead, ahead))
    assert {seen.id: seen.state for seen in found.runs()} == {"dead": "interrupted", "alive": "running"}
    monkeypatch.setattr(places.time, "time", lambda: 0.0)
    assert {seen.id: seen.state for seen in found.runs()} == {"dead": "interrupted", "alive": "running"}


def test_what_has_not_changed_is_not_read_again(tmp_path, monkeypatch):
    for number in range(3):
        ended(tmp_path / f"run-{number}")
    found = Index(tmp_path)
    before = found.runs()
    read = []
    monkeypatch.setattr(places, "summary", lambda path, name, **more: read.append(name) or summary(path, name, **more))
    assert found.runs() == before
    assert read == []
    (tmp_path / "run-1" / "metrics.json").write_text(json.dumps(METRICS | {"metrics": {"accuracy": 0.5}, "rows": 9}))
    assert {seen.id: seen.score for seen in found.runs()}["run-1"] == 0.5
    assert read == ["run-1"]


DAMAGED = (
    *(b"", b"{", b"[1]", b"\xff", b"[" * 9999),
    *(b'{"metrics": 3, "intervals": []}', b'{"metrics": {"accuracy": NaN}}', b'{"metrics": {"a": 1e999}}'),
)


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_files_leave_the_list_whole(tmp_path, content):
    for name in ("metrics.json", "plan.json", "manifest.json", "recipe.yaml"):
        (ended(tmp_path / f"damaged-{name}") / name).write_bytes(content)
    assert len(Index(tmp_path).runs()) == 4
    assert {seen.score for seen in Index(tmp_path).runs() if seen.id == "damaged-metrics.json"} == {None}


def test_nothing_leads_out_of_the_folder(tmp_path):
    root, outside = tmp_path / "runs", ended(tmp_path / "outside")
    ended(root / "in")
    (outside / "report.html").write_text("secret")
    (root / "link").symlink_to(outside)
    (root / "in" / "report.html").symlink_to(outside / "report.html")
    found = Index(root)
    assert [seen.id for seen in found.runs()] == ["in"]
    assert all(found.find(name) is None for name in ("link", "../outside", "", ".", "/etc", "in/../../outside"))
    assert found.inside(root / "in" / "report.html") is None
    assert found.inside(root / "in" / "metrics.json") is not None


def test_pages_beside_runs_and_runs_inside_them_are_found(tmp_path):
    ended(tmp_path / "compared" / "arms" / "lora")
    (tmp_path / "compared" / "compare.html").write_text("<p>")
    ended(tmp_path / "staged" / "stages" / "1-x")
    ended_at_top = tmp_path / "staged"
    (ended_at_top / "recipe.yaml").write_text("stages: []")
    (ended_at_top / "manifest.json").write_text(json.dumps({"stages": [{"name": "1-x", "task": "regression", "method": "full"}]}))
    found = Index(tmp_path)
    assert {seen.id: seen.task for seen in found.runs()} == {
        "compared/arms/lora": "text-classification", "staged": "regression", "staged/stages/1-x": "text-classification"
    }  # fmt: skip
    assert found.pages == ("compared/compare.html",)


def test_the_colours_are_those_of_the_reports():
    report = (Path(places.__file__).parents[2] / "report" / "templates" / "page.css").read_text("utf-8")
    light, dark = (dict(re.findall(r"(--[a-z-]+): (#\w+);", part)) for part in report.split("@media (prefers-color-scheme: dark)")[:2])
    dark = dict(list(dark.items())[: len(light)])
    own = {name: pair for name, *pair in re.findall(r"(--[a-z-]+): light-dark\((#\w+), (#\w+)\)", (PAGE / "studio.css").read_text("utf-8"))}
    assert own == {name: [light[name], dark[name]] for name in light}


def test_the_page_is_small_and_loads_nothing_from_elsewhere():
    assert sum(each.stat().st_size for each in PAGE.iterdir()) < 150_000
    for each in PAGE.iterdir():
        links = set(re.findall(r"https?://[^\s\"'`)]+", each.read_text("utf-8")))
        assert links <= {"http://www.w3.org/2000/svg"}, each
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|document\.write", each.read_text("utf-8")), each
