"""From a recipe to what can be learned from, by the kind of its task."""

from functools import partial

from rootstock import catalog
from rootstock.core.objective import Objective
from rootstock.core.recipe import Recipe
from rootstock.core.watch import Say
from rootstock.run import choices, labelled, new_tokens, several, teacher, unlabelled, writing
from rootstock.run.prepared import Others, Prepared, ledgers


def prepare(recipe: Recipe, say: Say) -> Prepared:
    """Make every choice that the recipe leaves open, saying each with its reason.

    Names and keys are checked before the first row is read.
    """
    prepared = _prepared(recipe, say)
    new_tokens.check(ledgers(prepared).values())
    return prepared


def _prepared(recipe: Recipe, say: Say) -> Prepared:
    choices.check(recipe)
    write = partial(writing.write, seed=recipe.seed, say=say)
    if several.meant(recipe):
        return several.prepare(recipe, say, Others(write=write))
    name = recipe.task.get("name", "auto")
    choices.check_rows(recipe)
    if name != "auto" and issubclass(catalog.find("tasks", name), Objective):
        return unlabelled.prepare(recipe, say)
    return labelled.prepare(recipe, say, others=Others(teacher=teacher.opened(recipe.teacher), write=write))
