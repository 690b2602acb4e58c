"""Zip files: torch.save's, .npz, .keras, .mar, wheels; every member is scanned by its own content."""

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from rootstock.sentinel.archives import unpack
from rootstock.sentinel.archives.members import ArchiveTree, check_link, check_names
from rootstock.sentinel.archives.zip_records import LOCAL, End, Header, archives, central, find_end, local
from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, LimitReached, Malformed, finding
from rootstock.sentinel.source import Probe, Source

METHODS = {8: "deflate", 12: "bzip2"}
STORAGE = re.compile(r"(?:([^/]+)/)?(?:\.?data|tensors|constants|xl_model_weights)/\d+(?:\.storage)?")
"""Raw numbers of a torch archive: read by offset and length, never parsed."""

EXPORTED = re.compile(r"(?:^|/)data/(?:weights|constants)/(?:weight|tensor|param|buffer)_\d+\Z")
"""Numbers of torch.export, or tensors that were saved one by one: scanned, and not unknown when they are none of the latter."""

CRC_BYTES = 16 << 20
"""Stored members up to this size have their checksum computed; torch itself does not look at it."""

DESCRIPTORS = (0, 12, 16, 20, 24)
SEVERAL = ".distcp"
"""Shards of torch.distributed.checkpoint: what torch.save writes, once for each tensor, read by offset and length."""


@dataclass(frozen=True)
class Member:
    """A member by both of its headers."""

    central: Header
    local: Header


def recognises(probe: Probe) -> bool:
    """By its closing record, wherever the archive begins, or by a first member where the end is missing."""
    return b"PK\x05\x06" in probe.tail or probe.head.startswith(LOCAL)


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """The records, then the members, then the archive as a tree."""
    if source.name.endswith(SEVERAL) and len(parts := list(archives(source, context))) > 1:
        for part in parts:
            yield from context.nested(part)
        return
    end = find_end(source)
    if end is None:
        if not source.probe.head.startswith(LOCAL):
            return
        yield finding("zip-layout", source, "it begins as a zip file and has no closing record", offset=0)
        members = list(_walk(source, context))
    else:
        members = []
        for header in central(source, end):
            context.member(header.name)
            inside = local(source, header.offset)
            if inside is None:
                yield finding("zip-disagreement", source, f"{header.name[:120]!r} has no header at its place", offset=header.offset)
            else:
                members.append(Member(header, inside))
        if len(members) != end.count and end.count != 0xFFFF:
            yield finding("zip-disagreement", source, f"it claims {end.count:,} members and lists {len(members):,}", offset=end.at)
        # Within a tar or another file, a zip that is stored at its end is a member of that file and no disguise.
        if source.probe.head.startswith(LOCAL) or not end.after:
            yield from _around(source, end)
            yield from _layout(source, members, end, context)
    yield from check_names([(each.central.name, each.central.offset) for each in members], source)
    yield from _contents(source, members, context)


def _around(source: Source, end: End) -> Iterator[Finding]:
    if end.others:
        yield finding("zip-layout", source, f"it has {end.others + 1} closing records: readers disagree about what it holds", offset=end.at)
    if end.after > 0:
        yield finding("zip-layout", source, f"{end.after:,} bytes follow its end", offset=source.size - end.after)


def _walk(source: Source, context: Context) -> Iterator[Member]:
    """Members by their local headers alone, of an archive without a directory."""
    at = 0
    while (header := local(source, at)) is not None:
        context.member(header.name)
        yield Member(header, header)
        at = header.data + header.packed


def _layout(source: Source, members: list[Member], end: End, context: Context) -> Iterator[Finding]:
    """What lies before, between and over the members, and where their two headers differ."""
    at = 0
    for member in sorted(members, key=lambda each: each.local.offset):
        start, header, inside = member.local.offset, member.central, member.local
        if start < at:
            yield finding("archive-bomb", source, f"{header.name[:120]!r} lies within another member", offset=start)
        elif start > at:
            yield from _gap(source, at, start)
        yield from _differences(source, header, inside)
        at = max(at, inside.data + header.packed)
        context.check_time()
    if end.directory > at:
        yield from _gap(source, at, end.directory)


LABELLED = b"TFL3"
"""TensorFlow Lite keeps labels and vocabularies as a zip behind the model, and the model has a reader of its own."""


def _gap(source: Source, start: int, end: int) -> Iterator[Finding]:
    data = source.read(start, min(end - start, 1 << 20))
    if LOCAL in data:
        what = "a member that the directory does not list: readers that walk from the front find it"
        yield finding("zip-hidden-member", source, what, offset=start + data.find(LOCAL))
    elif (start == 0 or end - start not in DESCRIPTORS) and data.strip(b"\0") and not (start == 0 and data[4:8] == LABELLED):
        where = "before the first member" if start == 0 else "between its members"
        yield finding("zip-layout", source, f"{end - start:,} bytes {where} belong to no member", offset=start)


def _differences(source: Source, header: Header, inside: Header) -> Iterator[Finding]:
    fields = ["name", "method"] if inside.flags & 8 else ["name", "method", "packed", "size"]
    fields = [each for each in fields if getattr(header, each) != getattr(inside, each)]
    if fields:
        what = f"{header.name[:120]!r} has another {' and '.join(fields)} in its own header than in the directory"
        yield finding("zip-disagreement", source, what, offset=header.offset)
    if header.other_name and header.other_name != header.name:
        what = f"{header.name[:120]!r} is {header.other_name[:120]!r} by its field of Unicode names: readers disagree"
        yield finding("zip-disagreement", source, what, offset=header.offset)
    if (header.flags | inside.flags) & 1:
        what = f"{header.name[:120]!r} is marked as encrypted, which stops scanners; its bytes were read as they stand"
        yield finding("zip-encrypted", source, what, offset=header.offset)


def _contents(source: Source, members: list[Member], context: Context) -> Iterator[Finding]:
    names = {each.central.name.lower() for each in members}
    openers: dict[str, Callable[[], Source]] = {}
    for member in members:
        name = member.central.name
        if name.endswith("/") and not member.central.packed:
            continue
        openers.setdefault(name, partial(_bytes, source, member, context))
    tree = ArchiveTree(openers)
    for member in members:
        name = member.central.name
        if (name.endswith("/") and not member.central.packed) or _is_storage(name, names):
            continue
        yield from _one(source, member, tree, context)
        context.check_time()
    yield from context.nested_tree(tree, source)


def _bytes(source: Source, member: Member, context: Context) -> Source:
    return _open(source, member, context)[0]


def _is_storage(name: str, names: set[str]) -> bool:
    found = STORAGE.fullmatch(name)
    return bool(found) and (f"{found[1]}/data.pkl".lower() in names or "data.pkl" in names)  # type: ignore[index]


def _one(source: Source, member: Member, tree: ArchiveTree, context: Context) -> Iterator[Finding]:
    header = member.central
    try:
        inner, problem = _open(source, member, context)
    except (LimitReached, Malformed) as stopped:
        yield finding(stopped.rule_id, source, stopped.what, offset=header.offset)
        return
    if header.system == 3 and header.attributes >> 28 == 0o12:
        yield from check_link(header.name, inner.read(0, 4096).decode("utf-8", "replace"), source, header.offset)
        return
    if problem or not _checksum_holds(inner, header):
        what = problem or "its checksum is wrong: some readers stop here, others load it"
        yield finding("zip-checksum", source, f"{header.name[:120]!r}: {what}", offset=header.offset)
    numbers = bool(EXPORTED.search(header.name)) and any(name.endswith("archive_format") for name in tree.names)
    yield from (each for each in context.nested(inner.within(tree, header.name)) if not (numbers and each.rule == "unknown-format"))


def _checksum_holds(inner: Source, header: Header) -> bool:
    if inner.size > CRC_BYTES:
        return True
    crc = 0
    for chunk in inner.chunks():
        crc = zlib.crc32(chunk, crc)
    return crc == header.crc and inner.size == header.size


def _open(source: Source, member: Member, context: Context) -> tuple[Source, str]:
    """A member's bytes, and what went wrong with them."""
    header = member.central
    packed = source.part(member.local.data, header.packed, member=header.name)
    if header.method == 0:
        return packed, ""
    if header.size > context.limits.ratio * max(header.packed, 1) and header.size > context.limits.ratio_from:
        what = f"{header.name[:80]!r} claims to unpack to {header.size / max(header.packed, 1):,.0f} times its bytes"
        raise LimitReached(what, rule_id="archive-bomb")
    if header.method not in METHODS and header.method != 14:
        raise LimitReached(f"{header.name[:80]!r} is packed by method {header.method}, which is not known here", rule_id="not-unpacked")
    stream = unpack.of_zip_lzma(packed) if header.method == 14 else unpack.unpacking(METHODS[header.method], packed)
    return context.unpacked(stream, packed=header.packed, like=source, member=header.name), stream.problem


def members(source: Source, context: Context) -> dict[str, Source]:
    """The members by name. Raises Malformed where readers could disagree about them."""
    end = find_end(source)
    if end is None:
        raise Malformed("it has no closing record", offset=0)
    found: dict[str, Source] = {}
    for header in central(source, end):
        context.member(header.name)
        inside = local(source, header.offset)
        if inside is None or inside.name != header.name or header.name in found:
            raise Malformed(f"the member {header.name[:80]!r} occurs twice, or has another name in its own header", offset=header.offset)
        inner, problem = _open(source, Member(header, inside), context)
        if problem:
            raise Malformed(f"{header.name[:80]!r}: {problem}", offset=header.offset)
        found[header.name] = inner
    return found
