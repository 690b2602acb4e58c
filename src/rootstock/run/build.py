"""A model under its method, ready to learn; and the features of a frozen base, computed once."""

import functools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import nn

from rootstock.bases import heads, vocabulary
from rootstock.bases import save as saving
from rootstock.bases.load import tokenizer_digest
from rootstock.core import artifact, seed
from rootstock.core.errors import RecipeError, fitting
from rootstock.core.loaded import Loaded
from rootstock.core.method import OnVectors, Tap
from rootstock.core.objective import Objective
from rootstock.core.rows import Columns
from rootstock.core.runfolder import RunFolder
from rootstock.core.task import Labelled, Task
from rootstock.core.watch import Say, Watch
from rootstock.data import batches
from rootstock.loop import infer, precision
from rootstock.loop.saving import Saver
from rootstock.loop.world import World
from rootstock.run import features, pictures, reference, skeleton, warm_up
from rootstock.run.exact import exact
from rootstock.run.lower import Lower, below, feeds
from rootstock.run.prepared import LabelledRows, Place, Prepared

if TYPE_CHECKING:
    from rootstock.loop.sharded import Sharded


@dataclass(frozen=True, kw_only=True)
class Built:
    """A model under its method. learner: what the loop trains: the model, or only its head where the rest is computed once.

    whole: all that was trained as one plain model, an adapter folded in; None but for an objective. It is spoiled once kept was asked for.
    kept: the model to save and merge; None where the cache holds all of it but the head. save: writes the model folder.
    ahead: seconds of features that a rehearsal left out; passed: that they took just now; cached: they were there.
    earlier: seconds of a warm-up before this process began.
    lower: what lies below the learner's cut, where frozen blocks are computed once.
    before: what the untouched base answers on the validation rows, where it can: what the training has to beat.
    world: the workers that learn and measure together. saver: writes their checkpoints. shards: this one's part of the model.
    """

    learner: nn.Module
    kept: Callable[[], nn.Module] | None
    save: Callable[[Path], None]
    tokenizer_sha256: str
    feed: batches.Feed
    feed_validation: batches.Feed
    tapped: bool
    dtype: torch.dtype
    fresh: frozenset[str]
    accelerator: Accelerator
    whole: Callable[[], nn.Module] | None = None
    ahead: float = 0.0
    earlier: float = 0.0
    passed: float = 0.0
    cached: bool = False
    lower: Lower | None = None
    before: Columns | None = None
    world: World = field(default_factory=World)
    saver: Saver | None = None
    shards: "Sharded | None" = None


def build(prepared: Prepared, folder: RunFolder | None, watch: Watch, *, dry: bool = False) -> Built:
    """Load the base, apply the method, and compute what will never change; `dry` only works out how long that will take."""
    recipe = prepared.recipe
    accelerator = _accelerator(recipe.track, folder)
    place = _place(prepared, accelerator)
    teacher = prepared.teacher if isinstance(prepared, LabelledRows) else None
    if teacher and not recipe.teacher.hidden:
        prepared = teacher.asked(prepared, None, place, watch, dry=dry)
    found = skeleton.find(prepared)
    built = _from_skeleton(prepared, found, accelerator, watch.say) if found else None
    built = built or _from_base(prepared, accelerator, folder, watch, dry=dry)
    # Seeded last: imports draw random numbers the first time, and features are not computed in every run.
    seed.seed_everything(seed.derive(recipe.seed, "training"))
    return built


def _from_base(prepared: Prepared, accelerator: Accelerator, folder: RunFolder | None, watch: Watch, *, dry: bool) -> Built:
    recipe = prepared.recipe
    seed.seed_everything(recipe.seed)
    loaded = heads.load(prepared.base, prepared.task.head(), seed=recipe.seed, dropout=recipe.training.dropout)
    if prepared.tokenizer is not None:
        heads.fit(prepared.tokenizer, loaded.model)
    prepared.task.check(loaded.model)
    if isinstance(prepared.task, Objective):
        loaded = prepared.task.outfit(loaded)
    place = _place(prepared, accelerator)
    prepared, asking = reference.asked(prepared, loaded.model, place, watch, dry=dry)
    before = None if dry else _before(prepared, loaded.model, place)
    model = accelerator.prepare_model(_applied(prepared, loaded), evaluation_mode=True)  # placed; workers are the loop's own affair
    if isinstance(prepared, LabelledRows) and prepared.teacher and recipe.teacher.hidden:
        prepared = prepared.teacher.asked(prepared, model, _place(prepared, accelerator), watch, dry=dry)
    with _fits(prepared):
        tap = prepared.method.tap(model, loaded)
    where = warm_up.Where(folder=None if dry else folder, place=_place(prepared, accelerator), accelerator=accelerator)
    tap, seconds = warm_up.warmed(prepared, tap, where, watch)
    if tap:
        ahead, earlier = (seconds, 0.0) if dry else (0.0, seconds)
        watch = replace(watch, started=watch.started - earlier)
        built = _tapped(prepared, _Model(loaded, model, tap), accelerator, watch, dry=dry)
        return replace(built, ahead=built.ahead + ahead, earlier=earlier)
    torch.use_deterministic_algorithms(accelerator.device.type == "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing here reads memory it did not write
    whole, kept = _ends(prepared, model)
    place = _place(prepared, accelerator)
    fresh = exact(model, loaded, task=prepared.task, method=prepared.method, scratch=bool(prepared.base.scratch))
    alone = recipe.cluster.workers == 1  # whether a cache pays is measured where it runs: workers would decide each for itself
    cut = below(prepared, model, place, fresh, watch, dry=dry) if alone else None
    feed, feed_validation = feeds(prepared, cut)
    return Built(
        learner=model,
        whole=whole,
        kept=kept,
        save=lambda place: _save(prepared, kept(), loaded, place),
        tokenizer_sha256=tokenizer_digest(prepared.tokenizer),
        feed=feed,
        feed_validation=feed_validation,
        tapped=False,
        dtype=place.dtype,
        fresh=fresh,
        accelerator=accelerator,
        ahead=asking + (cut.ahead if cut else 0.0),
        lower=cut,
        before=before,
    )


def _before(prepared: Prepared, model: nn.Module, place: Place) -> Columns | None:
    """Answers of a base that needs no head and was trained before; None of others."""
    task = prepared.task
    if not (isinstance(task, Labelled) and task.headless) or prepared.base.scratch:
        return None
    model.to(place.device)
    with precision.computing(model, place.dtype), fitting("a pass of the base", fix=features.FIX):
        return infer.predict(model, prepared.feed(prepared.encoded_validation), task, device=place.device)


def _ends(prepared: Prepared, model: nn.Module) -> tuple[Callable[[], nn.Module] | None, Callable[[], nn.Module]]:
    """The whole model that an objective still takes a loss of, and the model to save; each is made once."""
    task = prepared.task
    if not isinstance(task, Objective):
        return None, functools.cache(lambda: prepared.method.keep(vocabulary.closed(model)))
    whole = functools.cache(lambda: prepared.method.merge(vocabulary.closed(model)))
    return whole, functools.cache(lambda: task.bare(whole()))


def _new_ids(prepared: Prepared) -> range:
    return vocabulary.ids_of(prepared.tokenizer, prepared.base.added)


def _applied(prepared: Prepared, loaded: Loaded) -> nn.Module:
    """The model under its method."""
    with _fits(prepared):
        model = prepared.method.apply(loaded)
        frozen = prepared.base.added and prepared.method.warm_up() is None
        return vocabulary.opened(model, _new_ids(prepared)) if frozen else model


@contextmanager
def _fits(prepared: Prepared) -> Iterator[None]:
    """RecipeError where the method's settings find no place in this base."""
    try:
        yield
    except ValueError as error:
        found = f"{prepared.recipe.method['name']} can't be applied to {prepared.base.name}: {str(error).strip().split('. ')[0]}"
        raise RecipeError(found, wanted="settings that fit this base", fix="correct the method's settings") from error


class _Model(NamedTuple):
    """A base as it was loaded, the model that the method made of it, and its tap."""

    loaded: Loaded
    applied: nn.Module
    tap: Tap


def _tapped(prepared: Prepared, made: _Model, accelerator: Accelerator, watch: Watch, *, dry: bool) -> Built:
    (loaded, model, tap), started, ahead = made, time.monotonic(), 0.0
    place = _place(prepared, accelerator)
    found, how = features.remembered(prepared, tap.key, place), "from the cache"
    cached = found is not None
    if found is None and dry:
        ahead = features.estimate(prepared, tap, place, watch)
        found, how = features.blank(prepared, tap.width), f"will take about {ahead:.0f} s"
    elif found is None:
        found = features.compute(prepared, tap, place, watch)
        how = f"computed once in {time.monotonic() - started:.1f} s"
    passed = time.monotonic() - started
    rows, validation = found
    watch.say(f"features  {len(rows):,} + {len(validation):,} rows {how}")

    kept = functools.cache(partial(prepared.method.keep, model))

    def save(place: Path) -> None:
        _save(prepared, kept(), loaded, place)
        linear = tap.linear
        if linear and prepared.base.admission:
            facts = {
                "tap": tap.key,
                "head": linear,
                "width": getattr(model, linear).in_features,
                "tokenizer_sha256": tokenizer_digest(prepared.tokenizer),
            }
            skeleton.keep(prepared, place, facts)

    return Built(
        learner=tap.head,
        kept=kept,
        save=save,
        tokenizer_sha256=tokenizer_digest(prepared.tokenizer),
        feed=prepared.feed(rows),
        feed_validation=prepared.feed(validation),
        tapped=True,
        dtype=torch.float32,
        fresh=loaded.fresh if prepared.saves == "model" else _head_of(model),
        accelerator=accelerator,
        ahead=ahead,
        passed=passed,
        cached=cached,
    )


def _head_of(model: nn.Module) -> frozenset[str]:
    """Names of what a head beside its base holds."""
    return frozenset(name for name, _ in model.named_parameters() if name.startswith("head."))


def _from_skeleton(prepared: Prepared, found: skeleton.Skeleton, accelerator: Accelerator, say: Say) -> Built | None:
    """The same as `_tapped`, from the cache alone; None where a part of it is missing."""
    held = features.remembered(prepared, found.facts["tap"], _place(prepared, accelerator))
    if held is None:
        return None
    rows, validation = held
    say(f"features  {len(rows):,} + {len(validation):,} rows from the cache")
    options = dict(prepared.task.head().options)
    head = found.head(options["num_labels"]).to(accelerator.device)
    return Built(
        learner=OnVectors(head, head.in_features),
        kept=None,
        save=lambda place: found.write(place, head, options),
        tokenizer_sha256=found.facts["tokenizer_sha256"],
        feed=prepared.feed(rows),
        feed_validation=prepared.feed(validation),
        tapped=True,
        dtype=torch.float32,
        fresh=frozenset(f"{found.facts['head']}.{name}" for name, _ in head.named_parameters()),
        accelerator=accelerator,
        cached=True,
    )


def _save(prepared: Prepared, kept: nn.Module, loaded: Loaded, place: Path) -> None:
    saving.save_model(kept, prepared.tokenizer, place)
    add_companions(prepared.task, prepared.length, kept, place)
    if getattr(prepared.task, "reads", None) in pictures.READS:
        pictures.save_processor(prepared.task, place)
    if prepared.saves != "model":
        _beside_adapter(prepared, loaded.model, place)


def add_companions(task: Task, length: int, model: Any, place: Path) -> None:
    """What the task wants beside the model. length: tokens kept of a row."""
    held = task.companions(model.config, length) if isinstance(task, Labelled) else {}
    for name, content in held.items():
        (place / name).parent.mkdir(exist_ok=True)
        artifact.write_json(place / name, content)


def save_adapter(prepared: Prepared, adapter: nn.Module, place: Path) -> None:
    """An adapter as peft loads it, though the run was to leave a whole model."""
    saving.save_model(adapter, prepared.tokenizer, place)
    _beside_adapter(prepared, adapter, place)


def _beside_adapter(prepared: Prepared, model: Any, place: Path) -> None:
    """The base's config and name: what is needed to put an adapter on it."""
    model.config.save_pretrained(place)
    if prepared.base.added:
        vocabulary.save(model, _new_ids(prepared), place)
    _name_base(place / "adapter_config.json", prepared)


_SETS = ("target_modules", "modules_to_save", "exclude_modules")


def _name_base(path: Path, prepared: Prepared) -> None:
    """Name the base as others find it: a hub id where it has one. What peft keeps as sets is written by name."""
    config = json.loads(path.read_text("utf-8"))
    config |= {key: sorted(set(config[key])) for key in _SETS if isinstance(config.get(key), list)}
    named = prepared.base.hub_id or (str(prepared.base.folder) if prepared.base.folder else prepared.base.reference)
    artifact.write_json(path, config | {"base_model_name_or_path": named, "revision": prepared.base.revision})


def _place(prepared: Prepared, accelerator: Accelerator) -> Place:
    dtype = precision.choose(prepared.recipe.training.precision, accelerator.device.type)
    return Place(device=accelerator.device, dtype=dtype)


def _accelerator(track: str | None, folder: RunFolder | None) -> Accelerator:
    if track is None or folder is None:
        return Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no", log_with=track, project_dir=folder.path / "track")
    accelerator.init_trackers("rootstock")
    return accelerator
