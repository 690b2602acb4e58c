"""Memory by part, time and money in closed form; and the least change that makes a training fit."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from rootstock.core.errors import UnknownName
from rootstock.planning import devices
from rootstock.planning.forecast import How, Pace, Tried, Work, cheapest, forecast, smallest
from rootstock.planning.memory import Beside, Counted, Memory, Products, ending, later, memory, products
from rootstock.planning.rehearse import Step

BILLION = 10**9
BYTES = {"kept_bytes": 2 * BILLION, "peak_bytes": 7 * BILLION, "gradient_bytes": 4 * BILLION}
STEP = Step(flops=6 * 1024 * BILLION, forward=2 * 1024 * BILLION, **BYTES)
WHOLE = Counted(base=BILLION, embeddings=0, learning=BILLION, added=0, fresh=0, matrices=0, frozen_matrices=0)
FEW = Counted(base=BILLION, embeddings=0, learning=BILLION // 100, added=BILLION // 100, fresh=0, matrices=0, frozen_matrices=BILLION)
IN_FP32 = memory(WHOLE, STEP, precision="fp32", members=1, packed=None)
WORK = Work(rows=1000, length=128, epochs=3, micro=1024, batch=2048)


def test_full_fine_tuning_in_fp32_holds_sixteen_bytes_a_parameter_and_the_best_values():
    held = memory(WHOLE, STEP, precision="fp32", members=1, packed=None)
    assert (held.weights, held.gradients, held.optimizer, held.best) == (4 * BILLION, 4 * BILLION, 8 * BILLION, 4 * BILLION)
    assert held.copy == 0
    assert held.activations == 3 * BILLION


def test_a_round_seventy_billion_gives_the_numbers_of_text_books():
    held = memory(replace(WHOLE, base=70 * BILLION, learning=70 * BILLION), STEP, precision="fp32", members=1, packed=None)
    assert (held.weights, held.weights + held.gradients) == (280 * BILLION, 560 * BILLION)
    assert held.weights + held.gradients + held.optimizer == 1120 * BILLION


def test_bf16_adds_a_copy_and_sums_gradients_in_fp32():
    held = memory(WHOLE, STEP, precision="bf16", members=2, packed=None)
    assert held.copy == 2 * BILLION
    assert held.gradients == 2 * 2 * BILLION + 4 * BILLION
    assert held.activations == 2 * 3 * BILLION


def test_embeddings_that_never_occur_neither_learn_nor_are_copied():
    some = replace(WHOLE, idle=BILLION // 4, kept=BILLION // 100)
    held = memory(some, STEP, precision="bf16", members=1, packed=None)
    learns = BILLION - BILLION // 4
    assert held.weights == 4 * (BILLION + BILLION // 100)
    assert (held.copy, held.gradients, held.optimizer, held.best) == (2 * learns, 6 * learns, 8 * learns, 4 * learns)
    assert later(learns, bf16=True) == held.best + 4 * learns
    assert later(learns, bf16=False) == held.best


def test_an_evaluation_counts_where_it_needs_more_room_than_a_step():
    for answering, more in ((2 * BILLION, 0), (5 * BILLION, 2 * BILLION)):
        held = memory(
            WHOLE, STEP, precision="fp32", members=1, packed=None, beside=Beside(process=7, products=11, rows=13, answering=answering)
        )
        assert held.evaluation == more
        assert held.ending == 60_000_000
        assert held.total == IN_FP32.total + 7 + 11 + 13 + more + held.ending
    assert ending(50_000_000) == 10_000_000
    assert ending(BILLION) == 0


def test_products_of_a_step_are_those_that_it_makes():
    model = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 32), nn.Linear(32, 8), nn.Linear(8, 32), nn.Linear(32, 5).requires_grad_(False))
    assert products(model) == Products()  # fp32 needs none
    model.to(torch.bfloat16)
    assert products(model) == Products(learning=2 * 3 + 2, attention=3, answering=3)
    assert products(model, learns=False) == Products(answering=3)


def test_a_pooler_sees_one_vector_a_row():
    model = nn.ModuleDict({"layer": nn.Linear(8, 8), "pooler": nn.ModuleDict({"dense": nn.Linear(8, 8)})}).to(torch.bfloat16)
    assert products(model) == Products(learning=3, attention=3, answering=1, pooled=3, pooled_answering=1)
    made = products(model, learns=False)
    assert made == Products(answering=1, pooled_answering=1)
    assert made.count(set(), {(4, 6), (6, 4), (4, 5)}, most=100) == 2 + 2, "two numbers of tokens, two of rows"


def test_a_last_block_for_first_tokens_sees_rows_filled_up():
    shape = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 9}
    model = BertForSequenceClassification(BertConfig(**shape)).to(torch.bfloat16)
    head, matrices = 2 + 1, 3 * 3  # the classifier; one square and two of the feed-forward, each three times
    assert products(model) == Products(
        learning=matrices + head, attention=6, answering=4, pooled=3, pooled_answering=1, alone=matrices, alone_answering=3
    )
    made = Products(alone=9, alone_answering=3)
    assert made.count({(4, 6), (32, 4), (33, 4)}, {(1, 9), (9, 9)}, most=100) == 9 * 2 + 3


def test_code_is_kept_for_each_new_number_of_rows():
    made = Products(learning=8, attention=3, answering=3)
    learned, answered = {(4, 6), (6, 4), (2, 5)}, {(1, 1)}
    assert made.count(learned, answered, most=100) == 8 * 2 + 3 * 3 + 3
    assert made.count(learned, answered, most=10) == 10


def test_what_is_packed_takes_half_a_byte():
    held = memory(FEW, STEP, precision="bf16", members=1, packed=0.5)
    assert held.weights == pytest.approx(0.5 * BILLION + 4 * FEW.added)
    assert held.copy == 2 * FEW.added


def test_time_and_money_follow_from_operations():
    a100 = devices.find("a100-80gb")
    how = How(precision="bf16", pace=None, hourly=3600.0, once=False, adapter=False)
    found = forecast("full", WHOLE, Tried(STEP, IN_FP32, WORK), a100, how)
    assert found.flops == 6 * BILLION
    assert found.times.learning == pytest.approx(6 * BILLION * 1000 * 128 * 3 / (0.4 * 312e12))
    assert found.times.evaluating == pytest.approx(2 * BILLION * 111 * 128 * 3 / (0.4 * 312e12))
    assert found.seconds == found.times.learning + found.times.evaluating
    assert found.dollars == pytest.approx(found.seconds)
    pace = Pace(learning=1e12, answering=2e12, start=5.0, ending=3.0, update=0.5)
    once = forecast("features", FEW, Tried(STEP, IN_FP32, WORK), a100, replace(how, pace=pace, hourly=None, once=True, adapter=True))
    assert once.times.passing == pytest.approx(2 * BILLION * 1111 * 128 / 2e12)
    assert once.times.learning == 0.5 * WORK.updates == 0.5 * 189  # 62.5 updates an epoch, the last one short
    assert once.seconds == pytest.approx(once.times.passing + 94.5 + 5 + 3)
    assert once.dollars is None
    assert once.saved_bytes == 4 * FEW.learning


def test_the_first_change_that_helps_is_taken():
    def held(total):
        return lambda: Memory(weights=total, copy=0, gradients=0, optimizer=0, best=0, activations=0)

    device = devices.find("t4")
    found = cheapest([("nothing", held(20 * BILLION)), ("a little", held(14 * BILLION)), ("a lot", held(BILLION))], device)
    assert (found.what, found.bytes) == ("a little", 14 * BILLION)
    assert cheapest([("nothing", held(20 * BILLION))], device) is None


def test_the_smallest_device_that_holds_it():
    assert smallest(20 * BILLION).memory_bytes == 24 * BILLION
    assert smallest(1000 * BILLION) is None


def test_a_misspelt_device_gets_the_nearest():
    with pytest.raises(UnknownName, match="a100-80gb"):
        devices.find("a100-80")


def test_at_least_one_row_passes_at_once():
    assert Work(rows=1, length=512, epochs=1, micro=128, batch=128).at_once == 1


def test_no_more_rows_pass_at_once_than_there_are():
    assert replace(WORK, rows=3).at_once == 3


def test_consumer_cards_are_counted_as_the_others_are():
    # Products of bf16 are summed in fp32, which a GeForce does at half the rate of sums in fp16.
    for pair in (("rtx-3060-12gb", "rtx-3090"), ("rtx-4060-8gb", "rtx-4090")):
        small, large = map(devices.find, pair)
        assert small.bf16 / small.fp32 == pytest.approx(large.bf16 / large.fp32, rel=0.05)


def test_gradients_of_earlier_micro_batches_are_held_beside_what_the_next_one_keeps():
    small = replace(STEP, peak_bytes=5 * BILLION)  # all gradients, and little beside them at the end of a pass
    assert WORK.accumulates
    assert not replace(WORK, micro=2048).accumulates
    assert memory(WHOLE, small, precision="fp32", members=1, packed=None).activations == BILLION
    assert memory(WHOLE, small.again, precision="fp32", members=1, packed=None).activations == small.kept_bytes
    assert STEP.again == STEP
