"""Scores of rows in a few bytes, as a row of the store has them: a bit a row where all are 0 or 1, else float16."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack_scores(scores: Sequence[float] | NDArray[Any]) -> bytes:
    """Scores of rows as bytes.

    Args:
        scores: [rows] in [0, 1], in the split's fixed order.

    Returns:
        where all are 0 or 1 ``numpy.packbits`` (big-endian bits), else little-endian float16, which rounds to 11 bits.
        The number of bytes tells which: no number of rows needs as many either way.
    """
    values = np.asarray(scores, np.float64)
    assert values.ndim == 1, f"scores of rows, and not {values.shape}"
    assert bool(np.all((values >= 0) & (values <= 1))), "a score is a fraction in [0, 1]"
    if bool(np.all((values == 0) | (values == 1))):
        return np.packbits(values.astype(bool)).tobytes()
    return values.astype("<f2").tobytes()


def unpack_scores(data: bytes, rows: int) -> NDArray[np.float64]:
    """The inverse of :func:`pack_scores`, [rows]; float16's rounding stays.

    Args:
        data: as packed.
        rows: how many there are, a row's ``test_rows``.

    Raises:
        ValueError: the bytes aren't of so many rows.
    """
    if len(data) == -(-rows // 8):
        return np.unpackbits(np.frombuffer(data, np.uint8), count=rows).astype(np.float64)
    if len(data) == 2 * rows:
        return np.frombuffer(data, "<f2").astype(np.float64)
    raise ValueError(f"{len(data)} bytes are no scores of {rows} rows: {-(-rows // 8)} as bits, {2 * rows} as float16")
