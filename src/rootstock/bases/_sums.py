"""Sums of table rows and products with them, without a copy of the rows: what CBOW spends its time on.

Copies of a table's rows cost ten times what adding them up costs, for memory is slower than arithmetic; embedding_bag adds them in cache.
Shape letters: V rows of a table, H width, N sums, K products of each, M summands of all sums.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_PART = 128
"""Sums whose rows are copied at once: they stay in cache."""


def sums(table_VH: Tensor, rows_M: Tensor, starts_N1: Tensor) -> Tensor:
    """Sum of table rows rows_M[starts_N1[n]:starts_N1[n + 1]] for each n, [N, H]."""
    found: Tensor = _Sums.apply(table_VH, rows_M, starts_N1)  # type: ignore[no-untyped-call]
    return found


def products(context_NH: Tensor, table_VH: Tensor, rows_NK: Tensor) -> Tensor:
    """Product of each context with table rows of its own, [N, K]."""
    found: Tensor = _Products.apply(context_NH, table_VH, rows_NK)  # type: ignore[no-untyped-call]
    return found


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table_VH: Tensor, rows_M: Tensor, starts_N1: Tensor) -> Tensor:
        ctx.save_for_backward(rows_M, starts_N1)
        ctx.size = len(table_VH)
        return F.embedding_bag(rows_M, table_VH, starts_N1, mode="sum", include_last_offset=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        rows_M, starts_N1 = ctx.saved_tensors
        of_M = torch.repeat_interleave(torch.arange(len(starts_N1) - 1, device=rows_M.device), starts_N1.diff())
        return _spread(gradients[0], of_M, rows_M, size=ctx.size), None, None


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, context_NH: Tensor, table_VH: Tensor, rows_NK: Tensor) -> Tensor:
        ctx.save_for_backward(context_NH, table_VH, rows_NK)
        made_NK = context_NH.new_empty(rows_NK.shape)
        ones_H = context_NH.new_ones(context_NH.shape[1])
        for start in range(0, len(rows_NK), _PART):
            part = slice(start, start + _PART)
            made_NK[part] = F.embedding(rows_NK[part], table_VH).mul_(context_NH[part, None]) @ ones_H
        return made_NK

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        context_NH, table_VH, rows_NK = ctx.saved_tensors
        errors_NK = gradients[0].contiguous()
        to_context = F.embedding_bag(rows_NK, table_VH, mode="sum", per_sample_weights=errors_NK)
        of_M = torch.arange(len(rows_NK), device=rows_NK.device).repeat_interleave(rows_NK.shape[1])
        return to_context, _spread(context_NH, of_M, rows_NK.flatten(), size=len(table_VH), weights_M=errors_NK.flatten()), None


def _spread(given_NH: Tensor, of_M: Tensor, rows_M: Tensor, *, size: int, weights_M: Tensor | None = None) -> Tensor:
    """Add given[of] (times its weight) to the table row that each summand came from, [V, H]: sums once more, sorted by row."""
    order_M = rows_M.argsort(stable=True)
    rows, counts = torch.unique_consecutive(rows_M[order_M], return_counts=True)
    starts = F.pad(counts.cumsum(0), (1, 0))
    weights_M = None if weights_M is None else weights_M[order_M]
    made_VH = given_NH.new_zeros(size, given_NH.shape[1])
    made_VH[rows] = F.embedding_bag(of_M[order_M], given_NH, starts, mode="sum", per_sample_weights=weights_M, include_last_offset=True)
    return made_VH
