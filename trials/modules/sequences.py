"""The order in which a growing count takes an operation's units: one sequence for one position seed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from trials.modules import operations as ops
from trials.modules.sites import Site, sites_of
from trials.streams import permutation
from trials.trial import Shape


@lru_cache(maxsize=8)
def sequence(
    family: str, shape: Shape, op: str, kinds: tuple[str, ...], placement: str, position_seed: int, tokens: int = 0
) -> NDArray[np.int32]:
    """One operation's units in the order in which a growing count takes them.

    A unit's number is its place among the units of all sites of ``kinds``, in canonical order
    (block, site, slot). The array is kept between calls, and read-only.
    """
    places = [site for site in sites_of(family, shape, tokens) if site.kind in kinds]
    first_units = starts(op, places)
    n = int(first_units[-1])
    if placement == "discrete":
        order = permutation(n, "position", position_seed, op, "units")
    else:
        first = _adjacent_start(family, shape, position_seed)
        at = next((i for i, site in enumerate(places) if site.index >= first), 0)  # none: wrap round
        order = np.roll(np.arange(n), -int(first_units[at]))
    units = order.astype(np.int32)
    units.flags.writeable = False
    return units


def _adjacent_start(family: str, shape: Shape, position_seed: int) -> int:
    """Index of the linear site where adjacent runs begin: one for all operations, whichever there are."""
    linear = [site.index for site in sites_of(family, shape) if site.kind != "norm"]
    return linear[int(permutation(len(linear), "position", position_seed, "adjacent")[0])]


def starts(op: str, places: Sequence[Site]) -> NDArray[np.int64]:
    """Number of the first unit of each site, and at the end the number of units: int64 [sites + 1]."""
    held = [ops.get(op).units(site) for site in places]
    return np.concatenate([[0], np.cumsum(held)]).astype(np.int64)
