"""A product a slice, or one padded product for all slices: which, and the padding.

A product a slice gives each trial the bits that it has alone, and a CPU gains nothing by fewer, larger ones. On a GPU
the number of kernels counts: there K slices of unequal units become one batch of products, with zeros where a slice
has fewer units than another.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

FROM = 2  # slices; to be measured on a GPU by ``benchmarks/modules.py --corrections``, for each kind of GPU that we use


def pays(k: int, device: torch.device) -> bool:
    """Whether one padded product is taken to be faster than a product for each of ``k`` slices."""
    return device.type == "cuda" and k >= FROM


def padded(rows: Mapping[int, Tensor], k: int) -> Tensor:
    """The rows of each slice, [≤ r, w] by slice, as [K, r, w]: zeros where there are none."""
    none = next(iter(rows.values()))[:0]
    found = [rows.get(i, none) for i in range(k)]
    alike = len({len(x) for x in found}) == 1
    return torch.stack(found) if alike else pad_sequence(found, batch_first=True)
