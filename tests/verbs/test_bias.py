"""scan --bias from end to end: exit codes, both kinds of model, the page, and what can be wrong."""

import json

import pytest
from tests.cli.conftest import command  # noqa: F401 - a fixture
from tests.conftest import rows_of, write_csv
from tests.tiny_models import masked_model, pieces, saved

import rootstock
from rootstock.report import bias_text


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_base):
    folder = tmp_path_factory.mktemp("bias")
    write_csv(folder / "rows.csv", rows_of(60))
    settings = {"base": str(tiny_base), "training": {"epochs": 1}, "seed": 1, "method": "feature-extraction"}
    rootstock.adapt(folder / "rows.csv", out=folder / "run", **settings)
    write_csv(folder / "own.csv", [(f"{who} is a good film {i}",) for i in range(15) for who in ("he", "the song")], ("text",))
    write_csv(folder / "none.csv", [("a film",)], ("text",))
    (folder / "fruit.yaml").write_text("groups: [good, bad]\nswaps: [{good: good, bad: bad}, {good: great, bad: poor}]\n")
    saved(masked_model(), pieces(), folder / "masked")
    write_csv(
        folder / "crows.csv",
        [("a film is good", "a book is good", "stereo", "age")],
        ("sent_more", "sent_less", "stereo_antistereo", "bias_type"),
    )
    return folder


@pytest.fixture(autouse=True)
def at(place, monkeypatch):
    monkeypatch.chdir(place)


def test_a_classifier_is_measured_refused_and_drawn(command, tmp_path):  # noqa: F811
    page = tmp_path / "bias.html"
    code, out, err = command(["scan", "run", "--bias", "--data", "own.csv", "--terms", "gender", "--report", page, "--json"])
    assert code == 0, err
    found = json.loads(out)
    rows, templates = found["tables"]
    assert (rows["rows"]["name_a_group"], rows["rows"]["compared"], templates["pairs"][0]["units"]) == (15, 15, 40)
    assert found["limit"] is None
    assert "comparisons" in found["verdict"]
    assert "unbiased" not in out + page.read_text("utf-8")
    assert "Gender, your rows" in page.read_text("utf-8")


def test_a_planted_gap_beyond_the_limit_is_refused(command, tmp_path):  # noqa: F811
    write_csv(tmp_path / "many.csv", [(f"a {word} film {i}",) for i in range(15) for word in ("good", "great", "bad")], ("text",))
    words = ["scan", "run", "--bias", "--data", tmp_path / "many.csv", "--terms", "fruit.yaml"]
    code, out, _ = command(words)
    assert code == 0
    assert "no templates: the list has no phrases" in out
    code, _, err = command([*words, "--limit", "0.0"])
    assert code == 3
    assert "fruit, rows: good and bad" in err


def test_a_language_model_is_asked_for_published_sets(command):  # noqa: F811
    code, out, err = command("scan masked --bias --data crows.csv")
    assert code == 0, err
    assert all(each in out for each in ("crows-pairs: 1 items", "Blodgett", "prefers the sentence with the stereotype"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("scan --bias", "one run"),
        ("scan run masked --bias", "2 models"),
        ("scan run --bias --data none.csv --terms fruit.yaml", "no row of none.csv names a group"),
        ("scan run --bias --terms gendre", "did you mean 'gender'|gender"),
        ("scan run --bias --limit 2", "--limit is 2"),
        ("scan run --bias --data own.csv --data none.csv", "2 files"),
        ("scan masked --bias", "no set of sentences"),
        ("scan masked --bias --data crows.csv --terms gender", "--terms"),
        ("scan masked --bias --data own.csv", "none of the sets"),
        ("scan run --bias --report .", "is a folder"),
        ("scan run --bias --format sarif", "sarif"),
        ("scan run --bias --database x", "--database is given"),
        ("scan run --data own.csv", "means nothing to a scan of files"),
        ("scan run --bias --advisories", "at once"),
    ],
)
def test_wrong_usage_is_said(command, line, said):  # noqa: F811
    import re

    code, _, err = command(line)
    assert code == 2, err
    assert re.search(said, err), err


def test_a_comparison_of_few_texts_hides_no_other():
    """The largest gap is often of the fewest texts: it says nothing, and what many texts say must still be read."""

    def pair(first, units, value):
        gap = {"label": "yes", "units": units, "value": value, "interval": [value - 0.1, value + 0.1], "p_holm": 1.0, "verdict": "open"}
        share = {"value": 0.1, "interval": [0.0, 0.2]}
        return {"first": first, "second": "others", "gaps": [gap], "moved": share, "flips": share}

    told = "\n".join(bias_text._pairs({"pairs": [pair("rare", 3, 0.5), pair("usual", 200, 0.1)]}))
    assert "usual / others" in told
    assert "rare / others" not in told
    assert "1 of 2 are of fewer than 20 texts" in told
