"""A model is asked for each text by a prompt."""

import pytest

from rootstock.core.augment import Means
from rootstock.core.errors import RecipeError
from rootstock.data.augment.paraphrase import Paraphrase


def test_the_prompt_holds_the_text():
    how = Paraphrase(model="m", prompt="Say otherwise: {text}\n", temperature=1.0, copies=2)
    found = how.made(["a", "b"], Means(None, lambda writing, texts: [writing.ask.replace("{text}", text) for text in texts], 0))
    assert found == ["Say otherwise: a\n"] * 2 + ["Say otherwise: b\n"] * 2
    with pytest.raises(RecipeError, match=r"\{text\} in it"):
        Paraphrase.build({"model": "m", "prompt": "say otherwise"}, "augment")
