"""A checkpoint of one file, opened for its tensors; what is wrong with it as an error about it."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rootstock.core.errors import DataError
from rootstock.sentinel.context import Context
from rootstock.sentinel.convert import checkpoint
from rootstock.sentinel.findings import LimitReached, Malformed
from rootstock.sentinel.limits import Limits
from rootstock.sentinel.source import of_file


def content(path: Path) -> checkpoint.Content:
    """The tensors of torch's, numpy's and joblib's files. Raises DataError for what is none."""
    context = Context(Limits(), lambda source, context: iter(()), lambda tree, source, context: iter(()), math.inf)
    with told(path):
        return checkpoint.read(of_file(path), context)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """What is wrong with a file, as DataError."""
    try:
        yield
    except (Malformed, LimitReached) as error:
        where = "" if error.offset is None else f" (byte {error.offset:,})"
        wanted = "a checkpoint of torch, numpy, joblib or TensorFlow"
        raise DataError(f"{path} can't be converted: {error.what}{where}", wanted=wanted) from error
