"""How long packs wait for a type of node that can't be had, before they are asked for elsewhere."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

LIMIT_S = 900.0  # a node of a cloud is up, with all that it installs, in five to ten minutes


@dataclass
class Patience:
    """Looks at the types of node that packs wait for; a type of which any pack runs can be had.

    Args:
        limit_s: seconds of waiting, with nothing running there, until a type counts as sold out.
    """

    limit_s: float = LIMIT_S
    _since: dict[str, float] = field(default_factory=dict)

    def lost(self, waiting: Set[str], running: Set[str], now: float) -> set[str]:
        """Types that were waited for long enough; they are waited for anew from now on.

        Args:
            waiting, running: types of the packs that do.
            now: clock, in seconds.
        """
        self._since = {name: self._since.get(name, now) for name in waiting - running}
        over = {name for name, since in self._since.items() if now - since >= self.limit_s}
        for name in over:
            del self._since[name]
        return over
