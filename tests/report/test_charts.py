import json

from rootstock.report import answers, charts


def test_embedded_json_cannot_leave_its_script():
    value = {"a": "</script><!-- &\u2028", "b": [1.23456789, float("nan")]}
    written = charts.embed(value)
    assert not set("<>&\u2028") & set(written)
    assert json.loads(written) == {"a": "</script><!-- &\u2028", "b": [1.23457, None]}


def test_equal_short_names_stay_two_places():
    long = ["a" * 40 + "1" + "z" * 40, "a" * 40 + "2" + "z" * 40]
    axis = charts.named(long)
    assert axis["ticktext"][0] == axis["ticktext"][1]
    assert axis["tickvals"] == [0, 1]


def test_shares_divide_each_row_by_its_sum():
    made = {"details": {"confusion": [[3, 1], [0, 0]], "per_class": [{"label": "a"}, {"label": "b"}]}}
    _, shares = answers.confusion(made)
    assert shares.figure["data"][0]["z"] == [[0.75, 0.25], [0.0, 0.0]]


def test_confusions_are_listed_worst_first():
    size = 30
    counts = [[0] * size for _ in range(size)]
    counts[4][5], counts[7][1], counts[7][7] = 9, 12, 3
    made = {"details": {"confusion": counts, "per_class": [{"label": f"c{i}"} for i in range(size)]}}
    assert answers.confused(made).rows == [("c7", "c1", "12", "80 %"), ("c4", "c5", "9", "100 %")]


def test_calibration_error_is_counted_where_no_figure_holds_it():
    made = {
        "details": {"calibration": [{"confidence": 0.9, "accuracy": 0.5, "count": 3}, {"confidence": 0.6, "accuracy": 0.6, "count": 1}]}
    }
    found = answers.calibration(made)
    assert "(ECE) 0.300" in found.sentence
    assert "too sure" in found.sentence


def test_a_scatter_of_some_rows_says_so():
    made = {"details": {"scatter": [[1.0, 2.0], [2.0, 1.0]]}, "metrics": {"rows": 900}}
    assert answers.scatter(made).sentence.startswith("2 of 900 validation rows")
