"""The images of several shelves as rows of one table: read, told apart by what they hold, accounted for.

Shape letters: N images, S side in pixels.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from rootstock.core.rows import PIXELS, TEXT
from rootstock.data import pixels
from rootstock.data.images import Shelf
from rootstock.data.ledger import finding
from rootstock.data.looks import shorten

_EXAMPLES = 3


@dataclass(frozen=True)
class Gallery:
    """Images that could be read, in order of their shelves.

    pixels: uint8 [N, S, S, 3]. names, texts: file, and caption or class folder, of each. source: number of its shelf. broken: reasons.
    """

    pixels: np.ndarray
    names: tuple[str, ...]
    texts: tuple[str, ...]
    source: np.ndarray
    broken: Counter[str]
    examples: tuple[dict[str, str], ...]

    def digests(self, *, with_text: bool = False) -> np.ndarray:
        """64 bits of each image's pixels, and of its text if asked for, [N]."""
        made = bytearray()
        for picture, text in zip(self.pixels, self.texts, strict=True):
            total = blake2b(np.ascontiguousarray(picture).data, digest_size=8)
            if with_text:
                total.update(text.encode("utf-8", "surrogatepass"))
            made += total.digest()
        return np.frombuffer(bytes(made), dtype=np.uint64)

    def table(self, chosen: np.ndarray) -> pa.Table:
        """The images of these numbers, with their texts."""
        held = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(self.pixels[chosen]))
        return pa.table({PIXELS: held, TEXT: pa.array([self.texts[number] for number in chosen.tolist()], pa.string())})

    def account(self, held_N: np.ndarray, *, captioned: bool) -> dict[str, Any]:
        """The ledger's part on images, as JSON: rows, what was broken and left out with examples, repeats among what is learned from."""
        digest_N = self.digests(with_text=captioned)
        _, first_N = np.unique(digest_N, return_index=True)
        repeated_N = np.ones(len(digest_N), bool)
        repeated_N[first_N] = False
        places = np.flatnonzero(repeated_N & ~held_N)
        shown = [{"row": int(place) + 1, "in": "train", "text": self.told(int(place))} for place in places[:_EXAMPLES]]
        train, lost = int((~held_N).sum()), sum(self.broken.values())
        return {
            "rows": {"read": len(held_N) + lost, "dropped": lost, "train": train, "validation": int(held_N.sum())},
            "broken": dict(self.broken),
            "broken_examples": list(self.examples),
            "findings": {"duplicates": finding("duplicates", len(places), total=train, examples=shown)},
        }

    def told(self, place: int) -> str:
        """An image in a few words."""
        return f"{self.names[place]} {shorten(self.texts[place], 60)}".strip()


def hang(shelves: Sequence[Shelf], size: int, *, captioned: bool) -> Gallery:
    """Read all images of some shelves. captioned: whether one without a text is of no use. Raises as pixels.read does."""
    hung = [_hung(shelf, pixels.read(shelf, size), captioned=captioned) for shelf in shelves]
    return Gallery(
        pixels=np.concatenate([each.pixels for each in hung]) if len(hung) > 1 else hung[0].pixels,
        names=tuple(name for each in hung for name in each.names),
        texts=tuple(text for each in hung for text in each.texts),
        source=np.repeat(np.arange(len(hung), dtype=np.int16), [len(each.names) for each in hung]),
        broken=sum((each.broken for each in hung), Counter()),
        examples=tuple(example for each in hung for example in each.examples)[:_EXAMPLES],
    )


def _hung(shelf: Shelf, read: pixels.Pictures, *, captioned: bool) -> Gallery:
    """The images of one shelf."""
    use_N = np.array([bool(shelf.texts[place].strip()) or not captioned for place in read.places.tolist()], bool)
    places = read.places[use_N].tolist()
    silent = Counter({"without a caption": int((~use_N).sum())} if not use_N.all() else {})
    held = read.pixels if use_N.all() else read.pixels[use_N]
    names, texts = (tuple(told[place] for place in places) for told in (shelf.names, shelf.texts))
    return Gallery(held, names, texts, np.zeros(len(places), np.int16), read.broken + silent, read.examples)
