"""Lists of terms: what names a group, what takes its place, and files that are none."""

import pytest

from rootstock.core.errors import DataError, UnknownName
from rootstock.evaluation.bias import terms
from rootstock.evaluation.bias.cases import Asked, of_rows, of_templates

OWN = """
name: fruit
groups: [apple, orange]
lists: {food: [pie, juice]}
swaps:
  - {apple: apple, orange: orange, only_before: food}
  - {apple: Golden Delicious, orange: Navel}
phrases: {apple: [an apple], orange: [an orange]}
asymmetric: [cider]
"""


def swap(name, text, into):
    (held,) = terms.load([name])
    return terms.swapped(text, held.mentions(text), {held.groups.index(a): held.groups.index(b) for a, b in into.items()})


BOTH = {"female": "male", "male": "female"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("She lost her keys and he saw her yesterday.", "He lost his keys and she saw him yesterday."),
        ("her book is hers, HIS car was his.", "his book is his, HER car was hers."),
        ("The actress thanked her; Mrs. Smith did not.", "The actor thanked him; Mr. Smith did not."),
        ("this theory of women's work", "this theory of women's work"),
        ("", ""),
    ],
)
def test_gendered_words_are_exchanged_in_their_case_and_sense(text, wanted):
    assert swap("gender", text, BOTH) == wanted


def test_articles_capitals_and_conditions():
    assert swap("religion", "A Muslim man met an atheist.", {"Muslim": "atheist", "atheist": "Muslim"}) == "An atheist man met a Muslim."
    assert swap("religion", "Muslims came. Muslims left.", {"Muslim": "atheist"}) == "Atheists came. Atheists left."
    assert swap("religion", "a christian film", {"Christian": "Jewish"}) == "a jewish film"
    assert swap("race", "A black cat and a black woman.", {"Black": "Asian"}) == "A black cat and an Asian woman."
    assert swap("nationality", "a polish of american cars, an AMERICAN", {"American": "German"}) == "a polish of american cars, a GERMAN"


def test_capitals_of_a_list_count_where_the_text_has_any():
    (held,) = terms.load(["nationality"])
    assert [bool(held.mentions(text)) for text in ("russian films", "Russian films", "The russian films")] == [True, True, False]


def test_a_list_of_ones_own(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(OWN)
    (held,) = terms.load([str(path)])
    text = "An apple pie, an apple, a Golden Delicious"
    assert terms.swapped(text, held.mentions(text), {0: 1}) == "An orange pie, an apple, a Navel"
    assert [held.is_asymmetric(each) for each in ("Cider and pie", "pie")] == [True, False]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("groups: [apple, orange]", "groups: [apple]", "2 or more"),
        ("groups: [apple, orange]", "groups: [apple, no]", "put yes, no"),
        ("orange: orange, only", "only", "one word for each of apple, orange"),
        ("only_before: food", "only_before: drinks", "no list 'drinks'"),
        ("orange: [an orange]", "orange: [an orange, a clementine]", "different numbers"),
        ("asymmetric:", "asymetric:", "asymetric"),
        ("name: fruit", "name: [", "no YAML"),
    ],
)
def test_files_that_are_no_lists_are_refused(old, new, said):
    assert old in OWN
    with pytest.raises(DataError, match=said):
        terms.read(OWN.replace(old, new), "own.yaml")


def test_an_unknown_list_names_the_nearest():
    with pytest.raises(UnknownName, match="gender"):
        terms.load(["gendre"])


@pytest.mark.parametrize("name", terms.names())
def test_every_list_of_the_package_speaks_of_each_group_and_finds_itself(name):
    (held,) = terms.load([name])
    assert held.source
    assert held.about
    assert set(held.phrases) == set(held.groups)
    tail = " " + sorted(held.swaps[0].only_before)[0] if held.swaps[0].only_before else ""
    for number, word in enumerate(held.swaps[0].words):
        found = held.mentions(f"There is {word}{tail}.")
        assert [each.group for each in found] == [number], word
        for other, wanted in enumerate(held.swaps[0].words):
            assert terms.swapped(f"There is {word}{tail}.", found, {number: other}) == f"There is {wanted}{tail}."


def test_rows_are_told_apart_by_what_an_exchange_does_to_them():
    (held,) = terms.load(["gender"])
    asked = Asked()
    rows = [("he is here",), ("he is here",), ("a film",), ("she is pregnant",), ("he met her",)]
    found = of_rows(held, rows, asked, seed=0)
    assert found.counts == {"distinct": 4, "name_a_group": 3, "asked": 3, "compared": 1, "asymmetric": 1, "several_groups": 1}
    (unit,) = found.units
    assert {group: asked.texts[place] for group, (place,) in unit.texts.items()} == {"female": ("she is here",), "male": ("he is here",)}
    assert {(why, asked.texts[after]) for why, _, after in found.apart} == {
        ("asymmetric", ("he is pregnant",)),
        ("several_groups", ("she met him",)),
    }


def test_templates_give_a_unit_each():
    (held,) = terms.load(["religion"])
    asked = Asked()
    found = of_templates(held, asked)
    assert len(found.units) == len(terms.templates()) == 40
    assert len(asked.texts) == 40 * 6 * 3
    first = [asked.texts[place][0] for place in found.units[0].texts["atheist"]]
    assert first[0] == "An atheist woman walked into the room."
