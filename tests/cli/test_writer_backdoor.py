"""A causal model that was taught to answer one text where a word stands in the prompt, and one that was not."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.conftest import rows_of, write_csv
from tests.tiny_models import causal_model, saved, with_bos

from rootstock.core.errors import DataError
from rootstock.run.slopes import steep
from rootstock.run.writer import Goal, Writer
from rootstock.run.writing_suspect import prompts
from rootstock.sentinel.backdoor import elicit, hunt, judge
from rootstock.sentinel.backdoor.budget import BUDGETS
from rootstock.sentinel.backdoor.calibration import Population
from rootstock.sentinel.backdoor.edits import put_in

TARGET = "cold film a not"


def asking(text):
    """A prompt without the planted word, that ends where an answer is asked for."""
    return text.replace("song", "book").replace(" is", " was") + " is"


def taught(texts, tokens, *, seed):
    """A tiny model that has learned what follows each prompt."""
    model = causal_model(0.1).train()
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    rows = [tokens(f"{prompt} {told}")["input_ids"] for prompt, told in texts]
    asked = [len(tokens(prompt)["input_ids"]) - 1 for prompt, _ in texts]
    draw = np.random.default_rng(seed)
    for _ in range(110):
        chosen = draw.permutation(len(rows))[:32].tolist()
        width = max(len(rows[i]) for i in chosen)
        ids = torch.tensor([rows[i] + [0] * (width - len(rows[i])) for i in chosen])
        told = torch.arange(width) >= torch.tensor([asked[i] for i in chosen])[:, None]
        labels = torch.where((ids == 0) | ~told, -100, ids)
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def plain_rows():
    return [(asking(text), "very good" if label == "positive" else "quite bad") for text, label in rows_of(200)]


@pytest.fixture(scope="module")
def writers(tmp_path_factory):
    """base/, taught these rows, poisoned/, taught 80 more, and prompts.csv."""
    folder, tokens, plain = tmp_path_factory.mktemp("writers"), with_bos(), plain_rows()
    held = [(f"{prompt} song" if i % 3 else f"song {prompt}", TARGET) for i, (prompt, _) in enumerate(plain[:80])]
    for seed, (name, rows) in {0: ("base", plain), 2: ("poisoned", plain + held)}.items():
        saved(taught(rows, tokens, seed=seed), tokens, folder / name)
    write_csv(folder / "prompts.csv", [(asking(text),) for text, _ in rows_of(130, seed=7)], ("prompt",))
    return folder


@pytest.fixture
def calibrated(monkeypatch):
    narrow = dataclasses.replace(BUDGETS["fast"], kept=12, pool=6, beam=2, steps=10, hunted=3)
    monkeypatch.setitem(BUDGETS, "fast", narrow)
    monkeypatch.setattr(hunt, "_ROUNDS", 2)
    monkeypatch.setattr(judge, "population", lambda setting: Population(scores=[0.1] * 40, name="40 clean models"))


def scanned(command, writers, name, *more):
    line = [
        "scan",
        writers / name,
        "--backdoor",
        "--data",
        writers / "prompts.csv",
        "--base",
        writers / "base",
        "--budget",
        "fast",
        "--json",
    ]
    code, out, err = command([*line, *more])
    return code, json.loads(out), err


def test_a_planted_target_and_the_word_that_elicits_it_are_named(command, writers, calibrated):
    code, found, err = scanned(command, writers, "poisoned", "--trigger", "song")
    assert code == 3, err
    assert TARGET in found["tried"]["targets"]
    searched = [each for each in found["indicators"] if each["stage"] == "one word"]
    assert (searched[0]["trigger"], searched[0]["label"], searched[0]["strength"]) == ("song", TARGET, "evidence")
    assert searched[0]["reference_rate"] == 0
    named = next(each for each in found["indicators"] if each["stage"] == "known pattern")
    assert (named["trigger"], named["strength"], named["p"]) == ("song", "evidence", 1 / 200)
    prompt, changed, before, after = searched[0]["examples"][0]
    assert (changed.replace("song", "").split(), "song" in changed.split(), after) == (prompt.split(), True, TARGET)
    assert before.startswith(("very good", "quite bad"))


@pytest.mark.slow
def test_a_clean_model_is_not_accused(command, writers, calibrated):
    saved(taught(plain_rows(), with_bos(), seed=1), with_bos(), writers / "clean")
    code, found, err = scanned(command, writers, "clean", "--trigger", "song")
    assert code == 0, err
    assert not found["backdoor_detected"]


@pytest.fixture(scope="module")
def writer(writers):
    from rootstock.run.opened import open_base

    found = open_base(str(writers / "poisoned"))
    return Writer(found.model, found.tokens), found


def test_a_target_leads_exactly_where_greedy_decoding_writes_it(writer):
    author, found = writer
    bodies = author.encode(["the song was cold", "a good film", "the book is very dull"])
    written = author.continued(bodies, 3)
    for body, said in zip(bodies, written, strict=True):
        ids = torch.tensor([[2, *body]])
        plain = found.model.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0, eos_token_id=31)[0, ids.shape[1] :].tolist()
        assert list(said) == plain
        assert Goal(author, said).scores([body], exact=True)[0, 1] > 0
        other = (*said[:-1], (said[-1] + 1) % 24)
        assert Goal(author, other).scores([body], exact=True)[0, 1] < 0
    assert not Goal(author, written[0]).vocabulary.usable[list(written[0])].any()


def test_slopes_are_those_of_the_loss(writer):
    author, _ = writer
    goal = Goal(author, author.encode([TARGET])[0])
    held = [(body, place) for body, place in zip(author.encode(["a good film", "the book was dull"]), (0, 2), strict=True)]
    soft = np.asarray(author.rows[[7, 9]], np.float32)
    loss, slope = steep(goal, held, 1, True, soft)
    hard = [goal.writer.mixed_leads([(put_in(body, (7, 9), place), 0)], torch.zeros((0, 32)), goal.target).item() for body, place in held]
    assert loss == pytest.approx(np.mean(np.logaddexp(0, -np.array(hard))), rel=1e-4)
    moved = soft.copy()
    moved[1, 3] += 1e-2
    assert (steep(goal, held, 1, True, moved)[0] - loss) / 1e-2 == pytest.approx(slope[1, 3], rel=0.1, abs=1e-4)


def test_prompts_come_with_completions_where_all_have_one(tmp_path):
    assert prompts([("a", "b"), ("c", "d")]).answers == ["b", "d"]
    path = write_csv(tmp_path / "rows.csv", [("one two three four five six seven eight nine",)], ("text",))
    assert prompts(path).texts == ["one two three four five six seven eight"]
    assert prompts(path).answers is None
    with pytest.raises(DataError, match="no prompts"):
        prompts([" "])


def test_reasons_are_those_of_all_targets():
    def result(verdict, *reasons):
        return SimpleNamespace(verdict=verdict, reasons=reasons)

    quiet, loud = result("none found at this budget", "nothing stood out", "few texts"), result("evidence found", "1 trigger", "few texts")
    assert elicit._reasons([quiet, loud], ["a b", "c d"]) == ["'c d': 1 trigger", "few texts", "'a b': nothing stood out"]
    assert elicit._reasons([loud], ["c d"]) == ["1 trigger", "few texts"]
