"""``add``: Δ = w on chosen output coordinates (paper, ADD: h_out = f(h_in) + W1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from workers.modules.corrections import Layer
from workers.modules.units import Plane


class Add(Plane):
    """Every slice's own bias, in the memory of the output.

    A new tensor would cost as much again as the addition. Whoever saved the output for backward is told by autograd.
    """

    def onto(self, layer: Layer, y: Tensor, x: Tensor, f: Tensor) -> Tensor:
        """``y`` plus the bias of each slice."""
        bias_Kw = self.bound.get(layer)
        if bias_Kw is None:
            return y
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
