"""The choices that a recipe leaves open and that every kind of run makes alike."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from rootstock import catalog
from rootstock.bases import vocabulary
from rootstock.bases.resolve import KNOWN, Resolved, resolve
from rootstock.bases.scratch import facts
from rootstock.core.errors import RecipeError, nearest
from rootstock.core.method import LARGE_BASE, Method
from rootstock.core.objective import Objective
from rootstock.core.recipe import MICRO_TOKENS, Recipe
from rootstock.core.resources import device_memory
from rootstock.core.rows import Encoded
from rootstock.core.task import Labelled, Task, Uniform
from rootstock.core.watch import Say
from rootstock.data import ledger
from rootstock.loop import crew, precision
from rootstock.planning import advise
from rootstock.run import beneath
from rootstock.run.prepared import device_name
from rootstock.tasks.multi_task import MultiTask

AUTO = ("full", "lora", "feature-extraction")
"""Methods that are chosen among where nobody says which, best quality first, quickest last."""
_FEWEST_TOKENS = 8
"""Of a row, below which it says nothing."""


_COMPARES = ("span", "choice")
"""Kinds of answers that lie in how two texts belong together, which a frozen base does not work out: it is taken there only where named."""


def check(recipe: Recipe) -> None:
    """Raise for a name or a key that does not exist, so that nobody waits for the data before a misspelling is found."""
    ledger.check_names(recipe.accept)
    if recipe.track and not find_spec(recipe.track):
        raise RecipeError(f"track is {recipe.track}, which is not installed", fix=f"pip install {recipe.track}, or leave track out")
    if recipe.augment is not None:
        settings = dict(recipe.augment)
        catalog.find("augment", settings.pop("name", "")).build(settings, "augment")
    for section, kind in (("task", "tasks"), ("method", "methods")):
        settings = dict(getattr(recipe, section))
        name = settings.pop("name", "auto")
        if name != "auto":
            catalog.find(kind, name).build(settings, section)  # type: ignore[arg-type]
        elif settings:
            _check_auto(section, settings, {each: catalog.find(kind, each) for each in catalog.names(kind)})  # type: ignore[arg-type]
    if "auto" not in (task := recipe.task.get("name", "auto"), method := recipe.method.get("name", "auto")):
        check_pair(catalog.find("tasks", task), catalog.find("methods", method))


def check_rows(recipe: Recipe) -> None:
    """Raise RecipeError for a recipe that names no rows."""
    if not recipe.data.train:
        wanted = type(recipe.data).model_fields["train"].description or ""
        raise RecipeError(
            "the key 'data.train' is missing", wanted=wanted.split(". ")[0], fix="add it; `rootstock recipe show` prints a whole one"
        )


def check_pair(task: type[Task], method: type[Method]) -> None:
    """Raise RecipeError for a method that has nothing to train under this task."""
    if fits(task, method):
        return
    called, by = catalog.name_of("tasks", task), catalog.name_of("methods", method)
    if not issubclass(task, Uniform):
        raise RecipeError(
            f"{by} trains heads on a frozen base, so that the parts of {called} would share nothing that learns",
            wanted="a method that changes the base, or a run for each part",
            fix="choose --method lora or full",
        )
    instead = "it learns the base's own vectors" if getattr(task, "headless", False) else "its head is the base's own output layer"
    raise RecipeError(
        f"{by} trains a fresh head on frozen features, and {called} brings none: {instead}",
        wanted="a method that changes the base",
        fix="choose --method lora or full",
    )


def fits(task: type[Task], method: type[Method]) -> bool:
    """Whether the method finds something to train: a frozen base wants a head of the task's own, and several tasks something to share."""
    return not method.frozen or (issubclass(task, Uniform) and not (issubclass(task, Labelled) and (task.writes or task.headless)))


def _check_auto(section: str, settings: dict[str, Any], choices: dict[str, Any]) -> None:
    """Settings beside the name auto must fit at least one of the choices."""
    for key in settings:
        owners = [name for name, each in choices.items() if key in each.model_fields]
        if not owners:
            known = sorted({key for each in choices.values() for key in each.model_fields})
            near = nearest(key, known)
            fix = f"did you mean {near!r}?" if near else "remove the key"
            raise RecipeError(f"unknown key '{section}.{key}'", wanted=f"one of {', '.join(known)}", fix=fix)
        if section == "method":
            owner = next((name for name in AUTO if name in owners), owners[0])
            raise RecipeError(
                f"method.{key} is set while method.name is auto", wanted="a method of that setting", fix=f"choose --method {owner}"
            )


def check_unused(recipe: Recipe, keys: Sequence[str], reads: str) -> None:
    """Raise RecipeError for keys of data that are set and mean nothing for what is read: who sets one expects something of it."""
    for key in keys:
        value = getattr(recipe.data, key)
        if value != type(recipe.data).model_fields[key].default:
            raise RecipeError(
                f"data.{key} is {value}, which means nothing for {reads}", wanted="keys that are read", fix=f"leave data.{key} out"
            )


def kept_length(recipe: Recipe, room: int, *, longest: int) -> int:
    """Tokens kept of a row: as set, else all of the longest that fit."""
    if recipe.training.length and recipe.training.length > room:
        raise RecipeError(
            f"training.length is {recipe.training.length}",
            wanted=f"at most {room}, all that the base takes",
            fix=f"give --set training.length={room}, or a base with more positions",
        )
    return recipe.training.length or min(longest, room)


def room(base: Resolved) -> int:
    """The most tokens that the base takes, by its own files."""
    held = config(base)
    said = [held.get(key) for key in ("max_position_embeddings", "n_positions")]
    if base.scratch and not any(said):
        said.append(512)
    if "roberta" in str(held.get("model_type")) and said[0]:
        pad = held.get("pad_token_id")
        said[0] -= (1 if pad is None else int(pad)) + 1  # its positions begin after the padding's
    said.append(config_file(base, "tokenizer_config.json").get("model_max_length"))
    return int(min(number for number in (*said, 10**9) if number))


def config(base: Resolved) -> dict[str, Any]:
    """A base's config: of the architecture that is asked for, or config.json."""
    return facts(base.scratch) if base.scratch else config_file(base, "config.json")


def config_file(base: Resolved, name: str) -> dict[str, Any]:
    """A JSON file of a base's folder; empty where there is none."""
    path = base.folder / name if base.folder else None
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path and path.exists() else {}
    return found


def room_beside(method: Method, base: Resolved) -> int:
    """The most tokens of a row that the base takes beside what the method puts before them; RecipeError where none are left."""
    left = room(base) - method.positions
    if left < _FEWEST_TOKENS:
        raise RecipeError(
            f"{method.positions} positions for the method leave {max(left, 0)} of the base's {room(base)} for a row",
            wanted=f"{_FEWEST_TOKENS} at least",
            fix=f"give --set method.tokens={max(room(base) // 8, 1)}, or a base with more positions",
        )
    return left


def method_for(recipe: Recipe, base: Resolved, encoded: Encoded, say: Say, *, task: Task, classes: int = 2) -> tuple[Method, str]:
    """The method that the recipe names, or the one that suits these rows; and the reason. classes: that a label chooses from."""
    settings = dict(recipe.method)
    name = settings.pop("name", "auto")
    reason = "asked for"
    if name == "auto":
        name, reason = (
            ("full", "the base's weights are random, so all of them must learn") if base.scratch else _advice(recipe, base, encoded, task)
        )
        say(f"method    {name}: {reason}")
    method: Method = catalog.find("methods", name).build(settings, "method")
    check_scratch(name, method, scratch=base.reference if base.scratch else None)
    beneath.check(method, base)
    method.check(task.head(), config(base))
    if task.packs:
        _check_packed(name, method, recipe)
    if recipe.merge and (not method.folds or method.leaves == "head"):
        raise RecipeError(
            f"merge is set, and what {name} learns can't be folded into weights",
            wanted="a method that folds, such as lora",
            fix="leave merge out",
        )
    check_found(name, method, recipe)
    check_grown(name, method, base)
    check_pair(type(task), type(method))
    check_taught(name, method, recipe)
    if recipe.merge and method.saves != "adapter":
        say(f"merge     nothing to fold: what {name} leaves in model/ is whole already")
    return method, reason


def check_grown(name: str, method: Method, base: Resolved) -> None:
    """Raise RecipeError where new tokens would stay what they begin as."""
    if base.added and method.frozen and method.warm_up() is None:
        raise RecipeError(
            f"add_tokens is set, and {name} leaves the base as it is, so that new tokens would learn nothing",
            wanted="a method that changes the base",
            fix="choose --method lora or full",
        )


def check_reads(recipe: Recipe, reads: str) -> None:
    """Raise RecipeError for new tokens where the rows are no texts."""
    if recipe.add_tokens and reads == "images":
        raise RecipeError("add_tokens is set, and the rows are images", wanted="rows of text", fix="leave add_tokens out")


def check_found(name: str, method: Method, recipe: Recipe) -> None:
    """Raise RecipeError where something is to be found that the method has no use for."""
    training = recipe.training
    if training.rate == "find" and method.at_once:
        raise RecipeError(
            f"training.rate is find, and {name} with this head takes no steps", wanted="a method that learns by steps", fix="leave it out"
        )
    if training.micro_tokens == "find" and method.frozen:
        raise RecipeError(
            f"training.micro_tokens is find, and {name} passes each row through the base once, without gradients",
            wanted="a method that changes the base",
            fix="leave it out, or choose --method lora or full",
        )


def check_taught(name: str, method: Method, recipe: Recipe) -> None:
    """Raise RecipeError for a method that could not learn from a teacher what is asked for."""
    if recipe.teacher.hidden and method.frozen:
        raise RecipeError(
            f"teacher.hidden is set, and {name} leaves the hidden states as they are",
            wanted="a method that changes the base",
            fix="choose --method full or lora, or leave teacher.hidden out",
        )
    if recipe.teacher.run and method.at_once:
        raise RecipeError(
            f"teacher.run is set, and {name} with this head is fitted to labels at once",
            wanted="a method that learns by steps",
            fix="leave method.head out, or teacher",
        )


def _check_packed(name: str, method: Method, recipe: Recipe) -> None:
    """Raise RecipeError for what is done to each row, where several lie in a line."""
    added = f"{name} puts {method.positions} positions before each row" if method.positions else None
    aid = next((key for key in ("adversary", "mixup") if getattr(recipe.training, key)), None)
    if added or aid:
        raise RecipeError(
            f"{added or f'training.{aid} is set'}, and task.packing lays several rows into a line",
            wanted="rows with lines of their own",
            fix="leave out task.packing" + (", or choose --method lora" if added else ""),
        )


def check_scratch(name: str, method: Method, *, scratch: str | None) -> None:
    """Raise RecipeError for a method that would keep random weights as they are. scratch: the base, where its weights are random."""
    if scratch and method.trained < 1:
        raise RecipeError(
            f"{name} keeps the base's weights, which are random in {scratch}",
            wanted="a method that trains them all",
            fix="choose --method full",
        )


def _advice(recipe: Recipe, base: Resolved, encoded: Encoded, task: Task) -> tuple[str, str]:
    classes = len(getattr(task, "labels", ())) or 2
    dtype = precision.choose(recipe.training.precision, device_name())
    config = config_file(base, "config.json")
    size = advise.size_of(config, base.parameters or 22_000_000, int(encoded.lengths.sum()), recipe.training.micro)
    speed = advise.speed(device_name(), dtype)
    costs = {}
    for name in AUTO:
        method = catalog.find("methods", name)
        if not fits(type(task), method) or (method.frozen and getattr(task, "kind", "") in _COMPARES):
            continue
        batch = recipe.training.batch_tokens or method.batch_tokens
        epochs = recipe.training.epochs or method.passes(updates(encoded.lengths, batch), classes)
        twins = crew.most(batch, device_name())
        costs[name] = advise.estimate(method, size, epochs=epochs, speed=speed, bytes_each=dtype.itemsize, twins=twins)
    seconds = recipe.budget.minutes * 60 if recipe.budget.minutes else None
    memory = device_memory(device_name())
    memory = min(memory, recipe.budget.memory_bytes or memory)
    name, reason = advise.choose(len(encoded), costs, memory_bytes=memory, seconds=seconds)
    cost = costs[name]
    return name, f"{reason} (about {advise.span(cost.seconds)} and {cost.memory_bytes / 1e9:.1f} GB beside Python's own)"


def updates(lengths: np.ndarray, batch_tokens: int) -> int:
    """Updates of an epoch, padding aside."""
    return -(-int(lengths.sum()) // batch_tokens)


def epochs(recipe: Recipe, method: Method, lengths: np.ndarray, classes: int, say: Say, batch: int | None = None) -> float:
    """Epochs for a recipe that names none; where the usual number is too few, it says so.

    lengths: tokens kept of each row. batch: padded tokens of an update that the task wants.
    """
    count = updates(lengths, recipe.training.batch_tokens or batch or method.batch_tokens)
    passes = method.passes(count, classes)
    if passes > method.epochs and not recipe.training.steps:
        few = f"one of these rows is about {count} update{'s' if count > 1 else ''}"
        say(f"training  {passes:g} epochs, not {method.epochs:g}: {few}" + (f", and there are {classes} classes" if classes > 2 else ""))
    return passes


def resolved(recipe: Recipe, base: Resolved, task: Task, method: Method, *, columns: dict[str, Any], usual: dict[str, Any]) -> Recipe:
    """The recipe with every None filled in, so that it runs the same again. usual: values of training where it names none."""
    given = recipe.training.model_dump()
    usual = {"micro_tokens": "find" if recipe.budget.memory and not method.frozen else MICRO_TOKENS, **usual}
    training = recipe.training.model_copy(update={key: value for key, value in usual.items() if given[key] is None})
    named_task = {"name": catalog.name_of("tasks", type(task)), **task.plain(), **columns}
    named_method = {"name": catalog.name_of("methods", type(method)), **method.plain()}
    # A hub id moves; the commit that was trained on does not.
    pinned = (
        f"{base.hub_id}@{base.revision}"
        if base.revision and base.reference not in KNOWN and not Path(base.reference).exists()
        else recipe.base
    )
    named = {"base": pinned, "training": training, "task": named_task, "method": named_method, "add_tokens": base.added}
    return recipe.model_copy(update=named).anchored(Path.cwd())


def batch_tokens(method: Method, task: Task | None) -> int:
    """Padded tokens of an update that suit a method, or a task under it where more than a head learns."""
    wanted = task.batch_tokens if isinstance(task, Labelled) and not method.frozen else None
    return wanted or method.batch_tokens


def usual_of(method: Method, epochs: float, task: Task | None = None) -> dict[str, Any]:
    """The values of training that suit a method, under a task that may want larger updates."""
    held = {
        "rate": method.rate,
        "batch_tokens": batch_tokens(method, task),
        "weight_decay": method.weight_decay,
        "dropout": method.base_dropout,
    }
    return {"epochs": epochs, **held}


def rate(recipe: Recipe, base: Resolved, method: Method, task: Labelled | MultiTask, say: Say) -> float:
    """The peak rate where a recipe names none: the method's own, or what its authors used on a large base, which it says."""
    if base.scratch:
        return Objective.rate if task.writes else method.rate
    large = (base.parameters or 0) >= LARGE_BASE and "t5" not in str(config(base).get("model_type"))  # T5's authors: 1e-3
    if not large or method.large_rate is None:
        return method.rate
    if recipe.training.rate is None:
        say(f"training  a rate of {method.large_rate:g}, not {method.rate:g}: {base.name} is no small base")
    return method.large_rate


def base_for(recipe: Recipe, say: Say) -> Resolved:
    """The base, found and admitted, with the tokens that are added to it; what is to be known of it is said."""
    base = resolve(recipe.base, tokenizer=Path(recipe.tokenizer) if recipe.tokenizer else None)
    if base.scratch and recipe.add_tokens:
        raise RecipeError(
            f"add_tokens is set, and the weights of {base.name} are random: new tokens have no pieces to begin from",
            wanted="a trained base",
            fix="learn a tokenizer that has them: rootstock tokenizer train",
        )
    size = f", {base.parameters / 1e6:.1f}M parameters" if base.parameters else ""
    licence = ", random weights" if base.scratch else f", licence {base.licence or 'unknown'}"
    say(f"base      {base.name}{size}{licence}")
    for note in base.admission.notes if base.admission else ():
        say(f"base      {note}")
    return base.taught(vocabulary.listed(recipe.add_tokens))
