"""Plans for many devices: a base's shape as its own class has it, activations as a real step keeps them, JSON and text, and refusals."""

import json

import pytest

from rootstock.bases import blank
from rootstock.core.errors import BaseError, UsageError
from rootstock.planning.cluster_memory import Way, held
from rootstock.planning.devices import PRICES
from rootstock.report import cluster_text
from rootstock.verbs import plan as one_device
from rootstock.verbs.plan_cluster import AskedCluster, of_base, plan
from rootstock.verbs.plan_tried import tried
from rootstock.verbs.plan_words import tokens

SMALL = "HuggingFaceTB/SmolLM-135M"


@pytest.fixture(scope="module")
def small():
    return of_base(SMALL)


def test_a_bases_shape_is_counted(small):
    assert small.parameters == blank.published()[SMALL]["parameters"]
    assert (small.blocks, small.width, small.queries, small.keys, small.inner, small.gated) == (30, 576, 576, 192, 1536, True)
    assert small.root == 49_152 * 576 + 576


def test_activations_are_what_a_real_step_keeps(small):
    asked = one_device.Asked(base=SMALL, task="causal-lm", methods=("full",), device="a100-80gb", length=512, micro=512, rows=100)
    device, method = one_device.device_of(asked), one_device.method_of(asked, "full")
    way, work = one_device.way_of(asked, method, device), one_device.work_of(asked, method, device)
    kept = [tried(way, work, blocks=count).step.kept_bytes for count in (2, 4)]
    (planned,) = [each.bytes for each in held(small, Way(name="fsdp"), 8, tokens=512, computed=2).parts if each.name == "activations"]
    assert planned / 30 == pytest.approx((kept[1] - kept[0]) / 2, rel=0.02)


def test_a_plan_is_json_and_text():
    found = plan(AskedCluster(workers=64, device="h100", model="70b"))
    assert json.loads(json.dumps(found)) == found
    assert found["tokens"]["planned"] == found["tokens"]["compute_optimal"]
    assert found["quickest"] == found["quickest_here"] == "fsdp + recompute"
    by_name = {each["strategy"]: each for each in found["strategies"]}
    assert not by_name["ddp"]["fits"]
    assert by_name["fsdp + recompute"]["recipe"] == "--set cluster.strategy=fsdp --set cluster.recompute=true"
    assert by_name["tensor 8 x fsdp"]["recipe"] is None
    text = cluster_text.as_text(found)
    assert "68,976,648,192 parameters" in text
    assert "quickest  fsdp + recompute" in text
    assert text.count("activations  ") >= 2
    asked = AskedCluster(workers=64, device="h100", model="70b", tokens=2e12, price=1.0)
    priced = plan(asked)
    days = {each["strategy"]: each["days"] for each in found["strategies"]}[found["quickest"]]
    assert priced["tokens"]["compute_optimal_days"] == pytest.approx(days)
    assert f"to the compute-optimal {found['tokens']['planned']:.3g} tokens: {days:,.1f} days" in cluster_text.as_text(priced)
    assert "to the compute-optimal" not in text
    other = {each["strategy"]: each for each in priced["strategies"]}["fsdp"]
    assert other["dollars"] == pytest.approx(other["device_hours"])
    assert f"prices    {PRICES}" in text
    assert "prices    " not in cluster_text.as_text(priced), "a person's own price needs no source"


def test_the_loops_own_tensor_group_is_planned_where_the_class_brings_a_plan():
    eight = plan(AskedCluster(workers=8, device="h100", model="7b"))
    told = {each["strategy"]: each["recipe"] for each in eight["strategies"]}
    assert told["tensor + recompute"] == "--set cluster.strategy=tensor --set cluster.recompute=true"
    assert "for other engines" not in "".join(eight["notes"])
    bert = plan(AskedCluster(workers=4, device="h100", base="bert-base-uncased", length=512))
    assert {each["strategy"]: each["recipe"] for each in bert["strategies"]}["tensor"] is None
    assert any("brings no plan for tensor parallelism" in note for note in bert["notes"])


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, "neither --model nor --base"),
        ({"model": "7b", "base": SMALL}, "both --model and --base"),
        ({"model": "7b", "device": "this-machine"}, "--device is not given"),
        ({"model": "7b", "workers": 0}, "--workers is 0"),
        ({"model": "7b", "batch": 100}, "training.batch_tokens is 100"),
        ({"model": "7b", "micro": 100}, "training.micro_tokens is 100"),
        ({"model": "7b", "precision": "fp8"}, "--precision is fp8"),
        ({"model": "7b", "device": "t4", "precision": "bf16"}, "t4 has no products in bf16"),
        ({"model": "70b", "device": "t4"}, "no strategy fits Llama 2 70B"),
    ],
)
def test_what_can_not_be_planned_is_refused(asked, found):
    with pytest.raises(UsageError, match=found):
        plan(AskedCluster(**{"workers": 8, "device": "h100"} | asked))


@pytest.mark.parametrize("base", ["t5-base", "albert/albert-base-v2"])
def test_other_stacks_are_refused(base):
    with pytest.raises(BaseError, match=r"blocks|is a t5"):
        of_base(base)


def test_numbers_of_tokens():
    assert [tokens(each) for each in ("2T", "300b", "5e9", "1,000", None)] == [2e12, 3e11, 5e9, 1000, None]
    for wrong in ("", "many", "0", "-5", "1.2.3"):
        with pytest.raises(UsageError, match="--tokens is"):
            tokens(wrong)
