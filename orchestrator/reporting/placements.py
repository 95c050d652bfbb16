"""The picture of docs/modules.md: the same count at the same seed, discrete and adjacent.

``python -m orchestrator.reporting.placements > docs/placements.svg`` draws it again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.reporting import drawing
from orchestrator.reporting.charts import theme
from trials import backbones
from trials.modules import methods
from trials.modules.counts import unit_size
from trials.modules.positions import layout
from trials.modules.sites import Site, linear_kinds, sites
from trials.trial import PLACEMENTS, BackboneRef, Source, TaskRef, Training, Trial

COUNT, POSITION_SEED = 1536, 5
BLOCKS, WIDTH = 6, 48  # of the BERT that is drawn: small enough for every scalar of `add` to be seen
SAID = {"add": "add: a coordinate", "concat": "concat: a rank-1 component", "plug": "plug: a bottleneck unit"}
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
    rows = [{"panel": placement, **row} for placement in PLACEMENTS for row in (*_frames(), *_rows(marks(placement)))]
    text = drawing.svg(
        theme.finished(theme.structure(_chart()), rows, "The same count at the same seed, discrete and adjacent")
    )
    return text.replace("<svg ", f"<!-- {fingerprint()} -->\n<svg ", 1)


def _frames() -> list[dict[str, Any]]:
    """A box a layer."""
    left = _columns()
    return [
        {
            "layer": "frame",
            "x": left[s.kind] - 2,
            "x2": left[s.kind] + s.d_out + 2,
            "y": s.block + 0.06,
            "y2": s.block + 0.94,
        }
        for s in sites(backbone())
        if s.kind in left
    ]


def _rows(found: list[Mark]) -> list[dict[str, Any]]:
    """A stroke a coordinate of ``add``, a line across the layer for a unit of the others."""
    left, rows = _columns(), []
    lines: Counter[Site] = Counter()
    for op, said in SAID.items():
        for mark in (m for m in found if m.op == op):
            x, block = left[mark.site.kind], mark.site.block
            if op == "add":
                at = x + mark.unit + 0.5
                ends = {"x": at, "x2": at, "y": block + 0.72, "y2": block + 0.9}
            else:
                y = block + 0.17 + 0.085 * lines[mark.site]
                lines[mark.site] += 1
                ends = {"x": x, "x2": x + mark.site.d_out * mark.share, "y": y, "y2": y}
            rows.append({"layer": "unit", "op": said, **ends})
    return rows


def _chart() -> Any:
    import altair as alt

    left = _columns()
    width = {site.kind: site.d_out for site in sites(backbone()) if site.kind in left}
    middle = {left[kind] + width[kind] / 2: kind for kind in linear_kinds(backbone().family)}
    named = f"{json.dumps({f'{at:g}': kind for at, kind in middle.items()})}[format(datum.value, '')]"
    x = alt.X(
        "x:Q",
        scale=alt.Scale(domain=[-4, max(left[k] + width[k] for k in left) + 4], nice=False),
        axis=alt.Axis(values=list(middle), labelExpr=named, title=None, ticks=False, domain=False),
    )
    y = alt.Y(
        "y:Q",
        scale=alt.Scale(domain=[0, BLOCKS], reverse=True, nice=False),
        axis=alt.Axis(
            values=[i + 0.5 for i in range(BLOCKS)], labelExpr="floor(datum.value)", title="block", grid=False
        ),
    )
    colour = alt.Color("op:N", scale=alt.Scale(domain=list(SAID.values())), legend=alt.Legend())
    of = {name: alt.Chart().transform_filter(alt.datum.layer == name) for name in ("frame", "unit")}
    chart = alt.layer(
        of["frame"].mark_rect(style="line", opacity=0.45).encode(x=x, x2="x2:Q", y=y, y2="y2:Q"),
        of["unit"].mark_rule(strokeWidth=1.5).encode(x=x, x2="x2:Q", y=y, y2="y2:Q", color=colour),
        data=alt.NamedData(theme.DATA),
    ).properties(width=theme.WIDTHS[2], height=300)
    return chart.facet(facet=alt.Facet("panel:N", sort=list(PLACEMENTS), title=None), columns=2)


def _columns() -> dict[str, float]:
    """Where the column of each kind of site begins, in coordinates: as wide as its output."""
    left: dict[str, float] = {}
    x = 0.0
    for site in sites(backbone()):
        if site.block == 0 and site.kind != "norm":
            left[site.kind] = x
            x += site.d_out + _GAP
    return left


if __name__ == "__main__":
    print(svg(), end="")
