"""``concat``: Δ = scale · Σ (h_in · a) b, rank-1 components (paper, CONCAT; LoRA is its special case)."""

from __future__ import annotations

from torch import Tensor


def delta(x_bsi: Tensor, rows: Tensor, d_out: int, scale: float) -> Tensor:
    """The correction of one slice at one site.

    Args:
        x_bsi: [b, s, d_in] the layer's input.
        rows: [r, d_out + d_in], a component a row: output side ``b``, then input side ``a``.
        d_out: width of the site's output.
        scale: 1 for ``apet`` at every count, α/r for ``lora``.

    Returns:
        [b, s, d_out]
    """
    out_ro, in_ri = rows[:, :d_out].to(x_bsi.dtype), rows[:, d_out:].to(x_bsi.dtype)
    component_bsr = x_bsi @ in_ri.T
    if scale != 1.0:
        component_bsr = component_bsr * scale
    return component_bsr @ out_ro
