"""The verb studio: a local page over all runs; what it needs of the rooms below is put together here."""

from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rootstock import catalog
from rootstock.core.errors import RootstockError, UsageError
from rootstock.core.recipe import Recipe
from rootstock.core.runfolder import RunFolder, read_any
from rootstock.loop import history
from rootstock.report import account, curves, pretraining_curves, words
from rootstock.report.charts import Chart
from rootstock.report.facts import Facts, dig, sources
from rootstock.sentinel.provenance import licences
from rootstock.serving.studio.bench import Bench
from rootstock.serving.studio.summary import read
from rootstock.verbs import lineage

if TYPE_CHECKING:
    from rootstock.verbs.playground import Playground


def opened(root: Path, port: int) -> Any:
    """The studio over a folder of runs, listening. Raises UsageError where it can't be: no package, no folder, a taken port."""
    try:
        from rootstock.serving.studio.server import Server
    except ImportError as error:
        fix = "pip install 'rootstock[serve]'"
        raise UsageError(f"the studio needs a package that is not installed: {error.name}", wanted="the extra serve", fix=fix) from None
    return Server(root, bench(), port)


def bench() -> Bench:
    """What the studio asks of models and reports. torch is imported by the first question: the list of runs needs none."""

    @cache
    def ground() -> "Playground":
        from rootstock.verbs.playground import Playground

        return Playground()

    return Bench(
        curves=drawn,
        account=accounted,
        lineage=grown,
        asks=lambda path: ground().asks(path),
        answer=lambda path, asked: ground().answer(path, asked),
        explain=lambda path, asked: ground().explain(path, asked),
        write=lambda path, asked, gone: ground().write(path, asked, gone),
    )


def drawn(path: Path) -> list[dict[str, Any]]:
    """The curves of a run, however far it has come, as its report draws them."""
    facts = _facts(path) | {"history": history.read(path / "history.jsonl"), "plan": read(path / "plan.json")}
    if facts["kind"] == "tokens":
        return [_chart(each) for each in pretraining_curves.curves(facts)]
    return [_chart(each) for each in curves.curves(facts)]


def accounted(path: Path) -> dict[str, Any]:
    """What a run saw of its data: findings with examples, lengths, labels, and where the rows came from."""
    facts = _facts(path) | {"manifest": read(path / "manifest.json"), "ledger": read(path / "ledger.json")}
    charts = [chart for chart in (account.lengths(facts), account.balance(facts)) if chart]
    tables = {"What a shorter length would cut": account.shorter(facts), "The labels": account.numbers(facts)}
    return {
        "rows": dig(facts, "ledger", "rows", default={}),
        "padding": words.percent(dig(facts, "ledger", "padding_share")),
        "charts": [_chart(each) for each in charts],
        "tables": {name: asdict(table) for name, table in tables.items() if table},
        "findings": [asdict(each) for each in account.findings(facts)],
        "sources": sources(facts),
    }


def grown(path: Path) -> dict[str, Any]:
    """What a run grew from, each link held against its bytes, and what does not fit."""
    if not RunFolder(path).manifest.exists():
        raise UsageError(f"{path.name} has no manifest", wanted="a run that has ended", fix="the lineage is written when it ends")
    root = lineage.walk(path)
    judged = licences.judge(root, licences.policy(None))
    changed = [f"{each.role} {each.name}: {each.why}" for each in root.every() if each.state == "changed"]
    return {"root": root.as_json(), "issues": [*changed, *judged.issues], "notes": judged.notes}


def _facts(path: Path) -> Facts:
    """What is known of a run before it has ended: the kind of its answers, and its figures as far as there are some."""
    return {"name": path.name, "kind": _kind(path), "metrics": read(path / "metrics.json"), "manifest": read(path / "manifest.json")}


def _kind(path: Path) -> str:
    """The kind of a run's answers; nothing where its recipe tells none."""
    from rootstock.core.task import Labelled

    try:
        recipe = read_any(path / "recipe.yaml")
        if not isinstance(recipe, Recipe):
            return ""
        settings = dict(recipe.task)
        task = catalog.find("tasks", str(settings.pop("name"))).build(settings, "task")
    except (RootstockError, OSError):
        return ""
    return task.kind if isinstance(task, Labelled) else "tokens" if hasattr(task, "encode") else ""


def _chart(chart: Chart) -> dict[str, Any]:
    return asdict(chart)
