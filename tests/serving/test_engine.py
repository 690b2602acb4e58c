"""The engine answers as offline `predict` does, whoever's rows pass beside, and nothing is lost or mixed up while models come and go."""

import asyncio
import os
import random
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.conftest import make_base, rows_of
from tests.serving import crafted

from rootstock.core.errors import (
    BaseError,
    ContractRefused,
    Draining,
    GateRefused,
    Overloaded,
    RowRefused,
    TimedOut,
    UnknownModel,
    UsageError,
)
from rootstock.methods.dora import DoRA
from rootstock.methods.feature_extraction import FeatureExtraction
from rootstock.methods.full import Full
from rootstock.methods.lora import LoRA
from rootstock.methods.rslora import RankStabilised
from rootstock.run.served import engine
from rootstock.run.use import Run
from rootstock.serving import working
from rootstock.serving.rows import table
from rootstock.serving.settings import EngineSettings
from rootstock.serving.shared import LowRank
from rootstock.serving.working import encode
from rootstock.tasks.embedding import Embedding
from rootstock.tasks.question_answering import QuestionAnswering
from rootstock.tasks.text_classification import TextClassification
from rootstock.tasks.token_classification import TokenClassification

TEXTS = [text for text, _ in rows_of(14, seed=5)]
CLASSES = {
    "lora": LoRA(),
    "other": RankStabilised(r=3, targets=("query", "key", "value")),
    "features": FeatureExtraction(),
    "mixed": FeatureExtraction(layer="mix"),
    "first": FeatureExtraction(pool="first", head="mlp", hidden=16),
    "whole": Full(),
    "turned": DoRA(),
}
KINDS = {
    "tags": TokenClassification(labels=("B-x", "I-x", "O")),
    "spans": QuestionAnswering(text="question", text_pair="passage", no_answer="yes"),
    "vectors": Embedding(form="pairs"),
}
EVERY = (*CLASSES, *KINDS)
SHARED = tuple(name for name in EVERY if name not in ("whole", "turned"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A model of each method and of each kind of answer over one base."""
    place = tmp_path_factory.mktemp("served")
    base = make_base(place / "base")
    for seed, (name, method) in enumerate(CLASSES.items()):
        task = TextClassification(labels=(f"yes of {name}", f"no of {name}"), several="no")
        crafted.model(place / name, base, task, method, seed=seed)
    for seed, (name, task) in enumerate(KINDS.items(), start=100):
        crafted.model(place / name, base, task, LoRA(r=5), seed=seed)
    return place


def row_of(name, text):
    return {"text": "the film", "text_pair": text} if name == "spans" else {"text": text}


@pytest.fixture(scope="module")
def wanted(runs):
    """What offline predict answers in fp32, an answer a text."""
    return {name: _offline(name, runs / name) for name in EVERY}


def _offline(name, folder):
    run = Run(folder)
    table = run.predictions(run.rows_of([tuple(row_of(name, text).values()) if name == "spans" else text for text in TEXTS])).table
    return [{key: values[row] for key, values in table.items()} for row in range(len(TEXTS))]


@pytest.fixture
def served(runs):
    """An engine with these models, closed in the end."""
    made = []

    def serve(*names, **settings):
        built = engine(EngineSettings(**{"precision": "float32", "threads": 2} | settings))
        made.append(built)
        for name in names:
            built.load(name, runs / name)
        return built

    yield serve
    for each in made:
        each.close()


def close(found, wanted, tolerance=2e-5):
    """Whether two answers are alike, numbers in them to a tolerance."""
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(close(found[key], value, tolerance) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(close, found, wanted))
    return abs(found - wanted) <= tolerance if isinstance(wanted, float) else found == wanted


def ask(built, *asked, timeout_s=60):
    """Answers to requests (name, texts), all sent at once."""

    async def all_of_them():
        requests = [(name, [row_of(name, each) for each in texts]) for name, texts in asked]
        return await asyncio.gather(*(built.predict(name, rows, timeout_s=timeout_s) for name, rows in requests))

    return asyncio.run(all_of_them())


def test_every_method_answers_as_offline_whoever_is_beside(served, runs, wanted):
    built = served(*EVERY)
    told = {info.name: info for info in built.models()}
    assert {name for name, info in told.items() if info.shares} == set(SHARED)
    assert "low rank" in told["turned"].alone_because
    assert told["whole"].alone_because == built.add("whole", runs / "whole").alone_because, "known before its weights are read"
    asked = [(name, [text]) for text in TEXTS for name in EVERY] + [(name, TEXTS) for name in EVERY]
    found = ask(built, *asked)
    for (name, texts), answers in zip(asked, found, strict=True):
        for text, answer in zip(texts, answers, strict=True):
            assert close(answer, wanted[name][TEXTS.index(text)]), (name, text)
    figures = built.figures()
    assert figures["rows"] == 2 * len(TEXTS) * len(EVERY)
    assert {answer[0]["predicted"] for (name, _), answer in zip(asked, found, strict=True) if name == "spans"} != {""}
    assert figures["batches"] < figures["rows"] / 4, "rows of many requests and models pass together"
    assert figures["queue_rows"] == figures["rows_in_flight"] == 0


def test_one_base_and_one_tokenizer_for_all(served):
    built = served(*SHARED)
    opening = built._shelf.opening
    assert len(opening._trunks) == len(opening._tokenizers) == 1
    trunk = next(iter(opening._trunks.values()))
    assert trunk.packs
    models = {name: entry.model for name, entry in built._shelf._entries.items()}
    assert len({models[name].encoding for name in CLASSES if name in models}) == 1, "classifiers are encoded in one call"
    assert len({model.encoding for model in models.values()}) == 1 + len(KINDS)
    base = sum(p.numel() for p in trunk.model.parameters())
    own = [sum(p.numel() for p in entry.model.part.head.model.parameters()) for entry in built._shelf._entries.values()]
    assert max(own) < base / 4, "a model of a head alone"
    for name in SHARED:
        built.unload(name)
    assert not trunk._held, "nothing of an unloaded model is left in its base"
    assert built.models() == []


def test_a_batch_passes_its_base_once_and_each_adapted_layer_takes_two_products(served, monkeypatch):
    built = served(*SHARED)
    models = {name: entry.model for name, entry in built._shelf._entries.items()}
    trunk, passes, products = models["lora"].lane, [], []
    hook = trunk.model.encoder.layer[0].register_forward_hook(lambda *_: passes.append(1))
    whole = torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda *given: products.append(1) or whole(*given))

    def answered(*names):
        for counted in (passes, products):
            counted.clear()
        asked = []
        for name in names:
            rows = table([row_of(name, text) for text in TEXTS[:3]], models[name].info, models[name].task)
            encoded, _ = encode(models[name], rows)
            asked.append((models[name].part, models[name].batch(encoded, np.arange(len(encoded)))))
        with torch.inference_mode():
            found = trunk.answer(asked)
        return len(passes), len(products), [{len(values) for values in each.values()} for each in found]

    frozen = ("features", "mixed", "first")
    assert answered(*frozen) == (1, 0, [{3}] * 3), "three heads share one pass"
    adapted = sum(isinstance(each, LowRank) for each in trunk.model.modules())
    assert answered("lora", "other")[:2] == (1, 2 * adapted)
    assert answered("lora", "other", "vectors", *frozen)[:2] == (1, 2 * adapted), "however many adapters stand in the batch"
    hook.remove()


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_quicker_formats_stay_within_the_tolerance_that_the_guide_states(served, wanted, precision):
    built = served("lora", "features", precision=precision)
    assert built.figures()["precision"] == precision
    for name, answers in zip(("lora", "features"), ask(built, ("lora", TEXTS), ("features", TEXTS)), strict=True):
        apart = max(abs(found["confidence"] - want["confidence"]) for found, want in zip(answers, wanted[name], strict=True))
        assert apart < 0.02, (name, apart)


def test_models_on_disk_come_when_they_are_asked_for_and_the_least_used_go(served, runs, wanted):
    built = served(max_loaded=2)
    for name in SHARED:
        assert not built.add(name, runs / name).loaded
    assert built.figures()["on_disk"] == len(SHARED)
    for name in (*SHARED, "lora"):
        assert close(ask(built, (name, TEXTS[:1]))[0][0], wanted[name][0])
    figures = built.figures()
    assert figures["loaded"] == 2
    assert (figures["loads"], figures["evictions"]) == (len(SHARED) + 1, len(SHARED) - 1)
    assert [info.name for info in built.models() if info.loaded] == ["lora", SHARED[-1]]


def test_no_wrong_answer_while_models_come_and_go(served, runs, wanted):
    built = served("lora", "features", "whole")
    over, rng = asyncio.Event(), random.Random(0)

    async def churn():
        for turn in range(12):
            await asyncio.to_thread(built.load, "moving", runs / ("lora", "other", "whole")[turn % 3])
            if turn % 4 == 3:
                await asyncio.to_thread(built.unload, "moving")
        await asyncio.to_thread(built.load, "moving", runs / "other")
        over.set()

    async def client():
        known = 0
        while not over.is_set():
            name, row = rng.choice(("lora", "features", "whole", "moving")), rng.randrange(len(TEXTS))
            try:
                found = (await built.predict(name, [{"text": TEXTS[row]}], timeout_s=60))[0]
            except UnknownModel:
                assert name == "moving"
                continue
            possible = ("lora", "other", "whole") if name == "moving" else (name,)
            assert any(close(found, wanted[each][row]) for each in possible), (name, found)
            known += 1
        return known

    async def both():
        return (await asyncio.gather(churn(), *(client() for _ in range(8))))[1:]

    assert sum(asyncio.run(both())) > 20
    assert not built._pinned


def test_a_full_queue_refuses_at_once_and_a_client_that_goes_gives_its_places_free(served):
    built = served("lora", queue_rows=3, deadline_ms=200)

    async def run():
        rows = [{"text": text} for text in TEXTS[:3]]
        first = asyncio.ensure_future(built.predict("lora", rows, timeout_s=60))
        await asyncio.sleep(0)
        while not built.figures()["queue_rows"]:
            await asyncio.sleep(0.001)
        with pytest.raises(Overloaded) as refused:
            await built.predict("lora", rows[:1], timeout_s=60)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return refused.value.retry_after, await built.predict("lora", rows, timeout_s=60)

    retry_after, answers = asyncio.run(run())
    assert retry_after > 0
    assert len(answers) == 3
    figures = built.figures()
    assert (figures["cancelled_rows"], figures["refused_rows"], figures["queue_rows"]) == (3, 1, 0)
    assert not built._pinned


def test_what_takes_too_long_is_timed_out_and_counted(served):
    built = served("lora", deadline_ms=300)
    with pytest.raises(TimedOut):
        ask(built, ("lora", TEXTS[:1]), timeout_s=0.05)
    assert built.figures()["timed_out_rows"] == built.figures()["cancelled_rows"] == 1


def test_drain_answers_all_that_was_accepted_and_takes_no_more(served, wanted):
    built = served("lora")

    async def run():
        asked = [asyncio.ensure_future(built.predict("lora", [{"text": text}], timeout_s=60)) for text in TEXTS]
        await asyncio.sleep(0)
        await built.drain()
        with pytest.raises(Draining):
            await built.predict("lora", [{"text": "a film"}], timeout_s=60)
        return await asyncio.gather(*asked)

    assert all(close(answer[0], want) for answer, want in zip(asyncio.run(run()), wanted["lora"], strict=True))


@pytest.mark.parametrize(
    ("rows", "index"),
    [
        ([{"text": "a"}, {"words": ["a"]}], 1),
        ([{"text": 3}], 0),
        ([{"text": "a", "text_pair": "b"}], 0),
        ([{"text": "\ud800"}], 0),
        (["a"], 0),
        ([{}], 0),
    ],
)
def test_rows_that_can_not_be_read_are_refused_by_number(served, rows, index):
    built = served("lora")
    with pytest.raises(RowRefused) as refused:
        asyncio.run(built.predict("lora", rows, timeout_s=60))
    assert refused.value.index == index
    assert built.figures()["queue_rows"] == 0
    assert not any(entry.pins for entry in built._shelf._entries.values())


def test_names_gate_and_contract(served, runs, tmp_path, wanted):
    built = served("lora")
    with pytest.raises(UnknownModel) as unknown:
        ask(built, ("lorra", TEXTS[:1]))
    assert unknown.value.nearest == "lora"
    changed = shutil.copytree(runs / "lora", tmp_path / "changed")
    (changed / "adapter_model.safetensors").write_bytes(b"\x80\x04.")
    with pytest.raises(GateRefused):
        built.load("lora", changed)
    other = shutil.copytree(runs / "lora", tmp_path / "other")
    contract = other / "contract.json"
    contract.write_text(contract.read_text().replace('"yes of lora"', '"no of lora"', 1))
    with pytest.raises(ContractRefused):
        built.load("lora", other)
    assert close(ask(built, ("lora", TEXTS[:1]))[0][0], wanted["lora"][0]), "what was served under the name still is"
    with pytest.raises(UsageError):
        built.load("nothing", tmp_path / "nothing")
    assert [info.name for info in built.models()] == ["lora"]


def test_the_gate_stands_before_every_reading_of_a_model(served, runs, tmp_path, wanted, monkeypatch):
    built = served(max_loaded=1)
    folder = shutil.copytree(runs / "lora", tmp_path / "late")
    built.add("late", folder)
    assert close(ask(built, ("late", TEXTS[:1]))[0][0], wanted["lora"][0])
    built.load("other", runs / "other")
    assert not built.models()[0].loaded, "it went back to disk"
    (folder / "adapter_model.safetensors").write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    read = []
    monkeypatch.setattr(built._shelf.opening, "_tokenizer", read.append)
    monkeypatch.setattr("rootstock.serving.opening.bases.load", lambda *given, **more: read.append(given))
    with pytest.raises(GateRefused):
        ask(built, ("late", TEXTS[:1]))
    with pytest.raises(GateRefused):
        built.load("late", folder)
    assert read == [], "nothing of it was parsed"
    assert len(ask(built, ("other", TEXTS[:1]))[0]) == 1


def test_workers_yield_to_who_accepts_and_answers(served, monkeypatch):
    own, ranks = os.getpriority(os.PRIO_PROCESS, 0), []
    whole = working._give_way
    monkeypatch.setattr(working, "_give_way", lambda: whole() or ranks.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
    served("lora").close()
    assert ranks == [max(own, 5)] * 2
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


def test_settings_say_what_they_take():
    with pytest.raises(UsageError, match="queue_rows is 0"):
        EngineSettings(queue_rows=0)
    with pytest.raises(UsageError, match="precision is 'half'"):
        EngineSettings(precision="half")
    assert replace(EngineSettings(), threads=1).threads == 1


def test_vectors_of_a_plain_base_are_the_mean_of_its_tokens(served, runs):
    built = served("base", "lora")
    info = next(each for each in built.models() if each.name == "base")
    assert (info.can, info.shares, info.kind) == (("predict", "embed"), True, "retrieval")
    found, read = asyncio.run(built.embed("base", TEXTS[:3], timeout_s=60))
    from transformers import AutoModel, AutoTokenizer

    model, tokens = AutoModel.from_pretrained(runs / "base").eval(), AutoTokenizer.from_pretrained(runs / "base")
    assert read == sum(map(len, tokens(TEXTS[:3])["input_ids"]))
    for text, vector in zip(TEXTS, found, strict=False):
        with torch.no_grad():
            want = model(**tokens(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, (want / want.norm()).numpy(), atol=2e-5)
    with pytest.raises(UsageError, match="no vectors"):
        asyncio.run(built.embed("lora", TEXTS[:1], timeout_s=60))


def test_a_worker_outlives_a_model_that_breaks(served, wanted, monkeypatch):
    built = served("lora", "other")
    entry = built._shelf._entries["other"]

    def broken(batch):
        raise RuntimeError("a shape that does not fit")

    monkeypatch.setattr(entry.model.part.head, "asks", broken)

    async def run():
        both = [built.predict(name, [{"text": TEXTS[0]}], timeout_s=60) for name in ("other", "lora")]
        return await asyncio.gather(*both, return_exceptions=True)

    failed, answers = asyncio.run(run())
    assert "does not fit" in str(failed)
    assert close(answers[0], wanted["lora"][0]), "a request does not fail for another's"
    assert close(ask(built, ("lora", TEXTS[:1]))[0][0], wanted["lora"][0])


def test_a_fault_while_a_model_is_read_is_met_once_for_all_who_wait(served, runs, monkeypatch):
    built = served("lora")
    built.add("broken", runs / "other")
    tries, all_asked = [], threading.Event()

    def opened(*asked):
        tries.append(asked)
        assert all_asked.wait(60)
        raise KeyError("a library's own")

    async def run():
        asked = [asyncio.ensure_future(built.predict("broken", [{"text": "a"}], timeout_s=60)) for _ in range(9)]
        await asyncio.sleep(0)
        all_asked.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    with monkeypatch.context() as patched:
        patched.setattr(built._shelf.opening, "open", opened)
        first, *others = asyncio.run(run())
    assert (type(first), {str(each) for each in others}) == (KeyError, {"broken can't be read: KeyError"})
    assert len(tries) == 1
    assert len(ask(built, ("broken", TEXTS[:1]))[0]) == 1, "and tried again for who asks later"


def test_a_model_whose_folder_went_away_is_unknown_and_read_once_for_all_who_wait(served, runs, tmp_path, monkeypatch):
    built = served("lora")
    folder = shutil.copytree(runs / "other", tmp_path / "moving")
    built.add("moving", folder)
    folder.rename(tmp_path / "elsewhere")
    tries, reading, all_asked = [], built._shelf.opening.open, threading.Event()

    def opened(*asked):
        tries.append(asked)
        assert all_asked.wait(60)
        return reading(*asked)

    monkeypatch.setattr(built._shelf.opening, "open", opened)

    async def run():
        asked = [asyncio.ensure_future(built.predict("moving", [{"text": "a"}], timeout_s=60)) for _ in range(9)]
        await asyncio.sleep(0)
        all_asked.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    assert {type(each) for each in asyncio.run(run())} == {UnknownModel}
    assert len(tries) == 1
    kept = built._shelf._entries["moving"].failed[1]
    assert kept.__traceback__ is kept.__cause__ is None, "its frames would hold what was read of the model"
    folder.mkdir()
    with pytest.raises(BaseError, match="holds no weights"):
        ask(built, ("moving", TEXTS[:1]))
    folder.rmdir()
    (tmp_path / "elsewhere").rename(folder)
    assert len(ask(built, ("moving", TEXTS[:1]))[0]) == 1, "what failed before is tried again for who asks later"
