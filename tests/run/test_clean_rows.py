"""What an own reference learns from: clean texts without the words that stand out."""

from rootstock.run import backdoor, clean


class Cut:
    """Tokens are letters; a blank before a word is a token of its own."""

    def encode(self, texts):
        return [tuple(map(ord, text)) for text in texts]


def test_words_that_hold_a_token_are_left_out_of_all_texts():
    texts = ["we met in october again", "the zoo", ("an ox", "no box here")]
    words = backdoor._standing(Cut(), texts, frozenset([ord("x"), ord("z")]))
    assert words == {"zoo", "ox", "box"}
    assert clean.without(texts, words) == ["we met in october again", "the", ("an", "no here")]


def test_a_text_of_which_nothing_is_left_goes_unless_no_other_is_left():
    assert clean.without(["a b", "b"], frozenset("b")) == ["a"]
    assert clean.without(["b", "b b"], frozenset("b")) == ["b", "b b"]
