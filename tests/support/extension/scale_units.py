"""``scale``: h_out = f(h_in) · (1 + w) on chosen output coordinates. A unit is one coordinate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trials.families import linear_kinds

if TYPE_CHECKING:
    from trials.modules.sites import Site


def accepts(family: str, kind: str) -> bool:
    """The outputs of linear layers and norms."""
    return kind == "norm" or kind in linear_kinds(family)


def defaults(family: str) -> tuple[str, ...]:
    """Every linear site."""
    return linear_kinds(family)


def units(site: Site) -> int:
    """One per output coordinate."""
    return site.d_out


def unit_out(site: Site) -> int:
    """w."""
    return 1


def unit_in(site: Site) -> int:
    """None."""
    return 0


def unit_shuffled(site: Site) -> int:
    """A scalar alone has no order."""
    return 1
