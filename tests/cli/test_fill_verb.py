"""The verb fill: its probabilities are the model's own, and each thing that can be wrong."""

import json

import pytest
import torch
import transformers
from tests.conftest import make_tokenizer
from tests.tiny_models import causal_model, masked_model, saved, with_bos


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fill")
    saved(masked_model(), make_tokenizer(), folder / "masked")
    saved(masked_model(transformers.BertForPreTraining), make_tokenizer(), folder / "both")
    saved(causal_model(), with_bos(), folder / "causal")
    other = make_tokenizer()
    other.mask_token = "very"
    saved(masked_model(), other, folder / "other")
    return folder


@pytest.fixture(autouse=True)
def at(place, monkeypatch):
    monkeypatch.chdir(place)


@pytest.mark.parametrize(("name", "kind"), [("masked", transformers.BertForMaskedLM), ("both", transformers.BertForPreTraining)])
def test_answers_are_the_likeliest_with_their_probabilities(command, name, kind):
    code, out, err = command(f"fill {name} 'the [MASK] was good' --top 3 --json")
    assert code == 0, err
    tokens, model = make_tokenizer(), kind.from_pretrained(name).eval()
    with torch.no_grad():
        output = model(**tokens("the [MASK] was good", return_tensors="pt"))
    shares, ids = getattr(output, "logits", getattr(output, "prediction_logits", None))[0, 2].softmax(0).topk(3)
    (found,) = json.loads(out)
    assert [each["id"] for each in found["masks"][0]] == ids.tolist()
    assert [each["probability"] for each in found["masks"][0]] == pytest.approx(shares.tolist(), rel=1e-4)
    first = found["masks"][0][0]
    assert first["text"] == f"the {tokens.decode(ids[0])} was good"


def test_several_masks_are_filled_alone_and_that_is_said(command):
    code, out, _ = command("fill masked 'the [MASK] was [MASK]' 'a [MASK]' --top 2")
    assert code == 0
    assert "2 masks, each filled as if the others stayed masked" in out
    assert "mask 2" in out
    assert out.count("%") == 6
    assert out.splitlines()[3].rstrip().endswith("was [MASK]")


def test_a_model_with_another_mask_takes_both_spellings(command):
    answers = [
        json.loads(command(["fill", "other", prompt, "--json"])[1])[0]["masks"] for prompt in ("the [MASK] was good", "the very was good")
    ]
    assert answers[0] == answers[1] != []


CASES = [
    ("masked 'no gap here'", "no mask in 'no gap here'"),
    ("causal 'the [MASK]'", "GPT2LMHeadModel) has no head that fills masks"),
    ("masked 'the [MASK]' --top 0", "--top is 0"),
    (f"masked '{'film ' * 80}[MASK]'", "a prompt of 83 tokens"),
    ("maskd 'the [MASK]'", "maskd"),
    ("masked", "prompts"),
]


@pytest.mark.parametrize(("line", "said"), CASES, ids=[each[0][:30] for each in CASES])
def test_what_is_wrong_is_said(command, line, said):
    code, out, err = command(f"fill {line}")
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
