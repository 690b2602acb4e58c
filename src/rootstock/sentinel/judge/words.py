"""Lists of names, written as text so that a long one stays readable."""


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())
