"""Scan files, folders and archives: every format whose structure is there, and the checks on folders as a whole.

Reads bytes and runs nothing. What can't be read within the limits is a finding.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from struct import error as StructError

from rootstock.core.errors import UsageError
from rootstock.sentinel.catalog import folder_checks, formats
from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, LimitReached, Malformed, finding
from rootstock.sentinel.limits import Limits
from rootstock.sentinel.policy import DEFAULT, Policy
from rootstock.sentinel.policy import policy as read_policy
from rootstock.sentinel.source import Source, Tree, of_file

SLIPS = (
    ValueError,
    LookupError,
    OverflowError,
    ArithmeticError,
    TypeError,
    AttributeError,
    RecursionError,
    MemoryError,
    EOFError,
    StructError,
)
"""What a reader may raise on bytes that nobody foresaw; it becomes a finding. A bug in Rootstock is told as unscanned, not as clean."""


WEIGHTS = (
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".onnx",
    ".gguf",
    ".h5",
    ".hdf5",
    ".keras",
    ".npz",
    ".npy",
    ".joblib",
    ".pkl",
    ".tflite",
)
"""Names under which an empty file is a damaged one."""


@dataclass(frozen=True)
class Report:
    """What a scan found. files: scanned, with their sizes in bytes. refused: whether the policy says no."""

    findings: tuple[Finding, ...]
    files: int
    bytes: int
    seconds: float
    policy: Policy = field(repr=False)

    @property
    def refused(self) -> bool:
        """Whether any finding is refused by the policy."""
        return any(self.policy.action(each) == "refuse" for each in self.findings)

    def by_action(self, action: str) -> tuple[Finding, ...]:
        """The findings that the policy refuses, warns about or ignores."""
        return tuple(each for each in self.findings if self.policy.action(each) == action)


def scan(
    *paths: str | os.PathLike[str], policy: str = DEFAULT, limits: Limits | None = None, on_file: Callable[[str], None] | None = None
) -> Report:
    """Scan files and folders.

    Raises UsageError for a path that is not there. The verdict is in `refused`; `findings` holds all, also what the policy ignores.
    """
    chosen, limits, started = read_policy(policy), limits or Limits(), time.monotonic()
    found: list[Finding] = []
    files = size = 0
    for path in map(Path, paths):
        if not path.exists() and not path.is_symlink():
            raise UsageError(f"there is no {path}", wanted="a file or a folder", fix="check the path")
        tree = FolderTree(path)
        found += scan_folder(tree, limits, started + limits.seconds, on_file)
        files, size = files + len(tree.names), size + sum(map(tree.size_of, tree.names))
    return Report(tuple(dict.fromkeys(found)), files, size, time.monotonic() - started, chosen)


def scan_folder(tree: "FolderTree", limits: Limits, until: float, on_file: Callable[[str], None] | None = None) -> Iterator[Finding]:
    """Every file of a folder, then the folder as a whole."""
    for name in tree.names:
        if on_file:
            on_file(str(tree.path_of(name)))
        yield from scan_file(tree, name, limits, until)
    yield from scan_tree(tree, Source(str(tree.root), 0, lambda offset, count: b""), _context(limits, until))


class FolderTree:
    """A folder on disk as a tree, or those of its files that are named; a single file is a tree of one name.

    Links are kept, and judged by the check on links.
    """

    def __init__(self, root: Path, names: tuple[str, ...] | None = None) -> None:
        self.root = root if root.is_dir() else root.parent
        self.names: tuple[str, ...] = names or (tuple(_walk(root)) if root.is_dir() else (root.name,))

    def path_of(self, name: str) -> Path:
        """Where a name lies."""
        return self.root / name

    def size_of(self, name: str) -> int:
        """Bytes of a name; 0 where it can't be told."""
        try:
            return self.path_of(name).stat().st_size
        except OSError:
            return 0

    def open(self, name: str) -> Source:
        """The file under a name. Raises KeyError where it can't be read."""
        try:
            return of_file(self.path_of(name)).within(self, name)
        except OSError as error:
            raise KeyError(name) from error


def _walk(root: Path) -> Iterator[str]:
    """Files and links below a folder, sorted; links to folders are named, not followed."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted([*files, *links]):
            yield Path(folder, name).relative_to(root).as_posix()


def scan_file(tree: FolderTree, name: str, limits: Limits, until: float) -> Iterator[Finding]:
    """Everything in one file of a folder."""
    path = tree.path_of(name)
    nowhere = Source(str(path), 0, lambda offset, count: b"")
    if time.monotonic() > until:
        yield finding("limit-reached", nowhere, f"the {limits.seconds:g} seconds of the scan are over; not scanned")
        return
    try:
        if S_ISREG(path.stat().st_mode):
            source = of_file(path).within(tree, name)
        else:
            kind = "a link to a folder, which was not followed" if path.is_dir() else "no regular file: a device, a pipe or a socket"
            yield finding("unreadable", nowhere, kind)
            return
    except OSError as error:
        yield finding("unreadable", nowhere, f"can't be opened: {error.strerror}")
        return
    yield from scan_source(source, _context(limits, until))


def _context(limits: Limits, until: float) -> Context:
    return Context(limits, scan_source, scan_tree, min(until, time.monotonic() + limits.file_seconds))


def scan_source(source: Source, context: Context) -> Iterator[Finding]:
    """All formats that a source holds at once: a file may be a pickle from its first byte and a zip from its last."""
    if not source.size:
        if source.name.endswith(WEIGHTS) and not source.members:
            yield finding("malformed", source, "an empty file under the name of weights")
        return
    known = False
    for module in formats():
        try:
            fits = module.recognises(source.probe)
        except SLIPS as slip:
            known = True
            yield _stopped(slip, source, module.__name__)
            continue
        if fits:
            known = True
            yield from _careful(module.scan(source, context), source, module.__name__)
    if not known:
        yield finding(
            "unknown-format", source, f"{source.size:,} bytes of no format that is known here, beginning {source.probe.head[:8]!r}"
        )


def scan_tree(tree: Tree, archive: Source, context: Context) -> Iterator[Finding]:
    """The checks on a folder as a whole, or on an archive as one."""
    for module in folder_checks():
        yield from _careful(module.scan(tree, context), archive, module.__name__)


def _careful(findings: Iterable[Finding], source: Source, reader: str) -> Iterator[Finding]:
    """The findings of one reader; where it gives up, that is one more."""
    try:
        yield from findings
    except (LimitReached, Malformed) as stopped:
        yield finding(stopped.rule_id, source, stopped.what, offset=stopped.offset)
    except OSError as error:
        yield finding("unreadable", source, f"can't be read: {error.strerror or error}")
    except SLIPS as slip:
        yield _stopped(slip, source, reader)


def _stopped(slip: BaseException, source: Source, reader: str) -> Finding:
    what = f"the reader {reader.rsplit('.', 1)[1]} stopped ({type(slip).__name__}: {str(slip)[:120]}); the rest was not scanned"
    return finding("reader-stopped", source, what)
