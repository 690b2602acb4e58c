"""Training rows without those that a list of the user's names. Validation rows stay: without those that a model doubts, figures flatter."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from rootstock.core.artifact import digest_file
from rootstock.core.errors import DataError
from rootstock.core.watch import Say
from rootstock.data import exclude


class Left(NamedTuple):
    """train: the rows that are left. excluded: how many are not. source: of the list, for the manifest."""

    train: pa.Table
    excluded: int
    source: dict[str, Any]


def left(
    listed: exclude.Listed, train: pa.Table, *, validation: pa.Table | None, file: str, elsewhere: Collection[int] | None, say: Say
) -> Left:
    """What a list leaves of the training rows. validation: the rows that the same file holds beside them. elsewhere: as `exclude.check`.

    DataError where the list is of another file, or leaves nothing.
    """
    exclude.check(listed, train if validation is None else pa.concat_tables([train, validation]), file, elsewhere=elsewhere)
    kept = exclude.without(train, listed)
    count = len(train) - len(kept)
    stay = 0 if validation is None else len(validation) - len(exclude.without(validation, listed))
    say(f"exclude   {count:,} training rows are left out, as {listed.name} asks" + (f"; {stay:,} of it validate, and stay" if stay else ""))
    if not len(kept):
        raise DataError(f"{listed.name} lists every training row", wanted="rows to learn from", fix="shorten the list")
    return Left(kept, count, {"name": listed.name, "format": "csv", "sha256": digest_file(Path(listed.name))})
