"""Several workers in a test: processes forked from one that has everything imported, joined by gloo."""

import json
import multiprocessing
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.worlds_preload"])


def together(count, recipe, out, *, resume=False, stop_after=None, kill=None, restarts=0, fault=None):
    """Carry a recipe out by `count` workers; how each ended: "done", or the name of its error and its message.

    fault: one of the last worker's alone, by its name below and what it takes.

    stop_after: updates after which the last worker asks to stop. kill: a rank, an update at which it gets a signal, and the signal where
    it is not SIGKILL; one that is stopped for good stands still until all others have ended.
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if name.startswith(("ROOTSTOCK_", "OMP_"))}
    world = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RESTART_COUNT": restarts}
    running = []
    for rank in range(count):
        ear, mouth = _CONTEXT.Pipe(duplex=False)
        stop = stop_after if rank == count - 1 else None
        dies = (kill[1], kill[2] if kill[2:] else int(signal.SIGKILL)) if kill and kill[0] == rank else None
        task = {"recipe": recipe.plain(), "out": str(out), "resume": resume, "stop": stop, "kill": dies}
        task["fault"] = fault if rank == count - 1 else None
        environment = kept | {name: str(value) for name, value in (world | {"RANK": rank, "LOCAL_RANK": rank}).items()}
        process = _CONTEXT.Process(target=_work, args=(json.dumps(task), environment, mouth))
        process.start()
        mouth.close()
        running.append((process, ear))
    ended = []
    hung = kill[0] if kill and kill[2:] else -1
    for rank, (process, _) in enumerate(running):
        process.join(0 if rank == hung else 900)
    for process, ear in running:
        try:
            ended.append(ear.recv() if ear.poll() else ("stuck", ""))
        except EOFError:
            ended.append(("killed", str(process.exitcode)))
        process.kill()
    return ended


def _work(task, environment, mouth):
    """What a worker does."""
    import torch

    from rootstock.core.recipe import Recipe
    from rootstock.core.watch import Watch
    from rootstock.verbs import api

    os.environ.update(environment)
    torch.set_num_threads(1)
    told, updates = json.loads(task), [0]

    def stop():
        updates[0] += 1
        if told["kill"] and told["kill"][0] == updates[0]:
            os.kill(os.getpid(), told["kill"][1])
        return told["stop"] is not None and updates[0] >= told["stop"]

    said = []
    if told["fault"]:
        name, *values = told["fault"]
        FAULTS[name](*values)
    try:
        api.carry_out(Recipe.build(told["recipe"], ""), Path(told["out"]), Watch(say=said.append, stop=stop), resume=told["resume"])
        mouth.send(("done", "\n".join(said)))
    except BaseException as error:  # whatever it was, the test shall see it
        traceback.print_exc(file=sys.stderr)
        mouth.send((type(error).__name__, str(error)))


def nan_at(step, times):
    """The loss of an update is no number until the run has gone back so often."""
    from rootstock.loop import train

    real = train.Training._pass

    def passed(self, model, rows):
        made = real(self, model, rows)
        return made._replace(loss=float("nan")) if self.at.step + 1 == step and self.at.lowered < times else made

    train.Training._pass = passed


def tight(real, most, from_call):
    """A pass that has no memory for more rows than `most`, from some call on, and the rows of each call so far.

    real: the pass that it stands for; its backward pass is done before the lack shows.
    """
    calls = []

    def passed(self, model, batch):
        calls.append(len(batch["input_ids"]))
        loss = real(self, model, batch)
        if len(calls) > from_call and calls[-1] > most:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return loss

    return passed, calls


def scarce(most, from_call):
    """No memory for a pass of many rows: as `tight`."""
    from rootstock.loop import train

    train.Training._learned_from, _ = tight(train.Training._learned_from, most, from_call)


FAULTS = {"nan": nan_at, "scarce": scarce}
