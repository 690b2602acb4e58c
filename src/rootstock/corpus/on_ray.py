"""The steps of a build as tasks of Ray Data, where one machine is too small: the functions are those of `engine`, and so are the bytes.

The machine that gives the command reads the sources, settles the order and writes the corpus; tasks make texts out of raw records, take
them through the steps and sign them. So no other machine needs to see a source or a list. What tasks return lies in rows of Arrow blocks,
one row a batch, in the order of the batches. A wave of batches is read, then worked on: what waits in memory is bounded.

Ray is started for the build and stopped after it, on the cores at hand or on the cluster that RAY_ADDRESS names.
"""

import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice
from secrets import token_hex
from typing import Any
from unicodedata import unidata_version

import pyarrow as pa
from safetensors.numpy import load, save

from rootstock.core.errors import RootstockError, RunFailed, UsageError
from rootstock.core.modules import needed
from rootstock.core.resources import usable_cores
from rootstock.corpus.engine import Batch, Done, Finished, Looked, Steps, libraries
from rootstock.corpus.record import Raw

_WAVE = 4
"""Batches for each core that are read before they are worked on: with fewer, cores wait for the last one; each holds up to 16 MB."""
_SECONDS = 10
"""How long an address may take to answer."""
_INSTALL = "the same versions on every machine of the cluster: pip install 'rootstock[corpus,cluster]'"

_Row = dict[str, Any]
_TYPES = {"number": pa.int64(), "libraries": pa.string(), "lines": pa.large_string()}


def needed_here() -> Any:
    """Ray, or UsageError where it is not installed. It tells nobody that it is used, unless RAY_USAGE_STATS_ENABLED says otherwise."""
    prepare()
    ray = needed("ray", "the engine ray", extra="cluster", otherwise="leave --engine out")
    needed("ray.data", "the engine ray", extra="cluster", otherwise="leave --engine out")
    data = logging.getLogger("ray.data")  # writes on stderr by a handler of its own; its file in Ray's folder of logs stays
    data.handlers = [each for each in data.handlers if each.name != "console"]
    return ray


def prepare() -> None:
    """Set what Ray reads when it is imported, unless the user did; to be called before."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not any(name in os.environ for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        # Its processes listen on all addresses of the machine, and would run what anybody sends.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=_token())


@cache
def _token() -> str:
    """One for this process: Ray reads it once, and a later start with another would not let its own driver in."""
    return token_hex(32)


@contextmanager
def session(found: Any = None, *, otherwise: str = "leave --engine out") -> Iterator[Any]:
    """Ray, started or connected to, and shut down after; one that is up already in this process is used and left alone.

    found: the package, where it is imported already. otherwise: another way out, for messages.
    Raises UsageError where RAY_ADDRESS leads nowhere, RunFailed where Ray does not start.
    """
    ray = found or needed_here()
    if ray.is_initialized():
        yield ray
        return
    with _signals_kept():
        _start(ray, otherwise)
    try:
        yield ray
    finally:
        ray.shutdown()


def _start(ray: Any, otherwise: str) -> None:
    address = os.environ.get("RAY_ADDRESS")
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    try:
        if address:
            _knock(address)
            ray.init(address=address, **quiet)
        else:
            ray.init(address="local", num_cpus=usable_cores(), include_dashboard=False, **quiet)
    except Exception as error:  # Ray raises nothing narrower where a start takes too long
        reason = str(error).strip().split("\n")[0]
        if address:
            fix = "correct RAY_ADDRESS, or unset it to use the cores of this machine"
            raise UsageError(f"no Ray cluster could be used at {address}: {reason}", wanted="a running one", fix=fix) from error
        raise RunFailed(f"Ray does not start here: {reason}", fix=f"try again on a machine less busy, or {otherwise}") from error


def _knock(address: str) -> None:
    """Raise OSError at once where nobody listens; Ray would try for two minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_SECONDS).close()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray sets a handler for SIGTERM when it starts, which would end a build that is to stop after its part."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def passed(batches: Iterator[Batch[Raw]], steps: Steps) -> Iterator[Done]:
    """Every batch through all steps, in its order. Raises what a step raises, RunFailed where Ray itself breaks."""
    with session() as ray, _errors(ray):
        kept = ray.put(steps.without_memory())
        size = _WAVE * max(int(ray.cluster_resources().get("CPU", 1)), 1)
        while wave := list(islice(batches, size)):
            yield from _wave(ray, wave, steps, kept)


def _wave(ray: Any, wave: Sequence[Batch[Raw]], steps: Steps, kept: Any) -> Iterator[Done]:
    rows = [{"number": number, "source": batch.source, "raw": batch.records} for number, batch in enumerate(wave)]
    given = ray.data.from_items(rows, override_num_blocks=len(rows))
    given.context.enable_progress_bars = False
    given.context.execution_options.preserve_order = True
    given.context.raise_original_map_exception = True
    looked = _mapped(given, _look, {"kept": kept}).materialize()
    verdicts, new = {}, []
    for row in sorted(looked.select_columns(["number", "marks", "libraries"]).take_all(), key=lambda row: row["number"]):
        _check(json.loads(row["libraries"]))
        reasons, arrays = steps.settle(load(row["marks"])["marks"])
        verdicts[row["number"]] = ray.put(reasons)
        new.append(arrays)
    finished = _mapped(looked, _finish, {"kept": kept, "verdicts": verdicts})
    tables = finished.iter_batches(batch_size=1, batch_format="pyarrow")
    for batch, learned, table in zip(wave, new, tables, strict=True):
        row = table.to_pylist()[0]
        found = load(row["arrays"])
        steps.learn(found)
        yield Done(len(batch.records), batch.following, Finished(_table(row["documents"]), json.loads(row["lines"]), learned | found))


def _mapped(dataset: Any, function: Any, given: Mapping[str, Any]) -> Any:
    """One task a block, in the order of the blocks."""
    return dataset.map_batches(function, batch_size=None, batch_format="pyarrow", zero_copy_batch=True, fn_kwargs=dict(given))


def _look(block: pa.Table, kept: Any) -> pa.Table:
    """Task: raw records up to the step that needs the order."""
    steps: Steps = needed("ray", "a task").get(kept)
    rows: list[_Row] = []
    for given in block.to_pylist():
        looked = steps.look((raw.read() for raw in given["raw"]), given["source"])
        row = {"number": given["number"], "marks": save({"marks": looked.marks}), "documents": _bytes(looked.documents)}
        rows.append(row | {"lines": json.dumps(looked.lines), "libraries": json.dumps(_versions())})
    return _rows(rows)


def _finish(block: pa.Table, kept: Any, verdicts: Mapping[int, Any]) -> pa.Table:
    """Task: the rest of the way. Steps are fetched anew for each block, so that they know nothing of other batches."""
    get = needed("ray", "a task").get
    rows: list[_Row] = []
    for given in block.to_pylist():
        steps: Steps = get(kept)
        looked = Looked(_table(given["documents"]), json.loads(given["lines"]), load(given["marks"])["marks"])
        finished = steps.finish(looked, get(verdicts[given["number"]]))
        row = {"number": given["number"], "documents": _bytes(finished.documents), "lines": json.dumps(finished.lines)}
        rows.append(row | {"arrays": save(finished.arrays)})
    return _rows(rows)


def _rows(rows: Sequence[_Row]) -> pa.Table:
    return pa.table({name: pa.array([row[name] for row in rows], _TYPES.get(name, pa.large_binary())) for name in rows[0]})


def _bytes(documents: pa.Table) -> bytes:
    """Documents as a stream of Arrow, which keeps a batch in one cell and so in one piece."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, documents.schema) as stream:
        stream.write_table(documents)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _table(data: bytes) -> pa.Table:
    with pa.ipc.open_stream(data) as stream:
        return stream.read_all()


def _versions() -> dict[str, str]:
    return libraries() | {"Unicode's tables": unidata_version}


def _check(there: Mapping[str, str]) -> None:
    """Raise UsageError where a task ran with other libraries than this process has."""
    here = _versions()
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            found = f"a machine of the cluster has {name} {there.get(name, 'not at all')}, this one {here.get(name, 'not at all')}"
            raise UsageError(found, wanted="the same everywhere, as they decide the bytes of a corpus", fix=f"install {_INSTALL}")


@contextmanager
def _errors(ray: Any) -> Iterator[None]:
    """What went wrong in a task or on the way to it, as one of ours."""
    try:
        yield
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, RootstockError):
            raise cause from None
        reason = f"{type(cause or error).__name__}: {str(cause or error).strip()}".split("\n")[0]
        raise RunFailed(
            f"Ray could not finish a task: {reason}", fix=f"Ray's logs say more; it needs {_INSTALL}; the same command goes on"
        ) from error
