"""The verb generate: greedy is the argmax, a seed is a text, an end ends it, and each thing that can be wrong."""

import json

import pytest
import torch
import transformers
from tests.conftest import make_tokenizer
from tests.tiny_models import causal_model, masked_model, saved, seq2seq_model, with_bos


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generate")
    saved(causal_model(), with_bos(), folder / "causal")
    saved(causal_model(), make_tokenizer(), folder / "nobos")
    saved(seq2seq_model(), with_bos(), folder / "seq2seq")
    saved(masked_model(), make_tokenizer(), folder / "masked")
    ending = causal_model()
    with torch.no_grad():  # whatever stands before, the end is the likeliest
        ending.transformer.ln_f.weight.zero_()
        ending.transformer.ln_f.bias.copy_(10 * ending.transformer.wte.weight[3])
    saved(ending, with_bos(), folder / "ending")
    return folder


@pytest.fixture(autouse=True)
def at(place, monkeypatch):
    monkeypatch.chdir(place)


def asked(command, line):
    code, out, err = command(f"generate {line} --json")
    assert code == 0, err
    return json.loads(out)


def test_greedy_takes_the_likeliest_token_each_time(command):
    found = asked(command, "causal 'the film' --greedy --max-tokens 6")
    model, tokens = causal_model(), with_bos()
    ids = [tokens.bos_token_id, *tokens("the film", add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        for _ in range(found["texts"][0]["tokens"]):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    assert found["texts"][0]["text"] == tokens.decode(ids, skip_special_tokens=True)
    assert found["seed"] is None


def test_a_seed_is_a_text_and_each_of_several_is_its_own(command):
    one, again, other = (asked(command, f"causal the --max-tokens 12 --seed {seed}")["texts"] for seed in (1, 1, 2))
    three = asked(command, "causal the --max-tokens 12 --seed 1 --count 3")["texts"]
    assert one == again != other
    assert three[0] == one[0]
    assert len({each["text"] for each in three}) == 3


def test_the_global_generator_is_left_alone(command):
    torch.manual_seed(7)
    wanted = torch.rand(1)
    torch.manual_seed(7)
    asked(command, "causal the --max-tokens 2")
    assert torch.equal(torch.rand(1), wanted)


def test_the_end_token_ends_a_text(command):
    found = asked(command, "ending the --max-tokens 9")["texts"][0]
    assert (found["ended"], found["tokens"], found["text"]) == (True, 1, "the")


def test_one_likeliest_token_is_greedy_and_cold_is_nearly(command):
    greedy = asked(command, "causal 'a song' --greedy --max-tokens 8")["texts"][0]["text"]
    assert asked(command, "causal 'a song' --top-k 1 --max-tokens 8")["texts"][0]["text"] == greedy
    assert asked(command, "causal 'a song' --top-p 0.000001 --max-tokens 8")["texts"][0]["text"] == greedy
    assert asked(command, "causal 'a song' --temperature 0.0001 --max-tokens 8")["texts"][0]["text"] == greedy


def test_what_is_drawn_follows_from_the_command_alone(command, place):
    model = causal_model()
    model.generation_config = transformers.GenerationConfig(do_sample=True, top_k=1, repetition_penalty=9.0, max_length=3, min_new_tokens=9)
    saved(model, with_bos(), place / "settled")
    line = "'a song' --max-tokens 8 --seed 4"
    assert asked(command, f"settled {line}")["texts"] == asked(command, f"causal {line}")["texts"]


def test_an_encoder_and_decoder_generates_what_transformers_does(command):
    found = asked(command, "seq2seq 'the film' --greedy --max-tokens 5")["texts"][0]
    tokens = with_bos()
    made = seq2seq_model().generate(
        **tokens("the film", return_tensors="pt", return_token_type_ids=False), max_new_tokens=5, do_sample=False
    )
    assert found["text"] == tokens.decode(made[0], skip_special_tokens=True)


def test_a_text_stops_where_the_positions_do(command):
    code, out, err = command(["generate", "causal", "film " * 60, "--max-tokens", "40"])
    assert code == 0
    assert "at most 3 tokens" in err
    assert out.startswith("film film")


CASES = [
    ("masked the", "BertForMaskedLM) generates no text"),
    (f"causal '{'film ' * 70}'", "a prompt of 71 tokens"),
    ("nobos ''", "an empty prompt"),
    ("causal the --max-tokens 0", "--max-tokens is 0"),
    ("causal the --temperature 0", "--temperature is 0"),
    ("causal the --top-p 1.5", "--top-p is 1.5"),
    ("causal the --top-k 0", "--top-k is 0"),
    ("causal the --greedy --top-k 3", "--greedy and --top-k"),
    ("causal the --greedy --count 2", "--greedy and --count"),
    ("nowhere the", "nowhere"),
    ("causal", "prompt"),
]


@pytest.mark.parametrize(("line", "said"), CASES, ids=[each[0][:30] for each in CASES])
def test_what_is_wrong_is_said(command, line, said):
    code, out, err = command(f"generate {line}")
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
