"""What a model reads of rows: tokens as they are spelt, and those that the loss is of."""

import json

import pytest
from tests import tiny_models
from tests.conftest import rows_of, write_csv

from rootstock.core.errors import UsageError
from rootstock.core.recipe import Recipe
from rootstock.verbs import glimpse, inspection


def shown(data, base, count=2, **sections):
    recipe = Recipe.build({"base": str(base), "data": {"train": str(data), "validation": 0.3}, **sections}, "")
    return inspection.examine(recipe, lambda text: None, show=count)["shown"]


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A tiny model that writes, with its tokenizer."""
    return tiny_models.saved(tiny_models.causal_model(), tiny_models.with_bos(), tmp_path_factory.mktemp("writer"))


def test_a_label_of_a_whole_row_asks_no_token_of_its_own(tiny_base, tmp_path):
    rows = rows_of(40)
    found = shown(write_csv(tmp_path / "rows.csv", rows), tiny_base)
    assert len(found) == 2
    for each in found:
        text, label = rows[each["row"] - 2]  # behind the header, counted from 1
        assert each["label"] == label
        assert each["read"] == {"input_ids": [("[CLS]", False), *((word, False) for word in text.split()), ("[SEP]", False)]}
    assert glimpse.as_text(found)[-1] == "each row has one answer as a whole"


def test_of_prompt_and_completion_the_completion_and_the_end_are_asked(writer, tmp_path):
    lines = [json.dumps({"prompt": f"a {word} film", "completion": " is good"}) for word in ("cold", "dull", "warm", "poor", "fine")]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    (one,) = shown(tmp_path / "rows.jsonl", writer, count=1)
    tokens = one["read"]["input_ids"]
    assert [word for word, asked in tokens if asked] == ["is", "good", "[SEP]"]
    assert [word for word, asked in tokens if not asked][-1] == "film"
    assert "film «is good [SEP]»" in glimpse.as_text([one])[1]


def test_each_window_of_a_tagged_row_asks_its_own_words(tiny_base, tmp_path):
    words = ["a", "good", "film", "is", "a", "book", "the", "song", "was", "cold"]
    block = "".join(f"{word} {'B-x' if word == 'film' else 'O'}\n" for word in words)
    (tmp_path / "rows.conll").write_text("\n".join(block.replace("cold", other) for other in ("warm", "dull", "fine", "poor")))
    found = shown(tmp_path / "rows.conll", tiny_base, count=1, training={"length": 6}, task={"stride": 2})
    assert len(found) > 1
    assert {each["row"] for each in found} == {found[0]["row"]}
    asked = [word for each in found for word, asked in each["read"]["input_ids"] if asked]
    assert asked[:-1] == words[:-1]
    assert len(asked) == len(words)


def test_a_long_row_is_printed_in_part():
    tokens = [(f"w{number}", number > 100) for number in range(250)]
    (_, line, _) = glimpse.as_text([{"row": 1, "label": "x", "read": {"input_ids": tokens}}])
    assert "250 tokens: w0 " in line
    assert "«w101" in line
    assert line.endswith("w199 … 50 more")


OTHERS = {
    "several tasks": {"task": {"parts": {"a": {}, "b": {}}}},
    "anew in each pass": {"task": {"name": "masked-lm"}},
    "are images": {"task": {"name": "image-classification"}},
}


@pytest.mark.parametrize("said", OTHERS)
def test_what_has_no_tokens_to_print_is_refused_before_a_row_is_read(said):
    recipe = Recipe.build({"data": {"train": "never-read"}, **OTHERS[said]}, "")
    with pytest.raises(UsageError, match=said):
        inspection.examine(recipe, lambda text: None, show=1)


def test_bars_of_lengths_are_as_long_as_their_rows_are_many():
    lengths = {"bins": list(range(0, 49, 2)), "counts": [1] * 12 + [9, 3] + [0] * 10, "mean": 9.0, "longest": 47}
    ledger = {"rows": {}, "labels": {}, "lengths": lengths, "padding_share": 0.0, "findings": {}, "truncation": []}
    ledger["findings"]["duplicates"] = {"count": 1, "share": 0.04, "limit": 0.5, "examples": []}
    lines = inspection.as_text(ledger).splitlines()
    bars = [(line.split()[0], line.count("█")) for line in lines if "–" in line]
    assert bars == [(f"{4 * place}–{4 * place + 3}", {6: 30}.get(place, 5 if place < 6 else 0)) for place in range(12)]
    assert any(line.startswith("duplicates       1 row, ") for line in lines)
