"""``concat``: h_out = f(h_in) + (h_in · a) b. A unit is one rank-1 component."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trials.families import linear_kinds

if TYPE_CHECKING:
    from trials.sites import Site


def accepts(family: str, kind: str) -> bool:
    """The linear layers."""
    return kind in linear_kinds(family)


def defaults(family: str) -> tuple[str, ...]:
    """Every linear site."""
    return linear_kinds(family)


def units(site: Site) -> int:
    """More components than the smaller width would add no rank."""
    return min(site.d_in, site.d_out)


def unit_out(site: Site) -> int:
    """The vector b."""
    return site.d_out


def unit_in(site: Site) -> int:
    """The vector a."""
    return site.d_in
