"""The ways of the verb plan: its ledger, a ranking of bases, many devices, or methods side by side on one."""

from collections.abc import Mapping
from typing import Any

from typer import Context

_TOLD = ("labels", "rows", "length")
_OF_LEDGER = ("ledger", "as_json")
_OF_RANKING = ("rank_bases", "data", "rows_of", "rows", "change", "as_json")
_OF_WORKERS = ("workers", "model", "tokens", "per_node", "network")
_BESIDE_WORKERS = (*_OF_WORKERS, "base", "length", "device", "memory", "price", "precision", "change", "as_json")


def carry_out(context: Context) -> None:
    """The way that the options name. Raises UsageError for an option that means nothing there."""
    from rootstock.cli.console import check_beside

    given = context.params
    if given["ledger"]:
        check_beside(context, "--ledger", _OF_LEDGER)
        return _ledger(given)
    if given["rank_bases"]:
        check_beside(context, "--rank-bases", _OF_RANKING)
        return _ranking(given)
    if given["workers"] is not None:
        check_beside(context, "--workers", _BESIDE_WORKERS)
        return _workers(given, length_given=_is_given(context, "length"))
    _check_alone(context)
    return _methods(context)


def _is_given(context: Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _check_alone(context: Context) -> None:
    from rootstock.core.errors import UsageError

    for name in _OF_WORKERS:
        if _is_given(context, name):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{option} is given, and means nothing without --workers", fix="give --workers, or name a --base to plan for one device"
            )


def _ledger(given: Mapping[str, Any]) -> None:
    from rootstock.cli.console import show
    from rootstock.report.plan_text import ledger_text
    from rootstock.verbs import plan as planning

    show(found := planning.errors_so_far(), ledger_text(found), as_json=given["as_json"])


def _ranking(given: Mapping[str, Any]) -> None:
    from rootstock.cli.console import Console, assignments, show
    from rootstock.core.watch import Stops, Watch
    from rootstock.report import rank_text
    from rootstock.verbs import rank

    console, bases = Console(), [*given["rank_bases"], *(given["data"] or [])]
    with Stops(console.say) as stops:
        watch = Watch(say=console.say, event=console.event, stop=stops.asked)
        ranked = rank.rank(bases, given["rows_of"], watch, rows=given["rows"], changes=assignments(given["change"] or []))
    show(ranked, rank_text.as_text(ranked), as_json=given["as_json"])


def _workers(given: Mapping[str, Any], *, length_given: bool) -> None:
    from rootstock.cli.console import assignments, show
    from rootstock.report import cluster_text
    from rootstock.verbs import plan_cluster, plan_words

    _, training = plan_words.told_apart(assignments(given["change"] or []), method=False)
    asked = plan_cluster.AskedCluster(
        workers=given["workers"], device=given["device"], model=given["model"], base=given["base"],
        length=given["length"] if length_given else plan_cluster.LENGTH, batch=training.get("batch", plan_cluster.BATCH),
        micro=training.get("micro"), tokens=plan_words.tokens(given["tokens"]),
        memory_bytes=plan_words.amount(given["memory"], "--memory"), per_node=given["per_node"], network=given["network"],
        precision=given["precision"], price=given["price"],
    )  # fmt: skip
    show(found := plan_cluster.plan(asked), cluster_text.as_text(found), as_json=given["as_json"])


def _check_told(context: Context, file: str) -> None:
    """Raises UsageError for an option that says otherwise what the rows themselves tell."""
    from rootstock.core.errors import UsageError

    for name in _TOLD:
        if _is_given(context, name):
            raise UsageError(
                f"--{name} is given, and the rows of {file} tell it", wanted="one of the two", fix=f"leave --{name} or {file} out"
            )


def _methods(context: Context) -> None:
    from rootstock.cli.console import Console, assignments, show
    from rootstock.report.plan_text import as_text
    from rootstock.verbs import plan as planning
    from rootstock.verbs import plan_words, rank

    given = context.params
    console, file = Console(), rank.one_file(given["data"] or [], given["rows_of"])
    settings, training = plan_words.told_apart(assignments(given["change"] or []))
    asked = planning.Asked(
        base=given["base"] or "minilm", task=given["task"], labels=given["labels"], methods=tuple(given["method"] or ()), settings=settings,
        rows=given["rows"], length=given["length"], epochs=given["epochs"], device=given["device"], price=given["price"],
        precision=given["precision"], tasks=given["tasks"], seconds=given["days"] and given["days"] * 86_400,
        memory_bytes=plan_words.amount(given["memory"], "--memory"), disk_bytes=plan_words.amount(given["disk"], "--disk"), **training,
    )  # fmt: skip
    if file is not None:
        _check_told(context, file)
        asked = planning.of_data(asked, file, console.say, base_given=given["base"] is not None)
    found = planning.plan(asked, measured=planning.measured(asked, console.say) if given["measure"] else None)
    show(found, as_text(found), as_json=given["as_json"])
