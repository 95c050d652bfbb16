"""``concat``: Δ = scale · Σ (h_in · a) b, rank-1 components (paper, CONCAT; LoRA is its special case)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trials.modules.positions import OpLayout
from trials.modules.sites import Site
from workers.modules.corrections import Layer
from workers.modules.units import Rows


@dataclass(frozen=True)
class _Components:
    """The components of one slice on one layer, a component a row.

    Args:
        scale: 1 for ``apet`` at every count, α/r for ``lora``.
        sides: output sides ``b`` [r, width] and input sides ``a`` [r, d_in]; a fused layer has a pair a site.
    """

    scale: float
    sides: list[tuple[Tensor, Tensor]] = field(default_factory=list)


class Concat(Rows):
    """Rank-1 components, in the memory of the output (see ``Add``)."""

    def __init__(self, parts: Sequence[OpLayout | None], layers: Mapping[int, Layer], device: torch.device) -> None:
        super().__init__(parts, layers, device)
        self._bound: dict[Layer, dict[int, _Components]] = {}

    def clear(self) -> None:
        """Let go of what is bound."""
        super().clear()
        self._bound = {}

    def put(self, i: int, layer: Layer, site: Site, rows: Tensor, scale: float) -> None:
        """The rows' two sides; a fused layer gets zeros for its other sites: one product for all of them."""
        out, in_ = torch.split(rows, [site.d_out, site.d_in], dim=1)
        if site.index in layer.columns:
            out = out.new_zeros(len(out), layer.width).index_copy(1, layer.columns[site.index], out)
        self._bound.setdefault(layer, {}).setdefault(i, _Components(scale)).sides.append((out, in_))

    def onto(self, layer: Layer, y: Tensor, x: Tensor, f: Tensor) -> Tensor:
        """A product a slice, in plain shapes, so that it is bitwise what it is alone; a slice without any is left out.

        In the memory of ``y``.
        """
        components = self._bound.get(layer)
        if components is None:
            return y
        sides: list[Tensor] = []
        for each in components.values():
            for side in zip(*each.sides, strict=True):
                sides.append((side[0] if len(side) == 1 else torch.cat(side)).to(x.dtype))
        scales = {i: each.scale for i, each in components.items()}
        corrected: Tensor = _Onto.apply(y, x, self.k, scales, *sides)  # type: ignore[no-untyped-call]  # torch's own
        return corrected


class _Onto(torch.autograd.Function):
    """One node for all slices: taking a tensor apart and together again would copy it, forward and backward.

    Shapes: n positions of a slice, r components, w width of the output, i of the input.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, k: int, scales: Mapping[int, float], *sides: Tensor) -> Tensor:
        out = y.detach()
        y_Knw, x_Kni = out.view(k, -1, out.shape[-1]), x.reshape(k, -1, x.shape[-1])
        components = [x_Kni[i] @ in_ri.T for i, in_ri in zip(scales, sides[1::2], strict=True)]
        for (i, scale), c_nr, out_rw in zip(scales.items(), components, sides[::2], strict=True):
            y_Knw[i].addmm_(c_nr, out_rw, alpha=scale)
        ctx.k, ctx.scales = k, scales
        ctx.save_for_backward(x, *components, *sides)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        m = len(ctx.scales)
        gradient = gradient.contiguous()
        g_Knw, x_Kni = (t.reshape(ctx.k, -1, t.shape[-1]) for t in (gradient, x))
        gx_Kni = None
        if ctx.needs_input_grad[1]:
            gx_Kni = torch.empty_like(x_Kni) if m == ctx.k else torch.zeros_like(x_Kni)
        sides: list[Tensor] = []
        for (i, scale), c_nr, out_rw, in_ri in zip(
            ctx.scales.items(), saved[:m], saved[m::2], saved[m + 1 :: 2], strict=True
        ):
            gc_nr = (g_Knw[i] @ out_rw.T) * scale
            sides += [(c_nr.T @ g_Knw[i]) * scale, gc_nr.T @ x_Kni[i]]
            if gx_Kni is not None:
                torch.mm(gc_nr, in_ri, out=gx_Kni[i])
        return gradient, None if gx_Kni is None else gx_Kni.view_as(x), None, None, *sides
