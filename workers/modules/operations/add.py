"""``add``: Δ = w on chosen output coordinates (paper, ADD: h_out = f(h_in) + W1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def onto(y: Tensor, bias_Kw: Tensor) -> Tensor:
    """``y`` [K·b, s, width] plus every slice's own bias, in the memory of ``y``.

    A new tensor would cost as much again as the addition. Whoever saved ``y`` for backward is told by autograd.
    """
    shifted: Tensor = _Onto.apply(y, bias_Kw.to(y.dtype))  # type: ignore[no-untyped-call]  # torch's own signature
    return shifted


class _Onto(torch.autograd.Function):
    """In place, but on no view: torch's own ``add_`` on a layer's output, which is a view, copies its gradient."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, bias_Kw: Tensor) -> Tensor:
        ctx.k = len(bias_Kw)
        out = y.detach()
        out.view(ctx.k, -1, y.shape[-1]).add_(bias_Kw[:, None])
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        gradient = gradient.contiguous()  # attention's isn't, and the sum and the layer below would each copy it
        return gradient, gradient.view(ctx.k, -1, gradient.shape[-1]).sum(1)
