"""What frozen blocks give for every token of some rows, beside the batches: the blocks above go on from there.

Shape letters: B rows in a batch, T tokens in a row, H hidden size, M tokens of all rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rootstock.core.layers import GIVEN
from rootstock.core.rows import Ragged
from rootstock.core.task import Batch


@dataclass(frozen=True, eq=False)
class States:
    """Hidden states of some rows. held: [M, H] by the depth that they come from. tokens: the rows. depth: how many blocks are frozen."""

    held: Mapping[int, np.ndarray]
    tokens: Ragged
    depth: Callable[[], int]

    def beside(self, batch: Batch, rows: np.ndarray) -> Batch:
        """The batch with the states of the deepest kept block that is still frozen; as it is where there is none."""
        deepest = max((depth for depth in self.held if depth <= self.depth()), default=0)
        return {**batch, f"{GIVEN}{deepest}": self._padded(self.held[deepest], rows)} if deepest else batch

    def _padded(self, array_MH: np.ndarray, rows: np.ndarray) -> Tensor:
        """[B, T, H] with zeros behind a row's own tokens, where nobody looks."""
        at_BT, inside_BT = places(self.tokens, rows)
        found_BTH = array_MH[at_BT]
        found_BTH[~inside_BT] = 0
        states_BTH = torch.from_numpy(found_BTH)
        return states_BTH.view(torch.bfloat16) if found_BTH.dtype == np.uint16 else states_BTH


def places(tokens: Ragged, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the tokens of padded rows lie in the flat array, and which are the rows' own: both [B, T]."""
    lengths = tokens.lengths[rows]
    columns_T = np.arange(lengths.max(initial=0))
    inside_BT = columns_T < lengths[:, None]
    return np.where(inside_BT, tokens.offsets[rows][:, None] + columns_T, 0), inside_BT


def filled(array_MH: np.ndarray, tokens: Ragged, rows: np.ndarray, states_BTH: Tensor) -> None:
    """Put the states of padded rows where they belong."""
    at_BT, inside_BT = places(tokens, rows)
    found_BTH = states_BTH.detach().cpu().contiguous()
    plain = found_BTH.view(torch.int16).numpy().view(np.uint16) if found_BTH.dtype == torch.bfloat16 else found_BTH.numpy()
    array_MH[at_BT[inside_BT]] = plain[inside_BT]
