"""TensorRT engines: compiled code for one kind of GPU, and the plugins that it is loaded with."""

import re
from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, finding
from rootstock.sentinel.judge import texts
from rootstock.sentinel.source import Probe, Source

_PLUGIN = re.compile(rb"IPluginV[23]\w*|PluginCreator|CustomPlugin")


def recognises(probe: Probe) -> bool:
    """By its magic number, or the name."""
    return probe.head[:4] in (b"ptrt", b"ftrt") or (probe.name.endswith((".engine", ".plan", ".trt")) and b"\0" in probe.head)


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """Plugins and code by their texts; the machine code itself can't be judged."""
    yield finding("opaque-engine", source, "an engine holds machine code, which was not scanned")
    for number, chunk in enumerate(source.chunks()):
        context.check_time()
        if match := _PLUGIN.search(chunk):
            what = f"the engine is loaded with a plugin ({match.group().decode()})"
            yield finding("native-library", source, what, offset=(number << 20) + match.start())
            break
    yield from texts.code_in(source, context, "the engine")
