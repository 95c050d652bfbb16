"""A specification as a file: SVG and PNG, drawn by vl-convert, which needs no browser and asks nothing of a network."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache

from orchestrator.reporting.charts.theme import LIGHT, Spec, config

VEGA_LITE = "6.4"  # the release of Vega-Lite that the page and the files are drawn with; Altair 6 writes for it
SCALE = 2.0  # pixels of a PNG for each of the page
FEW = 8  # figures that are drawn sooner than another process begins
MOST = 4  # processes


def svg(spec: Spec) -> str:
    """The figure as an SVG file on a white ground; the same specification gives the same bytes."""
    import vl_convert

    text: str = vl_convert.vegalite_to_svg(
        {**spec, "background": LIGHT.ground}, vl_version=VEGA_LITE, config=config(LIGHT), allowed_base_urls=[]
    )
    return text


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


class Drawings:
    """Figures to be drawn, by other processes where they are many: vl-convert lets no other thread of its own work.

    A context: what isn't drawn when it is left isn't drawn any more.
    """

    def __init__(self) -> None:
        self._specs: list[tuple[str, Spec]] = []
        self._pool: ProcessPoolExecutor | None = None
        self._drawn: list[Future[tuple[bytes, bytes]]] = []

    def __enter__(self) -> Drawings:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def add(self, name: str, spec: Spec) -> None:
        """Begin to draw a figure; ``name`` is the files' stem."""
        self._specs.append((name, spec))
        if self._pool is None and len(self._specs) > FEW:
            workers, spawn = min(MOST, os.cpu_count() or 1), multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin)
        if self._pool is not None:
            for _, one in self._specs[len(self._drawn) :]:
                self._drawn.append(self._pool.submit(both, one))

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Names and contents, in the order of the figures."""
        for i, (name, spec) in enumerate(self._specs):
            drawn = self._drawn[i].result() if self._drawn else both(spec)
            for ending, data in zip(("svg", "png"), drawn, strict=True):
                yield f"{name}.{ending}", data


def _begin() -> None:
    """Ctrl-C ends the process that asked; it ends these."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
