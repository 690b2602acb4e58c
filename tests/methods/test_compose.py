"""Trained adapters mixed, averaged and stacked on: against their definitions, and through runs, resumed and refused."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import make_base, rows_of, write_csv
from tests.methods.conftest import answers, moved, rows, weights

import rootstock as rs
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import ContractRefused, RecipeError, UsageError
from rootstock.core.loaded import Head, Loaded
from rootstock.core.method import learning
from rootstock.methods.adapter import Adapter
from rootstock.methods.compose import Compose
from rootstock.methods.lora import LoRA
from rootstock.methods.rslora import RankStabilised

QUERY, VALUE = (f"bert.encoder.layer.0.attention.self.{name}.weight" for name in ("query", "value"))


@pytest.fixture
def on(load, tmp_path):
    """Two adapters of different ranks and scales; the second leaves values alone."""
    made = {"first": LoRA(r=4, alpha=8), "second": RankStabilised(r=9, alpha=6, targets=("query",))}
    for name, method in made.items():
        method.keep(moved(method.apply(load()))).save_pretrained(tmp_path / name / "model")
    return tuple(str(tmp_path / name) for name in made)


def deltas(load, on):
    """What each adapter changes of the base, worked out by peft's own merge."""
    found = []
    for folder, method in zip(on, (LoRA(r=4, alpha=8), RankStabilised(r=9, alpha=6, targets=("query",))), strict=True):
        before, after = weights(load().model), weights(method.merge(method.restore(load(), Path(folder) / "model")))
        found.append({name: after[name] - before[name] for name in (QUERY, VALUE)})
    return found


@pytest.mark.parametrize(("how", "share"), [("average", 0.5), ("parallel", 1.0)])
def test_each_update_counts_by_its_share_and_only_the_head_learns(load, on, how, share):
    loaded, method = load(), Compose(on=on, how=how)
    before, (first, second) = weights(loaded.model), deltas(load, on)
    model = method.apply(loaded)
    assert {name for name, _ in learning(model)} == loaded.fresh
    merged = weights(method.merge(model))
    torch.testing.assert_close(merged[QUERY], before[QUERY] + share * (first[QUERY] + second[QUERY]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(merged[VALUE], before[VALUE] + share * first[VALUE], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", ["average", "parallel"])
def test_what_stays_as_it_is_needs_a_head_to_learn(load, on, how):
    loaded = load()
    with pytest.raises(ValueError, match="only a fresh head learns"):
        Compose(on=on, how=how).apply(Loaded(loaded.model, loaded.head, frozenset()))


def test_fuse_learns_a_share_of_each_adapter_in_each_matrix(load, on):
    loaded, method = load(), Compose(on=on)
    before, (first, second) = weights(loaded.model), deltas(load, on)
    model = method.apply(loaded)
    shares = {name: parameter for name, parameter in learning(model) if name not in loaded.fresh}
    assert len(shares) == 4
    assert all(name.endswith(".shares") for name in shares)
    rates = {name: group["rate"] for group in method.groups(model, 1e-3) for name in group["names"]}
    assert {rates[name] for name in shares} == {1e-2}
    with torch.no_grad():
        shares[QUERY.replace("weight", "shares")].copy_(torch.tensor([2.0, -0.5]))
    model(**rows()).logits.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in shares.values())
    merged = weights(method.merge(model))
    torch.testing.assert_close(merged[QUERY], before[QUERY] + 2 * first[QUERY] - 0.5 * second[QUERY], rtol=1e-4, atol=1e-5)


def test_stack_begins_as_the_sum_and_a_new_update_learns(load, on):
    loaded, method = load(), Compose(on=on, how="stack", r=2, alpha=6)
    before, (first, second) = weights(loaded.model), deltas(load, on)
    model = method.apply(loaded)
    learned = {name.rpartition(".")[2] for name, _ in learning(model) if name not in loaded.fresh}
    assert learned == {"new_down", "new_up"}
    held = weights(moved(model))
    new = 3 * held[QUERY.replace("weight", "new_up")] @ held[QUERY.replace("weight", "new_down")]
    merged = weights(method.merge(model))
    torch.testing.assert_close(merged[QUERY], before[QUERY] + first[QUERY] + second[QUERY] + new, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", ["fuse", "average", "stack"])
def test_what_is_kept_is_one_lora_of_plain_peft(load, on, tmp_path, how):
    from peft import PeftModel

    method = Compose(on=on, how=how)
    model = moved(method.apply(load()))
    said = answers(model)
    method.keep(model).save_pretrained(tmp_path / "kept")
    config = json.loads((tmp_path / "kept" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert config["task_type"] == "SEQ_CLS"
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
        plain = PeftModel.from_pretrained(load().model, tmp_path / "kept")
    torch.testing.assert_close(answers(plain), said, rtol=1e-4, atol=1e-5)


def test_what_is_composed_can_be_composed_again(load, on, tmp_path):
    method = Compose(on=on, how="stack", r=2)
    method.keep(moved(method.apply(load()))).save_pretrained(tmp_path / "third" / "model")
    again = Compose(on=(str(tmp_path / "third"),), how="stack")
    expected = weights(method.merge(method.restore(load(), tmp_path / "third" / "model")))[QUERY]
    torch.testing.assert_close(weights(again.merge(again.apply(load())))[QUERY], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_an_objective_can_build_on_adapters(base_of, tmp_path):
    base = resolve(str(base_of()))
    head = Head(auto="AutoModelForMaskedLM")
    lora = LoRA(r=2)
    lora.keep(moved(lora.apply(bases.load(base, head, seed=1)))).save_pretrained(tmp_path / "one" / "model")
    method = Compose(on=(str(tmp_path / "one"),), how="stack")
    model = moved(method.apply(bases.load(base, head, seed=1)))
    said = answers(model)
    torch.testing.assert_close(answers(method.merge(model)), said, rtol=1e-4, atol=1e-4)


# Through runs

QUICK = {"epochs": 1, "rate": 1e-2, "batch_tokens": 64}


@pytest.fixture
def two(learned):
    return [str(learned(method="lora", training=QUICK, seed=seed).path) for seed in range(2)]


@pytest.mark.parametrize("how", [pytest.param("fuse", marks=pytest.mark.slow), "stack"])
def test_a_run_builds_on_runs_and_is_an_adapter_like_any_other(adapt, two, how, tmp_path):
    rows = [(text, "yes" if label == "positive" else "no") for text, label in rows_of(60, seed=3)]
    data = write_csv(tmp_path / "other.csv", rows)
    run = adapt(method=Compose(on=tuple(two), how=how), training=QUICK, data=data, out="composed", merge=True)
    assert (run.path / "merged").is_dir()
    table = pq.read_table(run.path / "predictions.parquet").to_pylist()
    assert rs.Run(run.path).predict([row["text"] for row in table]) == [row["predicted"] for row in table]
    assert {row["answer"] for row in table} == {"yes", "no"}
    ranks = {len(each) for name, each in load_file(run.folder.model / "adapter_model.safetensors").items() if "lora_A" in name}
    assert ranks == {16 if how == "fuse" else 24}


def test_a_run_that_was_also_merged_is_built_on_by_its_adapter(adapt, two, tmp_path):
    alone, merged = (adapt(method="lora", training=QUICK, merge=merge, out=f"merged-{merge}") for merge in (False, True))
    assert (merged.path / "merged").is_dir()
    made = [adapt(method=Compose(on=(str(each.path),)), training=QUICK, out=f"on-{each.path.name}") for each in (alone, merged)]
    assert made[0].metrics["metrics"] == made[1].metrics["metrics"]


def test_a_composed_run_resumes_bit_for_bit(adapt, two, tmp_path):
    from rootstock.verbs.verify import go_on, verify

    run = adapt(method=Compose(on=tuple(two), how="stack"), training=QUICK, out="composed")
    assert verify(run.folder.recipe, 4, lambda text: None, restart=go_on)["identical"]


def test_adapters_over_another_base_are_refused_with_both_digests(adapt, two, tmp_path):
    make_base(tmp_path / "base", intermediate_size=48)
    with pytest.raises(ContractRefused) as refused:
        adapt(method=Compose(on=tuple(two)), base=str(tmp_path / "base"), out="composed")
    assert resolve(str(tmp_path / "base")).digest in str(refused.value)
    assert rs.Run(two[0]).contract["base"]["sha256"] in str(refused.value)


def test_what_cant_be_built_on_is_refused_before_anything_is_loaded(adapt, learned, two, tmp_path):
    full = str(learned(training=QUICK).path)
    bent = str(learned(method=Adapter(size=4), training=QUICK, seed=0).path)
    tried = (([], RecipeError, "names no adapter"), (["nowhere"], UsageError, "no such folder"), ([full], UsageError, "whole model"))
    parallel = str(learned(method=Adapter(place="parallel", size=4), training=QUICK).path)
    mixed = (
        ([two[0], bent], RecipeError, "no adapter of peft"),
        ([bent, two[0]], RecipeError, "no adapter of bottlenecks"),
        ([bent, parallel], RecipeError, "in different places: parallel, pfeiffer"),
    )
    for on, error, said in (*tried, *mixed):
        with pytest.raises(error, match=said):
            adapt(method=Compose(on=tuple(on)), out="composed")
    assert not (tmp_path / "composed").exists()
    with pytest.raises(RecipeError, match="can't be folded into weights"):
        adapt(method=Compose(on=(bent,)), out="composed", merge=True)


# Bottlenecks


CLOSES = "bert.encoder.layer.0.output.dense"
SIZES = {"first": (5, 2.0), "second": (3, None)}


@pytest.fixture
def bent(load, tmp_path):
    """make(place) are two adapters of bottlenecks of different widths and scales."""

    def make(place="pfeiffer"):
        for name, (size, scale) in SIZES.items():
            method = Adapter(place=place, size=size, scale=scale)
            torch.manual_seed(size)
            method.keep(moved(method.apply(load()))).save_pretrained(made(tmp_path / place / name / "model"))
        return tuple(str(tmp_path / place / name) for name in SIZES)

    return make


def made(folder):
    folder.mkdir(parents=True)
    return folder


def separately(load, on, place, given):
    """What each adapter adds at one place, by restoring it alone."""
    found = []
    for each, (size, scale) in zip(on, SIZES.values(), strict=True):
        model = Adapter(place=place, size=size, scale=scale).restore(load(), Path(each) / "model")
        found.append(model.get_submodule(CLOSES).adapter(given))
    return found


@torch.no_grad()
@pytest.mark.parametrize("place", ["houlsby", "pfeiffer", "parallel"])
@pytest.mark.parametrize("how", ["fuse", "average", "parallel", "stack"])
def test_bottlenecks_side_by_side_add_what_each_adds_alone(load, bent, how, place, tmp_path):
    on, given = bent(place), torch.randn(2, 3, load().model.config.hidden_size, generator=torch.Generator().manual_seed(5))
    loaded, method = load(), Compose(on=on, how=how, r=2)
    model = method.apply(loaded)
    learned = {name.rpartition(".adapter.")[2] for name, _ in learning(model) if name not in loaded.fresh}
    new = {f"new.{side}.{part}" for side in ("down", "up") for part in ("weight", "bias")}
    assert learned == {"fuse": {"shares"}, "stack": new}.get(how, set())
    mixed, (first, second) = model.get_submodule(CLOSES).adapter, separately(load, on, place, given)
    moved(model)
    shares = mixed.shares.tolist()
    assert (shares == [0.5, 0.5]) == (how == "average")
    assert (shares == [1.0, 1.0]) == (how in ("parallel", "stack"))
    expected = shares[0] * first + shares[1] * second + (mixed.new(given) if how == "stack" else 0)
    torch.testing.assert_close(mixed(given), expected, rtol=1e-4, atol=1e-5)
    # what is left is one adapter like any other, as wide as all of them, and can be built on again
    said = answers(model)
    method.keep(model).save_pretrained(made(tmp_path / how / "model"))
    facts = json.loads((tmp_path / how / "model/adapter_config.json").read_text())
    size = 8 + 2 * (how == "stack")
    assert facts == {"method": "adapter", "place": place, "size": size, "scale": 1.0}
    for plain in (Adapter(place=place, size=size, scale=1.0), method):
        torch.testing.assert_close(answers(plain.restore(load(), tmp_path / how / "model")), said, rtol=1e-4, atol=1e-5)
    again = Compose(on=(str(tmp_path / how),), how="average").apply(load())
    torch.testing.assert_close(again.get_submodule(CLOSES).adapter(given), mixed(given), rtol=1e-4, atol=1e-5)


def test_a_run_builds_on_bottlenecks_and_answers_without_them(adapt, learned, tmp_path):
    runs = [learned(method=Adapter(size=4), training=QUICK, seed=seed).path for seed in range(2)]
    on = [shutil.copytree(path, tmp_path / str(seed)) for seed, path in enumerate(runs)]
    run = adapt(method=Compose(on=tuple(map(str, on))), training=QUICK, out="composed")
    for each in on:
        shutil.rmtree(each)
    table = pq.read_table(run.path / "predictions.parquet").to_pylist()
    assert rs.Run(run.path).predict([row["text"] for row in table]) == [row["predicted"] for row in table]
    assert "a JSON file" in (run.path / "README.md").read_text()
    assert {len(each) for name, each in load_file(run.folder.model / "adapter_model.safetensors").items() if "down" in name} == {8}


@pytest.mark.slow
def test_a_run_on_bottlenecks_resumes_bit_for_bit(adapt, learned, tmp_path):
    from rootstock.verbs.verify import go_on, verify

    on = str(learned(method=Adapter(size=4), training=QUICK, seed=0).path)
    run = adapt(method=Compose(on=(on,), how="stack"), training=QUICK, out="composed")
    assert verify(run.folder.recipe, 4, lambda text: None, restart=go_on)["identical"]
