"""The page of probes: every suite drawn, any of them missing, names that are no HTML, and the same figures in text."""

import copy
import json
import re

import pytest

from rootstock.report import charts, probe_text, probes

LIBRARY = charts.library()


def figure(value):
    return {"value": value, "interval": [value - 0.02, value + 0.02]}


def layer(number, value):
    tags = {"NOUN": value, "<b>X": 0.25}
    return {
        "layer": number,
        "dev": {"loss": 1 - value, "accuracy": value, "l2": 0.1},
        "accuracy": figure(value),
        "control": figure(0.4),
        "selectivity": figure(value - 0.4),
        "tags": tags,
    }


def row(name, accuracy, pairs=50):
    return {
        "name": name,
        "field": "syntax",
        "term": "island_effects",
        "pairs": pairs,
        "accuracy": accuracy,
        "interval": [0.4, 0.9],
        "ties": 1,
    }


@pytest.fixture
def facts():
    pos = {
        "words": {"train": 10_019, "dev": 2_015, "test": 5_015},
        "tags": {"NOUN": 834, "<b>X": 8},
        "most_frequent": 0.166,
        "by_word": 0.779,
        "best": 1,
        "layers": [layer(0, 0.7), layer(1, 0.9)],
        "random": {"best": 0, "layers": [layer(0, 0.6), layer(1, 0.55)]},
        "gain": figure(0.3),
    }
    order = {"pairs": {"train": 5000, "dev": 1000, "test": 1500}, "chance": 0.5, "best": 0, "layers": [layer(0, 0.52), layer(1, 0.51)]}
    blimp = {
        **row("all", 0.75, 100),
        "chance": 0.5,
        "left_out": 3,
        "unknown": 0.02,
        "score": "log-likelihood",
        "fields": [row("syntax", 0.75, 100)],
        "terms": [row("island_effects", 0.8), row("ellipsis", None, 0)],
        "paradigms": [row("adjunct_island", 0.8), row("</script><b>", 0.7)],
        "random": {"accuracy": 0.51, "fields": [row("syntax", 0.51)], "terms": [row("island_effects", 0.52)], "paradigms": []},
    }
    base = {"name": "<i>mine", "reference": "runs/mine", "sha256": "0" * 64, "architecture": "BertForMaskedLM"}
    return {
        "base": base,
        "seed": 0,
        "limit": 100,
        "data": {"blimp": "BLiMP.zip"},
        "suites": {"blimp": blimp, "pos": pos, "order": order},
        "skipped": {},
    }


def test_the_heat_map_has_phenomena_down_and_layers_across(facts):
    html = probes.render(facts)
    heat = json.loads(re.search(r'id="figure-heat">(.*?)</script>', html)[1])
    (trace,) = heat["data"]
    assert heat["layout"]["yaxis"]["ticktext"] == ["all words", "selectivity", "NOUN (834)", "&lt;b&gt;X (8)", "sentence order"]
    assert trace["z"] == [[0.7, 0.9], [0.3, 0.5], [0.7, 0.9], [0.25, 0.25], [0.52, 0.51]]
    assert heat["layout"]["xaxis"]["ticktext"] == ["0", "1"]


def test_nothing_is_asked_of_another_machine_and_names_stay_words(facts):
    html = probes.render(facts).replace(LIBRARY, "")
    assert not re.search(r'src=|url\(|@import|<link|href="[^#]', html)
    assert "<i>mine" not in html
    assert "&lt;i&gt;mine" in html
    assert "</script><b>" not in html


@pytest.mark.parametrize("missing", [["blimp"], ["pos"], ["order"], ["pos", "order"], ["blimp", "pos"]], ids="-".join)
def test_any_suite_may_be_missing(facts, missing):
    for suite in missing:
        del facts["suites"][suite]
        facts["skipped"][suite] = "no head"
    html = probes.render(facts)
    text = probe_text.as_text(facts)
    for suite in missing:
        assert f'id="{suite}"' not in html
        assert f"{suite}: left out: no head" in text
    assert ('id="layers"' in html) == (not {"pos", "order"} <= set(missing))


def test_without_random_weights_none_are_spoken_of(facts):
    bare = copy.deepcopy(facts)
    for suite in bare["suites"].values():
        suite.pop("random", None)
        suite.pop("gain", None)
    assert "random" not in probe_text.as_text(bare)
    assert "random weights" not in probes.render(bare).replace(LIBRARY, "")


@pytest.fixture
def own(facts):
    def row(number, value):
        below = {"value": 0.9 - value, "interval": [0.88 - value, 0.92 - value]}
        return {"layer": number, "score": figure(value), "control": figure(0.5), "selectivity": figure(value - 0.5), "below": below}

    held = {
        "task": "text-classification",
        "rows": 400,
        "classes": 2,
        "figure": "accuracy",
        "folds": 5,
        "left_out": {"not_drawn": 7},
        "truncated": 2,
        "trained_on": 0,
        "first_words": 90,
        "simplest": figure(0.5),
        "best": 2,
        "layers": [row(0, 0.7), row(1, 0.8), row(2, 0.9), row(3, 0.9)],
        "random": {"best": 0, "layers": [row(number, 0.6) for number in range(4)]},
        "gain": figure(0.3),
        "freeze": {"blocks": 3, "frozen": [0, 1], "trained": [2], "decided": True, "reason": "R² <b>as such", "rule": "a rule"},
    }
    return facts | {"suites": {"task": held}, "data": {"task": "my rows.csv"}, "skipped": {}}


def test_a_task_of_ones_own_is_a_curve_with_the_border_of_the_freeze(own):
    html = probes.render(own)
    curve = json.loads(re.search(r'id="figure-task">(.*?)</script>', html)[1])
    assert [trace["name"] for trace in curve["data"]] == ["Accuracy", "control task", "selectivity", "random weights"]
    assert curve["data"][0]["y"] == [0.7, 0.8, 0.9, 0.9]
    assert [shape.get("x0") for shape in curve["layout"]["shapes"]] == [0, 2.5]
    assert "Freeze the embeddings and blocks 0 to 1, train 2, counted from 0: R² &lt;b&gt;as such." in html
    assert "rootstock adapt &#39;my rows.csv&#39; --base runs/mine --method full --set &#39;method.layers=[2]&#39;" in html
    assert "7 rows not drawn." in html
    text = probe_text.as_text(own)
    assert "2*     0.900 (0.880 to 0.920)" in text
    assert text.endswith("--method full --set 'method.layers=[2]'")


def test_without_a_decision_no_border_is_drawn_and_no_command_given(own):
    own["suites"]["task"]["freeze"] |= {"decided": False, "frozen": [], "trained": [0, 1, 2], "reason": "not decided: flat"}
    html = probes.render(own)
    assert "freeze: not decided: flat." in html
    assert "rootstock adapt" not in html
    assert len(json.loads(re.search(r'id="figure-task">(.*?)</script>', html)[1])["layout"]["shapes"]) == 1


def test_text_names_the_best_layer_its_gain_and_what_was_left_out(facts):
    lines = probe_text.as_text(facts).splitlines()
    assert "1*     0.900 (0.880 to 0.920)" in "\n".join(lines)
    assert "best layer over the best of random weights: 0.300 (0.280 to 0.320)" in lines
    assert "left out: 3 pairs with a sentence longer than the model takes" in lines
    assert any(line.startswith("2.0% of the tokens are unknown") for line in lines)
    assert any(line.split()[:3] == ["ellipsis", "0", "–"] for line in lines)
