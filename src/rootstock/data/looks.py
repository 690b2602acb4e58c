"""What names and cells look like: the hints that headers and columns are recognised by."""

import re

LABELS = (
    "label", "labels", "category", "categories", "class", "classes", "target", "sentiment", "polarity", "intent", "topic",
    "emotion", "gold", "goldlabel", "quality", "stars", "star", "rating", "score", "similarity", "grade", "tag", "tags", "nertags", "upos",
    "postags", "chunktags", "y",
)  # fmt: skip
"""Names of label columns, the likeliest first."""

TEXTS = (
    "text", "sentence", "review", "content", "comment", "message", "tweet", "body", "utterance", "query", "question", "document",
    "passage", "paragraph", "description", "abstract", "post", "headline", "email", "input", "prompt", "summary", "title",
)  # fmt: skip
"""Names of text columns, the likeliest first."""

WORDS = ("words", "tokens", "forms")
"""Names of columns that hold a text as a list of words."""

PAIRS = (
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "answer"),
    ("question", "sentence"),
    ("question", "passage"),
    ("question", "context"),
    ("query", "passage"),
    ("query", "document"),
    ("1string", "2string"),
    ("s1", "s2"),
    ("sentencea", "sentenceb"),
    ("texta", "textb"),
    ("text", "textpair"),
    ("text", "hypothesis"),
)
"""Names of the two columns of a text pair."""

_ID = re.compile(r"(id|idx|index|uid|uuid|guid|key|no|nr|number|rownames?|unnamed\d*|.*(?<![a-z])id)")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def plain(name: str) -> str:
    """A name without case, blanks and punctuation: "#1 String" is 1string."""
    return re.sub(r"[\W_]+", "", name.casefold())


KNOWN = frozenset(LABELS) | frozenset(TEXTS) | {name for pair in PAIRS for name in pair} | {"id", "index", "idx"}
"""Every name that says: this line names columns."""


def names_id(name: str) -> bool:
    """Whether a column's name says that it numbers the rows."""
    return bool(_ID.fullmatch(re.sub(r"[\W_]+", " ", name.casefold()).strip())) or bool(_ID.fullmatch(plain(name)))


def is_number(cell: str) -> bool:
    """Whether a cell is a plain decimal number; nan, inf and 1_000 are not."""
    return bool(_NUMBER.fullmatch(cell.strip()))


def shorten(text: str, limit: int = 120) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text[: 4 * limit].split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
