"""HDF5, and Keras models in it: links and data kept in other files, plugins that reading would load, configs in attributes."""

from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, finding
from rootstock.sentinel.judge import paths
from rootstock.sentinel.parse.hdf5 import SIGNATURE, File, Item
from rootstock.sentinel.source import Probe, Source

FILTERS = frozenset(("307", "308", "32000", "32001", "32004", "32008", "32013", "32015", "32017"))
"""Registered compressors that come with common readers: bzip2, lzf, blosc, lz4, bitshuffle, zfp, zstd, sz."""

LOOSE = ("weight_names", "layer_names", "backend", "keras_version", "_keras_version", "nested_group")


def recognises(probe: Probe) -> bool:
    """By its signature, at the start or behind a user block."""
    return _start(probe) is not None


def _start(probe: Probe) -> int | None:
    return next((at for at in (0, 512, 1024, 2048, 4096, 8192, 16384, 32768) if probe.head[at : at + 8] == SIGNATURE), None)


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """Every group, link, attribute and dataset's storage."""
    from rootstock.sentinel.judge import texts

    start = _start(source.probe) or 0
    for item in File(source, context).items(start):
        if item.kind == "attribute":
            if item.text and item.name.rsplit("@", 1)[-1] not in LOOSE:
                yield from texts.judge(item.name.lstrip("/@"), item.text, source, context, offset=item.offset)
        else:
            yield from _item(item, source)
    if start and any(source.read(0, start)):
        block = source.part(0, start, member="user block")
        yield finding("hidden-bytes", source, f"{start:,} bytes stand before the HDF5 content", offset=0)
        yield from (each for each in context.nested(block) if each.rule != "unknown-format")


def _item(item: Item, source: Source) -> Iterator[Finding]:
    name = item.name[:120] or "/"
    if item.kind in ("external link", "external data", "virtual data"):
        why = paths.escapes(item.text)
        what = f"{name} has its {'data' if 'data' in item.kind else 'target'} in another file, {item.text[:160]!r}"
        yield finding("hdf5-external", source, f"{what}, which {why}" if why else what, offset=item.offset)
    elif item.kind == "user link":
        yield finding(
            "hdf5-external", source, f"{name} is a link of {item.text}, which only a program of its own can follow", offset=item.offset
        )
    elif item.kind == "unread":
        yield finding("limit-reached", source, f"{name} has {item.text}, which is not read", offset=item.offset)
    elif item.kind == "filter" and item.text not in FILTERS:
        yield finding(
            "hdf5-filter", source, f"{name} is read through filter {item.text}, a plugin that HDF5 loads as a library", offset=item.offset
        )
