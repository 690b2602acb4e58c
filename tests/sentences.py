"""Made-up texts of many words, for corpora."""

_WORDS = ("river", "stone", "morning", "letter", "window", "market", "garden", "engine", "paper", "silver", "winter", "corner", "music")


def sentence(seed, length=40):
    """A text of its own: no two seeds share five words in a row."""
    return " ".join(f"{_WORDS[(seed * 7 + i * i) % len(_WORDS)]}{(seed * 31 + i) % 997}" for i in range(length))
