"""Tokenizers: the same bytes each time, what a reference learns, special tokens of each family, what is wrong said clearly."""

import hashlib
import json
import os
import random
import subprocess
import sys
import unicodedata
from collections import Counter
from importlib.util import find_spec
from itertools import pairwise

import pytest
import transformers
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rootstock.core.errors import BaseError, DataError, RecipeError, UsageError
from rootstock.corpus import fertility, pieces, tokenizer
from rootstock.corpus.families import FAMILIES, TokenizerSettings

COMBINATIONS = [(kind, family) for family, each in FAMILIES.items() for kind in each.kinds]


def made_texts(count=400, seed=7):
    """Texts of made-up words, joined of syllables by seed, the first ones the most frequent; English and numbers between."""
    rng = random.Random(seed)
    syllable = lambda: rng.choice("bdfgklmnprst") + rng.choice("aeiou") + rng.choice(["", "", "n", "r", "st"])  # noqa: E731
    words = ["root", "frost", *("".join(syllable() for _ in range(rng.randint(1, 4))) for _ in range(600))]
    weights = [1 / (rank + 5) for rank in range(len(words))]
    drawn = (rng.choices(words, weights, k=20) for _ in range(count))
    return [f"{' '.join(each).capitalize()}, {rng.randrange(2000)} (été).\n" for each in drawn]


TEXTS = made_texts()


def trained(texts=TEXTS, **options):
    if options.get("kind") == "unigram":
        pytest.importorskip("sentencepiece")
    settings = TokenizerSettings(**{"size": 500} | options)
    return tokenizer.train(iter(texts), settings), settings


def tokens_of(tok, text):
    return tok.encode(text, add_special_tokens=False).tokens


# -- what is learned --------------------------------------------------------------------------------------------------------


def merges_by_hand(words, numbers, rounds, least, join):
    """Byte-pair encoding in its plainest form: count all pairs anew each round; of equally frequent ones the pair of lower numbers."""
    numbers = dict(numbers)
    made = []
    for _ in range(rounds):
        pairs = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], numbers[pair[0]], numbers[pair[1]]), default=None)
        if best is None or pairs[best] < least:
            break
        new = join(*best)
        numbers.setdefault(new, len(numbers))
        made.append(new)
        replaced = Counter()
        for word, count in words.items():
            out, at = [], 0
            while at < len(word):
                if word[at : at + 2] == best:
                    out.append(new)
                    at += 2
                else:
                    out.append(word[at])
                    at += 1
            replaced[tuple(out)] += count
        words = replaced
    return made


def test_wordpiece_learns_what_plain_counting_learns():
    texts = [" ".join(text.replace(",", "").replace("(", "").replace(").", "").split()) for text in TEXTS[:60]]
    tok, _ = trained(texts, size=160)
    counts = Counter(word for text in texts for word in text.split())
    words = Counter({(word[0], *(f"##{letter}" for letter in word[1:])): count for word, count in counts.items()})
    inner = sorted({part for word in words for part in word[1:]})
    letters = sorted({letter for word in counts for letter in word})
    numbers = {token: number for number, token in enumerate([*inner, *letters])}
    room = 160 - 5 - len(numbers)
    made = merges_by_hand(words, numbers, room, 2, lambda a, b: a + b.removeprefix("##"))
    expected = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *inner, *made]
    assert sorted(tok.get_vocab(), key=tok.get_vocab().get) == expected
    assert len(expected) == 160


def test_byte_level_bpe_learns_what_plain_counting_learns():
    texts = ["low lower lowest", "new newer newest", "low new"] * 3
    tok, _ = trained(texts, kind="bpe", size=1 + 256 + 12)
    alphabet = sorted(tok.get_vocab(), key=tok.get_vocab().get)[1:257]
    words = Counter()
    for text in texts:
        words.update(("Ġ" if number else "") + word for number, word in enumerate(text.split()))
    split = Counter({tuple(word): count for word, count in words.items()})
    made = merges_by_hand(split, {letter: number for number, letter in enumerate(alphabet)}, 12, 2, str.__add__)
    assert sorted(tok.get_vocab(), key=tok.get_vocab().get)[257:] == made
    assert len(made) == 12


def test_llama_learns_what_plain_counting_learns():
    texts = ["low lower lowest", "new newer newest", "low new"] * 3
    letters = sorted(set("".join(texts).replace(" ", "")) | {"▁"})
    tok, _ = trained(texts, kind="bpe", family="llama", size=3 + 256 + len(letters) + 9)
    words = Counter(tuple("▁" + word) for text in texts for word in text.split())
    made = merges_by_hand(words, {letter: number for number, letter in enumerate(letters)}, 9, 2, str.__add__)
    assert sorted(tok.get_vocab(), key=tok.get_vocab().get)[259:] == [*letters, *made]


def likeliest(word, scores):
    """The highest sum of scores over all ways to cut a word."""
    best = [0.0]
    for end in range(1, len(word) + 1):
        best.append(max(best[start] + scores.get(word[start:end], -1e9) for start in range(end)))
    return best[-1]


def test_unigram_pieces_are_likely_words_and_all_letters():
    tok, _ = trained(kind="unigram", size=400)
    model = json.loads(tok.to_str())["model"]
    scores = dict(model["vocab"])
    pieces_ = list(scores)[3:]
    assert 0.85 < sum(2.718281828459045 ** scores[piece] for piece in pieces_) < 1.01
    assert {letter for text in TEXTS for word in text.split() for letter in word} <= set(pieces_)
    assert tokens_of(tok, "frost root") == ["▁frost", "▁root"]
    for word in ("▁frosted", "▁bastika", "▁été", "▁1984", *("▁" + each for each in TEXTS[0].replace(",", "").split()[:20])):
        found = tokens_of(tok, word[1:])
        assert "".join(found) == word
        assert sum(scores[piece] for piece in found) == pytest.approx(likeliest(word, scores))
    assert tok.decode(tok.encode("Frosted roots, 12 (été).").ids) == "Frosted roots, 12 (été)."


SCRIPT = """
import hashlib, sys
from pathlib import Path
from rootstock.corpus import tokenizer
from rootstock.corpus.families import TokenizerSettings
texts = Path(sys.argv[1]).read_text("utf-8").split("\\0")
for name in sys.argv[3:]:
    kind, family = name.split("-")
    settings = TokenizerSettings(kind=kind, family=family, size=600)
    made = tokenizer.train(iter(texts), settings)
    tokenizer.save(made, settings, Path(sys.argv[2]) / name)
"""


def test_the_same_texts_give_the_same_bytes(tmp_path):
    """In processes of their own, with other hash seeds and numbers of threads; ties abound in these texts."""
    kinds = [("wordpiece", "bert"), ("bpe", "gpt"), ("bpe", "llama"), *([("unigram", "t5")] if find_spec("sentencepiece") else [])]
    (tmp_path / "texts").write_text("\0".join(TEXTS), "utf-8")
    found = {}
    for run, threads in enumerate(("1", "2", "3")):
        surroundings = os.environ | {"PYTHONHASHSEED": str(run), "RAYON_NUM_THREADS": threads}
        arguments = [sys.executable, "-c", SCRIPT, str(tmp_path / "texts"), str(tmp_path / str(run)), *map("-".join, kinds)]
        subprocess.run(arguments, check=True, env=surroundings, timeout=120)
        for kind in map("-".join, kinds):
            files = sorted((tmp_path / str(run) / kind).iterdir())
            found.setdefault(kind, set()).add(tuple((path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files))
    assert {kind: len(made) for kind, made in found.items()} == dict.fromkeys(map("-".join, kinds), 1)


def test_the_order_of_texts_does_not_matter():
    one, _ = trained(TEXTS)
    other, _ = trained(list(reversed(TEXTS)))
    assert one.to_str() == other.to_str()


def test_units_are_counted_as_the_pre_tokenizer_cuts_whole_texts():
    tok, _ = trained(kind="wordpiece", case="lower")
    whole = Counter()
    for text in TEXTS:
        whole.update(unit for unit, _ in tok.pre_tokenizer.pre_tokenize_str(tok.normalizer.normalize_str(text)))
    assert pieces._count(TEXTS, tok) == whole


def test_counting_in_portions_changes_nothing(monkeypatch):
    tok, _ = trained()
    whole = pieces._count(TEXTS, tok)
    monkeypatch.setattr(pieces, "_HELD", 3)
    assert pieces._count(TEXTS, tok) == whole


def test_a_pair_seen_less_than_least_is_not_merged():
    texts = ["ab ab ab cd cd"]
    for least, merged in ((2, {"ab", "cd"}), (3, {"ab"}), (4, set())):
        assert {each for each in trained(texts, least=least)[0].get_vocab() if len(each) == 2} == merged


def test_long_texts_are_cut_before_spaces(monkeypatch):
    monkeypatch.setattr(pieces, "_STRETCH", 10)
    parts = list(pieces.stretches("one two three fourfourfour five"))
    assert "".join(parts) == "one two three fourfourfour five"
    assert parts == ["one two", " three", " fourfourf", "our five"]
    assert list(pieces.stretches("")) == [""]


# -- settings ---------------------------------------------------------------------------------------------------------------


def test_case_digits_and_normalization_do_what_they_say():
    texts = ["Été 1984 ﬁn"] * 5
    lower, _ = trained(texts, case="lower")
    assert tokens_of(lower, "ÉTÉ") == ["été"]
    assert tokens_of(trained(texts)[0], "1984") == ["1984"]
    for kind, family in COMBINATIONS:
        apart, _ = trained(texts, kind=kind, family=family, digits="apart", size=700)
        found = [token for token in tokens_of(apart, "n 1984") if any(letter.isdigit() for letter in token)]
        assert [token.strip("Ġ▁#") for token in found] == ["1", "9", "8", "4"], (kind, family)
    assert trained(texts, normalization="none")[0].normalizer.normalize_str("e\u0301 ﬁ") == "e\u0301 ﬁ"
    assert trained(texts, normalization="nfc")[0].normalizer.normalize_str("e\u0301 ﬁ") == "é ﬁ"
    assert trained(texts, normalization="nfkc")[0].normalizer.normalize_str("e\u0301 ﬁ") == "é fi"


def test_coverage_leaves_out_the_rarest_characters():
    texts = ["aaaa bbbb cccc dddd"] * 100 + ["abcz"]
    assert "z" in trained(texts)[0].get_vocab()
    tok, _ = trained(texts, coverage=0.999)
    assert "z" not in tok.get_vocab()
    assert tokens_of(tok, "abcz") == ["[UNK]"]
    llama, _ = trained(texts, kind="bpe", family="llama", coverage=0.999)
    assert tokens_of(llama, "z") == ["▁", "<0x7A>"]
    assert pieces._alphabet({"aab": 2, "c": 1}, 1.0) == {"a", "b", "c"}
    assert pieces._alphabet({"aab": 2, "c": 1}, 0.6) == {"a", "b"}
    assert pieces._alphabet({"aab": 2, "c": 1}, 0.5) == {"a"}


@pytest.mark.parametrize(("kind", "family"), COMBINATIONS)
def test_the_smallest_size_is_named_and_works(kind, family):
    texts = ["some few words"] * 3
    with pytest.raises(UsageError, match="too small") as error:
        trained(texts, kind=kind, family=family, size=1)
    smallest = int(error.value.wanted.split()[0].replace(",", ""))
    with pytest.raises(UsageError, match=f"take {smallest:,}"):
        trained(texts, kind=kind, family=family, size=smallest - 1)
    tok, _ = trained(texts, kind=kind, family=family, size=smallest)
    assert tok.get_vocab_size() == smallest
    decoded = tok.decode(tok.encode("some few words").ids)
    assert decoded == "some few words"


def test_the_size_counts_every_token():
    for kind, family in COMBINATIONS:
        tok, _ = trained(kind=kind, family=family, size=450)
        assert tok.get_vocab_size() == 450, (kind, family)
        assert sorted(tok.get_vocab().values()) == list(range(450))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "wordpeice"}, "did you mean 'wordpiece'"),
        ({"kind": "bpe", "family": "lama"}, "did you mean 'llama'"),
        ({"size": 0}, "1 or more"),
        ({"size": 2**40}, "less than"),
        ({"coverage": 0}, "more than 0"),
        ({"normalization": "nfd"}, "did you mean"),
        ({"sise": 3}, "did you mean 'size'"),
    ],
)
def test_wrong_settings_name_the_nearest(options, said):
    with pytest.raises(RecipeError, match=said):
        TokenizerSettings.build(options, "")


def test_kinds_that_do_not_go_together_are_refused():
    with pytest.raises(UsageError, match="wordpiece does not go with the family gpt"):
        TokenizerSettings(kind="wordpiece", family="gpt").resolved()
    with pytest.raises(UsageError, match="unigram does not go with the family gpt"):
        TokenizerSettings(kind="unigram", family="gpt").resolved()
    with pytest.raises(UsageError, match="--least has no meaning"):
        TokenizerSettings(kind="unigram", least=3).resolved()
    assert TokenizerSettings(kind="unigram").resolved().family == "t5"
    whole = TokenizerSettings(kind="unigram").resolved().plain()
    assert TokenizerSettings(**whole).resolved().plain() == whole


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
@pytest.mark.parametrize("texts", [[], ["", " \n"]], ids=["none", "blank"])
def test_an_empty_corpus_is_refused(kind, texts):
    with pytest.raises(DataError, match="no text to learn from"):
        trained(texts, kind=kind)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(UsageError, match=r"rootstock\[corpus\]"):
        tokenizer.train(iter(TEXTS), TokenizerSettings(kind="unigram"))


# -- text to tokens and back ------------------------------------------------------------------------------------------------

BYTE_LEVEL = tokenizer.train(iter(TEXTS), TokenizerSettings(kind="bpe", normalization="none", size=600))
COMPOSED = tokenizer.train(iter(TEXTS), TokenizerSettings(kind="bpe", digits="apart", size=600))


@given(st.text())
@hypothesis_settings(max_examples=300, deadline=None)
def test_byte_level_bpe_loses_nothing(text):
    assert BYTE_LEVEL.decode(BYTE_LEVEL.encode(text).ids, skip_special_tokens=False) == text
    assert COMPOSED.decode(COMPOSED.encode(text).ids, skip_special_tokens=False) == unicodedata.normalize("NFC", text)


def test_llama_falls_back_to_bytes_for_what_it_never_saw():
    tok, _ = trained(kind="bpe", family="llama")
    assert tokens_of(tok, "é日") == ["▁", "é", "<0xE6>", "<0x97>", "<0xA5>"]
    for text in ("roots\n\tand  日本 grafts", "<0x41> is written out"):
        assert tok.decode(tok.encode(text).ids) == text


def test_a_lone_surrogate_and_a_huge_word_do_no_harm():
    for kind, family in COMBINATIONS:
        tok, _ = trained([*TEXTS, "half \ud83d of it", "x" * 5000], kind=kind, family=family)
        assert tok.get_vocab_size() == 500


# -- families and folders ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "family"), COMBINATIONS)
def test_transformers_reads_the_same_tokenizer(kind, family, tmp_path):
    tok, settings = trained(kind=kind, family=family, length=77)
    tokenizer.save(tok, settings, tmp_path / "tok")
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / "tok")
    assert loaded.is_fast
    assert len(loaded) == 500
    assert loaded.model_max_length == 77
    for name, token in FAMILIES[family].roles.items():
        assert getattr(loaded, name) == token
        assert loaded.convert_tokens_to_ids(token) < len(FAMILIES[family].first)
    for pair in (("Grafted roots.", None), ("Frost, 1984!", "No harvest\n(été)"), ("日本", "x")):
        mine = tok.encode(*(part for part in pair if part is not None))
        theirs = loaded(*pair, return_token_type_ids=True)
        assert theirs["input_ids"] == mine.ids
        assert theirs["token_type_ids"] == mine.type_ids
    padded = loaded(["root", "root stock and more"], padding=True)["input_ids"]
    assert padded[0][-1] == loaded.pad_token_id
    assert ("token_type_ids" in loaded("root")) == (family == "bert")


def test_bert_puts_its_tokens_and_segments_around_texts():
    tok, _ = trained()
    pair = tok.encode("root", "leaf")
    assert pair.tokens[0] == "[CLS]"
    assert [token for token in pair.tokens if token.startswith("[")] == ["[CLS]", "[SEP]", "[SEP]"]
    border = pair.tokens.index("[SEP]") + 1
    assert pair.type_ids == [0] * border + [1] * (len(pair.ids) - border)
    assert [tok.token_to_id(each) for each in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")] == [0, 1, 2, 3, 4]


def test_the_other_families_put_theirs():
    gpt, _ = trained(kind="bpe")
    assert not set(gpt.encode("root").tokens) & {"<|endoftext|>"}
    assert gpt.encode("root<|endoftext|>leaf").ids.count(gpt.token_to_id("<|endoftext|>")) == 1
    llama, _ = trained(kind="bpe", family="llama")
    assert llama.encode("root").tokens[0] == "<s>"
    assert [llama.token_to_id(each) for each in ("<unk>", "<s>", "</s>", "<0x00>", "<0xFF>")] == [0, 1, 2, 3, 258]


def test_t5_has_a_hundred_sentinels_that_count_down(tmp_path):
    tok, settings = trained(kind="unigram")
    assert tok.encode("root").tokens[-1] == "</s>"
    assert [tok.token_to_id(each) for each in ("<pad>", "</s>", "<unk>", "<extra_id_99>", "<extra_id_0>")] == [0, 1, 2, 400, 499]
    assert tokens_of(tok, "a <extra_id_0> b").count("<extra_id_0>") == 1
    tokenizer.save(tok, settings, tmp_path / "tok")
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / "tok")
    assert loaded.decode(loaded("root <extra_id_3> leaf")["input_ids"], skip_special_tokens=True) == "root leaf"


def test_a_mask_takes_the_space_that_its_word_would_have():
    tok, _ = trained(kind="bpe", family="bert")
    number = tok.token_to_id("[MASK]")
    assert tok.encode("the [MASK].", add_special_tokens=False).ids[-2:] == [number, tok.token_to_id(".")]
    assert "Ġ" not in tokens_of(tok, "the [MASK].")


def test_facts_say_what_it_was_made_of(tmp_path):
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS) + "{broken\n", "utf-8")
    seen = tokenizer.reading([str(tmp_path / "texts.jsonl")])
    settings = TokenizerSettings(size=300)
    facts = tokenizer.save(tokenizer.train(seen, settings), settings, tmp_path / "tok", trained_on=seen.facts())
    assert json.loads((tmp_path / "tok" / "tokenizer-facts.json").read_text()) == facts
    digest = hashlib.sha256()
    for text in TEXTS:
        digest.update(len(text.encode()).to_bytes(8, "little") + text.encode())
    told = facts["trained_on"]
    assert (told["texts"], told["characters"], told["digest"]) == (400, sum(map(len, TEXTS)), digest.hexdigest())
    assert told["broken"] == {"no JSON": 1}
    assert facts["size"] == 300
    assert facts["settings"]["family"] == "bert"
    assert "no JSON: 1" in tokenizer.told(tmp_path, facts)


def test_a_place_that_holds_something_is_refused(tmp_path):
    tok, settings = trained()
    tokenizer.save(tok, settings, tmp_path / "tok")
    with pytest.raises(UsageError, match="already holds a tokenizer"):
        tokenizer.save(tok, settings, tmp_path / "tok")
    tokenizer.save(tok, settings, tmp_path / "tok", overwrite=True)
    (tmp_path / "tok" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"other files: thesis\.txt"):
        tokenizer.save(tok, settings, tmp_path / "tok", overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        tokenizer.check_place(tmp_path / "file")


@pytest.mark.parametrize("held", [None, "", "{}", "[1]", "nonsense", '{"model": {"type": "BPE", "vocab": 3}}', "\udcff"])
def test_a_folder_that_is_no_tokenizer_is_refused(held, tmp_path):
    if held is not None:
        (tmp_path / "tokenizer.json").write_bytes(held.encode(errors="surrogateescape"))
    with pytest.raises(BaseError, match="holds no tokenizer" if held is None else "can't be read"):
        tokenizer.load(tmp_path)


def test_a_tokenizer_comes_back_from_its_folder(tmp_path):
    tok, settings = trained()
    tokenizer.save(tok, settings, tmp_path / "tok")
    found = tokenizer.cut(tokenizer.load(tmp_path / "tok"), "roots, no")
    assert [each["id"] for each in found] == tok.encode("roots, no").ids
    assert found[0] == {"token": "[CLS]", "id": 2, "place": None}
    assert "".join("roots, no"[slice(*each["place"])] for each in found[1:-1]) == "roots,no"


# -- fertility --------------------------------------------------------------------------------------------------------------


def test_words_are_those_of_unicode():
    text = "Can't stop: 3.14, naïve—U.S. re-entry 你好 snake_case 'quoted' 👍🏽 e\u0301te\u0301 слово"
    found = [text[start:end] for start, end in fertility.words(text)]
    assert found == [
        *("Can't", "stop", "3.14", "naïve", "U.S", "re", "entry", "你", "好", "snake_case", "quoted", "e\u0301te\u0301", "слово"),
    ]


def test_the_report_counts_by_hand():
    """The alphabet a, b and the whole word ab: 'ab ba abba. c' is ab, b ##a, ab ##b ##a, ., [UNK]."""
    tok, _ = trained(["ab ab ab ba abba ."], size=5 + 3 + 2 + 1)
    assert tokens_of(tok, "ab ba abba. c") == ["ab", "b", "##a", "ab", "##b", "##a", ".", "[UNK]"]
    found = fertility.report(tok, [("xx", "ab ba abba. c"), ("", "ab"), ("xx", "ab")])
    assert list(found["languages"]) == ["", "xx"]
    told = found["languages"]["xx"]
    assert (told["texts"], told["words"], told["tokens"]) == (2, 5, 9)
    assert told["tokens_per_word"] == pytest.approx((1 + 2 + 3 + 1 + 1) / 5)
    assert told["whole_words"] == pytest.approx(2 / 5)
    assert told["unknown"] == pytest.approx(1 / 9)
    assert told["characters_per_token"] == pytest.approx(15 / 9)
    assert told["bytes_per_token"] == pytest.approx(15 / 9)
    assert told["alphabet"] == pytest.approx(11 / 12)
    assert told["missing"] == {"c": 1}
    assert told["split"] == [{"word": "abba", "pieces": ["ab", "b", "a"]}, {"word": "ba", "pieces": ["b", "a"]}]
    assert found["languages"][""]["tokens_per_word"] == 1
    shown = fertility.as_text(found)
    assert "xx: in most pieces: ab|b|a, b|a" in shown
    assert "'c' (1)" in shown


@pytest.mark.parametrize(("kind", "family"), COMBINATIONS)
def test_a_space_before_a_word_is_not_counted_twice(kind, family):
    tok, _ = trained(["root leaf"] * 50, kind=kind, family=family, size=470)
    told = fertility.report(tok, [("", "leaf root leaf, root")])["languages"][""]
    assert told["words"] == 4
    if kind != "unigram":
        assert told["whole_words"] >= 0.5
    assert 1 <= told["tokens_per_word"] <= 3
    byte_level = kind == "bpe" and family != "llama"
    assert told["alphabet"] == (1 if byte_level else pytest.approx(16 / 17))
    assert told["missing"] == ({} if byte_level else {",": 1})


def test_bytes_that_stand_in_are_characters_without_a_token():
    tok, _ = trained(kind="bpe", family="llama")
    told = fertility.report(tok, [("", "日本 root")])["languages"][""]
    assert told["unknown"] == 0
    assert told["missing"] == {"日": 1, "本": 1}
    assert told["alphabet"] == pytest.approx(4 / 6)
    whole = fertility.report(BYTE_LEVEL, [("", "日本 root")])["languages"][""]
    assert whole["alphabet"] == 1


def test_batches_and_stretches_change_no_sum(monkeypatch):
    tok, _ = trained()
    rows = [("en" if number % 3 else "xx", text) for number, text in enumerate(TEXTS)]
    whole = fertility.report(tok, rows)
    monkeypatch.setattr(fertility, "_AT_ONCE", 100)
    monkeypatch.setattr(fertility, "_HELD", 7)
    assert fertility.report(tok, rows) == whole
    few = fertility.report(tok, rows, most=2)
    assert {name: each["texts"] for name, each in few["languages"].items()} == {"en": 2, "xx": 2}


def test_examples_are_words_and_no_junk():
    tok, _ = trained()
    told = fertility.report(tok, [("", f"12345678 x9y8z7w6 {'qv' * 20} gardenlike gardenlike unkind")])["languages"][""]
    assert [each["word"] for each in told["split"]] == ["gardenlike", "unkind"]


def test_a_report_on_nothing_is_refused():
    with pytest.raises(DataError, match="no text to report on"):
        fertility.report(BYTE_LEVEL, [])


# -- where texts come from --------------------------------------------------------------------------------------------------


def test_every_language_of_real_text_keeps_its_letters(data_folder):
    """The declaration of human rights in seven languages: the default alphabet covers all of it, a small coverage does not."""
    import zipfile

    with zipfile.ZipFile(data_folder / "udhr2" / "udhr2.zip") as archive:
        rows = [
            (code, archive.read(f"udhr2/{code}.txt").decode("utf-8"))
            for code in ("eng", "deu", "fra", "rus", "ell_monotonic", "tur", "vie")
        ]
    texts = [text for _, text in rows]
    tok, _ = trained(texts, size=4000, normalization="none")
    told = fertility.report(tok, rows)["languages"]
    assert set(told) == {code for code, _ in rows}
    for rates in told.values():
        assert rates["unknown"] == 0
        assert 1 < rates["tokens_per_word"] < 3
    narrow, _ = trained(texts, size=4000, coverage=0.95)
    rare = fertility.report(narrow, rows)["languages"]
    assert any(rates["alphabet"] < 0.99 for rates in rare.values())
    assert sum(rates["unknown"] for rates in rare.values()) > 0
