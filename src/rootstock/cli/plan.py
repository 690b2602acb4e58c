"""Before spending."""

from typing import Annotated

from typer import Argument, Context, Option

from rootstock.cli import _plan


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
    length: Annotated[int, Option(help="Tokens of a row [128; with --workers 4096].")] = 128,
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
    workers: Annotated[int | None, Option(help="Share one pre-training among so many devices, and weigh the strategies.")] = None,
    model: Annotated[str | None, Option(help="With --workers: a size such as 7b or 70b, of Llama's shape; or name a --base.")] = None,
    tokens: Annotated[str | None, Option(help="With --workers: tokens of the training, such as 2T [compute-optimal].")] = None,
    per_node: Annotated[int | None, Option(help="With --workers: devices of a machine [8].")] = None,
    network: Annotated[
        float | None, Option(help="With --workers: Gbit/s of a machine's network cards together [the device's usual].")
    ] = None,
    change: Annotated[list[str] | None, Option("--set", help="method.key=value of the first method, training.micro_tokens=…")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """What a training would take of memory, time and money, whether it fits, and what to take."""
    _plan.carry_out(context)
