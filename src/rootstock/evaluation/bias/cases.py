"""Texts in which only a group differs: rows of a person's own with the group exchanged, and templates filled for each group.

One unit is a distinct row or a template: what is said of one is independent of the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from rootstock.core.seed import stream
from rootstock.evaluation.bias.terms import Attribute, Mention, filled, swapped, templates

MOST_ROWS = 1000
"""Rows of one attribute that are asked; more are drawn from."""

Row = tuple[str, ...]
"""The one text of a row, or its two."""


@dataclass(frozen=True)
class Case:
    """One unit. texts: for each group that can be compared, the places of its texts in Asked.texts; places of one rank belong together."""

    texts: Mapping[str, tuple[int, ...]]
    shown: str


@dataclass
class Cases:
    """Units of one attribute and one source. apart: rows in which a swap may change what is true, as (reason, original, exchanged)."""

    attribute: Attribute
    source: str
    units: list[Case] = field(default_factory=list)
    apart: list[tuple[str, int, int]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


@dataclass
class Asked:
    """Distinct texts that a model has to answer."""

    texts: list[Row] = field(default_factory=list)
    places: dict[Row, int] = field(default_factory=dict)

    def place(self, row: Row) -> int:
        """The place of a text, new or known."""
        if row not in self.places:
            self.places[row] = len(self.texts)
            self.texts.append(row)
        return self.places[row]


def of_templates(attribute: Attribute, asked: Asked) -> Cases:
    """A unit for each template; none where the attribute has no phrases."""
    found = Cases(attribute, "templates")
    for template in templates() if attribute.phrases else ():
        texts = {
            group: tuple(asked.place((filled(template, phrase),)) for phrase in phrases) for group, phrases in attribute.phrases.items()
        }
        found.units.append(Case(texts, template))
    return found


def of_rows(attribute: Attribute, rows: Sequence[Row], asked: Asked, seed: int) -> Cases:
    """A unit for each distinct row that names exactly one group, with no word beside which a swap may change what is true."""
    found = Cases(attribute, "rows")
    distinct = list(dict.fromkeys(rows))
    held = [(row, [attribute.mentions(text) for text in row]) for row in distinct]
    named = [(row, mentions) for row, mentions in held if any(mentions)]
    drawn = named
    if len(named) > MOST_ROWS:
        chosen = stream(seed, "bias", attribute.name).choice(len(named), MOST_ROWS, replace=False)
        drawn = [named[i] for i in sorted(chosen)]
    for row, mentions in drawn:
        _add(found, row, mentions, asked)
    found.counts = {"distinct": len(distinct), "name_a_group": len(named), "asked": len(drawn), "compared": len(found.units)}
    found.counts |= {
        reason: len({before for why, before, _ in found.apart if why == reason}) for reason in ("asymmetric", "several_groups")
    }
    return found


def _add(found: Cases, row: Row, mentions: Sequence[Sequence[Mention]], asked: Asked) -> None:
    attribute = found.attribute
    groups = sorted({each.group for part in mentions for each in part})
    own, every = asked.place(row), range(len(attribute.groups))
    if len(groups) > 1:
        for first, second in combinations(groups, 2):
            found.apart.append(("several_groups", own, asked.place(_exchange(row, mentions, {first: second, second: first}))))
        return
    others = {group: asked.place(_exchange(row, mentions, {groups[0]: group})) for group in every if group != groups[0]}
    if any(attribute.is_asymmetric(text) for text in row):
        found.apart += [("asymmetric", own, place) for place in others.values()]
        return
    texts = {attribute.groups[group]: (own if group == groups[0] else others[group],) for group in every}
    found.units.append(Case(texts, " | ".join(row)))


def _exchange(row: Row, mentions: Sequence[Sequence[Mention]], into: dict[int, int]) -> Row:
    return tuple(swapped(text, part, into) for text, part in zip(row, mentions, strict=True))
