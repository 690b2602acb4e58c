"""`evaluate` stands beside the baselines that the run's own training showed, or says why it can't."""

import shutil
from types import SimpleNamespace

import pytest
from tests.conftest import ONCE, rows_of, write_csv

import rootstock as rs
from rootstock.core.artifact import digest_file
from rootstock.core.errors import ContractRefused
from rootstock.run import rivals

WITHOUT = {
    "gone": (lambda lines: None, "does not exist"),
    "longer": (lambda lines: [*lines, "a film,positive"], "train.csv is not what it was when the run learned from it"),
    "shorter": (lambda lines: lines[:30], "train.csv is not what it was when the run learned from it"),
}


def test_the_same_rows_give_the_very_baselines_of_the_training_and_others_a_reason(adapt, tmp_path):
    train, dev = write_csv(tmp_path / "train.csv", rows_of(60)), write_csv(tmp_path / "dev.csv", rows_of(40, seed=3))
    run = adapt(data=train, validation=str(dev), accept=["overlap"], training=ONCE)
    dev, said = shutil.move(dev, tmp_path / "moved.csv"), []  # its validation file is not needed
    found = rs.Run(run.path).evaluate(str(dev), say=said.append)
    for key in ("baselines", "baseline_intervals", "differences", "beats", "verdict"):
        assert found[key] == run.metrics[key], key
    assert set(found["baselines"]) == {"majority", "tfidf"}
    assert said == ["baselines learned again from the 60 rows that the run learned from"]
    said.clear()
    quick = rs.Run(run.path).evaluate(str(dev), baselines=False, say=said.append)
    assert set(quick["baselines"]) == {"majority"}, "what needs no training row stays"
    assert quick["left_out"]["tfidf"].endswith("baselines were not asked for")
    assert not said
    assert quick["metrics"] == found["metrics"]

    lines = train.read_text().splitlines()
    for made, reason in WITHOUT.values():
        train.unlink(missing_ok=True)
        if (changed := made(lines)) is not None:
            train.write_text("\n".join(changed))
        found = rs.Run(run.path).evaluate(str(dev))
        assert found["baselines"] == {"majority": run.metrics["baselines"]["majority"]}
        assert found["differences"]["majority"] == run.metrics["differences"]["majority"]
        assert reason in found["left_out"]["tfidf"]

    shutil.copytree(run.folder.model, tmp_path / "alone")
    found = rs.Run(tmp_path / "alone").evaluate(str(dev))
    assert found["baselines"] == {}
    assert found["left_out"]["tfidf"].endswith("the model came without its run")
    assert set(found["left_out"]) == {"tfidf", "majority"}


def test_another_list_of_images_to_leave_out_is_not_what_was_learned_from(tmp_path, monkeypatch):
    listed = tmp_path / "listed.csv"
    listed.write_text("row\n1\n")
    made = {"train": {"sha256": "of all"}, "exclude": {"name": str(listed), "sha256": digest_file(listed)}}
    folder = SimpleNamespace(alone=False, json=lambda name: {"data": made, "rows": {"train": 3}})
    recipe = SimpleNamespace(data=SimpleNamespace(exclude=str(listed)))
    run = SimpleNamespace(folder=folder, task=SimpleNamespace(reads="images"), recipe=recipe)
    monkeypatch.setattr(rivals.labelled_pictures, "learned_from", lambda recipe, task: ([1, 2, 3], "of all"))
    assert rivals._learned_from(run) == [1, 2, 3]
    listed.write_text("row\n2\n")
    with pytest.raises(ContractRefused, match=r"listed\.csv is not what it was"):
        rivals._learned_from(run)


def test_numbers_keep_their_mean(adapt, tmp_path):
    rows = [(text, len(text) / 7) for text, _ in rows_of(60)]
    train, dev = (write_csv(tmp_path / f"{name}.csv", part, ("text", "score")) for name, part in (("n", rows[:40]), ("d", rows[40:])))
    run = adapt(data=train, validation=str(dev), accept=["overlap"], training=ONCE)
    train.unlink()
    found = rs.Run(run.path).evaluate(str(dev))
    for name, value in run.metrics["baselines"]["majority"].items():
        assert found["baselines"]["majority"][name] == pytest.approx(value, rel=1e-5)
