"""Options that mean nothing beside others are refused: nobody is to believe that they did something."""

import pytest


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("plan --rank-bases minilm runs/a --data rows.csv --method lora", "--method is given, and means nothing beside --rank-bases"),
        ("plan --rank-bases minilm runs/a --data rows.csv --this-machine", "--this-machine is given"),
        ("plan --ledger --rows 5", "--rows is given, and means nothing beside --ledger"),
        ("plan rows.csv --ledger", "data is given, and means nothing beside --ledger"),
        ("benchmark glue minilm --limit 5", "--limit is given, and means nothing beside a suite"),
        ("benchmark minilm --lm-eval arc_easy --tasks rte", "--tasks is given, and means nothing beside --lm-eval"),
        ("benchmark minilm --lm-eval arc_easy --set training.epochs=1", "--set is given"),
        ("plan --workers 8 --device h100 --model 7b --rows 5", "--rows is given, and means nothing beside --workers"),
        ("plan --model 7b", "--model is given, and means nothing without --workers"),
        ("plan --workers 8 --device t4 --model 70b", "fix: --workers"),
        ("plan --epochs nan", "--epochs is nan"),
        ("compare rows.csv --minutes inf", "--minutes is inf"),
        ("benchmark glue minilm --minutes 0", "budget.minutes is 0"),
    ],
)
def test_what_means_nothing_is_refused(command, tmp_path, monkeypatch, line, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"row {number},{'ab'[number % 2]}\n" for number in range(40)))
    code, out, err = command(line)
    assert (code, out) == (2, "")
    assert said in err
    assert [each.name for each in tmp_path.iterdir()] == ["rows.csv"]
