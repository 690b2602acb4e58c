import copy
import json
import re
from html.parser import HTMLParser

import pytest

from rootstock.report import charts, curves, page, summary

LIBRARY = charts.library()


class Page(HTMLParser):
    """What a browser would see: elements, their attributes, text outside scripts, and the data blocks."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.text, self.blocks, self.scripts, self._open = [], [], {}, [], None
        self.feed(html.replace(LIBRARY, "/* plotly */"))

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self._open = (tag, dict(attributes))

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._open = None

    def handle_data(self, data):
        if self._open is None:
            self.text.append(data)
        elif "id" in self._open[1]:
            self.blocks[self._open[1]["id"]] = json.loads(data)
        else:
            self.scripts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def test_sections_come_in_the_order_of_a_reading(facts):
    found = [each["id"] for each in Page(page.render(facts())).all("section")]
    assert found == ["score", "training", "answers", "mistakes", "data", "cost", "settings", "again"]


@pytest.mark.parametrize(("difference", "tone"), [([0.4, 0.9], "bad"), ([-0.2, 0.3], "unsure")])
def test_a_loss_above_its_baseline_is_worse_not_within_chance(difference, tone):
    told = {"figure": "loss", "difference": difference, "separable": difference[0] > 0}
    metrics = {"rows": 400, "metrics": {"loss": 6.0}, "intervals": {"loss": [5.8, 6.2]}, "baselines": {"unigram": {"loss": 5.3}}}
    facts = {"kind": "completion", "metrics": metrics | {"beats": {"unigram": False}, "differences": {"unigram": told}}}
    assert summary.judgement(facts).tone == tone


def test_nothing_is_asked_of_another_machine(every):
    html = page.render(every)
    seen = Page(html)
    assert not [v for _, each in seen.elements for k, v in each.items() if k in ("src", "srcset", "action", "data")]
    assert all(each["href"].startswith("#") for each in seen.all("a"))
    assert not seen.all("link")
    assert not re.search(r"url\(|@import", html.replace(LIBRARY, ""))
    assert any("default-src 'none'" in each.get("content", "") for each in seen.all("meta"))


def test_library_is_there_once_and_only_where_something_is_drawn(facts):
    assert page.render(facts()).count(LIBRARY[:2000]) == 1
    assert LIBRARY[:2000] not in page.render({})


def test_every_chart_has_its_figure_and_its_words(every):
    seen = Page(page.render(every))
    plots = [each for each in seen.all("div") if each.get("class") == "plot"]
    assert {each["data-figure"] for each in plots} == set(seen.blocks)
    assert len(seen.all("figcaption")) == len(plots)
    assert all(set(block) == {"data", "layout"} for block in seen.blocks.values())


def test_headlines_stand_with_intervals_and_baselines(facts):
    words = Page(page.render(facts())).words
    for wanted in (
        "0.750",
        "0.600 – 0.880",
        "TF-IDF + logistic regression 0.700",
        "Always the most frequent class 0.500",
        "slightly optimistic",
    ):
        assert wanted in words


def test_overlap_with_training_shows_the_honest_figure(facts):
    words = Page(page.render(facts())).words
    assert "4 of 40 validation rows also occur in training" in words
    assert "0.720" in words


def test_the_base_before_training_is_no_quick_rival():
    """A baseline that is the base itself trains in no seconds, and needs a pre-trained model above all."""
    told = {"figure": "spearman", "difference": [-0.2, -0.1], "separable": True}
    facts = {"kind": "similarity", "metrics": {"metrics": {"spearman": 0.6}, "baselines": {"base": {"spearman": 0.8}}}}
    facts["metrics"] |= {"beats": {"base": False}, "differences": {"base": told}}
    found = summary.judgement(facts)
    assert found.title == "This model is worse than the base before training."
    assert "learned nothing from these rows" in found.text
    assert "pre-trained" not in found.text


def test_a_curve_names_the_baseline_that_it_is_drawn_beside(facts):
    made = facts()
    made["metrics"]["baselines"] = {"dictionary": {"accuracy": 0.7}, "majority": {"accuracy": 0.5}}
    (note,) = [each["text"] for each in curves._guides(made, None, "accuracy")["annotations"]]
    assert note == " a dictionary of tags, Accuracy"
    made["metrics"] |= {"beats": {}, "differences": {}}
    assert summary.judgement(made).title == "Not compared with a dictionary of tags."


def test_losing_to_tfidf_is_loud(facts, number_facts):
    assert "This model is worse than TF-IDF." in page.render(number_facts)
    unsure = facts()
    unsure["metrics"]["beats"]["tfidf"] = False
    unsure["metrics"]["differences"]["tfidf"] = {"figure": "accuracy", "difference": [-0.1, 0.2], "separable": False}
    assert "This model is not shown to beat TF-IDF." in page.render(unsure)
    assert "not shown to beat" not in page.render(facts())


def test_a_missing_baseline_says_why(facts):
    made = facts()
    made["metrics"] |= {"beats": {}, "baselines": {}, "differences": {}, "left_out": {"tfidf": "no words were left"}}
    assert "no words were left" in Page(page.render(made)).words


def test_hostile_text_stays_text(hostile):
    hostile["mistakes"][0]["answer"] = "<svg onload=alert(3)>"
    html = page.render(hostile)
    seen = Page(html)
    assert not seen.all("img")
    assert not [k for _, each in seen.elements for k in each if k.startswith("on")]
    assert ["Plotly.react" in script for script in seen.scripts] == [False, False, True]  # style, library, ours
    assert not any("alert(" in script for script in seen.scripts)
    assert "{{ 7*7 }}" in seen.words
    assert "onerror=alert(2)" in seen.words


def test_charts_show_labels_as_text(hostile):
    shown = Page(page.render(hostile)).blocks["figure-confusion"]["layout"]["xaxis"]["ticktext"]
    assert "<" not in shown[0]


def test_any_key_may_be_missing(facts, number_facts, monkeypatch):
    monkeypatch.setattr(charts, "library", lambda: "")  # five megabytes a page take longer than all else
    for made in (facts(), number_facts):
        for key in made:
            page.render({name: value for name, value in made.items() if name != key})
            for inner in made[key] if isinstance(made[key], dict) else ():
                less = copy.deepcopy(made)
                del less[key][inner]
                page.render(less)
                less[key][inner] = None
                page.render(less)


def test_seventy_seven_classes_list_their_confusions(facts):
    html = page.render(facts([f"class {i}" for i in range(77)]))
    assert "Most frequent confusions" in html
    assert "texttemplate" not in Page(html).blocks["figure-confusion"]["data"][0]


def test_a_thousand_classes_stay_readable(facts):
    made = facts([f"class {i}" for i in range(1000)])
    html = page.render(made)
    assert len(html) - len(LIBRARY) < 1_500_000
    assert len(Page(html).blocks["figure-confusion"]["data"][0]["z"]) == 120
    assert "class 999" in html


def test_an_empty_history_leaves_training_out(facts):
    made = facts()
    made["history"] = []
    assert "training" not in [each["id"] for each in Page(page.render(made)).all("section")]


def test_pairs_are_shown_apart(facts):
    made = facts()
    made["mistakes"][0]["texts"] = ["the first", "the second"]
    html = page.render(made)
    assert "<p>the first</p><p>the second</p>" in html


def test_colours_of_charts_are_in_the_style_sheet(facts, number_facts):
    for made in (facts(), number_facts):
        html = page.render(made)
        used = set(re.findall(r'"var\((--[a-z]+)\)"', html.replace(LIBRARY, "")))
        assert used
        assert used <= set(re.findall(r"(--[a-z]+):", html.replace(LIBRARY, "")))
