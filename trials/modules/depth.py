"""How deep a trial reaches into its backbone: below the lowest block that it touches, it is the frozen backbone.

Exact and cheap, for whoever must know of thousands of trials: nothing is placed. Methods of fixed places and adjacent
units are arithmetic on shapes; of discrete ones, only those are looked at that come before the first in the lowest
block, some as many as there are blocks.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from trials.modules import counts, methods
from trials.modules.positions import adjacent_first, dealt
from trials.modules.sequences import discrete_stream, starts
from trials.modules.sites import Site, sites_of
from trials.streams import words
from trials.trial import BackboneRef, Method, Shape, Trial


def blocks_of(shape: Shape) -> int:
    """Transformer blocks of a backbone, T5's decoder's too."""
    return shape.blocks + shape.decoder_blocks


def lowest_block(trial: Trial) -> int:
    """The lowest block that a trial touches, from shapes and seeds alone.

    Returns:
        its number from the input to the output, T5's decoder's blocks after its encoder's; 0 where the embeddings are
        touched (soft tokens, their norm, ``full``), and the number of blocks where only what comes after them is.

    Raises:
        ApetError: as :func:`trials.modules.positions.layout`.
    """
    ref, method = trial.backbone, trial.method
    if method.name == "full":
        return 0
    if method.name != "apet":
        return _fixed(method, ref)
    given, kinds = dealt(method, ref)
    every = {kind for some in kinds.values() for kind in some}
    first = adjacent_first(trial, every) if method.placement == "adjacent" else None
    found = []
    for op, count in given.items():
        where = ref.family, ref.shape, op, kinds[op]
        if not count:
            continue
        if first is not None:
            found.append(_run(*where, first, method.tokens or 0).lowest(count))
        else:
            found.append(_descent(*where, trial.position_seed or 0, method.tokens or 0).lowest(count))
    return min(found)


def block_number(site: Site, shape: Shape) -> int:
    """The block of a site as :func:`lowest_block` numbers them.

    What stands before a stack counts as its first block, and a final norm as the block after its stack's last: T5's
    encoder's is the decoder's first.
    """
    before = shape.blocks if site.stack == "decoder" and shape.decoder_blocks else 0
    return before + max(site.block, 0)


@dataclass(frozen=True)
class Descent:
    """How one operation reaches deeper as its count grows.

    Args:
        before: scalars that come before it reaches the block of the same place in ``blocks``, ascending from 0.
        blocks: the lowest block from there on, descending.
    """

    before: tuple[int, ...]
    blocks: tuple[int, ...]

    def lowest(self, count: int) -> int:
        """The lowest block among the first ``count`` scalars, 1 or more."""
        return self.blocks[bisect_left(self.before, count) - 1]


@lru_cache(maxsize=1024)
def _fixed(method: Method, ref: BackboneRef) -> int:
    placed = methods.place(method, ref)
    taken = (site for p in placed for site, units in zip(p.sites, p.units, strict=True) if units)
    return min(block_number(site, ref.shape) for site in taken)


@lru_cache(maxsize=4096)
def _run(family: str, shape: Shape, op: str, kinds: tuple[str, ...], first: int, tokens: int) -> Descent:
    """Units side by side from a site on: they reach the lowest block where they come round."""
    places = [site for site in sites_of(family, shape, tokens) if site.kind in kinds]
    at = next((i for i, site in enumerate(places) if site.index >= first), 0)
    held = [int(n) * counts.unit_size(op, site) for n, site in _held(op, places[at:])]
    return Descent((0, sum(held)), (block_number(places[at], shape), block_number(places[0], shape)))


@lru_cache(maxsize=4096)
def _descent(family: str, shape: Shape, op: str, kinds: tuple[str, ...], position_seed: int, tokens: int) -> Descent:
    """Scattered units: each is before all those of larger words, and none matters after the first of the lowest block.

    Time and memory are in proportion to the units of the backbone, a few milliseconds a million.
    """
    places = [site for site in sites_of(family, shape, tokens) if site.kind in kinds]
    first_units = starts(op, places)
    block = np.array([block_number(site, shape) for site in places])
    bits = words(int(first_units[-1]), *discrete_stream(op, position_seed))
    lowest = int(first_units[np.searchsorted(block, block[0], side="right")])  # units of the lowest block
    few = np.flatnonzero(bits <= bits[:lowest].min())
    few = few[np.argsort(bits[few], kind="stable")]
    where = np.searchsorted(first_units, few, side="right") - 1
    sizes = np.array([counts.unit_size(op, site) for site in places])[where]
    reached = np.minimum.accumulate(block[where])
    new = np.flatnonzero(np.diff(reached, prepend=reached[0] + 1))
    return Descent(tuple((np.cumsum(sizes) - sizes)[new].tolist()), tuple(reached[new].tolist()))


def _held(op: str, places: list[Site]) -> list[tuple[int, Site]]:
    """Units of each site."""
    return list(zip(np.diff(starts(op, places)).tolist(), places, strict=True))
