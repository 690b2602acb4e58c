"""More training rows: validation, ledger and baselines as before, the model taught by all of them."""

import json

import pytest

from rootstock.core.errors import RecipeError, UnknownName
from rootstock.verbs import api


def test_training_rows_grow_and_nothing_else_does(learned):
    short = {"epochs": 1, "rate": 3e-3, "batch_tokens": 64}
    plain, more = learned(training=short), learned(training=short, augment={"name": "eda", "copies": 2})
    steps = [
        sum(e["rows"] for e in map(json.loads, run.folder.history.read_text().splitlines()) if e["event"] == "step")
        for run in (plain, more)
    ]
    assert steps[1] == 3 * steps[0]
    assert more.metrics["rows"] == plain.metrics["rows"]
    assert more.metrics["baselines"] == plain.metrics["baselines"]
    first, second = ({**run.folder.json("ledger.json"), "padding_share": 0} for run in (plain, more))
    assert second == first | {"rows": first["rows"] | {"made": 216, "nothing_new": 0}}
    assert more.recipe.augment == {"name": "eda", "copies": 2}


def test_a_run_repeats(adapt):
    first, second = (adapt(name, augment={"name": "eda"}, training={"steps": 4, "batch_tokens": 64}) for name in ("a", "b"))
    assert first.metrics == second.metrics


def test_names_and_settings_are_checked_first_and_words_with_tags_refused(adapt, tmp_path):
    with pytest.raises(UnknownName, match="eda"):
        adapt(augment={"name": "edda"})
    with pytest.raises(RecipeError, match="copies"):
        adapt(augment={"name": "eda", "copy": 2})
    path = tmp_path / "tags.jsonl"
    path.write_text("".join(json.dumps({"words": ["good", "a"], "tags": ["B-x", "O"]}) + "\n" for _ in range(4)))
    with pytest.raises(RecipeError, match="belong to the words"):
        adapt(data=path, augment={"name": "eda"}, validation=str(path), accept=["overlap", "duplicates"])


def test_an_objective_refuses_it(tiny_base, tmp_path):
    from rootstock.core.recipe import Recipe
    from rootstock.core.watch import Watch

    (tmp_path / "a.txt").write_text("good a b c " * 40)
    recipe = Recipe.build(
        {"base": str(tiny_base), "task": {"name": "masked-lm"}, "data": {"train": str(tmp_path)}, "augment": {"name": "eda"}}, ""
    )
    with pytest.raises(RecipeError, match="makes its rows anew"):
        api.carry_out(recipe, tmp_path / "run", Watch())
