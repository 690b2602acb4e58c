"""Against the published algorithm's own numbers, the paper's figure, and transformers' loss."""

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from tests.conftest import WORDS, make_tokenizer, rows_of, write_csv
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import rootstock
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.bases.save import save_model
from rootstock.core.errors import BaseError
from rootstock.core.loaded import Head
from rootstock.core.rows import Encoded, Ragged
from rootstock.core.seed import Draw
from rootstock.tasks.span_corruption import SpanCorruption, noise_mask, with_sentinels

TASK, ROLLED, LENGTH = SpanCorruption(), SpanCorruption(roll=True), 50
SENTINELS = [f"<extra_id_{number}>" for number in range(12)]
CONFIG = {"model_type": "t5", "num_layers": 2, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_heads": 4}


def t5_tokenizer(sentinels=12):
    """Whole words; sentinels last and counting down, as T5 has them."""
    vocabulary = ["<pad>", "</s>", "<unk>", *WORDS, *SENTINELS[:sentinels][::-1]]
    inner = Tokenizer(models.WordLevel({token: i for i, token in enumerate(vocabulary)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, **special, additional_special_tokens=SENTINELS[:sentinels], model_max_length=64
    )


@pytest.fixture(scope="module")
def tokenizer():
    return t5_tokenizer()


@pytest.fixture
def base(tmp_path, tokenizer):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    tokenizer.save_pretrained(tmp_path / "tok")
    return resolve(f"scratch:{tmp_path / 'config.json'}", tokenizer=tmp_path / "tok")


@pytest.fixture
def model(base, tokenizer):
    made = bases.load(base, TASK.head(), seed=1, dropout=0.0).model
    bases.fit(tokenizer, made)
    TASK.check(made)
    return made


def documents(count=24):
    rng = np.random.default_rng(0)
    return pa.table({"text": [" ".join(rng.choice(WORDS, 52 - row)) for row in range(count)]})


@pytest.fixture(scope="module")
def collated(tokenizer):
    """Collates rows of 29 to 52 tokens."""
    rows = TASK.encode(documents(), tokenizer, LENGTH)

    def collate(chosen=range(8), *, epoch=0, task=TASK):
        return task.collate(rows, np.array(list(chosen)), tokenizer, Draw(3, epoch))

    collate.rows = rows
    return collate


# -- the published algorithm --------------------------------------------------------------------------------------------


def test_rows_have_the_published_lengths():
    """T5's own: 512 tokens of source come from 568 of text and give 114 of target."""
    assert TASK.room(512) == 568
    assert TASK.sizes(568)[2:] == (512, 114)


@pytest.mark.parametrize(("density", "span"), [(0.15, 3.0), (0.15, 2.0), (0.3, 5.0), (0.1, 10.0)])
def test_room_is_that_of_random_spans_helper(density, span):
    def source(tokens):
        noise = round(tokens * density)
        return tokens - noise + round(noise / span) + 1

    for length in range(64, 400, 7):
        tokens = length - 1
        while source(tokens + 1) <= length:
            tokens += 1
        assert SpanCorruption(density=density, mean_span=span).room(length) == tokens


@pytest.mark.parametrize("density", [0.15, 0.5, 0.9])
def test_masks_have_the_published_numbers_and_begin_with_what_stays(density):
    task = SpanCorruption(density=density, mean_span=1 if density > 0.5 else 3)
    numbers = np.random.default_rng(0).random(600)
    for length in range(2, 300):
        sizes = task.sizes(length)
        mask = noise_mask(length, sizes, numbers)
        assert len(mask) == length
        assert mask.sum() == min(max(round(length * density), 1), length - 1)
        assert not mask[0]
        assert mask[-1]
        assert (np.diff(mask.astype(int)) == 1).sum() == sizes.spans
        if density <= 0.5:
            assert sizes.spans == max(round(mask.sum() / 3), 1)


def test_every_division_is_as_likely_as_any_other():
    """Six cut and nine kept tokens, each in two spans: 5 * 8 ways, 250 times each in the mean (standard deviation 15.6)."""
    task = SpanCorruption(density=0.4)
    assert task.sizes(15)[:2] == (6, 2)
    rng = np.random.default_rng(0)
    found = Counter(tuple(noise_mask(15, task.sizes(15), rng.random(30)).tolist()) for _ in range(10_000))
    assert len(found) == 40
    assert max(abs(times - 250) for times in found.values()) < 5 * 15.6


def test_the_papers_own_example():
    """Figure 2: <X>, <Y> and <Z> are the sentinels; a text that ends with what stays has a closing one."""
    words = np.array(["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week", "."], dtype=object)
    cut = np.isin(words, ["for", "inviting", "last"])
    marks = np.array(["<X>", "<Y>", "<Z>"], dtype=object)
    assert " ".join(with_sentinels(words, cut, marks)) == "Thank you <X> me to your party <Y> week ."
    assert " ".join(with_sentinels(words, ~cut, marks)) == "<X> for inviting <Y> last <Z>"


# -- batches ------------------------------------------------------------------------------------------------------------


def texts(batch, row):
    """Source and target of a row without padding."""
    return batch["input_ids"][row][batch["attention_mask"][row] > 0].tolist(), [t for t in batch["labels"][row].tolist() if t != -100]


@pytest.mark.parametrize("task", [TASK, ROLLED], ids=["as T5", "rolled"])
def test_source_and_target_woven_together_are_the_row(task, tokenizer, collated):
    batch, ids = collated(range(24), task=task), collated.rows.tokens["input_ids"]
    sentinels = tokenizer.convert_tokens_to_ids(SENTINELS)
    closed = 0
    for row in range(24):
        source, target = texts(batch, row)
        assert (source.pop(), target.pop()) == (1, 1), "both end with </s>"
        spans = {}
        for token in target:
            if token in sentinels:
                last = spans[token] = []
            else:
                last.append(token)
        assert list(spans) == sentinels[: len(spans)], "from <extra_id_0> on"
        woven = [each for token in source for each in (spans[token] if token in sentinels else [token])]
        assert woven == ids.flat[ids.offsets[row] : ids.offsets[row + 1]].tolist()
        sizes = task.sizes(len(woven))
        assert len(target) - len(spans) == sizes.noise
        assert len(source) + 1 in (sizes.source - task.roll, sizes.source)
        assert len(target) + 1 in (sizes.target - task.roll, sizes.target)
        closed += not spans[target[-1]] if target[-1] in spans else 0
        if task is TASK:
            assert collated.rows.lengths[row] == len(source) + 1 <= LENGTH
    assert (closed > 0) is task.roll, "only a text that ends with what stays has a closing sentinel"


@pytest.mark.parametrize("task", [TASK, ROLLED], ids=["as T5", "rolled"])
def test_a_long_document_gives_pieces_whose_source_fits(task, tokenizer):
    rows = task.encode(pa.table({"text": ["good film " * 150]}), tokenizer, LENGTH)
    batch = task.collate(rows, np.arange(len(rows)), tokenizer, Draw(0, 0))
    assert len(rows) == -(-300 // task.room(LENGTH))
    assert rows.tokens["input_ids"].lengths.sum() == 300
    assert rows.tokens["input_ids"].lengths.max() >= LENGTH
    assert batch["input_ids"].shape[1] <= rows.lengths.max() <= LENGTH


def test_a_rolled_mask_hides_each_place_alike():
    """Of 20 tokens three are cut: each in 15 % of the rows; T5's own masks always leave the first and take the last."""
    ids = Ragged.of([list(range(3, 23))] * 1500)
    rows, words = Encoded({"input_ids": ids}, {}, ids.lengths), t5_tokenizer()
    for task, first, last in ((TASK, 1.0, 0.0), (ROLLED, 0.85, 0.85)):
        source = task.collate(rows, np.arange(1500), words, Draw(1, 0))["input_ids"]
        assert (source == 3).any(1).float().mean().item() == pytest.approx(first, abs=0.04)
        assert (source == 22).any(1).float().mean().item() == pytest.approx(last, abs=0.04)


def test_one_word_is_cut_out_whole(tokenizer):
    rows = TASK.encode(pa.table({"text": ["good", ""]}), tokenizer, 24)
    held = TASK.collate(rows, np.array([0]), tokenizer, Draw(0, 0))
    first, good = tokenizer.convert_tokens_to_ids(["<extra_id_0>", "good"])
    assert held["input_ids"].tolist() == [[first, 1]]
    assert held["labels"].tolist() == [[first, good, 1]]


def test_masks_differ_between_epochs_and_repeat_however_rows_are_cut(collated):
    first, again, other = collated(), collated(), collated(epoch=1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(texts(first, row) != texts(other, row) for row in range(8)), "rows of several spans"
    for row in (2, 7):
        assert texts(collated([row]), 0) == texts(first, row)


# -- loss ---------------------------------------------------------------------------------------------------------------


def test_loss_and_gradients_are_transformers_own(model, collated):
    held = collated()
    theirs = model(**held).loss
    theirs.backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    mine = TASK.loss(model, held)
    (mine.total / mine.count).backward()
    assert mine.count == int((held["labels"] != -100).sum())
    assert mine.total.item() / mine.count == pytest.approx(theirs.item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-3, atol=1e-6)


def test_losses_of_micro_batches_add_up_and_are_what_is_decoded(model, collated):
    whole, parts = TASK.loss(model, collated()), [TASK.loss(model, collated(rows)) for rows in (range(3), range(3, 8))]
    assert sum(part.count for part in parts) == whole.count
    assert sum(part.total.item() for part in parts) == pytest.approx(whole.total.item(), rel=1e-5)
    columns = TASK.decode(model, collated())
    found = TASK.metrics(columns)
    assert set(found) == {"loss", "accuracy"}
    assert found["loss"] == pytest.approx(whole.total.item() / whole.count, rel=1e-5)
    best = model(**collated()).logits.argmax(-1)
    labels = collated()["labels"]
    assert found["accuracy"] == pytest.approx(((best == labels).sum() / whole.count).item(), abs=1e-7)


def test_twenty_steps_lower_the_loss(model, collated):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(20):
        loss = TASK.loss(model, collated(epoch=step % 2))
        losses.append(loss.total.item() / loss.count)
        (loss.total / loss.count).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0] - 0.5


def test_what_is_saved_is_a_plain_t5(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path / "saved")
    _, report = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]


# -- refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["bert-tiny", "gpt2-tiny", "llama-tiny"])
def test_models_without_encoder_and_decoder_are_refused(architecture, tmp_path):
    words = make_tokenizer()
    words.add_special_tokens({"eos_token": "[SEP]"})
    words.save_pretrained(tmp_path / "words")
    place = resolve(f"scratch:{architecture}", tokenizer=tmp_path / "words")
    with pytest.raises(BaseError):
        bases.load(place, TASK.head(), seed=0)
    auto = "AutoModelForMaskedLM" if architecture == "bert-tiny" else "AutoModelForCausalLM"
    with pytest.raises(BaseError, match="encoder and decoder"):
        TASK.check(bases.load(place, Head(auto=auto), seed=0).model)


def test_a_tokenizer_without_sentinels_or_with_too_few_is_refused():
    rows = pa.table({"text": ["good film " * 50]})
    with pytest.raises(BaseError, match="--family t5"):
        TASK.encode(rows, make_tokenizer(), 64)
    with pytest.raises(BaseError, match=r"(?s)has 2 of the sentinels.*wanted: 3.*training\.length"):
        TASK.encode(rows, t5_tokenizer(sentinels=2), 64)


# -- transfer -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path / "saved")
    return tmp_path / "saved"


def plain_answers(folder, texts):
    """What plain transformers says of each text alone."""
    tokens = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return [model(**tokens(text, return_tensors="pt", return_token_type_ids=False)).logits.softmax(-1)[0].tolist() for text in texts]


@pytest.mark.parametrize("method", ["full", pytest.param("feature-extraction", marks=pytest.mark.slow)])
def test_it_transfers_and_answers_as_plain_transformers_do(method, saved, tmp_path):
    """Also where a text holds the end token itself: T5's classifier refuses rows that differ in it."""
    data = write_csv(tmp_path / "reviews.csv", [*rows_of(60), ("good </s> film", "positive"), ("bad </s> </s> film", "negative")])
    settings = {"epochs": 6, "rate": 3e-3, "batch_tokens": 64, "precision": "fp32"}
    run = rootstock.adapt(data, base=str(saved), method=method, training=settings, out=tmp_path / "run")
    texts = ["good film", "a very bad song </s> indeed", "cold"]
    scores = run.predictions(pa.table({"text": texts})).columns["scores"]
    np.testing.assert_allclose(scores, plain_answers(tmp_path / "run" / "model", texts), atol=1e-4)
