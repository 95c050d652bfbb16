"""The picture of docs/modules.md: the same count at the same seed, discrete and adjacent.

``python -m orchestrator.reporting.placements > docs/placements.svg`` draws it again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from math import nan
from typing import TYPE_CHECKING

from orchestrator.reporting import draw
from trials import backbones
from trials.modules import methods
from trials.modules.counts import unit_size
from trials.modules.positions import layout
from trials.modules.sites import Site, linear_kinds, sites
from trials.trial import PLACEMENTS, BackboneRef, Source, TaskRef, Training, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COUNT, POSITION_SEED = 1536, 5
BLOCKS, WIDTH = 6, 48  # of the BERT that is drawn: small enough for every scalar of `add` to be seen
COLOURS = {"add": draw.CURVES[1], "concat": draw.CURVES[0], "plug": "#00795a"}
_GAP = 14  # between sites, in coordinates


@dataclass(frozen=True)
class Mark:
    """One unit of one operation.

    Args:
        op: the operation.
        site: where.
        unit: its slot; of ``add`` the output coordinate.
        share: of its scalars that train: 1, but less for the last unit of an operation.
    """

    op: str
    site: Site
    unit: int
    share: float = 1.0


def backbone() -> BackboneRef:
    """The backbone that is drawn."""
    tiny = backbones.get("tiny-bert")
    shape = replace(tiny.shape, blocks=BLOCKS, d_model=WIDTH, d_ff=4 * WIDTH, heads=4, d_kv=WIDTH // 4)
    return replace(tiny, name="drawn", shape=shape)


def marks(placement: str) -> list[Mark]:
    """Every unit that trains, as ``apet`` places it."""
    ref = backbone()
    trial = Trial(
        backbone=ref,
        task=TaskRef("rte", Source("folder", "rte", "0")),
        method=methods.apet(ref.family, COUNT, placement=placement),
        learning_rate=1e-3,
        training=Training(steps=1),
        position_seed=POSITION_SEED,
    )
    found = []
    for op in layout(trial).ops:
        found += [Mark(op.op, group.site, int(unit)) for group in op.groups for unit in group.units]
        if op.cut is not None:
            share = len(op.cut.order) / unit_size(op.op, op.cut.site)
            found.append(Mark(op.op, op.cut.site, op.cut.unit, share))
    return found


def fingerprint() -> str:
    """What is drawn, as 20 hex digits: the SVG says it, so that a picture out of date is noticed."""
    drawn = [(m.op, m.site.name, m.unit, round(m.share, 6)) for placement in PLACEMENTS for m in marks(placement)]
    return hashlib.sha256(repr(drawn).encode()).hexdigest()[:20]


def svg() -> str:
    """The picture: a row a block, a column a site, the two placements side by side."""
    with draw.style():
        figure, axes = draw.grid(len(PLACEMENTS), height=3.9)
        for ax, placement in zip(axes, PLACEMENTS, strict=True):
            _panel(ax, marks(placement))
            ax.set_title(placement)
        axes[0].set_ylabel("block")
        _legend(axes[0])
        text = draw.svg(figure)
    return text.replace("<svg ", f"<!-- {fingerprint()} -->\n<svg ", 1)


def _panel(ax: Axes, found: list[Mark]) -> None:
    """One placement: a dot a coordinate of ``add``, a line across the layer for a unit of the others."""
    from matplotlib.patches import Rectangle

    left = _columns()
    for site in sites(backbone()):
        if site.kind in left:
            frame = Rectangle((left[site.kind] - 2, site.block + 0.06), site.d_out + 4, 0.88)
            frame.set(facecolor="#f6f7f9", edgecolor=draw.FAINT, linewidth=0.7)
            ax.add_patch(frame)
    lines: Counter[Site] = Counter()
    for op, colour in COLOURS.items():
        ours = [mark for mark in found if mark.op == op]
        if op == "add":
            places = [(left[m.site.kind] + m.unit + 0.5, m.site.block) for m in ours]
            x = [at for coordinate, _ in places for at in (coordinate, coordinate, nan)]  # nan: the pen is lifted
            y = [at for _, block in places for at in (block + 0.72, block + 0.9, nan)]
            ax.plot(x, y, color=colour, linewidth=1.0, solid_capstyle="butt")
            continue
        for mark in ours:
            start, y0 = left[mark.site.kind], mark.site.block + 0.17 + 0.085 * lines[mark.site]
            lines[mark.site] += 1
            ax.plot([start, start + mark.site.d_out * mark.share], [y0, y0], color=colour, linewidth=2.0)
    kinds = linear_kinds(backbone().family)
    middle = {site.kind: left[site.kind] + site.d_out / 2 for site in sites(backbone()) if site.kind in left}
    ax.set(xticks=[middle[kind] for kind in kinds], xticklabels=kinds)
    ax.set(yticks=[i + 0.5 for i in range(BLOCKS)], yticklabels=range(BLOCKS), ylim=(BLOCKS, 0))
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _columns() -> dict[str, float]:
    """Where the column of each kind of site begins, in coordinates: as wide as its output."""
    left: dict[str, float] = {}
    x = 0.0
    for site in sites(backbone()):
        if site.block == 0 and site.kind != "norm":
            left[site.kind] = x
            x += site.d_out + _GAP
    return left


def _legend(ax: Axes) -> None:
    """Above the first panel."""
    from matplotlib.lines import Line2D

    stroke = Line2D([], [], color=COLOURS["add"], linestyle="", marker="|", markersize=8, label="add: a coordinate")
    others = [
        Line2D([], [], color=COLOURS[op], linewidth=2, label=f"{op}: {what}")
        for op, what in (("concat", "a rank-1 component"), ("plug", "a bottleneck unit"))
    ]
    figure = ax.get_figure()
    assert figure is not None
    figure.legend(handles=[stroke, *others], loc="outside upper right", ncols=3)


if __name__ == "__main__":
    print(svg(), end="")
