"""``plug``: h_out = f(h_in) + GELU(f(h_in) · u + c) v. A unit is one bottleneck unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trials.families import linear_kinds

if TYPE_CHECKING:
    from trials.modules.sites import Site

PLACES = ("o", "cross_o", "down")  # where a block's branch ends, before it joins the residual stream


def accepts(family: str, kind: str) -> bool:
    """The outputs of attention, cross-attention and the feed-forward."""
    return kind in PLACES and kind in linear_kinds(family)


def defaults(family: str) -> tuple[str, ...]:
    """All its places."""
    return tuple(kind for kind in linear_kinds(family) if kind in PLACES)


def units(site: Site) -> int:
    """At most d_model, the width of the output that it reads and corrects."""
    return site.d_out


def unit_out(site: Site) -> int:
    """The vector v, then the bias c."""
    return site.d_out + 1


def unit_in(site: Site) -> int:
    """The vector u, which reads the layer's output."""
    return site.d_out


def unit_shuffled(site: Site) -> int:
    """v, before its bias c."""
    return site.d_out
