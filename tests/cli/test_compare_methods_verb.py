"""The verb compare on methods: a toy comparison from the command line, and each thing that can be wrong."""

import json

import pytest
import yaml
from tests.conftest import rows_of, write_csv

from rootstock.verbs import arms_child, arms_unit, freeze

TOY = "--bases base --seeds 1 --set training.epochs=1 --accept duplicates --accept contradictions"


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_base):
    folder = tmp_path_factory.mktemp("methods")
    (folder / "base").symlink_to(tiny_base)
    write_csv(folder / "rows.csv", rows_of(120))
    flipped = {"positive": "negative", "negative": "positive"}
    write_csv(folder / "contrary.csv", [*rows_of(60), *((text, flipped[label]) for text, label in rows_of(30))])
    write_csv(folder / "other.csv", rows_of(30, seed=9))
    (folder / "empty.csv").write_text("text,label\n")
    (folder / "vary.yaml").write_text(yaml.safe_dump({"base": "base", "data": {"train": "rows.csv"}, "method": {"name": "lora", "r": 2}}))
    (folder / "full" / "data").mkdir(parents=True)
    (folder / "full" / "data" / "thesis.txt").write_text("years of work")
    return folder


@pytest.fixture(autouse=True)
def at(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setattr(arms_unit, "_told", lambda unit, watch, rival: arms_child.carried_out(arms_unit.order(unit, rival), watch))


def test_a_comparison_from_the_command_line(command, place):
    line = f"compare rows.csv --methods full,feature-extraction {TOY} --out out"
    code, out, err = command(f"{line} --json")
    assert code == 0, err
    found = json.loads(out)
    assert found == json.loads((place / "out" / "compare.json").read_text())
    assert {each["arm"] for each in found["points"][0]["arms"]} == {"full", "feature-extraction"}
    assert found["arms"][0]["base"] == "base"
    assert "rows      77 to learn from, 19 to validate, 24 to test" in err
    code, out, _ = command(f"{line} --keep best")
    assert code == 0
    assert "is kept in out/best" in out
    assert out.endswith("report    out/compare.html\n")
    code, out, err = command("predict out/best 'a good film'")
    assert (code, out.split()[0] in ("positive", "negative")) == (0, True), err
    code, _, err = command("evaluate out/best other.csv")
    assert code == 0, err


def test_the_probes_freeze_is_compared_with_random_ones_on_rows_that_it_has_not_seen(command, place, monkeypatch):
    seen = []

    def propose(base, data, watch, *, changes):
        seen.append((base, data, changes["task.label"]))
        return {"blocks": 2, "frozen": (0,), "trained": (1,), "decided": True, "reason": "layer 1 is as good"}

    monkeypatch.setattr(freeze, "propose", propose)
    line = f"compare rows.csv --freeze probe {TOY} --out frozen --json"
    code, out, err = command(line)
    assert code == 0, err
    found = json.loads(out)
    (train,) = {data for _, data, _ in seen}
    assert train.endswith("frozen/data/train.parquet") or train.endswith(".frozen.part/data/train.parquet")
    assert {arm["name"]: arm["changes"] for arm in found["arms"]} == {
        name: {"method.layers": layers} for name, layers in {"full": [], "probe": [1], "random 1": [0]}.items()
    }
    assert found["freeze"]["judged"]["seeds"] == 1
    assert found["notes"][-2:] == ["the probe's proposal: layer 1 is as good", found["freeze"]["judged"]["verdict"]]
    assert found["halving"] is False
    again = command(line)
    assert (again[0], len(seen)) == (0, 1), again[2]


def test_a_freeze_that_is_not_decided_is_not_compared(command, monkeypatch):
    told = {"blocks": 2, "frozen": (), "trained": (0, 1), "decided": False, "reason": "not decided: flat"}
    monkeypatch.setattr(freeze, "propose", lambda *given, **more: told)
    code, _, err = command(f"compare rows.csv --freeze probe {TOY} --out flat")
    assert code == 2
    assert "the probe proposes nothing to compare: not decided: flat" in err


def test_a_recipe_gives_what_all_arms_have_in_common(command):
    code, out, err = command("compare vary.yaml --sweep method.r=2,4 --accept duplicates --dry-run --json --out dry")
    assert code == 0, err
    assert list(json.loads(out)["seconds_of_a_training"]) == ["lora r=2", "lora r=4"]


CASES = [
    ("rows.csv --freeze best", "--freeze is best"),
    ("rows.csv --freeze probe --methods lora", "--freeze and --methods are given"),
    ("rows.csv --methods ful", "no method named 'ful'", "did you mean 'full'"),
    ("rows.csv --methods full,full", "--methods names one twice"),
    ("rows.csv --methods ,", "--methods names none"),
    ("rows.csv --bases minilmm", "minilmm", "did you mean 'minilm'"),
    ("nowhere.csv", "nowhere.csv"),
    ("empty.csv", "empty.csv"),
    ("rows.csv other.csv", "2 files are given", "--downstream"),
    ("rows.csv --methods full --set task.label=star", "there is no column 'star'"),
    ("rows.csv --methods full --set seed=3", "the comparison sets seed itself", "--seeds"),
    ("rows.csv --methods full --set base=minilm", "the comparison sets base itself", "--bases"),
    ("rows.csv --methods full --set 'budget={minutes: 1}'", "the comparison sets budget itself", "--minutes"),
    ("rows.csv --methods full --set method.r=4", "none of full has the key 'method.r'"),
    ("rows.csv --methods full --set training.epoch=4", "unknown key 'training.epoch'", "did you mean 'epochs'"),
    ("rows.csv --methods full --sweep method.r=4,8", "none of full has the key 'method.r'"),
    ("rows.csv --methods full --sweep training.rate=1", "leaves no choice"),
    ("rows.csv --methods full --sweep seed=1,2", "--sweep seed: it can't be varied"),
    ("rows.csv --methods full --learning-curve 5,all", "--learning-curve holds '5'"),
    ("rows.csv --methods full --keep last", "--keep is last"),
    ("rows.csv --methods full --minutes 0", "--minutes is 0"),
    ("rows.csv --methods full --minutes 0.01", "leaves nothing for 1 training"),
    ("rows.csv --methods full --accept overlp", "did you mean 'overlap'"),
    ("rows.csv --methods full --rows 100", "--rows is for comparing objectives", "--learning-curve"),
    ("rows.csv --methods full --rates 1e-3", "--rates is for comparing objectives", "--sweep training.rate"),
    ("rows.csv --methods full --columns rows.label=label", "--columns is for comparing objectives", "--set task.label=COLUMN"),
    ("rows.csv --methods full --downstream rows.csv", "--methods compares methods", "--downstream compares objectives"),
    ("rows.csv --objectives masked-lm --sweep method.r=1,2 --downstream rows.csv", "--sweep compares methods"),
    ("rows.csv --objectives masked-lm", "--downstream is missing"),
    ("rows.csv --methods full --out rows.csv", "rows.csv is a file"),
    ("rows.csv --methods full --out base/compare", "base/compare and", "lie in one another"),
    ("rows.csv --methods full --out full --overwrite", "full holds other files: data"),
    ("rows.csv --methods full --task regression", "--task"),
]


@pytest.mark.parametrize(("line", "said"), [(line, said) for line, *said in CASES], ids=[each[0] for each in CASES])
def test_what_is_wrong_is_said(command, place, line, said):
    toy = "" if "--objectives" in line or "--downstream" in line else TOY.replace("--bases base", "") if "--bases" in line else TOY
    out = "" if "--out" in line else "--out new"
    code, out, err = command(f"compare {toy} {out} {line}")
    assert (code, out) == (2, ""), err
    for part in said:
        assert part in err
    assert "Traceback" not in err
    assert not (place / "new").exists()
    assert (place / "full" / "data" / "thesis.txt").read_text() == "years of work"


def test_findings_of_the_ledger_must_be_accepted_by_name(command, place):
    code, _, err = command("compare contrary.csv --methods full --bases base --seeds 1 --out ledger")
    assert code == 3, err
    assert "--accept contradictions" in err
    assert not (place / "ledger").exists()
