"""Standard deviations with their intervals, a panel a family.

Every row has ``panel``, ``x`` (what stands along the axis), ``series`` (a colour), ``kind`` (a shape), ``slot`` (where
beside each other), ``sd``, ``lower``, ``upper`` in points, and ``said``.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.reporting.charts import theme
from orchestrator.reporting.charts.theme import Row, Spec

SHAPES = {"seen": "circle", "without luck": "diamond", "paper": "cross"}


def dispersion(rows: Sequence[Row], axis: str, description: str) -> Spec:
    """The figure; along the axis, colours and slots in the order of the rows."""
    import altair as alt

    def order(name: str) -> list[str]:
        return list(dict.fromkeys(str(row[name]) for row in rows))

    panels, kinds = order("panel"), [kind for kind in SHAPES if kind in order("kind")]
    shown = alt.selection_point(name="shown", fields=["series"], bind="legend", toggle="true")
    faded = alt.when(shown).then(alt.value(1)).otherwise(alt.value(0.08))
    colour = alt.Color("series:N", scale=alt.Scale(domain=order("series")), legend=alt.Legend())
    shape = alt.Shape("kind:N", scale=alt.Scale(domain=kinds, range=[SHAPES[k] for k in kinds]), legend=alt.Legend())
    x = alt.X("x:N", sort=order("x"), title=axis, axis=alt.Axis(labelAngle=0, labelLimit=110, grid=False))
    slot = alt.XOffset("slot:N", sort=order("slot"))
    title = "standard deviation, points of 100"
    scale = alt.Scale(domain=[0, _top(rows)])
    y = alt.Y("sd:Q", title=title, scale=scale, axis=alt.Axis(tickCount=6))
    told = [
        *(alt.Tooltip("series:N", title=" "), alt.Tooltip("kind:N", title="which"), alt.Tooltip("x:N", title=axis)),
        *(alt.Tooltip(f"{n}:Q", title=t, format=".2f") for n, t in (("sd", "SD"), ("lower", "from"), ("upper", "to"))),
        *(alt.Tooltip("seeds:Q"), alt.Tooltip("tasks:N"), alt.Tooltip("said:N", title="note")),
    ]
    base = alt.Chart().encode(x=x, xOffset=slot, color=colour, opacity=faded, tooltip=told)
    chart = alt.layer(
        base.mark_rule(strokeWidth=1.6, clip=True).encode(y=alt.Y("lower:Q", title=title, scale=scale), y2="upper:Q"),
        base.mark_point(filled=True, size=64).encode(y=y, shape=shape).add_params(shown),
        data=alt.NamedData(theme.DATA),
    ).properties(width=theme.width(len(panels)), height=theme.HEIGHT)
    facets = chart.facet(facet=alt.Facet("panel:N", sort=panels, title=None), columns=theme.across(len(panels)))
    return theme.finished(
        theme.structure(facets.resolve_scale(x="independent", xOffset="independent").resolve_axis(x="independent")),
        rows,
        description,
    )


def _top(rows: Sequence[Row]) -> float:
    """The end of the axis: of three seeds an interval may reach ten times as far as all that was seen."""
    seen: float = max(row["sd"] for row in rows)
    most: float = max([seen, *(row["upper"] for row in rows if row.get("upper") is not None)])
    return 1.05 * min(most, 3 * seen or 1.0)
