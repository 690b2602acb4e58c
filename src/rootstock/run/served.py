"""An engine of finished runs and of plain bases: what opens their folders is passed down to it."""

from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from rootstock import catalog
from rootstock.bases import load as bases
from rootstock.bases.resolve import Resolved, resolve
from rootstock.core.errors import UsageError
from rootstock.core.runfolder import RunFolder
from rootstock.core.task import Labelled
from rootstock.run.choices import config_file, room
from rootstock.run.opened import kind_of
from rootstock.run.prepared import device_name
from rootstock.run.use import Run
from rootstock.serving.engine import Engine
from rootstock.serving.opening import Source
from rootstock.serving.settings import EngineSettings

_TASKS = {"causal": "text-generation", "seq2seq": "text-to-text", "masked": "embedding", "none": "embedding"}
"""What a base that learned no labels is asked for: to go on with texts, or for their vectors."""


class Served(Run):
    """A run with answers, as an engine asks it."""

    @property
    def place(self) -> Path:
        """The folder of its model."""
        return self.folder.model


class Plain:
    """A base, or a run that learned without labels, as an engine asks it."""

    def __init__(self, reference: Path) -> None:
        self.reference = str(reference)

    method = None

    @cached_property
    def admitted(self) -> Resolved:
        """The base after the gate."""
        found = resolve(self.reference)
        if found.adapter:
            raise UsageError(f"{self.reference} is an adapter without its run", wanted="a run folder", fix="name the run that made it")
        return found

    @property
    def place(self) -> Path:
        """The folder of its model."""
        assert self.admitted.folder is not None
        return self.admitted.folder

    @cached_property
    def task(self) -> Labelled:
        """To write where its head does, else to give vectors."""
        named = [str(each) for each in config_file(self.admitted, "config.json").get("architectures") or ()]
        kind = next((found for found in map(kind_of, named) if found != "none"), "none")
        settings: dict[str, Any] = {"form": "plain"} if kind == "causal" else {"figures": "translation"} if kind == "seq2seq" else {}
        if kind == "causal" and self.tokenizer.chat_template:
            settings["form"] = "chat"
        found: Labelled = catalog.find("tasks", _TASKS[kind]).build(settings, "task")
        return found

    @cached_property
    def tokenizer(self) -> Any:
        """That of the folder."""
        return bases.tokenizer(self.admitted)

    @cached_property
    def contract(self) -> dict[str, Any]:
        """As a run's: there is no run that could be held to."""
        return {
            "base": {"reference": self.reference, "sha256": self.admitted.digest},
            "tokenizer_sha256": bases.tokenizer_digest(self.tokenizer),
            "labels": [],
            "length": room(self.admitted),
            "task": {"name": _TASKS["causal"] if self.task.kind == "completion" else "text-to-text" if self.task.writes else "embedding"},
            "method": {"name": ""},
            "fresh": [],
        }

    def base(self, meant: str) -> Resolved:
        """Itself."""
        return self.admitted

    def load(self) -> nn.Module:
        """The whole model in fp32."""
        model = bases.load(self.admitted, self.task.head(), seed=0).model
        bases.fit(self.tokenizer, model)
        return model


def opened(path: Path) -> Source:
    """A run that gives answers, or else a base. Raises as `Run` and `resolve` do."""
    folder = RunFolder(path)
    if not path.is_dir() or not (folder.begun or folder.alone):
        return Plain(path)
    run = Served(path)
    if held := run.folder.parts:
        fix = f"serve its parts, which share their base: {' '.join(str(run.folder.part(name).path) for name in held)}"
        raise UsageError(f"{path} learned several tasks", wanted=f"one of {', '.join(held)}", fix=fix)
    task = catalog.find("tasks", run.recipe.task["name"])
    return run if issubclass(task, Labelled) else Plain(path)


def engine(settings: EngineSettings) -> Engine:
    """An engine without models, whose workers wait; its `close` sends them home."""
    return Engine(settings, opened, device=device_name())
