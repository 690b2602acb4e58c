"""Image files to pixels: all of one size, and a count with examples of the files that could not be read.

Shape letters: N images, S side in pixels, 3 colours.
"""

import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import Any

import numpy as np

from rootstock.core.errors import DataError
from rootstock.core.modules import needed
from rootstock.core.resources import total_memory, usable_cores
from rootstock.data.images import Shelf

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""The others of Pillow are rare, and some of them call another program."""
_AT_ONCE = 256
_EXAMPLES = 3
_SHARE = 0.4
"""Of the memory that pixels may take: while both sides are made of them they are there twice, and the cache copies nothing."""


@dataclass(frozen=True)
class Pictures:
    """pixels: uint8 [N, S, S, 3]. places: the number of each on its shelf, [N]. broken: reasons. examples: some files that were broken."""

    pixels: np.ndarray
    places: np.ndarray
    broken: Counter[str]
    examples: tuple[dict[str, str], ...]


def read(shelf: Shelf, size: int) -> Pictures:
    """All images of a shelf: turned upright, the middle square, resized (bicubic), in RGB.

    Raises DataError where they would not fit in memory, UsageError where Pillow is not installed.
    """
    count = len(shelf.names)
    if count * size * size * 3 > _SHARE * total_memory():
        raise DataError(
            f"{shelf.place}: {count:,} images of {size} x {size} pixels take {count * size * size * 3 / 1e9:.1f} GB",
            wanted=f"at most {_SHARE:.0%} of the memory",
            fix="use fewer of them with --set data.rows=…, or a base for smaller images",
        )
    needed("PIL", "reading images", extra="vision")
    pixels = np.empty((count, size, size, 3), np.uint8)
    whole, reasons = np.zeros(count, bool), {}
    with ThreadPoolExecutor(usable_cores()) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a file's metadata lacks is no matter
        for some in _some(shelf.contents()):
            for (number, _), found in zip(some, pool.map(lambda each: _decoded(each[1], size), some), strict=True):
                if isinstance(found, str):
                    reasons[number] = found
                else:
                    pixels[number], whole[number] = found, True
    examples = tuple({"file": shelf.names[number], "reason": reasons[number]} for number in sorted(reasons)[:_EXAMPLES])
    return Pictures(pixels if whole.all() else pixels[whole], np.flatnonzero(whole), Counter(reasons.values()), examples)


def _some(contents: Iterator[tuple[int, bytes | str]]) -> Iterator[list[tuple[int, bytes | str]]]:
    """Files in parts, so that few of them are in memory at once."""
    while part := list(islice(contents, _AT_ONCE)):
        yield part


def _decoded(data: bytes | str, size: int) -> np.ndarray | str:
    """Pixels of one file, or why there are none."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if isinstance(data, str):
        return data
    if not data:
        return "empty"
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            image.draft("RGB", (2 * size, 2 * size))  # a JPEG can be unpacked at half its size and less
            return _square(ImageOps.exif_transpose(image).convert("RGB"), size)
    except UnidentifiedImageError:
        return "no image"
    except Image.DecompressionBombError:
        return "too large"
    except (OSError, SyntaxError, ValueError, IndexError, EOFError):  # what Pillow's readers raise on damaged bytes
        return "damaged"


def _square(image: Any, size: int) -> np.ndarray:
    """The shorter side becomes `size`, then the middle is cut out: as CLIPImageProcessor does it."""
    from PIL import Image

    wide, high = image.size
    if (wide, high) != (size, size):
        short = min(wide, high)
        scaled = (size, int(size * high / short)) if wide <= high else (int(size * wide / short), size)
        left, top = (scaled[0] - size) // 2, (scaled[1] - size) // 2
        image = image.resize(scaled, Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    return np.asarray(image)
