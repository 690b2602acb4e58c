"""Several runs written down as one: each stage starts from what the one before it left."""

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from rootstock.core.errors import RecipeError
from rootstock.core.recipe import BudgetSettings, ClusterSettings, DataSettings, Recipe, TeacherSettings, TrainingSettings
from rootstock.core.settings import Settings


class Stage(Settings):
    """One of several runs: what is learned from what, and how."""

    name: str | None = None
    """What the stage is called, in its folder and the report. None: the name of its task, or of its data."""
    task: dict[str, Any] = Field(default_factory=lambda: {"name": "auto"})
    """The task's name and its settings, as in a recipe of one run."""
    data: DataSettings
    """The rows of this stage."""
    method: dict[str, Any] = Field(default_factory=lambda: {"name": "auto"})
    """The method's name and its settings. In every stage but the last it has to change the base: an adapter is folded in."""
    augment: dict[str, Any] | None = None
    """More training rows made of those that are there, as in a recipe of one run."""
    teacher: TeacherSettings = TeacherSettings()
    """A larger model to learn from, as in a recipe of one run."""
    training: TrainingSettings = TrainingSettings()
    """The loop."""
    budget: BudgetSettings = BudgetSettings()
    """Minutes of this stage alone; its memory and its ledger, where they are others than those of all stages."""
    accept: tuple[str, ...] = ()
    """Findings of the data ledger that may exceed their limits in this stage."""
    merge: bool = False
    """Also write merged/ where the method leaves an adapter; of every stage but the last this is done in any case."""

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"\w[\w.-]*", value):
            raise ValueError("letters, digits, and . _ - between them")
        return value

    @property
    def called(self) -> str:
        """Its name, or that of its task, or of its data."""
        if self.name:
            return self.name
        task = str(self.task.get("name", "auto"))
        reference = self.data.train if isinstance(self.data.train, str) else next(iter(self.data.train), "")
        return task if task != "auto" else Path(reference).name.split(".")[0].replace(":", "-") or "stage"


class StagedRecipe(Settings):
    """Runs one after the other, on one base: pre-training on unlabelled text, then a related task, then the one that is meant."""

    base: str = Field(default="minilm", min_length=1)
    """What the first stage starts from, as in a recipe of one run."""
    tokenizer: str | None = None
    """Folder of the tokenizer for a scratch base."""
    add_tokens: str | tuple[str, ...] = ()
    """Tokens that the first base gets beside its own, as in a recipe of one run."""
    stages: tuple[Stage, ...] = Field(min_length=2)
    """The stages in their order. The last is the task that is meant; the others prepare its base."""
    gains: bool = False
    """Also carry the last stage out from the base as each stage before it had found it, so that what each stage was worth is measured.

    That is one more run of the last stage for each stage before it.
    """
    budget: BudgetSettings = BudgetSettings()
    """Minutes for all stages: what no stage has claimed for itself is shared equally among those that claim none."""
    cluster: ClusterSettings = ClusterSettings()
    """Processes and machines, of every stage."""
    track: Literal["tensorboard", "wandb", "mlflow"] | None = None
    """Mirror the metrics of every stage to tensorboard, wandb or mlflow."""
    seed: int = Field(default=42, ge=0, lt=2**32)
    """Seed of every stage."""

    @model_validator(mode="after")
    def _within_the_budget(self) -> "StagedRecipe":
        whole, again = self.budget.minutes, self.stages[-1:] * (len(self.stages) - 1) * self.gains
        claimed = sum(each.budget.minutes or 0 for each in (*self.stages, *again))
        if whole and (claimed > whole or (claimed == whole and any(each.budget.minutes is None for each in self.stages))):
            raise RecipeError(
                f"the stages' own budgets are {claimed:g} minutes, and budget.minutes is {whole:g} for all of them",
                wanted="something left for each stage",
                fix="raise budget.minutes, or lower those of the stages",
            )
        return self

    def folder(self, number: int) -> str:
        """What the folder of a stage is called; they count from 1."""
        return f"{number}-{self.stages[number - 1].called}"

    def recipe(self, number: int, base: str, *, minutes: float | None, merge: bool) -> Recipe:
        """A stage as a run of its own. base: the recipe's for the first, what the stage before left for the others."""
        stage = self.stages[number - 1]
        return Recipe(
            base=base,
            tokenizer=self.tokenizer if base == self.base else None,
            add_tokens=self.add_tokens if base == self.base else (),
            task=stage.task,
            data=stage.data,
            method=stage.method,
            augment=stage.augment,
            teacher=stage.teacher,
            training=stage.training,
            budget=self.budget.model_copy(update=stage.budget.model_dump(exclude_defaults=True) | {"minutes": minutes}),
            cluster=self.cluster,
            accept=stage.accept,
            merge=merge,
            track=self.track,
            seed=self.seed,
        )

    def anchored(self, folder: Path) -> "StagedRecipe":
        """The same with relative paths resolved against `folder`."""
        runs = [self.recipe(number, self.base, minutes=None, merge=False).anchored(folder) for number in range(1, len(self.stages) + 1)]
        stages = tuple(
            stage.model_copy(update={key: getattr(run, key) for key in ("task", "data", "method", "augment", "teacher")})
            for stage, run in zip(self.stages, runs, strict=True)
        )
        return self.model_copy(update={"stages": stages, **{key: getattr(runs[0], key) for key in ("base", "tokenizer", "add_tokens")}})
