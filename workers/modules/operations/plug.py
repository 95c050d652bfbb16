"""``plug``: Δ = GELU(f · u + c) v, bottleneck units on the frozen output f (paper, eq. 6; as in Adapter)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import gelu

from trials.modules.positions import OpLayout
from trials.modules.sites import Site
from workers.modules import padded
from workers.modules.corrections import Layer, slices
from workers.modules.units import Rows


class Plug(Rows):
    """Bottleneck units, which read the frozen output and give a new tensor."""

    reads_output = True

    def __init__(self, parts: Sequence[OpLayout | None], layers: Mapping[int, Layer], device: torch.device) -> None:
        super().__init__(parts, layers, device)
        self._bound: dict[Layer, dict[int, Tensor]] = {}  # [m, d + 1 + d] by slice

    def clear(self) -> None:
        """Let go of what is bound."""
        super().clear()
        self._bound = {}

    def put(self, i: int, layer: Layer, site: Site, rows: Tensor, scale: float) -> None:
        """A bottleneck unit a row: ``v``, the bias ``c``, then ``u``."""
        assert scale == 1, "bottlenecks have no scale"
        self._bound.setdefault(layer, {})[i] = rows

    def onto(self, layer: Layer, y: Tensor, x: Tensor, f: Tensor) -> Tensor:
        """Slice by slice; one without units stays as it is."""
        units = self._bound.get(layer)
        if units is None:
            return y
        if padded.pays(self.k, y.device):
            return _onto_all(y, f, padded.padded(units, self.k))
        f_K = slices(f, self.k)
        y_K = f_K if y is f else slices(y, self.k)
        pairs = enumerate(zip(y_K, f_K, strict=True))
        corrected = [_onto(y_bsd, f_bsd, units[i]) if i in units else y_bsd for i, (y_bsd, f_bsd) in pairs]
        return torch.cat(corrected) if self.k > 1 else corrected[0]


def _onto_all(y: Tensor, f: Tensor, rows_Kmr: Tensor) -> Tensor:
    """All slices, by one batch of products: units of zeros add nothing."""
    k, d = len(rows_Kmr), f.shape[-1]
    v_Kmd, c_Km1, u_Kmd = torch.split(rows_Kmr.to(f.dtype), [d, 1, d], dim=2)
    units_Knm = gelu(torch.baddbmm(c_Km1.mT, f.view(k, -1, d), u_Kmd.mT))
    return torch.baddbmm(y.view(k, -1, d), units_Knm, v_Kmd).view_as(y)


def _onto(y_bsd: Tensor, f_bsd: Tensor, rows: Tensor) -> Tensor:
    """One slice, by plain products, so that it is bitwise what it is alone."""
    d = f_bsd.shape[-1]
    v_md, c_m1, u_md = torch.split(rows.to(f_bsd.dtype), [d, 1, d], dim=1)
    units_nm = gelu(torch.addmm(c_m1.flatten(), f_bsd.flatten(0, -2), u_md.T))
    return torch.addmm(y_bsd.flatten(0, -2), units_nm, v_md).view_as(y_bsd)
