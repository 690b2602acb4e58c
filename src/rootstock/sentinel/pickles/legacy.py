"""torch.save's tar files of 2016: pickles with raw numbers between them, so that a reader has to know how long those are."""

from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, Malformed
from rootstock.sentinel.pickles import read
from rootstock.sentinel.pickles.machine import Global
from rootstock.sentinel.source import Source

READERS = frozenset(["storages", "tensors"])
ITEM_BYTES = {"Double": 8, "Long": 8, "Float": 4, "Int": 4, "Half": 2, "BFloat16": 2, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1}


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """A count, then for each storage or tensor a pickle and its raw part."""
    at, first = 0, True
    while at < source.size:
        told = read.follow(source, context, at)
        yield from read.findings(told, source, at)
        if told.broken or told.limit:
            return
        at = told.end if first else _behind(source, told)
        first = False
        context.check_time()


def _behind(source: Source, told: read.Told) -> int:
    if source.name == "tensors":
        dimensions = int.from_bytes(source.read(told.end, 4), "little", signed=True)
        if not 0 <= dimensions <= 64:
            raise Malformed(f"a tensor claims {dimensions:,} dimensions", offset=told.end)
        return told.end + 8 + 16 * dimensions + 8
    names = [each.name for each in told.machine.about.values() if isinstance(each, Global)]
    width = next((ITEM_BYTES[name.removesuffix("Storage")] for name in names if name.removesuffix("Storage") in ITEM_BYTES), 0)
    count = int.from_bytes(source.read(told.end, 8), "little")
    if not width or told.end + 8 + count * width > source.size:
        raise Malformed("a storage's kind or length can't be told; what follows was not scanned", rule_id="limit-reached", offset=told.end)
    return told.end + 8 + count * width
