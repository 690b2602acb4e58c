"""Commands in processes that are forked from this one, where the libraries are imported already: a tenth of the time of new processes.

A fork is killed, runs out of room and writes files as any other process; what it lacks is only the minute in which Python imports torch.
`before` is called inside, ahead of the command: a fault can be put into it there.
"""

import atexit
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from importlib import import_module

_LIBRARIES = (
    "torch",
    "transformers",
    "accelerate",
    "datasets",
    "peft",
    "sklearn.metrics",
    "sklearn.linear_model",
    "scipy.stats",
    "pyarrow.parquet",
    "pyarrow.csv",
    "safetensors.torch",
    "optuna",
    "sqlalchemy",
    "typer",
    "rich",
    "transformers.models.bert.modeling_bert",
    "transformers.models.auto.modeling_auto",
)
"""Nothing of rootstock: it is imported inside, where its clock starts and its settings are read."""


def warm():
    """Import what every command needs. No thread and no gradient may begin here: no fork would have them."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in _LIBRARIES:
        import_module(name)
    import_module("torch").set_num_threads(1)


class Child:
    """A process that is running; of subprocess.Popen what is needed here."""

    def __init__(self, line, environment, before=None):
        warm()
        sys.stdout.flush()
        sys.stderr.flush()
        self.returncode, self._said = None, [tempfile.TemporaryFile(), tempfile.TemporaryFile()]  # noqa: SIM115  # closed when read
        self.pid = os.fork()
        if self.pid == 0:
            _become([str(word) for word in line], environment, self._said, before)
        with suppress(OSError):  # it has done so itself, or has ended
            os.setpgid(self.pid, self.pid)

    def send_signal(self, number):
        """To all that it has started as well."""
        os.killpg(self.pid, number)

    def poll(self):
        """Its exit code where it has ended; after a signal that signal's number, negative."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def communicate(self, timeout=1800):
        """What it wrote on stdout and stderr, once it has ended."""
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                self.send_signal(signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"not ended after {timeout} s")
            time.sleep(0.01)
        texts = []
        for stream in self._said:
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
            stream.close()
        return texts


def _become(line, environment, said, before):
    """Be the command: its streams, its environment, its end."""
    os.setpgid(0, 0)
    for stream, number in zip(said, (1, 2), strict=True):
        os.dup2(stream.fileno(), number)
    os.environ.update(environment)
    sys.argv, code = ["rootstock", *line], 1
    try:
        if before:
            before()
        from rootstock.cli.main import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # what Python itself would show
        traceback.print_exc()
    finally:
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
