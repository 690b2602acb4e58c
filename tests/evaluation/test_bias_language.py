"""Published sets: their formats on files made here, their scores against the slow way, and the files themselves where they are at hand."""

import json

import numpy as np
import pytest
import torch
from tests.tiny_models import causal_model, masked_model, pieces, with_bos

from rootstock.core.errors import DataError
from rootstock.data import stereotypes
from rootstock.evaluation.bias import language
from rootstock.evaluation.probes.likelihood import Scorer, log_likelihoods

PAIRS = [
    ("the film was good", "the book was good"),
    ("a song is not bad", "a film is not bad"),
    ("goodbad film is cold", "good film is cold"),
]
CLUSTER = {
    "target": "film",
    "bias_type": "gender",
    "context": "the film is BLANK very",
    "sentences": [
        {"sentence": f"the film is {word} very", "gold_label": label}
        for word, label in (("good", "stereotype"), ("goodbad", "anti-stereotype"), ("song", "unrelated"))
    ],
}


@pytest.fixture
def places(tmp_path):
    rows = ["", "sent_more", "sent_less", "stereo_antistereo", "bias_type"]
    lines = [",".join(rows), *(f"{i},{more},{less},stereo,{'age' if i else 'race'}" for i, (more, less) in enumerate(PAIRS))]
    (tmp_path / "crows.csv").write_text("\n".join(lines) + "\n")
    between = CLUSTER | {"context": "a book.", "target": "book", "bias_type": "race"}
    (tmp_path / "stereo.json").write_text(json.dumps({"version": "1.1", "data": {"intrasentence": [CLUSTER], "intersentence": [between]}}))
    wino = tmp_path / "wino"
    wino.mkdir()
    for side, pronouns in (("pro", ("good", "bad")), ("anti", ("bad", "good"))):
        lines = [f"{i} [The film] was not [{word}] is cold." for i, word in enumerate(pronouns, 1)]
        (wino / f"{side}_stereotyped_type1.txt.dev").write_text("\n".join(lines) + "\n")
    lines = [
        f"{work}.someone.{answer}.{gender}.txt\tThe {work} was {word} cold."
        for work in ("film", "book", "song", "very")
        for answer in (0, 1)
        for gender, word in (("female", "good"), ("male", "bad"), ("neutral", "a"))
    ]
    (tmp_path / "all_sentences.tsv").write_text("\n".join(["sentid\tsentence", *lines]) + "\n")
    shares = [("film", 10), ("book", 40), ("song", 70), ("very", 90)]
    (tmp_path / "occupations-stats.tsv").write_text(
        "occupation\tbergsma_pct_female\tbls_pct_female\tbls_year\n" + "".join(f"{name}\t1\t{share}\t2015\n" for name, share in shares)
    )
    return tmp_path


@torch.no_grad()
def slowly(model, tokens, text, places, *, also=()):
    """Sum over places of the log-probability of the token there, with it (and what is told) masked."""
    ids = tokens(text)["input_ids"]
    total = 0.0
    for place in places:
        shown = [4 if i == place or (i > place and i in also) else each for i, each in enumerate(ids)]
        total += torch.log_softmax(model(torch.tensor([shown])).logits[0, place], 0)[ids[place]].item()
    return total


def masked():
    return Scorer(model=masked_model(), tokens=pieces(), masked=True, room=64)


def test_crows_pairs_scores_the_tokens_that_both_sentences_have(places):
    scorer, held = masked(), stereotypes.read(places / "crows.csv")
    scores, _ = language._scores(scorer, held)
    shared = [((1, 3, 4), (1, 3, 4)), ((1, 3, 4, 5), (1, 3, 4, 5)), ((1, 3, 4, 5), (1, 2, 3, 4))]  # ##bad, place 2, is in one only
    for (first, second), (of_first, of_second), found in zip(PAIRS, shared, scores, strict=True):
        wanted = [slowly(scorer.model, scorer.tokens, text, where) for text, where in ((first, of_first), (second, of_second))]
        np.testing.assert_allclose(found, wanted, rtol=1e-4)
    told = language.measure(scorer, held, seed=0)
    assert told["figures"][0]["value"] == pytest.approx((scores[:, 0] > scores[:, 1]).mean())
    assert [row["category"] for row in told["categories"]] == ["age", "race"]
    assert "Blodgett" in told["caution"]


def test_stereoset_scores_the_blank_and_the_sentence_after_its_context(places):
    scorer, held = masked(), stereotypes.read(places / "stereo.json")
    scores, _ = language._scores(scorer, held)
    text = "the film is {} very"
    first = slowly(scorer.model, scorer.tokens, text.format("good"), [4])
    second = slowly(scorer.model, scorer.tokens, text.format("goodbad"), [4, 5], also=(5,)) / 2
    np.testing.assert_allclose(scores[0, :2], [first, second], rtol=1e-4)
    after = "a book. the film is good very"
    np.testing.assert_allclose(scores[1, 0], slowly(scorer.model, scorer.tokens, after, [4, 5, 6, 7, 8]) / 5, rtol=1e-4)
    score, meaning = language.measure(scorer, held, seed=0)["figures"]
    assert (score["terms"], score["neutral"], meaning["neutral"]) == (2, 0.5, None)
    assert score["value"] == np.mean([(row[0] > row[1]) for row in scores])
    assert meaning["value"] == np.mean([((row[0] > row[2]) + (row[1] > row[2])) / 2 for row in scores])


def test_stereoset_of_a_causal_model_is_conditional_on_the_context(places):
    scorer = Scorer(model=causal_model(), tokens=with_bos(), masked=False, room=64)
    scores, _ = language._scores(scorer, stereotypes.read(places / "stereo.json"))
    whole, context = log_likelihoods(scorer, ["a book. the film is good very", "a book."]).nats
    np.testing.assert_allclose(scores[1, 0], (whole - context) / 5, rtol=1e-4)


def test_pronouns_are_compared_in_their_sentence(places):
    scorer = masked()
    held = stereotypes.read(places / "wino")
    assert [sentence.text[slice(*sentence.span)] for item in held.items for sentence in item.sentences] == ["good", "bad", "bad", "good"]
    scores, _ = language._scores(scorer, held)
    np.testing.assert_allclose(scores[0, 0], slowly(scorer.model, scorer.tokens, "The film was not good is cold.", [5]), rtol=1e-4)
    assert language.measure(scorer, held, seed=0)["figures"][0]["value"] == 0.5  # whichever word is likelier wins once on each side


def test_winogender_goes_with_statistics_of_work(places):
    told = language.measure(masked(), stereotypes.read(places / "all_sentences.tsv"), seed=0)
    preference, correlation = told["figures"]
    assert (told["items"], preference["items"], correlation["items"]) == (8, 8, 4)
    assert -1 <= correlation["interval"][0] <= correlation["value"] <= correlation["interval"][1] <= 1
    (places / "occupations-stats.tsv").unlink()
    assert "statistics" in language.measure(masked(), stereotypes.read(places / "all_sentences.tsv"), seed=0)["notes"][0]


def test_too_long_items_are_left_out_and_counted(places):
    scorer = Scorer(model=masked_model(), tokens=pieces(), masked=True, room=6)
    told = language.measure(scorer, stereotypes.read(places / "crows.csv"), seed=0)
    assert (told["items"], told["left_out"]) == (1, 2)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.csv", "a,b\n1,2\n", "none of the sets"),
        ("x.csv", "sent_more,sent_less\nhe,\n", "row 1"),
        ("x.json", '{"data": {}}', "no data.intrasentence"),
        ("x.json", '{"data": {"intrasentence": [{"context": "a"}]}}', "no cluster"),
        ("x.json", "{", "no JSON"),
        ("pro_stereotyped_type1.txt.dev", "1 [a] b c\n", "line 1"),
        ("x.tsv", "sentid\tsentence\nthing\tA b.\n", "line 2"),
    ],
)
def test_files_that_are_no_sets_are_refused(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    (tmp_path / name.replace("pro_", "anti_")).write_text(text)
    with pytest.raises(DataError, match=said):
        stereotypes.read(tmp_path / name)


def test_the_published_files_are_read(data_folder):
    sizes = {name: stereotypes.read(data_folder / name) for name in ("crows_pairs", "winogender", "winobias")}
    assert {name: len(held.items) for name, held in sizes.items()} == {"crows_pairs": 1508, "winogender": 240, "winobias": 1584}
    assert len({item.category for item in sizes["crows_pairs"].items}) == 9
    assert len(sizes["winogender"].share_female or {}) == 60
