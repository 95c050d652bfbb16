"""``scale``: Δ = f · w on chosen output coordinates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from workers.modules.corrections import Layer
from workers.modules.units import Plane


class Scale(Plane):
    """Every slice's own factors."""

    reads_output = True

    def onto(self, layer: Layer, y: Tensor, x: Tensor, f: Tensor) -> Tensor:
        """``y`` plus the frozen output times each slice's factors."""
        factors_Kw = self.bound.get(layer)
        if factors_Kw is None:
            return y
        k = len(factors_Kw)
        shape_Knw = (k, -1, y.shape[-1])
        correction: Tensor = _Product.apply(f.reshape(shape_Knw), factors_Kw.to(f.dtype))  # type: ignore[no-untyped-call]
        return y + correction.view_as(y)


class _Product(torch.autograd.Function):
    """Its gradients lie in memory alike in a pack and alone: so do the sums over positions."""

    @staticmethod
    def forward(ctx: Any, f_Knw: Tensor, factors_Kw: Tensor) -> Tensor:
        ctx.save_for_backward(f_Knw, factors_Kw)
        return f_Knw * factors_Kw[:, None]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        f_Knw, factors_Kw = ctx.saved_tensors
        gradient = gradient.contiguous()
        return gradient * factors_Kw[:, None], (gradient * f_Knw).sum(1)
