"""What is known of stages between two calls: the runs that they come to, and with what each began."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rootstock.bases.resolve import resolve
from rootstock.bases.vocabulary import listed
from rootstock.core import artifact
from rootstock.core.errors import BaseError, ContractRefused
from rootstock.core.recipe import Recipe, TeacherSettings
from rootstock.core.runfolder import RunFolder, read_recipe
from rootstock.core.stages import StagedRecipe
from rootstock.loop.history import read
from rootstock.run.ending import seal
from rootstock.run.found import usual
from rootstock.run.merge import write_merged
from rootstock.run.prepare import prepare
from rootstock.run.prepared import LabelledRows
from rootstock.run.use import Run
from rootstock.verbs.differences import flat

_STATE = "state.json"
_LEAST = 0.05
"""Minutes that a stage gets at least: what was planned before may have taken all."""
_AGAIN = "put it back as it was, or begin again: the same recipe with --overwrite, or another --out"


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One run. number: of the stage that it carries out. start: the stage whose result it stands on; 0 is the recipe's base."""

    folder: str
    number: int
    start: int

    def recipe(self, whole: StagedRecipe, base: str, *, minutes: float | None) -> Recipe:
        """Its recipe. What is not the end is folded, so that the next stage has a whole base to stand on."""
        stage = whole.stages[self.number - 1]
        folds = self.number < len(whole.stages)
        return whole.recipe(self.number, base, minutes=minutes, merge=folds or (stage.merge and self.start == self.number - 1))


def units(recipe: StagedRecipe) -> list[Unit]:
    """All runs in their order; the last is what is meant. Where gains are asked for, the last stage also starts from earlier bases."""
    last = len(recipe.stages)
    found = [Unit(folder=recipe.folder(number), number=number, start=number - 1) for number in range(1, last + 1)]
    earlier = range(last - 1) if recipe.gains else ()
    return [*found[:-1], *(Unit(folder=f"{recipe.folder(last)}-from-{start}", number=last, start=start) for start in earlier), found[-1]]


@dataclass(frozen=True)
class State:
    """held: by folder of a run that has begun, the stage as it was, the digest of its base, its minutes and its base's own figures.

    And the seconds of the whole budget that went by while it was at work, in all processes so far.
    """

    folder: RunFolder
    held: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, folder: RunFolder) -> "State":
        """What an earlier call has left; nothing where it was stopped before it had begun."""
        path = folder.stages / _STATE
        return cls(
            folder, artifact.read_json(path, wanted="the state of stages", fix="begin again with --overwrite") if path.exists() else {}
        )

    def write(self) -> None:
        """Keep it for the next call."""
        artifact.write_json(self.folder.stages / _STATE, self.held)

    def run(self, unit: Unit) -> RunFolder:
        """Where a run lies."""
        return RunFolder(self.folder.stages / unit.folder)

    def ended(self, unit: Unit) -> bool:
        """Whether a run of these stages has come to its end."""
        return unit.folder in self.held and self.run(unit).complete

    def base(self, recipe: StagedRecipe, unit: Unit) -> str:
        """What a run starts from."""
        return str((self.folder.stages / recipe.folder(unit.start)).resolve()) if unit.start else recipe.base

    def recipe(self, recipe: StagedRecipe, unit: Unit) -> Recipe:
        """The recipe of a run that has begun: as it wrote it down itself, with all that it has found, where it came so far."""
        if self.run(unit).begun:
            return read_recipe(self.run(unit).recipe).model_copy(update={"base": self.base(recipe, unit)})
        return unit.recipe(recipe, self.base(recipe, unit), minutes=self.held[unit.folder]["minutes"])

    def begin(self, recipe: StagedRecipe, unit: Unit, *, spent: float, before: tuple[Mapping[str, float], Mapping[str, Any]]) -> None:
        """Write down with what a run begins. spent: seconds of the whole budget. before: its base's figures on its rows, and intervals."""
        facts = {"stage": _spelled(recipe, unit), "base": self._digest(recipe, unit), "minutes": self._minutes(recipe, unit, spent / 60)}
        self.held[unit.folder] = facts | {"before": dict(before[0]), "before_intervals": dict(before[1]), "seconds": 0.0}
        self.write()

    def took(self, unit: Unit, seconds: float) -> None:
        """Write down that a run has taken so many more seconds of the whole budget: a kill would take with it what no file tells."""
        held = self.held[unit.folder]
        held["seconds"] = round(held.get("seconds", 0.0) + seconds, 2)
        self.write()

    def check(self, recipe: StagedRecipe, unit: Unit) -> None:
        """Raise ContractRefused where a run that has begun is another by now."""
        known = {each.folder for each in units(recipe)}
        if lost := next((name for name in self.held if name not in known), None):
            raise ContractRefused(f"{lost} has begun, and the recipe has no such stage", wanted="the stages as they were", fix=_AGAIN)
        if unit.folder not in self.held:
            return
        began, present = self.held[unit.folder]["stage"], _spelled(recipe, unit)
        for key in (key for key in {**began, **present} if began.get(key) != present.get(key)):
            raise ContractRefused(
                f"{unit.folder} has begun with {key} {began.get(key)}, and the recipe says {present.get(key)}",
                wanted="the stage as it was",
                fix=_AGAIN,
            )
        if not unit.start or self.ended(units(recipe)[unit.start - 1]):
            self._stands(recipe, unit)

    def _stands(self, recipe: StagedRecipe, unit: Unit) -> None:
        """Raise ContractRefused where a run stands on another base by now."""
        if (found := self._digest(recipe, unit)) != (began := self.held[unit.folder]["base"]):
            what = recipe.folder(unit.start) if unit.start else recipe.base
            raise ContractRefused(
                f"{unit.folder} has begun on another {what}: its digest is {found[:16]}… now", wanted=f"{began[:16]}…", fix=_AGAIN
            )

    def _digest(self, recipe: StagedRecipe, unit: Unit) -> str:
        base = resolve(self.base(recipe, unit), tokenizer=None if unit.start else recipe.tokenizer)
        base = base if unit.start else base.taught(listed(recipe.add_tokens))
        if base.adapter and unit.start:
            raise BaseError(
                f"{recipe.folder(unit.start)} left an adapter that is not folded in", wanted="a whole base", fix="choose method full for it"
            )
        return base.digest

    def _minutes(self, recipe: StagedRecipe, unit: Unit, spent: float) -> float | None:
        """Its own, or an equal share of what is left of the whole budget; None where there is no budget."""
        open_ = [each for each in units(recipe) if each.folder not in self.held]
        own = {each.folder: recipe.stages[each.number - 1].budget.minutes for each in open_}
        if own[unit.folder] or recipe.budget.minutes is None:
            return own[unit.folder]
        left = recipe.budget.minutes - spent - sum(minutes or 0 for minutes in own.values())
        return round(max(left / sum(not minutes for minutes in own.values()), _LEAST), 3)

    def spent(self) -> float:
        """Seconds that the runs so far have taken; at least those that they were measured at, or of one that was killed its updates."""
        return sum(max(float(held.get("seconds", 0.0)), _seconds(RunFolder(self.folder.stages / name))) for name, held in self.held.items())

    def fold(self, unit: Unit, *, last: int) -> None:
        """Fold an adapter that others are to stand on, where the run was killed before it had done so. last: number of the last stage."""
        run = Run(self.run(unit).path)
        if unit.number == last or run.contract["saves"] != "adapter" or (run.path / "merged").is_dir():
            return
        prepared = usual(prepare(rows_alone(run.recipe), lambda text: None))
        assert isinstance(prepared, LabelledRows)
        write_merged(prepared, run.folder, run.load().eval())
        seal(run.folder, {key: value for key, value in run.folder.json("manifest.json").items() if key != "files"})


def _seconds(run: RunFolder) -> float:
    if run.complete:
        return float(run.json("plan.json").get("measured", {}).get("seconds", 0))
    return float(sum(event["seconds"] for event in read(run.history) if event["event"] == "step"))


def rows_alone(recipe: Recipe) -> Recipe:
    """The recipe of a run that has ended, without the models that helped it to learn: they need not be there any more."""
    alone = {"teacher": TeacherSettings(), "augment": None, "accept": (*recipe.accept, "unlabelled")}
    return recipe.model_copy(update=alone)


def _spelled(recipe: StagedRecipe, unit: Unit) -> dict[str, Any]:
    """All that decides what a run learns, as flat keys."""
    stage = recipe.stages[unit.number - 1].plain() | {"seed": recipe.seed}
    begin = {"base": recipe.base, "tokenizer": recipe.tokenizer, "add_tokens": list(listed(recipe.add_tokens))}
    return flat(stage | ({} if unit.start else begin))
