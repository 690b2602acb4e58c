"""Damage, swaps and edits are found; what has no digest is said; figures are those of numpy and torch."""

import hashlib
import json
import struct

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from rootstock.core.errors import UsageError
from rootstock.sentinel import WeightIntegrityValidator
from rootstock.sentinel.integrity import configured, difference, numbers
from rootstock.sentinel.integrity.tensors import stored

CONFIG = {"hidden_size": 8, "vocab_size": 20, "num_hidden_layers": 2, "id2label": {"0": "no", "1": "yes"}}


def weights(seed=0):
    drawn = np.random.default_rng(seed)
    shapes = {
        "bert.embeddings.word_embeddings.weight": (20, 8),
        **{f"bert.encoder.layer.{i}.query.weight": (8, 8) for i in range(2)},
        "classifier.weight": (2, 8),
    }
    return {name: drawn.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def folder_of(place, tensors, *, config=CONFIG, claimed=True):
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.json").write_text(json.dumps(config))
    save_file(tensors, place / "model.safetensors")
    if claimed:
        digest = hashlib.sha256((place / "model.safetensors").read_bytes()).hexdigest()
        (place / "contract.json").write_text(json.dumps({"weights": {"model.safetensors": digest}}))
    return place


def sharded(place, count=3):
    place.mkdir()
    mapping = {}
    for number in range(count):
        name = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
        save_file({f"layer.{number}.w": np.full((4, 4), number, np.float32) + np.eye(4, dtype=np.float32)}, place / name)
        mapping[f"layer.{number}.w"] = name
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": mapping}))
    return place


def validate(place, **options):
    return WeightIntegrityValidator().validate(place, **options)


def test_a_whole_model_has_no_issue(tmp_path):
    found = validate(folder_of(tmp_path / "m", weights()))
    assert found.whole
    assert found.confirmed == {"model.safetensors": ["contract.json"]}
    assert found.unclaimed == []


def test_every_flipped_bit_is_found_by_the_digest(tmp_path):
    place = folder_of(tmp_path / "m", weights())
    path = place / "model.safetensors"
    good = path.read_bytes()
    for bit in np.random.default_rng(0).choice(len(good) * 8, 100, replace=False):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(bad)
        assert any("Digest mismatch: model.safetensors" in each for each in validate(place).issues), bit


def test_every_truncation_is_found_even_without_a_digest(tmp_path):
    place = folder_of(tmp_path / "m", weights(), claimed=False)
    path = place / "model.safetensors"
    good = path.read_bytes()
    for length in np.random.default_rng(1).choice(len(good), 50, replace=False):
        path.write_bytes(good[:length])
        assert any("Damaged" in each for each in validate(place).issues), length


def test_a_flipped_bit_without_a_digest_is_not_found_and_that_is_said(tmp_path):
    place = folder_of(tmp_path / "m", weights(), claimed=False)
    path = place / "model.safetensors"
    bad = bytearray(path.read_bytes())
    bad[-1] ^= 1
    path.write_bytes(bad)
    found = validate(place)
    assert found.whole
    assert found.unclaimed == ["model.safetensors"]


def test_swapped_shards_are_found_by_the_index_alone(tmp_path):
    place = sharded(tmp_path / "m")
    assert validate(place).whole
    first, second = (place / f"model-0000{i}-of-00003.safetensors" for i in (1, 3))
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    assert sum("swapped files" in each for each in validate(place).issues) == 2


def test_swapped_shards_of_equal_names_are_found_by_digests(tmp_path):
    place = sharded(tmp_path / "m", 2)
    names = sorted(path.name for path in place.glob("*.safetensors"))
    for name in names:
        save_file({"w": np.random.default_rng(len(name) + int(name[10])).standard_normal(4)}, place / name)
    (place / "model.safetensors.index.json").unlink()
    lines = [f"{hashlib.sha256((place / name).read_bytes()).hexdigest()}  {name}" for name in names]
    (place / "SHA256SUMS").write_text("\n".join(lines))
    assert validate(place).whole
    first, second = (place / name for name in names)
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    assert all(f"it holds what should be {other}: swapped" in each for each, other in zip(validate(place).issues, names[::-1], strict=True))


@pytest.mark.parametrize("missing", ["model-00002-of-00003.safetensors"])
def test_a_missing_shard_is_found(tmp_path, missing):
    place = sharded(tmp_path / "m")
    (place / missing).unlink()
    assert any(missing in each and "Missing file" in each for each in validate(place).issues)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vocab_size": 21}, "has 20 rows, the config asks for 21"),
        ({"hidden_size": 9}, "has 8 columns, the config asks for 9"),
        ({"num_hidden_layers": 3}, "Wrong layers: 2 are there, the config asks for 3; [2] lack"),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, "classifier.weight has 2 rows, the config names 3 labels"),
    ],
    ids=["rows", "columns", "layers", "labels"],
)
def test_the_numbers_of_the_config_are_compared(tmp_path, change, said):
    found = validate(folder_of(tmp_path / "m", weights(), config=CONFIG | change))
    assert any(said in each for each in found.issues)


@pytest.mark.parametrize(
    ("dtype", "told"), [("bfloat16", True), ("float32", False), ("int8", False), ("float8_e4m3fn", False), ("none", False)]
)
def test_a_kind_of_fractions_that_no_tensor_has_is_told(tmp_path, dtype, told):
    found = validate(folder_of(tmp_path / "m", weights(), config=CONFIG | {"torch_dtype": dtype}))
    assert ("the weights are F32, the config says BF16" in found.notes) == told
    assert not any("the config says" in each for each in found.notes) or told


@pytest.mark.parametrize(
    ("value", "said"),
    [(np.nan, "1 NaN and 0 infinite"), (np.inf, "0 NaN and 1 infinite"), (None, "Constant: all numbers of classifier.weight [2, 8] are 0")],
    ids=["nan", "infinite", "constant"],
)
def test_numbers_that_are_none_are_found(tmp_path, value, said):
    held = weights()
    if value is None:
        held["classifier.weight"][:] = 0
    else:
        held["classifier.weight"][0, 3] = value
    assert any(said in each for each in validate(folder_of(tmp_path / "m", held)).issues)


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_statistics_are_those_of_torch(tmp_path, kind):
    tensor = (torch.randn(37, 11, generator=torch.Generator().manual_seed(0)) * 9 + 100).to(kind)
    save_torch({"w": tensor}, tmp_path / "w.safetensors")
    found = numbers.of(stored(tmp_path / "w.safetensors")["w"])
    wide = tensor.double()
    assert (found.least, found.most) == (float(wide.min()), float(wide.max()))
    assert found.mean == pytest.approx(float(wide.mean()), rel=1e-12)
    assert found.deviation == pytest.approx(float(wide.std(unbiased=False)), rel=1e-9)


def test_a_layer_unlike_its_sisters_is_named():
    made = [numbers.Statistics(f"h.{i}.w", "F32", (4, 4), 0, 0, -1, 1, 0, 20.0 if i == 3 else 0.1, 0) for i in range(6)]
    assert [each.split()[0] for each in numbers.unlike_their_sisters(made)] == ["h.3.w"]


@pytest.mark.parametrize("rank", [1, 4, 30])
def test_rank_and_size_of_a_difference(tmp_path, rank):
    drawn = np.random.default_rng(rank)
    base = drawn.standard_normal((90, 70)).astype(np.float32)
    delta = 0.01 * drawn.standard_normal((90, rank)) @ drawn.standard_normal((rank, 70))
    save_file({"w": base, "same": base}, tmp_path / "base.safetensors")
    save_file({"w": (base + delta).astype(np.float32), "same": base}, tmp_path / "new.safetensors")
    found = difference.between(stored(tmp_path / "new.safetensors"), stored(tmp_path / "base.safetensors"))
    assert found.same == 1
    assert found.changed[0].rank == rank
    assert found.changed[0].relative == pytest.approx(np.linalg.norm(delta) / np.linalg.norm(base), rel=1e-4)


def test_an_edited_embedding_row_is_named_with_its_token(tmp_path):
    held = weights()
    base = folder_of(tmp_path / "base", held)
    edited = {name: each.copy() for name, each in held.items()}
    edited["bert.embeddings.word_embeddings.weight"][7] += 1
    place = folder_of(tmp_path / "m", edited)
    (place / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {f"w{i}": i for i in range(6)} | {"cf": 7}}}))
    found = validate(place, reference=base)
    assert any("differs from the reference in 1 of 20: 7 ('cf')" in each for each in found.issues)


def test_a_trained_head_alone_is_named(tmp_path):
    held = weights()
    base = folder_of(tmp_path / "base", {name.removeprefix("bert."): each for name, each in held.items() if "classifier" not in name})
    found = validate(folder_of(tmp_path / "m", held), reference=base)
    assert found.whole
    assert "only the head was trained: classifier.weight" in found.difference.summary()
    assert found.difference.same == 3
    assert found.difference.added == ["classifier.weight"]
    other = {**held, "classifier.weight": held["classifier.weight"] + 1}
    again = validate(folder_of(tmp_path / "n", other), reference=tmp_path / "m")
    assert "only the head was trained: classifier.weight" in again.difference.summary()


def test_tied_weights_that_differ_and_shapes_are_found_exactly(tmp_path):
    held = {"a.w": np.ones((2, 3), np.float32), "b.w": np.zeros((2, 3), np.float32), "c.w": np.ones((4,), np.float32)}
    save_file(held, tmp_path / "model.safetensors")
    expected = configured.Expected({"a.w": (2, 3), "b.w": (2, 3), "c.w": (5,), "d.w": (1,)}, (("a.w", "b.w"),))
    issues, _ = configured.exact(stored(tmp_path / "model.safetensors"), expected)
    assert [each.split(":")[0] for each in issues] == ["Wrong shape", "Missing tensor", "Tied weights differ"]


def test_an_adapter_of_another_rank_than_it_says(tmp_path):
    save_file({"q.lora_A.weight": np.ones((4, 8), np.float32)}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}))
    assert any("has the rank 4, adapter_config.json says 8" in each for each in validate(tmp_path).issues)


def test_a_folder_without_weights_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match="holds no safetensors weights"):
        validate(tmp_path)


def test_no_input_stops_it_with_a_traceback(tmp_path):
    place = folder_of(tmp_path / "m", weights(), claimed=False)
    (place / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"[]")
    (place / "contract.json").write_text('{"weights": {"../../x": "' + "0" * 64 + '", "model.safetensors": 3}}')
    (place / "manifest.json").write_text("[")
    (place / "config.json").write_text("[]")
    assert not validate(place).whole
