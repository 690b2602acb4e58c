"""Every task with every method, found by file name, on a tiny base: what tests a newcomer before it has a test of its own."""

import copy
import itertools
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from rootstock import catalog
from rootstock.bases import heads
from rootstock.bases import load as bases
from rootstock.bases import save as saving
from rootstock.bases.resolve import resolve
from rootstock.core import layers
from rootstock.core.coupled import Coupled
from rootstock.core.errors import ContractRefused, MergeRefused, RecipeError
from rootstock.core.heads import Heads, states
from rootstock.core.method import learning
from rootstock.core.recipe import Recipe, TrainingSettings
from rootstock.core.rows import TEACHER, Encoded, boxed
from rootstock.core.seed import Draw
from rootstock.core.task import Labelled, Scored, inputs
from rootstock.data.batches import Feed
from rootstock.loop import checkpoint
from rootstock.loop.coupled import coupled_gradients
from rootstock.loop.crew import Crew, twin
from rootstock.loop.job import Job
from rootstock.loop.precision import Weights
from rootstock.loop.train import Training
from rootstock.methods import _peft
from rootstock.run import choices, reference
from rootstock.run.prepare import prepare
from rootstock.run.several import _joined
from rootstock.tasks.multi_task import MultiTask
from tests import plain, tiny_rows
from tests.conftest import make_base

TASKS, METHODS = [name for name in catalog.names("tasks") if issubclass(catalog.find("tasks", name), Labelled)], catalog.names("methods")
HERE = Path(__file__).parent
OF_EACH_KIND = ("full", "gradual-unfreezing", "feature-extraction", "lora", "prefix")
"""All weights, at once and by and by; none of the base's; an adapter in its matrices; and one beside its tokens."""


def pair(task, method):
    """Quick is a task with a method of each kind, and text-classification with every method; the long suite has all pairs."""
    quick = task == "text-classification" or method in OF_EACH_KIND
    return pytest.param(task, method, marks=() if quick else pytest.mark.slow)


PAIRS = [
    pair(task, method)
    for task, method in itertools.product(TASKS, METHODS)
    if choices.fits(catalog.find("tasks", task), catalog.find("methods", method))
]

SCORED = [name for name in TASKS if issubclass(catalog.find("tasks", name), Scored)]


def table(task_name):
    return tiny_rows.table(catalog.find("tasks", task_name))


def test_settings_that_were_written_down_are_the_same_to_the_last_digit():
    """A run that goes on reads what another process has written: an adapter told of alpha 16, and after a kill of 16.0."""
    for kind, name in [*(("tasks", each) for each in TASKS), *(("methods", each) for each in METHODS)]:
        found = catalog.find(kind, name)
        if not any(field.is_required() for field in found.model_fields.values()):
            first = found.build({}, name)
            assert repr(found.build(first.plain(), name)) == repr(first), name


def test_each_task_and_each_method_has_a_test_file_of_its_name():
    lacking = [
        name
        for kind in ("tasks", "methods")
        for name in catalog.names(kind)
        if not (HERE / kind / f"test_{name.replace('-', '_')}.py").is_file()
    ]
    assert not lacking


@pytest.mark.parametrize("task_name", [*TASKS, "multi-task"])
def test_a_method_that_finds_nothing_to_train_is_refused_before_a_row_is_read(task_name, tmp_path):
    kind = catalog.find("tasks", task_name)
    unfit = [name for name in METHODS if not choices.fits(kind, catalog.find("methods", name))]
    frozen = [name for name in METHODS if catalog.find("methods", name).frozen]
    assert unfit == (frozen if task_name == "multi-task" or kind().writes or kind().headless else [])
    for name in unfit:
        recipe = Recipe.build({"task": {"name": task_name}, "method": {"name": name}, "data": {"train": str(tmp_path / "none")}}, "")
        with pytest.raises(RecipeError, match=f"{name} trains") as refused:
            prepare(recipe, lambda text: None)
        assert refused.value.wanted
        assert "choose --method" in refused.value.fix


@pytest.fixture(scope="module")
def decided_base(tmp_path_factory):
    """Weights so wide that what is frozen tells rows apart."""
    return make_base(tmp_path_factory.mktemp("base"), initializer_range=0.3)


def unfit(method, head, config):
    """Skip a pair that is refused, which must happen before anything is loaded and say what would fit."""
    try:
        method.check(head, config)
    except RecipeError as error:
        refused = error
    else:
        return
    assert refused.wanted
    assert "choose --method" in refused.fix
    pytest.skip(str(refused))


@pytest.fixture
def setup(decided_base, tmp_path):
    def make(task_name, method_name="full", dropout=0.0):
        kind = catalog.find("tasks", task_name)
        rows = table(task_name)
        task = kind(**{name: 8 for name in ("max_tokens",) if name in kind.model_fields}).fit(rows, rows)
        make.base = tiny_rows.base(task, decided_base, tmp_path)
        base = resolve(str(make.base))
        method = tiny_rows.method(catalog.find("methods", method_name), kind)
        if "on" in type(method).model_fields:
            on = tiny_rows.adapters(lambda seed: bases.load(base, task.head(), seed=seed, dropout=0.0), kind, tmp_path)
            method = method.model_copy(update={"on": on})
        unfit(method, task.head(), choices.config(base))
        tokenizer = task.ready(bases.tokenizer(base)) if kind.reads == "texts" else None
        loaded = bases.load(base, task.head(), seed=1, dropout=dropout)
        encoded = tiny_rows.known(task, loaded.model, task.encode(rows, tokenizer, None), tokenizer)
        model = method.apply(loaded)
        tap = method.tap(model, loaded)
        if tap:
            batch = task.collate(encoded, np.arange(12), tokenizer, Draw(0))
            with torch.no_grad():
                vectors = tap.body(**inputs(batch)).numpy()
            encoded = Encoded({}, {**encoded.dense, "features": vectors}, np.ones(12, dtype=np.int64))
        return task, method, loaded, model, tap, encoded, tokenizer

    return make


def batch_of(task, encoded, rows, tokenizer):
    if "features" not in encoded.dense:
        return task.collate(encoded, rows, tokenizer, Draw(0))
    return {name: torch.from_numpy(array[rows]) for name, array in encoded.dense.items()}


def figures_of(columns):
    """Every number among results, one after the other."""
    found = [np.concatenate([np.ravel(each) for each in values]) for _, values in sorted(columns.items())]
    return np.concatenate([values.astype(np.float64) for values in found if values.dtype.kind == "f"])


@pytest.mark.parametrize("task_name", TASKS)
def test_loss_adds_up_over_micro_batches(setup, task_name):
    task, _, _, model, _, encoded, tokenizer = setup(task_name)
    model.eval()

    def gradients(parts):
        model.zero_grad()
        if isinstance(task, Coupled):
            with Crew(model, 1) as crew:
                made = [batch_of(task, encoded, part, tokenizer) for part in parts]
                count = coupled_gradients(crew, task, [np.arange(12)], lambda _: made).items
            return [p.grad / count for p in model.parameters() if p.grad is not None]
        count = 0
        for part in parts:
            loss = task.loss(model, batch_of(task, encoded, part, tokenizer))
            loss.total.backward()
            count += loss.count
        return [p.grad / count for p in model.parameters() if p.grad is not None]

    whole, parts = gradients([np.arange(12)]), gradients([np.arange(3), np.arange(3, 12)])
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("task_name", SCORED)
def test_what_has_scores_learns_from_a_teacher_and_has_nothing_to_learn_from_itself(setup, task_name):
    task, _, _, model, _, encoded, tokenizer = setup(task_name)
    rows = np.arange(12)
    batch = batch_of(task, encoded, rows, tokenizer)
    assert task.loss(model.eval(), batch).total.item() == pytest.approx(
        task.losses(task.scores(model, batch), batch).sum().item(), rel=1e-5
    )
    assert task.loss(model, batch).count == int(task.items(batch).sum())
    with torch.no_grad():
        said = reference.together({TEACHER: boxed(list(task.scores(model, batch).numpy()))})[TEACHER]
    unit = task.settle(copy.deepcopy(model), ()) if task.kind == "number" else task
    wanted = torch.from_numpy(said)

    def taught(part):
        found = batch_of(task, encoded, part, tokenizer)
        return unit.taught(task.scores(model, found), wanted[part], 2.0)

    assert taught(rows).abs().max() < 1e-5
    torch.testing.assert_close(torch.cat([taught(rows[:5]), taught(rows[5:])]), taught(rows), atol=1e-6, rtol=1e-4)
    wanted = wanted + torch.randn(wanted.shape)
    assert (taught(rows) > 0).all()
    taught(rows).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(("task_name", "method_name"), PAIRS)
def test_frozen_stays_fresh_learns_and_the_loss_falls(setup, task_name, method_name):
    task, method, loaded, model, tap, encoded, tokenizer = setup(task_name, method_name)
    learner = tap.head if tap else model
    names = [name for group in method.groups(learner, 1e-2) for name in group["names"]]
    assert sorted(names) == sorted(name for name, _ in learning(learner))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for _, p in learning(learner)], lr=1e-2)
    losses = []
    for _ in range(12):
        loss = task.loss(learner, batch_of(task, encoded, np.arange(12), tokenizer))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(loss.total.item())
    assert losses[-1] < losses[0]
    changed = {name for name, p in model.named_parameters() if not torch.equal(before[name], p)}
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert not changed & frozen
    plain = {method.original(name) for name in changed}
    assert loaded.fresh <= plain, f"random and never learned: {loaded.fresh - plain}"


@pytest.mark.parametrize(("task_name", "method_name"), PAIRS)
def test_what_is_kept_and_what_is_merged_answers_the_same(setup, tmp_path, task_name, method_name):
    task, method, _, model, tap, encoded, tokenizer = setup(task_name, method_name)
    with torch.no_grad():
        for _, parameter in learning(model):
            parameter.add_(0.05 * torch.randn_like(parameter))
    learner = (tap.head if tap else model).eval()
    answers = figures_of(task.decode(learner, batch_of(task, encoded, np.arange(12), tokenizer)))
    whole = task.encode(table(task_name), tokenizer, None)
    said = {name: values for name, values in encoded.dense.items() if name.startswith("reference")}
    batch = task.collate(replace(whole, dense={**whole.dense, **said}), np.arange(12), tokenizer, Draw(0))
    if not method.folds:
        with pytest.raises(MergeRefused):
            method.merge(copy.deepcopy(model))
    (saved := tmp_path / "saved").mkdir()
    for make in (method.keep, method.merge) if method.folds else (method.keep,):
        made = make(copy.deepcopy(model)).eval()
        names = {name for name, _ in made.named_parameters()}
        assert make == method.keep or not [name for name in names if method.original(name) != name], "merged, and no plain model"
        np.testing.assert_allclose(figures_of(task.decode(made, batch)), answers, rtol=2e-3, atol=2e-3)
        if make == method.keep:
            saving.save_model(made, tokenizer, saved)
    read = plain.loaded(saved, setup.base, task.head())
    if method.positions and method.saves == "adapter":  # docs/adapters.md: peft gives answers to the vectors before a row as well
        read = _peft.answering_tokens(read)
    np.testing.assert_allclose(figures_of(task.decode(read, batch)), answers, rtol=2e-3, atol=2e-3)
    if method.saves == "model" and "id2label" in task.head().options:
        assert [read.config.id2label[number] for number in range(len(task.labels))] == list(task.labels)


RESUMED = [
    pytest.param(*one.values, marks=() if one.values[0] == "text-classification" or one.values[1] == "full" else pytest.mark.slow)
    for one in PAIRS
]


def trained(made, learner, place, goes_on=None, **settings):
    """The steps of a training of this learner, whose checkpoints lie in a place; from a checkpoint on, where one is given."""
    task, method, loaded, _, _, encoded, tokenizer = made
    budget, noted = int(encoded.lengths.sum()) // 3, []
    job = Job(
        model=learner,
        task=task,
        method=method,
        feed=Feed(encoded, task, tokenizer, budget, budget, 1),
        settings=TrainingSettings(epochs=1, rate=1e-2, batch_tokens=budget, weight_decay=0.01, **settings),
        dtype=torch.float32,
        fresh=frozenset(loaded.fresh),
        accelerator=Accelerator(cpu=True),
        evaluate=lambda: ((0.0,), {}),
        note=noted.append,
        save=lambda moment: checkpoint.save(place, moment, keep=2),
    )
    with closing(Training(job)) as training:
        if goes_on:
            training.resume(checkpoint.read(goes_on))
        training.run()
    return [(each["step"], each["loss"], each["batch"]) for each in noted if each["event"] == "step"]


@pytest.mark.parametrize(("task_name", "method_name"), RESUMED)
def test_three_resumed_steps_are_three_straight_ones(setup, tmp_path, task_name, method_name):
    """Six updates with dropout, and the last three of them again by a model as it began and the checkpoint from the middle."""
    made = setup(task_name, method_name, dropout=0.1)
    learner = made[4].head if made[4] else made[3]
    again, middle = copy.deepcopy(learner), checkpoint.place(tmp_path / "straight", 3)
    steps = trained(made, learner, tmp_path / "straight", steps=6, checkpoint_steps=3)
    torch.manual_seed(99)
    later = trained(made, again, tmp_path / "resumed", middle, steps=6, checkpoint_steps=3)
    assert later == steps[3:]
    assert [step for step, _, _ in later] == [4, 5, 6]
    straight, resumed = (checkpoint.read(checkpoint.place(tmp_path / name, 6)).parts for name in ("straight", "resumed"))
    for part in ("trained", "optimizer", "random"):
        assert straight[part].keys() == resumed[part].keys()
        assert all(torch.equal(value, resumed[part][name]) for name, value in straight[part].items()), part
    before = checkpoint.read(middle).parts["trained"]
    assert any(not torch.equal(value, straight["trained"][name]) for name, value in before.items()), "steps that change nothing"


def test_a_training_with_layer_decay_moves_each_layer_less_than_the_one_above(setup, tmp_path):
    made = setup("text-classification")
    before = {name: value.clone() for name, value in made[3].state_dict().items()}
    trained(made, made[3], tmp_path, steps=1, layer_decay=0.5, schedule="constant", warmup=0.0)
    moved = {name: (value - before[name]).abs().max().item() for name, value in made[3].state_dict().items()}
    for name, factor in (("classifier", 1), ("bert.encoder.layer.1.output.dense", 0.5), ("bert.encoder.layer.0.output.dense", 0.25)):
        assert moved[f"{name}.weight"] == pytest.approx(1e-2 * factor, rel=0.02), "AdamW's first step is as long as the rate"


@pytest.mark.parametrize("method_name", METHODS)
def test_rates_fall_from_layer_to_layer_under_any_method(setup, method_name):
    _, method, _, model, tap, _, _ = setup("text-classification", method_name)
    learner = tap.head if tap else model
    plain = {name: group["rate"] for group in method.groups(learner, 1.0) for name in group["names"]}
    made = [(name, group["rate"]) for group in layers.decayed(method.groups(learner, 1.0), learner, 0.5) for name in group["names"]]
    assert sorted(name for name, _ in made) == sorted(plain)
    for name, rate in made:
        below = 2 if "layer.0." in name else 1 if "layer.1." in name else 3 if ".embeddings." in name else 0
        assert rate == pytest.approx(plain[name] * 0.5**below), name


@pytest.mark.parametrize("method_name", [name for name in METHODS if catalog.find("methods", name).saves == "adapter"])
def test_an_adapter_that_is_saved_and_restored_answers_the_same(setup, tmp_path, method_name):
    task, method, _, model, _, encoded, tokenizer = setup("text-classification", method_name)
    with torch.no_grad():
        for _, parameter in learning(model):
            parameter.add_(0.05 * torch.randn_like(parameter))
    batch = batch_of(task, encoded, np.arange(12), tokenizer)
    answers = task.decode(model.eval(), batch)["scores"]
    saving.save_model(method.keep(model), tokenizer, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"adapter_model.safetensors", "adapter_config.json"}
    base = bases.load(resolve(str(setup.base)), task.head(), seed=9, dropout=0.0)
    back = method.restore(base, tmp_path).eval()
    np.testing.assert_allclose(task.decode(back, batch)["scores"], answers, rtol=1e-5, atol=1e-6)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    save_file(dict(list(weights.items())[1:]), tmp_path / "adapter_model.safetensors")
    with pytest.raises(ContractRefused):
        method.restore(bases.load(resolve(str(setup.base)), task.head(), seed=9, dropout=0.0), tmp_path)


@pytest.mark.parametrize("method_name", METHODS)
def test_a_twin_in_bf16_has_gradients_of_its_own_and_the_weights_come_back(setup, method_name):
    task, method, loaded, model, tap, encoded, tokenizer = setup("text-classification", method_name)
    if tap:
        return  # what is cached is learned from in fp32
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    weights = Weights(model, torch.bfloat16, {name for name, _ in model.named_parameters() if method.original(name) in loaded.fresh})
    other = twin(model)
    loss = task.loss(other, batch_of(task, encoded, np.arange(12), tokenizer))
    assert torch.isfinite(loss.total)
    loss.total.backward()
    assert {name for name, parameter in other.named_parameters() if parameter.grad is not None} == {name for name, _ in learning(model)}
    assert all(parameter.grad is None for parameter in model.parameters())
    weights.restore()
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())


@pytest.mark.parametrize("task_name", TASKS)
def test_metrics_readable_and_details_speak_of_every_row(setup, task_name):
    task, _, _, model, _, encoded, tokenizer = setup(task_name)
    rows = table(task_name)
    found = task.decode(model.eval(), task.collate(encoded, np.arange(12), tokenizer, Draw(0)))
    columns = {**task.told(found, encoded, rows, tokenizer), "answers": task.answers(rows)}
    judged = task.judged(columns)
    assert all(len(values) == 12 for values in judged.values())
    metrics = task.metrics(judged)
    assert set(task.headline[:1]) <= set(metrics)
    assert task.metrics(judged, task.headline[:1]) == {task.headline[0]: metrics[task.headline[0]]}
    assert all(len(values) == 12 for values in task.readable(columns).values())
    assert isinstance(task.details(columns), dict)
    assert len(task.truth(rows)) == 12
    assert 0 <= task.claims(rows) <= 1


# -- several tasks over one body ------------------------------------------------------------------------------------------

SEVERAL = {"class": "text-classification", "tags": "token-classification"}
SHARING = [
    name for name in METHODS if choices.fits(MultiTask, catalog.find("methods", name)) and not catalog.find("methods", name)().positions
]


@pytest.fixture
def several(decided_base):
    """A method on a body with a head for classes and one for tags."""

    def make(method_name):
        base = resolve(str(decided_base))
        method = catalog.find("methods", method_name)()
        tokenizer = bases.tokenizer(base)
        tasks = {name: catalog.find("tasks", kind)().fit(table(kind), table(kind)) for name, kind in SEVERAL.items()}
        unfit(method, next(iter(tasks.values())).head(), choices.config(base))
        task = MultiTask.build({"parts": {name: {} for name in SEVERAL}}, "task").joined(tasks)
        encoded = _joined([tasks[name].encode(table(kind), tokenizer, None) for name, kind in SEVERAL.items()])
        loaded = heads.load(base, task.head(), seed=1, dropout=0.0)
        return task, method, loaded, method.apply(loaded), encoded, tokenizer

    return make


@pytest.mark.parametrize("method_name", [pytest.param(name, marks=() if name in OF_EACH_KIND else pytest.mark.slow) for name in SHARING])
def test_over_several_heads_frozen_stays_fresh_learns_and_every_part_stands_alone(several, decided_base, method_name):
    task, method, loaded, model, encoded, tokenizer = several(method_name)
    names = [name for group in method.groups(model, 1e-2) for name in group["names"]]
    assert sorted(names) == sorted(name for name, _ in learning(model))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    batches = [task.collate(encoded, np.arange(12) + start, tokenizer, Draw(0)) for start in (0, 12)]
    optimizer = torch.optim.AdamW([p for _, p in learning(model)], lr=1e-2)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        losses.append(sum(task.loss(model, batch).total for batch in batches))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    changed = {name for name, p in model.named_parameters() if not torch.equal(before[name], p)}
    assert not changed & {name for name, p in model.named_parameters() if not p.requires_grad}
    assert loaded.fresh <= {method.original(name) for name in changed}
    for name, (number, part) in zip(SEVERAL, enumerate(task._tasks.values()), strict=True):
        alone = method.apply(bases.load(resolve(str(decided_base)), part.head(), seed=5, dropout=0.0))
        held = dict(states(model, name))
        assert alone.state_dict().keys() <= held.keys()
        alone.load_state_dict({key: held[key] for key in alone.state_dict()})
        batch = part.collate(encoded.parts[number], np.arange(12), tokenizer, Draw(0))
        within = figures_of(part.decode(Heads.within(model.eval()).part(name), batch))
        np.testing.assert_allclose(figures_of(part.decode(alone.eval(), batch)), within, rtol=1e-5, atol=1e-6)
