"""``concat``: h_out = f(h_in) + (h_in · a) b. A unit is one rank-1 component.

At the site ``soft_tokens`` a unit is one token, a row in front of the sequence. It has no output side that could
start at zero: all of it is read by what comes after, and starts as a row of the embedding table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trials.families import SOFT_TOKENS, linear_kinds

if TYPE_CHECKING:
    from trials.modules.sites import Site


def accepts(family: str, kind: str) -> bool:
    """The linear layers, and the front of the sequence."""
    return kind == SOFT_TOKENS or kind in linear_kinds(family)


def defaults(family: str) -> tuple[str, ...]:
    """Every linear site; soft tokens only where they are asked for."""
    return linear_kinds(family)


def units(site: Site) -> int:
    """More components than the smaller width would add no rank."""
    return site.tokens or min(site.d_in, site.d_out)


def unit_out(site: Site) -> int:
    """The vector b; nothing of a soft token."""
    return site.d_out


def unit_in(site: Site) -> int:
    """The vector a; all of a soft token."""
    return site.d_in


def unit_shuffled(site: Site) -> int:
    """All of b."""
    return site.d_out
