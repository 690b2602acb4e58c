"""A process that has imported what a training needs, and forks one for each order: five seconds of processor time less for each.

It is told and tells as `arms_child` does, whose stdin and stdout are its own; after each order comes a line `ended` with the exit code. It
computes nothing itself: no thread and no device may be in use where a fork is made. It ends where stdin does.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NoReturn

from rootstock.core.watch import Watch

_LIBRARIES = (
    "peft",
    "pyarrow.csv",
    "pyarrow.parquet",
    "safetensors.torch",
    "scipy.stats",
    "sklearn.linear_model",
    "tokenizers",
    "torch",
    "transformers.models.auto.modeling_auto",
    "transformers.modeling_utils",
)
_CODE = "from rootstock.verbs.arms_nursery import main; main()"
_FORKS = sys.platform == "linux"
"""Elsewhere libraries of the system do not survive a fork: each order has a process that is started for it."""


def main() -> None:
    """Carry out orders until stdin ends; the exit code is that of the last."""
    if _FORKS:
        for name in _LIBRARIES:
            with suppress(ImportError):  # of an extra that is not installed
                import_module(name)
    from rootstock.verbs import arms_child

    code = 0
    with open(0, "rb", buffering=0, closefd=False) as asked:
        while line := asked.readline():
            if line.strip() == b"stop":  # of one that had ended meanwhile
                continue
            order = json.loads(line)
            if not _FORKS:
                _streams(order)
                arms_child.main(order)
                return
            child = os.fork() or _born(order)
            _, status = os.waitpid(child, 0)
            code = os.waitstatus_to_exitcode(status)
            os.write(1, f"{json.dumps({'ended': code})}\n".encode())
    sys.exit(code if code >= 0 else 1)


def _born(order: dict[str, Any]) -> NoReturn:
    """Be the process that carries the order out; what it says goes where the order says."""
    from rootstock.verbs import arms_child

    code = 1
    try:
        _streams(order)
        arms_child.main(order)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # what Python itself would show; nothing of this process may go on in the one that forked it
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def _streams(order: dict[str, Any]) -> None:
    """Errors and what libraries print go to a file of the order's own."""
    errors = os.open(order["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(errors, 2)
    os.close(errors)


class Nursery:
    """Such a process, begun when it is first asked for something, and again where it is gone or the environment is another one.

    It has a session of its own: Ctrl-C is for us, who ask a training to save and end.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._environment: dict[str, str] = {}

    def carried_out(self, order: Mapping[str, Any], errors: Path, watch: Watch) -> tuple[dict[str, Any], int]:
        """The last line of a training, and the exit code of its process; its events are passed on as they come.

        errors: the file of what it and its libraries say beside.
        """
        process = self._ready(errors)
        assert process.stdin is not None
        assert process.stdout is not None
        last: dict[str, Any] = {}
        stopped = False
        try:
            _say(process.stdin, json.dumps({**order, "errors": str(errors)}))
            while line := process.stdout.readline():
                told = _read(line)
                if "ended" in told:
                    return last, told["ended"]
                last = told or last
                if "event" in last and last["event"]["event"] != "evaluation":
                    watch.event(last["event"])
                if not stopped and watch.stop():
                    stopped = True
                    _say(process.stdin, "stop")
        except BaseException:
            self._end(kill=True)
            raise
        return last, self._end()

    def _ready(self, errors: Path) -> "subprocess.Popen[str]":
        """The process; where it has to be begun, what it says before the first order goes to `errors`."""
        process = self._process
        if process is None or process.poll() is not None or self._environment != dict(os.environ):
            self._end()
            with errors.open("w", encoding="utf-8") as stderr:
                told: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": stderr}
                process = subprocess.Popen([sys.executable, "-c", _CODE], text=True, encoding="utf-8", start_new_session=True, **told)
            self._process, self._environment = process, dict(os.environ)
            atexit.register(self._end)
        return process

    def _end(self, *, kill: bool = False) -> int:
        """Its exit code, once it and what it forked are gone."""
        process, self._process = self._process, None
        if process is None:
            return 0
        atexit.unregister(self._end)
        if kill:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for stream in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):  # what it did not read is still to be flushed
                stream.close()  # type: ignore[union-attr]
        return process.wait()


def _say(stdin: IO[str], line: str) -> None:
    with suppress(BrokenPipeError):  # it has ended, which is told by the end of what it says
        stdin.write(line + "\n")
        stdin.flush()


def _read(line: str) -> dict[str, Any]:
    """A line as JSON; of one that a kill cut short, what stands behind it: how the process ended."""
    for start in (0, line.rfind('{"ended"')):
        with suppress(json.JSONDecodeError):
            told = json.loads(line[max(start, 0) :])
            return told if isinstance(told, dict) else {}
    return {}
