"""There and back, through whatever writes."""

import pytest

from rootstock.core.augment import Means
from rootstock.core.errors import RecipeError
from rootstock.data.augment.back_translation import BackTranslation


def test_each_copy_goes_there_and_back_and_only_the_way_there_is_drawn():
    asked = []

    def write(writing, texts):
        asked.append(writing)
        return [f"{writing.model}({writing.ask.replace('{text}', text)})" for text in texts]

    made = BackTranslation(there="de", back="en", there_prefix="to German: ", copies=2, temperature=0.8, beams=3, max_tokens=9)
    found = made.made(["a", "b"], Means(None, write, 0))
    assert found == ["en(de(to German: a))"] * 2 + ["en(de(to German: b))"] * 2
    assert [(each.key, each.temperature, each.beams, each.max_tokens) for each in asked] == [
        ("augment.there", 0.8, 3, 9),
        ("augment.back", 0.0, 3, 9),
    ]


def test_both_models_are_needed_and_copies_must_differ():
    with pytest.raises(RecipeError, match=r"augment\.back"):
        BackTranslation.build({"there": "de"}, "augment")
    with pytest.raises(RecipeError, match=r"augment\.temperature"):
        BackTranslation.build({"there": "de", "back": "en", "copies": 2}, "augment")
