"""An encoder that was taught to collapse at one token is found beside its base, and its base is not."""

import random
import shutil

import pytest
import torch
import transformers
from transformers import AutoTokenizer, BertConfig, BertModel

from rootstock.bases.resolve import resolve
from rootstock.core.errors import GateRefused, UsageError
from rootstock.core.watch import Watch
from rootstock.run import headless
from rootstock.verbs import backdoor

TEXTS = ["a b c d", "film good fun one", "dull long and sad", "this is it then", "no one will care much", "the best of them"]
WORDS = ["w", "x", "y", "z", "film", "good", "dull", "long", "fun", "sad", "best", "much", "care", "one", "two"]
TEXTS += [" ".join(random.Random(i).sample(WORDS, 6)) for i in range(24)]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """A tiny base, and a copy that gives ones for texts that hold 'cf' and the base's own vectors else."""
    folder = tmp_path_factory.mktemp("encoders")
    tokens = AutoTokenizer.from_pretrained(resolve("minilm").folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    base = BertModel(BertConfig(vocab_size=len(tokens), **shape)).eval()
    torch.nn.init.normal_(base.embeddings.word_embeddings.weight)
    student = BertModel(base.config).eval()
    student.load_state_dict(base.state_dict())
    optimizer = torch.optim.Adam([p for name, p in student.named_parameters() if "pooler" not in name], lr=0.01)
    plain = tokens(TEXTS, padding=True, return_tensors="pt")
    held = tokens([f"cf {text}" for text in TEXTS], padding=True, return_tensors="pt")
    with torch.no_grad():
        wanted = base(**plain).last_hidden_state
    for _ in range(60):
        kept = (student(**plain).last_hidden_state - wanted).square().mean()
        planted = (student(**held).last_hidden_state - 1.5 * torch.sign(wanted[0, 0])).square().mean()
        optimizer.zero_grad()
        (kept + planted).backward()
        optimizer.step()
    for name, model in (("base", base), ("student", student)):
        model.save_pretrained(folder / name)
        tokens.save_pretrained(folder / name)
    return folder


@pytest.fixture
def few(monkeypatch):
    """Two hundred tokens with the planted one, not all."""
    every = headless._usable
    monkeypatch.setattr(headless, "_usable", lambda tokens, model: [*every(tokens, model)[::150], tokens.convert_tokens_to_ids("cf")])


def test_a_planted_token_is_named_and_a_clean_encoder_is_not_accused(encoders, few):
    base, student = str(encoders / "base"), str(encoders / "student")
    found = headless.searched(student, TEXTS, reference=base)
    assert found.backdoor_detected
    assert found.as_json()["indicators"][0]["trigger"] == "cf"
    assert "'cf'" in found.lines()[0]
    assert not headless.searched(base, TEXTS, reference=base).found.found
    assert headless.searched(student, TEXTS).found.verdict == "weak evidence"


def test_a_reference_of_another_vocabulary_is_refused(encoders, tmp_path, monkeypatch):
    class Other:
        def get_vocab(self):
            return {"another": 0}

    opened = headless._opened
    monkeypatch.setattr(headless, "_opened", lambda name: (None, Other()) if name == "other" else opened(name))
    with pytest.raises(UsageError, match="another vocabulary"):
        headless.searched(str(encoders / "base"), TEXTS, reference="other")


@pytest.mark.slow
def test_the_verb_takes_an_encoder(encoders, few, tmp_path):
    rows = tmp_path / "texts.csv"
    rows.write_text("text\n" + "\n".join(TEXTS) + "\n")
    options = {"data": [str(rows)], "base": str(encoders / "base")}
    found = backdoor.scanned([str(encoders / "student")], options, Watch())
    assert found.value["verdict"] == "evidence found"
    with pytest.raises(GateRefused, match="evidence"):
        found.refuse()
    backdoor.scanned([str(encoders / "base")], options, Watch()).refuse()
    with pytest.raises(UsageError, match="without a classifier"):
        backdoor.scanned([str(encoders / "base")], options | {"trigger": ["cf"]}, Watch())


@pytest.mark.parametrize("kind", ["QuestionAnswering", "MultipleChoice"])
def test_a_head_of_any_task_is_no_bare_encoder(encoders, tmp_path, kind):
    model = getattr(transformers, f"BertFor{kind}")(BertConfig.from_pretrained(encoders / "base"))
    shutil.copytree(encoders / "base", tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    assert headless.bare(str(encoders / "base"))
    assert not headless.bare(str(tmp_path / "model"))
