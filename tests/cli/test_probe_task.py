"""probe on a user's own rows: figures of every layer, the page, what can be wrong."""

import json

import pytest
from tests.conftest import make_base, rows_of, write_csv

from rootstock.report import probe_task


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    make_base(folder / "base")
    write_csv(folder / "rows.csv", rows_of(90))
    write_csv(folder / "odd.csv", [(label, text, number) for number, (text, label) in enumerate(rows_of(60))], ("stars", "said", "number"))
    write_csv(folder / "numbers.csv", [(text, len(text) / 7) for text, _ in rows_of(90)], ("text", "score"))
    write_csv(folder / "few.csv", rows_of(12))
    (folder / "tags.jsonl").write_text(
        "".join(json.dumps({"words": text.split(), "tags": ["A", *"B" * text.count(" ")]}) + "\n" for text, _ in rows_of(40))
    )
    return folder


@pytest.fixture(autouse=True)
def at(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.delenv("ROOTSTOCK_DATA", raising=False)


def test_every_layer_is_asked_and_the_page_draws_it(command, tmp_path):
    code, out, err = command(f"probe base --data rows.csv --limit 4 --out {tmp_path / 'out'} --json")
    assert code == 0, err
    found = json.loads(out)["suites"]["task"]
    assert (found["task"], found["rows"], found["left_out"]) == ("text-classification", 80, {"not_drawn": 10})
    assert [row["layer"] for row in found["layers"]] == [0, 1, 2] == [row["layer"] for row in found["random"]["layers"]]
    assert found["layers"][0]["score"]["value"] > 0.9  # one word tells, and the embeddings hold it
    assert found["freeze"]["blocks"] == 2
    assert found["freeze"]["decided"] is False
    assert "tell no layer" in found["freeze"]["reason"]
    page = (tmp_path / "out" / "probes.html").read_text()
    assert 'id="task"' in page
    assert "Your own task: best in layer" in page
    assert (code, out.count('"suites"')) == (0, 1)
    again, text, _ = command("probe base --data rows.csv --limit 4 --no-beside-random")
    assert again == 0
    assert "freeze: not decided" in text
    assert "layer 0 is the embeddings".lower() in text.lower()


def test_columns_are_named_and_numbers_have_r2(command):
    code, out, err = command("probe base --data odd.csv --set task.text=said --set task.label=stars --limit 3 --no-beside-random --json")
    assert code == 0, err
    assert json.loads(out)["suites"]["task"]["classes"] == 2
    code, out, err = command("probe base --data numbers.csv --limit 4 --no-beside-random --json")
    assert code == 0, err
    found = json.loads(out)["suites"]["task"]
    assert (found["figure"], found["simplest"]["value"]) == ("r2", pytest.approx(0, abs=1e-9))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("probe base --data few.csv", "there are 12 labelled rows"),
        ("probe base --data task=gone.csv", "does not exist"),
        ("probe base --data task=tags.jsonl", "one class or one number"),
        ("probe scratch:bert-tiny --data rows.csv", "has random weights"),
        ("probe base --suite pos --data pos=. --set task.label=x", "--set is for labelled rows"),
        ("probe base --data rows.csv --set method.head=knn", "this command sets method.head itself"),
        ("probe base --data rows.csv --set task.label=nobody", "nobody"),
    ],
)
def test_what_can_not_be_asked(command, line, said):
    code, _, err = command(line)
    assert code == 2
    assert said in err


def test_a_decided_proposal_names_its_command():
    figure = {"value": 0.8, "interval": [0.7, 0.9]}
    freeze = {"frozen": [0, 1], "trained": [2, 3, 4], "decided": True, "reason": "because", "blocks": 5}
    held = {"freeze": freeze, "figure": "accuracy", "best": 0, "layers": [{"score": figure}]}
    assert list(probe_task.proposal(held)) == ["freeze the embeddings and blocks 0 to 1, train 2 to 4, counted from 0: because"]
    assert (
        probe_task.command(held, "my base", "x.csv") == "rootstock adapt x.csv --base 'my base' --method full --set 'method.layers=[2,3,4]'"
    )
    assert probe_task.stretch([1, 4, 5]) == "1, 4, 5"
