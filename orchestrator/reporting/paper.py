"""The numbers that the study prints, for a table beside ours: Su et al., EMNLP 2023, arXiv 2306.02320.

Its counts are in :mod:`orchestrator.authors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

SOURCE = "Su et al. 2023"


@dataclass(frozen=True)
class Reported:
    """One number, or a range of them, as printed.

    Args:
        lower: the number; of a range the first.
        upper: of a range the second, which may be the smaller one; None of a number.
        where: in the paper.
    """

    lower: float
    upper: float | None
    where: str


SD_OVER_METHODS: Mapping[str, Reported] = MappingProxyType(
    {
        name: Reported(points, None, "Figure 2")
        for name, points in {
            **{"bert-small": 5.08, "bert-base": 3.63, "bert-large": 2.65},
            **{"bloom-560m": 3.46, "bloom-7b1": 2.50, "t5-small": 2.75, "t5-xxl": 1.72},
        }.items()
    }
)
"""Standard deviation of the mean scores over tasks between the four methods, in points of 100, by backbone."""

LOW: Mapping[str, Reported] = MappingProxyType(
    {
        name: Reported(*ends, "section 5")
        for name, ends in {
            **{"bert-small": (4.0e2, 1.6e3), "bert-large": (8.0e2, 3.2e3)},
            **{"bloom-560m": (8.2e3, 4.1e3), "bloom-7b1": (8.2e3, 4.1e4)},
            **{"t5-small": (8.0e2, 7.9e3), "t5-xxl": (7.9e3, 8.5e3)},
        }.items()
    }
)
"""Ranges of the low threshold over tasks, by backbone; BLOOM 560M's ends are printed in this order."""
