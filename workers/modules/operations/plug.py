"""``plug``: Δ = GELU(f · u + c) v, bottleneck units on the frozen output f (paper, eq. 6; as in Adapter)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import gelu


def onto(f_bsd: Tensor, rows: Tensor) -> Tensor:
    """A layer's output and the correction of one slice, by plain products, so that it is bitwise what it is alone.

    Args:
        f_bsd: [b, s, d] the frozen output of the layer, without any other correction.
        rows: [m, d + 1 + d], a bottleneck unit a row: ``v``, the bias ``c``, then ``u``.

    Returns:
        [b, s, d]
    """
    d = f_bsd.shape[-1]
    v_md, c_m1, u_md = torch.split(rows.to(f_bsd.dtype), [d, 1, d], dim=1)
    f_nd = f_bsd.flatten(0, -2)
    units_nm = gelu(torch.addmm(c_m1.flatten(), f_nd, u_md.T))
    return torch.addmm(f_nd, units_nm, v_md).view_as(f_bsd)
