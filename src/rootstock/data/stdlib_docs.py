"""The embedded data set: first paragraphs of the standard library's own docstrings, labelled by the area they document."""

import ast
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pyarrow as pa

from rootstock.core.errors import DataError

NAME = "stdlib-docs"
_FEWEST_WORDS = 5

AREAS = {
    "text and binary data": "string re difflib textwrap stringprep codecs struct rlcompleter gettext locale",
    "data types": "datetime zoneinfo calendar collections heapq bisect weakref types copy pprint reprlib enum graphlib "
    "numbers _pydecimal _pydatetime fractions random statistics functools operator _collections_abc",
    "files and storage": "pathlib os posixpath ntpath genericpath fileinput stat filecmp tempfile glob fnmatch linecache shutil "
    "pickle copyreg shelve dbm sqlite3 gzip bz2 lzma zipfile tarfile csv configparser tomllib netrc plistlib io _pyio",
    "command line": "argparse getopt optparse logging getpass curses platform ctypes cmd shlex",
    "concurrency": "threading multiprocessing concurrent subprocess sched queue",
    "networking": "asyncio socket ssl selectors signal",
    "internet": "email json mailbox mimetypes base64 quopri html xml webbrowser wsgiref urllib http ftplib poplib imaplib "
    "smtplib uuid socketserver xmlrpc ipaddress cgi cgitb nntplib telnetlib hashlib hmac secrets",
    "graphical interfaces": "tkinter turtle colorsys wave",
    "development tools": "pydoc doctest unittest bdb cProfile profile pstats pdb timeit trace tracemalloc ensurepip venv zipapp",
    "language and runtime": "typing warnings dataclasses contextlib abc traceback inspect site code codeop pkgutil modulefinder runpy "
    "importlib ast symtable token tokenize keyword tabnanny pyclbr py_compile compileall dis opcode pickletools sysconfig __future__",
}
"""Area to module names, after the chapters of the library reference; small chapters are joined with their neighbours."""

_SKIPPED = {"test", "tests", "idlelib", "turtledemo", "__pycache__", "_bundled", "_vendor", "site-packages"}
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def rows() -> pa.Table:
    """Columns text and label, in the order of areas, modules and lines. Nothing is imported, only parsed.

    Raises DataError where this Python comes without the sources of its library.
    """
    return _rows(tuple(AREAS.items()), sysconfig.get_path("stdlib"))


@cache
def _rows(areas: tuple[tuple[str, str], ...], library: str) -> pa.Table:
    """Kept, as parsing the library takes a second and a command may ask more than once."""
    seen: dict[str, tuple[str, str]] = {}
    for area, modules in areas:
        for module in sorted(modules.split()):
            for text in _paragraphs(Path(library), module):
                seen.setdefault(text.casefold(), (text, area))
    if not seen:
        raise DataError("this Python comes without the sources of its standard library", fix="give a data file of your own")
    texts, labels = zip(*seen.values(), strict=True)
    return pa.table({"text": pa.array(texts, pa.string()), "label": pa.array(labels, pa.string())})


def describe(table: pa.Table) -> str:
    """One remark on what the set holds."""
    version = ".".join(map(str, sys.version_info[:3]))
    return f"first paragraphs of {table.num_rows:,} docstrings of Python {version}, {len(AREAS)} areas"


def _paragraphs(library: Path, module: str) -> Iterator[str]:
    for path in _files(library, module):
        for node in _public(ast.parse(path.read_bytes())):
            text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
            if len(text.split()) >= _FEWEST_WORDS and not text.startswith(">>>"):
                yield text


def _public(node: _Documented) -> Iterator[_Documented]:
    """The node and the public classes, methods and functions in it; function bodies are not searched, which halves the time."""
    yield node
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from _public(child)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            yield child


def _files(root: Path, module: str) -> list[Path]:
    """Source files of a module or package, tests left out."""
    if (root / f"{module}.py").is_file():
        return [root / f"{module}.py"]
    below = (root / module).rglob("*.py")
    return sorted(path for path in below if not _SKIPPED.intersection(path.relative_to(root).parts))
