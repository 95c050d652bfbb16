"""``concat``: Δ = scale · Σ (h_in · a) b, rank-1 components (paper, CONCAT; LoRA is its special case)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trials.modules.positions import OpLayout
from trials.modules.sites import Site
from workers.modules import padded
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

    @property
    def joined(self) -> list[Tensor]:
        """Output sides and input sides, of all sites."""
        return [side[0] if len(side) == 1 else torch.cat(side) for side in zip(*self.sides, strict=True)]


class Concat(Rows):
    """Rank-1 components, in the memory of the output (see ``Add``)."""

    def __init__(self, parts: Sequence[OpLayout | None], layers: Mapping[int, Layer], device: torch.device) -> None:
        super().__init__(parts, layers, device)
        self._bound: dict[Layer, dict[int, _Components]] = {}
        self._scales = [torch.tensor(1.0 if part is None else part.scale, device=device) for part in parts]

    def bind(self, active: Sequence[int], pieces_K: Sequence[Sequence[Tensor]]) -> None:
        """Site by site, and the slices' scales where one product is for all."""
        super().bind(active, pieces_K)
        if padded.pays(self.k, self._scales[0].device):
            self._scale_K11 = torch.stack([self._scales[trial] for trial in active]).view(-1, 1, 1)

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

        Or one padded product for all. Both in the memory of ``y``.
        """
        components = self._bound.get(layer)
        if components is None:
            return y
        sides = {i: each.joined for i, each in components.items()}
        corrected: Tensor
        if padded.pays(self.k, y.device):
            both = (padded.padded({i: pair[n] for i, pair in sides.items()}, self.k).to(x.dtype) for n in (0, 1))
            scale_K11 = self._scale_K11.to(x.dtype)
            corrected = _OntoAll.apply(y, x, scale_K11, *both)  # type: ignore[no-untyped-call]  # torch's own
        else:
            scales = {i: each.scale for i, each in components.items()}
            flat = [side.to(x.dtype) for pair in sides.values() for side in pair]
            corrected = _Onto.apply(y, x, self.k, scales, *flat)  # type: ignore[no-untyped-call]  # torch's own
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


class _OntoAll(torch.autograd.Function):
    """The same by one batch of products; K slices, and as many components in each: those of zeros add nothing."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, scale_K11: Tensor, out_Krw: Tensor, in_Kri: Tensor) -> Tensor:
        out, k = y.detach(), len(out_Krw)
        c_Knr = torch.bmm(x.reshape(k, -1, x.shape[-1]), in_Kri.mT) * scale_K11
        out.view(k, -1, out.shape[-1]).baddbmm_(c_Knr, out_Krw)
        ctx.save_for_backward(x, c_Knr, scale_K11, out_Krw, in_Kri)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, c_Knr, scale_K11, out_Krw, in_Kri = ctx.saved_tensors
        gradient = gradient.contiguous()
        g_Knw, x_Kni = (t.reshape(len(c_Knr), -1, t.shape[-1]) for t in (gradient, x))
        gc_Knr = torch.bmm(g_Knw, out_Krw.mT) * scale_K11
        gx = torch.bmm(gc_Knr, in_Kri).view_as(x) if ctx.needs_input_grad[1] else None
        return gradient, gx, None, torch.bmm(c_Knr.mT, g_Knw), torch.bmm(gc_Knr.mT, x_Kni)
