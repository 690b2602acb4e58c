"""Runs written out for use elsewhere: folded, combined, as graphs, for other runtimes. Nothing is kept whose answers were not compared."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from torch import nn

from rootstock.bases import save as bases
from rootstock.bases.combine import Combination
from rootstock.core import artifact
from rootstock.core.errors import UsageError
from rootstock.core.lock import alone
from rootstock.core.watch import Say
from rootstock.report import export_card, graph_card
from rootstock.run import contract as contracts
from rootstock.run import pictures
from rootstock.run.build import add_companions
from rootstock.run.use import Run
from rootstock.verbs import export_gguf, export_onnx, export_vllm, exporting, merging
from rootstock.verbs.exporting import Exported, Options

Form = Callable[[Sequence[Run], Options, Path, Say], Exported]


def export(paths: Sequence[Path], to: str, out: Path, options: Options, say: Say) -> dict[str, Any]:
    """Write runs into a folder in another form; returns what export.json holds.

    Raises UsageError for a form that does not exist or a folder that is taken, MergeRefused where the answers would be others,
    ContractRefused where runs do not belong together.
    """
    if to not in FORMS:
        raise UsageError(f"--to {to}", wanted=f"one of {', '.join(FORMS)}", fix="choose one of these")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already", wanted="a new or empty folder", fix="choose another --out")
    for run in (runs := [Run(path) for path in paths]):
        if held := run.folder.parts:
            fix = f"name the folder of one: {run.folder.part(held[0]).path}"
            raise UsageError(f"{run.path} learned several tasks", wanted=f"one of {', '.join(held)}", fix=fix)
    for name, forms in _OF_FORMS.items():
        if getattr(options, name) is not None and to not in forms:
            raise UsageError(f"--{name} with --to {to}", wanted=f"--to {' or '.join(forms)}", fix=f"leave --{name} out")
    with alone(out), artifact.whole_folder(out) as beside:
        made = FORMS[to](runs, options, beside, say)
        artifact.write_json(beside / "export.json", made.facts)
        artifact.write_text(beside / "README.md", made.card(out.name))
    return made.facts


def place(paths: Sequence[Path], to: str) -> Path:
    """The folder that a run is written to where none is named. UsageError for several runs, none of which lends it its name."""
    if len(paths) > 1:
        raise UsageError(
            f"{len(paths)} runs, and no folder to write", wanted="--out FOLDER", fix=f"--out {paths[0].resolve().name}-and-others"
        )
    return Path(f"{paths[0].resolve().name}-{to}")


def merged(runs: Sequence[Run], options: Options, place: Path, say: Say) -> Exported:
    """One plain model: of a single run its adapter folded in, of several their task vectors combined."""
    paths = [run.path for run in runs]
    if len(runs) > 1:
        combination = options.combination or Combination()
        head = merging.head_of(runs, options.head_from)
        model, facts = merging.merge(runs, head, combination, _rows_of_each(runs, head, options, say))
        return _written(head.run, model, facts, place, paths)
    run = runs[0]
    if options.of_several():
        raise UsageError("one run, and a way to combine several", wanted="two runs or more", fix="leave --combine and --head-from out")
    exporting.check_folds(run)
    if run.contract["saves"] != "adapter":
        raise UsageError(f"{run.path} has nothing to fold", wanted="an adapter", fix=f"use {run.folder.model}: it is a whole model already")
    model, moved = merging.folded(run, exporting.rows_wanted(run, options.rows, say))
    source = {**merging.source(run), "measured": None}
    return _written(run, model, {"sources": [source], "compared": moved}, place, paths)


FORMS: Mapping[str, Form] = {
    "merged": merged,
    "onnx": export_onnx.onnx,
    "int8": export_onnx.int8,
    "gguf": export_gguf.gguf,
    "vllm": export_vllm.vllm,
}
"""What a run can be exported to, and who does it."""
_OF_FORMS = {"precision": ("gguf",), "tolerance": ("onnx", "int8", "gguf")}


def _rows_of_each(runs: Sequence[Run], head: merging.Head, options: Options, say: Say) -> list[pa.Table | None]:
    """The rows to measure each run on: the file that is named for those that the head answers for, else its own where they are at hand."""
    for run in runs:
        exporting.check_folds(run)
    return [exporting.rows_of(run, options.rows if head.answers(run) else None, say) for run in runs]


def _written(run: Run, model: nn.Module, facts: dict[str, Any], folder: Path, paths: Sequence[Path]) -> Exported:
    """A plain model in its folder. run: the one whose task it answers. paths: of all."""
    bases.save_model(model, run.tokenizer, folder)
    add_companions(run.task, run.contract["length"], model, folder)
    if run.task.reads in pictures.READS:
        pictures.save_processor(run.task, folder)
    contracts.write({**run.contract, "saves": "model"}, folder)
    merging.save_seen([Run(path) for path in paths], folder / "seen.safetensors")
    facts, told = {"to": "merged", **facts}, exporting.told(run) | {"class": type(model).__name__}
    return Exported(facts=facts, card=lambda name: export_card.render(facts | told | {"name": name}))


def numbers(text: str | None) -> list[float] | None:
    """Numbers with commas between; UsageError where one is none."""
    try:
        return None if text is None else [float(each) for each in text.split(",")]
    except ValueError:
        raise UsageError(f"--weights {text}", wanted="numbers with commas between, such as 0.7,0.3") from None


def as_text(found: dict[str, Any], out: Path) -> str:
    """What came of an export, for a person."""
    lines = export_card.lines(found) if found["to"] == "merged" else graph_card.lines(found)
    return "\n".join([*lines, f"written   {out}"])
