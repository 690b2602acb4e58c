"""torch's elastic agent, told which ends of a worker are meant: those are final, after any other all workers start again."""

import signal
import uuid
from pathlib import Path

from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from rootstock.core.watch import Say
from rootstock.core.worker import left
from rootstock.verbs.launch import ended

_AT_ONCE = 10
"""Seconds that a worker may take to end when asked a second time. One that hangs ends only by force."""


class _Agent(LocalElasticAgent):
    errors: Path
    say: Say
    _asked = False

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        result: RunResult = super()._monitor_workers(worker_group)
        if result.state == WorkerState.FAILED:
            self._died = ended(result.failures)
            if left(self.errors) is not None:
                self._remaining_restarts = 0
        return result

    def _shutdown(self, death_sig: signal.Signals = signal.SIGTERM, timeout: int = 30) -> None:
        """What ends this process ends its workers: the first signal as long as they save, the second soon, a third at once."""
        patience, self._asked = _AT_ONCE if self._asked else timeout, True
        try:
            super()._shutdown(death_sig, patience)
        except SignalException:
            if patience == _AT_ONCE:
                super()._shutdown(signal.SIGKILL, 1)
            raise

    def _restart_workers(self, worker_group: WorkerGroup) -> None:
        of = worker_group.spec.max_restarts
        self.say(f"restart   {self._died}; all start again from the last checkpoint ({of - self._remaining_restarts} of {of})")
        for path in self.errors.glob("*.json"):
            path.unlink()
        super()._restart_workers(worker_group)
        self._asked = False


def agent(workers: int, command: tuple[str, ...], *, errors: Path, say: Say, restarts: int, patience: int) -> LocalElasticAgent:
    """An agent for workers of this command on this machine. patience: seconds that workers may take to stop."""
    name = uuid.uuid4().hex
    rendezvous = RendezvousParameters(backend="c10d", endpoint="localhost:0", run_id=name, min_nodes=1, max_nodes=1, is_host=True)
    spec = WorkerSpec(
        role="worker",
        local_world_size=workers,
        entrypoint=command[0],
        args=command[1:],
        rdzv_handler=get_rendezvous_handler(rendezvous),
        max_restarts=restarts,
        monitor_interval=0.1,
        local_addr="localhost",
    )
    made = _Agent(spec=spec, logs_specs=DefaultLogsSpecs(log_dir=None), shutdown_timeout=patience)
    made.errors, made.say = errors, say
    return made
