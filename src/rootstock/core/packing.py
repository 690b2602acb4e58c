"""Several rows one after the other in a line, where a batch is lines and not rows.

Shape letters: N rows.
"""

from bisect import bisect_left, insort

import numpy as np


def lines(lengths: np.ndarray, most: int) -> list[np.ndarray]:
    """Places of consecutive rows, a line each of at most `most` tokens (one row at least): as few lines as keep the order. lengths: [N]."""
    found, start, filled = list[np.ndarray](), 0, 0
    for place, length in enumerate(lengths.tolist()):
        if place > start and filled + length > most:
            found.append(np.arange(start, place))
            start, filled = place, 0
        filled += length
    return [*found, np.arange(start, len(lengths))] if len(lengths) else []


def best_fit(lengths: np.ndarray, most: int) -> list[np.ndarray]:
    """Places of rows, a line each: the longest row first, each into the fullest line that has room for it (best fit decreasing).

    At most a ninth more lines than the fewest possible (Johnson 1974, https://doi.org/10.1137/0203025, the bound being 11/9).
    """
    found, rooms = list[list[int]](), list[tuple[int, int]]()
    for place in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[place])
        at = bisect_left(rooms, (length, -1))
        if at < len(rooms):
            room, line = rooms.pop(at)
        else:
            room, line = most, len(found)
            found.append([])
        found[line].append(place)
        insort(rooms, (room - length, line))
    return [np.array(each) for each in found]
