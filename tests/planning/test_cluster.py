"""Many devices in closed form: memory by part, ring volumes, times, efficiency, the quickest, and the least change where nothing fits."""

from dataclasses import replace

import pytest

from rootstock.core.errors import UsageError
from rootstock.planning import cluster, devices, links, shapes
from rootstock.planning.cluster_memory import Way, held

SHAPE = replace(shapes.llama("ours", (10, 1024, 4096, 8, 8)), block=90 * 10**6, root=100 * 10**6)
N, B, R = 10**9, 90 * 10**6, 10**8
FSDP, AGAIN = Way(name="fsdp"), Way(name="fsdp + recompute", recompute=True)
SCORES = 512 * 32_000 * (2 + 8)
A_TOKEN = 2 * (4 * 1024 + 4 * 1024 + 4 * 4096) + 8 * 1024
"""Bytes that a block keeps of one."""
JOB = cluster.Job(shape=SHAPE, length=1024, batch=64 * 1024, tokens=1e9, micro=2048)


def parts(way, workers=4, **asked):
    found = held(SHAPE, way, workers, **{"tokens": 2048, "computed": 2} | asked)
    return {each.name: each.bytes for each in found.parts}, found


def place(workers, device="h100", **of):
    return cluster.Place(device=devices.find(device), links=links.of(device, **of), workers=workers, precision="bf16", hourly=2.0)


def test_ddp_holds_everything_on_each_device():
    found, all_ = parts(Way(name="ddp", shards=False))
    assert found == {
        "parameters": 6 * N, "gradients": 6 * N, "optimizer": 8 * N, "best": 4 * N, "scores": SCORES, "activations": 2048 * 10 * A_TOKEN,
    }  # fmt: skip
    assert all_.total == 24 * N + SCORES + 2048 * 10 * A_TOKEN


def test_fsdp_holds_sixteen_bytes_a_parameter_over_all_workers_and_what_it_gathers():
    found, all_ = parts(FSDP)
    assert found["parameters"] + found["gradients"] + found["optimizer"] == 16 * N // 4
    assert found["best"] == N
    assert found["gathered"] == 2 * (2 * B + R) + 6 * R
    assert all_.total == 20 * N // 4 + found["gathered"] + SCORES + 2048 * 10 * A_TOKEN
    assert parts(FSDP, computed=4)[0]["gathered"] == 4 * (2 * B + R) + 8 * R


def test_recomputation_keeps_each_blocks_input_and_one_block():
    assert parts(AGAIN)[0]["activations"] == 2048 * (10 * 2 * 1024 + A_TOKEN)


def test_offloaded_shards_lie_in_the_machine():
    found, all_ = parts(replace(AGAIN, offload=True))
    assert set(found) == {"gathered", "scores", "activations"}
    assert all_.host == 20 * N // 4


def test_a_tensor_group_shares_matrices_but_not_the_residual_stream():
    found, _ = parts(Way(name="tensor", tensor=4), 16)
    assert found["activations"] == 2048 * 10 * (2 * (4 * 1024 + (4 * 1024 + 4 * 4096) // 4) + 8 * 1024)
    assert found["gathered"] == (2 * (2 * B + R) + 6 * R) // 4
    assert found["parameters"] == 4 * N // 16


def test_one_tensor_group_of_all_holds_parts_of_the_blocks_and_the_rest_whole():
    found, all_ = parts(Way(name="tensor", shards=False, tensor=4))
    held_by_each = 10 * B // 4 + R
    for name, each in (("parameters", 6), ("gradients", 6), ("optimizer", 8), ("best", 4)):
        assert found[name] == each * held_by_each
    assert "gathered" not in found
    assert [each.formula for each in all_.parts][:2] == ["4M + 2M (copy in bf16)", "2M + 4M (their sum)"]
    told = cluster.outlook(JOB, place(4), Way(name="tensor", shards=False, tensor=4))
    assert (told.micro, told.passes, told.batch) == (2048, 32, 64 * 1024), "all of them see every row"
    assert told.sent.data == 0
    assert told.sent.tensor == 32 * 4 * 10 * (2 * 3 / 4 * 2048 * 1024 * 2)
    assert told.spent.exposed == pytest.approx(told.sent.tensor / (0.8 * 450e9))


def test_a_group_that_is_not_all_of_them_goes_with_fsdp_across():
    names = {workers: [way.name for way in cluster.ways(SHAPE, place(workers))][4:] for workers in (1, 4, 16)}
    assert names == {1: [], 4: ["tensor", "tensor + recompute"], 16: ["tensor 8 x fsdp", "tensor 8 x fsdp + recompute"]}
    assert [way.here for way in cluster.ways(replace(SHAPE, splits=False), place(4))] == [True] * 4 + [False] * 2


def test_volumes_are_those_of_rings():
    four = place(4)
    ddp = cluster.outlook(JOB, four, Way(name="ddp", shards=False))
    assert (ddp.passes, ddp.sent.data) == (8, 2 * 3 / 4 * 4 * N)  # ZeRO's 2 Ψ, in fp32, once
    fsdp = cluster.outlook(JOB, four, FSDP)
    assert fsdp.sent.data == 8 * 3 / 4 * (2 + 2 + 4) * N  # 3 Ψ for each of eight micro-batches
    two = cluster.outlook(JOB, four, Way(name="tensor", tensor=2))
    assert two.passes == 16
    assert two.sent.data == 16 * 1 / 2 * 8 * N / 2
    assert two.sent.tensor == 16 * 4 * 10 * (2 * 1 / 2 * 2048 * 1024 * 2)  # four all-reduces of T d numbers in bf16 a block
    assert cluster.outlook(JOB, four, Way(name="tensor", tensor=2, recompute=True)).sent.tensor == two.sent.tensor * 6 / 4
    assert cluster.outlook(JOB, place(1), FSDP).sent == cluster.Sent(data=0, tensor=0, host=0)


def test_seconds_are_volumes_over_links_and_operations_over_speed():
    found = cluster.outlook(JOB, place(4), FSDP)
    useful = 6 * N + 12 * 10 * 1024 * 1024
    assert SHAPE.flops(1024) == useful
    assert SHAPE.again(1024) == 2 * 10 * B + 4 * 10 * 1024 * 1024
    assert found.spent.compute == pytest.approx(64 * 1024 * useful / (4 * 0.35 * 989e12))
    assert found.spent.data == pytest.approx(48 * N / (0.8 * 450e9))
    assert found.spent.exposed == 0
    assert found.mfu == found.hfu == pytest.approx(0.35)
    again = cluster.outlook(JOB, place(4), AGAIN)
    assert again.hfu == pytest.approx(0.35)
    assert again.mfu == pytest.approx(0.35 * useful / (useful + SHAPE.again(1024)))
    assert found.days == pytest.approx(1e9 / found.tokens_per_day)
    assert found.dollars == pytest.approx(2 * 24 * 4 * found.days)


def test_efficiency_is_computing_over_the_longer_of_computing_and_traffic():
    slow = cluster.outlook(JOB, place(16, network=8), FSDP)
    assert slow.passes == 2
    assert slow.spent.data == pytest.approx(2 * 15 / 16 * 8 * N / (0.8 * 1e9))
    assert slow.efficiency == pytest.approx(slow.spent.compute / max(slow.spent.compute, slow.spent.data))
    assert slow.efficiency < 0.05
    ddp = cluster.outlook(JOB, place(4), Way(name="ddp", shards=False))
    assert ddp.efficiency == pytest.approx(ddp.spent.compute / (ddp.spent.compute + ddp.spent.data))
    moved = cluster.outlook(JOB, place(4), replace(FSDP, offload=True))
    assert moved.spent.optimizer == pytest.approx(28 * N / 4 / (400e9 / 8))
    assert moved.spent.host == pytest.approx(8 * 12 * N / 4 / 64e9)
    late = moved.spent.host - moved.spent.compute
    assert late > 0
    assert moved.spent.exposed == pytest.approx(late + moved.spent.optimizer)


def test_rings_within_a_machine_between_machines_and_beside_one_another():
    h100 = links.of("h100")
    assert h100.data(8, 1) == 0.8 * 450e9
    assert h100.data(64, 1) == 0.8 * 400e9
    assert h100.data(64, 8) == 0.8 * 50e9
    assert links.of("l4", network=200).data(16, 1) == 0.8 * 25e9
    with pytest.raises(UsageError, match="--network is 0"):
        links.of("l4", network=0)


def test_as_many_rows_pass_at_once_as_fit():
    free = replace(JOB, micro=None)
    assert cluster.outlook(free, place(4), FSDP).micro == 16 * 1024
    small = replace(place(4), device=replace(devices.find("h100"), memory_bytes=int(12e9)))
    found = cluster.outlook(free, small, FSDP)
    assert found.fits
    assert not cluster.outlook(replace(JOB, micro=2 * found.micro), small, FSDP).fits


def test_the_quickest_is_of_those_that_fit():
    found = cluster.outlooks(replace(JOB, micro=None), place(4))
    best = cluster.quickest(found)
    assert best is not None
    assert best.days == min(each.days for each in found if each.fits)
    assert cluster.quickest([replace(each, fits=False) for each in found]) is None


def test_where_nothing_fits_the_least_change_does():
    job = cluster.Job(shape=shapes.of_size("70b"), length=4096, batch=2**22, tokens=1e12)
    where = place(8, "a100-40gb")
    where = replace(where, device=replace(where.device, memory_bytes=int(16e9)))
    found = cluster.outlooks(job, where)
    assert cluster.quickest(found) is None
    error = cluster.refusal(job, where, found)
    workers = int(error.fix.split("--workers ")[1].split()[0])
    assert cluster.quickest(cluster.outlooks(job, replace(where, workers=workers))) is not None
    assert cluster.quickest(cluster.outlooks(job, replace(where, workers=workers // 2))) is None
    device = error.fix.split("--device ")[1].split()[0]
    assert cluster.quickest(cluster.outlooks(job, replace(where, device=devices.find(device)))) is not None


def test_sizes_have_the_shapes_of_published_models_or_lie_between_them():
    counts = {"1.1b": 1_100_048_384, "7b": 6_738_415_616, "13b": 13_015_864_320, "70b": 68_976_648_192}
    assert {size: shapes.of_size(size).parameters for size in counts} == counts
    assert abs(shapes.of_size("405B").parameters / 405.85e9 - 1) < 1e-3
    for size, wanted in (("100m", 1e8), ("1.5b", 1.5e9), ("20b", 2e10), ("175b", 1.75e11), ("2t", 2e12)):
        shape = shapes.of_size(size)
        assert abs(shape.parameters / wanted - 1) < 0.05
        assert shape.width % 128 == shape.inner % 256 == 0
    assert 5120 < shapes.of_size("20b").width < 6656
    for wrong in ("70", "b", "70gb", "0b", "10m", "9t"):
        with pytest.raises(UsageError, match="--model is"):
            shapes.of_size(wrong)


def test_a_window_is_all_that_attention_sees_of_a_longer_row():
    local = replace(SHAPE, windowed=5, window=256)
    assert local.flops(1024) == 6 * N + 12 * 1024 * (5 * 1024 + 5 * 256)
    assert local.flops(128) == SHAPE.flops(128)
