"""What rules said of curves whose truth is known, as shares."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import NDArray

GOAL = 0.055  # of claims that are too early, in every cell that is held to it
EXACT = {3: 0.5, 5: 0.7}  # of low in the named cell, by seeds


@dataclass(frozen=True)
class Outcome:
    """Shares of curves in which a threshold was claimed.

    Args:
        early: at a count below the true one, or where there is none.
        late: at one above it.
        exact: at the true one.
        unresolved: not at all.
        coverage: of those claimed, the share whose bracket holds the truth; None where none was claimed.
    """

    early: float
    late: float
    exact: float
    unresolved: float
    coverage: float | None

    @staticmethod
    def of(claimed: NDArray[Any], truth: int, counts: int) -> Outcome:
        """From the index of the smallest count claimed in every curve; ``counts`` stands for none."""
        made = claimed < counts
        exact = made & (claimed == truth)
        return Outcome(
            early=float((claimed < truth).mean()),
            late=float((made & (claimed > truth)).mean()),
            exact=float(exact.mean()),
            unresolved=float((~made).mean()),
            coverage=float(exact.sum() / made.sum()) if made.any() else None,
        )

    def row(self) -> dict[str, Any]:
        """Plain numbers, four digits."""
        return {name: None if value is None else round(value, 4) for name, value in asdict(self).items()}


def worst(results: list[dict[str, Any]], side: str, rule: str = "ours") -> float:
    """The largest share of early claims over the cells that are held to the goal."""
    return max((float(r[side][rule]["early"]) for r in results if r["held"] and side in r), default=float("nan"))
