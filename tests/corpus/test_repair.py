import sys

import ftfy
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootstock.core.errors import RecipeError, UsageError
from rootstock.corpus.step import SCHEMA
from rootstock.corpus.steps import repair
from rootstock.corpus.steps.repair import Repair


def judge(text, **options):
    return Repair(**options).judge(text)


@pytest.mark.parametrize(
    ("broken", "mended", "kinds"),
    [
        ("The cafÃ© was â€œopenâ€\x9d.", "The café was “open”.", {"mojibake"}),
        ("\x8dâ€œopen", "“open", {"mojibake", "control character"}),
        ("fish &amp; chips &lt;3", "fish & chips <3", {"entity"}),
        ("<b>fish &amp; chips</b>", "<b>fish &amp; chips</b>", set()),
        ("be\x08ll and \ufeffmark and \x1b[31mred\x1b[0m", "bell and mark and red", {"control character"}),
        ("caf\u0065\u0301", "caf\u00e9", {"composition"}),
        ("\ufb01nding", "finding", {"ligature"}),
        ("one\r\ntwo\rthree\fend", "one\ntwo\nthree\nend", {"line end"}),
        ("one\u2028two\u2029three", "one\ntwo\nthree", {"line end"}),
        ("one  \ntwo\t\n three", "one\ntwo\n three", {"trailing blanks"}),
        ("\n\none\n", "one", {"line ends around"}),
        ("one\n\n\n\ntwo\n\n\nthree\n\nfour", "one\n\n\ntwo\n\n\nthree\n\nfour", {"blank lines"}),
        ("one\n \n\t\n \ntwo", "one\n\n\ntwo", {"trailing blanks", "blank lines"}),
        ("plain, “curly” — and ’s", "plain, “curly” — and ’s", set()),
        ("你好，世界！", "你好，世界！", set()),
        ("👩\u200d🚀 x² ½ №", "👩\u200d🚀 x² ½ №", set()),
    ],
)
def test_each_kind_of_damage_is_mended_and_named(broken, mended, kinds):
    found = judge(broken)
    assert found.text == mended
    assert set(found.changed) == kinds
    assert found.reason is None


def test_a_line_is_mended_for_itself():
    found = judge("naïve\nnaÃ¯ve\nnaÃ¯ve &amp; co")
    assert found.text == "naïve\nnaïve\nnaïve & co"
    assert found.changed == {"entity": 1, "mojibake": 1}


@pytest.mark.parametrize("text", ["", " \n\t\n ", "\r\n", "\x00\x01", "\u200b\ufeff \u00ad", "&nbsp;&#8203;"])
def test_what_shows_nothing_is_empty(text):
    assert judge(text).reason == "empty"


def test_settings():
    assert judge("“Ｈi”", quotes=True).text == '"Ｈi"'
    assert judge("“Ｈi”", widths=True).text == "“Hi”"
    assert judge("one\n\n\ntwo", blank_lines=0).text == "one\ntwo"
    assert judge("one\n\n\ntwo", blank_lines=1).text == "one\n\ntwo"
    with pytest.raises(RecipeError, match="quotes"):
        Repair.build({"quote": True}, "repair")


def test_a_table_of_documents():
    texts = ["cafÃ©", "fine", " ", "naÃ¯ve\r\n"]
    table = pa.table([["a", "b", "c", "d"], texts, [""] * 4, [0] * 4], schema=SCHEMA)
    found = Repair().apply(table)
    assert found.texts == ["café", "fine", "", "naïve"]
    assert found.reasons == [None, None, "empty", None]
    assert found.changed == {"mojibake": 2, "line end": 1, "line ends around": 1, "trailing blanks": 1}


PIECES = [
    "cafÃ©",
    "&amp;",
    "&amp;lt;",
    "<b>",
    "\r",
    "\n",
    "\n\n\n",
    " ",
    "\u2028",
    "\x85",
    "â€œ",
    "Ã ",
    "e\u0301",
    "\ufb01",
    "\x07",
    "文",
    "Ａ",
    "“",
    "x",
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=12).map("".join))
@settings(max_examples=300, deadline=None)
def test_what_is_mended_stays_as_it_is(text):
    once = judge(text).text
    found = judge(once)
    assert found.text == once
    assert not found.changed
    assert "\r" not in once
    assert "\n\n\n\n" not in once
    assert all(line == line.rstrip() for line in once.split("\n"))


@given(st.text(st.characters(max_codepoint=127) | st.sampled_from("é“Ã¯ﬁ文"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_lines_that_ftfy_is_not_shown_are_ones_it_would_leave(text):
    config = ftfy.TextFixerConfig(uncurl_quotes=False, fix_character_width=False)
    for line in text.split("\n"):
        if not repair._SUSPECT.search(line):
            assert ftfy.fix_and_explain(line, config).text == line


def test_without_ftfy_the_extra_is_named(monkeypatch):
    repair._fixer.cache_clear()
    monkeypatch.setitem(sys.modules, "ftfy", None)
    with pytest.raises(UsageError, match=r"rootstock\[corpus\]"):
        judge("plain")


def test_mojibake_beside_an_odd_line_end_is_mended_in_the_same_pass():
    assert judge("\u2028Ã &amp;").text == "à &"
