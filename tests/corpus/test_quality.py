import gzip
import itertools
import json
import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootstock.core.errors import RecipeError
from rootstock.corpus.step import SCHEMA
from rootstock.corpus.steps import _lines
from rootstock.corpus.steps.c4 import C4, ends, sentences
from rootstock.corpus.steps.fineweb import FineWeb
from rootstock.corpus.steps.gopher import Gopher

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def words(count, length=4, skip=0):
    """So many different words of one length."""
    found = itertools.islice(itertools.product(LETTERS, repeat=length), skip, skip + count)
    return ["".join(letters)[::-1] for letters in found]


def prose(count, length=4):
    """So many different words, the first two of which are stop words."""
    return ["with", "that", *words(count - 2, length)]


def rows(parts, to_a_row):
    return "\n".join(" ".join(parts[i : i + to_a_row]) for i in range(0, len(parts), to_a_row))


def gopher(text, language="", **options):
    return Gopher(**options).reason(text if isinstance(text, str) else " ".join(text), language)


def test_the_number_of_words():
    assert gopher(prose(49)) == "gopher: too few words"
    assert gopher(prose(50)) is None
    assert gopher(prose(60), most_words=60) is None
    assert gopher(prose(61), most_words=60) == "gopher: too many words"
    assert gopher(prose(10), least_words=10) is None
    assert gopher("") == "gopher: too few words"
    assert gopher([*prose(49), "."]) == "gopher: too few words"
    assert gopher([*prose(48), "a", "7"]) is None


def test_the_mean_length_of_words():
    three = ["the", "and", *words(58, 3)]
    assert gopher(three) is None
    assert gopher([*three[:-1], "of"]) == "gopher: words too short"
    ten = words(60, 10)
    assert gopher(ten, least_stop_words=0) is None
    assert gopher([*ten[:-1], "x" * 11], least_stop_words=0) == "gopher: words too long"


@pytest.mark.parametrize(("mark", "rule"), [("#", "hashes"), ("…", "ellipses"), ("...", "ellipses")])
def test_symbols_to_a_word(mark, rule):
    base = prose(60)
    assert gopher([word + mark * (i < 6) for i, word in enumerate(base)]) is None
    assert gopher([word + mark * (i < 7) for i, word in enumerate(base)]) == f"gopher: too many {rule}"


def test_words_with_a_letter():
    numbers = [str(1000 + i) for i in range(13)]
    assert gopher([*prose(48), *numbers[:12]]) is None
    assert gopher([*prose(47), *numbers]) == "gopher: too few words with letters"
    assert gopher([*prose(47), *(f"({each})é" for each in numbers)]) is None


def test_stop_words():
    rest = words(58)
    assert gopher(["with", "with", *rest]) == "gopher: too few stop words"
    assert gopher(["With", "THAT,", *rest]) is None
    assert gopher(["without", "thatch", *rest]) == "gopher: too few stop words"
    assert gopher(["with", "with", *rest], least_stop_words=1) is None
    assert gopher(rest, stop_words=()) is None
    assert gopher(rest, least_stop_words=0) is None
    assert gopher(["und", "der", *rest], stop_words=("der", "und")) is None


def test_texts_known_to_be_in_another_language():
    assert gopher(words(60), "en") == "gopher: too few stop words"
    assert gopher(words(60), "de") is None
    assert gopher("天地玄黄，宇宙洪荒。" * 3, "zh") is None
    assert gopher("天地玄黄，宇宙洪荒。\n" * 3, "zh") == "gopher: repeated lines"
    assert gopher("天地玄黄，宇宙洪荒。" * 3) == "gopher: too few words"


@pytest.mark.parametrize("bullet", ["•", "‣ ", "- ", "  * "])
def test_bullet_lines(bullet):
    lines = rows(prose(60), 6).split("\n")
    assert gopher("\n".join(bullet * (i < 9) + line for i, line in enumerate(lines))) is None
    assert gopher("\n".join(bullet + line for line in lines)) == "gopher: too many bullet lines"


@pytest.mark.parametrize("mark", ["…", "...", "... "])
def test_ellipsis_lines(mark):
    lines = rows(prose(60), 6).split("\n")
    assert gopher("\n\n".join(line + mark * (i < 3) for i, line in enumerate(lines))) is None
    assert gopher("\n\n".join(line + mark * (i < 4) for i, line in enumerate(lines))) == "gopher: too many ellipsis lines"


def test_repeated_lines_and_paragraphs():
    lines = rows(prose(80), 10).split("\n")
    assert gopher("\n".join([*lines[:6], *["okay"] * 4])) is None
    assert gopher("\n".join([*lines[:5], *["okay"] * 5])) == "gopher: repeated lines"
    # three lines to a paragraph, so that a third of the paragraphs is less than a third of the lines
    long = rows(prose(180), 10).split("\n")
    parts = ["\n".join(long[i : i + 3]) for i in range(0, 18, 3)]
    assert gopher("\n\n".join([*parts, *["okay"] * 4])) is None
    assert gopher("\n\n".join([*parts[:5], *["okay"] * 5])) == "gopher: repeated paragraphs"
    assert gopher("\n\n".join([*parts[:5], *["okay"] * 5]), repeated_paragraphs=0.4) is None


def test_characters_in_repeated_lines_and_paragraphs():
    lines = rows(prose(80), 8).split("\n")
    grams = {"top_grams": (1,) * 3, "repeated_grams": (1,) * 6}
    assert gopher("\n".join([*lines[:8], *lines[:2]]), **grams) is None
    assert gopher("\n".join([*lines[:7], *lines[:2]]), **grams) == "gopher: characters in repeated lines"
    twice = "\n\n".join([*lines[:7], *lines[:2]])
    assert gopher(twice, **grams, repeated_line_characters=1) == "gopher: characters in repeated paragraphs"
    assert gopher(twice, **grams, repeated_line_characters=1, repeated_paragraph_characters=0.23) is None


@pytest.mark.parametrize(("size", "limit"), [(2, 0.2), (3, 0.18), (4, 0.16)])
def test_the_top_grams(size, limit):
    """A gram of n words of four letters comes k times in so many words of four letters that its share is at the limit, and just above."""
    times = 9
    count = round(size * times / limit)
    gram, filler = words(size), words(count, skip=1000)
    others = {"top_grams": tuple(limit if n == size else 1 for n in (2, 3, 4)), "repeated_grams": (1,) * 6, "least_stop_words": 0}

    def text(total):
        free = total - size * times
        return [*itertools.chain.from_iterable([*gram, filler[i]] for i in range(times)), *filler[times:free]]

    assert len(text(count)) == count
    assert gopher(text(count), **others) is None
    assert gopher(text(count - 1), **others) == f"gopher: characters in the top {size}-gram"


@pytest.mark.parametrize(("size", "limit"), [(5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)])
def test_the_repeated_grams(size, limit):
    """One repeat of n words among so many that its share is at most the limit, and just above."""
    count = math.ceil(size / limit)
    limits = tuple(limit if n == size else 1 for n in range(5, 11))
    others = {"top_grams": (1, 1, 1), "repeated_grams": limits, "least_stop_words": 0, "least_words": 0}

    def text(total):
        filler = words(total - 2 * size, skip=1000)
        return [*words(size), *filler, *words(size)]

    assert gopher(text(count), **others) is None
    assert gopher(text(count - 1), **others) == f"gopher: characters in repeated {size}-grams"
    assert gopher(text(count - 1)[:-1], **others) is None


def reference(tokens, size):
    """Shares of characters in the top gram and in repeated ones, by the definitions."""
    found = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
    counts = Counter(found)
    most = max(counts.values())
    length = max(sum(map(len, gram)) for gram in counts if counts[gram] == most)
    tops = [gram for gram in counts if counts[gram] == most and sum(map(len, gram)) == length]

    def covered(starts):
        places = {start + j for start in starts for j in range(size)}
        return sum(len(tokens[place]) for place in places) / sum(map(len, tokens))

    top = {covered([i for i, gram in enumerate(found) if gram == one]) for one in tops}
    return most, top, covered([i for i, gram in enumerate(found) if gram in found[:i]])


@given(st.lists(st.sampled_from(["a", "bb", "ccc", "dd"]), min_size=1, max_size=40))
@settings(max_examples=300, deadline=None)
def test_grams_against_a_reference(tokens):
    sizes = _lines.lengths(tokens)
    seen = {found.size: found for found in _lines.grams(tokens, range(2, 11))}
    for size in range(2, min(10, len(tokens)) + 1):
        most, top, repeated = reference(tokens, size)
        if most == 1:
            assert size not in seen
            continue
        assert any(math.isclose(_lines.top_share(seen[size], sizes), each) for each in top)
        assert _lines.repeated_share(seen[size], sizes) == pytest.approx(repeated)


def test_gram_closed_forms():
    same = ["word"] * 20
    found = {each.size: each for each in _lines.grams(same, range(2, 11))}
    assert _lines.top_share(found[2], _lines.lengths(same)) == 1
    assert [_lines.repeated_share(found[n], _lines.lengths(same)) for n in (5, 10)] == [19 / 20, 19 / 20]
    assert list(_lines.grams(words(50), range(2, 11))) == []
    assert list(_lines.grams(["one"], range(2, 11))) == []
    assert list(_lines.grams([], range(2, 11))) == []


def test_repeats_closed_forms():
    assert _lines.repeats(["aa", "b", "aa", "aa"]) == (2 / 4, 4 / 7)
    assert _lines.repeats([]) == (0, 0)
    assert _lines.lines(" a \n\n\t\n b") == ["a", "b"]
    assert _lines.paragraphs("a\nb\n \nc\n\n\n\nd\n") == ["a\nb", "c", "d"]


def test_gopher_on_a_table():
    texts = [" ".join(prose(60)), " ".join(words(60)), " ".join(words(60)), "short"]
    table = pa.table([list("abcd"), texts, ["", "", "fr", "en"], [0] * 4], schema=SCHEMA)
    found = Gopher().apply(table)
    assert found.texts == texts
    assert found.reasons == [None, "gopher: too few stop words", None, "gopher: too few words"]
    assert not found.changed


def test_gopher_settings_are_checked():
    with pytest.raises(RecipeError, match="bullet_lines"):
        Gopher.build({"bullet_lines": 1.5}, "gopher")
    with pytest.raises(RecipeError, match="least_words"):
        Gopher.build({"least_word": 3}, "gopher")
    with pytest.raises(RecipeError, match="top_grams"):
        Gopher.build({"top_grams": [0.2, 0.1]}, "gopher")


GOOD = "The first sentence stands right here. Here is the second one! And is this the third?"


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("this line has no end mark", "line without end mark"),
        ("This line trails off like so...", "line without end mark"),
        ("Too few words here.", "line of few words"),
        ("Please switch on JavaScript to see it.", "line about javascript"),
        ("Read our Privacy Policy before you go on.", "line about policies"),
        ("This site uses cookies to serve you better.", "line about policies"),
        (f"A word of {'x' * 1001} characters stands here.", "line with a long word"),
    ],
)
def test_c4_takes_lines_out(line, rule):
    found = C4().judge(f"{line}\n{GOOD}\n{line}\n\n{line}\n\n{GOOD}\n{line}")
    assert found.text == f"{GOOD}\n\n{GOOD}"
    assert found.reason is None
    assert found.changed == {rule: 4}


def test_c4_leaves_alone_what_breaks_no_rule():
    text = f"  {GOOD}\n\n\n\n“{GOOD}”\n" + f'"{GOOD}" \n'
    assert C4().judge(text) == C4().judge(text).__class__(text)
    assert C4().judge(f"A word of {'x' * 1000} characters stands here.\n{GOOD}").changed == {}


def test_c4_cuts_citation_marks_out():
    found = C4().judge(f"{GOOD}[3]\nIt was so.[citation needed] It still is now.[12][edit]")
    assert found.text == f"{GOOD}\nIt was so. It still is now."
    assert found.changed == {"citation mark": 4}
    assert C4(citations=False).judge(f"{GOOD}\n{GOOD}[3]").changed == {"line without end mark": 1}
    assert C4().judge(f"{GOOD} [sic] [3b].").changed == {}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (f"{GOOD}\nmenu with Lorem Ipsum in it", "lorem ipsum"),
        (f"{GOOD}\nif (x) {{ return; }}", "curly bracket"),
        ("Two sentences are not enough here. They need one more.", "too few sentences"),
        ("no\nend\nmark", "too few sentences"),
    ],
)
def test_c4_drops_pages(text, rule):
    found = C4().judge(text)
    assert found.reason == f"c4: {rule}"
    assert found.text == text
    assert not found.changed


def test_c4_switches():
    off = {"end_marks": False, "least_words": 0, "javascript": False, "policies": (), "lorem_ipsum": False, "curly_brackets": False}
    text = "menu\nlorem ipsum {javascript}\nterms of use\n[5] x"
    assert C4(**off, citations=False, least_sentences=0, longest_word=20).judge(text).text == text
    assert C4(**off, least_sentences=4).judge(text).reason is None
    assert C4(**off, least_sentences=5).judge(text).reason == "c4: too few sentences"
    assert C4(least_sentences=0).judge("menu").reason == "c4: no line left"
    assert C4(least_words=3).judge(f"{GOOD}\nThree words here.").changed == {}


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("One.", 1),
        ("One. Two! Three?", 3),
        ('He said "yes." She did too.', 2),
        ("Pi is 3.14 and e is 2.72.", 1),
        ("Wait... what?!", 2),
        ("no end", 1),
        ("一。二！三？", 3),
        ("एक। दो।", 2),
        (" ", 0),
        ("." * 300_000 + "x", 1),
    ],
    ids=lambda value: str(value)[:12],
)
def test_sentences(line, count):
    assert sentences(line) == count


def test_ends():
    assert all(map(ends, ["a.", "a!", "a?", 'a"', "a.”", "a. ", "你好。", "यह है।", "هل؟"]))
    assert not any(map(ends, ["a", "a,", "a...", "a…", "a:", "", "a.)"]))


def fineweb(lines, **options):
    return FineWeb(**options).judge("\n".join(lines)).reason


LONG = [" ".join(words(8, skip=8 * i)) for i in range(100)]


def test_fineweb_lines_with_end_marks():
    assert fineweb([line + "." * (i < 3) for i, line in enumerate(LONG[:25])]) == "fineweb: too few lines with end marks"
    assert fineweb([line + "." * (i < 4) for i, line in enumerate(LONG[:25])]) is None
    assert fineweb([line + ".\n\n" * (i < 4) for i, line in enumerate(LONG[:25])]) is None
    assert fineweb(LONG) == "fineweb: too few lines with end marks"
    assert fineweb([]) == "fineweb: too few lines with end marks"


def test_fineweb_short_lines():
    ended = [line + "." for line in LONG]
    assert fineweb([line[-29:] if i < 67 else line for i, line in enumerate(ended)]) == "fineweb: too many short lines"
    assert fineweb([line[-29:] if i < 66 else line for i, line in enumerate(ended)]) is None
    assert fineweb([line[-30:] for line in ended]) is None
    assert fineweb([line[-29:] for line in ended], short_lines=1.1) is None


def test_fineweb_characters_in_repeated_lines():
    ended = [line + "." for line in LONG]
    assert fineweb([*ended[:9], ended[0]]) == "fineweb: characters in repeated lines"
    assert fineweb([*ended[:10], ended[0]]) is None
    assert fineweb([*ended[:10], ended[0]], repeated_characters=0.01) == "fineweb: characters in repeated lines"


def test_what_the_authors_kept_is_kept(data_folder):
    """300 texts of the published C4: they passed the same rules, so only what differs in counting sentences may fall."""
    raw = gzip.decompress((data_folder / "llama_factory_demos" / "c4_demo.jsonl.gz").read_bytes()).decode()
    texts = [json.loads(line)["text"] for line in raw.splitlines()]
    found = [C4().judge(text) for text in texts]
    assert len(texts) == 300
    assert sum(each.reason is not None for each in found) <= 3
    assert sum(bool(each.changed) for each in found) <= 3


def test_prose_is_kept_and_bags_of_stems_are_not(data_folder):
    raw = gzip.decompress((data_folder / "llama_factory_demos" / "wiki_demo.txt.gz").read_bytes()).decode()
    articles = [line for line in raw.split("\n") if len(line.split()) >= 200]
    kept = [gopher(article) for article in articles].count(None)
    assert kept >= 0.95 * len(articles) > 0
    stems = [" ".join(sorted(article.lower().replace("the ", "").split())) for article in articles]
    assert np.mean([gopher(each) is None for each in stems]) < 0.5
