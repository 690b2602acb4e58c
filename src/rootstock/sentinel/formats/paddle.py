"""PaddlePaddle programs: operators that call Python, reach files or the network."""

import re
from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, Malformed, finding
from rootstock.sentinel.judge import texts
from rootstock.sentinel.judge.words import words
from rootstock.sentinel.parse.protobuf import BYTES, Message, fits, message
from rootstock.sentinel.source import Probe, Source

SCHEMA = {1: BYTES, 4: BYTES, 5: BYTES}
PYTHON = re.compile(rb"\b(?:py_func|py_layer|pylayer|custom_py)\b")
REACHING = words(
    "py_func py_layer pylayer run_program load load_combine save save_combine read_file listen_and_serv send recv send_barrier"
    " fetch_barrier distributed_lookup_table heter_listen_and_serv create_custom_reader open_files c_comm_init print"
)
FINE = words("load_combine save_combine print")
"""Among these, the ones that saved programs have of themselves."""


def recognises(probe: Probe) -> bool:
    """By name, or a message of blocks with operators in it."""
    if probe.name.endswith(".pdmodel") or probe.name == "__model__":
        return True
    return (
        probe.head[:1] == b"\x0a"
        and b"feed" in probe.head
        and b"fetch" in probe.head
        and fits(probe.head, probe.size, SCHEMA, needed=frozenset((1,)))
    )


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """Every operator of every block; where the program is no message, its bytes as they are."""
    try:
        for block in message(source).of(1):
            for operator in block.of(4):
                context.check_time()
                yield from _operator(operator, source)
    except Malformed as broken:
        yield finding("malformed", source, f"it is no program: {broken.what}", offset=broken.offset)
        for chunk_number, chunk in enumerate(source.chunks()):
            if match := PYTHON.search(chunk):
                yield finding(
                    "paddle-python-op", source, f"it names {match.group().decode()!r}", offset=(chunk_number << 20) + match.start()
                )
    yield from texts.code_in(source, context, "the program")


def _operator(operator: Message, source: Source) -> Iterator[Finding]:
    kind = operator.text(3)
    if kind in REACHING and kind not in FINE:
        rule = "paddle-python-op" if "py" in kind else "paddle-file-op"
        yield finding(rule, source, f"the program calls the operator {kind[:60]!r}", offset=operator.start)
