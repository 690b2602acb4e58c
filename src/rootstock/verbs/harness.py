"""A causal model handed to EleutherAI's lm-evaluation-harness: our gate, tokenizer and intervals, its tasks and figures.

The harness: Gao et al., github.com/EleutherAI/lm-evaluation-harness. It gets a model that is loaded already, so that it reads no weights,
no configuration and no code of its own choice; its tasks are code and data of its package, or the user's own YAML files.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rootstock.core.errors import BaseError, UsageError, nearest
from rootstock.core.modules import needed
from rootstock.core.watch import Say
from rootstock.evaluation.intervals import around, limits, quantile
from rootstock.run.opened import Opened, open_base

_FULL = {"acc": "accuracy", "acc_norm": "accuracy", "mcc": "matthews"}
"""Our name of its figures, by which their limits are known; the others go by their own."""
_LAYOUT = ("results", "groups", "versions", "n-shot", "higher_is_better", "n-samples")


def evaluate(reference: str, tasks: Sequence[str], *, limit: int | None, batch: int, say: Say) -> dict[str, Any]:
    """Figures of each task with intervals, and under "harness" what the harness itself writes.

    tasks: names that the harness knows, or YAML files of tasks. limit: rows of each task. Raises UsageError where the extra or a task is
    missing, BaseError for a model that does not go on from a text.
    """
    needed("lm_eval", "--lm-eval", extra="lm-eval")
    opened = _causal(reference)
    with _quietly():
        found = _asked(opened, tasks, limit=limit, batch=batch, say=say)
    plain = json.loads(json.dumps({key: found[key] for key in _LAYOUT if key in found}, default=str))
    base = {"reference": reference, "name": opened.base.name, "sha256": opened.base.digest}
    return {"format": 1, "base": base, "limit": limit, "tasks": dict(_figures(plain)), "harness": plain}


def _causal(reference: str) -> Opened:
    opened = open_base(reference)
    if opened.kind != "causal":
        raise BaseError(
            f"{reference} ({opened.architecture}) does not go on from a text, which lm-evaluation-harness asks for",
            wanted="a model with a …ForCausalLM or …LMHeadModel head",
            fix="pretrain one with --task causal-lm; an encoder is measured by `rootstock benchmark glue`",
        )
    return opened


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the harness's notes, which are about options that an opened model has no use for."""
    logger = logging.getLogger("lm_eval")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _asked(opened: Opened, tasks: Sequence[str], *, limit: int | None, batch: int, say: Say) -> Mapping[str, Any]:
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    names, folders = _names(tasks)
    manager = TaskManager(include_path=folders or None)
    for name in names:
        if name not in manager.all_tasks:
            near = nearest(name, manager.all_tasks)
            raise UsageError(
                f"lm-evaluation-harness has no task {name!r}",
                wanted="one of `lm_eval ls tasks`, or a YAML file of a task",
                fix=f"did you mean {near!r}?" if near else "",
            )
    model = HFLM(pretrained=opened.model, tokenizer=opened.tokens, backend="causal", max_length=opened.room, batch_size=batch)
    say(f"harness   lm_eval {lm_eval.__version__}: {', '.join(names)}")
    try:
        found = lm_eval.simple_evaluate(model=model, tasks=names, task_manager=manager, limit=limit, log_samples=False)
    except (OSError, ValueError, KeyError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        fix = "its tasks fetch their rows from the hub; without a network give a YAML file of a task over a local file"
        raise UsageError(f"lm-evaluation-harness can't carry out {', '.join(names)}: {reason}", fix=fix) from error
    assert found is not None, "only a worker that is not the first gets nothing"
    return dict(found)


def _names(tasks: Sequence[str]) -> tuple[list[str], list[str]]:
    """What the tasks are called, and the folders of those that are the user's own files."""
    names, folders = [], dict[str, None]()
    for each in tasks:
        path = Path(each)
        if not each.endswith((".yaml", ".yml")):
            names.append(each)
            continue
        if not path.is_file():
            raise UsageError(f"there is no file {each}", wanted="a YAML file of a task of lm-evaluation-harness")
        names.append(_called(path))
        folders[str(path.resolve().parent)] = None
    return names, list(folders)


class _Loader(yaml.SafeLoader):
    """Reads what a task is called; the harness's own tags, such as !function, are its to read."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


def _called(path: Path) -> str:
    try:
        values = yaml.load(path.read_text("utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {' '.join(str(error).split())}", wanted="YAML in UTF-8", fix="correct the file") from None
    if not isinstance(values, dict) or not isinstance(values.get("task"), str):
        raise UsageError(f"{path} has no key task", wanted="a task of lm-evaluation-harness", fix="see its docs/new_task_guide.md")
    return str(values["task"])


def _figures(found: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Value, standard error and interval of each figure of each task; a figure without an error has no interval."""
    for name, held in found["results"].items():
        rows = int(found.get("n-samples", {}).get(name, {}).get("effective", 0))
        figures = {}
        for key, value in held.items():
            figure, _, used = key.partition(",")
            if not used or figure.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = held.get(f"{figure}_stderr,{used}")
            figures[figure if used == "none" else key] = {"value": value, **_between(figure, value, error, rows)}
        yield name, {"rows": rows, "figures": figures}


def _between(figure: str, value: float, error: Any, rows: int) -> dict[str, Any]:
    if not isinstance(error, int | float) or rows < 2:
        return {"error": None, "interval": None}
    within = limits(_FULL.get(figure, figure))
    if within and not within[0] <= value <= within[1]:  # some of its tasks give a share in percent
        within = None
    return {"error": error, "interval": list(around(value, error**2, place=quantile(rows), rows=rows, within=within))}
