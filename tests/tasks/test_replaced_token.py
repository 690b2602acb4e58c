"""ELECTRA: what the generator says goes to the discriminator, both losses add up, embeddings are one, the discriminator alone is kept."""

import copy
import json

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from safetensors.torch import load_file
from tests.conftest import make_base, make_tokenizer

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.bases.save import save_model
from rootstock.core.errors import BaseError
from rootstock.core.seed import HELD_OUT, Draw
from rootstock.loop.crew import Crew, draws_at_random
from rootstock.loop.precision import Weights
from rootstock.loop.trim import trim
from rootstock.methods.full import Full
from rootstock.methods.lora import LoRA
from rootstock.tasks import replaced_token
from rootstock.tasks.replaced_token import ReplacedToken, sampled

TASK = ReplacedToken()
TOKENIZER = make_tokenizer()
WORDS = sorted(set(TOKENIZER.get_vocab()) - set(TOKENIZER.all_special_tokens))
TEXTS = pa.table({"text": [" ".join(np.random.default_rng(i).choice(WORDS[: 6 + i % 7], 20 + 15 * (i % 3))) for i in range(18)]})
SHAPE = {
    "model_type": "electra",
    "embedding_size": 16,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 32,
}


@pytest.fixture
def base(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SHAPE))
    TOKENIZER.save_pretrained(tmp_path / "tok")
    return resolve(f"scratch:{tmp_path / 'config.json'}", tokenizer=tmp_path / "tok")


@pytest.fixture
def loaded(base):
    torch.manual_seed(5)
    found = bases.load(base, TASK.head(), seed=1, dropout=0.0)
    TASK.check(found.model)
    return TASK.outfit(found)


@pytest.fixture
def model(loaded):
    return Full().apply(loaded).eval()


@pytest.fixture(scope="module")
def encoded():
    return TASK.encode(TEXTS, TOKENIZER, 24)


def batch_of(encoded, rows=None, epoch=0):
    return TASK.collate(encoded, np.arange(len(encoded)) if rows is None else np.asarray(rows), TOKENIZER, Draw(3, epoch))


def test_a_batch_masks_most_of_what_is_guessed_and_brings_its_own_chance(encoded):
    original = encoded.tokens["input_ids"].padded(np.arange(len(encoded)), 0)
    asked, masked, numbers = [], [], []
    for epoch in range(40):
        batch = batch_of(encoded, epoch=epoch)
        chosen = batch["labels"].numpy() >= 0
        np.testing.assert_array_equal(np.where(chosen, batch["labels"], batch["input_ids"]), original)
        assert not chosen[original < 5].any(), "special tokens and padding are never guessed"
        asked.append(chosen[original >= 5].mean())
        masked.append((batch["input_ids"].numpy()[chosen] == TOKENIZER.mask_token_id).mean())
        numbers.append(batch["numbers"].numpy())
    assert np.mean(asked) == pytest.approx(0.15, abs=0.01)
    assert np.mean(masked) == pytest.approx(0.85, abs=0.02)
    assert np.min(numbers) >= 0
    assert np.max(numbers) <= 1


def test_draws_change_with_the_epoch_and_do_not_depend_on_the_cut(encoded):
    def drawn(rows, epoch):
        batch = batch_of(encoded, rows, epoch)
        sizes = batch["attention_mask"].sum(1).tolist()
        return [[batch[name][i, :size].tolist() for name in ("input_ids", "labels", "numbers")] for i, size in enumerate(sizes)]

    rows = np.arange(len(encoded))
    assert drawn(rows, 1) == drawn(rows[:1], 1) + drawn(rows[1:9], 1) + drawn(rows[9:], 1)
    assert drawn(rows, 1) != drawn(rows, 2)
    assert drawn(rows, HELD_OUT) == drawn(rows, HELD_OUT)


def test_tokens_are_drawn_as_often_as_the_softmax_says(monkeypatch):
    monkeypatch.setattr(replaced_token, "_PART", 1000)
    layer = torch.nn.Linear(4, 6)
    hidden = torch.randn(1, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        chances = layer(hidden).softmax(-1)[0]
    count = 6000
    numbers = torch.arange(count) / count
    said = sampled(hidden.expand(count, -1), layer, numbers)
    np.testing.assert_allclose(torch.bincount(said, minlength=6) / count, chances, atol=2 / count)
    assert sampled(hidden.expand(3, -1), layer, torch.tensor([0.0, 1 - 2**-24, 1.0])).tolist() == [0, 5, 5]


def test_the_loss_of_a_row_is_that_of_both_models_of_transformers(model, encoded):
    for row in range(3):
        batch = batch_of(encoded, [row])
        ids, mask, labels = (batch[name] for name in ("input_ids", "attention_mask", "labels"))
        whole = transformers.ElectraForMaskedLM(model.generator.electra.config)
        whole.electra, whole.generator_predictions = model.generator.electra, model.generator.predictions
        whole.generator_lm_head.weight, whole.generator_lm_head.bias = whole.electra.embeddings.word_embeddings.weight, model.generator.bias
        with torch.no_grad():
            guessed = whole.eval()(input_ids=ids, attention_mask=mask, labels=labels)
            chosen = labels >= 0
            reach = guessed.logits[chosen].softmax(-1).cumsum(-1)
            said = (reach <= batch["numbers"][chosen][:, None]).sum(-1)
            given = ids.clone()
            given[chosen] = said
            truth = torch.where(chosen, labels, ids)
            told = model(input_ids=given, attention_mask=mask, labels=(given != truth).long())
            found = TASK.loss(model, batch)
        assert float(found.total) / found.count == pytest.approx(float(guessed.loss + 50 * told.loss), rel=1e-5)
        columns = TASK.decode(model, batch)
        assert columns["loss"][0] == pytest.approx(float(found.total), rel=1e-5)
        assert columns["replaced"][0] == (given != truth).sum()
        right = ((told.logits > 0) == (given != truth)).float().mean()
        assert TASK.metrics(columns)["accuracy"] == pytest.approx(float(right), rel=1e-5)


@torch.no_grad()
def test_rounding_moves_the_loss_of_a_decided_batch_by_no_more_than_rounding(model, encoded):
    batch = batch_of(encoded)
    asked = batch["labels"] >= 0
    hidden, layer = model.generator(batch["input_ids"], batch["attention_mask"], asked)
    batch["numbers"][asked] = layer(hidden).softmax(-1).cumsum(-1)[:, 12]  # on the border of tokens 12 and 13

    def moved(batch):
        before = TASK.loss(model, batch).total.item()
        model.generator.bias[:13] += 1e-4
        after = TASK.loss(model, batch).total.item()
        model.generator.bias[:13] -= 1e-4
        return abs(after / before - 1)

    assert moved(batch) > 1e-3
    assert moved(TASK.decided(model, batch)) < 1e-5


def test_the_loss_adds_up_over_micro_batches_and_on_several_cores(model, encoded):
    def work(member, rows):
        loss = TASK.loss(member, batch_of(encoded, rows))
        loss.total.backward()
        return float(loss.total.detach()), loss.count

    def gradients(parts, members):
        model.zero_grad()
        with Crew(model, members) as crew:
            told = [sum(each) for each in zip(*crew.gradients(work, parts), strict=True)]
            weights = Weights(model, torch.float32)
            weights.pull(weights.names, [dict(each.named_parameters()) for each in crew.models])
        return told, {name: p.grad.clone() for name, p in model.named_parameters()}

    rows = np.arange(len(encoded))
    one = gradients([rows], 1)
    shared = "electra.embeddings.word_embeddings.weight"
    for members in (1, 3):
        told, several = gradients(np.array_split(rows, 3), members)
        assert told[1] == one[0][1]
        assert told[0] == pytest.approx(one[0][0], rel=1e-5)
        for name, expected in one[1].items():
            torch.testing.assert_close(several[name], expected, rtol=1e-3, atol=2e-3)
    assert one[1][shared].abs().sum() > 0
    assert set(several) == {name for name, _ in model.named_parameters()}, "each of the shared parameters is there once"
    assert not draws_at_random(model)


def test_embeddings_are_one_and_whole(model):
    assert model.generator.electra.embeddings is model.electra.embeddings
    names = [name for name, _ in model.named_parameters() if "embeddings." in name]
    assert names
    assert all(name.startswith("electra.") for name in names)
    assert not trim(model, np.arange(5, 10)), "the generator may say any token"


@pytest.mark.parametrize(
    ("task", "told", "expected"),
    [
        (TASK, {}, (16, 1, 32)),
        (ReplacedToken(size=0.5), {}, (32, 2, 64)),
        (TASK, {"generator_sizes": {"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40}}, (24, 3, 40)),
        (ReplacedToken(size=1.0), {"generator_sizes": {"hidden_size": 24}}, (64, 4, 128)),
    ],
)
def test_the_generator_is_as_wide_as_is_said(base, task, told, expected):
    found = bases.load(base, task.head(), seed=1, dropout=0.0)
    found.model.config.update(told)
    config = task.outfit(found).model.generator.electra.config
    assert (config.hidden_size, config.num_attention_heads, config.intermediate_size) == expected
    assert config.num_hidden_layers == 2
    assert found.model.config.hidden_size == 64


def test_the_named_architecture_has_the_generator_of_the_paper(tmp_path):
    TOKENIZER.save_pretrained(tmp_path)
    base = resolve("scratch:electra-small", tokenizer=tmp_path)
    model = TASK.outfit(bases.load(base, TASK.head(), seed=1)).model
    config = model.generator.electra.config
    assert (config.hidden_size, config.num_attention_heads, config.intermediate_size, config.embedding_size) == (64, 1, 256, 128)
    assert ReplacedToken(size=0.25).outfit(bases.load(base, TASK.head(), seed=1)).model.generator.electra.config.hidden_size == 64


def test_the_start_depends_on_the_seed_alone(base):
    def start(seed, drawn):
        torch.manual_seed(seed)
        torch.rand(drawn)
        before = torch.get_rng_state()
        found = TASK.outfit(bases.load(base, TASK.head(), seed=1)).model.generator.state_dict()
        assert torch.equal(before, torch.get_rng_state())
        return found

    one, two, other = start(1, 0), start(1, 7), start(2, 0)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["predictions.dense.weight"], other["predictions.dense.weight"])
    assert one["electra.encoder.layer.0.attention.self.query.weight"].std() == pytest.approx(0.02, rel=0.2)


def trained(model, encoded, steps):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for step in range(steps):
        loss = TASK.loss(model, batch_of(encoded, epoch=step))
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
        losses.append(float(loss.total.detach()) / loss.count)
    return losses


def test_it_learns_and_leaves_a_plain_discriminator(model, encoded, tmp_path):
    losses = trained(model, encoded, 20)
    assert np.mean(losses[-3:]) < losses[0] - 5
    alone = TASK.bare(model)
    save_model(alone, TOKENIZER, tmp_path)
    again, report = transformers.ElectraForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["ElectraForPreTraining"]
    batch = batch_of(encoded, [0, 1])
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    torch.testing.assert_close(again.eval()(**given).logits, model.eval()(**given).logits)
    _, report = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    TASK.decode(model, batch)  # what was measured can be measured again


def test_a_discriminator_goes_on_with_a_fresh_generator_in_bf16(tmp_path, model, encoded):
    save_model(TASK.bare(model), TOKENIZER, tmp_path)
    loaded = TASK.outfit(bases.load(resolve(str(tmp_path)), TASK.head(), seed=1, dropout=0.0))
    assert all(name.startswith("generator.") for name in loaded.fresh)
    assert {"generator.bias", "generator.predictions.dense.weight"} <= loaded.fresh
    plain = TASK.metrics(TASK.decode(loaded.model, batch_of(encoded)))
    weights = Weights(loaded.model.requires_grad_(True), torch.bfloat16, loaded.fresh)
    TASK.loss(loaded.model, batch_of(encoded)).total.backward()
    weights.pull(weights.names, [dict(loaded.model.named_parameters())])
    assert all(master.grad.isfinite().all() for master in weights.masters.values() if master.grad is not None)
    assert TASK.metrics(TASK.decode(loaded.model, batch_of(encoded)))["loss"] == pytest.approx(plain["loss"], rel=0.02)


def test_an_adapter_holds_nothing_of_the_generator(tmp_path, model, encoded):
    save_model(TASK.bare(model), TOKENIZER, tmp_path / "base")
    method, base = LoRA(), resolve(str(tmp_path / "base"))
    wrapped = method.apply(TASK.outfit(bases.load(base, TASK.head(), seed=1, dropout=0.0)))
    before = copy.deepcopy(wrapped.state_dict())
    losses = trained(wrapped, encoded, 12)
    assert losses[-1] < losses[0]
    changed = {name for name, values in wrapped.state_dict().items() if not torch.equal(values, before[name])}
    assert all("lora_" in name or "generator" in name for name in changed)
    assert any("lora_" in name for name in changed)
    assert any("generator" in name for name in changed), "a fresh generator learns under any method"
    whole = TASK.bare(method.merge(copy.deepcopy(wrapped))).eval()
    kept = TASK.bare(method.keep(wrapped))
    given = {name: batch_of(encoded, [0, 1])[name] for name in ("input_ids", "attention_mask")}
    expected = kept.eval()(**given).logits
    assert not [name for name, _ in whole.named_parameters() if "generator" in name or "lora_" in name]
    torch.testing.assert_close(whole(**given).logits, expected)
    kept.save_pretrained(tmp_path / "adapter")
    assert not [name for name in load_file(tmp_path / "adapter" / "adapter_model.safetensors") if "generator" in name]
    again = method.restore(bases.load(base, TASK.head(), seed=1), tmp_path / "adapter").eval()
    torch.testing.assert_close(again(**given).logits, expected)


def test_other_architectures_are_refused(tmp_path):
    loaded = bases.load(resolve(str(make_base(tmp_path))), TASK.head(), seed=1)
    with pytest.raises(BaseError, match="electra-small"):
        TASK.check(loaded.model)


def test_figures_are_of_tokens_and_left_out_where_nothing_is_said():
    columns = {name: np.array(values, float) for name, values in {
        "loss": [6, 54], "count": [1, 2], "hits": [1, 0], "told_loss": [0.1, 0.5], "tokens": [10, 20], "right": [9, 14],
        "replaced": [0, 4], "called": [0, 2], "found": [0, 1],
    }.items()}  # fmt: skip
    found = TASK.metrics(columns)
    expected = {"loss": 20, "accuracy": 23 / 30, "precision": 0.5, "recall": 0.25, "generator_accuracy": 1 / 3}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["discriminator_loss"] == pytest.approx(1.1 / 3)
    assert found["loss"] == pytest.approx(found["generator_loss"] + 50 * found["discriminator_loss"])
    silent = TASK.metrics({**columns, "called": np.zeros(2)})
    assert "precision" not in silent
    assert TASK.metrics(columns, ["recall"]) == {"recall": 0.25}
