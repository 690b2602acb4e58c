"""What an objective learns from and is measured on, with the account of it: as it is kept between runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rootstock.core.rows import Encoded

_ACCOUNT = "account"


@dataclass(frozen=True)
class Sides:
    """Both sides encoded, with the number of each row's corpus (dense "source"), and the account of them.

    held: where rows are pieces of texts, with the number of each one's text (dense PART): a document, or of a long one a part.
    """

    train: Encoded
    held: Encoded
    account: dict[str, Any]

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it as named flat arrays."""
        sides = {"train": self.train, "held": self.held}
        arrays = {f"{side}:{name}": array for side, encoded in sides.items() for name, array in encoded.arrays().items()}
        return arrays | {_ACCOUNT: np.frombuffer(json.dumps(self.account).encode(), np.uint8)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Sides":
        """What `arrays` gave, again."""
        train, held = (
            Encoded.of_arrays({name.removeprefix(f"{side}:"): array for name, array in arrays.items() if name.startswith(f"{side}:")})
            for side in ("train", "held")
        )
        return cls(train, held, json.loads(arrays[_ACCOUNT].tobytes()))
