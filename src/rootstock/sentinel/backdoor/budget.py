"""How much a search may try: one dial, of which all its widths follow."""

from dataclasses import dataclass

from rootstock.core.errors import UnknownName


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The widths of a search."""

    name: str
    carriers: int
    """Short texts of each label into which every token of the vocabulary is put."""
    pieces: int
    """Tokens of such a text. The scan costs in proportion; 5 keep a text's label in most cases."""
    moved: int | None
    """Scan only as many tokens, those whose embeddings moved most, where training moved some; None scans all, whatever moved."""
    labels: int
    """Labels that are searched on whole texts: those to which some token leads furthest beyond the rest. 0: named patterns alone."""
    kept: int
    """Tokens of each label that are tried again, on whole texts."""
    pool: int
    """Tokens that phrases are made of."""
    beam: int
    """Phrases that are made longer."""
    longest: int
    """Words of a phrase."""
    inputs: int
    """Untouched texts that confirm a trigger for a label."""
    confirmed: int
    """Triggers of each label that are confirmed."""
    references: int
    """Clean models of the same base that the caller's rows are spent on."""
    coined: int = 0
    """Tokens of which made-up words are put together where what outweighs strong words is looked for: so many that begin a word, and as
    many that go on. 0 leaves all of that out.

    None in what is usual until clean models were scanned with it, whose scores say what it is worth.
    """
    restarts: int = 0
    """Searches by gradient for each label, each from another random mixture of tokens; 0 leaves them out."""
    steps: int = 80
    """Of gradient in each."""
    hunted: int = 6
    """Words of a phrase that gradients look for; those that it does not need are taken out later."""


BUDGETS = {
    "named": Budget(
        name="named", carriers=1, pieces=5, moved=3000, labels=0, kept=0, pool=0, beam=0, longest=1, inputs=64, confirmed=0, references=2
    ),
    "fast": Budget(
        name="fast", carriers=1, pieces=5, moved=3000, labels=2, kept=80, pool=32, beam=4, longest=2, inputs=64, confirmed=1, references=2
    ),
    "standard": Budget(
        name="standard",
        carriers=1,
        pieces=5,
        moved=3000,
        labels=4,
        kept=80,
        pool=32,
        beam=4,
        longest=4,
        inputs=64,
        confirmed=2,
        references=2,
    ),
    "deep": Budget(
        name="deep",
        carriers=3,
        pieces=8,
        moved=None,
        labels=1000,
        kept=400,
        pool=96,
        beam=12,
        longest=5,
        inputs=128,
        confirmed=4,
        coined=48,
        references=3,
        restarts=3,
    ),
}


def budget(name: str) -> Budget:
    """A budget by its name; UnknownName with the nearest one."""
    if name not in BUDGETS:
        raise UnknownName("budget", name, BUDGETS)
    return BUDGETS[name]
