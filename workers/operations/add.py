"""``add``: Δ = w on chosen output coordinates (paper, ADD: h_out = f(h_in) + W1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def plane(values_K: Sequence[Tensor], rows: Tensor, columns: Tensor, width: int) -> Tensor:
    """All slices' weights in one plane, by one ``index_put`` (a scatter a site costs three times as much).

    Args:
        values_K: per slice the trained scalars, concatenated they are as long as ``rows``.
        rows, columns: [n] slice and column of every scalar.
        width: columns of the plane, the output widths of all touched layers together.

    Returns:
        [K, width], zero where nothing is placed; differentiable in ``values_K``.
    """
    values = torch.cat(list(values_K))
    empty = torch.zeros(len(values_K), width, dtype=values.dtype, device=values.device)
    return empty.index_put((rows, columns), values)
