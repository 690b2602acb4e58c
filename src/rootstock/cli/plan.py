"""Before spending."""

from typing import Annotated

from typer import Argument, Context, Option


def plan(
    context: Context,
    data: Annotated[list[str] | None, Argument(help="Labelled rows, to plan for just these and be advised; or further bases.")] = None,
    rank_bases: Annotated[list[str] | None, Option("--rank-bases", help="Rank this base and those after it by frozen vectors.")] = None,
    rows_of: Annotated[str | None, Option("--data", help="Labelled rows to rank bases by.")] = None,
    base: Annotated[str | None, Option(help="A base; well-known ones need no network [minilm, or as advised].")] = None,
    method: Annotated[list[str] | None, Option(help="Methods, the first one matters; repeatable [the usual ones].")] = None,
    task: Annotated[str, Option(help="What is learned, where no data tells it.")] = "text-classification",
    labels: Annotated[int, Option(help="Classes that a label chooses from.")] = 2,
    rows: Annotated[int, Option(help="Training rows; of a file's, bases are ranked by so many at most.")] = 10_000,
    length: Annotated[int, Option(help="Tokens of a row.")] = 128,
    epochs: Annotated[float | None, Option(help="Passes over the rows [what the method needs].")] = None,
    device: Annotated[str, Option(help="this-machine, or a name such as t4, rtx-4090, a100-80gb, h100.")] = "this-machine",
    memory: Annotated[str | None, Option(help="Memory of the device instead, such as 16GB.")] = None,
    days: Annotated[float | None, Option(help="Time that there is.")] = None,
    tasks: Annotated[int, Option(help="How many models are wanted, each for a task of its own.")] = 1,
    disk: Annotated[str | None, Option(help="Disk that there is for them, such as 2GB.")] = None,
    price: Annotated[float | None, Option(help="Dollars an hour [the device's list price].")] = None,
    precision: Annotated[str, Option(help="auto, fp32 or bf16.")] = "auto",
    measure: Annotated[bool, Option("--this-machine", help="Measure this machine: by a short run on data, else by made-up rows.")] = False,
    ledger: Annotated[bool, Option("--ledger", help="How far the forecasts of the runs so far were off, and nothing else.")] = False,
    change: Annotated[list[str] | None, Option("--set", help="method.key=value of the first method, training.micro_tokens=…")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """What a training would take of memory, time and money, whether it fits, and what to take."""
    from rootstock.cli.console import Console, assignments, check_beside, show
    from rootstock.core.watch import Stops, Watch
    from rootstock.report import rank_text
    from rootstock.report.plan_text import as_text, ledger_text
    from rootstock.verbs import plan as planning
    from rootstock.verbs import rank

    console = Console()
    if ledger:
        check_beside(context, "--ledger", ("ledger", "as_json"))
        return show(found := planning.errors_so_far(), ledger_text(found), as_json=as_json)
    if rank_bases:
        check_beside(context, "--rank-bases", ("rank_bases", "data", "rows_of", "rows", "change", "as_json"))
        with Stops(console.say) as stops:
            watch = Watch(say=console.say, event=console.event, stop=stops.asked)
            ranked = rank.rank([*rank_bases, *(data or [])], rows_of, watch, rows=rows, changes=assignments(change or []))
        return show(ranked, rank_text.as_text(ranked), as_json=as_json)
    file = rank.one_file(data or [], rows_of)
    settings, training = planning.told_apart(assignments(change or []))
    asked = planning.Asked(
        base=base or "minilm", task=task, labels=labels, methods=tuple(method or ()), settings=settings, rows=rows, length=length,
        epochs=epochs, device=device, price=price, precision=precision, tasks=tasks, seconds=days and days * 86_400,
        memory_bytes=planning.amount(memory, "--memory"), disk_bytes=planning.amount(disk, "--disk"), **training,
    )  # fmt: skip
    if file is not None:
        asked = planning.of_data(asked, file, console.say, base_given=base is not None)
    found = planning.plan(asked, measured=planning.measured(asked, console.say) if measure else None)
    show(found, as_text(found), as_json=as_json)
