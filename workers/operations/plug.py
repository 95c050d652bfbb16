"""``plug``: Δ = GELU(f · u + c) v, bottleneck units on the frozen output f (paper, eq. 6; as in Adapter)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import gelu


def delta(f_bsd: Tensor, rows: Tensor) -> Tensor:
    """The correction of one slice at one place.

    Args:
        f_bsd: [b, s, d] the frozen output of the layer, without any other correction.
        rows: [m, d + 1 + d], a bottleneck unit a row: ``v``, the bias ``c``, then ``u``.

    Returns:
        [b, s, d]
    """
    d = f_bsd.shape[-1]
    rows = rows.to(f_bsd.dtype)
    v_md, c_m, u_md = rows[:, :d], rows[:, d], rows[:, d + 1 :]
    return gelu(f_bsd @ u_md.T + c_m) @ v_md
