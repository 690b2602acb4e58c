import gzip
import random
import re
import sys

import pytest

from rootstock.core.errors import DataError, RecipeError, UsageError
from rootstock.corpus.steps.block_list import BlockList, entries


@pytest.fixture
def listed(tmp_path):
    """A step for a list of these lines."""

    def make(*lines, name="bad.txt", **settings):
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
        return BlockList(files=(str(tmp_path / name),), **settings)

    return make


@pytest.mark.parametrize(
    ("entry", "text", "hit"),
    [
        ("ass", "What an Ass!", True),
        ("ass", "a class of assets, brass", False),
        ("ass hat", "an ASS\n  hat,", True),
        ("ass hat", "an ass, hat", False),
        ("c++", "I write C++ daily", True),
        ("c++", "I write XC++ daily", False),
        ("straße", "auf der STRASSE", True),
        ("ｆｕｌｌ", "a full one", True),
        ("café", "the cafe\u0301 there", True),
        ("cafe", "the cafe\u0301 there", False),
        ("坏词", "这是坏词吗", True),
        ("bad", "bad_word", False),
        ("bad", "bad-word", True),
        ("bad", "", False),
    ],
)
def test_whole_words_whatever_case_and_coding(listed, entry, text, hit):
    judged = listed(entry).judge(text)
    assert judged.text == text
    assert judged.reason == ("on the block list bad.txt" if hit else None)


def test_least_and_share(listed):
    text = "bad one two three bad four five six seven eight"  # 2 of 10 words
    for settings, dropped in (({"least": 2}, True), ({"least": 3}, False), ({"share": 0.2}, True), ({"share": 0.21}, False)):
        assert (listed("bad", **settings).judge(text).reason is not None) == dropped, settings
    assert listed("bad one", "one two", least=2).judge(text).reason is None  # they overlap: one hit
    assert listed("bad one", "one two", "two three", share=0.4).judge(text).reason  # bad one, two three


def test_comments_and_blank_lines_are_no_entries(listed, tmp_path):
    step = listed("# heading", "", "  Worse  WORD ", "worse word", "#comment")
    assert entries(step.files[0]) == ["worse word"]
    assert step.judge("# heading").reason is None
    (tmp_path / "packed.txt.gz").write_bytes(gzip.compress(b"bad\n"))
    assert entries(str(tmp_path / "packed.txt.gz")) == ["bad"]


def test_the_list_that_was_hit_is_named_and_lists_do_not_add_up(listed, tmp_path):
    first, second = listed("bad", name="one.txt"), listed("worse", name="two.txt")
    both = BlockList(files=(*first.files, *second.files), least=2)
    assert both.judge("bad worse").reason is None
    assert both.judge("bad worse worse").reason == "on the block list two.txt"


def test_the_same_as_a_search_for_each_entry(listed):
    rng = random.Random(3)
    letters = ["".join(rng.choices("abc", k=rng.randint(1, 3))) for _ in range(60)]
    chosen = sorted({" ".join(rng.sample(letters, rng.randint(1, 2))) for _ in range(12)})
    step = listed(*chosen)
    seen = set()
    for _ in range(400):
        text = "".join(rng.choice(["", " ", " ", "-", "x"]) + rng.choice(letters) for _ in range(3))
        expected = any(re.search(rf"(?<!\w){re.escape(each)}(?!\w)", " ".join(text.split())) for each in chosen)
        assert (step.judge(text).reason is not None) == expected, text
        seen.add(expected)
    assert seen == {True, False}


def test_bad_lists(tmp_path):
    with pytest.raises(DataError, match="there is no block list"):
        BlockList(files=(str(tmp_path / "none.txt"),)).judge("a")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(DataError, match="is empty"):
        BlockList(files=(str(tmp_path / "empty.txt"),)).judge("a")
    (tmp_path / "comments.txt").write_text("# a\n\n#b")
    with pytest.raises(DataError, match="comments only"):
        BlockList(files=(str(tmp_path / "comments.txt"),)).judge("a")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(DataError, match="not utf-8"):
        BlockList(files=(str(tmp_path / "latin.txt"),)).judge("a")
    with pytest.raises(RecipeError, match="files"):
        BlockList.build({"files": []}, "block-list")


def test_a_missing_package_is_named(listed, monkeypatch):
    monkeypatch.setitem(sys.modules, "ahocorasick", None)
    with pytest.raises(UsageError, match=r"pyahocorasick(?s:.*)rootstock\[corpus\]"):
        listed("bad").judge("a")
