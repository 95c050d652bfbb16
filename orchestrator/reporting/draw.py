"""What every drawing shares: size, colours that colour-blind readers tell apart, and SVG that is the same twice."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, FAINT, BAND = "#1c2430", "#5b6675", "#dfe4ea", "#8b95a3"
CURVES = ("#0072b2", "#d55e00", "#56b4e9", "#a6761d")  # Okabe and Ito's, and a brown
MARKS = {  # method → colour and marker
    "full": ("#3a4452", "o"),
    "lora": ("#00795a", "D"),
    "bitfit": ("#aa4486", "s"),
    "adapter": ("#b8860b", "^"),
    "prompt": ("#7a5195", "v"),
}
_STYLE: Any = {  # matplotlib types its keys one by one
    "svg.fonttype": "none",
    "svg.hashsalt": "apet",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"],
    "font.size": 9.5,
    "axes.edgecolor": "#9aa4b0",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "figure.constrained_layout.wspace": 0.05,
    "figure.constrained_layout.hspace": 0.06,
    "grid.color": "#e9edf1",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw and write inside of this: text stays text, and the same data gives the same bytes."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        yield


def grid(panels: int, height: float = 3.7, share_x: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure as wide as the page with up to three panels in a row, on one scale.

    Args:
        panels: how many, 1 or more.
        height: of a row, in inches.
        share_x: whether the panels have one x axis.
    """
    from matplotlib.figure import Figure

    across = min(panels, 3)
    down = math.ceil(panels / across)
    figure = Figure(figsize=(7.6 if across == 1 else 11.0, height * down + 0.35), layout="constrained")
    axes = figure.subplots(down, across, sharex=share_x, sharey=True, squeeze=False).flatten().tolist()
    for unused in axes[panels:]:
        unused.remove()
    for ax in axes[:panels]:
        ax.tick_params(labelbottom=True, length=3, width=0.8)
    return figure, axes[:panels]


def svg(figure: Figure) -> str:
    """The figure as an SVG file, without a date or other metadata."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r" *<metadata>.*?</metadata>\n", "", text.getvalue(), flags=re.DOTALL)


def counts_axis(ax: Axes, lowest: float, highest: float) -> None:
    """A logarithmic axis of parameter counts with few, round labels (100, 1k, 1M)."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    ax.set_xscale("log")
    ax.set_xlim(lowest / 1.5, highest * 1.5)
    decades = [10.0**e for e in range(math.ceil(math.log10(lowest / 1.5)), math.floor(math.log10(highest * 1.5)) + 1)]
    ax.xaxis.set_major_locator(FixedLocator(decades))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    ax.xaxis.set_minor_formatter(NullFormatter())


def darker(colour: str) -> tuple[float, float, float]:
    """The same hue for a thin line on top of a thick one."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    return (red / 2, green / 2, blue / 2)


def short(count: float) -> str:
    """A count in few letters: 950, 12k, 1.2M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.3g}"


def spaced(count: int | None) -> str:
    """A count with spaces between thousands, – where there is none."""
    return "–" if count is None else f"{count:,}".replace(",", "\u202f")


def apart(values: Sequence[float], least: float) -> list[float]:
    """Positions near ``values`` that are at least ``least`` from each other, in the same order."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    placed = [0.0] * len(values)
    last = -math.inf
    for i in order:
        placed[i] = last = max(values[i], last + least)
    shift = sum(p - v for p, v in zip(placed, values, strict=True)) / len(values) if values else 0.0
    return [p - shift for p in placed]
