"""What is passed over in silence elsewhere: state that is not restored, adapters that do nothing, scores that fill the memory."""

import shutil
from types import SimpleNamespace

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import tiny_models
from tests.run.test_resume import TRAINING, assert_same, interrupt, recipe_of

from rootstock.bases import load as bases
from rootstock.core.errors import ContractRefused, MergeRefused, WriteFailed
from rootstock.core.rows import LABEL, ROW, TEXT
from rootstock.core.seed import HELD_OUT
from rootstock.core.watch import Watch
from rootstock.data.batches import Feed
from rootstock.loop import checkpoint, infer
from rootstock.loop.history import read
from rootstock.loop.train import Training
from rootstock.run import afterwards, disk
from rootstock.tasks.text_generation import TextGeneration
from rootstock.verbs import api


@pytest.mark.parametrize("lost", ["trained", "optimizer"])
def test_a_checkpoint_that_lacks_a_tensor_is_not_gone_on_with(learned, tmp_path, lost):
    """Its files are whole and match their digests: only what the run expects tells that something is missing."""
    run, out = learned(training=TRAINING), tmp_path / "stopped"
    interrupt(recipe_of(run), out, 4)
    found = checkpoint.read(checkpoint.saved(out / "checkpoints")[-1])
    parts = {name: dict(tensors) for name, tensors in found.parts.items()}
    del parts[lost][sorted(parts[lost])[-1]]
    state = {name: value for name, value in found.state.items() if name != "step"}
    checkpoint.save(out / "checkpoints", checkpoint.Checkpoint(found.step, parts, state), keep=2)
    with pytest.raises(ContractRefused, match="lacks"):
        api.carry_out(recipe_of(run), out, Watch(), resume=True)


def test_a_checkpoint_of_another_base_is_called_one_and_no_list_of_tensors():
    """Another base has other tensors as well: who reads of these looks for damage where there is none."""
    held = SimpleNamespace(parts={"trained": {"b": 0}, "optimizer": {}}, state={"key": "of another base"})
    training = SimpleNamespace(key="of this", weights=SimpleNamespace(names=["a"]), optimizer=SimpleNamespace(state=dict))
    with pytest.raises(ContractRefused, match="belongs to another recipe, base or data"):
        Training.resume(training, held)


def test_a_resumed_run_makes_no_batch_that_was_learned_before(learned, tmp_path, monkeypatch):
    run, out = learned(training=TRAINING), tmp_path / "stopped"
    interrupt(recipe_of(run), out, 8)
    made, real = [], Feed.micro_batches

    def micro_batches(self, rows, beside=1, *, epoch=HELD_OUT, round=0):
        if epoch != HELD_OUT:
            made.append(self.digest(rows))
        return real(self, rows, beside, epoch=epoch, round=round)

    monkeypatch.setattr(Feed, "micro_batches", micro_batches)
    api.carry_out(recipe_of(run), out, Watch(), resume=True)
    assert_same(run.path, out)
    learned_from = [event["batch"] for event in read(run.folder.history) if event["event"] == "step"]
    assert len(learned_from) > 12
    assert made == learned_from[8:]


def test_a_merge_that_changed_no_weight_is_refused(adapt, tmp_path):
    with pytest.raises(MergeRefused, match="changed no weight"):
        adapt(method="lora", merge=True, training={"steps": 1, "rate": 1e-30})
    assert not (tmp_path / "run" / "merged").exists()


@pytest.mark.parametrize("part", ["lora_B", "classifier"])
def test_an_adapter_of_which_a_tensor_found_no_place_is_refused(learned, tmp_path, part):
    run = learned(method="lora", training={"epochs": 1})
    folder = tmp_path / "adapter"
    folder.mkdir()
    for path in run.folder.model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    held = load_file(folder / "adapter_model.safetensors")
    gone = next(name for name in sorted(held) if part in name)
    save_file({name: value for name, value in held.items() if name != gone}, folder / "adapter_model.safetensors")
    base = bases.load(run.base("adapter was trained on"), run.task.head(), seed=run.recipe.seed)
    with pytest.raises(ContractRefused, match=r"did not find their place|does not fit: .*classifier"):
        run.method.restore(base, folder)


def test_no_more_checkpoints_are_kept_than_asked_for(learned, tmp_path, monkeypatch):
    run, out, real, most = learned(training=TRAINING), tmp_path / "run", checkpoint.save, []

    def save(folder, moment, *, keep):
        real(folder, moment, keep=keep)
        most.append(len(checkpoint.saved(folder)))

    monkeypatch.setattr(checkpoint, "save", save)
    recipe = recipe_of(run)
    api.carry_out(
        recipe.model_copy(update={"training": recipe.training.model_copy(update={"checkpoint_steps": 1, "keep": 3})}), out, Watch()
    )
    assert most[:4] == [1, 2, 3, 3]
    assert max(most) == 3
    assert not (out / "checkpoints").exists(), "and none at the end"


def test_measuring_keeps_a_number_a_row_and_not_the_scores_of_a_vocabulary():
    """Scores of every token of every row over the vocabulary are what fills the memory after the training has fitted into it."""
    model, tokenizer, vocabulary = tiny_models.causal_model(), tiny_models.with_bos(), 4_000
    model.resize_token_embeddings(vocabulary)
    rows = pa.table({TEXT: ["a good film"] * 64, LABEL: [" is a very good film"] * 64, ROW: list(range(1, 65))})
    task = TextGeneration(form="plain").fit(rows, rows)
    encoded = task.encode(rows, tokenizer, None)
    found = infer.predict(model, Feed(encoded, task, tokenizer, 256, 256, 0), task, device=torch.device("cpu"))
    assert found["count"].sum() > 64 * 5
    assert sum(values.nbytes for values in found.values()) < 64 * 64 < 4 * vocabulary
    assert {len(values) for values in found.values()} == {64}


def size(folder):
    """Bytes of all tensors but the states of generators."""
    files = [path for path in folder.rglob("*.safetensors") if path.name != "random.safetensors"]
    return sum(tensor.nbytes for path in files for tensor in load_file(path).values())


@pytest.mark.parametrize(("method", "merge", "average"), [("full", False, "none"), ("lora", False, "none"), ("lora", True, "ema")])
def test_what_a_run_will_write_is_known_before_it_learns(adapt, monkeypatch, method, merge, average):
    most, real = [], checkpoint.save

    def save(folder, moment, *, keep):
        real(folder, moment, keep=keep + 1)
        most.append(size(folder))  # as it is while the newest is there and the oldest has not gone
        checkpoint.drop_old(folder, keep)

    def kept(*given, written, **more):
        timed.append(written)
        return count(*given, written=written, **more)

    timed, count = [], afterwards.kept
    monkeypatch.setattr(afterwards, "kept", kept)
    monkeypatch.setattr(checkpoint, "save", save)
    monkeypatch.setattr(disk, "_BESIDE", 0)
    training = {"epochs": 2, "batch_tokens": 64, "checkpoint_steps": 2, "keep": 2, "average": average}
    run = adapt(method=method, merge=merge, training=training)
    left = sum(size(place) for place in (run.folder.model, run.path / "merged"))
    near = 0.1 if merge else 0.02  # a model that is folded has the adapter's tensors no more, which is nothing beside one of use
    assert timed == [pytest.approx(max(most) / 3 + left, rel=near)], "a budget of minutes keeps time for what the disk is asked for"
    assert run.folder.json("plan.json")["predicted"]["disk_bytes"] == pytest.approx(max(most) + left, rel=near)


def test_a_disk_without_room_is_met_before_a_step_is_taken(adapt, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10_000_000))
    with pytest.raises(WriteFailed, match=r"has 0.0 GB free, and this run writes up to .* 1 checkpoint of"):
        adapt()
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert not (tmp_path / "run" / "history.jsonl").exists(), "nothing is left that would stand in the way of the next try"
