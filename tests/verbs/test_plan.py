"""Plans: published numbers exactly, three cases of text books, and what is refused."""

import csv
import json
from dataclasses import replace

import pytest

from rootstock import catalog
from rootstock.core.errors import BaseError, RecipeError, UnknownName, UsageError
from rootstock.planning import ledger
from rootstock.planning.rules import warmup_updates
from rootstock.verbs.plan import Asked, device_of, forecast_of, measured, method_of, of_data, plan, work_of
from rootstock.verbs.plan_words import amount, told_apart

DAY = 86_400


def method(name, **asked):
    return plan(Asked(methods=(name,), device="a100-80gb", **asked))["methods"][0]


def test_lora_on_bert_as_published():
    found = method("lora", base="bert-base-uncased")
    counts = found["counts"]
    assert counts["base"] == 109_483_778
    assert counts["added"] == 294_912
    assert counts["base"] + counts["added"] == 109_778_690
    assert counts["learning"] == 296_450
    assert f"{counts['added'] / counts['matrices']:.2%}" == "2.08%"


def test_a_higher_rank_on_four_projections_of_each_block():
    targets = ["query", "key", "value", "attention.output.dense"]
    counts = method("lora", base="bert-base-uncased", settings={"r": 16, "targets": targets})["counts"]
    assert (counts["added"], counts["matrices"]) == (1_179_648, 28_311_552)
    assert f"{counts['added'] / counts['matrices']:.2%}" == "4.17%"


@pytest.mark.slow
def test_lora_on_llama_7b_as_published():
    counts = method("lora", base="huggyllama/llama-7b", task="text-generation", settings={"targets": ["q_proj", "v_proj"]}, length=16)[
        "counts"
    ]
    assert counts["added"] == counts["learning"] == 4_194_304
    assert counts["base"] + counts["added"] == 6_742_609_920


@pytest.mark.slow
def test_a_model_of_seventy_billion_is_broken_down_by_part():
    asked = Asked(base="meta-llama/Llama-2-70b-hf", methods=("full",), task="text-generation", device="a100-80gb", precision="fp32")
    found = plan(replace(asked, length=16))
    held, counts = found["methods"][0]["memory"], found["methods"][0]["counts"]
    assert counts["base"] == 68_976_648_192
    assert round(held["weights"] / 1e9, 1) == 275.9
    assert round((held["weights"] + held["gradients"]) / 1e9) == 552
    assert held["weights"] + held["gradients"] + held["optimizer"] > 1e12
    assert not found["methods"][0]["fits"]
    assert found["change"]["change"]["what"].startswith("take --method qlora")


def test_a_tenth_of_225_updates_is_22(tiny_base):
    assert warmup_updates(225) == 22
    asked = Asked(base=str(tiny_base), rows=225 * 16, length=64, epochs=1, batch=1024, device="t4")
    assert advice_of(asked)["warm-up"] == "10 % warm-up of 225 updates: 22"


def advice_of(asked):
    return {each["about"]: each["choice"] for each in plan(asked)["advice"]}


def advice(**asked):
    return advice_of(Asked(base="minilm", **asked))


@pytest.mark.slow
def test_many_rows_and_time_take_full_fine_tuning():
    assert advice(rows=100_000, memory_bytes=16 * 10**9, seconds=3 * DAY, device="t4")["method"] == "full"


def test_few_rows_take_lora_and_augmentation():
    found = advice(rows=500, memory_bytes=8 * 10**9, device="rtx-4060-8gb")
    assert (found["method"], found["augmentation"]) == ("lora", "eda")


@pytest.mark.slow
def test_few_rows_take_no_lora_that_does_not_fit():
    found = plan(Asked(base="minilm", rows=1500, memory_bytes=int(1.1e8), device="rtx-4060-8gb", micro=128, length=16, precision="fp32"))
    fits = {each["method"]: each["fits"] for each in found["methods"]}
    assert not fits["lora"]
    assert found["advice"][0]["choice"] == "feature-extraction"


def test_random_weights_have_a_copy_in_bf16_but_for_their_head():
    found = plan(Asked(base="scratch:bert-tiny", methods=("full",), device="a100-80gb", length=16))["methods"][0]
    assert found["memory"]["copy"] == 2 * (found["counts"]["base"] - 2 * 128 - 2)


@pytest.mark.slow
def test_twenty_tasks_on_a_small_disk_share_a_base():
    found = plan(Asked(base="minilm", rows=20_000, tasks=20, disk_bytes=10**9, device="t4"))["advice"][0]
    assert found["choice"] == "lora"
    assert "one base with 20 adapters" in found["reason"]


def test_what_does_not_fit_gets_the_least_change():
    found = plan(Asked(base="bert-base-uncased", methods=("full",), memory_bytes=int(2.9e9), device="t4", micro=4096, batch=4096))
    assert not found["methods"][0]["fits"]
    assert found["change"]["change"]["what"].startswith("pass ")
    assert found["change"]["device"] == "rtx-4060-8gb"


def test_a_base_in_a_folder_by_a_short_path_reads_the_rows_itself(tiny_base, reviews, monkeypatch):
    monkeypatch.chdir(tiny_base.parent)
    found = of_data(Asked(base=tiny_base.name), str(reviews), lambda text: None, base_given=True)
    assert found.base == tiny_base.name
    assert found.data is not None


def test_the_task_that_is_named_is_that_of_the_rows(tiny_base, tmp_path):
    path = tmp_path / "rated.csv"
    path.write_text("text,label\n" + "".join(f"a fine film {n},{n % 2}\n" for n in range(60)))
    found = [of_data(Asked(base=str(tiny_base), **task), str(path), lambda text: None, base_given=True).task for task in ({}, REGRESSION)]
    assert found == ["text-classification", "regression"]


REGRESSION = {"task": "regression"}


def test_rows_labels_and_task_come_from_a_file(tmp_path):
    path = tmp_path / "train.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["text", "label"], *([f"a fine film {n}", ("good", "bad", "odd")[n % 3]] for n in range(60))])
    said = []
    found = of_data(Asked(), str(path), said.append, base_given=False)
    assert (found.task, found.labels, found.rows) == ("text-classification", 3, 54)
    assert found.base == "minilm"
    assert any("minilm" in each for each in said)


def test_amounts():
    assert (amount("16GB", "--memory"), amount("2.5 gb", "--memory"), amount("800M", "--disk")) == (16 * 10**9, 25 * 10**8, 8 * 10**8)
    for wrong in ("much", "1.2.3GB", "-3GB"):
        with pytest.raises(UsageError, match="16GB"):
            amount(wrong, "--memory")


def test_settings_are_told_apart_and_others_refused():
    assert told_apart({"method.r": 4, "training.micro_tokens": 512}) == ({"r": 4}, {"micro": 512})
    with pytest.raises(UsageError, match=r"does not read data\.rows"):
        told_apart({"data.rows": 3})
    for wrong in ("find", 0, 1.5, True):
        with pytest.raises(UsageError, match="a number of tokens"):
            told_apart({"training.micro_tokens": wrong})


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"rows": 0}, UsageError, "--rows"),
        ({"epochs": -1.0}, UsageError, "--epochs"),
        ({"epochs": float("nan")}, UsageError, "--epochs is nan"),
        ({"epochs": float("inf")}, UsageError, "--epochs is inf"),
        ({"seconds": -172_800.0}, UsageError, "--days is -2"),
        ({"tasks": 0}, UsageError, "--tasks is 0"),
        ({"disk_bytes": 0}, UsageError, "--disk is 0"),
        ({"price": float("nan")}, UsageError, "--price is nan"),
        ({"memory_bytes": 0}, UsageError, "--memory"),
        ({"precision": "fp8"}, UsageError, "fp32 or bf16"),
        ({"precision": "bf16", "device": "t4", "methods": ("full",)}, RecipeError, "no products in bf16"),
        ({"device": "abacus"}, UnknownName, "one of"),
        ({"methods": ("lora",), "settings": {"rank": 8}}, RecipeError, "rank"),
        ({"task": "masked-lm"}, UsageError, "dry-run"),
        ({"task": "image-classification"}, BaseError, "reads texts, and these are images"),
        ({"task": "image-classification", "base": "scratch:vit-tiny", "length": 64}, UsageError, "an image counts as 65 tokens"),
        ({"task": "preference"}, UsageError, "a plan for preference is not known"),
        ({"base": "gpt2", "task": "text-to-text"}, Exception, "Seq2SeqLM"),
    ],
)
def test_what_a_plan_refuses(asked, error, said):
    with pytest.raises(error, match=said):
        plan(Asked(**{"base": "bert-base-uncased", "device": "t4", **asked}))


@pytest.mark.parametrize("name", catalog.names("methods"))
def test_every_method_is_planned_or_refused_with_a_reason(name, tiny_base):
    found = plan(Asked(base=str(tiny_base), methods=(name, "full"), device="t4", length=16))
    if name in found["left_out"]:
        assert len(found["left_out"][name]) > 20
        return
    first = found["methods"][0]
    assert first["method"] == name
    assert 0 < first["counts"]["learning"] <= first["counts"]["base"] + first["counts"]["added"]
    assert first["memory"]["activations"] > 0


def test_this_machine_is_measured_by_real_updates(tiny_base):
    asked = Asked(base="scratch:bert-tiny", rows=8, length=16, batch=64)
    for method in ("full", "feature-extraction"):
        found = measured(replace(asked, base=str(tiny_base), methods=(method,)), lambda text: None, seconds=0.05)
        assert min(found.learning, found.answering, found.start) > 0
        assert found.process is None
    with pytest.raises(UsageError, match="leave one of them out"):
        measured(replace(asked, device="t4"), lambda text: None)


def test_what_can_not_be_measured_here_says_so(tiny_base):
    asked = Asked(base=str(tiny_base), rows=8, length=16)
    for methods, settings, said in ((("lora",), {"targets": ["nowhere"]}, "No modules"), (("compose",), {}, "names no adapter")):
        with pytest.raises(RecipeError, match=said):
            measured(replace(asked, methods=methods, settings=settings), lambda text: None, seconds=0.05)
    with pytest.raises(UsageError, match="--length"):
        measured(replace(asked, length=0), lambda text: None, seconds=0.05)


def test_a_base_of_images_is_counted_as_published():
    found = method("full", base="google/vit-base-patch16-224", task="image-classification", rows=41, precision="fp32")
    assert found["counts"]["base"] == 85_798_656 + 2 * 768 + 2
    assert found["counts"]["embeddings"] == 0


def test_answers_in_passages_are_planned():
    found = method("full", base="bert-base-uncased", task="question-answering", length=384, rows=1000, micro=1536)
    assert found["counts"]["base"] == 108_893_186, "as transformers counts BertForQuestionAnswering"


def test_a_byte_of_memory_needs_many_devices():
    assert plan(Asked(base="scratch:bert-tiny", methods=("full",), device="t4", memory_bytes=1, length=16))["change"]["device"]


def test_a_frozen_base_passes_as_many_rows_at_once_as_micro_tokens_allow(tiny_base):
    asked = Asked(base=str(tiny_base), methods=("feature-extraction",), device="t4", length=16, rows=1000)
    held = [plan(replace(asked, micro=micro))["methods"][0]["memory"]["activations"] for micro in (1024, 4096)]
    assert held[1] == pytest.approx(4 * held[0], rel=0.2)


def test_random_weights_are_planned_only_where_they_all_learn():
    with pytest.raises(RecipeError, match="random in scratch:bert-tiny"):
        plan(Asked(base="scratch:bert-tiny", methods=("lora",), length=16))


def test_a_plan_of_a_file_counts_what_the_run_of_it_holds(tiny_base, reviews, adapt):
    """Embeddings, learned parameters and largest batch are those that the loop has; the rest of memory is not torch's to count."""
    settings = {"epochs": 2.0, "batch": 64, "precision": "bf16"}
    asked = of_data(Asked(base=str(tiny_base), methods=("full",), **settings), str(reviews), lambda text: None, base_given=True)
    work = work_of(asked, method_of(asked, "full"), device_of(asked))
    found = forecast_of(asked, "full", device_of(asked), None)
    adapt(data=reviews, training={"epochs": 2, "rate": 3e-3, "batch_tokens": 64, "precision": "bf16"})
    (entry,) = ledger.read(ledger.place()).entries
    assert work.tokens * work.epochs == entry["work"]["tokens"]
    assert work.updates == entry["work"]["updates"] == found.updates
    assert work.validation * 2 == entry["work"]["tokens_answered"]
    counts = found.counts
    assert counts.kept == 32 * len(
        set(asked.data.encoded.tokens["input_ids"].flat) | {0, *asked.data.encoded_validation.tokens["input_ids"].flat}
    )
    assert counts.idle == 32 * 32 - counts.kept
    assert counts.fresh == 2 * 32 + 2


@pytest.mark.slow
def test_a_short_run_measures_this_machine(tiny_base, reviews):
    asked = of_data(Asked(base=str(tiny_base), methods=("full",), epochs=1), str(reviews), lambda text: None, base_given=True)
    pace = measured(asked, lambda text: None)
    assert min(pace.learning, pace.answering, pace.start, pace.ending, pace.process) > 0
    told = plan(asked, measured=pace)["methods"][0]
    assert told["memory"]["process"] == pace.process
    assert told["times"]["start"] == pace.start
    assert ledger.read(ledger.place()).entries == [], "a trial is nobody's run"


def test_an_adapter_with_few_parameters_may_hold_more_than_a_whole_model_that_learns(tmp_path):
    """DoRA on every matrix keeps their updated directions for the backward pass, as its users measured (peft issue 2196)."""
    shape = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"], **shape}))
    asked = {"base": str(tmp_path), "length": 8, "rows": 64, "precision": "fp32"}
    full, dora = method("full", **asked), method("dora", **asked, settings={"targets": ["all-linear"]})
    assert dora["counts"]["learning"] < full["counts"]["learning"] / 20
    assert dora["memory"]["activations"] > full["memory"]["activations"]
