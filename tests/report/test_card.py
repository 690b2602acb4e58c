import copy
import re

import pytest
import yaml

from rootstock.report import card


def parts(text):
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_front_matter_is_what_the_hub_reads(facts):
    front, _ = parts(card.render(facts()))
    assert front["license"] == "apache-2.0"
    assert front["base_model"] == "org/minilm"
    assert front["library_name"] == "peft"
    assert front["pipeline_tag"] == "text-classification"
    assert front["tags"] == ["rootstock", "lora"]
    assert front["metrics"] == ["accuracy", "f1"]
    assert "language" not in front
    assert "datasets" not in front


def test_the_hub_library_reads_the_results(facts):
    hub = pytest.importorskip("huggingface_hub")
    data = hub.ModelCard(card.render(facts())).data
    assert [(each.metric_type, each.metric_value, each.dataset_name) for each in data.eval_results] == [
        ("accuracy", 0.75, "reviews.csv"),
        ("f1", 0.7, "reviews.csv"),
    ]
    assert data.model_name == "reviews"


def test_hostile_names_round_trip_in_the_front_matter(hostile):
    front, body = parts(card.render(hostile))
    assert front["model-index"][0]["name"] == hostile["name"]
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", body, flags=re.DOTALL)
    assert not re.search(r"<script|<img|(?<!\\)\[x", prose)


def test_a_table_keeps_its_columns_whatever_a_label_holds(hostile):
    rows = [line for line in card.render(hostile).splitlines() if "onerror" in line and line.startswith("|")]
    assert rows
    for line in rows:
        assert line.replace("\\|", "").count("|") in (3, 4)


def test_folders_of_the_machine_are_not_told(facts):
    assert "secret" not in card.render(facts())


@pytest.mark.parametrize(("kind", "wanted"), [("class", "softmax"), ("classes", "sigmoid"), ("number", "float(logits[0, 0])")])
def test_the_snippet_is_python_and_fits_the_answer(facts, kind, wanted):
    for saves, loader in (("model", "AutoModelForSequenceClassification.from_pretrained"), ("adapter", "PeftModel.from_pretrained(base")):
        made = facts(kind=kind)
        made["contract"]["saves"] = saves
        code = card.render(made).split("```python\n")[1].split("```")[0]
        compile(code, "snippet", "exec")
        assert wanted in code
        assert loader in code


def test_pairs_are_given_two_texts(facts):
    made = facts()
    made["recipe"]["task"]["text_pair"] = "second"
    assert '["its second text"]' in card.render(made)


def test_what_is_not_known_is_said(facts):
    made = facts()
    made["manifest"]["base"] |= {"licence": None, "hub_id": None}
    front, body = parts(card.render(made))
    assert front["license"] == "unknown"
    assert "base_model" not in front
    assert "unknown: check before you share" in body


def test_evaluation_has_intervals_baselines_and_leakage(facts):
    body = card.render(facts())
    assert "| Accuracy | 0.750 | 0.600 to 0.880 | 0.700 | 0.500 |" in body
    assert "4 of 40 validation rows also occur in training" in body
    assert "truncation 9 (2.2 %)" in body


def test_any_key_may_be_missing(every):
    parts(card.render(every))
    for key in every:
        parts(card.render({name: value for name, value in every.items() if name != key}))
        for inner in every[key] if isinstance(every[key], dict) else ():
            less = copy.deepcopy(every)
            del less[key][inner]
            parts(card.render(less))
