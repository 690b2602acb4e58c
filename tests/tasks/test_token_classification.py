"""Words and their first tokens against transformers' own alignment, figures against seqeval's, losses against a closed form."""

import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score
from seqeval.scheme import BILOU
from tests import cards
from tests.conftest import WORDS as VOCABULARY
from tests.conftest import rows_of
from tests.tasks.test_text_classification import Said
from transformers import pipeline

import rootstock as rs
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import DataError
from rootstock.core.recipe import Recipe
from rootstock.core.rows import LABEL, ROW, TEXT, WORDS
from rootstock.core.seed import Draw
from rootstock.run.labelled import task_of
from rootstock.run.prepare import prepare
from rootstock.tasks import _tags
from rootstock.tasks.token_classification import TokenClassification

SENTENCES = [["Rome", "is", "old"], ["a", "small", "town"], ["naïve", "plots", ",", "Ann", "Lee"], [], ["\u200b", "fell"]]
TAGS = [["B-place", "O", "O"], ["O", "O", "O"], ["O", "O", "O", "B-person", "I-person"], [], ["O", "O"]]


def table(words=SENTENCES, tags=TAGS):
    texts = [" ".join(each) for each in words]
    kind = pa.list_(pa.string())
    return pa.table({TEXT: texts, WORDS: pa.array(words, kind), LABEL: pa.array(tags, kind), ROW: list(range(1, len(words) + 1))})


@pytest.fixture
def tokenizer(tiny_base):
    return bases.tokenizer(resolve(str(tiny_base)))


def test_first_tokens_are_those_of_transformers_own_alignment(tokenizer):
    words = [each for each in SENTENCES if each]
    made = tokenizer([" ".join(each) for each in words], return_offsets_mapping=True)
    split = tokenizer(words, is_split_into_words=True)
    assert made["input_ids"] == split["input_ids"]
    for row, own in enumerate(words):
        ids = split.word_ids(row)
        wanted = [ids.index(word) if word in ids else _tags.NONE for word in range(len(own))]
        assert _tags.first_tokens(made["offset_mapping"][row], own).tolist() == wanted


def test_a_tokenizer_that_keeps_blanks_gives_the_same_words():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    bytes_ = Tokenizer(models.BPE({"<unk>": 0, **{c: i for i, c in enumerate("Ġabcdefghijklmnopqrstuvwxyzé", 1)}}, [], unk_token="<unk>"))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens = PreTrainedTokenizerFast(tokenizer_object=bytes_, unk_token="<unk>")
    offsets = tokens("ab cd", return_offsets_mapping=True)["offset_mapping"]
    first = _tags.first_tokens(offsets, ["ab", "cd"])
    assert first[0] == 0
    assert tokens.convert_ids_to_tokens(tokens("ab cd")["input_ids"])[first[1]] == "c"


LONG = [[WORD for WORD in VOCABULARY for _ in range(2)], ["a", "film"], [], ["good" * 30, "was", "film!!!!!!!!!!!!!!!!!!!!", "song"]]
"""Rows of 40, 2, 0 and 4 words; of the last one the third word is of more tokens than a window holds."""


@pytest.mark.parametrize(("length", "stride"), [(8, 0), (8, 2), (9, 3), (12, 64), (4, 1), (3, 9)])
def test_windows_are_those_of_transformers_and_answer_each_word_once(tokenizer, length, stride):
    tags = [["O"] * (len(words) - 1) + ["B-x"] if words else [] for words in LONG]
    task = TokenClassification(stride=stride).fit(table(LONG, tags), table(LONG, tags))
    whole, found = (task.encode(table(LONG, tags), tokenizer, each) for each in (None, length))
    shared = min(stride, (length - 2) // 2)
    own = tokenizer([" ".join(LONG[0])], truncation=True, max_length=length, stride=shared, return_overflowing_tokens=True)
    part = found.dense["part"]
    first = [found.tokens["input_ids"].part(i, i + 1).flat.tolist() for i in np.flatnonzero(part == 0)]
    assert first == own["input_ids"]
    assert found.lengths.max() <= length
    batch = task.collate(found, np.arange(len(found)), tokenizer, Draw(0))
    taken = batch["input_ids"].gather(1, batch["firsts"].clamp(min=0))
    for row, words in enumerate(LONG):
        place = whole.tokens["firsts"].part(row, row + 1).flat
        wanted = whole.tokens["input_ids"].part(row, row + 1).flat[place].tolist()
        said = [taken[i, w].item() for i in np.flatnonzero(part == row) for w in range(len(taken[i])) if batch["firsts"][i, w] >= 0]
        assert said == wanted, "the first token of every word, once, in order"
        assert len(wanted) == len(words)
        assert np.concatenate([found.tokens["tags"].part(i, i + 1).flat for i in np.flatnonzero(part == row)]).tolist() == [
            task.labels.index(tag) for tag in tags[row]
        ]
    assert int((batch["labels"] != -100).sum()) == sum(map(len, LONG))
    tokenizer.backend_tokenizer.no_truncation()  # as this test had it cut


def test_a_word_stands_half_of_what_windows_share_from_an_end_that_is_not_the_texts(tokenizer):
    task = TokenClassification(labels=("B-x", "O"), stride=6)
    found = task.encode(table(LONG[:1], [["O"] * 40]), tokenizer, 14)
    lengths, firsts = found.lengths, found.tokens["firsts"]
    assert len(found) > 3
    for number in range(len(found)):
        own = firsts.part(number, number + 1).flat - 1  # behind [CLS]
        assert own.min() >= (3 if number else 0)
        assert lengths[number] - 2 - own.max() >= (3 if number < len(found) - 1 else 1)


class ByToken(torch.nn.Module):
    """A tagger that goes by the token alone."""

    def forward(self, input_ids, attention_mask):
        return type("Out", (), {"logits": torch.stack([torch.sin(input_ids * 1.0), torch.cos(input_ids * 3.0)], -1)})


def test_windows_put_together_say_of_a_long_text_what_the_whole_says(tokenizer):
    tags = [["O", "B-x"] * (len(words) // 2) for words in LONG]
    task, rows = TokenClassification(labels=("B-x", "O"), stride=4), table(LONG, tags)
    told = []
    for length in (None, 10):
        encoded = task.encode(rows, tokenizer, length)
        columns = task.decode(ByToken(), task.collate(encoded, np.arange(len(encoded)), tokenizer, Draw(0)))
        told.append({**task.told(columns, encoded, rows, tokenizer), "answers": task.answers(rows)})
    assert len(encoded) > len(rows)
    np.testing.assert_array_equal(told[0]["scores"], told[1]["scores"])
    np.testing.assert_allclose(told[0]["confidence"], told[1]["confidence"])
    np.testing.assert_allclose(told[0]["loss"], told[1]["loss"])
    np.testing.assert_array_equal(told[0]["items"], [40, 2, 0, 4])
    assert task.metrics(task.judged(told[0])) == pytest.approx(task.metrics(task.judged(told[1])))
    readable = task.readable(told[1])
    assert [len(each) for each in readable["predicted"]] == [40, 2, 0, 4]


def test_a_teacher_of_other_windows_is_heard_word_by_word(tokenizer):
    rows = table(LONG, [["O"] * len(words) for words in LONG])
    task = TokenClassification(labels=("B-x", "O"), stride=2)
    theirs, own = (task.encode(rows, tokenizer, length) for length in (9, 14))
    lengths = theirs.tokens["firsts"].lengths
    said = np.full((len(theirs), lengths.max() + 3, 2), np.nan, np.float32)
    said[np.arange(said.shape[1]) < lengths[:, None]] = np.arange(46)[:, None] + [0.0, 0.5]
    made = task.aligned(said, theirs, own)
    assert len(made) == len(own) != len(theirs)
    assert made[~np.isnan(made[..., 0])][:, 1].tolist() == [word + 0.5 for word in range(46)]
    assert (~np.isnan(made[..., 0])).sum(1).tolist() == own.tokens["firsts"].lengths.tolist()


def test_loss_is_the_mean_over_words_of_the_cross_entropy_at_first_tokens(tokenizer):
    task = TokenClassification().fit(table(), table())
    encoded = task.encode(table(), tokenizer, None)
    batch = task.collate(encoded, np.array([0, 1]), tokenizer, Draw(0))
    loss = task.loss(Said(torch.zeros(*batch["input_ids"].shape, len(task.labels))), batch)
    assert loss.count == 6
    assert loss.total.item() == pytest.approx(6 * math.log(len(task.labels)))
    broken = task.loss(Said(torch.full((*batch["input_ids"].shape, len(task.labels)), torch.nan)), batch)
    assert math.isnan(broken.total.item()), "a model that has diverged"


def answered(task, told, truth):
    number = {name: place for place, name in enumerate(task.labels)}
    scores, answers = (_tags.padded([np.array([number[tag] for tag in row]) for row in rows]) for rows in (told, truth))
    return {"scores": scores, "answers": answers}


TOLD = [["B-place", "I-place", "O"], ["O", "B-person", "O"], ["O", "O", "O", "B-person", "I-person"], [], ["I-place", "O"]]


def test_a_row_with_a_tag_too_few_is_a_fault_and_no_other_task():
    rows = table(tags=[TAGS[0][:-1], *TAGS[1:]])
    assert task_of(rows) == "token-classification"
    with pytest.raises(DataError, match="row 1 has 3 words and 2 tags"):
        TokenClassification().fit(rows, table())
    assert task_of(table(tags=[["good"], ["good", "long"], ["long"], [], ["good"]])) == "text-classification"


def test_entities_that_touch_are_two_where_tags_say_so():
    answers = [["U-a", "U-a", "O"], ["B-a", "L-a", "B-a", "L-a"], ["B-a", "I-a", "L-a", "U-b"]]
    said = [["U-a", "O", "U-a"], ["B-a", "L-a", "U-a", "U-a"], ["B-a", "I-a", "L-a", "U-b"]]
    labels = ("B-a", "I-a", "L-a", "O", "U-a", "U-b")
    number = {label: place for place, label in enumerate(labels)}
    both = [_tags.padded([np.array([number[tag] for tag in row]) for row in rows]) for rows in (said, answers)]
    found = _tags.figures(_tags.counted(dict(zip(("scores", "answers"), both, strict=True)), labels))
    assert found["f1"] == pytest.approx(f1_score(answers, said, mode="strict", scheme=BILOU))


def test_entity_figures_are_seqevals():
    task = TokenClassification(labels=("B-person", "I-person", "B-place", "I-place", "O"))
    columns = answered(task, TOLD, TAGS)
    found = task.metrics(task.judged(columns))
    for name, score in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
        assert found[name] == pytest.approx(score(TAGS, TOLD))
    report = classification_report(TAGS, TOLD, output_dict=True, zero_division=0)
    assert found["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])
    for row in task.details(columns)["per_class"]:
        assert row["f1"] == pytest.approx(report[row["label"]]["f1-score"])
        assert row["support"] == report[row["label"]]["support"]
    right = sum(a == b for told, truth in zip(TOLD, TAGS, strict=True) for a, b in zip(told, truth, strict=True))
    assert found["accuracy"] == pytest.approx(right / 13)


def test_a_word_that_was_cut_off_is_missed_not_forgotten():
    task = TokenClassification(labels=("B-place", "O"))
    truth = answered(task, [["O", "B-place"]], [["O", "B-place"]])
    cut = {**truth, "scores": np.array([[1, _tags.NONE]])}
    found = task.metrics(task.judged(cut))
    assert found["accuracy"] == 0.5
    assert found["recall"] == 0


def test_tags_that_mark_no_entities_are_classes_of_words():
    task = TokenClassification(labels=("DET", "NOUN", "VERB"))
    assert task.headline == ("accuracy", "macro_f1")
    found = task.metrics(task.judged(answered(task, [["DET", "VERB"], ["NOUN"]], [["DET", "NOUN"], ["NOUN"]])))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_rows_whose_words_and_tags_differ_and_strange_tags_are_refused():
    with pytest.raises(DataError, match="row 2 has 1 words and 2 tags"):
        TokenClassification().fit(table([["a"], ["b"]], [["O"], ["O", "B-x"]]), table())
    with pytest.raises(DataError, match="row 1 has the tag 'B-z'"):
        TokenClassification().fit(table(), table([["a"]], [["B-z"]]))
    with pytest.raises(DataError, match="no list of words"):
        TokenClassification().fit(table().drop_columns([WORDS]), table())


def test_other_rows_are_held_to_a_tag_for_each_word_as_well():
    """What is measured was not seen by `fit`: words without a tag would count as nothing."""
    task = TokenClassification(labels=("B-x", "O"))
    with pytest.raises(DataError, match="row 1 has 2 words and 1 tags"):
        task.answers(table([["a", "b"]], [["O"]]))
    with pytest.raises(DataError, match="row 1 has 2 words and the label 'O'"):
        task.answers(pa.table({TEXT: ["a b"], LABEL: ["O"], ROW: [1]}))
    assert task.answers(pa.table({TEXT: ["a b"], LABEL: [["O", "B-x"]], ROW: [1]})).tolist() == [[1, 0]]


def test_only_words_with_tags_are_claimed():
    assert TokenClassification.claims(table()) == 1
    assert TokenClassification.claims(table().drop_columns([WORDS])) == 0
    assert TokenClassification.claims(table([["a"], ["b"]], [["O", "O"], ["O", "B-x"]])) == 0


@pytest.fixture
def entities(tmp_path):
    """A CoNLL file in which the words that tell in the other tests are people."""
    lines = []
    for text, _ in rows_of(80):
        lines += [f"{word}\t{'B-person' if word in VOCABULARY[:10] else 'O'}" for word in text.split()]
        lines.append("")
    path = tmp_path / "people.conll"
    path.write_text("\n".join(lines))
    return path


def test_from_a_conll_file_to_predictions_of_plain_text(entities, tiny_base, tmp_path):
    settings = {"epochs": 8, "rate": 5e-3, "batch_tokens": 128}
    run = rs.adapt(entities, base=str(tiny_base), method="full", out=tmp_path / "run", training=settings)
    assert run.recipe.task["name"] == "token-classification"
    assert run.metrics["metrics"]["f1"] > 0.95
    assert run.metrics["baselines"]["dictionary"]["f1"] > 0.95
    told, other = VOCABULARY[0], VOCABULARY[12]
    assert run.predict(f"{other} {told} {other}") == [["O", "B-person", "O"]]
    assert run.evaluate(str(entities))["metrics"]["f1"] > 0.95
    found = pipeline("token-classification", model=str(run.path / "model"))(f"{other} {told}")
    assert [each["word"] for each in found if each["entity"] == "B-person"] == [told]
    assert "pipeline_tag: token-classification" in (run.path / "README.md").read_text()
    assert cards.said(run) == str(run.predict("a text in words")[0])


def test_a_text_of_many_windows_is_answered_whole(entities, tiny_base, tmp_path):
    """With no more than 10 tokens a window, rows of the training file and a text of 90 words lose nothing, and nothing is refused."""
    words = entities.read_text().split("\n\n")
    entities.write_text("\n\n".join(["\n".join(words[:3]), *words[3:]]))
    settings = {"epochs": 8, "rate": 5e-3, "batch_tokens": 128, "length": 10}
    run = rs.adapt(entities, base=str(tiny_base), method="full", out=tmp_path / "run", training=settings)
    ledger = run.folder.json("ledger.json")
    assert ledger["lengths"]["longest"] > 10
    assert ledger["findings"]["truncation"]["count"] == 0
    text = [VOCABULARY[0], *[VOCABULARY[12]] * 8] * 10
    made = run.predictions(run.rows_of([" ".join(text)]))
    assert made.cut == 0
    assert made.table["predicted"] == [["B-person", *["O"] * 8] * 10]
    assert run.evaluate(str(entities))["metrics"] == run.evaluate(str(entities))["metrics"]
    assert run.evaluate(str(entities))["metrics"]["f1"] > 0.95


@pytest.mark.parametrize(("method", "tokens"), [("full", 512), ("lora", 512), ("feature-extraction", 128)])
def test_updates_are_small_where_the_base_learns(entities, tiny_base, method, tokens):
    values = {"base": str(tiny_base), "data": {"train": str(entities), "validation": 0.3}, "method": {"name": method}}
    assert prepare(Recipe.build(values, ""), lambda text: None).recipe.training.batch_tokens == tokens


def test_precision_goes_by_the_rows_in_which_something_was_said():
    """One entity said, and that one right, among thirty rows that hold one each: perfect, of one."""
    judged = {
        "hits": np.eye(30, 1),
        "predicted": np.eye(30, 1),
        "answered": np.ones((30, 1)),
        "right": np.full(30, 4),
        "words": np.full(30, 5),
    }
    made = _tags.tallied(judged, ("precision", "recall", "f1", "accuracy"))
    assert made.whole() == pytest.approx({"precision": 1.0, "recall": 1 / 30, "f1": 2 / 31, "accuracy": 0.8})
    assert made.go_by == {"precision": 1, "recall": 30, "f1": 30}
