"""``concat``: Δ = scale · Σ (h_in · a) b, rank-1 components (paper, CONCAT; LoRA is its special case)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def onto(y_bsw: Tensor, x_bsi: Tensor, components: Sequence[tuple[Tensor, Tensor]], scale: float) -> Tensor:
    """A layer's output and the correction of one slice, in one product.

    Args:
        y_bsw: [b, s, width] the layer's output.
        x_bsi: [b, s, d_in] the layer's input.
        components: output sides ``b`` [r, width] and input sides ``a`` [r, d_in], a component a row.
        scale: 1 for ``apet`` at every count, α/r for ``lora``.

    Returns:
        [b, s, width]
    """
    out_rw, in_ri = (sides[0] if len(sides) == 1 else torch.cat(sides) for sides in zip(*components, strict=True))
    component_nr = x_bsi.flatten(0, -2) @ in_ri.to(x_bsi.dtype).T
    y_nw = torch.addmm(y_bsw.flatten(0, -2), component_nr, out_rw.to(x_bsi.dtype), alpha=scale)
    return y_nw.view_as(y_bsw)
