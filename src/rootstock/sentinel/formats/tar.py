"""Tar files, among them .nemo, SavedModels in transit, and what torch.save wrote before version 0.1.10."""

import tarfile
from collections.abc import Iterator
from functools import partial

from rootstock.sentinel.archives.members import ArchiveTree, check_link, check_names
from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, Malformed, finding
from rootstock.sentinel.pickles import legacy
from rootstock.sentinel.source import Probe, Source


def recognises(probe: Probe) -> bool:
    """By magic, or for tars of old by the checksum of the first header."""
    head = probe.head[:512]
    if len(head) < 512:
        return False
    if head[257:262] == b"ustar":
        return True
    digits = head[148:156].strip(b" \0")
    return len(digits) > 2 and not digits.strip(b"01234567") and _sum(head) == int(digits, 8)


def _sum(head: bytes) -> int:
    return sum(head[:148]) + 8 * 32 + sum(head[156:512])


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """The members, then the archive as a tree."""
    members: list[tarfile.TarInfo] = []
    problem = ""
    try:
        with tarfile.TarFile(fileobj=source.stream(), mode="r", ignore_zeros=False) as archive:
            for member in archive:
                context.member(member.name)
                context.check_time()
                members.append(member)
    except (tarfile.TarError, EOFError) as error:
        problem = str(error)
    yield from check_names([(each.name, each.offset) for each in members if not each.isdir()], source)
    files = {each.name: each for each in reversed(members) if each.isreg()}
    tree = ArchiveTree({name: partial(_part, source, each) for name, each in reversed(files.items())})
    for member in members:
        yield from _one(source, member, tree, context)
    yield from context.nested_tree(tree, source)
    yield from _rest(source, members)
    if problem:
        raise Malformed(f"the tar breaks: {problem[:100]}", offset=members[-1].offset if members else 0)


def _part(source: Source, member: tarfile.TarInfo) -> Source:
    return source.part(member.offset_data, member.size, member=member.name)


def _one(source: Source, member: tarfile.TarInfo, tree: ArchiveTree, context: Context) -> Iterator[Finding]:
    if member.issym() or member.islnk():
        yield from check_link(member.name, member.linkname, source, member.offset)
    elif member.ischr() or member.isblk() or member.isfifo():
        yield finding("archive-device", source, f"the member {member.name[:120]!r} is a device or a pipe", offset=member.offset)
    elif member.issparse():
        yield finding(
            "not-unpacked", source, f"the member {member.name[:120]!r} is sparse, which is not unpacked here", offset=member.offset
        )
    elif member.isreg():
        inner = _part(source, member).within(tree, member.name)
        if inner.size < member.size:
            yield finding("malformed", source, f"the member {member.name[:120]!r} is cut off", offset=member.offset)
        if {"pickle", member.name.rpartition("/")[2]} <= set(tree.names) and inner.name in legacy.READERS:
            yield from legacy.scan(inner, context)
        else:
            yield from context.nested(inner)
    elif not member.isdir():
        yield finding(
            "not-unpacked", source, f"the member {member.name[:80]!r} is of the unknown kind {member.type!r}", offset=member.offset
        )


def _rest(source: Source, members: list[tarfile.TarInfo]) -> Iterator[Finding]:
    """What follows the two closing blocks of zeros: tools that join archives go on there."""
    end = max((each.offset_data + (each.size if each.isreg() else 0) for each in members), default=0)
    end = (end + 511) // 512 * 512
    for at in range(end, source.size, 1 << 20):
        data = source.read(at, 1 << 20)
        if data.strip(b"\0"):
            start = at + len(data) - len(data.lstrip(b"\0"))
            yield finding("malformed", source, "bytes follow the end of the tar, where some readers go on", offset=start)
            return
