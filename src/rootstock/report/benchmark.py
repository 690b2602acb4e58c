"""The results of a benchmark: a table, the layout of lm-evaluation-harness, and a card with the hub's model-index."""

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from rootstock.core.figures import ERRORS
from rootstock.report import words
from rootstock.report.facts import Facts

_ROW = "{:<8}{:>9}  {:<24}{:>7}   {:<16}{}"
_HARNESS = {"accuracy": "acc", "matthews": "mcc"}
"""What lm-evaluation-harness calls a figure; the others go by their own names."""
_HUB = {"matthews": "matthews_correlation", "pearson": "pearsonr", "spearman": "spearmanr"}


def as_text(found: Facts) -> str:
    """Everything that benchmark.json says of results, in percent as benchmarks print it."""
    head = f"{found['suite']['title']}: {found['base']['name']}, {words.several(found['seeds'], 'seed')}; figures x 100, intervals at 95 %"
    lines = [head, *_before(found), "", _ROW.format("task", "rows", "figure", "mean", "95 %", "seeds").rstrip()]
    for name, task in found["tasks"].items():
        lines += _task(name, task)
    return "\n".join([*lines, "", *_average(found), *_notes(found), *_submission(found)])


def of_harness(found: Facts) -> str:
    """What lm-evaluation-harness measured, a line for each figure."""
    lines = [f"lm-evaluation-harness: {found['base']['name']}; intervals at 95 % from its standard errors", ""]
    lines.append(f"{'task':<24}{'rows':>8}  {'figure':<24}{'value':>9}   95 %")
    for name, task in found["tasks"].items():
        for figure, each in task["figures"].items():
            shown = f"[{each['interval'][0]:.4f}, {each['interval'][1]:.4f}]" if each["interval"] else "no interval"
            lines.append(f"{name:<24}{task['rows']:>8,}  {figure:<24}{each['value']:>9.4f}   {shown}")
    if found["limit"]:
        lines.append(f"at most {found['limit']:,} rows of each task: for trials only")
    return "\n".join(lines)


def _before(found: Facts) -> list[str]:
    """What the base had learned before, if it is a run."""
    run = found["base"]["run"]
    if not run:
        return []
    data = ", ".join(str(each.get("name")) for each in (run.get("data") or {}).values() if isinstance(each, dict))
    return [f"the base is a run: {run.get('task')} with {run.get('method')}" + (f" on {data}" if data else "")]


def _task(name: str, task: Facts) -> Iterator[str]:
    if not task["splits"]:
        yield _ROW.format(name, "", "no rows with answers", "", "", "").rstrip()
    several = len(task["splits"]) > 1
    for split, held in task["splits"].items():
        for figure, each in held["figures"].items():
            called = f"{figure} ({split.removeprefix('validation_')})" if several or split == "test" else figure
            seeds = " ".join(_percent(value) for value in each["seeds"]) if len(each["seeds"]) > 1 else ""
            yield _ROW.format(name, f"{held['rows']:,}", called, _percent(each["value"]), _interval(each), seeds).rstrip()
            name = ""


def _average(found: Facts) -> list[str]:
    average = found["average"]
    if average is None:
        return ["no task that counts for the average was measured"]
    shown = f"{_percent(average['value'])} {_interval(average)}"
    if not average["partial"]:
        return [f"average   {shown} ({found['suite']['average']})"]
    count, total = len(average["tasks"]), len(average["tasks"]) + len(average["missing"])
    return [
        f"average   {shown} of {count} of {total} tasks only: not comparable with a {found['suite']['title']} score",
        f"          missing: {', '.join(average['missing'])}",
    ]


def _notes(found: Facts) -> Iterator[str]:
    """What a reader has to know of the rows before believing a figure."""
    for name, task in found["tasks"].items():
        for split, held in task["splits"].items():
            for mark, said in (("overlap", "also occur in training"), ("known", "were learned by the base before")):
                if held[mark]["rows"]:
                    told = held[mark]["without"].items()
                    without = ", ".join(f"{figure} {_percent(each['value'])} {_interval(each)}" for figure, each in told)
                    yield f"{name}: {held[mark]['rows']:,} of {held['rows']:,} rows {said}" + (
                        f"; without these: {without}" if without else ""
                    )
            if split.startswith("test"):
                yield f"{name}: measured on {split}, as the rows hold nothing to develop on: not the split that others report"
        lost = {split: each["unlabelled"] for split, each in task["sources"].items() if each["unlabelled"] and not split.startswith("test")}
        yield from (f"{name}: {count:,} rows of {split} have no answer and are left out" for split, count in lost.items())
        yield from _others(name, task)
        yield from _findings(name, task)


def _others(name: str, task: Facts) -> Iterator[str]:
    """Splits that are not the published ones, told by their number of rows."""
    for split, each in task["sources"].items():
        if each["published"] not in (None, each["rows"]):
            yield f"{name}: {split} has {each['rows']:,} rows, the published one {each['published']:,}: not the same rows"


def _published(task: Facts, split: str) -> bool:
    """Whether a split has as many rows as the published one."""
    return bool(task["sources"][split]["published"] == task["sources"][split]["rows"])


def _findings(name: str, task: Facts) -> Iterator[str]:
    """What the ledger met in the rows that were learned from; a benchmark's rows are taken as they are."""
    met = {key: each["count"] for key, each in task["runs"][0]["findings"].items() if each["count"] and key != "unlabelled"}
    if met and not task["learns_from"]:
        yield f"{name}: of the rows learned from, " + ", ".join(f"{count:,} {key}" for key, count in met.items()) + " (ledger)"


def _submission(found: Facts) -> list[str]:
    held = found.get("submission")
    if not held:
        return []
    missing = f"; missing: {', '.join(held['missing'])}" if held["missing"] else ""
    return ["", f"submission {held['folder']}: {', '.join(held['files']) or 'no file'}{missing}"]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _interval(each: Facts) -> str:
    low, high = each["interval"]
    return f"[{_percent(low)}, {_percent(high)}]"


def harness(found: Facts) -> dict[str, Any]:
    """The results as lm-evaluation-harness lays them out: figure,filter and its standard error by task; a split of its own is a task."""
    results, rows, better = dict[str, dict[str, Any]](), dict[str, dict[str, int]](), dict[str, dict[str, bool]]()
    for name, task in found["tasks"].items():
        for split, held in task["splits"].items():
            called = name if len(task["splits"]) == 1 else f"{name}_{split.removeprefix('validation_')}"
            results[called] = {"alias": called}
            for figure, each in held["figures"].items():
                key = _HARNESS.get(figure, figure)
                results[called] |= {f"{key},none": each["value"], f"{key}_stderr,none": each["error"]}
            better[called] = {_HARNESS.get(figure, figure): figure not in ERRORS for figure in held["figures"]}
            rows[called] = {"original": held["rows"], "effective": held["rows"]}
    return {
        "results": results,
        "configs": {name: {"task": name, "dataset_path": found["suite"]["hub"], "output_type": "fine-tuned"} for name in results},
        "versions": {name: found["format"] for name in results},
        "n-shot": dict.fromkeys(results, 0),
        "higher_is_better": better,
        "n-samples": rows,
        "config": {"model": "rootstock", "model_args": found["base"]["reference"], "model_name": found["base"]["name"]},
        "rootstock": version("rootstock"),
    }


def card(found: Facts) -> str:
    """A card whose head is the hub's model-index, written by the hub's own library."""
    from huggingface_hub import EvalResult, ModelCardData

    def result(name: str, split: str, figure: str) -> Any:
        task = found["tasks"][name]
        each = task["splits"][split]["figures"][figure]
        low, high = each["interval"]
        return EvalResult(
            task_type="text-classification",
            task_name=task["title"],
            dataset_type=(found["suite"]["hub"] if _published(task, split) else None) or found["suite"]["title"],
            dataset_name=f"{found['suite']['title']} {task['title']}" + ("" if _published(task, split) else " (other rows)"),
            dataset_config=name,
            dataset_split=split,
            metric_type=_HUB.get(figure, figure),
            metric_name=f"{words.figure_name(figure)} (95 % interval {low:.4f} to {high:.4f}, {words.several(found['seeds'], 'seed')})",
            metric_value=round(each["value"], 6),
        )

    measured = [
        result(name, split, figure)
        for name, task in found["tasks"].items()
        for split, held in task["splits"].items()
        for figure in held["figures"]
    ]
    if not measured:
        return f"```\n{as_text(found)}\n```\n"
    name = found["base"]["name"]
    head = ModelCardData(model_name=name, eval_results=measured, tags=["rootstock"]).to_yaml(line_break="\n")
    return f"---\n{head}\n---\n\n# {found['suite']['title']} with {name}\n\n```\n{as_text(found)}\n```\n"
