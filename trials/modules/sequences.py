"""The order in which a growing count takes an operation's units: one sequence for one position seed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from trials.modules import operations as ops
from trials.modules.sites import Site, sites, sites_of
from trials.streams import Key, permutation
from trials.trial import BackboneRef, Shape


@lru_cache(maxsize=8)
def discrete(
    family: str, shape: Shape, op: str, kinds: tuple[str, ...], position_seed: int, tokens: int = 0
) -> NDArray[np.int32]:
    """One operation's units, scattered: a seeded permutation.

    A unit's number is its place among the units of all sites of ``kinds``, in canonical order
    (block, site, slot). The array is kept between calls, and read-only.
    """
    places = [site for site in sites_of(family, shape, tokens) if site.kind in kinds]
    return _kept(permutation(int(starts(op, places)[-1]), *discrete_stream(op, position_seed)))


def discrete_stream(op: str, position_seed: int) -> tuple[Key, ...]:
    """The stream whose words order the units of :func:`discrete`: a unit of a smaller word comes first."""
    return "position", position_seed, op, "units"


@lru_cache(maxsize=8)
def adjacent(
    family: str, shape: Shape, op: str, kinds: tuple[str, ...], first: int, tokens: int = 0
) -> NDArray[np.int32]:
    """One operation's units side by side: canonical order from the first unit at or after a site, wrapping round.

    Args:
        family, shape: of the backbone.
        op: the operation.
        kinds: of its sites.
        first: index of the site; see :func:`adjacent_start`.
        tokens: room for soft tokens.
    """
    places = [site for site in sites_of(family, shape, tokens) if site.kind in kinds]
    first_units = starts(op, places)
    at = next((i for i, site in enumerate(places) if site.index >= first), 0)  # none: wrap round
    return _kept(np.roll(np.arange(int(first_units[-1])), -int(first_units[at])))


def adjacent_start(ref: BackboneRef, kinds: Collection[str], position_seed: int, tokens: int = 0) -> int:
    """Index of the site where adjacent runs begin: one for all operations of a trial.

    It is entry ``position_seed``, modulo their number, of one permutation of the sites that the operations can use, so
    that as many seeds as there are sites begin at different ones. The backbone's name keys it.

    Args:
        ref: the backbone.
        kinds: of the sites of all the trial's operations.
        position_seed: any.
        tokens: room for soft tokens.
    """
    places = [site.index for site in sites(ref, tokens) if site.kind in kinds]
    order = permutation(len(places), "position", "adjacent", ref.name)
    return places[int(order[position_seed % len(places)])]


def adjacent_start_1(ref: BackboneRef, position_seed: int) -> int:
    """:func:`adjacent_start` of spec version 1, which modules of that version need to be read: drawn by each seed anew
    from all linear sites, so that seeds coincide.
    """
    linear = [site.index for site in sites(ref) if site.kind != "norm"]
    return linear[int(permutation(len(linear), "position", position_seed, "adjacent")[0])]


def starts(op: str, places: Sequence[Site]) -> NDArray[np.int64]:
    """Number of the first unit of each site, and at the end the number of units: int64 [sites + 1]."""
    held = [ops.get(op).units(site) for site in places]
    return np.concatenate([[0], np.cumsum(held)]).astype(np.int64)


def _kept(order: NDArray[np.int64]) -> NDArray[np.int32]:
    units = order.astype(np.int32)
    units.flags.writeable = False
    return units
