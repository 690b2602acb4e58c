"""One of several workers that carry out a recipe: what `--workers` starts."""

from pathlib import Path


def work(task: str) -> None:
    """Carry out what the JSON file names; the process that started this one shows the result."""
    from rootstock.cli import _start
    from rootstock.core.runfolder import read_any
    from rootstock.core.worker import bound
    from rootstock.verbs.launch import task_of

    told = task_of(Path(task))
    bound(told["parent"])
    mode = _start.Mode(overwrite=told["overwrite"], resume=told["resume"], goes_back=told["goes_back"])
    _start.start(read_any(Path(told["recipe"])), Path(told["out"]), mode)
