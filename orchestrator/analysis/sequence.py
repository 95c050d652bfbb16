"""A threshold as the fixed sequence of tests gives it: a bracket of tested counts, or nothing and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.analysis.contrast import down


@dataclass(frozen=True)
class Threshold:
    """A bracket: ``lower`` is the largest count not shown above, ``upper`` the smallest shown above.

    ``lower`` is 0 where every count is above (below the grid). Both are None where nothing could be shown; then
    ``reason`` says why and what would resolve it. ``p_upper`` and ``p_lower`` are the one-sided p-values of the two
    counts, None where there was no test.
    """

    lower: int | None = None
    upper: int | None = None
    p_lower: float | None = None
    p_upper: float | None = None
    reason: str = ""

    @property
    def state(self) -> str:
        """``bracket``, ``below the grid`` or ``unresolved``."""
        if self.upper is None:
            return "unresolved"
        return "bracket" if self.lower else "below the grid"

    def __str__(self) -> str:
        if self.upper is None:
            return "unresolved"
        return f"({self.lower}, {self.upper}]" + ("" if self.lower else " below the grid")


def bracket(counts: Sequence[int], p: Sequence[float], alpha: float) -> Threshold:
    """Test from the largest count down and stop at the first that isn't rejected.

    Args:
        counts: ascending.
        p: one-sided p-value of each.
        alpha: level of each test.
    """
    unshown = int(down(np.asarray(p, float), alpha))
    shown = unshown < len(counts)
    return Threshold(
        lower=(counts[unshown - 1] if unshown else 0) if shown else None,
        upper=counts[unshown] if shown else None,
        p_lower=float(p[unshown - 1]) if unshown else None,
        p_upper=float(p[unshown]) if shown else None,
    )
