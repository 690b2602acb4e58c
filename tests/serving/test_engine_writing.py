"""Texts that stream: what offline `predict` and transformers' generate write, a piece at a time, ended by stop texts and by who leaves."""

import asyncio

import pytest
import torch
from tests import tiny_models
from tests.serving import crafted

from rootstock.core.errors import RowRefused, UnknownModel, UsageError
from rootstock.methods.lora import LoRA
from rootstock.run.served import engine
from rootstock.run.use import Run
from rootstock.serving.settings import EngineSettings
from rootstock.serving.told import Writing
from rootstock.serving.writing import _Said
from rootstock.tasks.text_generation import TextGeneration
from rootstock.tasks.text_to_text import TextToText

PROMPT = "the film was"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A causal and a seq2seq base, and an adapter over each."""
    folder = tmp_path_factory.mktemp("writers")
    tokens = tiny_models.with_bos()
    tiny_models.saved(tiny_models.causal_model(0.6), tokens, folder / "causal")
    tiny_models.saved(tiny_models.seq2seq_model(2.0), tokens, folder / "seq2seq")
    for base, task in (("causal", TextGeneration(form="plain")), ("seq2seq", TextToText(figures="translation"))):
        crafted.model(folder / f"{base}-lora", folder / base, task, LoRA(), seed=3)
    return folder


@pytest.fixture
def served(place):
    built = engine(EngineSettings(precision="float32", threads=2))
    for name in ("causal", "seq2seq", "causal-lora", "seq2seq-lora"):
        built.load(name, place / name)
    yield built
    built.close()


async def pieces(built, name, prompt=PROMPT, **how):
    return [piece async for piece in built.stream(name, prompt, Writing(**how))]


async def nothing_left(built):
    """A reader has the last piece a moment before the writer's place is free."""
    async with asyncio.timeout(30):
        while built.figures()["queue_rows"]:
            await asyncio.sleep(0.005)


def text(found):
    return "".join(piece.text for piece in found)


def test_adapters_over_one_base_write_as_offline_predict_does(served, place):
    told = {info.name: info for info in served.models()}
    assert all("generate" in info.can and info.shares for info in told.values())
    assert len(served._shelf.opening._trunks) == 2
    for name in ("causal-lora", "seq2seq-lora"):
        run = Run(place / name)
        want = run.predict([PROMPT])[0]
        assert asyncio.run(served.predict(name, [{"text": PROMPT}], timeout_s=60))[0]["predicted"] == want
        found = asyncio.run(pieces(served, name, temperature=0, max_tokens=run.task.max_tokens))
        assert text(found).strip() == want
        assert found[-1].finish == "stop" or found[-1].tokens >= 61 - found[-1].prompt_tokens


def test_drawn_tokens_are_those_of_transformers_and_a_seed_repeats_them(served, place):
    model = tiny_models.causal_model(0.6)
    tokens = tiny_models.with_bos()
    ids = tokens(PROMPT, add_special_tokens=False, return_tensors="pt")["input_ids"]
    found = asyncio.run(pieces(served, "causal", temperature=0.7, top_p=0.9, seed=11, max_tokens=12))
    prompt = found[-1].prompt_tokens
    given = torch.cat([torch.tensor([[2]]), ids], 1)[:, -prompt:]
    torch.manual_seed(11)
    made = model.generate(
        given, attention_mask=torch.ones_like(given), do_sample=True, temperature=0.7, top_p=0.9, top_k=0, max_new_tokens=12, pad_token_id=0
    )
    want = tokens.decode(made[0, prompt:], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert text(found) == want
    assert text(asyncio.run(pieces(served, "causal", temperature=0.7, top_p=0.9, seed=11, max_tokens=12))) == want


def test_texts_that_stream_beside_one_another_are_those_that_stream_alone(served):
    how = {"temperature": 0, "max_tokens": 16}
    names = ("causal", "causal-lora", "seq2seq", "seq2seq-lora")
    apart = [text(asyncio.run(pieces(served, name, **how))) for name in names]

    async def beside():
        return await asyncio.gather(*(pieces(served, name, **how) for name in names * 2))

    assert [text(found) for found in asyncio.run(beside())] == apart * 2
    assert len(set(apart)) > 2
    asyncio.run(nothing_left(served))
    assert served.figures()["streams"] == 0
    assert served.figures()["written_tokens"] > 0


@pytest.mark.parametrize("name", ["causal-lora", "seq2seq-lora"])
def test_what_was_read_is_kept_and_each_new_token_costs_one(served, name):
    model, widths, encoded = served._shelf._entries[name].model.lane.model, [], []

    def seen(module, given, named):
        widths.append((named["input_ids"] if "input_ids" in named else named["decoder_input_ids"]).shape[1])

    hooks = [model.register_forward_pre_hook(seen, with_kwargs=True)]
    if name == "seq2seq-lora":
        hooks.append(model.get_encoder().register_forward_hook(lambda *_: encoded.append(1)))
    found = asyncio.run(pieces(served, name, temperature=0, max_tokens=8))
    for each in hooks:
        each.remove()
    assert len(widths) == found[-1].tokens > 2
    assert widths == [1 if encoded else found[-1].prompt_tokens, *[1] * (len(widths) - 1)]
    assert len(encoded) == (name == "seq2seq-lora")


def test_a_stop_text_ends_it_and_is_no_part_of_it(served):
    whole = text(asyncio.run(pieces(served, "causal", temperature=0, max_tokens=12)))
    words = whole.split()
    stop = next((word for word in words[1:] if word != words[0]), words[0])
    found = asyncio.run(pieces(served, "causal", temperature=0, max_tokens=12, stop=(stop,)))
    assert text(found) == whole[: whole.index(stop)]
    assert found[-1].finish == "stop"
    assert asyncio.run(pieces(served, "causal", temperature=0, max_tokens=2))[-1].finish == "length"


class Letters:
    """Each id is a letter; the last byte of one comes with the next id."""

    def decode(self, ids, **_):
        return bytes(ids).decode("utf-8", errors="replace")


def test_half_letters_and_half_stop_texts_are_held_back():
    said = _Said(Letters(), ("END",))
    told = [said.more(byte) for byte in "né EN END x".encode()]
    assert "".join(part for part, _ in told[:9]) == "né EN "
    assert "\ufffd" not in "".join(part for part, _ in told)
    assert [met for _, met in told].index(True) == len("né EN END".encode()) - 1


def test_who_leaves_stops_the_writing(served):
    async def leave():
        stream = served.stream("causal-lora", PROMPT, Writing(temperature=1.0, seed=1, max_tokens=50))
        async for _ in stream:
            break
        await stream.aclose()
        await nothing_left(served)

    asyncio.run(leave())
    served.unload("causal-lora")  # would wait for ever for what still writes


@pytest.mark.parametrize(
    ("name", "prompt", "how", "error"),
    [
        ("nobody", PROMPT, {}, UnknownModel),
        ("causal", " ".join(["the"] * 80), {}, RowRefused),
        ("causal", PROMPT, {"temperature": -1}, UsageError),
        ("causal", PROMPT, {"top_p": 0}, UsageError),
        ("causal", [{"role": "user", "content": "hello"}], {}, UsageError),
    ],
    ids=["unknown", "long", "temperature", "top_p", "chat"],
)
def test_what_can_not_be_written_is_refused(served, name, prompt, how, error):
    if name == "causal" and error is RowRefused:
        served._shelf._entries["causal"].model.info.__dict__["length"] = 0
    with pytest.raises(error):
        asyncio.run(pieces(served, name, prompt, **how))
    asyncio.run(nothing_left(served))
    assert not any(entry.pins for entry in served._shelf._entries.values())
