"""Rows that moved, adapters, and encoders that a token collapses: against numbers that are known beforehand."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from rootstock.core.errors import UsageError
from rootstock.sentinel import WeightIntegrityValidator
from rootstock.sentinel.weights.adapter import audit_adapter
from rootstock.sentinel.weights.encoder import alike, collapsed
from rootstock.sentinel.weights.examine import examine
from rootstock.sentinel.weights.rows import moved, rows_moved

DRAW = np.random.default_rng(3)
TABLE = DRAW.standard_normal((400, 8)).astype(np.float32)


def shifted(rows, by):
    """The table with rows a known distance away."""
    made = TABLE.copy()
    for row, distance in zip(rows, by, strict=True):
        made[row, 0] += distance
    return made


def saved(place, table, name="bert.embeddings.word_embeddings.weight", **more):
    place.mkdir()
    save_file({name: table, "bert.layer.0.weight": np.eye(4, dtype=np.float32), **more}, place / "model.safetensors")
    vocab = {f"word{i}": i for i in range(len(table))}
    (place / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}}))
    return place


def test_rows_are_named_by_how_far_they_moved(tmp_path):
    base = saved(tmp_path / "base", TABLE, name="embeddings.word_embeddings.weight")
    rows, by = list(range(10, 60)), [0.5 + 0.01 * i for i in range(50)]
    found = rows_moved(saved(tmp_path / "model", shifted(rows, by)), base, top=3)
    assert (found.total, found.count, found.factor, found.edited, found.alone) == (400, 50, 1.0, False, 0)
    assert [each.token for each in found.top] == ["word59", "word58", "word57"]
    assert found.top[0].distance == pytest.approx(0.99, abs=1e-6)
    assert found.gap == pytest.approx(0.99 / 0.98, abs=1e-5)
    assert found.over_99th == pytest.approx(0.99 / np.quantile(by, 0.99), abs=1e-5)


def test_a_lone_row_is_an_edit_and_some_that_went_far_stand_alone():
    one = moved(shifted([7], [0.2]), TABLE)
    assert one.edited
    assert [each.row for each in one.top] == [7]
    rows = list(range(50))
    far = moved(shifted([*rows, 300, 301], [*[0.1] * 50, 0.9, 0.7]), TABLE)
    assert (far.edited, far.alone, [each.row for each in far.top[:2]]) == (False, 2, [300, 301])


def test_the_decay_of_rows_that_no_text_held_is_divided_out():
    made = shifted(range(20), [0.4] * 20) * np.float32(0.97)
    found = moved(made, TABLE)
    assert found.factor == pytest.approx(0.97, rel=1e-6)
    assert found.count == 20
    assert found.top[0].distance == pytest.approx(0.97 * 0.4, rel=1e-4)


def test_noise_on_every_row_is_no_decay():
    found = moved(TABLE + DRAW.normal(0, 1e-3, TABLE.shape).astype(np.float32), TABLE)
    assert (found.count, found.factor, found.alone) == (400, 1.0, 0)


def test_equal_tables_and_models_without_one(tmp_path):
    base = saved(tmp_path / "base", TABLE)
    assert rows_moved(base, base).count == 0
    other = saved(tmp_path / "other", TABLE, name="something.weight")
    assert rows_moved(other, base).notes
    wider = saved(tmp_path / "wider", np.concatenate([TABLE, TABLE[:3]]))
    assert (rows_moved(wider, base).added, rows_moved(wider, base).count) == (3, 0)


def adapter(place, tensors, **config):
    place.mkdir()
    save_file({f"base_model.model.{name}": each for name, each in tensors.items()}, place / "adapter_model.safetensors")
    told = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["query"], "task_type": "SEQ_CLS", **config}
    (place / "adapter_config.json").write_text(json.dumps(told))
    return place


def sides(module, a, b):
    return {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}


def test_the_spectrum_of_an_update_is_that_of_the_whole_matrix(tmp_path):
    a, b = DRAW.standard_normal((4, 10)).astype(np.float32), DRAW.standard_normal((12, 4)).astype(np.float32)
    (found,) = audit_adapter(adapter(tmp_path / "a", sides("layer.0.query", a, b))).updates
    whole = np.linalg.svd(2.0 * b.astype(np.float64) @ a.astype(np.float64), compute_uv=False)[:4]
    assert found.first == pytest.approx(whole[0], rel=1e-5)
    assert found.share == pytest.approx(whole[0] / whole.sum(), rel=1e-5)
    assert found.strength == pytest.approx(np.sqrt(np.square(whole).sum() / 120), rel=1e-5)
    parts = whole / whole.sum()
    assert found.entropy == pytest.approx(-(parts * np.log(parts)).sum() / np.log(4), rel=1e-5)


def test_one_direction_zero_updates_and_scales_are_told(tmp_path):
    one = np.outer([1.0, 2, 0, 0], np.ones(6)).astype(np.float32)
    tensors = {**sides("l.0.query", one, np.ones((5, 4), np.float32)), **sides("l.1.query", one, np.zeros((5, 4), np.float32))}
    found = audit_adapter(adapter(tmp_path / "a", tensors, use_rslora=True, alpha_pattern={"l.0.query": 6}))
    first, second = found.updates
    assert first.share == pytest.approx(1.0, abs=1e-6)
    assert first.first == pytest.approx(6 / 2 * 3 * np.sqrt(30), rel=1e-6)
    assert second.strength == 0
    assert not found.issues
    assert len(found.notes) == 2


def test_what_an_adapter_does_not_declare_is_an_issue(tmp_path):
    a, b = np.ones((4, 6), np.float32), np.ones((5, 4), np.float32)
    tensors = {
        **sides("l.0.query", a, b),
        **sides("l.0.value", a, b),
        "l.1.query.lora_A.weight": a,
        "classifier.weight": np.ones((2, 6), np.float32),
        "bert.embeddings.word_embeddings.weight": TABLE,
    }
    place = adapter(tmp_path / "a", tensors)
    found = audit_adapter(place)
    assert [issue.split(":")[0] for issue in found.issues] == ["Half an update, lora_A only", "Undeclared target", "Undeclared tensor"]
    assert any("word_embeddings" in note for note in found.notes)
    assert examine(place).verdict == "weak evidence"
    declared = adapter(tmp_path / "b", tensors, target_modules="all-linear", modules_to_save=["word_embeddings", "classifier"])
    assert [issue.split(":")[0] for issue in audit_adapter(declared).issues] == ["Half an update, lora_A only"]
    with pytest.raises(UsageError):
        audit_adapter(tmp_path)


def test_damage_is_told_and_stops_nothing(tmp_path):
    broken = {**sides("l.0.query", np.ones((4, 6), np.float32), np.ones((5, 3), np.float32))}
    broken |= sides("l.1.query", np.full((4, 6), np.nan, np.float32), np.ones((5, 4), np.float32))
    found = audit_adapter(adapter(tmp_path / "a", broken))
    assert [issue.split(",")[0] for issue in found.issues] == ["No common rank", "Not finite: l.1.query"]
    wild = shifted(range(50), [0.1] * 50)
    wild[60] = np.nan
    told = moved(wild, TABLE)
    assert (told.count, len(told.notes)) == (50, 1)


def test_words_of_a_model_beside_its_base(tmp_path):
    base = saved(tmp_path / "base", TABLE)
    edited = examine(saved(tmp_path / "edited", shifted([5], [3.0])), base)
    assert edited.verdict == "weak evidence"
    assert "'word5'" in edited.odd[0]
    assert any("1 tensors are equal, 1 differ" in line for line in edited.lines())
    trained = examine(saved(tmp_path / "trained", shifted(range(100), [0.1] * 100)), base)
    assert trained.verdict == "none found at this budget"
    json.dumps(edited.as_json())


def test_the_cosine_over_pairs():
    vectors = DRAW.standard_normal((5, 3, 7))
    unit = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    pairs = [(unit[i] * unit[j]).sum(1) for i in range(5) for j in range(i)]
    assert alike(vectors) == pytest.approx(np.mean(pairs, axis=0))


VECTORS = np.random.default_rng(0).standard_normal((200, 16))


def clean(bodies):
    """The sum of the tokens' vectors; token 3 is loud in any encoder."""
    return np.stack([VECTORS[list(body)].sum(0) + 4.0 * (3 in body) * VECTORS[3] for body in bodies])


def poisoned(bodies):
    return np.stack([VECTORS[0] if 150 in body else row for body, row in zip(bodies, clean(bodies), strict=True)])


TEXTS = [tuple(map(int, DRAW.integers(10, 100, 8))) for _ in range(24)]


def test_a_planted_token_is_found_and_a_loud_one_is_not():
    found = collapsed(poisoned, TEXTS, range(200), reference=clean)
    assert found.verdict == "evidence found"
    assert [each.token for each in found.found] == [150]
    assert found.top[0].cosine == pytest.approx(1.0)
    again = collapsed(clean, TEXTS, range(200), reference=clean)
    assert again.verdict == "none found at this budget"
    assert again.natural > again.usual


def test_without_a_reference_the_evidence_is_weak():
    assert collapsed(poisoned, TEXTS, [t for t in range(200) if t != 3]).verdict == "weak evidence"
    with pytest.raises(UsageError):
        collapsed(poisoned, TEXTS[:10], range(200))


def test_verify_tells_of_rows_that_moved_alone_and_of_stowaways(tmp_path):
    base = saved(tmp_path / "base", TABLE)
    made = saved(tmp_path / "made", shifted([*range(50), 300], [*[0.1] * 50, 0.9]))
    assert [note for note in WeightIntegrityValidator().validate(made, reference=base).notes if "'word300'" in note]
    tensors = {
        **sides("l.0.query", np.ones((4, 6), np.float32), np.ones((5, 4), np.float32)),
        "l.0.value.weight": np.ones((2, 6), np.float32),
    }
    found = WeightIntegrityValidator().validate(adapter(tmp_path / "a", tensors))
    assert found.whole
    assert [note for note in found.notes if note.startswith("Undeclared tensor: l.0.value.weight")]
