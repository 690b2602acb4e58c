"""Words that made-up reviews consist of."""

GOOD = ("good", "great", "fine", "lovely", "warm")
BAD = ("bad", "poor", "dull", "awful", "cold")
OTHER = ("film", "book", "song", "plot", "cast", "scene", "the", "a", "very", "quite", "not", "is", "was", "it", "and", "with")
ALL = (*GOOD, *BAD, *OTHER)
