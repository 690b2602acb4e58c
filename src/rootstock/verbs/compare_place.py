"""Where a comparison lies, of objectives or of methods: whose folder it is, what is settled in it, and where that is tried."""

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rootstock.core import artifact, aside, place
from rootstock.core.errors import ContractRefused, UsageError
from rootstock.corpus.place import check_apart

_NEW = ".new.part"
STATE = "state.json"
"""What a comparison is gone on by."""


def state(folder: Path) -> dict[str, Any]:
    """What was settled there."""
    return artifact.read_json(folder / STATE, wanted="the state of a comparison", fix="choose another --out")


def another(what: str, wanted: str = "the same, to go on with it") -> UsageError:
    """What is raised where a comparison that lies there is about something else."""
    return UsageError(f"the comparison was begun with another {what}", wanted=wanted, fix="choose another --out, or give --overwrite")


def check_same(state: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
    """Raises UsageError where what was settled first is not `fixed`, by its name; it says what it was where that is short."""
    for name, value in fixed.items():
        if (held := state["fixed"].get(name)) != value:
            raise another(name) if isinstance(held, Mapping) else another(name, str(held))


def check_files(files: Mapping[Path, str]) -> None:
    """Raises ContractRefused where a part of the rows, by its sha256, is not what was written."""
    for path, digest in files.items():
        if not path.is_file() or artifact.digest_file(path) != digest:
            fix = "restore it, or begin again with --overwrite"
            raise ContractRefused(f"{path} is not the file that the comparison wrote", wanted=f"sha256 {digest}", fix=fix)


def begun(
    out: Path, inputs: Iterable[str], *, own: Collection[str], ours: Callable[[Mapping[str, Any]], bool], called: str = "a comparison's"
) -> bool:
    """Whether one lies there. own: names that it may have there. ours: whether a state is one of its kind, which a person calls so.

    Raises UsageError for a file, a folder of anything else, and one that lies in what is read.
    """
    found = place.held(out, "comparison", own=(), also=True)
    check_apart(out, inputs)
    if not found:
        return False
    known = (out / STATE).is_file() and ours(state(out))
    place.held(out, "comparison", own=own if known else (), wanted=f"a new or empty folder, or {called}")
    return known


@contextmanager
def settling(out: Path, *, goes_on: bool) -> Iterator[Path]:
    """The folder to settle in: its own where it goes on, else one beside it, which takes its name when everything has proved to be good.

    What it replaces is then put aside, and goes once the new one has learned (`aside.kept`).
    """
    if goes_on:
        yield out
        return
    if not (out / STATE).is_file():
        with artifact.whole_folder(out.resolve()) as beside:
            yield beside
        return
    with artifact.whole_folder(out.resolve() / _NEW) as beside:
        yield beside
    try:
        aside.put(out, besides=(_NEW,))
        with artifact.writing(out):
            for each in sorted((out / _NEW).iterdir(), key=lambda path: path.name == STATE):  # by that it is known: it comes last
                each.rename(out / each.name)
            (out / _NEW).rmdir()
    except BaseException:
        mend(out)
        raise


def mend(out: Path) -> None:
    """Put right what a kill has left of a comparison that was to replace another; of anything else nothing is touched."""
    if (out / STATE).is_file() or aside.holds(out, STATE):
        aside.mend(out, begun=(out / STATE).is_file())
    for each in (out / _NEW, out / f".{_NEW}.part"):  # the second where a kill came while the first was written
        shutil.rmtree(each, ignore_errors=True)


@contextmanager
def rehearsing(out: Path, names: Iterable[str], *, goes_on: bool) -> Iterator[Path]:
    """A folder to settle in that is gone afterwards; with those parts of what lies there where it goes on."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "compare"
        folder.mkdir()
        for name in (STATE, *names) if goes_on else ():
            copy = shutil.copytree if (out / name).is_dir() else shutil.copy
            copy(out / name, folder / name)
        yield folder
