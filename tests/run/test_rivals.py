"""`evaluate` stands beside the baselines that the run's own training showed, or says why it can't."""

import shutil

import pytest
from tests.conftest import ONCE, rows_of, write_csv

import rootstock as rs

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


def test_numbers_keep_their_mean(adapt, tmp_path):
    rows = [(text, len(text) / 7) for text, _ in rows_of(60)]
    train, dev = (write_csv(tmp_path / f"{name}.csv", part, ("text", "score")) for name, part in (("n", rows[:40]), ("d", rows[40:])))
    run = adapt(data=train, validation=str(dev), accept=["overlap"], training=ONCE)
    train.unlink()
    found = rs.Run(run.path).evaluate(str(dev))
    for name, value in run.metrics["baselines"]["majority"].items():
        assert found["baselines"]["majority"][name] == pytest.approx(value, rel=1e-5)
