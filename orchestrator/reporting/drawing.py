"""A specification as a file: SVG and PNG, drawn by vl-convert, which needs no browser and asks nothing of a network."""

from __future__ import annotations

import re
from functools import cache

from orchestrator.reporting.charts.theme import LIGHT, Spec, config

VEGA_LITE = "6.4"  # the release of Vega-Lite that the page and the files are drawn with; Altair 6 writes for it
SCALE = 2.0  # pixels of a PNG for each of the page


def svg(spec: Spec) -> str:
    """The figure as an SVG file on a white ground; the same specification gives the same bytes."""
    import vl_convert

    text: str = vl_convert.vegalite_to_svg(
        {**spec, "background": LIGHT.ground}, vl_version=VEGA_LITE, config=config(LIGHT), allowed_base_urls=[]
    )
    return _renumbered(text)


def _renumbered(text: str) -> str:
    """Ids from 0 on: Vega numbers them on from figure to figure."""
    numbers: dict[str, int] = {}
    pattern = r'(?<=id=")(clip|gradient_)(\d+)(?=")|(?<=url\(#)(clip|gradient_)(\d+)(?=\))'
    return re.sub(
        pattern,
        lambda found: f"{found[1] or found[3]}{numbers.setdefault(found[0], len(numbers))}",
        text,
    )


def png(drawn: str) -> bytes:
    """What :func:`svg` drew, as pixels."""
    import vl_convert

    return vl_convert.svg_to_png(drawn, scale=SCALE)


def both(spec: Spec) -> tuple[bytes, bytes]:
    """A figure as SVG and as PNG."""
    drawn = svg(spec)
    return drawn.encode(), png(drawn)


@cache
def javascript() -> str:
    """Vega, Vega-Lite and their embedding as one script that sets ``vega``, ``vegaLite`` and ``vegaEmbed``."""
    import vl_convert

    names = "window.vega = vega; window.vegaLite = vegaLite; window.vegaEmbed = vegaEmbed;"
    text: str = vl_convert.javascript_bundle(names, vl_version=VEGA_LITE)
    assert "</script" not in text.lower(), "a script that ends its own element"
    return text
