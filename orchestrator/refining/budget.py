"""How much a refinement may take: so many trials, or hours by the clock, of one call."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trials.errors import ApetError

FORM = "give trials=N or hours=H, as in --budget trials=40 or --budget hours=1.5"


@dataclass(frozen=True)
class Budget:
    """What may be begun.

    Args:
        trials: at most so many; None: any number.
        hours: nothing is begun later than so many hours after the start; None: at any time.
    """

    trials: int | None = None
    hours: float | None = None

    @staticmethod
    def of(text: str | None) -> Budget:
        """From ``trials=N`` or ``hours=H``; None: no limit.

        Raises:
            ApetError: it is neither, or not above 0.
        """
        if text is None:
            return Budget()
        key, _, value = text.partition("=")
        try:
            if key == "trials" and (trials := int(value)) >= 1:
                return Budget(trials=trials)
            if key == "hours" and 0 < (hours := float(value)) < math.inf:
                return Budget(hours=hours)
        except ValueError:
            pass
        raise ApetError(f"--budget {text}: {FORM}; a number above 0")
